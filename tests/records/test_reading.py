"""A work folder in any state: what cannot be read is named once, the rest is there."""

import json
from pathlib import Path

import pytest
from made_records import make_record, make_study, publish, simulate

from tlx.errors import FileError
from tlx.records import Reading, read
from tlx.records.store import Records


def test_a_finished_study_comes_back(tmp_path: Path) -> None:
    study = make_study(simulate({"full": 0.2}, (20,), 2))
    reading = read(publish(study, tmp_path))
    assert reading.manifest["study"] == "quickstart" and reading.folder == tmp_path
    assert [*reading.records] == sorted(record["id"] for record in study.records)
    assert reading.planned == reading.records.keys() == reading.timings.keys()
    assert not reading.failures and not reading.damaged and reading.unread == ()


def test_what_is_not_wanted_is_left_out(tmp_path: Path) -> None:
    publish(make_study([make_record()]), tmp_path)
    (record,) = read(tmp_path, leave_out=frozenset({"curve"})).records.values()
    assert "curve" not in record and "result" in record
    assert "curve" in next(iter(read(str(tmp_path)).records.values()))


def test_an_empty_folder_is_a_study_without_cells(tmp_path: Path) -> None:
    empty = Reading(
        tmp_path,
        {"study": tmp_path.name, "command": "", "config": {}, "cells": []},
        frozenset(),
        *({}, {}, {}, {}),
        unread=(),
    )
    assert read(tmp_path) == empty


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere: there is no such folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file: there is no such folder"):
        read(tmp_path / "file")


def test_torn_and_foreign_files_are_named_and_cost_nothing_else(tmp_path: Path) -> None:
    study = make_study(simulate({"full": 0.2}, (20,), 2))
    folder = publish(study, tmp_path)
    torn, kept = (folder / "records" / f"{study.records[i]['id']}.json" for i in (0, 1))
    torn.write_bytes(torn.read_bytes()[:100])
    (folder / "records" / "notes.json").write_text("{}")
    (folder / "records" / "README").write_text("no JSON, and none of ours")
    (folder / "timings" / kept.name).write_text("[1, 2")
    (folder / "failures").mkdir()
    (folder / "failures" / "feedfeedfeedfeed.json").write_text('{"reason": "x"}')
    reading = read(folder)
    assert len(reading.records) == 5 and kept.stem in reading.records and kept.stem not in reading.timings
    assert reading.damaged[torn.stem] == "is damaged; delete it to have the cell run again"
    assert sorted(line.split(": ")[0] for line in reading.unread) == sorted(
        str(folder / name)
        for name in (
            f"records/{torn.name}",
            "records/notes.json",
            f"timings/{kept.name}",
            "failures/feedfeedfeedfeed.json",
        )
    )
    assert all("\n" not in line for line in reading.unread)


def test_a_whole_record_of_something_else_is_foreign(tmp_path: Path) -> None:
    Records(tmp_path).publish({"id": "feedfeedfeedfeed", "status": "ok", "cell": {"target": "digits"}}, {})
    (line,) = read(tmp_path).unread
    assert line.endswith("feedfeedfeedfeed.json: does not say which cell it is of, so it is not ours")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": 2}', '{"format": 2, "cells": [{"id": 1}]}', '{"format": 3, "cells": []}'],
)
def test_without_a_manifest_the_records_are_what_there_is(tmp_path: Path, content: str) -> None:
    study = make_study(simulate({"full": 0.2}, (20,), 1))
    folder = publish(study, tmp_path)
    (folder / "study.json").write_text(content)
    reading = read(folder)
    assert len(reading.unread) == 1 and reading.unread[0].startswith(f"{folder / 'study.json'}: ")
    assert reading.planned == frozenset() and reading.manifest["study"] == "quickstart"
    assert {item["id"] for item in reading.manifest["cells"]} == {record["id"] for record in study.records}


def test_failures_are_those_of_cells_without_a_record(tmp_path: Path) -> None:
    records = [make_record(), make_record(seed=1)]
    folder = publish(make_study(records[:1], lost=records[1:]), tmp_path)
    for record in records:
        Records(folder).fail(record["id"], "RuntimeError: out of memory", "…")
    assert read(folder).failures == {records[1]["id"]: "RuntimeError: out of memory"}


def test_records_written_otherwise_are_still_ours(tmp_path: Path) -> None:
    folder = publish(make_study([make_record()]), tmp_path)
    (path,) = (folder / "records").glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert len(read(folder).records) == 1 and not read(folder).unread
