"""What TensorBoard is given, read back by hand."""

from pathlib import Path

import pytest
from by_trial import RUNS, curves, rows
from event_files import curves_of, events

from tlx.errors import FileError
from tlx.loggers.tensorboard import TensorBoard


def close_to(expected: dict[str, list[tuple[int, float]]]) -> dict[str, object]:
    return {
        tag: [(step, pytest.approx(value, rel=1e-6, nan_ok=True)) for step, value in points]
        for tag, points in expected.items()
    }


def test_every_row_is_an_event_of_its_trial(tmp_path: Path) -> None:
    logger = TensorBoard(tmp_path)
    logger.log(RUNS[0], rows(5, 10))
    logger.log(RUNS[1], rows(5, 5))
    logger.log(RUNS[0], rows(15, 20, ends=True))
    logger.end(RUNS[0])
    one, other = (tmp_path / "tensorboard" / run.name for run in RUNS)
    assert curves_of(one) == close_to(curves(5, 20, ends=True))
    assert curves_of(other) == close_to(curves(5, 5))
    (file,) = one.iterdir()
    first, *others = events(file)
    assert first.file_version == "brain.Event:2"
    assert [(event.step, event.wall_time) for event in others] == [(s, 1_700_000_000.5 + s) for s in (5, 10, 15, 20)]


def test_what_a_killed_process_has_torn_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tensorboard" / RUNS[0].name
    TensorBoard(tmp_path).log(RUNS[0], rows(5, 10))
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    monkeypatch.setattr("os.getpid", lambda: 123456789)
    TensorBoard(tmp_path).log(RUNS[0], rows(10, 15))
    (second,) = set(folder.iterdir()) - {file}
    assert [event.step for event in events(second)] == [0, 10, 15]
    with pytest.raises(FileError, match="ends within record 3"):
        events(file)


def test_a_thousand_trials_need_no_thousand_open_files(tmp_path: Path) -> None:
    logger = TensorBoard(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(3):
        for run in RUNS:
            logger.log(run, rows(5, 10))
    assert not before or len(list(Path("/proc/self/fd").iterdir())) == before
