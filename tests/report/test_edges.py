from types import SimpleNamespace
from typing import Any

from tlx.report import pair
from tlx.report.edges import at_edges, edge_of
from tlx.report.page import make_page
from tlx.report.results import gather

RATES = (0.001, 0.01, 0.1)


def chose(make: SimpleNamespace, rate: float, entry: str = "full", **selected: Any) -> dict[str, Any]:
    trials = [{"lr": each, "status": "ok", "val_score": 0.8, "val_loss": 0.6} for each in RATES]
    record: dict[str, Any] = make.record(entry, trials=trials, selected={"lr": rate, "by": "mean", **selected})
    return record


def test_the_edge_is_seen_from_the_trials_of_a_grid(make: SimpleNamespace) -> None:
    assert [edge_of(chose(make, rate)) for rate in RATES] == ["low", None, "high"]
    assert edge_of(make.record(trials=[{"lr": 0.1}], selected={"lr": 0.1, "by": "mean"})) is None


def test_penalties_have_edges_too(make: SimpleNamespace) -> None:
    trials = [{"l2": each, "status": "ok", "val_score": 0.8, "val_loss": 0.6} for each in RATES]
    solved = make.record("probe", trials=trials, selected={"l2": 0.1, "by": "mean"})
    assert edge_of(solved) == "high"


def test_what_a_record_says_counts(make: SimpleNamespace) -> None:
    assert edge_of(chose(make, 0.01, edge="high")) == "high"
    assert edge_of(chose(make, 0.001, edge=None)) is None


def test_the_report_says_in_how_many_cells_and_of_which_entries(make: SimpleNamespace) -> None:
    records = [chose(make, 0.1, "lora"), chose(make, 0.01), chose(make, 0.001, "probe")]
    assert at_edges(records) == "2 of 3 cells (lora and probe)"
    assert at_edges([chose(make, 0.01)]) == ""
    study = make.study(records)
    found = {record["id"]: record for record in study.records}
    (page,) = make_page([gather(found, study.manifest, study.timings, {}, None)]).studies
    facts = dict(page.facts)
    assert facts["rates at the edge of those tried"] == "2 of 3 cells (lora and probe)"


def test_arms_of_other_searches_are_not_compared(make: SimpleNamespace) -> None:
    halved = make.record(config__search={"kind": "halving", "rungs": 2, "eta": 3})
    (one,) = pair([make.record("scratch", "scratch"), halved])
    assert one.gain is None and one.refusal.startswith(
        f"config.search.kind: 'full', record {halved['id']}, has 'halving'"
    )
