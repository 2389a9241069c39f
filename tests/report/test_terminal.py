import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tlx.report import summarise, tables, terminal, write
from tlx.report.summary import Row


def printed(rows: list[Row], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    for table in tables(rows):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_it_fits_100_columns_and_loses_nothing(make: SimpleNamespace) -> None:
    records = make.simulated({"a-method-with-a-really-long-name": -0.2, "full": 0.2}, (20, 1000), 12)
    text = printed(summarise(records, make.study(records).manifest, make.study(records).timings))
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for part in ("mnist → digits", "20 labels", "1000 labels", "full", "120 M", "1.5 s", "100 %", "1 %"):
        assert part in text


def test_one_row(make: SimpleNamespace) -> None:
    records = [make.record("scratch", "scratch", seed=seed, correct=200) for seed in range(3)]
    records += [make.record("[bold]", seed=seed, correct=n) for seed, n in enumerate((110, 120, 130))]
    study = make.study(records)
    text = printed(summarise(records, study.manifest, study.timings))
    line = next(line for line in text.splitlines() if "[bold]" in line)
    assert line.split() == [
        "[bold]",
        "30.0",
        "±",
        "6.2",
        "▼",
        "-20.0",
        "[-26.2,",
        "-13.8]",
        "1",
        "%",
        "120",
        "M",
        "1.5",
        "s",
        "3",
    ]
    assert "▼ worse than scratch" in text


def test_what_is_missing_shows(make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.2}, (20,), 5)
    lost = [records.pop()]
    records[-1] = make.diverged(records[-1])
    text = printed(summarise(records, make.study(records, lost).manifest, {}))
    assert "3/5" in text and "full, 20 labels: 1 diverged and left out." in text
    assert "▼" not in "".join(line for line in text.splitlines() if "full" in line)


def test_show_leads_with_the_answer(make: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = make.simulated({"full": 0.2}, (20,), 5)
    study = make.study(records)
    report = write(study.records, study.manifest, study.timings, tmp_path)
    terminal.show(report)
    text = capsys.readouterr().out
    assert text.startswith("Starting from mnist helps on digits")
    assert str(tmp_path / "report.html") in text
