"""Which gains of a whole study stand when all of them are looked at together."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tlx.measure.multiplicity import benjamini_hochberg
from tlx.measure.paired_tests import t_test_p
from tlx.measure.stats import FEWEST, MOST_FLIPPED, Interval, sign_flip_p
from tlx.report import wording
from tlx.report.places import Place, grouped
from tlx.report.table import Table

Q = 0.05
NOTE = (
    "p: Student's t, two-sided, of the gains over seeds; all equal gains have the p of their signs. BH: adjusted "
    "after Benjamini and Hochberg for all gains of transfer in this study, ▲ and ▼ mark those up to 0.05. Signs: the "
    "exact sign-flip test, which assumes nothing of the distribution, and cannot fall below 2 / 2^n for n seeds: "
    "0.0625 for five."
)
_BETTER = "▲"


@dataclass(frozen=True)
class Significance:
    """The tests of one gain.

    Args:
      place: where.
      gain: mean and interval, not adjusted.
      p: of Student's t; NaN below 3 seeds.
      p_adjusted: the same after Benjamini and Hochberg, over all gains of the study.
      p_signs: of the exact sign-flip test; NaN without a seed or beyond 40.
    """

    place: Place
    gain: Interval
    p: float
    p_adjusted: float
    p_signs: float

    @property
    def better(self) -> bool:
        """Whether it is a gain after adjustment."""
        return self.p_adjusted <= Q and self.gain.mean > 0

    @property
    def worse(self) -> bool:
        """Whether it is a loss after adjustment."""
        return self.p_adjusted <= Q and self.gain.mean < 0


def significances(places: Iterable[Place], arms: Sequence[str] = ("transfer",)) -> list[Significance]:
    """Test every gain of a study, and adjust for their number.

    Args:
      places: of the whole study, as `places.places` gives them.
      arms: whose gains are tested, and counted as tests; controls are not what is asked.

    Returns:
      In the order given; p-values are NaN where there are too few seeds, and such gains count as no test.
    """
    tested = [place for place in places if place.row.gain is not None and place.row.arm in arms]
    gains = [list(place.gains.values()) for place in tested]
    p = [t_test_p(values) if len(values) >= FEWEST else math.nan for values in gains]
    signs = [sign_flip_p(values) if 0 < len(values) <= MOST_FLIPPED else math.nan for values in gains]
    return [
        Significance(place, place.row.gain, alone, float(together), exact)
        for place, alone, together, exact in zip(tested, p, benjamini_hochberg(p), signs, strict=True)
        if place.row.gain is not None
    ]


def significance_table(found: Sequence[Significance]) -> Table:
    """One line for each gain, in groups by target and budget; `NOTE` explains it."""
    by_place = {id(one.place): one for one in found}
    groups = []
    for where, there in grouped(one.place for one in found).items():
        lines = []
        for one in (by_place[id(place)] for place in there):
            mark = f" {_BETTER}" if one.better else f" {wording.WORSE}" if one.worse else ""
            adjusted = p_value(one.p_adjusted) + mark
            lines.append((one.place.way, wording.gain(one.gain), p_value(one.p), adjusted, p_value(one.p_signs)))
        groups.append((where, tuple(lines)))
    return Table(("Method", "Gain, points", "p", "p after BH", "p of signs"), tuple(groups))


def significance_sentence(found: Sequence[Significance]) -> str:
    """How many gains stand after adjustment."""
    tested = [one for one in found if not math.isnan(one.p)]
    if not tested:
        return "No gain has the three seeds it takes to be tested."
    better, worse = sum(one.better for one in tested), sum(one.worse for one in tested)
    missing = len(found) - len(tested)
    rest = f"; {missing} more {'has' if missing == 1 else 'have'} too few seeds to be tested" if missing else ""
    of = f"{len(tested)} gains" if len(tested) > 1 else "1 gain"
    return (
        f"Of {of} tested, {better} {'is' if better == 1 else 'are'} above 0 and {worse} below, with a false discovery "
        f"rate of 5 %{rest}."
    )


def p_value(p: float) -> str:
    """A p-value in two digits, e.g. `0.031`, `< 0.0001`."""
    if math.isnan(p):
        return wording.UNKNOWN
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"
