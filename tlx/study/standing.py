"""How a study stands while it runs: what each unit came to, and the best way so far."""

import threading
from collections import defaultdict

import numpy as np

from tlx.records import Records
from tlx.study.plan import Unit

_Place = tuple[str, int]


class Standing:
    """The mean test scores of finished units; for people to watch, not for conclusions.

    Args:
      records: of the study.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._best: dict[_Place, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def line(self, unit: Unit) -> str:
        """What a finished unit came to, beside the best at the same target and budgets so far.

        Args:
          unit: all of its cells have records.
        """
        scores: dict[_Place, list[float]] = defaultdict(list)
        for cell in unit.cells:
            score = self._records.get(cell.id)["result"]["test_score"]
            if score is not None:
                scores[(cell.target.name, cell.budget)].append(score)
        parts, several = [], len({cell.budget for cell in unit.cells}) > 1
        with self._lock:
            for (target, budget), values in sorted(scores.items()):
                place, mean = (target, budget), float(np.mean(values))
                where = f" at {budget}" if several else ""
                parts.append(f"{100 * mean:.1f}{where}{self._beside(place, mean)}")
                self._best[place] = max(self._best.get(place, (mean, unit.name)), (mean, unit.name))
        return f"{unit.name}: test {', '.join(parts)}" if parts else f"{unit.name}: every seed diverged"

    def _beside(self, place: _Place, mean: float) -> str:
        if place not in self._best:
            return ""
        best, name = self._best[place]
        return " (best so far)" if mean > best else f" (best so far {100 * best:.1f}, {name.partition(',')[0]})"
