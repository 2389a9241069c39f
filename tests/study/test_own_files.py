"""A study on a user's own files, from folders and arrays to records."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Make
from PIL import Image

from tlx.progress import Silent
from tlx.records import Records
from tlx.study import run
from tlx.study.spec import Folders

RNG = np.random.default_rng(3)
SPLITS = {"train": 24, "test": 8}


def pictures(folder: Path) -> str:
    """Colour images of several sizes, of two classes that differ in brightness."""
    for split, count in SPLITS.items():
        for i in range(count):
            name, shade = (("dark", 40), ("bright", 200))[i % 2]
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            pixels = RNG.integers(0, 50, (20 + i, 30, 3)) + shade
            Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{i}.png")
    return f"folder:{folder}"


def arrays(file: Path) -> str:
    y = np.arange(40) % 3
    x = (RNG.integers(0, 50, (40, 28, 28, 3)) + 60 * y[:, None, None, None]).astype(np.uint8)
    np.savez(file, x_train=x[:32], y_train=y[:32], x_test=x[32:], y_test=y[32:])
    return f"npz:{file}"


def overrides(source: str, target: str) -> tuple[str, ...]:
    return (
        f"--config.sources.mnist.dataset={source}",
        f"--config.targets.digits.dataset={target}",
        "--config.targets.digits.train=train[:16]",
        "--config.targets.digits.validation=train[16:]",
        "--config.budgets=(8,)",
        "--config.preprocess.resize=(28,)",
        "--config.preprocess.crop=(28,28)",
        '--config.preprocess.ops=("pad_crop","flip")',
        "--config.preprocess.pad_crop.padding=2",
    )


@pytest.mark.thorough
def test_folders_and_arrays_of_several_sizes_end_in_records(make_study: Make, tmp_path: Path) -> None:
    source, target = arrays(tmp_path / "mine.npz"), pictures(tmp_path / "pictures")
    study = make_study(*overrides(source, target))
    grid = run.run(study, Folders(tmp_path / "work", tmp_path / "data"), Silent(), lambda context: None)
    records = Records(tmp_path / "work").load_all()
    assert len(records) == len(grid.cells) == 10 and {record["status"] for record in records} == {"ok"}
    for record in records:
        assert record["data"]["train"]["per_class"] == [8, 8] and record["data"]["test"]["per_class"] == [4, 4]
        assert record["config"]["ops"][0] == ["pad_crop", {"mode": "reflect", "padding": 2, "side": 0}]
        assert record["config"]["target"]["dataset"] == "folder:"
        assert str(tmp_path) not in json.dumps(record["config"])
    best = max(record["result"]["test_score"] for record in records)
    assert best >= 0.75  # brightness tells them apart


def test_files_that_were_moved_make_the_same_cells_and_changed_ones_others(make_study: Make, tmp_path: Path) -> None:
    target = pictures(tmp_path / "pictures")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = arrays(tmp_path / "a" / "mine.npz")
    (tmp_path / "b" / "other.npz").write_bytes((tmp_path / "a" / "mine.npz").read_bytes())

    def ids(source: str) -> list[str]:
        grid = run.lay_out(make_study(*overrides(source, target)), Folders(tmp_path, tmp_path / "data"), Silent())
        return [cell.id for cell in grid.cells]

    before = ids(one)
    assert ids(f"npz:{tmp_path / 'b' / 'other.npz'}") == before
    arrays(tmp_path / "a" / "mine.npz")
    assert ids(one) != before
