"""Records: published once, verified when read, in the same bytes every time."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tlx import atomic
from tlx.errors import FileError, RecordError
from tlx.records import Records, content_id

NAMES = [content_id({"seed": seed}) for seed in range(5)]


def record(name: str, accuracy: float = 0.8) -> dict[str, Any]:
    return {"id": name, "study": "ü", "status": "ok", "result": {"test_score": accuracy, "val_loss": None}}


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "with space" / "run")


def path_of(records: Records, name: str) -> Path:
    return records.folder / "records" / f"{name}.json"


def test_content_id_follows_the_content_and_not_the_order() -> None:
    assert content_id({"a": 1, "b": {"c": 2.5}}) == content_id({"b": {"c": 2.5}, "a": 1})
    assert content_id({"a": 1}) != content_id({"a": 1.0}) != content_id({"a": "1"})
    assert len(set(NAMES)) == 5 and all(len(name) == 16 and int(name, 16) >= 0 for name in NAMES)
    assert content_id({}) == "ca3d163bab055381"


def test_what_is_published_comes_back(records: Records) -> None:
    assert not records.has(NAMES[0]) and records.load_all() == [] and records.timing(NAMES[0]) is None
    for name in NAMES:
        assert records.publish(record(name), {"id": name, "wall_s": 1.5}) is True
    assert records.has(NAMES[0]) and records.timing(NAMES[0]) == {"id": NAMES[0], "wall_s": 1.5}
    loaded = records.load_all()
    assert [one["id"] for one in loaded] == sorted(NAMES)
    assert loaded[sorted(NAMES).index(NAMES[2])] == records.get(NAMES[2])
    got = records.get(NAMES[2])
    digest = got.pop("digest")
    assert got == {"format": 2, **record(NAMES[2])} and digest == atomic.digest_json(got)


def test_the_same_result_gives_the_same_bytes(records: Records, tmp_path: Path) -> None:
    other = Records(tmp_path / "other")
    records.publish(record(NAMES[0]), {"wall_s": 1.0})
    other.publish(dict(reversed(record(NAMES[0]).items())), {"wall_s": 99.0})
    assert path_of(records, NAMES[0]).read_bytes() == path_of(other, NAMES[0]).read_bytes()


def test_publishing_again_changes_nothing(records: Records) -> None:
    assert records.publish(record(NAMES[0]), {"wall_s": 1.0}) is True
    assert records.publish(record(NAMES[0]), {"wall_s": 2.0}) is False
    with pytest.raises(RecordError, match="recorded before with other result, status; the first was kept"):
        records.publish({**record(NAMES[0], 0.9), "status": "diverged"}, {})
    assert records.get(NAMES[0])["result"]["test_score"] == 0.8 and len(records.load_all()) == 1


def test_of_eight_that_race_one_is_kept(records: Records) -> None:
    def race(worker: int) -> bool | None:
        try:
            return records.publish(record(NAMES[0], worker / 10), {})
        except RecordError:
            return None

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(race, range(8)))
    assert results.count(True) == 1 and results.count(None) == 7
    assert records.get(NAMES[0])["result"]["test_score"] == results.index(True) / 10


def test_a_kill_between_timing_and_record_loses_nothing(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    class Died(BaseException):
        pass

    def die(*args: object) -> bool:
        raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(atomic, "publish", die)
        records.publish(record(NAMES[0]), {"wall_s": 1.0})
    assert not records.has(NAMES[0]) and records.load_all() == []
    assert records.publish(record(NAMES[0]), {"wall_s": 2.0}) is True
    assert records.timing(NAMES[0]) == {"wall_s": 2.0}


def test_every_flipped_bit_is_noticed(records: Records) -> None:
    records.publish(record(NAMES[0]), {})
    path = path_of(records, NAMES[0])
    data = path.read_bytes()
    for place in range(len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(RecordError, match="is damaged; delete it to have the cell run again") as caught:
            records.load_all()
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"null", b'{"digest": ""}', b"\xff", b"[" * 99_999])
def test_what_is_no_record_is_named(records: Records, damaged: bytes) -> None:
    records.publish(record(NAMES[0]), {})
    path_of(records, NAMES[0]).write_bytes(damaged)
    with pytest.raises(RecordError, match=f"{NAMES[0]}.json: is damaged"):
        records.get(NAMES[0])
    path_of(records, NAMES[0]).unlink()
    assert records.publish(record(NAMES[0]), {}) is True


def test_a_record_under_another_name_is_damage(records: Records) -> None:
    records.publish(record(NAMES[0]), {})
    path_of(records, NAMES[0]).rename(path_of(records, NAMES[1]))
    with pytest.raises(RecordError, match=f"{NAMES[1]}.json: is damaged"):
        records.load_all()


@pytest.mark.parametrize("name", ["notes", "../../etc/passwd", "", "ABCDEF0123456789", "0" * 17])
def test_names_that_are_no_ids_are_refused(records: Records, name: str) -> None:
    with pytest.raises(RecordError, match="is not named by the 16 hex digits"):
        records.publish(record(name), {})
    assert not records.folder.exists()


def test_missing_records_are_named(records: Records) -> None:
    with pytest.raises(RecordError, match=f"{NAMES[0]}.json: there is no such record"):
        records.get(NAMES[0])


def test_numbers_json_cannot_hold_are_refused_before_anything_is_written(records: Records) -> None:
    with pytest.raises(ValueError, match="result.test_score is nan"):
        records.publish(record(NAMES[0], float("nan")), {})
    assert not records.folder.exists()


def test_the_manifest_can_be_replaced(records: Records) -> None:
    with pytest.raises(FileError, match="study.json: there is no such file"):
        records.manifest()
    records.write_manifest({"study": "a", "cells": [{"id": NAMES[0]}]})
    records.write_manifest({"study": "a", "cells": [{"id": name} for name in NAMES]})
    assert records.manifest() == {"format": 2, "study": "a", "cells": [{"id": name} for name in NAMES]}


def test_other_formats_are_refused_by_name(records: Records) -> None:
    content = {**record(NAMES[0]), "format": 3}
    path_of(records, NAMES[0]).parent.mkdir(parents=True)
    path_of(records, NAMES[0]).write_text(json.dumps({**content, "digest": atomic.digest_json(content)}))
    with pytest.raises(RecordError, match="has format 3, this tlx knows formats up to 2; update tlx"):
        records.load_all()
    (records.folder / "study.json").write_text('{"format": 3}')
    with pytest.raises(RecordError, match="study.json: has format 3"):
        records.manifest()
    (records.folder / "study.json").write_text('{"format": 1}')
    with pytest.raises(RecordError, match="study.json: has format 1, .* run the study in a new folder"):
        records.manifest()
    (records.folder / "study.json").write_text("[]")
    with pytest.raises(RecordError, match="does not say which format"):
        records.manifest()
