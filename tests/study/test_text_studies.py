"""A study of sentences from pre-training to records, and the texts' share of what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sentences import SPECIAL, WORDS, rows, trusted, write_archive, write_tokenizer

from tlx import cli
from tlx.build import build
from tlx.config import load
from tlx.errors import TlxError
from tlx.progress import Silent
from tlx.records import Records
from tlx.study import run
from tlx.study.context import Context
from tlx.study.spec import Folders, Study
from tlx.study.text import tokenizer_of

CONFIG = Path(__file__).with_name("small_text.py")
VOCAB = len(SPECIAL) + len(WORDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets, with the raw data and a tokenizer in it."""
    made = tmp_path_factory.mktemp("data")
    write_tokenizer(made / "tokenizer")
    return made


@pytest.fixture(scope="module")
def prepared(folder: Path) -> Iterator[Path]:
    domains = {"movies": rows(0, 200), "tweets": [(str(i), *row[1:]) for i, row in enumerate(rows(1, 200))]}
    with trusted(write_archive(folder, domains)):
        yield folder


def study(folder: Path, *overrides: str) -> Study:
    text = (f"--config.text.tokenizer={folder / 'tokenizer'}", "--config.text.length=14")
    return build(load(str(CONFIG), (*text, *overrides)), "tlx run")


@pytest.fixture(scope="module")
def finished(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, run.Grid]:
    work = tmp_path_factory.mktemp("work")
    return work, run.run(study(prepared), Folders(work, prepared), Silent(), lambda context: None)


@pytest.mark.thorough
def test_every_cell_has_a_record_that_names_the_tokenizer(finished: tuple[Path, run.Grid]) -> None:
    work, grid = finished
    records = Records(work).load_all()
    assert {record["id"] for record in records} == {cell.id for cell in grid.cells}
    assert [record["status"] for record in records] == ["ok"] * 6
    assert {record["data"]["tokenizer"] for record in records} == {grid.targets["tweets"].train.tokenizer}
    train = grid.targets["tweets"].train
    assert train.input_N.shape[1:] == (14,)
    assert records[0]["data"]["train"]["digest"] == train.digest


def test_the_source_model_learns_which_words_are_kind(finished: tuple[Path, run.Grid]) -> None:
    by_entry = {record["cell"]["entry"]: record for record in Records(finished[0]).load_all()}
    assert by_entry["full"]["lineage"]["source_test_accuracy"] > 0.9
    assert by_entry["full"]["result"]["test_score"] > 0.9
    assert by_entry["probe"]["cost"]["cached_flops"] > 0


def test_a_second_run_has_nothing_to_do(finished: tuple[Path, run.Grid], prepared: Path) -> None:
    contexts: list[Context] = []
    run.run(study(prepared), Folders(finished[0], prepared), Silent(), contexts.append)
    assert contexts[0].programs.count == 0


def test_the_folder_of_the_tokenizer_is_no_part_of_a_cell(
    finished: tuple[Path, run.Grid], prepared: Path, tmp_path: Path
) -> None:
    write_tokenizer(tmp_path / "tokenizer")
    moved = replace(study(prepared), text=study(tmp_path).text)
    ids = [cell.id for cell in run.lay_out(moved, Folders(tmp_path, prepared), Silent()).cells]
    assert ids == [cell.id for cell in finished[1].cells]
    longer = study(prepared, "--config.text.length=15")
    assert not {cell.id for cell in run.lay_out(longer, Folders(tmp_path, prepared), Silent()).cells} & set(ids)


def test_the_plan_can_be_shown(
    finished: tuple[Path, run.Grid], prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (f"--config.text.tokenizer={prepared / 'tokenizer'}", "--config.text.length=14")
    folders = ("--data-dir", str(prepared), "--workdir", str(finished[0]))
    assert cli.main(["plan", str(CONFIG), *folders, *settings]) == 0
    shown = capsys.readouterr().out
    assert "small-text: 6 cells, 6 of them recorded" in shown
    assert "embed…pool frozen: cached" in shown


def refusal(made: Study, folder: Path, checkpoints: tuple[str, ...] = ()) -> str:
    """The one line that the texts of a study are refused with; no data need be there for it."""
    with pytest.raises(TlxError) as caught:
        tokenizer_of(made, folder, checkpoints)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "text.tokenizer=",
            "config.text.tokenizer: expected the folder of a tokenizer, as config.sources.movies.dataset has texts",
        ),
        ("text.length=2", "config.text.length: expected more than the 2 tokens that"),
        ("model.vocab=20", f"config.model.vocab: 20 token ids, but {{0}} has {VOCAB}"),
        ("model.pad=1", "config.model.pad: 1, but {0} fills up short texts with 0"),
        ("sources.movies.dataset=sentiment4", "config.sources.movies.dataset: dataset 'sentiment4': there is no"),
        ("text.tokenizer=nowhere", "nowhere: there is no such file or folder"),
    ],
)
def test_texts_that_cannot_become_ids(folder: Path, override: str, line: str) -> None:
    expected = line.format(folder / "tokenizer" / "tokenizer.json")
    assert refusal(study(folder, f"--config.{override}"), folder).startswith(expected)


def test_a_checkpoint_s_own_tokenizer_is_the_one_if_none_is_named(folder: Path, tmp_path: Path) -> None:
    silent = study(folder, "--config.text.tokenizer=")
    write_tokenizer(tmp_path)
    (tmp_path / "model.safetensors").touch()
    for checkpoint in (tmp_path, tmp_path / "model.safetensors"):
        found = tokenizer_of(silent, folder, (str(checkpoint), "another"))
        assert found is not None
        assert found.path == tmp_path / "tokenizer.json"
    named = tokenizer_of(study(folder), folder, (str(tmp_path),))
    assert named is not None
    assert named.path == folder / "tokenizer" / "tokenizer.json"
    assert refusal(silent, folder, (str(tmp_path / "none"),)).startswith(f"{tmp_path / 'none'}: there is no such")


def test_images_need_no_tokenizer(folder: Path) -> None:
    images = ("--config.sources.movies.dataset=mnist5k", "--config.targets.tweets.dataset=digits")
    assert tokenizer_of(study(folder, *images, "--config.text.tokenizer=nowhere"), folder) is None


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ("model.positions=13",),
            "config.model.positions: 13 positions do not reach the end of sequences of 14 tokens",
        ),
        (("model.name=vit",), "config.model.name: 'vit' takes images, but the inputs are sequences of 14 token ids"),
        (
            ("sources.movies.dataset=digits",),
            "config.sources.movies.dataset: images of 28×28×1, but config.targets.tweets has sequences of 14 token ids",
        ),
    ],
)
def test_models_and_data_that_do_not_go_together(prepared: Path, overrides: tuple[str, ...], line: str) -> None:
    with pytest.raises(TlxError) as caught:
        made = study(prepared, *(f"--config.{override}" for override in overrides))
        run.lay_out(made, Folders(prepared / "nowhere", prepared), Silent())
    assert str(caught.value) == line


def test_a_probe_wants_a_head_of_one_layer(prepared: Path) -> None:
    overrides = ("--config.adapt.probe.method.name=probe", "--config.model.head=classify_deep")
    with pytest.raises(TlxError) as caught:
        run.lay_out(study(prepared, *overrides), Folders(prepared / "nowhere", prepared), Silent())
    assert str(caught.value) == (
        "config.adapt.probe.method.name: 'probe' needs a head of one linear layer on one vector an example, which that "
        "of 'bert' is not; use 'head'"
    )
