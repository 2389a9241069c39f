"""Whether a study's records bear out an experiment's claims: `python -m experiments.check EXPERIMENT WORKDIR`.

An experiment's `expected.json` names its study and lists claims: a sentence, a kind, one of the checks below and
what that check asks for, in percent and percentage points as the report writes them. A study with several sources
or targets says which with `source` and `target`.
"""

import argparse
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlx.atomic import read_json
from tlx.errors import ConfigError, FileError, TlxError, suggest
from tlx.fields import Field
from tlx.measure.stats import Interval
from tlx.records import Records
from tlx.report import Row, summarise
from tlx.report.wording import gain, labels, score

# The direction others found too; how large it is here; that the comparison itself is sound.
KINDS = ("sign", "headline", "control")


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
      held: whether the claim is borne out.
      measured: the numbers, with their intervals.
      bound: what they were held against.
    """

    held: bool
    measured: str
    bound: str


@dataclass(frozen=True)
class Rows:
    """The rows of one source and target."""

    rows: tuple[Row, ...]

    def at(self, entry: str, budget: int) -> Row:
        """The row of an entry at a budget.

        Raises:
          ConfigError: there is none, or there are several.
        """
        mine = [row for row in self.rows if row.entry == entry]
        found = [row for row in mine if row.budget == budget]
        if not mine:
            raise ConfigError("entry", f"the study has no {entry!r}{suggest(entry, (row.entry for row in self.rows))}")
        if not found:
            known = ", ".join(str(row.budget) for row in mine)
            raise ConfigError("budget", f"the study has no {entry!r} at {labels(budget)}, only at {known}")
        if len(found) > 1:
            raise ConfigError("entry", f"the study has {len(found)} of {entry!r}; give the claim a source and a target")
        return found[0]

    def gain(self, entry: str, budget: int) -> Interval:
        """The gain of an entry at a budget; errors as in `at`, and for scratch, which has none."""
        value = self.at(entry, budget).gain
        if value is None:
            raise ConfigError("entry", f"{entry!r} is what gains are measured against and has none itself")
        return value

    def say_gain(self, entry: str, budget: int) -> str:
        """The gain in words."""
        return f"{entry} at {labels(budget)}: gain {gain(self.gain(entry, budget))}{self._lost(entry, budget)}"

    def say_accuracy(self, entry: str, budget: int) -> str:
        """The accuracy in words."""
        return f"{entry} at {labels(budget)}: {score(self.at(entry, budget).score)} %{self._lost(entry, budget)}"

    def _lost(self, entry: str, budget: int) -> str:
        diverged = self.at(entry, budget).diverged
        return f" ({diverged} diverged)" if diverged else ""


def gain_at_least(rows: Rows, entry: str, budget: int, points: float) -> Finding:
    """The mean gain reaches a number of points."""
    held = _hundredths(rows.gain(entry, budget).mean) >= points
    return Finding(held, rows.say_gain(entry, budget), f"at least {points:+.1f}")


def gain_at_most(rows: Rows, entry: str, budget: int, points: float) -> Finding:
    """The mean gain does not exceed a number of points."""
    held = _hundredths(rows.gain(entry, budget).mean) <= points
    return Finding(held, rows.say_gain(entry, budget), f"at most {points:+.1f}")


def gain_above_zero(rows: Rows, entry: str, budget: int) -> Finding:
    """The interval of the gain lies above 0."""
    return Finding(rows.gain(entry, budget).above_zero, rows.say_gain(entry, budget), "interval above 0")


def gain_below_zero(rows: Rows, entry: str, budget: int) -> Finding:
    """The interval of the gain lies below 0."""
    return Finding(rows.gain(entry, budget).below_zero, rows.say_gain(entry, budget), "interval below 0")


def gain_shrinks(rows: Rows, entry: str, few: int, many: int, points: float) -> Finding:
    """The mean gain is smaller with many labels than with few, by a number of points."""
    held = _hundredths(rows.gain(entry, few).mean - rows.gain(entry, many).mean) >= points
    return Finding(held, f"{rows.say_gain(entry, few)}; {rows.say_gain(entry, many)}", f"at least {points:.1f} less")


def accuracy_between(rows: Rows, entry: str, budget: int, low: float, high: float) -> Finding:
    """The mean test accuracy lies in a range, in percent."""
    held = low <= _hundredths(rows.at(entry, budget).score.mean) <= high
    return Finding(held, rows.say_accuracy(entry, budget), f"{low:.1f} to {high:.1f} %")


def more_accurate(rows: Rows, entry: str, than: str, budget: int, points: float) -> Finding:
    """One entry's mean test accuracy is above another's, by a number of points."""
    ahead = rows.at(entry, budget).score.mean - rows.at(than, budget).score.mean
    measured = f"{rows.say_accuracy(entry, budget)}; {rows.say_accuracy(than, budget)}"
    return Finding(_hundredths(ahead) >= points, measured, f"at least {points:.1f} points more")


def _hundredths(share: float) -> float:
    """A share in percent, without the last bits: what equals its bound on paper meets it."""
    return round(100 * share, 6)


Check = Callable[..., Finding]
CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        gain_at_least,
        gain_at_most,
        gain_above_zero,
        gain_below_zero,
        gain_shrinks,
        accuracy_between,
        more_accurate,
    )
}
_FILE = {"study": Field("", "name of the study"), "claims": Field(({},), "what it shows")}
_CLAIM = {
    "claim": Field("", "one sentence"),
    "kind": Field("sign", "what it is for", choices=KINDS),
    "check": Field("gain_at_least", "how it is decided", choices=tuple(CHECKS)),
}
_WHICH = {"source": Field("", "of several"), "target": Field("", "of several")}


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line for each claim.

    Args:
      argv: arguments, or None for the process's own.

    Returns:
      The exit code: 0 if every claim held, 1 if one failed, 2 if that cannot be said.
    """
    parser = argparse.ArgumentParser(prog="python -m experiments.check", description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=Path, help="folder with expected.json")
    parser.add_argument("workdir", type=Path, help="folder of the finished study")
    options = parser.parse_args(argv)
    try:
        claims = read_claims(options.experiment / "expected.json", options.workdir)
    except TlxError as error:
        print(error, file=sys.stderr)
        return 2
    for claim, kind, finding in claims:
        verdict = "held" if finding.held else "FAILED"
        print(f"{verdict:6}  {kind:8}  {claim}  [{finding.measured}; expected: {finding.bound}]")
    return 0 if all(finding.held for _, _, finding in claims) else 1


def read_claims(path: Path, workdir: Path) -> list[tuple[str, str, Finding]]:
    """Each claim's sentence and kind, and what the records say of it.

    Args:
      path: of an `expected.json`.
      workdir: of a finished study.

    Raises:
      TlxError: a file is missing or damaged, a claim is none, or the study is another or unfinished.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise FileError(path, "expected a study and its claims")
    try:
        file = _all_fields(_FILE, content)
        rows = _finished_rows(file["study"], workdir)
        return [_decide(f"claims[{i}]", claim, rows) for i, claim in enumerate(file["claims"])]
    except ConfigError as error:
        raise FileError(path, str(error)) from None


def _finished_rows(study: str, workdir: Path) -> list[Row]:
    records = Records(workdir)
    manifest = records.manifest()
    if manifest["study"] != study:
        raise FileError(workdir, f"holds the study {manifest['study']!r}, the claims are about {study!r}")
    rows = summarise(records.load_all(), manifest, {})
    if missing := sum(row.seeds_expected - row.seeds_done - row.diverged for row in rows):
        raise FileError(
            workdir, f"{missing} of {len(manifest['cells'])} cells have no record; run the study to its end"
        )
    return rows


def _decide(where: str, claim: Any, rows: Sequence[Row]) -> tuple[str, str, Finding]:
    if not isinstance(claim, dict):
        raise ConfigError(where, f"expected a claim, got {claim!r}")
    try:
        check = CHECKS[_CLAIM["check"].check("check", claim.get("check"))]
        _, *asked = inspect.signature(check).parameters.values()
        own = {parameter.name: Field(parameter.annotation(), "asked for by the check") for parameter in asked}
        which = {name: field.check(name, claim[name]) for name, field in _WHICH.items() if name in claim}
        values = _all_fields(_CLAIM | own, {name: value for name, value in claim.items() if name not in which})
        # A random start has no source and stands beside every one.
        mine = [row for row in rows if all(getattr(row, name) in (value, None) for name, value in which.items())]
        finding = check(Rows(tuple(mine)), **{name: values[name] for name in own})
        return values["claim"], values["kind"], finding
    except ConfigError as error:
        raise error.within(where) from None


def _all_fields(fields: Mapping[str, Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields' values, none left to its default."""
    for name in given:
        if name not in fields:
            raise ConfigError(name, f"no such field{suggest(name, fields)}")
    for name in fields:
        if name not in given:
            raise ConfigError(name, "is missing")
    return {name: field.check(name, given[name]) for name, field in fields.items()}


if __name__ == "__main__":
    sys.exit(main())
