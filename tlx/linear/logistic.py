"""Multinomial logistic regression for many penalties at once, by a truncated Newton method.

Shape suffixes: N examples, D features, R axes, L penalties, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlx.linear.solution import Solution
from tlx.linear.spectrum import spectrum

TOLERANCE = 1e-6
NEWTON_STEPS, CG_STEPS, HALVINGS = 100, 200, 40
# Logits held at once, 128 MiB of them; more penalties than fit are solved one group after another.
MOST_LOGITS = 2**24
# Of a decrease that the slope promises, the share a step must keep (Armijo, 1966).
SUFFICIENT = 1e-4


def logistic_path(
    x_ND: np.ndarray, share_NC: np.ndarray, penalties: Sequence[float], tolerance: float = TOLERANCE
) -> Solution:
    """The linear maps with the least cross-entropy and an L2 penalty, one for every penalty.

    Each minimises mean over examples of the cross-entropy of softmax(x W + b), in nats, plus λ/2 ‖W‖²; b is free.
    scikit-learn's `LogisticRegression` has the same objective at C = 1/(λN).

    Args:
      x_ND: features.
      share_NC: what of each example belongs to which class: one-hot rows, or smoothed ones; every class has some.
      penalties: λ, above 0, in the square of the features' unit.
      tolerance: largest absolute component of the gradient at which to stop, on features turned to their principal axes
        and divided by their standard deviation along the first.

    Returns:
      Kernels and biases in float64, in the order of the penalties.

    Source: Newton's method on softmax regression (Böhning, 1992), its systems solved by conjugate gradients only as far
      as each step deserves (Dembo and Steihaug, 1983), damped by halving. Ours solves all penalties at once, as columns
      of the same matrix products, and preconditions by the Hessian's diagonal in the basis of principal axes.
    """
    basis, count = spectrum(x_ND), len(x_ND)
    unit = float(np.sqrt(basis.variance_R.max(initial=0.0) / count)) or 1.0
    problem = _Problem(np.hstack([basis.along(x_ND) / unit, np.ones((count, 1))]), np.asarray(share_NC, np.float64))
    together = max(1, MOST_LOGITS // max(1, problem.share_NC.size))
    lambda_L = np.asarray(penalties, np.float64) / unit**2
    groups = [problem.solve(lambda_L[i : i + together], tolerance) for i in range(0, len(lambda_L), together)]
    theta_PLC = np.concatenate([theta_PLC for theta_PLC, _ in groups], axis=1)
    loss_L, gradient_L, flops_L = np.concatenate([facts_3L for _, facts_3L in groups], axis=1)
    kernel_LDC, at_mean_LC = basis.back(theta_PLC[:-1] / unit)
    centre_LC = theta_PLC[-1]
    bias_LC = centre_LC - centre_LC.mean(axis=1, keepdims=True) - at_mean_LC
    shared = basis.flops + 2.0 * count * basis.axis_DR.size
    flops_L = flops_L + shared / len(penalties) + 2.0 * kernel_LDC[0].size * basis.axis_DR.shape[1]
    return Solution(kernel_LDC, bias_LC, loss_L, gradient_L, flops_L)


@dataclass
class _Found:
    """Where the search stands: P parameters, the axes and a constant, for every penalty and class."""

    theta_PLC: np.ndarray
    logit_NLC: np.ndarray
    loss_L: np.ndarray
    gradient_L: np.ndarray
    flops_L: np.ndarray


@dataclass(frozen=True)
class _Problem:
    """Softmax regression on inputs that end in a constant 1.

    Args:
      z_NP: inputs.
      share_NC: targets.
    """

    z_NP: np.ndarray
    share_NC: np.ndarray

    def solve(self, lambda_L: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        """Newton steps for all penalties, each until its own gradient is small.

              Returns:
        Parameters [P, L, C]; and of each penalty loss, largest component of the gradient, and operations, [3, L].
        """
        (count, inputs), classes, tries = self.z_NP.shape, self.share_NC.shape[1], len(lambda_L)
        theta_PLC, logit_NLC = np.zeros((inputs, tries, classes)), np.zeros((count, tries, classes))
        now = _Found(theta_PLC, logit_NLC, self._loss(theta_PLC, logit_NLC, lambda_L), np.zeros(tries), np.zeros(tries))
        open_L = np.arange(tries)
        for _ in range(NEWTON_STEPS):
            probability_NLC = _softmax(now.logit_NLC[:, open_L])
            decay_PL = self._decay(lambda_L[open_L])
            gradient_PLC = self._pull(probability_NLC - self.share_NC[:, None], now.theta_PLC[:, open_L], decay_PL)
            now.gradient_L[open_L] = np.abs(gradient_PLC).max(axis=(0, 2))
            now.flops_L[open_L] += self._product
            unsolved = now.gradient_L[open_L] > tolerance
            open_L, decay_PL = open_L[unsolved], decay_PL[:, unsolved]
            if not len(open_L):
                break
            step_PLC, used_L = self._newton_step(gradient_PLC[:, unsolved], probability_NLC[:, unsolved], decay_PL)
            now.flops_L[open_L] += used_L
            open_L = open_L[self._move(now, open_L, step_PLC, gradient_PLC[:, unsolved], lambda_L[open_L])]
        return now.theta_PLC, np.stack([now.loss_L, now.gradient_L, now.flops_L])

    @property
    def _product(self) -> float:
        """Operations of one product of the inputs with a parameter for each of them and of the classes."""
        return 2.0 * self.z_NP.size * self.share_NC.shape[1]

    def _decay(self, lambda_L: np.ndarray) -> np.ndarray:
        decay_PL = np.repeat(lambda_L[None], self.z_NP.shape[1], axis=0)
        decay_PL[-1] = 0.0  # the constant is free
        return decay_PL

    def _push(self, theta_PLC: np.ndarray) -> np.ndarray:
        """Logits of parameters."""
        inputs, tries, classes = theta_PLC.shape
        return (self.z_NP @ theta_PLC.reshape(inputs, -1)).reshape(-1, tries, classes)

    def _pull(self, error_NLC: np.ndarray, theta_PLC: np.ndarray, decay_PL: np.ndarray) -> np.ndarray:
        """The gradient of parameters whose logits have this gradient."""
        count = len(error_NLC)
        flat = self.z_NP.T @ np.ascontiguousarray(error_NLC).reshape(count, -1) / count
        return flat.reshape(theta_PLC.shape) + decay_PL[..., None] * theta_PLC

    def _loss(self, theta_PLC: np.ndarray, logit_NLC: np.ndarray, lambda_L: np.ndarray) -> np.ndarray:
        top_NL = logit_NLC.max(axis=2)
        logsum_NL = np.log(np.exp(logit_NLC - top_NL[..., None]).sum(axis=2)) + top_NL
        total_N = self.share_NC.sum(axis=1)
        fit_NL = total_N[:, None] * logsum_NL - np.einsum("nlc,nc->nl", logit_NLC, self.share_NC)
        return fit_NL.mean(axis=0) + 0.5 * lambda_L * np.square(theta_PLC[:-1]).sum(axis=(0, 2))

    def _newton_step(
        self, gradient_PLC: np.ndarray, probability_NLC: np.ndarray, decay_PL: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Conjugate gradients on the Newton system of every penalty, and the operations each took."""
        diagonal_PLC = self._diagonal(probability_NLC, decay_PL)
        step_PLC, residual_PLC = np.zeros_like(gradient_PLC), -gradient_PLC
        direction_PLC = residual_PLC / diagonal_PLC
        rho_L = np.einsum("plc,plc->l", residual_PLC, direction_PLC)
        norm_L = np.sqrt(np.einsum("plc,plc->l", gradient_PLC, gradient_PLC))
        goal_L = np.minimum(0.25, np.sqrt(norm_L)) * norm_L
        products, on_L = np.zeros(len(norm_L)), np.arange(len(norm_L))
        for _ in range(CG_STEPS):
            p_PLC = direction_PLC[:, on_L]
            push_NLC, share_NLC = self._push(p_PLC), probability_NLC[:, on_L]
            push_NLC = share_NLC * (push_NLC - np.einsum("nlc,nlc->nl", share_NLC, push_NLC)[..., None])
            hessian_PLC = self._pull(push_NLC, p_PLC, decay_PL[:, on_L])
            alpha_L = rho_L[on_L] / np.einsum("plc,plc->l", p_PLC, hessian_PLC)
            step_PLC[:, on_L] += alpha_L[:, None] * p_PLC
            residual_PLC[:, on_L] -= alpha_L[:, None] * hessian_PLC
            products[on_L] += 2
            left_PLC = residual_PLC[:, on_L]
            far = np.sqrt(np.einsum("plc,plc->l", left_PLC, left_PLC)) > goal_L[on_L]
            on_L = on_L[far]
            if not len(on_L):
                break
            left_PLC = left_PLC[:, far]
            scaled_PLC = left_PLC / diagonal_PLC[:, on_L]
            new_L = np.einsum("plc,plc->l", left_PLC, scaled_PLC)
            direction_PLC[:, on_L] = scaled_PLC + (new_L / rho_L[on_L])[:, None] * direction_PLC[:, on_L]
            rho_L[on_L] = new_L
        return step_PLC, (products + 1) * self._product

    def _diagonal(self, probability_NLC: np.ndarray, decay_PL: np.ndarray) -> np.ndarray:
        """The Hessian's own diagonal, kept away from 0."""
        count, tries, classes = probability_NLC.shape
        curvature_NK = (probability_NLC * (1.0 - probability_NLC)).reshape(count, -1)
        diagonal_PLC = (np.square(self.z_NP).T @ curvature_NK / count).reshape(-1, tries, classes)
        diagonal_PLC += decay_PL[..., None]
        return np.maximum(diagonal_PLC, 1e-12 * diagonal_PLC.max(axis=(0, 2))[:, None])

    def _move(
        self, now: _Found, open_L: np.ndarray, step_PLC: np.ndarray, gradient_PLC: np.ndarray, lambda_L: np.ndarray
    ) -> np.ndarray:
        """Take each step as far as it helps; which penalties moved at all."""
        push_NLC = self._push(step_PLC)
        now.flops_L[open_L] += self._product
        slope_L = np.einsum("plc,plc->l", gradient_PLC, step_PLC)
        moved, length = np.zeros(len(open_L), bool), 1.0
        for _ in range(HALVINGS):
            wait = np.flatnonzero(~moved)
            at = open_L[wait]
            theta_PLC = now.theta_PLC[:, at] + length * step_PLC[:, wait]
            logit_NLC = now.logit_NLC[:, at] + length * push_NLC[:, wait]
            loss_L = self._loss(theta_PLC, logit_NLC, lambda_L[wait])
            # At the optimum losses differ by rounding errors alone.
            slack_L = 1e-14 * np.abs(now.loss_L[at])
            good = loss_L <= now.loss_L[at] + SUFFICIENT * length * slope_L[wait] + slack_L
            now.theta_PLC[:, at[good]], now.logit_NLC[:, at[good]] = theta_PLC[:, good], logit_NLC[:, good]
            now.loss_L[at[good]] = loss_L[good]
            moved[wait[good]] = True
            if moved.all():
                break
            length /= 2
        return moved


def _softmax(logit_NLC: np.ndarray) -> np.ndarray:
    exp_NLC = np.exp(logit_NLC - logit_NLC.max(axis=2, keepdims=True))
    return exp_NLC / exp_NLC.sum(axis=2, keepdims=True)
