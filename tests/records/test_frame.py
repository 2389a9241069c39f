"""Records as a frame: one row a cell, the same columns whatever is there."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_records import diverge, make_record, make_study, publish, simulate

from tlx import atomic, records
from tlx.records.answer import frame_answer
from tlx.records.columns import COLUMNS, STATUSES
from tlx.records.store import Records

NAMES = [column.name for column in COLUMNS]
PARTS = ("train", "validation", "test")
DTYPES = {column.name: column.dtype for column in COLUMNS}


def loaded(*folders: Path) -> pd.DataFrame:
    lines: list[str] = []
    frame = records.load(*folders, warn=lines.append)
    assert lines == [] and [*frame.columns] == NAMES
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    return frame


def test_columns_are_told_apart_and_explained() -> None:
    assert len(set(NAMES)) == len(NAMES) and all(name.isidentifier() and name.islower() for name in NAMES)
    assert all(column.doc and "\n" not in column.doc for column in COLUMNS)


def test_nothing_gives_the_same_columns(tmp_path: Path) -> None:
    assert len(loaded(tmp_path)) == 0 == len(loaded())


def test_values_by_hand(tmp_path: Path) -> None:
    scratch = make_record("scratch", "scratch", correct=200)
    lora = make_record("lora", correct=320, cell__method={"name": "lora", "rank": 4})
    rows = frame_answer(loaded(publish(make_study([scratch, lora]), tmp_path / "work"))).as_dicts()
    assert rows[1] | {"digest": "", "folder": ""} == {
        **dict.fromkeys(NAMES),
        "folder": "",
        "study": "quickstart",
        "id": lora["id"],
        "status": "ok",
        "planned": True,
        "source": "mnist",
        "target": "digits",
        "entry": "lora",
        "arm": "transfer",
        "method": "lora",
        "settings": '{"rank": 4}',
        "budget": 20,
        "seed": 0,
        "model": "mlp",
        "steps": 100,
        "batch_size": 16,
        "search": "grid",
        "trials": 2,
        "trials_diverged": 1,
        "rate": 0.001,
        "rate_kind": "lr",
        "metric": "accuracy",
        "val_score": 0.81,
        "test_score": 0.8,
        "test_loss": 0.7,
        "test_correct": 320,
        "test_examples": 400,
        "gain": pytest.approx(0.3),
        "scratch_id": scratch["id"],
        "scratch_score": 0.5,
        "trainable_params": 1550,
        "total_params": 155000,
        "trainable_share": 0.01,
        "optimizer_bytes": 12400,
        "step_flops": 1.2e8,
        "cached_flops": 0.0,
        "strategy": "loop",
        "wall_s": 1.5,
        "source_score": 0.95,
        "checkpoint": lora["lineage"]["checkpoint"],
        **{f"{part}_{name}": lora["data"][part][name] for part in PARTS for name in ("split", "digest")},
        "subset_digest": lora["data"]["subset"]["digest"],
        "subset_examples": 20,
        "digest": "",
        "jax": "0.12.0.1",
        "device": "cpu",
    }
    assert rows[0]["source"] is rows[0]["gain"] is rows[0]["scratch_id"] is None
    stored = json.loads((tmp_path / "work" / "records" / f"{lora['id']}.json").read_text())
    assert rows[1]["digest"] == stored["digest"] and rows[1]["folder"] == str(tmp_path / "work")


def test_every_cell_is_a_row_whatever_became_of_it(tmp_path: Path) -> None:
    made: list[Any] = [make_record(seed=seed) for seed in range(5)]
    made[1] = diverge(made[1])
    folder = publish(make_study(made[:3], lost=made[3:]), tmp_path)
    Records(folder).fail(made[3]["id"], "RuntimeError: out of memory", "…")
    (folder / "records" / f"{made[2]['id']}.json").write_bytes(b"{")
    lines: list[str] = []
    frame = records.load(folder, warn=lines.append)
    assert [*frame.status] == ["ok", "diverged", "damaged", "failed", "missing"] and set(frame.status) == set(STATUSES)
    assert [*frame.seed] == [0, 1, 2, 3, 4] and [*frame.entry] == ["full"] * 5
    assert frame.reason[2].startswith("is damaged") and frame.reason[3] == "RuntimeError: out of memory"
    assert frame.reason.isna().tolist() == [True, True, False, False, True]
    assert frame.test_score.isna().tolist() == [False, True, True, True, True] and pd.isna(frame.test_correct[1])
    assert len(lines) == 1 and made[2]["id"] in lines[0]


def test_what_was_drawn_besides_the_rate_is_told(tmp_path: Path) -> None:
    chosen = {"l2": 0.1, "weight_decay": 0.5, "by": "mean", "edge": None}
    search = {"kind": "random", "trials": 2}
    made = [make_record(selected=chosen, config__search=search), make_record(seed=1)]
    frame = loaded(publish(make_study(made), tmp_path))
    assert [*frame.rate] == [0.1, 0.001] and [*frame.rate_kind] == ["l2", "lr"]
    assert frame.drawn[0] == '{"weight_decay": 0.5}' and pd.isna(frame.drawn[1])
    assert [*frame.search] == ["random", "grid"]


def test_python_s_own_warnings_are_the_default(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "notes.json").write_text("{}")
    with pytest.warns(UserWarning, match=r"notes\.json: is not named by the 16 hex digits"):
        assert len(records.load(tmp_path)) == 0


def test_pairs_that_are_refused_have_no_gain_and_say_why(tmp_path: Path) -> None:
    made = [make_record("scratch", "scratch"), make_record(), make_record("lora", data__test__digest="other")]
    frame = loaded(publish(make_study(made), tmp_path)).set_index("entry")
    assert frame.gain["full"] == 0.0 and pd.isna(frame.gain["lora"]) and pd.isna(frame.refusal["full"])
    assert frame.refusal["lora"].startswith("data.test.digest: 'lora', record ")
    assert pd.isna(frame.scratch_id["lora"]) and frame.test_score["lora"] == 0.8


def test_records_of_an_older_config_follow_and_keep_their_own_baseline(tmp_path: Path) -> None:
    old = [make_record("scratch", "scratch", correct=100), make_record(correct=300)]
    for number, record in enumerate(old):
        record["id"], record["config"]["recipe"] = f"{number:016x}", {"steps": 50}
    new = make_study([make_record("scratch", "scratch", correct=200), make_record(correct=320)])
    publish(make_study(old), tmp_path)
    frame = loaded(publish(new, tmp_path))
    assert [*frame.planned] == [True, True, False, False] and [*frame.steps] == [100, 100, 50, 50]
    assert [*frame.gain.round(6)][1::2] == [0.3, 0.5] and frame.refusal.isna().all()


def test_several_studies_are_one_frame(tmp_path: Path) -> None:
    one = publish(make_study(simulate({"full": 0.2}, (20,), 2)), tmp_path / "a")
    two = publish(make_study(simulate({"full": 0.2}, (20,), 2), study="another"), tmp_path / "b")
    frame = loaded(one, two)
    assert len(frame) == 12 and [*frame.study.unique()] == ["quickstart", "another"]
    assert frame.groupby("folder").gain.count().tolist() == [4, 4]


def test_a_record_with_less_in_it_is_a_row(tmp_path: Path) -> None:
    cell = make_record()["cell"]
    Records(tmp_path).publish({"id": "0" * 16, "status": "ok", "cell": cell}, {})
    (row,) = frame_answer(loaded(tmp_path)).as_dicts()
    assert row["entry"] == "full" and row["planned"] is False and row["search"] == "grid"
    assert row["test_score"] is row["trials"] is None and row["study"] == tmp_path.name


@pytest.mark.thorough
def test_ten_thousand_records(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    made = simulate({"full": 0.2}, (20,), 3334)
    for record in made:
        content = {key: value for key, value in record.items() if key != "digest"}
        content["digest"] = atomic.digest_json(content)
        (tmp_path / "records" / f"{record['id']}.json").write_bytes(atomic.canonical_json(content))
    frame = loaded(tmp_path)
    assert len(frame) == len(made) == 10_002 and frame.gain.count() == 2 * 3334
