"""Progress for machines."""

import json

import pytest

from tlx.json_lines import JsonLines


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_every_event_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonLines(every=0.0) as progress:
        progress.line("zwölf\nLeute")
        progress.start("work", 10, 4)
        progress.advance("work", 2)
        progress.advance("work", 4)
    line, began, half, whole = events(capsys)
    assert (line["event"], line["text"]) == ("line", "zwölf\nLeute")
    assert {key: began[key] for key in ("event", "task", "done", "total", "rate", "left")} == {
        "event": "progress",
        "task": "work",
        "done": 4,
        "total": 10,
        "rate": None,
        "left": None,
    }
    assert half["done"] == 6 and isinstance(half["rate"], float) and isinstance(half["left"], float)
    assert whole["done"] == 10 and whole["left"] == 0.0


def test_not_too_often_but_the_last_always(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonLines(every=1000.0) as progress:
        progress.start("work", 100)
        for _ in range(100):
            progress.advance("work", 1)
    assert [event["done"] for event in events(capsys)] == [0, 100]
