"""The benchmark of the methods: counted, not timed; both ways of a row do the same; PyTorch is asked line by line."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.benchmarks.adapt import peer
from experiments.benchmarks.adapt.cost import Cost, Phase
from experiments.benchmarks.adapt.peer import Peer, asked_of
from experiments.benchmarks.adapt.rows import Bench, Scale, Step
from experiments.benchmarks.adapt.run import main
from experiments.benchmarks.adapt.show import markdown
from experiments.benchmarks.adapt.together import ROWS
from experiments.benchmarks.rows import Row
from experiments.benchmarks.run import Result, Round, measure
from tlx import tree
from tlx.errors import FileError
from tlx.study.cost import step_flops

pytestmark = pytest.mark.thorough

VIT = Scale({"patch": 4, "width": 16, "depth": 1, "heads": 2}, (8, 8, 1), batch=4, steps=2)
DEEP = Scale({"patch": 4, "width": 16, "depth": 2, "heads": 2}, (8, 8, 1), batch=4, steps=2, adapters=3)
BERT = {"vocab": 50, "positions": 16, "width": 16, "depth": 1, "heads": 2, "hidden": 32, "dropout": 0.0}

# Speaks as the PyTorch side does, and adds up how many steps it was asked for.
STUB = """
import json, sys
width = json.loads(sys.stdin.readline())["bert"]["hidden_size"]
print(json.dumps({"versions": {"torch": width}, "threads": 1}), flush=True)
done = 0
for line in sys.stdin:
    request = json.loads(line)
    done += request["steps"]
    print(json.dumps({"losses": [done] * request["steps"]}), flush=True)
"""


BENCH = Bench("vit", VIT)


@pytest.fixture(scope="module")
def steps() -> dict[str, Step]:
    """Compiled once; the states move from test to test."""
    tasks = {name: BENCH.task(name) for name in ("full", "head", "lora")}
    return {name: Step(task, BENCH.variables(task), BENCH.batch()) for name, task in tasks.items()}


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_methods_are_shares_of_full_fine_tuning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "adapt.json"
    argv = ["--methods", "full", "head", "lp_ft", "--rows", "--rounds", "1", "--markdown", "--out", str(out)]
    assert main(argv, VIT) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"done: {name}" for name in ("full", "head", "lp_ft")]
    assert "| `head` | a linear head" in printed.out
    full, head, lp_ft = content(out)["methods"]
    assert (full["flops"], full["memory"], full["share"]) == (1.0, 1.0, 1.0)
    assert head["share"] < 0.05 and head["flops"] < 0.5
    assert head["memory"] < 1 and head["cached"]["flops"] < 0.1 * head["flops"]
    assert full["cached"] is None
    assert [phase["weight"] for phase in lp_ft["phases"]] == [0.5, 0.5]
    assert lp_ft["flops"] == pytest.approx(0.5 * head["flops"] + 0.5 * full["flops"], rel=0.02)
    for cost in (full, head, lp_ft):
        assert math.isfinite(cost["time"]) and cost["time"] > 0


def test_operations_are_those_that_a_study_counts(steps: dict[str, Step]) -> None:
    assert steps["lora"].flops == pytest.approx(step_flops(steps["lora"].task, VIT.batch))


def test_memory_counts_at_least_what_a_step_holds(steps: dict[str, Step]) -> None:
    held = {name: tree.nbytes(step.state) + tree.nbytes(step.frozen) for name, step in steps.items()}
    base = tree.nbytes(BENCH.base["params"])
    assert steps["full"].memory > held["full"] > 3 * base  # leaves and two moments
    assert steps["head"].memory > held["head"]
    assert steps["full"].memory - steps["head"].memory > base


def test_a_step_trains(steps: dict[str, Step]) -> None:
    step = steps["lora"]
    start = jax.tree.map(np.array, step.state.trainable)
    loss_S = step.run(30)
    assert loss_S.shape == (30,) and loss_S[-1] < loss_S[0]
    assert int(step.state.step) == 30
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), start, step.state.trainable)
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("name", ["at-once", "upper-both"])
def test_in_turn_and_at_once_train_the_same_adapters(name: str) -> None:
    row = ROWS[name](Bench("vit", DEEP))
    top, bottom = row.top(), row.bottom()
    assert top.shape == bottom.shape == (3, 2)
    np.testing.assert_allclose(top, bottom, rtol=1e-5)
    assert len(np.unique(top)) == top.size  # members differ
    assert row.says.startswith("3 LoRA adapters ") and " / " in row.says


def test_what_does_not_apply_is_left_out_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scale = Scale({"depths": (1,), "width": 4, "stem": "small"}, (8, 8, 3), batch=2, steps=1)
    argv = ["--model", "resnet", "--methods", "head", "prompt", "--rounds", "1", "--out", str(tmp_path / "out.json")]
    argv += ["--rows"]
    assert main(argv, scale) == 0
    found = content(tmp_path / "out.json")
    assert [cost["name"] for cost in found["methods"]] == ["head"]
    assert list(found["left_out"]) == ["prompt"] and "tokens" in found["left_out"]["prompt"]
    assert found["rows"] == []
    assert "left out: prompt: " in capsys.readouterr().out


def fake(ratios: tuple[float, ...], weight: float, flops: float, memory: float) -> Phase:
    return Phase(weight, Result("x", "x / full", tuple(Round(ratio, 0.0) for ratio in ratios)), flops, memory)


def test_phases_are_weighted_and_the_hungriest_counts() -> None:
    phases = (fake((0.1, 0.2, 9.0), 0.25, 0.4, 0.5), fake((1.0,), 0.75, 1.2, 0.3))
    cost = Cost("both", "some", "Nobody, 2000", 0.0123, phases, fake((0.05,), 1.0, 0.01, 0.1))
    assert cost.time == pytest.approx(0.25 * 0.2 + 0.75 * 1.0)
    assert cost.flops == pytest.approx(1.0) and cost.memory == 0.5
    assert cost.quiet == "5 of 5"
    assert markdown([cost]).splitlines()[-1] == (
        "| `both` | some | 1.2 % | 0.80 | 1.00 | 0.50 | 0.05 | 0.01 | Nobody, 2000 |"
    )


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    path = tmp_path / "stub.py"
    path.write_text(STUB)
    return path


def test_another_process_is_asked_line_by_line(stub: Path) -> None:
    bench = Bench("bert", Scale(BERT, (6,), classes=2, batch=4, steps=2))
    other = Peer(Path(sys.executable), asked_of(bench), stub)
    try:
        assert other.about == {"versions": {"torch": 16}, "threads": 1}
        np.testing.assert_array_equal(other.run("lora", 2), [2, 2])
        np.testing.assert_array_equal(other.run("full", 3), [5, 5, 5])
        assert other.seconds() >= 0
        row = Row("theirs / ours", lambda: other.run("full", 1), lambda: np.zeros(1))
        result = measure("x", row, 2, lambda: other.seconds())
        assert len(result.rounds) == 2 and int(other.run("full", 1)[0]) == 9
    finally:
        other.close()
    assert other.process.returncode == 0
    with pytest.raises(ValueError, match="closed"):
        other.run("full", 1)


def test_steps_beside_another_process_are_ratios(
    stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer, "SCRIPT", stub)
    scale = Scale(BERT, (6,), classes=2, batch=4, steps=1)
    argv = ["--torch", sys.executable, "--rounds", "2", "--out", str(tmp_path / "out.json")]
    assert main(argv, scale) == 0
    found = content(tmp_path / "out.json")
    assert (found["model"], found["methods"], found["environment"]["torch"]) == ("bert", [], 16)
    assert [row["name"] for row in found["rows"]] == ["torch-full", "torch-lora", "torch-head"]
    assert all(0 < row["low"] <= row["median"] <= row["high"] for row in found["rows"])
    assert "lora: PyTorch and PEFT / tlx" in capsys.readouterr().out


def test_a_python_that_will_not_do_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--torch", str(tmp_path / "none"), "--out", str(tmp_path / "out.json")]
    assert main(argv, Scale(BERT, (6,), classes=2, batch=4)) == 2
    assert capsys.readouterr().err == f"{tmp_path / 'none'}: cannot be started: No such file or directory\n"
    quits = tmp_path / "quits.py"
    quits.write_text("")
    with pytest.raises(FileError, match="the other side ended"):
        Peer(Path(sys.executable), {}, quits)


@pytest.mark.parametrize("argv", [["--methods", "loar"], ["--rounds", "0"], ["--rows", "none"], ["--model", "mlp"]])
def test_wrong_arguments_are_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv, VIT)
