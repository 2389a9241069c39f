"""Methods that fine-tune everything and combine the trials of a cell afterwards.

A cell's trials start from the same weights and differ in the learning rate: the setting of Wortsman et al. (2022). The
task vectors of Ilharco et al. and after come from different tasks; for those, the functions in `task_vectors` take
any trees.
"""

from collections.abc import Callable
from typing import Any

from tlx.adapt.hooks import Candidates
from tlx.adapt.interpolate import interpolate
from tlx.adapt.method import EVERYTHING, Defaults, Method, Settings
from tlx.adapt.soup import greedy_soup, uniform_soup
from tlx.adapt.task_vectors import dare_merge, task_arithmetic, ties
from tlx.fields import Field, Fields
from tlx.partition import combine, split_by

TUNING = Defaults((1e-5, 3e-5, 1e-4), weight_decay=0.01)
SCALE = Field(1.0, "factor on the merged task vector; negative to move away", low=-10.0, high=10.0)


def _apart(leaves: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Body and head: task vectors are of the body, as a head has no meaningful start."""
    body, head = split_by(leaves, lambda path: int(path.startswith("params/head/")), 2)
    return body, head


def _with_mean_head(
    merge: Callable[[Settings, Candidates, dict[str, Any], list[dict[str, Any]]], dict[str, Any]],
) -> Callable[[Settings, Candidates], dict[str, Any]]:
    def merged(settings: Settings, candidates: Candidates) -> dict[str, Any]:
        bodies, heads = zip(*map(_apart, candidates.tuned), strict=True)
        return combine(merge(settings, candidates, _apart(candidates.start)[0], list(bodies)), uniform_soup(heads))

    return merged


def _wise_ft(settings: Settings, candidates: Candidates) -> dict[str, Any]:
    """Between the start and the chosen trial; the head is the tuned one unless `head` says otherwise."""
    tuned = candidates.tuned[candidates.chosen]
    if settings["head"] == "interpolated":
        return interpolate(candidates.start, tuned, settings["alpha"])
    body, head = _apart(tuned)
    return combine(interpolate(_apart(candidates.start)[0], body, settings["alpha"]), head)


def _greedy(settings: Settings, candidates: Candidates) -> dict[str, Any]:
    soup, _ = greedy_soup(candidates.tuned, [float(score) for score in candidates.accuracy], candidates.evaluate)
    return soup


def _method(
    name: str,
    paper: str,
    trains: str,
    combine_trials: Callable[[Settings, Candidates], dict[str, Any]],
    **fields: Field,
) -> Method:
    own: Fields = fields
    return Method(
        name=name,
        paper=paper,
        trains=f"everything; {trains}",
        fields=own,
        defaults=TUNING,
        rules=lambda settings, anatomy: EVERYTHING,
        combine=combine_trials,
        modifies=True,
    )


WISE_FT = _method(
    "wise_ft",
    "Wortsman et al., 2022b",
    "then a point between start and end is taken",
    _wise_ft,
    alpha=Field(0.5, "0 is the start, 1 the tuned model", low=0.0, high=1.0),
    head=Field("tuned", "the paper's start has a zero-shot head to interpolate", choices=("tuned", "interpolated")),
)
UNIFORM_SOUP = _method(
    "uniform_soup",
    "Wortsman et al., 2022a",
    "then all trials are averaged",
    lambda settings, candidates: uniform_soup(candidates.tuned),
)
GREEDY_SOUP = _method(
    "greedy_soup", "Wortsman et al., 2022a", "then the trials that help on validation are averaged", _greedy
)
TASK_ARITHMETIC = _method(
    "task_arithmetic",
    "Ilharco et al., 2023",
    "then the trials' changes are added up",
    _with_mean_head(lambda own, candidates, start, tuned: task_arithmetic(start, tuned, own["scale"])),
    scale=Field(0.4, SCALE.doc, low=SCALE.low, high=SCALE.high),
)
TIES = _method(
    "ties",
    "Yadav et al., 2023",
    "then the trials' largest changes of agreeing sign are averaged",
    _with_mean_head(lambda own, candidates, start, tuned: ties(start, tuned, own["density"], own["scale"])),
    density=Field(0.2, "share of each change that is kept, the largest", low=1e-6, high=1.0),
    scale=SCALE,
)
DARE = _method(
    "dare",
    "Yu et al., 2024",
    "then random shares of the trials' changes are added up",
    _with_mean_head(
        lambda own, candidates, start, tuned: dare_merge(start, tuned, own["drop"], own["scale"], candidates.key)
    ),
    drop=Field(0.9, "share of each change that is dropped; the rest is rescaled", low=0.0, high=0.999),
    scale=Field(0.4, SCALE.doc, low=SCALE.low, high=SCALE.high),
)
