import json
from pathlib import Path

import pytest

from tlx import shared
from tlx.errors import FileError, RecordError, TlxError
from tlx.records import Records

ONE, OTHER = "1" * 16, "2" * 16


@pytest.fixture
def url(tmp_path: Path) -> str:
    return (tmp_path / "bucket").as_uri()


def publish(work: Path, cell: str, score: float) -> None:
    Records(work).publish({"id": cell, "result": {"test_score": score}}, {"id": cell, "wall_s": 1.0})


def test_what_one_machine_published_another_has(tmp_path: Path, url: str) -> None:
    publish(tmp_path / "here", ONE, 0.5)
    Records(tmp_path / "here").write_manifest({"study": "small", "cells": []})
    shared.push(url, tmp_path / "here", [ONE, OTHER])
    shared.push_files(url, tmp_path / "here", ["study.json", "report.html"])
    shared.pull(url, tmp_path / "there")
    there = Records(tmp_path / "there")
    assert there.get(ONE) == Records(tmp_path / "here").get(ONE) and not there.has(OTHER)
    assert there.timing(ONE) == {"id": ONE, "wall_s": 1.0} and there.manifest()["study"] == "small"
    bucket = sorted(path.relative_to(tmp_path / "bucket").as_posix() for path in (tmp_path / "bucket").rglob("*.json"))
    assert bucket == [f"records/{ONE}.json", "study.json", f"timings/{ONE}.json"]


def test_the_same_result_may_be_published_again_and_another_may_not(tmp_path: Path, url: str) -> None:
    for work, score in (("a", 0.5), ("b", 0.5), ("c", 0.75)):
        publish(tmp_path / work, ONE, score)
    shared.push(url, tmp_path / "a", [ONE])
    before = (tmp_path / "bucket" / "records" / f"{ONE}.json").read_bytes()
    shared.push(url, tmp_path / "b", [ONE])
    with pytest.raises(RecordError) as caught:
        shared.push(url, tmp_path / "c", [ONE])
    assert str(caught.value).endswith("another machine recorded this cell with another result; the first was kept")
    assert (tmp_path / "bucket" / "records" / f"{ONE}.json").read_bytes() == before


def test_a_failure_is_told_until_there_is_a_record(tmp_path: Path, url: str) -> None:
    Records(tmp_path / "a").fail(ONE, "no luck", "")
    shared.push(url, tmp_path / "a", [ONE])
    shared.pull(url, tmp_path / "b")
    assert Records(tmp_path / "b").failures() == {ONE: "no luck"}
    publish(tmp_path / "b", ONE, 0.5)
    shared.push(url, tmp_path / "b", [ONE])
    shared.pull(url, tmp_path / "c")
    assert Records(tmp_path / "c").failures() == {} and Records(tmp_path / "c").has(ONE)


def test_a_record_that_was_damaged_on_its_way_is_found_out(tmp_path: Path, url: str) -> None:
    publish(tmp_path / "a", ONE, 0.5)
    shared.push(url, tmp_path / "a", [ONE])
    path = tmp_path / "bucket" / "records" / f"{ONE}.json"
    path.write_text(path.read_text().replace("0.5", "0.6"))
    shared.pull(url, tmp_path / "b")
    with pytest.raises(RecordError, match="is damaged"):
        Records(tmp_path / "b").get(ONE)


def test_a_bucket_that_is_not_there_is_empty_and_one_of_no_kind_is_refused(tmp_path: Path, url: str) -> None:
    shared.pull(url, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(TlxError, match=r"^none://bucket: this kind of bucket needs a package"):
        shared.pull("none://bucket", tmp_path / "a")
    (tmp_path / "bucket").write_text("a file")
    with pytest.raises(FileError, match="the bucket could not be used"):
        publish(tmp_path / "a", ONE, 0.5)
        shared.push(url, tmp_path / "a", [ONE])


def test_a_work_folder_is_itself_or_a_copy(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert shared.local_work(str(tmp_path)) == tmp_path
    publish(tmp_path / "a", ONE, 0.5)
    shared.push(url, tmp_path / "a", [ONE])
    copy = shared.local_work(url)
    assert copy.is_relative_to(tmp_path / "cache") and copy == shared.local_work(f"{url}/")
    assert json.loads((copy / "records" / f"{ONE}.json").read_text())["id"] == ONE
