"""Data sets that lie there as TFRecord or parquet: the same examples as array_record, damage named, never stale."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import tensorflow_datasets as tfds
import tiny_tfds  # noqa: F401
from pyarrow import parquet

from tlx.data.crc32c import crc32c, masked
from tlx.data.describe import describe
from tlx.data.reframe import tfrecords
from tlx.data.source import open_split, prepare
from tlx.errors import FileError

NAME, VERSION = "tfds:tiny_signs", "tiny_signs/plain/2.1.0"


def framed(record: bytes) -> bytes:
    length = len(record).to_bytes(8, "little")
    return b"".join(
        [length, masked(crc32c(length)).to_bytes(4, "little"), record, masked(crc32c(record)).to_bytes(4, "little")]
    )


def write(file: Path, form: str, records: list[bytes]) -> None:
    if form == "tfrecord":
        file.write_bytes(b"".join(map(framed, records)))
    else:
        parquet.write_table(pyarrow.table({"data": pyarrow.array(records, pyarrow.binary())}), file)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    prepare(NAME, folder)
    return folder / VERSION


def converted(original: Path, data_dir: Path, form: str) -> Path:
    """The data set as `form`, `train` in two shards of 4 and 6 examples."""
    folder = data_dir / VERSION
    folder.mkdir(parents=True)
    shutil.copy(original / "features.json", folder)
    for labels in original.glob("*.labels.txt"):
        shutil.copy(labels, folder)
    info = json.loads((original / "dataset_info.json").read_text())
    builder = tfds.builder_from_directory(original)
    for split in info["splits"]:
        method = tfds.decode.DeserializeMethod.RAW_BYTES
        records = list(builder.as_data_source(split["name"], deserialize_method=method))
        parts = [records[:4], records[4:]] if split["name"] == "train" else [records]
        split["shardLengths"] = [str(len(part)) for part in parts]
        for i, part in enumerate(parts):
            write(folder / f"tiny_signs-{split['name']}.{form}-{i:05d}-of-{len(parts):05d}", form, part)
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": form}))
    return folder


def examples(split: str, data_dir: Path) -> list[Any]:
    source = open_split(NAME, split, data_dir)
    return list(source.__getitems__(list(range(len(source)))))


@pytest.fixture(params=["tfrecord", "parquet"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def test_the_same_examples_and_slices(original: Path, tmp_path: Path, form: str) -> None:
    folder = converted(original, tmp_path, form)
    before = sorted(os.listdir(folder))
    assert describe(NAME, tmp_path, 5) == ((5,), 2)
    with pytest.raises(FileError, match="is not a prepared dataset; delete it, if it is there, and prepare it"):
        open_split(NAME, "train", tmp_path)
    prepare(NAME, tmp_path)
    data_dir = original.parents[2]
    for split in ("train", "test", "train[:20%]", "train[20%:]", "train[3:5]"):
        assert examples(split, tmp_path) == examples(split, data_dir)
    assert sorted(os.listdir(folder)) == before
    assert tfds.builder_from_directory(open_split(NAME, "train", tmp_path).dataset_info.data_dir).info.splits[
        "train"
    ].shard_lengths == [4, 6]


def test_a_copy_is_made_once_and_anew_after_a_change(original: Path, tmp_path: Path, form: str) -> None:
    folder = converted(original, tmp_path, form)
    for _ in range(2):
        prepare(NAME, tmp_path)
    (copy,) = set(folder.parent.iterdir()) - {folder}
    assert copy.name.startswith("2.1.0-array_record-")
    shutil.rmtree(tmp_path / "tiny_signs")
    folder = converted(original, tmp_path, form)
    write(folder / f"tiny_signs-test.{form}-00000-of-00001", form, [*_raw(original, "test")[:2], b""])
    prepare(NAME, tmp_path)
    assert copy.name not in os.listdir(folder.parent)


def _raw(original: Path, split: str) -> list[bytes]:
    method = tfds.decode.DeserializeMethod.RAW_BYTES
    return list(tfds.builder_from_directory(original).as_data_source(split, deserialize_method=method))


def test_a_shard_that_is_missing_or_of_another_length(original: Path, tmp_path: Path, form: str) -> None:
    shard = converted(original, tmp_path, form) / f"tiny_signs-train.{form}-00001-of-00002"
    write(shard, form, _raw(original, "train")[5:])
    with pytest.raises(FileError, match=rf"{shard.name}: holds 5 examples, dataset_info.json says 6; prepare it anew"):
        prepare(NAME, tmp_path)
    shard.unlink()
    with pytest.raises(FileError, match=rf"{shard.name}: is missing; get it anew$"):
        prepare(NAME, tmp_path)
    assert os.listdir(tmp_path / "tiny_signs/plain") == ["2.1.0"]
    assert os.listdir(tmp_path) == ["tiny_signs"]


def test_every_flipped_bit_of_a_tfrecord_is_noticed(tmp_path: Path) -> None:
    file, content = tmp_path / "x.tfrecord", framed(b"one") + framed(b"three")
    file.write_bytes(content)
    assert list(tfrecords(file)) == [b"one", b"three"]
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.raises(FileError, match=r"record [12] has a (wrong checksum|length with a wrong checksum); the"):
            list(tfrecords(file))


def test_every_cut_of_a_tfrecord_is_noticed(tmp_path: Path) -> None:
    file, content = tmp_path / "x.tfrecord", framed(b"one") + framed(b"three")
    for length in range(1, len(content)):
        file.write_bytes(content[:length])
        if length == len(framed(b"one")):
            continue  # a whole file of one record: the description's count finds it
        with pytest.raises(FileError, match=r"(record \d has a length|ends within record [12]; the file is damaged)"):
            list(tfrecords(file))


@pytest.mark.parametrize("content", [b"rubbish", b""])
def test_a_damaged_parquet_file(original: Path, tmp_path: Path, content: bytes) -> None:
    (converted(original, tmp_path, "parquet") / "tiny_signs-test.parquet-00000-of-00001").write_bytes(content)
    with pytest.raises(
        FileError, match=r"parquet-00000-of-00001: cannot be read \(.*\); the file is damaged"
    ) as caught:
        prepare(NAME, tmp_path)
    assert "\n" not in str(caught.value)


def test_another_table(original: Path, tmp_path: Path) -> None:
    file = converted(original, tmp_path, "parquet") / "tiny_signs-test.parquet-00000-of-00001"
    parquet.write_table(pyarrow.table({"text": ["a"], "label": [0]}), file)
    with pytest.raises(FileError, match=r"expected the column 'data' alone, as TFDS writes it, got text, label$"):
        prepare(NAME, tmp_path)


def test_another_format(original: Path, tmp_path: Path) -> None:
    folder = converted(original, tmp_path, "tfrecord")
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "riegeli"}))
    with pytest.raises(FileError, match="is prepared as riegeli, which cannot be read; prepare it as array_record"):
        prepare(NAME, tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"name": "../x"}, {"name": 3}, {"splits": None}, {"splits": [{"name": "train", "shardLengths": ["many"]}]}],
)
def test_a_damaged_description(original: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    folder = converted(original, tmp_path, "tfrecord")
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | change))
    with pytest.raises(FileError, match=r"2\.1\.0: has a damaged description; delete it and prepare it again"):
        prepare(NAME, tmp_path)
