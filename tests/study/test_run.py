import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Make

from tlx import losses
from tlx.progress import Silent
from tlx.records import Records
from tlx.report import summarise
from tlx.step import Task
from tlx.study import run
from tlx.study.context import Context
from tlx.study.plan import train_programs
from tlx.study.spec import Folders


class Finished:
    """A study that was run, and what it left."""

    def __init__(self, make_study: Make, work: Path, data_dir: Path, *overrides: str) -> None:
        self.work = work
        self.contexts: list[Context] = []
        self.study = make_study(*overrides)
        self.grid = run.run(self.study, Folders(work, data_dir), Silent(), self.contexts.append)
        self.records = Records(work).load_all()

    def of(self, entry: str, budget: int, seed: int) -> dict[str, Any]:
        (found,) = [
            r
            for r in self.records
            if (r["cell"]["entry"], r["cell"]["budget"], r["cell"]["seed"]) == (entry, budget, seed)
        ]
        return found


@pytest.fixture(scope="module")
def finished(make_study: Make, tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[Finished]:
    scored: list[int] = []
    real = losses.accuracy_and_loss

    def counting(logits_NC: np.ndarray, label_N: np.ndarray) -> tuple[float, float]:
        scored.append(len(label_N))
        return real(logits_NC, label_N)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "accuracy_and_loss", counting)
        done = Finished(make_study, tmp_path_factory.mktemp("study"), data_dir)
    done.scored = scored  # type: ignore[attr-defined]
    yield done


def test_one_record_a_cell_and_nothing_left_over(finished: Finished) -> None:
    assert {record["id"] for record in finished.records} == {cell.id for cell in finished.grid.cells}
    assert len(finished.records) == 20
    assert not list((finished.work / "work").glob("*"))
    assert finished.records[0]["environment"]["devices"] == 4


def test_test_labels_are_looked_at_once_a_cell(finished: Finished) -> None:
    assert finished.scored.count(400) == 20  # type: ignore[attr-defined]


def test_arms_are_paired_by_seed(finished: Finished) -> None:
    for budget in (20, 40):
        for seed in (0, 1):
            arms = [finished.of(entry, budget, seed) for entry in ("scratch", "random_frozen", "probe", "full", "lora")]
            assert len({arm["data"]["subset"]["digest"] for arm in arms}) == 1
            assert {len(arm["trials"]) for arm in arms} == {3}
            assert arms[0]["data"]["subset"]["per_class"] == [budget // 10] * 10
    small, large = finished.of("full", 20, 0), finished.of("full", 20, 1)
    assert small["data"]["subset"]["digest"] != large["data"]["subset"]["digest"]


def test_the_learning_rate_is_the_best_on_validation_over_the_seeds(finished: Finished) -> None:
    for entry in ("scratch", "probe", "lora"):
        both = [finished.of(entry, 40, seed) for seed in (0, 1)]
        means = {
            trials[0]["lr"]: np.mean([trial["val_score"] for trial in trials])
            for trials in zip(*(record["trials"] for record in both), strict=True)
        }
        chosen = both[0]["selected"]["lr"]
        assert chosen == both[1]["selected"]["lr"]
        assert means[chosen] == max(means.values())


def test_a_transferred_cell_says_where_its_leaves_come_from(finished: Finished) -> None:
    record = finished.of("lora", 20, 0)
    surgery = record["surgery"]
    assert surgery["reset"] == surgery["left_out"] == ["params/head/bias", "params/head/kernel"]
    assert len(surgery["copied"]) == 21
    assert len(record["lineage"]["checkpoint"]) == 64
    source, scratch = record["config"]["source"], finished.of("scratch", 20, 0)
    examples = source["recipe"]["steps"] * source["recipe"]["batch_size"]
    # Both train everything, so that FLOPs of an example differ by those of the update, which is once a step.
    each = scratch["cost"]["step_flops"] / scratch["config"]["recipe"]["batch_size"]
    assert record["lineage"]["pretraining_flops"] == pytest.approx(examples * each, rel=0.1)
    assert finished.of("scratch", 20, 0)["surgery"] is None
    assert finished.of("random_frozen", 20, 0)["lineage"] is None


def test_the_plan_predicts_what_is_compiled(finished: Finished) -> None:
    names = finished.contexts[0].programs.names()
    trained = [name for name in names if isinstance(name, Task) or (isinstance(name, tuple) and "fused" in name)]
    assert len(trained) == train_programs(finished.study, finished.grid.units) == 5


def test_a_second_run_computes_nothing(finished: Finished, make_study: Make, data_dir: Path) -> None:
    again = Finished(make_study, finished.work, data_dir)
    assert again.contexts[0].programs.count == 0
    assert again.records == finished.records


@pytest.mark.thorough
def test_a_lost_record_comes_back_bit_for_bit(finished: Finished, make_study: Make, data_dir: Path) -> None:
    for entry in ("full", "probe"):
        path = finished.work / "records" / f"{finished.of(entry, 20, 1)['id']}.json"
        before = path.read_bytes()
        path.unlink()
        Finished(make_study, finished.work, data_dir)
        assert path.read_bytes() == before


@pytest.mark.thorough
def test_the_way_it_is_run_does_not_change_the_numbers(
    finished: Finished, make_study: Make, tmp_path: Path, data_dir: Path
) -> None:
    ways = {
        "one device": ("--config.mesh.data=1", "--config.plan.strategy=loop"),
        "all fused": ("--config.plan.strategy=fused", "--config.plan.steps_per_call=20"),
        "pmap": ("--config.compile=pmap",),
        "fsdp": ("--config.mesh.data=2", "--config.mesh.fsdp=2"),
    }
    for name, overrides in ways.items():
        other = Finished(make_study, tmp_path / name, data_dir, "--config.budgets=(20,)", *overrides)
        assert len(other.records) == 10
        for same in other.records:
            (record,) = [r for r in finished.records if r["id"] == same["id"]]
            for trial, twin in zip(record["trials"], same["trials"], strict=True):
                assert twin["val_loss"] == pytest.approx(trial["val_loss"], abs=2e-4), name
            assert same["curve"]["train_loss"] == pytest.approx(record["curve"]["train_loss"], abs=2e-4), name


def test_the_report_pairs_what_was_run(finished: Finished) -> None:
    rows = summarise(finished.records, Records(finished.work).manifest(), {})
    full = next(row for row in rows if (row.entry, row.budget) == ("full", 20))
    gains = [
        finished.of("full", 20, seed)["result"]["test_score"] - finished.of("scratch", 20, seed)["result"]["test_score"]
        for seed in (0, 1)
    ]
    assert full.gain is not None
    assert full.gain.mean == pytest.approx(np.mean(gains))
    assert json.loads(json.dumps(finished.records)) == finished.records
