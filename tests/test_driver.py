import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from quick import CONFIG, SMALL

from tlx import driver
from tlx.build import build
from tlx.config import load
from tlx.errors import FileError, TlxError
from tlx.lock import exclusive, is_held
from tlx.progress import Silent
from tlx.records import Records
from tlx.runners.queue import Job
from tlx.study.spec import Folders

STUDY = build(load(str(CONFIG), SMALL), "tlx run configs/quickstart.py")
IDS = ["0" * 15 + str(i) for i in range(5)]
PLAN = {
    "manifest": {"study": "quickstart", "cells": [{"id": name, "cell": {}} for name in IDS]},
    "units": [
        {"id": "a", "name": "one", "cells": IDS[:2]},
        {"id": "b", "name": "two", "cells": IDS[2:4]},
        {"id": "c", "name": "three", "cells": IDS[4:]},
    ],
}


class Seen(Silent):
    """What the user sees."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bars: list[tuple[str, int, int]] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def start(self, task: str, total: int, done: int = 0) -> None:
        self.bars.append((task, total, done))

    def advance(self, task: str, units: int) -> None:
        self.bars.append((task, units, -1))


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Job]:
    """A cluster that does every job but `two`, stops where `two` is all there is, and keeps what it was given."""
    given: list[Job] = []

    def run_on_ray(*args: Any) -> dict[str, str]:
        _, _, _, order, begin, on_done, _, stop = args
        assert is_held(tmp_path)
        assert json.loads(order) | {"config": 0, "cwd": 0} == {
            **{"config": 0, "cwd": 0, "command": STUDY.command, "work": str(tmp_path), "data": "gs://data"},
        }
        given[:] = begin(PLAN)
        for job in given:
            if job.name != "two":
                on_done(job)
        if [job.name for job in given] == ["two"]:
            stop.set()
            return {}
        return {job.name: "its reason" for job in given if job.name == "two"}

    monkeypatch.setattr(driver, "run_on_ray", run_on_ray)
    return given


def drive(work: Path, on_start: Callable[[Event], None] = lambda stop: None) -> Seen:
    seen = Seen()
    try:
        driver.drive(STUDY, Folders(work, "gs://data"), "", seen, on_start)
    except TlxError as error:
        seen.lines.append(f"{type(error).__name__}: {error}")
    return seen


def publish(work: Path, *names: str) -> None:
    for name in names:
        Records(work).publish({"id": name}, {"wall_s": 0.0})


def test_units_without_records_are_given_out_and_a_failure_ends_in_one_line(tmp_path: Path, jobs: list[Job]) -> None:
    publish(tmp_path, IDS[0])
    seen = drive(tmp_path)
    assert jobs == [Job("a", "one", 1), Job("b", "two", 2), Job("c", "three", 1)]
    bar = "cells of quickstart"
    assert seen.bars == [(bar, 5, 1), (bar, 1, -1), (bar, 1, -1)]
    assert seen.lines == ["TlxError: 1 of 3 units failed; run the same command to try them again"]
    assert Records(tmp_path).manifest()["cells"] == PLAN["manifest"]["cells"]  # type: ignore[index]
    assert not is_held(tmp_path)


def test_a_stop_says_how_to_go_on(tmp_path: Path, jobs: list[Job]) -> None:
    publish(tmp_path, *IDS[:2], IDS[4])
    given: list[Event] = []
    assert drive(tmp_path, given.append).lines == ["Stopped: stopped; run the same command to go on"]
    assert [event.is_set() for event in given] == [True]


def test_a_study_with_all_its_records_is_left_alone(tmp_path: Path, jobs: list[Job]) -> None:
    publish(tmp_path, *IDS)
    assert drive(tmp_path).lines == ["all 5 cells have records: nothing to run"]
    assert jobs == []


def test_a_folder_at_which_another_process_is_at_work_is_left_alone(tmp_path: Path, jobs: list[Job]) -> None:
    with exclusive(tmp_path), pytest.raises(FileError, match="another process is at work here"):
        driver.drive(STUDY, Folders(tmp_path, "gs://data"), "", Silent(), lambda stop: None)
