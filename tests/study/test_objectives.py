"""Sources that learn from tokens, start from finished weights, or are mixtures."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentences import SPECIAL, WORDS, rows, trusted, write_archive, write_tokenizer

from tlx.build import build
from tlx.config import load
from tlx.data.ops.mask_tokens import MaskTokens
from tlx.data.ops.next_token import NextToken
from tlx.errors import TlxError
from tlx.progress import Silent
from tlx.records import Records
from tlx.study import run
from tlx.study.cells import SourceData
from tlx.study.context import Context
from tlx.study.merge import merge_cell
from tlx.study.pretrain import source_model
from tlx.study.spec import Folders

CONFIG = Path(__file__).with_name("small_text.py")
GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
VOCAB = len(SPECIAL) + len(WORDS)
MASKED = ("--config.sources.movies.objective=masked_lm", f"--config.model.vocab={VOCAB}")
CAUSAL = (
    "--config.model.name=decoder",
    "--config.sources.movies.objective=causal_lm",
    "--config.sources.movies.pack=True",
    f"--config.model.vocab={VOCAB}",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("data")
    write_tokenizer(made / "tokenizer")
    domains = {"movies": rows(0, 200), "tweets": [(str(i), *row[1:]) for i, row in enumerate(rows(1, 200))]}
    domains["products"] = rows(2, 100)
    with trusted(write_archive(made, domains)):
        yield made


def laid_out(folder: Path, *overrides: str) -> run.Grid:
    text = (f"--config.text.tokenizer={folder / 'tokenizer'}", "--config.text.length=14")
    return run.lay_out(build(load(str(CONFIG), (*text, *overrides))), Folders(folder / "work", folder), Silent())


def trained(folder: Path, work: Path, *overrides: str) -> tuple[Any, SourceData]:
    """The first source's model, and its examples."""
    grid = laid_out(folder, *overrides)
    context = Context(grid.study, Folders(work, folder), grid.placement, grid.sources, grid.targets, Silent())
    data = grid.sources["movies"]
    assert isinstance(data, SourceData)
    return source_model(grid.study.sources[0], context), data


@pytest.mark.thorough
def test_a_masked_language_model_learns_to_guess(folder: Path, tmp_path: Path) -> None:
    less, _ = trained(folder, tmp_path / "less", *MASKED, "--config.sources.movies.steps=1")
    more, data = trained(folder, tmp_path / "more", *MASKED)
    assert data.op == MaskTokens(mask=4, vocab=VOCAB, special=(0, 1, 2, 3, 4))
    assert less.test_loss > 2.5 > 2.0 > more.test_loss  # nats; log of the vocabulary is 3.3
    assert more.test_accuracy > less.test_accuracy + 0.15
    # What goes on to the targets has a pooling and a head for classes, both fresh.
    assert more.variables["params"]["head"]["kernel"].shape == (16, 2)
    assert more.variables["params"]["pool"]["dense"]["kernel"].shape == (16, 16)


@pytest.mark.thorough
def test_a_decoder_learns_from_running_text(folder: Path, tmp_path: Path) -> None:
    less, _ = trained(folder, tmp_path / "less", *CAUSAL, "--config.sources.movies.steps=1")
    more, data = trained(folder, tmp_path / "more", *CAUSAL)
    assert data.op == NextToken(pad=0)
    assert data.train.input_shape == (14,) and not (data.train.at(np.arange(9))[0] == 0).any()
    assert less.test_loss - more.test_loss > 0.7
    assert more.variables["params"]["head"]["kernel"].shape == (16, 2)


@pytest.mark.thorough
def test_the_study_goes_on_from_there(folder: Path, tmp_path: Path) -> None:
    for name, overrides in {"masked": MASKED, "causal": CAUSAL}.items():
        grid = laid_out(folder, *overrides)
        run.run(grid.study, Folders(tmp_path / name, folder), Silent(), lambda context: None)
        records = Records(tmp_path / name).load_all()
        assert [record["status"] for record in records] == ["ok"] * 6
        origin = next(record["lineage"] for record in records if record["lineage"])
        assert origin["objective"] == f"{name}_lm"
        assert origin["source_test_loss"] < 3.0 and 0 < origin["source_test_accuracy"] < 1


@pytest.mark.thorough
def test_what_a_cell_trained_from_there_is_merged_with_where_it_began(folder: Path, tmp_path: Path) -> None:
    grid = laid_out(folder, *MASKED, "--config.artifacts=True")
    run.run(grid.study, Folders(tmp_path / "work", folder), Silent(), lambda context: None)
    cell = next(cell for cell in grid.cells if cell.source and cell.entry.name == "probe")
    assert merge_cell(tmp_path / "work", cell.id, tmp_path / "merged").gap < 1e-4


def test_what_a_source_learns_is_part_of_what_a_cell_is(folder: Path) -> None:
    ways: dict[str, tuple[str, ...]] = {
        "labels": (f"--config.model.vocab={VOCAB}",),
        "masked": MASKED,
        "packed": (*MASKED, "--config.sources.movies.pack=True"),
        "mixed": (*MASKED, '--config.sources.movies.also=("sentiment4/products",)'),
        "weighed": (
            *MASKED,
            '--config.sources.movies.also=("sentiment4/products",)',
            "--config.sources.movies.weights=(1.0,3.0)",
        ),
    }
    ids = {}
    for name, overrides in ways.items():
        cells = laid_out(folder, *overrides).cells
        ids[name] = {cell.id for cell in cells if cell.source}
        assert len(cells) == 6
    assert len(set.union(*ids.values())) == sum(map(len, ids.values()))
    streamed = laid_out(folder, *ways["weighed"], "--config.sources.movies.feed=streamed").cells
    assert {cell.id for cell in streamed if cell.source} == ids["weighed"]


@pytest.mark.thorough
def test_a_mixture_is_the_same_in_memory_and_from_disk(folder: Path, tmp_path: Path) -> None:
    mixed = ('--config.sources.movies.also=("sentiment4/products",)', "--config.sources.movies.weights=(3.0,1.0)")
    found = [
        trained(
            folder, tmp_path / feed, *mixed, "--config.sources.movies.steps=30", f"--config.sources.movies.feed={feed}"
        )
        for feed in ("resident", "streamed")
    ]
    assert found[0][0].digest == found[1][0].digest
    assert found[0][0].test_accuracy == found[1][0].test_accuracy > 0.8
    data = found[0][1]
    assert data.sizes == (147, 71)
    for input_N, label_N in (each.some(40) for _, each in found):
        assert len(input_N) == len(label_N) > 30


@pytest.mark.thorough
def test_finished_weights_are_where_training_starts(folder: Path, tmp_path: Path) -> None:
    """A released masked language model trained on without a step's worth of change is what was released."""
    described = json.loads((GOLDEN / "bert_mlm" / "config.json").read_text())
    shutil.copytree(GOLDEN / "bert_mlm", tmp_path / "bert")
    of_both = (f"--config.text.tokenizer={folder / 'tokenizer'}", "--config.text.length=8")
    still = (
        f"--config.sources.movies.start={tmp_path / 'bert'}",
        "--config.sources.movies.objective=masked_lm",
        "--config.sources.movies.steps=1",
        "--config.sources.movies.lr=1e-12",
    )
    bare = tmp_path / "config.py"
    bare.write_text(CONFIG.read_text().replace("config.model = ", "_ = "))
    study = build(load(str(bare), (*of_both, *still)))
    assert dict(study.model_settings)["vocab"] == described["vocab_size"]
    assert dict(study.model_settings)["head"] == "classify"  # though the file's is for tokens
    grid = run.lay_out(study, Folders(tmp_path, folder), Silent())
    context = Context(study, Folders(tmp_path, folder), grid.placement, grid.sources, grid.targets, Silent())
    begun = source_model(study.sources[0], context)
    assert {row["what"] for row in begun.tensors} >= {"copied"}
    assert any(row["ours"] == "params/head/dense/kernel" and row["what"] == "copied" for row in begun.tensors)

    kept = build(load(str(bare), (*of_both, f"--config.sources.movies.checkpoint={tmp_path / 'bert'}")))
    grid = run.lay_out(kept, Folders(tmp_path, folder), Silent())
    context = Context(kept, Folders(tmp_path, folder), grid.placement, grid.sources, grid.targets, Silent())
    released = source_model(kept.sources[0], context)
    theirs, ours = released.variables["params"], begun.variables["params"]
    for stage in theirs.keys() - {"head", "pool"}:
        for path, leaf in _leaves(theirs[stage]).items():
            np.testing.assert_allclose(_leaves(ours[stage])[path], leaf, atol=1e-7)
    cells = {cell.id for cell in laid_out(folder, *MASKED).cells}
    assert cells.isdisjoint(cell.id for cell in grid.cells)


def _leaves(node: Any, path: str = "") -> dict[str, np.ndarray]:
    if not isinstance(node, dict):
        return {path: np.asarray(node)}
    return {k: leaf for name, inner in node.items() for k, leaf in _leaves(inner, f"{path}/{name}").items()}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("objective=causal_lm",), "config.sources.movies.objective: a 'bert' does not learn by 'causal_lm'; there is"),
        (("objective=masked",), "config.sources.movies.objective: unknown value 'masked' (did you mean"),
        (("pack=True",), "config.sources.movies.pack: texts that run on have no classes"),
        (("objective=masked_lm", "classes=a"), "config.sources.movies.classes: 'masked_lm' has all of them"),
        (("also=('sentiment4/products',)", "classes=a"), "config.sources.movies.classes: a mixture has all of them"),
        (("weights=(1.0,)", "also=('sentiment4/products',)"), "config.sources.movies.weights: 1 for 2 data sets"),
        (("weights=(0.0,)",), "config.sources.movies.weights[0]: expected a number above 0, got 0.0"),
        (("also=('sentiment4/produce',)",), "config.sources.movies.also[0]: dataset 'sentiment4/produce'"),
        (("start=nowhere",), "config.sources.movies.start: nowhere: there is no such file"),
        (("objective=masked_lm", "pack=True", "feed=streamed"), "config.sources.movies.pack: texts run on in memory"),
    ],
)
def test_mistakes_are_one_line(folder: Path, overrides: tuple[str, ...], line: str) -> None:
    with pytest.raises(TlxError) as caught:
        laid_out(folder, *(f"--config.sources.movies.{override}" for override in overrides))
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_images_have_no_tokens_to_guess(folder: Path, data_dir: Path) -> None:
    images = ("--config.sources.movies.dataset=digits", *MASKED)
    for name in ("digits",):
        shutil.copytree(data_dir / name, folder / name, dirs_exist_ok=True)
    with pytest.raises(TlxError, match=r"^config\.sources\.movies\.objective: 'masked_lm' is learned from texts"):
        laid_out(folder, *images)


def test_methods_that_want_labels_of_the_source_are_refused(folder: Path) -> None:
    with pytest.raises(TlxError, match=r"^config\.adapt\.full\.method\.name: 'ewc' needs .* learns without labels$"):
        laid_out(folder, *MASKED, "--config.adapt.full.method.name=ewc")
