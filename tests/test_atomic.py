"""Durable writes: die at every system call, run out of space at every one, race for one name."""

import errno
import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from tlx import atomic
from tlx.errors import FileError

CALLS = ["open", "write", "fsync", "close", "replace", "rename", "link", "unlink", "mkdir", "rmdir", "stat"]


class Died(BaseException):
    """What a killed process sees: nothing after this call happens."""


@contextmanager
def system(patch: pytest.MonkeyPatch, step: Callable[[int, str], None]) -> Iterator[list[str]]:
    """Call `step(n, name)` before the n-th system call; what it raises, the call raises."""
    made: list[str] = []

    def wrap(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            try:
                step(len(made), name)
            except Died:
                if name == "write" and made.count("write") == 1:
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])  # a torn write
                raise
            return real(*args, **kwargs)

        return call

    with patch.context() as context:
        for name in CALLS:
            context.setattr(os, name, wrap(name))
        yield made


def die_at(n: int) -> Callable[[int, str], None]:
    def step(now: int, name: str) -> None:
        if now >= n:
            raise Died

    return step


def fail_at(n: int, code: int) -> Callable[[int, str], None]:
    def step(now: int, name: str) -> None:
        if now == n and name not in ("close", "unlink"):
            raise OSError(code, os.strerror(code))

    return step


def nothing(now: int, name: str) -> None:
    pass


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


# --- JSON ---------------------------------------------------------------------------------------------


def test_canonical_json_does_not_depend_on_order() -> None:
    one, two = {"b": [1, 2.5], "a": {"ü": None, "t": True}}, {"a": {"t": True, "ü": None}, "b": [1, 2.5]}
    assert atomic.canonical_json(one) == atomic.canonical_json(two)
    assert atomic.canonical_json(one).endswith(b"}\n") and "ü".encode() in atomic.canonical_json(one)
    assert json.loads(atomic.canonical_json(one)) == two
    assert atomic.digest_json(one) == atomic.digest_json(two) != atomic.digest_json({**two, "b": [1, 2]})
    assert len(atomic.digest_json(one)) == 64


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_json_cannot_hold_are_named(number: float) -> None:
    with pytest.raises(ValueError, match=r"^result\.losses\[1\] is -?(nan|inf), which JSON cannot hold$"):
        atomic.canonical_json({"result": {"losses": [1.0, number]}})


def test_read_json_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(FileError, match="a.json: there is no such file"):
        atomic.read_json(path)
    for damaged in (b"", b'{"a": 1', b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000):
        path.write_bytes(damaged)
        with pytest.raises(FileError, match="a.json: is not JSON") as caught:
            atomic.read_json(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileError, match="cannot be read"):
        atomic.read_json(tmp_path)


def test_write_json_makes_folders_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "with space" / "ü" / "a.json"
    atomic.write_json(path, {"a": [1.5, "ü"]})
    assert atomic.read_json(path) == {"a": [1.5, "ü"]}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


# --- crashes ------------------------------------------------------------------------------------------


def crash_points(patch: pytest.MonkeyPatch, prepare: Callable[[], None], write: Callable[[], object]) -> int:
    prepare()
    with system(patch, nothing) as made:
        write()
    return len(made)


def test_replacing_survives_every_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, old, new = tmp_path / "deep" / "a", b"old" * 100, b"newer" * 100

    def prepare() -> None:
        atomic.write_bytes(path, old)

    points = crash_points(monkeypatch, prepare, lambda: atomic.write_bytes(path, new))
    assert points >= 8
    seen = set()
    for n in range(1, points + 1):
        prepare()
        with pytest.raises(Died), system(monkeypatch, die_at(n)):
            atomic.write_bytes(path, new)
        seen.add(path.read_bytes())
        atomic.write_bytes(path, new)
        assert path.read_bytes() == new
        atomic.clean_temporaries(path.parent, age=0)
        assert leftovers(path.parent) == []
    assert seen == {old, new}


def test_publishing_survives_every_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"result" * 100
    points = crash_points(monkeypatch, lambda: None, lambda: atomic.publish(tmp_path / "0" / "a", data))
    seen = set()
    for n in range(1, points + 1):
        path = tmp_path / str(n) / "a"
        with pytest.raises(Died), system(monkeypatch, die_at(n)):
            atomic.publish(path, data)
        there = path.exists()
        assert not there or path.read_bytes() == data
        assert atomic.publish(path, data) is not there
        assert path.read_bytes() == data
        seen.add(there)
    assert seen == {True, False}


def test_committing_a_folder_survives_every_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(n: int) -> tuple[Path, Path]:
        final = tmp_path / str(n)
        temporary = atomic.temporary_beside(final)
        (temporary / "inner").mkdir(parents=True)
        (temporary / "a").write_bytes(b"1")
        (temporary / "inner" / "b").write_bytes(b"2")
        return temporary, final

    def whole(folder: Path) -> bool:
        return (folder / "a").read_bytes() == b"1" and (folder / "inner" / "b").read_bytes() == b"2"

    temporary, final = prepare(0)
    with system(monkeypatch, nothing) as made:
        atomic.commit_folder(temporary, final)
    assert whole(final) and not temporary.exists() and made.count("fsync") == 5
    for n in range(1, len(made) + 1):
        temporary, final = prepare(n)
        with pytest.raises(Died), system(monkeypatch, die_at(n)):
            atomic.commit_folder(temporary, final)
        assert whole(final) if final.exists() else whole(temporary)
        with pytest.raises(Died), system(monkeypatch, die_at(n)):
            atomic.remove_folder(final if final.exists() else temporary)
            raise Died  # removing may take fewer calls
        assert not final.exists() or whole(final)
    assert made.index("rename") > max(i for i, name in enumerate(made[:-3]) if name == "fsync")


def test_commit_never_replaces_a_folder(tmp_path: Path) -> None:
    temporary, final = tmp_path / "t", tmp_path / "f"
    for folder in (temporary, final):
        folder.mkdir()
        (folder / "a").write_text(folder.name)
    with pytest.raises(FileError, match="f: could not be written: Directory not empty"):
        atomic.commit_folder(temporary, final)
    assert (final / "a").read_text() == "f" and (temporary / "a").read_text() == "t"


def test_appending_survives_every_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, old, new = tmp_path / "deep" / "a", b"old" * 100, b"newer" * 100

    def prepare() -> None:
        atomic.write_bytes(path, old)

    points = crash_points(monkeypatch, prepare, lambda: atomic.append(path, new))
    seen = set()
    for n in range(1, points + 1):
        prepare()
        with pytest.raises(Died), system(monkeypatch, die_at(n)):
            atomic.append(path, new)
        found = path.read_bytes()
        assert (old + new).startswith(found) and found.startswith(old)
        seen.add(len(found))
    assert seen == {300, 550, 800}


# --- a disk that refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_full_or_broken_disk_never_harms_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path, old, new = tmp_path / "a", b"old", b"new content"
    failures = 0
    for n in range(1, 12):
        atomic.write_bytes(path, old)
        try:
            with system(monkeypatch, fail_at(n, code)):
                atomic.write_bytes(path, new)
        except FileError as error:
            failures += 1
            assert str(path) in str(error) and os.strerror(code) in str(error) and "\n" not in str(error)
            assert ("11 bytes are needed" in str(error)) is (code in (errno.ENOSPC, errno.EDQUOT))
            assert path.read_bytes() in (old, new)
        else:
            assert path.read_bytes() == new
        assert leftovers(tmp_path) == []
    assert failures >= 5


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_what_cannot_be_appended_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path, failures = tmp_path / "a", 0
    atomic.append(path, b"old")
    for n in range(1, 8):
        try:
            with system(monkeypatch, fail_at(n, code)):
                atomic.append(path, b"!")
        except FileError as error:
            failures += 1
            assert str(path) in str(error) and os.strerror(code) in str(error) and "\n" not in str(error)
            assert path.read_bytes() == b"old"
        else:
            assert path.read_bytes() == b"old!"
            path.write_bytes(b"old")
    assert failures == 3


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with monkeypatch.context() as context:
        context.setattr(os, "write", lambda file, data: real(file, bytes(data)[:7]))
        atomic.write_bytes(tmp_path / "a", b"0123456789" * 3)
    assert (tmp_path / "a").read_bytes() == b"0123456789" * 3


# --- publishing once ----------------------------------------------------------------------------------


def test_publish_once(tmp_path: Path) -> None:
    path = tmp_path / "records" / "a"
    assert atomic.publish(path, b"one") is True
    assert atomic.publish(path, b"one") is False
    with pytest.raises(FileError, match="a: was published before with other content"):
        atomic.publish(path, b"two")
    assert path.read_bytes() == b"one" and leftovers(path.parent) == []


@pytest.mark.parametrize("same", [True, False])
def test_eight_race_and_one_wins(tmp_path: Path, same: bool) -> None:
    barrier = Barrier(8)

    def race(path: Path, worker: int) -> bool | None:
        data = b"same" if same else b"from %d" % worker
        barrier.wait()
        try:
            return atomic.publish(path, data)
        except FileError:
            return None

    with ThreadPoolExecutor(8) as pool:
        for turn in range(20):
            path = tmp_path / str(turn)
            results = list(pool.map(race, [path] * 8, range(8)))
            assert results.count(True) == 1
            assert results.count(False if same else None) == 7
            assert path.read_bytes() == (b"same" if same else b"from %d" % results.index(True))
    assert leftovers(tmp_path) == []


# --- what killed writers leave ------------------------------------------------------------------------


def test_only_old_temporaries_of_ours_are_removed(tmp_path: Path) -> None:
    ours, folder = atomic.temporary_beside(tmp_path / "a"), atomic.temporary_beside(tmp_path / "b")
    ours.write_text("torn")
    (folder / "deep").mkdir(parents=True)
    others = [tmp_path / name for name in ("a", ".hidden.tmp", "a.0123456789abcdef.tmp", "notes.tmp")]
    for other in others:
        other.write_text("kept")
    atomic.clean_temporaries(tmp_path)
    assert ours.exists() and folder.exists()
    atomic.clean_temporaries(tmp_path, age=0)
    assert sorted(tmp_path.iterdir()) == sorted(others)
    atomic.clean_temporaries(tmp_path / "nowhere", age=0)
