"""The benchmarks' work: both ways of a row do the same, and what is written is ratios. No time is asserted."""

import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.benchmarks.rows import ROWS, Scale
from experiments.benchmarks.run import main

pytestmark = pytest.mark.thorough

TINY = Scale(
    width=8, depth=1, examples=20, steps=4, batch=4, chunk=2, heads=3, jobs=2, labels=60, features=8, penalties=4
)
# The masked way clips by another norm, or not at all, so that its steps are others. scikit-learn stops further away.
SAME = [name for name in ROWS if not name.startswith(("partition", "logistic"))]
# No steps, and one objective a penalty.
SOLVED = ("logistic", "ridge")


@pytest.mark.parametrize("name", ROWS)
def test_both_ways_of_a_row_do_the_same_steps(name: str) -> None:
    with jax.numpy_dtype_promotion("standard"):  # the loops by hand use optax as it comes
        row = ROWS[name](TINY)
        top, bottom = row.top(), row.bottom()
    assert top.shape == bottom.shape
    assert top.shape[-1] == (TINY.penalties if name in SOLVED else TINY.steps)
    np.testing.assert_allclose(top, bottom, rtol=1e-5 if name in SAME else 1e-2)
    assert " / " in row.says


def test_a_run_prints_a_table_and_writes_finite_positive_ratios(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deep" / "ratios.json"
    assert main(["--rows", "fused", "cached", "--rounds", "3", "--out", str(path)], TINY) == 0
    printed = capsys.readouterr()
    assert "3 heads one by one / fused" in printed.out
    assert printed.err.splitlines() == ["done: fused", "done: cached"]
    content = json.loads(path.read_text())
    assert [row["name"] for row in content["rows"]] == ["fused", "cached"]
    assert content["scale"]["heads"] == 3
    assert content["environment"]["jax"] == jax.__version__
    for row in content["rows"]:
        ratios = [each["ratio"] for each in row["rounds"]]
        assert len(ratios) == 3
        assert all(math.isfinite(ratio) and ratio > 0 for ratio in ratios)
        assert min(ratios) <= row["low"] <= row["median"] <= row["high"] <= max(ratios)
        assert all(each["others"] is None or each["others"] >= 0 for each in row["rounds"])


@pytest.mark.parametrize("argv", [["--rows", "speed"], ["--rounds", "0"], ["--rounds", "many"]])
def test_wrong_arguments_are_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv, TINY)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--rows", "fused", "--rounds", "1", "--out", str(tmp_path / "file" / "ratios.json")], TINY) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err.splitlines()[-1]
