"""Every notebook runs on a real, tiny study."""

import signal
from pathlib import Path
from typing import Any

import jax
import nbclient
import nbformat
import pytest
from quick import CONFIG, SMALL

from tlx.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """The folder of a finished study: 5 entries, 2 budgets, 2 seeds."""
    work = tmp_path_factory.mktemp("study")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    cache, least = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    try:
        assert main(["run", str(CONFIG), "--workdir", str(work), "--data-dir", str(data_dir), *SMALL]) == 0
    finally:
        # What a command changes for its process, other tests must not meet.
        for number, handler in handlers.items():
            signal.signal(number, handler)
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    return work


def notebook(name: str) -> Any:
    return nbformat.read(ROOT / "notebooks" / name, as_version=4)


def outputs(made: Any, cell: str) -> list[Any]:
    (one,) = [each for each in made.cells if each.id == cell]
    assert all(output.output_type != "error" for output in one.outputs)
    return list(one.outputs)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_what_they_printed(path: Path) -> None:
    for cell in notebook(path.name).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            assert len(cell.source.splitlines()) <= 25


def executed(name: str, study: Path) -> Any:
    """A notebook, run as a user would."""
    made = notebook(name)
    folder = {"metadata": {"path": str(ROOT / "notebooks")}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLX_STUDY", str(study))
        nbclient.NotebookClient(made, timeout=120, kernel_name="python3", resources=folder).execute()
    return made


@pytest.fixture(scope="module")
def quickstart(study: Path) -> Any:
    return executed("quickstart.ipynb", study)


@pytest.fixture(scope="module")
def three_questions(study: Path) -> Any:
    return executed("01_read_a_study.ipynb", study)


def test_it_counts_the_cells_and_answers(quickstart: Any) -> None:
    (printed,) = outputs(quickstart, "load")
    assert printed.text.startswith("20 of 20 cells. ")
    assert "digits" in printed.text


def test_it_shows_the_table(quickstart: Any) -> None:
    (table,) = outputs(quickstart, "table")
    text = table.data["text/plain"]
    for word in ("mnist → digits", "20 labels", "40 labels", "scratch", "random_frozen", "probe", "full", "lora"):
        assert word in text
    assert "text/html" in table.data


@pytest.mark.parametrize(("cell", "count"), [("pictures", 2), ("curves", 1), ("rates", 1), ("partition", 3)])
def test_it_shows_the_pictures(quickstart: Any, cell: str, count: int) -> None:
    pictures = [output.data["image/png"] for output in outputs(quickstart, cell)]
    assert len(pictures) == count
    assert all(len(picture) > 5000 for picture in pictures)


def test_it_shows_the_surgery(quickstart: Any) -> None:
    (printed,) = outputs(quickstart, "surgery")
    first, copied, reset, left_out, total = printed.text.splitlines()
    assert first.endswith("from mnist to digits, 20 labels, seed 0")
    # One block has 16 leaves, the embedding 3, the pool's norm 2.
    assert copied.split() == ["copied", "21", "leaves:", "block_0,", "embed,", "pool"]
    assert reset.split() == ["reset", "2", "leaves:", "head"]
    assert left_out.split() == ["left_out", "2", "leaves:", "head"]
    assert total.endswith("parameters come from the source")


def test_the_frame_has_a_row_for_each_cell(three_questions: Any) -> None:
    printed, table = outputs(three_questions, "load")
    assert printed.text == "20 of 20 cells have a result, 16 of them a scratch cell to be compared with\n"
    assert "mnist" in table.data["text/plain"]


@pytest.mark.parametrize(("cell", "tables"), [("gain", 0), ("seeds", 1), ("cost", 1)])
def test_each_question_is_answered_by_a_picture(three_questions: Any, cell: str, tables: int) -> None:
    shown = outputs(three_questions, cell)
    pictures = [output.data["image/png"] for output in shown if "image/png" in output.data]
    assert len(pictures) == 1 and len(pictures[0]) > 5000
    assert len(shown) == 1 + tables


def test_seeds_that_were_helped_are_counted(three_questions: Any) -> None:
    _, table = outputs(three_questions, "seeds")
    first, second, *rows = table.data["text/plain"].splitlines()
    assert first.split() == ["labels", "20", "40"] and second.startswith("seeds helped, %")
    assert {row.split()[0] for row in rows} == {"random_frozen", "probe", "full", "lora"}
    assert {share for row in rows for share in row.split()[1:]} <= {"0", "50", "100"}
