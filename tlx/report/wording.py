"""Numbers as a reader wants them: one place, so that terminal, Markdown and HTML say the same."""

import math
from collections.abc import Callable, Iterable

from tlx.measure.stats import Interval
from tlx.report.summary import Row

UNKNOWN = "–"
WORSE = "▼"


def labels(budget: int) -> str:
    """A budget in words, e.g. `20 labels`."""
    return f"{budget} label" if budget == 1 else f"{budget} labels"


def percent(value: float | None) -> str:
    """A share as a percentage e.g. `0.42 %`, `45.3 %`."""
    if value is None or math.isnan(value):
        return UNKNOWN
    digits = f"{100 * value:.2g}" if value < 0.1 else f"{100 * value:.1f}".removesuffix(".0")
    return f"{digits} %"


def metric(rows: Iterable[Row]) -> str:
    """What the scores of some rows are: `accuracy`, `R²`, or `score` for several things."""
    names = {row.metric for row in rows}
    return {"accuracy": "accuracy", "r2": "R²"}[names.pop()] if len(names) == 1 else "score"


def capital(text: str) -> str:
    """The text with a capital first."""
    return text[:1].upper() + text[1:]


def score(value: Interval) -> str:
    """An accuracy or R² in percent without the sign: `80.0 ± 2.9`, or `80.0 [77.1, 82.9]` where lopsided."""
    if value.n == 0:
        return UNKNOWN
    mean = f"{100 * value.mean:.1f}"
    if value.kind == "t":
        return f"{mean} ± {100 * (value.high - value.mean):.1f}"
    return mean if value.kind == "none" else f"{mean} {_ends(value)}"


def gain(value: Interval) -> str:
    """A gain in percentage points with its interval, e.g. `+29.1 [24.9, 33.3]`."""
    if value.n == 0:
        return UNKNOWN
    mean = _points(value.mean, "+")
    return mean if value.kind == "none" else f"{mean} {_ends(value)}"


def marked_gain(row: Row) -> str:
    """A row's gain, marked if its interval lies below zero; nothing for scratch itself."""
    if row.gain is None:
        return ""
    return f"{WORSE} {gain(row.gain)}" if row.gain.below_zero else gain(row.gain)


def seeds(row: Row) -> str:
    """The number of finished seeds, e.g. `5`, or `4/5` if more are planned."""
    done, expected = row.seeds_done, row.seeds_expected
    return str(done) if done == expected else f"{done}/{expected}"


def amount(value: float | None, unit: str = "") -> str:
    """A count or size in steps of a thousand, e.g. `1.23 M`, `9.88 kB`."""
    if value is None or math.isnan(value):
        return UNKNOWN
    prefixes = ("", "k", "M", "G", "T", "P", "E", "Z")
    step = 0
    while abs(value) >= 999.5 and step < len(prefixes) - 1:
        value, step = value / 1000, step + 1
    return f"{value:.3g} {prefixes[step]}{unit}".rstrip()


def duration(seconds: float | None) -> str:
    """A time span, e.g. `0.42 s`, `3.1 min`, `2.5 h`."""
    if seconds is None or math.isnan(seconds):
        return UNKNOWN
    if seconds < 99.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def span(values: Iterable[float | None], say: Callable[[float], str]) -> str:
    """The lowest and the highest of the known values, e.g. `1.2 s to 3.4 s`, or the one if they read the same."""
    known = [value for value in values if value is not None]
    if not known:
        return UNKNOWN
    low, high = say(min(known)), say(max(known))
    return low if low == high else f"{low} to {high}"


def listing(words: Iterable[str]) -> str:
    """Words in a row, e.g. `20, 100 and 500`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _ends(value: Interval) -> str:
    return f"[{_points(value.low)}, {_points(value.high)}]"


def _points(share: float, sign: str = "-") -> str:
    return f"{round(100 * share, 1) + 0.0:{sign}.1f}"  # adding 0.0 turns a negative zero positive
