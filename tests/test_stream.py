"""Streams: cut anywhere, strewn with garbage, they give back every row that is whole."""

import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tlx import stream
from tlx.errors import FileError, RecordError

CELL = "0123456789abcdef"
ROWS = [
    {"trial": "0.001", "step": step, "train_loss": 1.0 / step, "ü": "a 00000002 00000000 b"} for step in (5, 10, 15)
]
MORE = [{"trial": "0.001", "step": 20, "train_loss": None}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics" / f"{CELL}.jsonl"


def written(path: Path, rows: list[dict[str, Any]]) -> bytes:
    path.unlink(missing_ok=True)
    stream.append(path, rows)
    return path.read_bytes()


def spans(path: Path) -> list[tuple[int, int]]:
    """Where each row begins and ends in the bytes of a stream, without the newlines."""
    ends = [len(written(path, ROWS[: n + 1])) for n in range(len(ROWS))]
    return list(zip([0, *ends], (end - 1 for end in ends), strict=False))


def test_a_line_is_length_checksum_and_canonical_json(path: Path) -> None:
    # CRC-32 of the 27 bytes {"step": 5, "trial": "0.1"}, computed with another program.
    assert written(path, [{"trial": "0.1", "step": 5}]) == b'0000001b 3babf0d4 {"step": 5, "trial": "0.1"}\n'
    assert stream.read(path) == stream.Read(({"trial": "0.1", "step": 5},), 0)
    stream.append(path, [])
    assert len(path.read_bytes()) == 46


def test_cut_at_every_byte_and_go_on(path: Path) -> None:
    rows = spans(path)
    content = written(path, ROWS)
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        whole = [row for row, (_, end) in zip(ROWS, rows, strict=True) if end <= cut]
        torn = any(start < cut < end for start, end in rows)
        assert stream.read(path) == stream.Read(tuple(whole), int(torn)), cut
        stream.append(path, MORE)
        stream.append(path, MORE)
        assert stream.read(path) == stream.Read((*whole, *MORE, *MORE), int(torn)), cut


def test_garbage_anywhere_costs_the_row_it_hits_and_no_other(path: Path) -> None:
    chance = random.Random(6)
    rows = spans(path)
    content = written(path, ROWS)
    for place in range(len(content) + 1):
        garbage = chance.choice([chance.randbytes(chance.randint(1, 40)), b"\n", content[:20], b"00000002 00000000 {}"])
        path.write_bytes(content[:place] + garbage + content[place:])
        expected = [row for row, (start, end) in zip(ROWS, rows, strict=True) if not start < place < end]
        found = stream.read(path)
        assert found.rows == tuple(expected), (place, garbage)
        assert found.skipped > 0 or garbage == b"\n"
        stream.append(path, MORE)
        assert stream.read(path).rows == (*expected, *MORE)


def test_every_flipped_bit_is_noticed(path: Path) -> None:
    rows = spans(path)
    content = written(path, ROWS)
    start, end = rows[1]
    for place in range(start, end):
        for bit in range(8):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            found = stream.read(path)
            assert found.rows == (ROWS[0], ROWS[2]), (place, bit)
            assert found.skipped >= 1


def test_what_was_done_twice_counts_once(path: Path) -> None:
    first = {"trial": "0.1", "peak_lr": 0.1}
    stream.append(path, [{**first, "step": 5, "train_loss": 2.0}, {**first, "step": 10, "train_loss": 1.0}])
    stream.append(path, [{"trial": "0.2", "step": 10, "train_loss": 3.0}, {**first, "step": 5, "train_loss": 2.5}])
    stream.append(path, [{**first, "step": 10, "val_score": 0.5}])
    assert stream.load(path.parents[1], CELL) == [
        {**first, "step": 5, "train_loss": 2.5},
        {**first, "step": 10, "train_loss": 1.0, "val_score": 0.5},
        {"trial": "0.2", "step": 10, "train_loss": 3.0},
    ]


def test_what_is_no_stream_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=rf"metrics/{CELL}\.jsonl: there is no such stream; it is written while a"):
        stream.load(tmp_path, CELL)
    with pytest.raises(RecordError, match=r"is not named by the 16 hex digits of a cell's id$"):
        stream.load(tmp_path, "../../etc/passwd")
    assert stream.read(tmp_path / "none") == stream.Read((), 0)
    with pytest.raises(FileError, match=r": cannot be read: Is a directory$"):
        stream.read(tmp_path)
    with pytest.raises(ValueError, match="train_loss is nan, which JSON cannot hold"):
        stream.append(tmp_path / "none", [{"train_loss": float("nan")}])
    assert not (tmp_path / "none").exists()


def test_a_full_disk_leaves_what_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(path, ROWS)
    real = os.write

    def full(file: int, data: bytes) -> int:
        if len(data) <= 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, bytes(data)[:20])

    with monkeypatch.context() as context:
        context.setattr(os, "write", full)
        with pytest.raises(FileError, match=r"could not be written: No space left on device; 69 bytes are needed$"):
            stream.append(path, MORE)
    assert path.read_bytes() == content
    stream.append(path, MORE)
    assert stream.read(path) == stream.Read((*ROWS, *MORE), 0)
