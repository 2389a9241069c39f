import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tlx import stream
from tlx.report import Comparison, Row, comparisons, pair, summarise
from tlx.report.chart import Chart, svg
from tlx.report.charts.clustering import clustered
from tlx.report.charts.frontier import costs, frontier
from tlx.report.charts.gains import gains
from tlx.report.charts.label_curves import label_curves
from tlx.report.charts.matrix import PANELS, matrices, matrix
from tlx.report.charts.seeds import MOST, seeds
from tlx.report.charts.training import CELLS, STEPS, training
from tlx.report.figures import choices
from tlx.report.palette import Palette, palette

NAMES = ("full", "lora", "probe", "bitfit", "ia3", "a-method-with-a-really-long-name", "lp-ft", "adapter", "ninth")


def laid(make: SimpleNamespace, records: list[Any]) -> tuple[list[Row], list[Comparison], Palette]:
    rows = summarise(records, make.study(records).manifest, {})
    return rows, comparisons(rows), palette(rows)


def lines(chart: Chart | None) -> list[Any]:
    assert chart is not None
    ((name, data),) = chart.data.items()
    assert name == chart.name
    return list(data)


def grid(make: SimpleNamespace, cells: dict[tuple[str, str], tuple[int, ...]], scratch: int = 200) -> list[Any]:
    """Records of full tuning at 20 labels: test examples right by source and target, scratch the same everywhere."""
    records = []
    for place, ((source, target), correct) in enumerate(cells.items()):
        for seed, right in enumerate(correct):
            records.append(make.record("full", "transfer", 20, seed, right, source, target))
            if target not in [other for _, other in list(cells)[:place]]:
                records.append(make.record("scratch", "scratch", 20, seed, scratch, target=target))
    return records


@pytest.mark.parametrize("budgets", [(20,), (20, 100, 500)])
def test_the_numbers_of_a_gain(make: SimpleNamespace, budgets: tuple[int, ...]) -> None:
    rows, made, marks = laid(make, make.simulated({"full": 0.25, "lora": -0.2}, budgets, 5))
    chart = gains(made, marks)
    found = lines(chart)
    assert len(found) == 3 * len(budgets)
    for row, line in zip([row for row in rows if row.gain], found, strict=True):
        assert row.gain is not None
        assert [line["gain"], line["low"]] == pytest.approx([100 * row.gain.mean, 100 * row.gain.low], abs=1e-4)
    assert {line["verdict"] for line in found if line["method"] == "full" and line["budget"] == 20} == {"helps"}
    assert chart is not None and svg(chart).count("<svg") == 1


def test_charts_of_the_same_records_are_the_same_text(make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.25}, (20, 100), 3)
    _, made, marks = laid(make, records)
    first, second = (json.dumps(label_curves(made, marks).whole()) for _ in range(2))  # type: ignore[union-attr]
    assert first == second and "view_1" in first


def test_few_or_no_results_are_no_problem(make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.2}, (20, 100), 1)
    study = make.study([], lost=records)
    rows = summarise([], study.manifest, {})
    made, marks = comparisons(rows), palette(rows)
    assert gains(made, marks) is label_curves(made, marks) is costs(made, marks) is matrix(rows) is None
    assert seeds(made, [], {}, marks) is training(made, [], None, marks) is None
    _, made, marks = laid(make, records)
    found = lines(gains(made, marks))
    assert {line["verdict"] for line in found} == {"too few seeds"} and {line["low"] for line in found} == {None}


def test_a_matrix_marks_what_hurts_and_shows_what_is_missing(make: SimpleNamespace) -> None:
    cells = {
        ("a", "x"): (300, 301, 302),
        ("a", "y"): (101, 102, 103),
        ("b", "x"): (190, 200, 215),
        ("b", "y"): (120, 121, 122),
        ("c", "x"): (298, 300, 302),
    }
    rows, made, _ = laid(make, [*grid(make, cells), *grid(make, {("c", "z"): (200, 201, 202)})])
    assert len(made) == 6
    found = {(line["source"], line["target"]): line["shown"] for line in lines(matrix(rows))}
    assert found["a", "x"] == "+25.2" and found["a", "y"] == "▼ \N{MINUS SIGN}24.5"
    assert found["b", "x"].startswith("(+0.4") and ("c", "y") not in found
    lost = make.record("full", "transfer", 20, 0, 1, "c", "y")
    study = make.study(grid(make, cells), lost=[lost])
    found = {
        (line["source"], line["target"]): line["shown"]
        for line in lines(matrix(summarise(study.records, study.manifest, {})))
    }
    assert found["c", "y"] == "–" and matrices(rows) is None  # of a single panel


def test_neighbours_in_a_matrix_are_alike(make: SimpleNamespace) -> None:
    assert clustered([[0.0, 0.0], [9.0, 9.0], [1.0, 0.0], [8.0, 9.0]]) == [0, 2, 3, 1]
    assert clustered([[None, None], [None, None], [None, None]]) in ([0, 1, 2], [2, 1, 0], [2, 0, 1])
    assert clustered([[1.0], [0.0]]) == [0, 1] and clustered([]) == []
    cells = {(s, t): (n, n + 1, n + 2) for s, n in {"a": 100, "b": 350, "c": 110, "d": 340}.items() for t in "xy"}
    rows, _, _ = laid(make, grid(make, cells))
    chart = matrix(rows)
    assert chart is not None
    order = chart.spec["layer"][0]["encoding"]["y"]["sort"]
    assert sorted(order) == ["a", "b", "c", "d"] and {frozenset(order[:2]), frozenset(order[2:])} == {
        frozenset("ac"),
        frozenset("bd"),
    }


def test_one_pair_has_no_matrix(make: SimpleNamespace) -> None:
    rows, _, _ = laid(make, make.simulated({"full": 0.2}, (20,), 3))
    assert matrix(rows) is None


def test_many_methods_are_chosen_from_a_list(make: SimpleNamespace) -> None:
    records = [
        record for target in ("x", "y") for record in make.simulated(dict.fromkeys(NAMES, 0.1), (20,), 1, target=target)
    ]
    rows, made, marks = laid(make, records)
    chart = matrix(rows)
    assert chart is not None and len(list(choices(chart))) == len(NAMES) > PANELS and matrices(rows) is None
    drawn = list(choices(gains(made, marks)))  # type: ignore[arg-type]
    assert [one.name for one in drawn] == ["gain", "gain-2"]
    assert ["mnist → x" in str(one.spec["params"]) for one in drawn] == [True, True]
    assert [one.spec["params"][0]["value"] for one in drawn] == ["mnist → x", "mnist → y"]


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([], []),
        ([(1.0, 1.0)], [0]),
        ([(1.0, 1.0), (1.0, 1.0)], [0, 1]),
        ([(1.0, 5.0), (2.0, 4.0), (3.0, 9.0), (3.0, 8.0)], [0, 2]),
        ([(3.0, 1.0), (2.0, 1.0), (1.0, 1.0)], [2]),
    ],
)
def test_the_frontier(points: list[tuple[float, float]], best: list[int]) -> None:
    assert frontier(points) == best


def test_costs_of_zero_are_left_out(make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.25, "probe": 0.2}, (20,), 3)
    for record in records:
        if record["cell"]["entry"] == "probe":
            record["cost"]["step_flops"] = 0.0
    _, made, marks = laid(make, records)
    found = lines(costs(made, marks))
    flops = [line["method"] for line in found if line["panel"].endswith("FLOPs of a step")]
    assert flops == ["scratch", "random-frozen (random-frozen)", "full"] or "probe" not in flops
    assert {line["on_frontier"] for line in found if line["method"] == "scratch"} == {"no"}


def test_every_seed_is_a_point_and_too_many_are_thinned(make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.25}, (20,), 4)
    _, made, marks = laid(make, records)
    by_id = {one.record["id"]: one.gain for one in pair(records)}
    found = lines(seeds(made, records, by_id, marks))
    assert len(found) == 12 and {line["seed"] for line in found} == {0, 1, 2, 3}
    assert [line["said_gain"] for line in found if line["method"] == "scratch"] == ["–"] * 4
    many = make.simulated({"full": 0.25}, (20,), MOST // 2)
    few = [record for record in many if record["cell"]["seed"] == 0]
    chart = seeds(laid(make, few)[1], many, {}, marks)
    assert len(lines(chart)) == MOST and chart is not None and f"of {len(many)} points" in chart.note


def test_training_is_read_from_the_metrics_of_the_chosen_rate(make: SimpleNamespace, tmp_path: Path) -> None:
    records = make.simulated({"full": 0.25}, (20,), 1)
    _, made, marks = laid(make, records)
    whole = [
        {"trial": str(rate), "peak_lr": rate, "step": step, "train_loss": rate + 1 / (step + 1)}
        for rate in (0.001, 0.01)
        for step in range(1, 201)
    ]
    stream.append(tmp_path / "metrics" / f"{records[0]['id']}.jsonl", whole)
    found = lines(training(made, records, tmp_path, marks))
    mine = [line for line in found if line["record"] == records[0]["id"]]
    assert len(mine) == STEPS and (mine[0]["step"], mine[-1]["step"]) == (1, 200)
    assert mine[0]["loss"] == 0.501
    # The others have no stream: what their records keep is shown.
    assert [line["step"] for line in found if line["record"] == records[1]["id"]] == [50, 100]


def test_of_many_cells_the_first_seeds_are_drawn(make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.25}, (20, 100), 20)
    _, made, marks = laid(make, records)
    chart = training(made, records, None, marks)
    found = {(line["record"], line["seed"]) for line in lines(chart)}
    assert len(found) == CELLS and {seed for _, seed in found} == set(range(10))
    assert chart is not None and f"{CELLS} of 120 cells" in chart.note


def test_an_entry_keeps_its_mark_in_every_comparison(make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.1, "lora": 0.2}, (20,), 1)
    records += make.simulated({"lora": 0.1, "probe": 0.2}, (20,), 1, target="usps")
    _, _, marks = laid(make, records)
    assert len({mark.colour for mark in marks.values()}) == len(marks) == 5
    assert marks["scratch"].colour == "#000000"


def test_eight_entries_differ_in_colour_and_a_ninth_in_dash(make: SimpleNamespace) -> None:
    _, _, marks = laid(make, make.simulated(dict.fromkeys(NAMES, 0.1), (20,), 1))
    transfers = [marks[name] for name in NAMES]
    assert len({mark.colour for mark in transfers[:8]}) == 8
    assert transfers[8].colour == transfers[0].colour and transfers[8].dash != transfers[0].dash
