"""The rows of a study as charts take them: numbers to draw, and the same numbers written out to read."""

from collections.abc import Iterable
from typing import Any

from tlx.report import wording
from tlx.report.charts.encoding import hundredth, points
from tlx.report.summary import Row


def numbers(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """One line for each row and comparison it stands in.

    Args:
      rows: of one comparison or several.

    Returns:
      Plain values. Scores and gains are in percent, None where unknown; `said_…` is text.
    """
    return [_line(row) for row in rows]


def _line(row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {
        "method": row.name,
        "arm": row.arm,
        "source": row.source,
        "target": row.target,
        "budget": row.budget,
        "labels": wording.labels(row.budget),
        "score": hundredth(row.score.mean),
        "score_low": hundredth(row.score.low),
        "score_high": hundredth(row.score.high),
        "said_score": wording.score(row.score),
        "seeds": wording.seeds(row),
    }
    if row.gain is not None:
        line |= {
            "gain": hundredth(row.gain.mean),
            "low": hundredth(row.gain.low),
            "high": hundredth(row.gain.high),
            "short": points(row.gain.mean) if row.gain.n else wording.UNKNOWN,
            "said_gain": wording.gain(row.gain),
            "verdict": verdict(row),
        }
    return line


def verdict(row: Row) -> str:
    """What the interval of a gain says, in a word or two."""
    if row.gain is None or row.gain.n == 0:
        return "no result"
    if row.gain.kind == "none":
        return "too few seeds"
    return "helps" if row.gain.above_zero else "hurts" if row.gain.below_zero else "not clear"
