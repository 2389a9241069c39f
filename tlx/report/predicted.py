"""What predicted the gains: each estimator's ranking of sources beside what was measured."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tlx.atomic import digest_json
from tlx.measure.pairing import Pair, Record, pair
from tlx.measure.stats import Interval
from tlx.measure.transferability.etran import etran
from tlx.report import wording
from tlx.report.table import Table
from tlx.study.spec import TRANSFER

# Of parts that only a pool of sources puts together, and its name.
ETRAN, ETRAN_PARTS = "etran", ("etran_discriminant", "etran_energy")

Estimate = Mapping[str, Any]


@dataclass(frozen=True)
class Predicted:
    """An estimator beside what one way of adapting came to, source by source, at one target and budget.

    Args:
      estimator: its name.
      target: its name.
      entry: the way of adapting.
      budget: target labels.
      sources: those that have an estimate and a result, in the records' order.
      estimate_M: of each source, the mean over its seeds.
      gain_M: test score minus that of scratch, the mean over the same seeds; NaN where no seed has scratch.
      score_M: test score, the mean over the same seeds.
      seeds_M: how many seeds these are.
    """

    estimator: str
    target: str
    entry: str
    budget: int
    sources: tuple[str, ...]
    estimate_M: tuple[float, ...]
    gain_M: tuple[float, ...]
    score_M: tuple[float, ...]
    seeds_M: tuple[int, ...]


def predicted(records: Iterable[Record], estimates: Iterable[Estimate]) -> list[Predicted]:
    """Pair estimates with what was measured.

    Args:
      records: of one study.
      estimates: from `study.estimates.Estimates.load_all`; those of other data, budgets or sources are left out, and of
        one estimator's versions the latest counts.

    Returns:
      One for each target, entry, budget and estimator, in this order, with at least one source. A source counts with
      the seeds that have both; an estimate that could not be made is as one that is missing.

    Raises:
      PairingError: two arms differ in more than where they start from.
    """
    values = _values(estimates)
    cells: dict[tuple[str, str, int], dict[str, list[tuple[Pair, Mapping[str, float]]]]] = defaultdict(dict)
    for one in pair(records):
        cell = one.record["cell"]
        if cell["arm"] != TRANSFER or one.record["status"] == "diverged":
            continue
        found = values.get(_key_of_record(one.record), {})
        place = (cell["target"], cell["entry"], cell["budget"])
        cells[place].setdefault(cell["source"], []).append((one, found))
    made = []
    for (target, entry, budget), by_source in cells.items():
        names = dict.fromkeys(name for seeds in by_source.values() for _, found in seeds for name in found)
        plain = [_gathered(name, target, entry, budget, by_source) for name in names]
        made += plain + _pooled(plain)
    return made


def table(found: Sequence[Predicted]) -> Table:
    """How well each estimator ranked the sources, a group for each target, entry and budget.

    Args:
      found: from `predicted`; fewer than two sources cannot be ranked, and are left out.

    Returns:
      Correlations with the test score, which differs from the gain by what all sources share, and the best score
      among the first 1 and 3 as a share of the best of all. Intervals are over resampled sources.
    """
    groups: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for one in found:
        if len(one.sources) > 1:
            groups[f"{one.entry} on {one.target}, {wording.labels(one.budget)}"].append(_row(one))
    head = ("Estimator", "Weighted τ", "Pearson", "Spearman", "Rel@1", "Rel@3", "Sources")
    return Table(head, tuple((name, tuple(rows)) for name, rows in groups.items()))


def _row(one: Predicted) -> tuple[str, ...]:
    from tlx.measure.ranking import rank_scores

    # The same resamples whenever the report is written.
    ranking = rank_scores(one.estimate_M, one.score_M, np.random.default_rng(0))
    tops = [_share(ranking.rel_at[k]) if k in ranking.rel_at else wording.UNKNOWN for k in (1, 3)]
    taus = [_number(each) for each in (ranking.weighted_tau, ranking.pearson, ranking.spearman)]
    return (one.estimator, *taus, *tops, str(len(one.sources)))


def _number(value: Interval) -> str:
    if math.isnan(value.mean):
        return wording.UNKNOWN
    span = "" if math.isnan(value.low) else f" [{value.low:.2f}, {value.high:.2f}]"
    return f"{value.mean:.2f}{span}".replace("-", "−")


def _share(value: Interval) -> str:
    return wording.UNKNOWN if math.isnan(value.mean) else f"{100 * value.mean:.1f} %"


def _values(estimates: Iterable[Estimate]) -> dict[str, dict[str, float]]:
    """The estimates of each place, by what tells places apart."""
    newest: dict[tuple[str, str], int] = {}
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for one in estimates:
        of = one["of"]
        key = _key(of["source"], of["train"], of["budget"], of["per_class"], of["seed"], of["precision"], of["ops"])
        for name, value in one["estimates"].items():
            version = of["estimators"][name]
            if version >= newest.get((key, name), 0):
                newest[(key, name)] = version
                values[key][name] = float(value)
    return values


def _key_of_record(record: Record) -> str:
    of = record["config"]
    train = of["target"]["data"]["train"]
    return _key(of["source"], train, of["budget"], of["per_class"], of["seed"], of["recipe"]["precision"], of["ops"])


def _key(*parts: Any) -> str:
    return digest_json(list(parts))


def _gathered(
    name: str,
    target: str,
    entry: str,
    budget: int,
    by_source: Mapping[str, Sequence[tuple[Pair, Mapping[str, float]]]],
) -> Predicted:
    rows = []
    for source, seeds in by_source.items():
        both = [(one, found[name]) for one, found in seeds if name in found]
        if both:
            gains = [one.gain for one, _ in both if one.gain is not None]
            scores = [float(one.record["result"]["test_score"]) for one, _ in both]
            gain = float(np.mean(gains)) if gains else math.nan
            rows.append((source, float(np.mean([value for _, value in both])), gain, float(np.mean(scores)), len(both)))
    sources, estimate, gain_M, score, count = zip(*rows, strict=True)
    return Predicted(name, target, entry, budget, sources, estimate, gain_M, score, count)


def _pooled(found: Sequence[Predicted]) -> list[Predicted]:
    """ETran, where both of its parts are known of the same sources."""
    parts = [one for name in ETRAN_PARTS for one in found if one.estimator == name]
    if len(parts) != len(ETRAN_PARTS) or parts[0].sources != parts[1].sources or len(parts[0].sources) < 2:
        return []
    together = etran(parts[0].estimate_M, parts[1].estimate_M)
    return [replace(parts[0], estimator=ETRAN, estimate_M=tuple(float(value) for value in together))]
