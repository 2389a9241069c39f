"""Targets whose scores are predicted: by the squared error, measured by R²."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sentences import SPECIAL, WORDS, rows, trusted, write_archive, write_tokenizer

from tlx import cli
from tlx.build import build
from tlx.config import load
from tlx.data.pipeline import load_arrays
from tlx.data.text import load_tokenizer
from tlx.errors import TlxError
from tlx.progress import Silent
from tlx.records import Records
from tlx.study import run
from tlx.study.spec import Folders

CONFIG = Path(__file__).with_name("small_text.py")
SCORES = ("--config.targets.tweets.predict=score", f"--config.model.vocab={len(SPECIAL) + len(WORDS)}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("data")
    write_tokenizer(made / "tokenizer")
    domains = {"movies": rows(0, 200), "tweets": [(str(i), *row[1:]) for i, row in enumerate(rows(1, 300))]}
    with trusted(write_archive(made, domains)):
        yield made


def laid_out(folder: Path, *overrides: str) -> run.Grid:
    text = (f"--config.text.tokenizer={folder / 'tokenizer'}", "--config.text.length=14")
    return run.lay_out(
        build(load(str(CONFIG), (*text, *SCORES, *overrides))), Folders(folder / "work", folder), Silent()
    )


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, run.Grid]:
    work = tmp_path_factory.mktemp("work")
    study = laid_out(folder, "--config.train.steps=60", "--config.budgets=(100,)", "--config.train.schedule=constant")
    run.run(study.study, Folders(work, folder), Silent(), lambda context: None)
    return work, study


@pytest.mark.thorough
def test_records_hold_the_share_of_variance_that_is_explained(folder: Path, finished: tuple[Path, run.Grid]) -> None:
    work, _ = finished
    tokenize = load_tokenizer(folder / "tokenizer", 14)
    score_N = load_arrays("sentiment4/tweets", "test", folder, tokenize, target="score").label_N
    records = Records(work).load_all()
    assert len(records) == 6 and {record["result"]["metric"] for record in records} == {"r2"}
    variance = np.var(score_N.astype(np.float64))
    assert {record["data"]["test"]["examples"] for record in records} == {len(score_N)}
    for record in records:
        result = record["result"]
        assert result["test_score"] == pytest.approx(1 - result["test_loss"] / variance)
        assert result["test_correct"] is None
        assert "per_class" not in record["data"]["subset"] and record["data"]["subset"]["examples"] == 100
    full = [record["result"]["test_score"] for record in records if record["cell"]["entry"] == "full"]
    assert min(full) > 0.4  # the sign of a sentence explains about two thirds


@pytest.mark.thorough
def test_reports_say_what_is_measured(
    finished: tuple[Path, run.Grid], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["report", str(finished[0])]) == 0
    assert "R², %" in capsys.readouterr().out
    page = (finished[0] / "report.md").read_text()
    assert "| R², % |" in page and "ccuracy, %" not in page
    assert "Test R²" in (finished[0] / "report.html").read_text()


def test_it_is_part_of_what_a_cell_is(folder: Path) -> None:
    classes = laid_out(folder, "--config.targets.tweets.predict=label").cells
    assert {cell.id for cell in classes}.isdisjoint(cell.id for cell in laid_out(folder).cells)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("per_class=True", "config.per_class: expected false, as config.targets.tweets.predict is 'score'"),
        ("targets.tweets.classes=a", "config.targets.tweets.classes: scores have no classes"),
        ("adapt.full.method.name=fish", "config.adapt.full.method.name: 'fish' looks at the target's classes"),
    ],
)
def test_what_is_for_classes_alone_is_refused(folder: Path, override: str, line: str) -> None:
    with pytest.raises(TlxError) as caught:
        laid_out(folder, f"--config.{override}")
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
