"""Fused runs a group at a time: where memory is short, and where the first try was too large."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import Make

from tlx import fused
from tlx.progress import Silent
from tlx.records import Records
from tlx.study import run
from tlx.study.context import Context, Stopped
from tlx.study.cost import size_of, step_bytes
from tlx.study.groups import fitting, memory
from tlx.study.spec import Folders

ONE = ("--config.budgets=(20,)", "--config.mesh.data=1")


class Lines(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def line(self, text: str) -> None:
        self.said.append(text)


def probes(make_study: Make, work: Path, data_dir: Path, *overrides: str, said: Lines | None = None) -> dict[int, Any]:
    """The probe's records by seed."""
    run.run(make_study(*ONE, *overrides), Folders(work, data_dir), said or Silent(), lambda context: None)
    found = [record for record in Records(work).load_all() if record["cell"]["entry"] == "probe"]
    return {record["cell"]["seed"]: record for record in found}


def plain(records: dict[int, Any]) -> dict[int, Any]:
    return {seed: {key: record[key] for key in ("result", "trials", "curve")} for seed, record in records.items()}


@pytest.mark.thorough
def test_too_little_memory_halves_the_group_and_nothing_else(make_study: Make, tmp_path: Path, data_dir: Path) -> None:
    real, sizes, said = fused.run, [], Lines()

    def small(task: Any, state: Any, *args: Any, **settings: Any) -> Any:
        sizes.append(len(state.step))
        if sizes[-1] > 2:
            raise MemoryError
        return real(task, state, *args, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "run", small)
        retried = probes(make_study, tmp_path / "retried", data_dir, said=said)
    # Three learning rates of two seeds, of two entries.
    assert sizes == [6, 3, 2, 2, 2, 6, 3, 2, 2, 2]
    assert "probe: mnist → digits, 20 labels: out of memory, going on with 2 runs at once" in said.said
    # As if it had been told so at first, to the last bit.
    told = probes(make_study, tmp_path / "told", data_dir, "--config.plan.members=2")
    assert plain(told) == plain(retried)
    whole = probes(make_study, tmp_path / "whole", data_dir)
    for seed, record in whole.items():
        np.testing.assert_allclose(record["curve"]["train_loss"], retried[seed]["curve"]["train_loss"], rtol=1e-5)


@pytest.mark.thorough
def test_one_run_that_does_not_fit_is_a_failure(make_study: Make, tmp_path: Path, data_dir: Path) -> None:
    def none(*args: Any, **settings: Any) -> Any:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "run", none)
        assert probes(make_study, tmp_path, data_dir) == {}
    reasons = set(Records(tmp_path).failures().values())
    assert len(reasons) == 1 and reasons.pop().startswith("out of memory; lower config.train.batch_size")


@pytest.mark.thorough
def test_groups_go_on_where_they_were_stopped(make_study: Make, tmp_path: Path, data_dir: Path) -> None:
    few = ("--config.plan.members=3", "--config.plan.steps_per_call=5")
    expected = probes(make_study, tmp_path / "undisturbed", data_dir, *few)
    work, stops = tmp_path / "stopped", 0
    real = fused.run

    def stopping(*args: Any, boundary: Any, **settings: Any) -> Any:
        def once(state: Any, losses: Any) -> None:
            if len(contexts) <= 3 and int(state.step[0]) >= 10:
                contexts[-1].stop.set()
            boundary(state, losses)

        return real(*args, boundary=once, **settings)

    contexts: list[Context] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "run", stopping)
        while stops < 9:
            try:
                run.run(make_study(*ONE, *few), Folders(work, data_dir), Silent(), contexts.append)
                break
            except Stopped:
                stops += 1
    found = {r["cell"]["seed"]: r for r in Records(work).load_all() if r["cell"]["entry"] == "probe"}
    assert stops == 3 and plain(found) == plain(expected)


def test_how_many_fit(make_study: Make, tmp_path: Path, data_dir: Path) -> None:
    grid = run.lay_out(make_study("--config.plan.strategy=fused"), Folders(tmp_path, data_dir), Silent())
    unit = next(unit for unit in grid.units if unit.first.entry.name == "lora")
    whole, shared = step_bytes(unit.task, 8), size_of(unit.task).frozen_bytes
    own = whole - shared
    assert own > 0 < shared and unit.runs == 12
    assert [fitting(unit, 8, shared + room * own) for room in (0.5, 1.0, 3.9, 100.0)] == [1, 1, 3, 12]
    assert memory() * jax.device_count() > 2**28
