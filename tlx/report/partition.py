"""A picture of what a method moves: the parameters of every stage, frozen, trained and new, phase by phase."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.anatomy import stage_of
from tlx.partition import FROZEN
from tlx.report import wording
from tlx.report.canvas import FAINT, INK, LINE, WIDTH, canvas, headline, place_axes, shorten, text_width

# Apart in hue and in lightness, for those who see no colours.
KINDS = {"frozen": "#cccccc", "trained": "#0072B2", "new": "#E69F00"}
SHARED = "shared"
# Inches.
NARROWEST, GAP, NUMBER = 0.8, 0.15, 0.62  # a phase's bars, between phases, a column of numbers
THINNEST = 0.02  # what is there can be seen


@dataclass(frozen=True)
class Part:
    """Parameters of one stage in one phase.

    Args:
      frozen: of the model or of adapters, that stay as they are.
      trained: of the model, that move.
      new: of adapters, that move.
    """

    frozen: int
    trained: int
    new: int

    def of(self, *kinds: str) -> int:
        """Parameters of some kinds together."""
        return sum(getattr(self, kind) for kind in kinds)

    def length(self) -> float:
        """The length of all bars of a row."""
        return sum(math.sqrt(self.of(kind)) for kind in KINDS)


def parts(adapted: Adapted, phase: int = -1) -> dict[str, Part]:
    """What every stage holds in a phase.

    Args:
      adapted: the model and its methods.
      phase: index into its phases.

    Returns:
      Stage to counts, input first; `shared` at the end where leaves lie outside all stages.
    """
    labels, shapes = adapted.labels(phase), tree.flatten(adapted.abstract())
    stages = adapted.model.stages
    counts = {stage: dict.fromkeys(KINDS, 0) for stage in (*stages, SHARED)}
    for path, label in labels.items():
        kind = "frozen" if label == FROZEN else "new" if path.startswith("adapters/") else "trained"
        counts[stage_of(path, stages) or SHARED][kind] += math.prod(shapes[path].shape)
    if not any(counts[SHARED].values()):
        del counts[SHARED]
    return {stage: Part(**numbers) for stage, numbers in counts.items()}


def draw(adapted: Adapted, axes: Axes | None = None) -> Figure:
    """A row of bars for each stage, the input at the bottom, and a column of them for each phase.

    Args:
      adapted: the model and its methods.
      axes: where to draw, or None for a figure of its own.

    Returns:
      The figure. The length of a bar is the square root of a number of parameters, so that small adapters beside
      large layers stay visible; the numbers themselves are those of the last phase.
    """
    phases = [parts(adapted, i) for i in range(len(adapted.phases))]
    if axes is not None:
        figure = axes.get_figure(root=True)
        assert isinstance(figure, Figure)
        _fill(axes, adapted, phases, axes.bbox.width / figure.dpi)
        return figure
    rows = len(phases[-1])
    with canvas(WIDTH, 1.0 + 1.2 * LINE * rows) as figure:
        left = 0.3 + text_width(figure, map(shorten, phases[-1]))
        needed = (NARROWEST + GAP) * len(phases) + NUMBER * len(_kinds(phases))
        figure.set_figwidth(max(WIDTH, left + needed + 0.15))
        wide = figure.get_figwidth() - left - 0.15
        moving, total = (sum(part.of(*kinds) for part in phases[-1].values()) for kinds in (("trained", "new"), KINDS))
        says = f"{wording.percent(moving / total)} of {wording.amount(total)} parameters move"
        small = "bar length: square root of the number"
        if len(phases) > 1:
            small += "; columns: from which share of the steps on"
        headline(figure, f"{adapted.method} on {adapted.model.name}: {says}", small)
        _fill(place_axes(figure, left, 0.15, 0.1, 0.6), adapted, phases, wide)
        return figure


def _kinds(phases: Sequence[dict[str, Part]]) -> list[str]:
    """The kinds that occur at all."""
    return [kind for kind in KINDS if any(part.of(kind) for phase in phases for part in phase.values())]


def _fill(axes: Axes, adapted: Adapted, phases: Sequence[dict[str, Part]], wide: float) -> None:
    """Bars on the left, one set a phase, and numbers on the right; x is in inches."""
    kinds, stages = _kinds(phases), list(phases[-1])
    each = (wide - NUMBER * len(kinds)) / len(phases)
    scale = (each - GAP) / max(part.length() for phase in phases for part in phase.values())
    for i, phase in enumerate(phases):
        for row, part in enumerate(phase.values()):
            _bar(axes, row, part, each * i, scale)
        if len(phases) > 1:
            axes.text(each * i, len(stages) - 0.3, f"{100 * adapted.phases[i].start:.3g} %", fontsize=8, color=FAINT)
    for column, kind in enumerate(kinds):
        right = wide - NUMBER * (len(kinds) - 1 - column)
        axes.text(right, len(stages) - 0.3, kind, ha="right", fontsize=8, color=INK)
        axes.barh(len(stages) - 0.45, NUMBER - 0.12, left=right - NUMBER + 0.12, height=0.12, color=KINDS[kind])
        for row, part in enumerate(phases[-1].values()):
            if number := part.of(kind):
                axes.text(right, row, wording.amount(number), ha="right", va="center", fontsize=8, color=INK)
    axes.set(xlim=(0.0, wide), ylim=(-0.5, len(stages) + 0.3), xticks=[])
    axes.set_yticks(range(len(stages)), list(map(shorten, stages)), color=INK)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _bar(axes: Axes, row: int, part: Part, left: float, scale: float) -> None:
    for kind, colour in KINDS.items():
        if number := part.of(kind):
            wide = max(scale * math.sqrt(number), THINNEST)
            axes.barh(row, wide, left=left, height=0.62, color=colour)
            left += wide
