"""Tables of what changed inside: means over seeds, what is unknown, and nothing at all."""

import math
from typing import Any

from tlx.report.inside import (
    barrier_table,
    cka_table,
    distortion_table,
    drift_table,
    forgetting_rows,
    forgetting_table,
    probe_rows,
    probe_table,
    stage_rows,
)
from tlx.report.table import Table


def found(entry: str, seed: int, cka: float | None, drop: float | None, budget: int = 20) -> dict[str, Any]:
    stages = [
        {
            "stage": "embed",
            "cka": 1.0,
            "drift": 0.0,
            "drift_l2": 0.0,
            "distortion": 0.0,
            "relative_distortion": 0.0,
            "source_distortion": None,
            "source_relative_distortion": None,
        },
        {
            "stage": "pool",
            "cka": cka,
            "drift": None,
            "drift_l2": None,
            "distortion": 2.0,
            "relative_distortion": 0.25,
            "source_distortion": 3.0,
            "source_relative_distortion": 0.5,
        },
    ]
    told = {"unknown": "no head"} if drop is None else {"before": 0.9, "after": 0.9 - drop, "drop": drop, "examples": 9}
    cell = {"source": "a", "target": "b", "entry": entry, "budget": budget, "seed": seed, "arm": "transfer"}
    return {"id": f"{entry}{seed}{budget}", "cell": cell, "stages": stages, "forgetting": told}


CELLS = [found("full", seed, cka, drop) for seed, cka, drop in ((1, 0.6, 0.3), (0, 0.5, 0.1), (2, 0.7, 0.2))]
CELLS += [found("side", 0, None, None), found("full", 0, 0.25, 0.0, budget=100)]


def test_stages_are_means_over_seeds() -> None:
    rows = stage_rows(CELLS)
    assert [(row.entry, row.budget, row.stage, row.depth) for row in rows] == [
        ("full", 20, "embed", 0),
        ("full", 20, "pool", 1),
        ("full", 100, "embed", 0),
        ("full", 100, "pool", 1),
        ("side", 20, "embed", 0),
        ("side", 20, "pool", 1),
    ]
    pool = rows[1]
    assert (pool.cka.n, pool.cka.kind) == (3, "t") and math.isclose(pool.cka.mean, 0.6)
    assert pool.drift.n == 0 and pool.source_distortion.mean == 0.5 and rows[0].source_distortion.n == 0


def test_tables_by_stage() -> None:
    assert cka_table(CELLS) == Table(
        ("Method", "Labels", "embed", "pool"),
        (
            (
                "a → b",
                (("full", "20", "1.000", "0.600"), ("full", "100", "1.000", "0.250"), ("side", "20", "1.000", "–")),
            ),
        ),
    )
    assert drift_table(CELLS).groups[0][1][0] == ("full", "20", "0 %", "–")
    assert distortion_table(CELLS).groups[0][1][0] == ("full", "20", "0 %", "25 %")


def test_forgetting_by_entry() -> None:
    table = forgetting_table(CELLS)
    assert table.head == ("Method", "Labels", "Before, %", "After, %", "Forgotten, points [95 %]")
    assert table.groups == (
        (
            "a → b",
            (
                ("full", "20", "90.0 ± 0.0", "70.0 ± 24.8", "+20.0 [-4.8, 44.8]"),
                ("full", "100", "90.0", "90.0", "+0.0"),
                ("side", "20", "", "", "no head"),
            ),
        ),
    )
    assert [row.unknown for row in forgetting_rows(CELLS)] == ["", "", "no head"]


def test_barriers_between_seeds() -> None:
    cell = {"source": None, "target": "b", "entry": "scratch", "budget": 20, "seed": [0, 1]}
    ends = {"train": {"loss_barrier": 1.25, "score_barrier": 0.5}, "test": {"loss_barrier": 1.5, "score_barrier": 0.4}}
    pairs = [
        {"id": "x-y", "cell": {**cell, "source": "a", "entry": "prompt"}, "unknown": "not plain"},
        {"id": "v-w", "cell": cell, **ends},
    ]
    assert barrier_table(pairs).groups == (
        ("b", (("scratch", "20", "1.250", "1.500", "40.0"),)),
        ("a → b", (("prompt", "20", "", "", "not plain"),)),
    )


def test_probes_before_and_after() -> None:
    def probe(accuracy: float, control: float) -> dict[str, float]:
        return {"penalty": 1.0, "accuracy": accuracy, "control": control, "selectivity": accuracy - control}

    cell = {"source": "a", "target": "b", "entry": "full", "budget": 20}
    probes = [
        {"cell": {**cell, "seed": seed}, "stages": [{"stage": "pool", "before": probe(0.5, 0.5), "after": probe(a, c)}]}
        for seed, a, c in ((0, 0.75, 0.25), (1, 0.5, 0.5))
    ]
    (row,) = probe_rows(probes)
    assert (row.before.mean, row.after.mean, row.selectivity.mean, row.after.n) == (0.5, 0.625, 0.25, 2)
    assert probe_table(probes) == Table(("Method", "Labels", "pool"), (("a → b", (("full", "20", "50.0 → 62.5"),)),))


def test_nothing_found_is_an_empty_table() -> None:
    assert cka_table([]) == Table(("Method", "Labels"), ()) and stage_rows([]) == forgetting_rows([]) == []
    assert forgetting_table([]).groups == barrier_table([]).groups == ()
