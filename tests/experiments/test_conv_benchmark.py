"""The benchmark of convolutions: both ways of a row do the same, and what is written is ratios. No time is asserted."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks.models.conv import LITE, LOOPED, RESNET, SHAPES, Shape, main

TINY = {
    "plain": Shape(2, 6, 3, 4, 3, 2),
    "depthwise": Shape(2, 5, 4, 4, 5, depthwise=True),
    "loop": Shape(1, 4, 3, 3, 3, in_loop=True),
}


@pytest.mark.parametrize("name", TINY)
def test_both_ways_do_the_same(name: str) -> None:
    row = TINY[name].row()
    np.testing.assert_allclose(row.top(), row.bottom(), rtol=1e-5)
    assert row.says.endswith(": XLA / tlx")


def test_a_run_prints_a_table_and_writes_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "conv.json"
    assert main(["--rows", "plain", "loop", "--rounds", "1", "--out", str(path)], TINY) == 0
    assert "3x3 by 2, 3 to 4, 2x6x6: XLA / tlx" in capsys.readouterr().out
    assert [row["name"] for row in json.loads(path.read_text())["rows"]] == ["plain", "loop"]


def test_shapes_fit_one_another() -> None:
    assert len(SHAPES) == len(RESNET) + len(LITE) + len(LOOPED)
    assert all(shape.channels == shape.features for shape in SHAPES.values() if shape.depthwise)
