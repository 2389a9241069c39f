"""Activations kept on the disk: computed once by whoever is first, used only if intact."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlx.study.features import Features

WHOLE = {"hidden": np.arange(12.0, dtype=np.float32).reshape(6, 2), "mask": np.arange(6) % 2 == 0}


class Counted:
    """Activations that count how often they are computed."""

    def __init__(self, meanwhile: Any = None) -> None:
        self.times, self.meanwhile = 0, meanwhile

    def __call__(self) -> Iterator[tuple[Any, float]]:
        self.times += 1
        for start in range(0, 6, 4):
            yield {name: leaf[start : start + 4] for name, leaf in WHOLE.items()}, 2.5
        if self.meanwhile:
            self.meanwhile()


def same(found: tuple[Any, float]) -> None:
    arrays, flops = found
    assert flops == 2.5 and arrays.keys() == WHOLE.keys()
    for name, leaf in WHOLE.items():
        assert arrays[name].dtype == leaf.dtype
        np.testing.assert_array_equal(arrays[name], leaf)


@pytest.fixture
def lines() -> list[str]:
    return []


def test_threads_wait_for_the_one_that_computes(tmp_path: Path, lines: list[str]) -> None:
    features, compute, found = Features(tmp_path / "features", lines.append), Counted(), []
    go = threading.Barrier(8)

    def ask() -> None:
        go.wait()
        found.append(features.get({"of": "one"}, 6, compute))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compute.times == 1 and len({id(arrays) for arrays, _ in found}) == 1 and lines == []
    same(found[0])


def test_a_later_run_reads_what_an_earlier_one_computed(tmp_path: Path, lines: list[str]) -> None:
    same(Features(tmp_path, lines.append).get({"of": "one"}, 6, Counted()))
    compute = Counted()
    later = Features(tmp_path, lines.append)
    same(later.get({"of": "one"}, 6, compute))
    assert compute.times == 0
    same(later.get({"of": "another"}, 6, compute))
    assert compute.times == 1 and len(list(tmp_path.iterdir())) == 2 and lines == []


def test_whoever_is_faster_wins_and_both_get_the_same(tmp_path: Path, lines: list[str]) -> None:
    other = Counted()
    mine = Counted(lambda: same(Features(tmp_path, lines.append).get({"of": "one"}, 6, other)))
    same(Features(tmp_path, lines.append).get({"of": "one"}, 6, mine))
    assert (mine.times, other.times) == (1, 1)
    assert len(list(tmp_path.iterdir())) == 1 and lines == []


@pytest.mark.parametrize("name", ["0.npy", "1.npy", "manifest.json"])
def test_damaged_ones_are_computed_again_with_one_line(tmp_path: Path, lines: list[str], name: str) -> None:
    same(Features(tmp_path, lines.append).get({"of": "one"}, 6, Counted()))
    (folder,) = tmp_path.iterdir()
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    compute = Counted()
    same(Features(tmp_path, lines.append).get({"of": "one"}, 6, compute))
    assert compute.times == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"{folder}: is damaged: {name}") and lines[0].endswith("; computed again")
    again = Counted()
    same(Features(tmp_path, lines.append).get({"of": "one"}, 6, again))
    assert again.times == 0 and len(lines) == 1


def test_a_half_written_one_is_never_seen(tmp_path: Path, lines: list[str]) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Features(tmp_path, lines.append).get({"of": "one"}, 6, Counted(killed))
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    same(Features(tmp_path, lines.append).get({"of": "one"}, 6, Counted()))


def test_a_disk_that_takes_nothing_is_said_and_memory_used(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "file").write_text("")
    compute = Counted()
    same(Features(tmp_path / "file" / "features", lines.append).get({"of": "one"}, 6, compute))
    assert len(lines) == 1 and "could not be written" in lines[0] and lines[0].endswith("are kept in memory")


def test_in_memory_nothing_is_written(tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    compute = Counted()
    same(Features(None, lines.append).get({"of": "one"}, 6, compute))
    assert compute.times == 1 and list(tmp_path.iterdir()) == [] and lines == []
