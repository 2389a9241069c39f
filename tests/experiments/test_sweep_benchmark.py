"""The sweep's benchmark: the ways that are compared do the same work."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.rows import Bench, Scale
from experiments.benchmarks.sweep.rows import heads, one_by_one, processes, together
from experiments.benchmarks.sweep.run import main
from experiments.benchmarks.sweep.scaling import Curve

TINY = Scale(width=16, depth=1, examples=40, steps=6, batch=4, chunk=3, heads=3, jobs=2)


@pytest.mark.thorough
def test_cells_together_and_one_by_one_are_the_same_runs() -> None:
    loss_KS = together(Bench(TINY), 2)
    assert loss_KS.shape == (2, 6) and not np.array_equal(loss_KS[0], loss_KS[1])
    np.testing.assert_allclose(one_by_one(TINY, 2), loss_KS, rtol=1e-5)


@pytest.mark.thorough
@pytest.mark.exhaustive
def test_a_process_each_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_allclose(processes(TINY, 1)[0], together(Bench(TINY), 1)[0, -5:], rtol=1e-4)


def test_heads_can_be_trained_again_and_again() -> None:
    train = heads(TINY, 3)
    np.testing.assert_array_equal(train(), train())


def test_the_slope_is_1_where_time_is_linear() -> None:
    assert Curve("", (10, 20, 40), (1.0, 2.0, 4.0)).slope == pytest.approx(1.0)
    assert Curve("", (10, 20, 40), (1.0, 2.0, 5.0)).slope == pytest.approx(1.5)


@pytest.mark.thorough
@pytest.mark.exhaustive
def test_all_of_it_makes_a_table_a_picture_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sweep.json"
    argv = ["--rounds", "1", "--cells", "1", "--out", str(out)]
    assert main(argv, TINY, ((2, 3), (1, 2))) == 0
    shown = capsys.readouterr().out
    assert "1 cells in a process each / as a study" in shown and "heads, fused, 2 to 3 cells: slope" in shown
    content = json.loads(out.read_text())
    assert [row["name"] for row in content["rows"]] == ["one-by-one", "processes"]
    assert [curve["cells"] for curve in content["curves"]] == [[2, 3], [1, 2]]
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_python_without_torch_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--rounds", "1", "--cells", "1", "--torch", str(tmp_path / "none"), "--out", str(tmp_path / "x.json")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.benchmarks.sweep.run.rows", lambda scale, cells: iter(()))
        assert main(argv, TINY, ((1, 2), (1, 2))) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'none'}: cannot be started")
