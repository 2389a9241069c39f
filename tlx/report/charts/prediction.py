"""What an estimator said of each source, against the gain that was measured."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import altair as alt

from tlx.report import wording
from tlx.report.chart import Chart, finished
from tlx.report.charts.encoding import chosen, colour, hundredth, points, said
from tlx.report.palette import Palette

_PANEL = 260


class Scored(Protocol):
    """An estimator beside what one way of adapting came to: sources, estimates and gains belong together by place."""

    @property
    def estimator(self) -> str:
        """Its name."""

    @property
    def target(self) -> str:
        """Where to."""

    @property
    def entry(self) -> str:
        """The way of adapting."""

    @property
    def budget(self) -> int:
        """Target labels."""

    @property
    def sources(self) -> Sequence[str]:
        """Names."""

    @property
    def estimate_M(self) -> Sequence[float]:  # a shape suffix
        """One a source."""

    @property
    def gain_M(self) -> Sequence[float]:  # a shape suffix
        """One a source, 0 to 1; NaN where unknown."""


def prediction(found: Iterable[Scored], marks: Palette, name: str = "estimators") -> Chart | None:
    """A panel for each estimator, a point for each source and way of adapting.

    Args:
      found: of a study; which target and budget is shown can be chosen.
      marks: of the whole report.
      name: file name without suffix.

    Returns:
      The chart; None without two sources that could be compared.
    """
    lines: list[dict[str, Any]] = [
        {
            "place": f"{one.target}, {wording.labels(one.budget)}",
            "estimator": one.estimator,
            "method": one.entry,
            "source": source,
            "estimate": float(f"{estimate:.6g}"),
            "gain": hundredth(gain),
            "said_gain": points(gain),
            "said_estimate": f"{estimate:.4g}",
        }
        for one in found
        if len(one.sources) > 1
        for source, estimate, gain in zip(one.sources, one.estimate_M, one.gain_M, strict=True)
        if math.isfinite(estimate) and math.isfinite(gain)
    ]
    if not lines:
        return None
    names = list(dict.fromkeys(line["method"] for line in lines))
    estimators = list(dict.fromkeys(line["estimator"] for line in lines))
    places = list(dict.fromkeys(line["place"] for line in lines))
    whole = (
        alt.Chart(alt.NamedData(name=name))
        .mark_point(size=65, filled=True, opacity=0.9)
        .encode(
            x=alt.X("estimate:Q", title=None, scale=alt.Scale(zero=False, padding=8), axis=alt.Axis(tickCount=4)),
            y=alt.Y("gain:Q", title="gain, points", scale=alt.Scale(padding=8), axis=alt.Axis(tickCount=5)),
            color=colour(marks, names),
            tooltip=said(
                source="source", method="method", estimator="estimator", said_estimate="estimate", said_gain="gain"
            ),
        )
        .properties(width=_PANEL - 70, height=150)
        .facet(facet=alt.Facet("estimator:N", sort=estimators, title=None), columns=4)
        .resolve_scale(x="independent")
    )
    return finished(
        chosen(whole, "place", "target", places),
        name=name,
        title="What predicted the gains",
        note="Each point is a source; the higher an estimate, the more should be gained. The scales of estimators "
        "differ and mean nothing across them." + (" One target and budget is shown." if len(places) > 1 else ""),
        alt=f"Gain against the estimates of {wording.listing(estimators)}.",
        data={name: lines},
        panel=_PANEL,
    )
