"""What HF `datasets` saves to disk, written here by hand with pyarrow: read as it is, defects named with the row."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image

from tlx.data.describe import describe, features_of
from tlx.data.pipeline import load_arrays
from tlx.data.source import open_split, prepare
from tlx.errors import FileError

IMAGE = {"_type": "Image"}
TEXT = {"dtype": "string", "_type": "Value"}
CLASSES = {"names": ["zebra", "ape"], "_type": "ClassLabel"}


def save(folder: Path, features: dict[str, Any], rows: list[dict[str, Any]], **state: Any) -> None:
    """As `Dataset.save_to_disk` does, in two files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{i:05d}-of-00002.arrow" for i in range(2)]
    types = {
        "Image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
        "ClassLabel": pyarrow.int64(),
    }
    schema = pyarrow.schema({name: types.get(kind["_type"], pyarrow.string()) for name, kind in features.items()})
    if "score" in features:
        schema = schema.set(schema.get_field_index("score"), pyarrow.field("score", pyarrow.float64()))
    for name, part in zip(names, (rows[:2], rows[2:]), strict=True):
        with pyarrow.OSFile(str(folder / name), "wb") as file, pyarrow.ipc.new_stream(file, schema) as writer:
            writer.write_table(pyarrow.Table.from_pylist(part, schema))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"} | state
    (folder / "state.json").write_text(json.dumps(state))


def png(value: int, size: tuple[int, int] = (3, 4)) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(np.full(size, value, np.uint8)).save(file, format="png")
    return {"bytes": file.getvalue(), "path": None}


def test_images_of_two_splits(tmp_path: Path) -> None:
    root, name = tmp_path / "saved", f"hf:{tmp_path / 'saved'}"
    for split, count in (("train", 6), ("test", 4)):
        rows = [{"image": png(10 * i + i % 2), "label": i % 2} for i in range(count)]
        save(root / split, {"image": IMAGE, "label": CLASSES}, rows)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    assert describe(name, tmp_path / "data", 9) == ((3, 4, 1), 2)
    prepare(name, tmp_path / "data")
    assert features_of(name, tmp_path / "data")["label"].names == ["zebra", "ape"]
    for split, count in (("train", 6), ("test", 4)):
        arrays = load_arrays(name, split, tmp_path / "data")
        value_N = arrays.input_N[:, 0, 0, 0].astype(int)
        assert sorted(value_N.tolist()) == [10 * i + i % 2 for i in range(count)]
        assert np.array_equal(value_N % 10, arrays.label_N)


def test_texts_with_names_or_scores(tmp_path: Path) -> None:
    rows = [{"body": f"words {i}", "kind": "ab"[i % 2], "score": i / 2} for i in range(4)]
    features = {"body": TEXT, "kind": TEXT, "score": {"dtype": "float64", "_type": "Value"}}
    save(tmp_path / "saved", features, rows, _split="validation")
    name = f"hf:{tmp_path / 'saved'}?text=body&label=kind"
    prepare(name, tmp_path / "data")
    found = open_split(name, "validation", tmp_path / "data").__getitems__([0, 1, 2, 3])
    assert {e["text"].decode(): e["label"] for e in found} == {f"words {i}": i % 2 for i in range(4)}
    name = f"hf:{tmp_path / 'saved'}?text=body&target=score"
    prepare(name, tmp_path / "data")
    found = open_split(name, "validation", tmp_path / "data").__getitems__([0, 1, 2, 3])
    assert {e["text"].decode(): e["score"] for e in found} == {f"words {i}": i / 2 for i in range(4)}


ROWS = [{"image": png(i), "label": i % 2} for i in range(4)]
REFUSED: list[tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any], str, str]] = [
    ([*ROWS, {"image": png(1), "label": -1}], {}, {}, "", "saved, row 5: label -1: -1 stands for unlabelled"),
    ([*ROWS, {"image": png(1), "label": 2}], {}, {}, "", "saved, row 5: label 2: there are 2 classes"),
    ([*ROWS, {"image": png(1), "label": None}], {}, {}, "", "saved, row 5: has no label"),
    ([*ROWS, {"image": {"path": "/x.png"}, "label": 0}], {}, {}, "", "row 5: does not hold its image, only where"),
    (
        [*ROWS, {"image": {"bytes": png(1)["bytes"][:-20]}, "label": 0}],
        {},
        {},
        "",
        r"row 5: is not an image, or is damaged",
    ),
    (ROWS[::2], {}, {}, "", "saved: class 'ape' has no example in train; add some"),
    (ROWS, {}, {}, "?label=kind", r"has no column 'kind' for label \(there are image, label\)"),
    (ROWS, {}, {}, "?text=label", r"column 'label': expected Value for text, got ClassLabel"),
    (ROWS, {"_indices_files": [{"filename": "i.arrow"}]}, {}, "", "holds a selection of rows; save it after flatten"),
    (ROWS, {"_data_files": [{"filename": "../x.arrow"}]}, {}, "", r"_data_files: expected names of files, got '\.\./x"),
    (ROWS, {"_data_files": [{"filename": "x.arrow"}]}, {}, "", r"x\.arrow: cannot be read"),
    (ROWS, {}, {"features": None}, "", r"dataset_info\.json: does not say what the columns are"),
]


@pytest.mark.parametrize(("rows", "state", "info", "options", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(tmp_path: Path, rows: Any, state: Any, info: Any, options: str, message: str) -> None:
    folder = tmp_path / "saved"
    save(folder, {"image": IMAGE, "label": CLASSES}, rows, **state)
    if info:
        (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(FileError, match=message) as caught:
        prepare(f"hf:{folder}{options}", tmp_path / "data")
    assert "\n" not in str(caught.value)


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is not what the save_to_disk of HF datasets leaves: it lacks state"):
        prepare(f"hf:{tmp_path}", tmp_path / "data")
    save(tmp_path, {"image": IMAGE, "label": CLASSES}, ROWS)
    (tmp_path / "data-00001-of-00002.arrow").write_bytes(b"rubbish")
    with pytest.raises(FileError, match=r"arrow: is not Arrow's stream format, or is damaged") as caught:
        prepare(f"hf:{tmp_path}", tmp_path / "data")
    assert "\n" not in str(caught.value)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "extra"]}')
    with pytest.raises(
        FileError, match=r"dataset_dict\.json: expected splits called train, test, validation, val, got"
    ):
        prepare(f"hf:{tmp_path}", tmp_path / "data")
