"""The benchmark of feeding: both sides go through the same examples, and what is written is ratios and shares."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.benchmarks import rows as training
from experiments.benchmarks.data import run
from experiments.benchmarks.data.pictures import SIDE
from experiments.benchmarks.data.rows import CROP, WORK, Bench, Scale
from experiments.benchmarks.data.wait import Clock, WatchedFeed, WatchedPlacement, waiting

pytestmark = pytest.mark.thorough

TINY = Scale(examples=24, batch=4, pictures=6, picture_batch=3)
TRAINING = training.Scale(width=8, depth=1, examples=20, steps=4, batch=4, chunk=2, heads=3, jobs=2)

# Speaks as the other sides do. Adds up what is in memory, perhaps wrongly; gives some number for the rest.
STUB = """
import json, sys
from pathlib import Path
import numpy as np
folder = Path(json.loads(sys.stdin.readline())["folder"])
image, label = (np.load(folder / f"{name}.npy") for name in ("image", "label"))
assert len(list((folder / "jpegs").glob("*.jpg"))) == 6
print(json.dumps({"versions": {"torch": "0", "torchvision": "0"}, "threads": 1}), flush=True)
total = float(((image.astype(float) - 127.5) / 127.5).sum() + label.sum()) * FACTOR
for line in sys.stdin:
    print(json.dumps({"values": [total], "workers": 2}), flush=True)
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench(TINY, tmp_path_factory.mktemp("bench"))
    made.write()
    return made


def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float = 1.0) -> None:
    path = tmp_path / "stub.py"
    path.write_text(STUB.replace("FACTOR", str(factor)))
    monkeypatch.setattr(run, "TORCH", path)


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_example_is_seen_once_either_way(bench: Bench) -> None:
    image_NHWC, label_N = bench.small["input"], bench.small["label"]
    assert image_NHWC.shape == (24, 28, 28, 1) and label_N.dtype == np.int32
    expected = np.sum((image_NHWC.astype(float) - 127.5) / 127.5) + label_N.sum()
    for name in ("numpy", "resident"):
        assert WORK[name][2](bench)() == pytest.approx([expected], rel=1e-5)


def test_what_chance_changes_stays_close(bench: Bench) -> None:
    # Of an image moved by at most two of 28 pixels nearly all is left; of a picture 224 of 256 pixels either way.
    assert bench.augmented() == pytest.approx(bench.resident(), rel=0.1)
    decoded = np.stack([np.asarray(e["input"]) for e in pictures(bench)]).astype(float)
    expected = np.sum((decoded - 127.5) / 127.5) * (CROP / SIDE) ** 2 + sum(i % 10 for i in range(6))
    assert bench.streamed()[0] == pytest.approx(expected, abs=0.05 * decoded.size)
    assert np.array_equal(bench.streamed(), bench.streamed())


def pictures(bench: Bench) -> list[dict[str, np.ndarray]]:
    from tlx.data.pipeline import stream

    return list(stream(bench.source, lambda step: np.array([step]), 0, TINY.pictures))


def test_pictures_are_of_the_size_of_photographs(bench: Bench) -> None:
    found = pictures(bench)
    assert [batch["input"].shape for batch in found] == [(1, SIDE, SIDE, 3)] * 6
    sizes = [file.stat().st_size for file in (bench.folder / "jpegs").iterdir()]
    assert min(sizes) > 10_000 and max(sizes) < 60_000


def test_rows_beside_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(tmp_path, monkeypatch)
    out = tmp_path / "deep" / "data.json"
    argv = ["--torch", sys.executable, "--rounds", "2", "--out", str(out)]
    assert run.main(argv, TINY, TRAINING) == 0
    printed, found = capsys.readouterr(), content(out)
    names = ["wait", "numpy-examples", "numpy-batches", "resident-examples", "resident-batches"]
    names += [f"{row}-{style}" for row in ("augmented", "streamed") for style in ("transforms", "examples", "batches")]
    assert [row["name"] for row in found["rows"]] == names
    assert [line.removeprefix("done: ") for line in printed.err.splitlines() if "done" in line] == names
    assert "DataLoader and torchvision / tlx" in printed.out
    assert all(0 < row["low"] <= row["median"] <= row["high"] for row in found["rows"])
    assert found["rows"][0]["high"] < 1
    assert found["environment"]["DataLoader workers"] == dict.fromkeys(names[1:], 2)
    assert found["scale"]["examples"] == 24 and found["environment"]["torch"] == "0"


def test_sides_that_went_through_different_examples_are_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub(tmp_path, monkeypatch, factor=1.01)
    argv = ["--torch", sys.executable, "--rows", "numpy", "--rounds", "1", "--out", str(tmp_path / "out.json")]
    assert run.main(argv, TINY) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("row numpy-examples: the two sides went through different examples: -")
    )


def test_a_side_that_is_missing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    argv = ["--rows", "wait", "--rounds", "1", "--out", str(tmp_path / "out.json")]
    assert run.main(argv, TINY, TRAINING) == 0
    assert capsys.readouterr().err.splitlines() == [
        "done: wait",
        "left out: DataLoader: name a Python that has PyTorch with --torch",
        "left out: tf.data: TensorFlow is not installed; name a Python that has it with --tensorflow",
    ]
    assert run.main(["--torch", str(tmp_path / "none"), *argv], TINY, TRAINING) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"{tmp_path}/none: cannot be started: No such file or directory"


def test_only_calls_for_data_are_waiting() -> None:
    class Slow:
        data: dict[str, Any] = {}  # noqa: RUF012

        def items(self, start: int, stop: int) -> np.ndarray:
            time.sleep(0.02)
            return np.arange(start, stop)

    clock = Clock()
    feed = WatchedFeed(Slow(), clock)
    assert feed.data == {} and feed.items(2, 5).tolist() == [2, 3, 4]
    assert clock.seconds >= 0.02
    before = clock.seconds
    assert WatchedPlacement(clock).items(np.arange(4).reshape(2, 2)).tolist() == [[0, 1], [2, 3]]
    assert clock.seconds > before
    share = waiting(training.Bench(TRAINING))
    assert 0 < share() < 1 and 0 < share() < 1


@pytest.mark.parametrize("argv", [["--rows", "speed"], ["--rounds", "0"]])
def test_wrong_arguments_are_refused(argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run.main(argv, TINY)
