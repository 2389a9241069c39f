"""Tables of texts in four formats: the same examples, and every defect named with its file and row."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from sentences import write_tokenizer

from tlx.data.describe import describe, features_of, is_text
from tlx.data.pipeline import load_arrays
from tlx.data.source import open_split, prepare
from tlx.data.text import load_tokenizer
from tlx.errors import FileError, TlxError

ROWS = [{"text": f"text {i}, with a comma", "label": ("good", "bad", "fair")[i % 3], "score": i / 4} for i in range(9)]
ENDINGS = ("csv", "tsv", "jsonl", "parquet")


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    if file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif file.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    else:
        separator = "\t" if file.suffix == ".tsv" else ","
        lines = [list(rows[0]), *([f'"{cell}"' for cell in row.values()] for row in rows)]
        file.write_text("\n".join(separator.join(line) for line in lines) + "\n")


def examples(name: str, split: str, data_dir: Path) -> list[Any]:
    prepare(name, data_dir)
    source = open_split(name, split, data_dir)
    return list(source.__getitems__(list(range(len(source)))))


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_gives_the_same(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"reviews.{ending}"
    write(file, ROWS)
    name = f"table:{file}"
    assert describe(name, tmp_path / "data", 12) == ((12,), 3)
    assert is_text(name, tmp_path / "data")
    found = examples(name, "train", tmp_path / "data")
    assert features_of(name, tmp_path / "data")["label"].names == ["bad", "fair", "good"]
    number = {"bad": 0, "fair": 1, "good": 2}
    assert {e["text"].decode(): e["label"] for e in found} == {row["text"]: number[row["label"]] for row in ROWS}
    # Each third holds each class once: the order depends on nothing but the labels.
    assert [e["text"].decode()[5] for e in found] == list("102435867")
    assert all(sorted(e["label"] for e in found[i : i + 3]) == [0, 1, 2] for i in (0, 3, 6))


def test_a_folder_of_splits(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "test.jsonl", ROWS[:3])
    write(tmp_path / "val.parquet", ROWS[3:5])
    (tmp_path / "notes.csv").write_text("is not read")
    name = f"table:{tmp_path}"
    assert [len(examples(name, split, tmp_path / "data")) for split in ("train", "test", "validation")] == [9, 3, 2]
    write(tmp_path / "validation.csv", ROWS)
    with pytest.raises(FileError, match=r"validation\.csv: is the second file of the split validation; expected one"):
        prepare(name, tmp_path / "data")


def test_other_columns_pairs_and_integers(tmp_path: Path) -> None:
    rows = [{"premise": f"p{i}", "so what": f"h{i}", "stars": i % 2} for i in range(4)]
    for ending in ("csv", "jsonl", "parquet"):
        write(tmp_path / f"pairs.{ending}", rows)
        name = f"table:{tmp_path / 'pairs'}.{ending}?text=premise&text2=so+what&label=stars"
        found = examples(name, "train", tmp_path / "data")
        assert {(e["text"], e["text2"], e["label"]) for e in found} == {
            (f"p{i}".encode(), f"h{i}".encode(), i % 2) for i in range(4)
        }


def test_pairs_are_tokenised_together(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tokenizer(tmp_path), 16)
    write(tmp_path / "pairs.csv", [{"text": "good", "text2": "bad", "label": i} for i in range(2)])
    name = f"table:{tmp_path / 'pairs.csv'}?text2=text2"
    prepare(name, tmp_path / "data")
    arrays = load_arrays(name, "train", tmp_path / "data", tokenizer)
    assert np.array_equal(arrays.input_N[0], tokenizer([("good", "bad")])[0])
    assert not np.array_equal(arrays.input_N[0], tokenizer(["good"])[0])


def test_a_score_in_place_of_a_label(tmp_path: Path) -> None:
    write(tmp_path / "rated.csv", ROWS)
    name = f"table:{tmp_path / 'rated.csv'}?target=score"
    assert describe(name, tmp_path / "data", 5) == ((5,), 0)
    found = examples(name, "train", tmp_path / "data")
    assert sorted(float(e["score"]) for e in found) == [i / 4 for i in range(9)]
    tokenizer = load_tokenizer(write_tokenizer(tmp_path), 16)
    arrays = load_arrays(name, "train", tmp_path / "data", tokenizer, target="score")
    assert (arrays.label_N.dtype, arrays.num_classes) == (np.float32, 0)
    assert arrays.label_N.tolist() == [e["score"] for e in found]
    with pytest.raises(TlxError, match=r"rated\.csv\?target=score has no label \(one of score\)$"):
        load_arrays(name, "train", tmp_path / "data", tokenizer)


def test_an_edited_table_is_prepared_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    write(file, ROWS)
    assert len(examples(f"table:{file}", "train", tmp_path / "data")) == 9
    write(file, ROWS[:6])
    assert len(examples(f"table:{file}", "train", tmp_path / "data")) == 6
    stat = file.stat()
    file.write_text(file.read_text().replace("text 5", "text X"))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert any(b"text X" in e["text"] for e in examples(f"table:{file}", "train", tmp_path / "data"))
    assert len(os.listdir(tmp_path / "data")) == 3


CSV = [
    ("", "is empty; expected a line with the names of the columns"),
    ("text,label\n", "holds no row of train; add some or take the file away"),
    ("words,label\na,b\n", r"has no column 'text' \(one of words, label\); say which with \?text=COLUMN&label=COLUMN"),
    ("text,text,label\na,b,c\n", "has 2 columns called 'text'; rename one"),
    ("text,label\na,x\nb,y,z\n", "line 3 has 3 cells, the header 2; a cell with a separator in it needs quotation"),
    ("text,label\na,x\nb\n", "line 3 has 1 cells, the header 2"),
    ('text,label\n"a\nb",x\nc,\n', "line 4 has no label"),
    ("text,label\na,x\n ,y\n", "line 3 text: expected words, got ' '"),
    ("text,label\na,x\n,y\n", "line 3 has no text"),
    ('text,label\n"a"b,x\n', "line 2 cannot be read"),
    ('text,label\na,x\n"b,y\n', "line 3 cannot be read: unexpected end of data"),
    ("text,label\na,x\nb,x\n", "expected at least two classes, found 1: x"),
    ("text,label\na,0\nb,2\n", r"class '1' has no example in train; add some, or leave the class out everywhere"),
    ("text,label\na,0\nb,0\n", "expected at least two classes, found only the label 0"),
    ("text,label\na,0\nb,99999999\n", "label 99999999: expected integers from 0 without a gap, or names"),
]


@pytest.mark.parametrize(("content", "message"), CSV, ids=range(len(CSV)))
def test_a_defect_of_a_csv_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(FileError, match=rf"^{tmp_path}/a\.csv: {message}") as caught:
        prepare(f"table:{tmp_path / 'a.csv'}", tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.array_record*"))


JSONL = [
    ('{"text": "a", "label": "x"}\n{"text": "b"\n', "line 2 is not JSON"),
    ('{"text": "a", "label": "x"}\n\n["b"]\n', r"line 3: expected an object, got \[\"b\"\]"),
    ('{"text": "a", "label": "x"}\n{"text": "b"}\n', r"line 2 has no column 'label' \(one of text\)"),
    ('{"text": "a", "label": null}\n', "line 1 has no label"),
    ('{"text": 3, "label": "x"}\n', "line 1 text: expected words, got 3"),
    ('{"text": "a", "label": 1.5}\n', "line 1 label 1.5 is neither a text nor an integer; for a score, say target="),
    ('{"text": "a", "label": -1}\n{"text": "b", "label": 0}\n', "label -1: expected integers from 0, or names"),
]


@pytest.mark.parametrize(("content", "message"), JSONL, ids=range(len(JSONL)))
def test_a_defect_of_a_jsonl_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(FileError, match=rf"^{tmp_path}/a\.jsonl: {message}") as caught:
        prepare(f"table:{tmp_path / 'a.jsonl'}", tmp_path / "data")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("score", ["high", "", "nan", "inf"])
def test_what_is_no_score(tmp_path: Path, score: str) -> None:
    (tmp_path / "a.csv").write_text(f"text,score\na,0.5\nb,{score}\n")
    with pytest.raises(FileError, match=r"a\.csv: line 3 (score: expected a number, got '\w+'|has no score)$"):
        prepare(f"table:{tmp_path / 'a.csv'}?target=score", tmp_path / "data")


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"rubbish")
    with pytest.raises(FileError, match=r"a\.parquet: is not parquet, or is damaged \(") as caught:
        prepare(f"table:{tmp_path / 'a.parquet'}", tmp_path / "data")
    assert "\n" not in str(caught.value)
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": ["x", None]}), tmp_path / "b.parquet")
    with pytest.raises(FileError, match=r"b\.parquet: row 2 has no label$"):
        prepare(f"table:{tmp_path / 'b.parquet'}", tmp_path / "data")
    (tmp_path / "a.csv").write_bytes(b"text,label\n\xff,x\n")
    with pytest.raises(FileError, match=r"a\.csv: is not UTF-8 \(.*\); save it as UTF-8$"):
        prepare(f"table:{tmp_path / 'a.csv'}", tmp_path / "data")
    (tmp_path / "a.txt").touch()
    with pytest.raises(FileError, match=r"a\.txt: expected a file that ends in \.csv, \.tsv, \.jsonl, \.parquet$"):
        prepare(f"table:{tmp_path / 'a.txt'}", tmp_path / "data")
    with pytest.raises(FileError, match="nowhere: there is no such file or folder$"):
        prepare(f"table:{tmp_path / 'nowhere'}", tmp_path / "data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="empty: holds no table called train, test or validation"):
        prepare(f"table:{tmp_path / 'empty'}", tmp_path / "data")


def test_a_class_that_only_the_test_knows(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "test.csv", [*ROWS, {"text": "a", "label": "new", "score": 0}])
    with pytest.raises(FileError, match="class 'new' has no example in train; add some, or leave"):
        prepare(f"table:{tmp_path}", tmp_path / "data")
