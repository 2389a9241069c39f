"""What a config says of the examples: some classes only, worse test images, sources that stay on disk."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Make

from tlx.data.on_disk import OnDisk, open_on_disk
from tlx.data.order import index_table
from tlx.data.pipeline import load_arrays
from tlx.errors import TlxError
from tlx.progress import Silent
from tlx.records import Records
from tlx.study import run
from tlx.study.loading import chosen_classes
from tlx.study.run import Grid, lay_out
from tlx.study.spec import Folders

DIGITS = [str(digit) for digit in range(10)]


def laid_out(make_study: Make, data_dir: Path, *overrides: str) -> Grid:
    return lay_out(make_study(*overrides), Folders(data_dir / "nowhere", data_dir), Silent())


def test_halves_of_the_classes_share_none_and_are_numbered_anew(make_study: Make, data_dir: Path) -> None:
    grid = laid_out(make_study, data_dir, "--config.sources.mnist.classes=a:3", "--config.targets.digits.classes=b:3")
    source, target = grid.sources["mnist"], grid.targets["digits"]
    a, b = (set(chosen_classes(f"{half}:3", DIGITS, 10).tolist()) for half in "ab")
    assert a | b == set(range(10)) and not a & b
    whole = load_arrays("digits", "train[:1197]", data_dir)
    assert target.train.num_classes == 5 and set(target.train.label_N) == set(range(5))
    assert len(target.train) == int(np.isin(whole.label_N, sorted(b)).sum())
    assert {unit.task.adapted.model.num_classes for unit in grid.units} == {5}
    assert source.train.num_classes == 5 and target.test.facts()["per_class"] == [40, 41, 40, 40, 40]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0,2,9", [0, 2, 9]), ("!0,1,2,3,4,5", [6, 7, 8, 9]), ("a", None), ("b:7", None)],
)
def test_classes_by_name_and_by_chance(text: str, expected: list[int] | None) -> None:
    found = chosen_classes(text, DIGITS, 10).tolist()
    assert found == expected if expected else len(found) == 5


def test_folds_of_the_train_split_share_none_and_cover_it(make_study: Make, data_dir: Path) -> None:
    whole = load_arrays("digits", "train[:1197]", data_dir)
    found = [laid_out(make_study, data_dir, f"--config.targets.digits.fold={i}/3").targets["digits"] for i in (1, 2, 3)]
    held_out = [image.tobytes() for target in found for image in target.validation.input_N]
    assert sorted(held_out) == sorted(image.tobytes() for image in whole.input_N)
    for target in found:
        assert len(target.train) + len(target.validation) == len(whole)
        counts = np.bincount(target.validation.label_N)
        assert counts.max() - np.bincount(whole.label_N).max() / 3 < 1
    assert len({target.train.digest for target in found}) == 3


def test_corruptions_are_of_the_test_images_alone(make_study: Make, data_dir: Path) -> None:
    clean, worse = (
        laid_out(make_study, data_dir, *more).targets["digits"]
        for more in ((), ("--config.targets.digits.corruption=gaussian_noise:3",))
    )
    assert clean.train.digest == worse.train.digest and clean.validation.digest == worse.validation.digest
    assert clean.test.facts()["digest"] != worse.test.facts()["digest"]
    assert clean.test.facts()["per_class"] == worse.test.facts()["per_class"]


@pytest.mark.thorough
def test_budgets_of_each_class(make_study: Make, tmp_path: Path, data_dir: Path) -> None:
    study = make_study("--config.per_class=True", "--config.budgets=(3,)", "--config.seeds=(0,)")
    run.run(study, Folders(tmp_path, data_dir), Silent(), lambda context: None)
    records = Records(tmp_path).load_all()
    assert {tuple(record["data"]["subset"]["per_class"]) for record in records} == {(3,) * 10}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("--config.targets.digits.classes=0,ten",),
            "config.targets.digits.classes: class 'ten': there is no such class",
        ),
        (
            ("--config.targets.digits.corruption=gaussian_noise",),
            "config.targets.digits.corruption: expected gaussian_noise:SEVERITY with a severity from 1 to 5, got",
        ),
        (
            ("--config.targets.digits.corruption=fogg:2",),
            "config.targets.digits.corruption: there is no corruption 'fogg' (did you mean 'fog'?)",
        ),
        (("--config.targets.digits.fold=4/3",), "config.targets.digits.fold: expected FOLD/FOLDS, such as 1/5, got"),
        (
            ("--config.per_class=True", "--config.budgets=(5000,)"),
            "config.budgets[0]: 5000 labels per class: class ",
        ),
        (
            ("--config.sources.mnist.feed=streamed", "--config.sources.mnist.classes=a"),
            "config.sources.mnist.classes: a 'streamed' source has all of its classes",
        ),
    ],
)
def test_mistakes_are_one_line(make_study: Make, data_dir: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(TlxError) as caught:
        laid_out(make_study, data_dir, *overrides)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_split_on_disk_has_the_digest_and_the_batches_it_would_have_in_memory(data_dir: Path) -> None:
    there, here = open_on_disk("digits", "test[:50]", data_dir), load_arrays("digits", "test[:50]", data_dir)
    assert isinstance(there, OnDisk) and len(there) == len(here) == 50
    assert (there.digest, there.input_shape, there.num_classes) == (here.digest, here.input_shape, 10)
    for one, other in zip(there.at(np.array([7, 0])), here.at(np.array([7, 0])), strict=True):
        np.testing.assert_array_equal(one, other)

    def table(start: int, stop: int) -> np.ndarray:
        return index_table(50, 8, 3, start, stop)

    batches = there.batches(table, 20)
    # On from where the last call ended, and from anywhere else.
    for start, stop in ((0, 3), (3, 7), (12, 14), (14, 20), (2, 4)):
        found = list(batches(start, stop))
        assert len(found) == stop - start
        for positions, batch in zip(table(start, stop), found, strict=True):
            np.testing.assert_array_equal(batch["input"], here.input_N[positions])
            np.testing.assert_array_equal(batch["label"], here.label_N[positions])


@pytest.mark.thorough
def test_a_streamed_source_makes_the_same_cells_and_the_same_weights(
    make_study: Make, tmp_path: Path, data_dir: Path
) -> None:
    found = []
    for feed in ("resident", "streamed"):
        study = make_study(
            f"--config.sources.mnist.feed={feed}",
            "--config.seeds=(0,)",
            "--config.budgets=(20,)",
            '--config.preprocess.ops=("pad_crop",)',
        )
        work = tmp_path / feed
        run.run(study, Folders(work, data_dir), Silent(), lambda context: None)
        records = {record["id"]: record for record in Records(work).load_all()}
        found.append({id: (record["lineage"] or {}).get("checkpoint") for id, record in records.items()})
    assert found[0] == found[1] and any(found[0].values())


def test_made_up_texts_bring_their_tokenizer(make_study: Make, tmp_path: Path) -> None:
    study = make_study(
        "--config.model.name=bert",
        "--config.model.vocab=60", "--config.model.positions=64", "--config.model.width=16", "--config.model.depth=1",
        "--config.model.heads=2", "--config.model.hidden=16", "--config.text.length=16",
        "--config.sources.mnist.dataset=set_copy/majority?train=80&test=20",
        "--config.targets.digits.dataset=set_copy/first_repeat?train=80&test=20",
        "--config.targets.digits.train=train[:60]", "--config.targets.digits.validation=train[60:]",
        "--config.budgets=(20,)",
    )  # fmt: skip
    grid = lay_out(study, Folders(tmp_path, tmp_path / "data"), Silent())
    train = grid.targets["digits"].train
    assert train.input_N.shape[1:] == (16,) and train.tokenizer
    assert train.input_N.min() == 0 and train.input_N.max() >= 7  # padding, and words
