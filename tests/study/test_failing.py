"""A unit that fails ends nothing but itself."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from quick import CONFIG, SMALL

from tlx.cli import main
from tlx.errors import FileError
from tlx.records import Records
from tlx.study import run
from tlx.study.context import Context
from tlx.study.failing import is_out_of_memory, reason_of
from tlx.study.plan import Unit

FEW = ("--config.seeds=(0,)", "--config.budgets=(20,)", "--config.mesh.data=1")


def command(work: Path, data_dir: Path) -> list[str]:
    return ["run", str(CONFIG), "--workdir", str(work), "--data-dir", str(data_dir), *SMALL, *FEW]


@pytest.mark.thorough
def test_the_others_go_on_and_the_failed_are_run_again(
    tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = run.run_once

    def failing(unit: Unit, context: Context) -> None:
        if unit.first.entry.name == "lora":
            raise ValueError("the first line\nand more of it")
        real(unit, context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run_once", failing)
        assert main(command(tmp_path, data_dir)) == 1
    said = capsys.readouterr().err
    assert "failed: lora from mnist on digits, 20 labels, seed 0 (" in said
    assert "): ValueError: the first line\n" in said and "and more" not in said
    records = Records(tmp_path)
    assert {record["cell"]["entry"] for record in records.load_all()} == {"scratch", "random_frozen", "probe", "full"}
    ((cell, reason),) = records.failures().items()
    assert reason == "ValueError: the first line"
    assert "and more of it" in json.loads((tmp_path / "failures" / f"{cell}.json").read_text())["details"]
    assert "ValueError: the first line" in (tmp_path / "report.md").read_text()
    assert "Missing, failed or diverged" in (tmp_path / "report.html").read_text()

    assert main(command(tmp_path, data_dir)) == 0
    assert records.has(cell) and not records.failures() and not list((tmp_path / "failures").iterdir())
    assert "failed" not in capsys.readouterr().err


def test_what_the_user_can_mend_ends_the_study(
    tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(unit: Unit, context: Context) -> None:
        raise FileError("disk", "is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run_once", full)
        assert main(command(tmp_path, data_dir)) == 2
    assert capsys.readouterr().err.endswith("disk: is full\n")
    assert not Records(tmp_path).failures()


def test_reasons_are_one_line() -> None:
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jnp.zeros((2**20, 2**24)).block_until_ready()
    assert is_out_of_memory(caught.value) and is_out_of_memory(MemoryError())
    assert reason_of(caught.value) == reason_of(MemoryError())
    assert reason_of(MemoryError()).startswith("out of memory; lower config.train.batch_size")
    assert not is_out_of_memory(ValueError("out of memory"))
    assert reason_of(KeyError()) == "KeyError"
    assert len(reason_of(ValueError("x" * 10_000))) == 300
