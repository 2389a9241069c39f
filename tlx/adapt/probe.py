"""A linear probe: the best linear head there is on frozen features, solved for instead of trained.

Shape suffixes: N examples, D features, L penalties, C classes.
"""

import numpy as np

from tlx.adapt.hooks import Fixed
from tlx.adapt.method import HEAD_ONLY, Defaults, Method, Settings
from tlx.fields import Field
from tlx.linear.logistic import logistic_path
from tlx.linear.ridge import ridge_path
from tlx.linear.solution import Solution

NEWTON, RIDGE = SOLVERS = ("newton", "ridge")
# How much of an example a class without any is taken to have.
UNSEEN = 0.5


def _solve(settings: Settings, fixed: Fixed) -> Solution:
    """Heads for every penalty.

    Least squares has targets of ±1, or the scores themselves. Cross-entropy has no optimum where a class has no
    example: its kernel is then 0, and its bias gives it, at the mean of the features, the odds of half an example.
    """
    if fixed.label_N.dtype.kind == "f":
        return ridge_path(fixed.x_ND, fixed.label_N[:, None], fixed.penalties)
    share_NC = np.eye(fixed.outputs)[fixed.label_N]
    share_NC = (1.0 - fixed.smoothing) * share_NC + fixed.smoothing / fixed.outputs
    if settings["solver"] == RIDGE:
        return ridge_path(fixed.x_ND, 2.0 * share_NC - 1.0, fixed.penalties)
    seen_C = share_NC.any(axis=0)
    return _with_unseen(logistic_path(fixed.x_ND, share_NC[:, seen_C], fixed.penalties), seen_C, fixed.x_ND)


def _with_unseen(some: Solution, seen_C: np.ndarray, x_ND: np.ndarray) -> Solution:
    """The solution with outputs for classes that have no example."""
    if seen_C.all():
        return some
    (tries, width, _), classes = some.kernel_LDC.shape, len(seen_C)
    kernel_LDC, bias_LC = np.zeros((tries, width, classes)), np.zeros((tries, classes))
    kernel_LDC[..., seen_C], bias_LC[:, seen_C] = some.kernel_LDC, some.bias_LC
    at_mean_LC = np.asarray(x_ND, np.float64).mean(axis=0) @ some.kernel_LDC + some.bias_LC
    top_L = at_mean_LC.max(axis=1)
    odds_L = top_L + np.log(np.exp(at_mean_LC - top_L[:, None]).sum(axis=1)) + np.log(UNSEEN / len(x_ND))
    bias_LC[:, ~seen_C] = odds_L[:, None]
    return Solution(kernel_LDC, bias_LC, some.loss_L, some.gradient_L, some.flops_L)


PROBE = Method(
    name="probe",
    paper="Kornblith et al., 2019",
    trains="a linear head, solved for; its trials are L2 penalties λ in place of rates",
    fields={
        "solver": Field(
            NEWTON,
            "newton: the least cross-entropy and λ/2 ‖W‖²; ridge: the least squares on ±1, or on scores, and the same",
            choices=SOLVERS,
        )
    },
    # Kornblith et al. try 45 from 1e-6 to 1e5; these three are for features of a norm, means over examples.
    defaults=Defaults((1e-4, 1e-2, 1.0)),
    rules=lambda settings, anatomy: HEAD_ONLY,
    solve=_solve,
    alone="solves for a head on features that nothing else may change",
)
