"""What a study found, looked up by the places that a claim names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tlx.errors import ConfigError, TlxError, suggest
from tlx.measure.stats import Interval
from tlx.report.summary import Row, summarise
from tlx.report.wording import gain, labels, score


class NotHereError(TlxError):
    """What a claim is about is not in these records."""


class DivergedError(TlxError):
    """What a claim is about was run, and has no result."""


@dataclass(frozen=True)
class Place:
    """The cells of one entry that differ in their seeds only.

    Args:
      entry: as the config calls it.
      budget: target labels; 0 for the only budget.
      source: of several; empty for the only one.
      target: of several; empty for the only one.
    """

    entry: str
    budget: int = 0
    source: str = ""
    target: str = ""

    @property
    def name(self) -> str:
        """In words."""
        start = f" from {self.source}" if self.source else ""
        where = f" on {self.target}" if self.target else ""
        return f"{self.entry}{start}{where}{f' at {labels(self.budget)}' if self.budget else ''}"


_Key = tuple[str | None, str, str, int]


@dataclass(frozen=True)
class Results:
    """Every row of a study, and the scores that it is the mean of.

    Args:
      rows: as the report has them.
      scores: test score by seed of what finished, by source, target, entry and budget.
    """

    rows: tuple[Row, ...]
    scores: Mapping[_Key, Mapping[int, float]]

    @staticmethod
    def of(records: Iterable[Mapping[str, Any]], manifest: Mapping[str, Any]) -> "Results":
        """The results of a study.

        Args:
          records: in any order.
          manifest: the study's planned cells.

        Raises:
          PairingError: two records are of the same cell.
        """
        given = list(records)
        scores: dict[_Key, dict[int, float]] = {}
        for record in given:
            if record["status"] == "ok":
                cell = record["cell"]
                key = cell["source"], cell["target"], cell["entry"], cell["budget"]
                scores.setdefault(key, {})[cell["seed"]] = record["result"]["test_score"]
        return Results(tuple(summarise(given, manifest, {})), scores)

    def row(self, place: Place) -> Row:
        """The row of a place, all of whose seeds have a record and at least one a result.

        Raises:
          NotHereError: the study has no such place, or some of it has not been run.
          DivergedError: every seed diverged.
          ConfigError: there are several.
        """
        found = self._one(place)
        if missing := found.seeds_expected - found.seeds_done - found.diverged:
            seeds = f"{missing} of {found.seeds_expected} seeds"
            raise NotHereError(f"{place.name}: {seeds} have no record; run the study to its end")
        if not found.seeds_done:
            raise DivergedError(f"{place.name}: all {found.diverged} seeds diverged")
        return found

    def by_seed(self, place: Place) -> Mapping[int, float]:
        """Test score by seed, of those that finished; errors as in `row`."""
        row = self.row(place)
        return self.scores[row.source, row.target, row.entry, row.budget]

    def gain(self, place: Place) -> Interval:
        """The gain of a place.

        Raises:
          ConfigError: the place is scratch itself, which has none; and as `row`.
          NotHereError, DivergedError: as `row`, of the place or of its scratch.
        """
        row = self.row(place)
        if row.gain is None:
            raise ConfigError("entry", f"{place.entry!r} is what gains are measured against and has none itself")
        scratch = next((other.entry for other in self.rows if other.arm == "scratch"), "scratch")
        finished = self.by_seed(Place(scratch, row.budget, target=row.target)).keys() & self.by_seed(place).keys()
        if not finished:
            raise DivergedError(f"{place.name}: no seed finished both here and from scratch")
        if row.refused or not row.gain.n:
            raise NotHereError(f"{place.name}: its cells must not be compared with those from scratch; see the report")
        return row.gain

    def say_gain(self, place: Place) -> str:
        """The gain in words."""
        return f"{place.name}: gain {gain(self.gain(place))}{self._lost(place)}"

    def say_score(self, place: Place) -> str:
        """The test accuracy or R² in words."""
        return f"{place.name}: {score(self.row(place).score)} %{self._lost(place)}"

    def _lost(self, place: Place) -> str:
        diverged = self.row(place).diverged
        return f" ({diverged} diverged)" if diverged else ""

    def _one(self, place: Place) -> Row:
        mine = [row for row in self.rows if row.entry == place.entry]
        if not mine:
            known = suggest(place.entry, (row.entry for row in self.rows))
            raise NotHereError(f"the study has no {place.entry!r}{known}")
        for what in ("target", "source"):
            # A random start has no source and stands beside every one.
            wanted = getattr(place, what)
            mine = [row for row in mine if not wanted or getattr(row, what) in (wanted, None)]
            if not mine:
                known = suggest(wanted, (name for row in self.rows if (name := getattr(row, what))))
                raise NotHereError(f"the study has no {place.entry!r} with {what} {wanted!r}{known}")
        found = [row for row in mine if place.budget in (row.budget, 0)]
        if not found:
            known = ", ".join(dict.fromkeys(str(row.budget) for row in mine))
            raise NotHereError(f"the study has no {place.entry!r} at {labels(place.budget)}, only at {known}")
        if len(found) > 1:
            raise ConfigError(
                "entry", f"the study has {len(found)} of {place.entry!r}; say which by source, target and budget"
            )
        return found[0]
