import dataclasses
from pathlib import Path

import jax
import pytest
from conftest import Make
from tiny import tiny_model

from tlx.errors import TlxError
from tlx.progress import Silent
from tlx.report.plan import outline
from tlx.study.plan import RESET, resets
from tlx.study.run import Grid, in_order, lay_out
from tlx.study.spec import Folders


def laid_out(make_study: Make, data_dir: Path, *overrides: str) -> Grid:
    return lay_out(make_study(*overrides), Folders(data_dir / "nowhere", data_dir), Silent())


def test_every_cell_is_in_exactly_one_unit_and_units_mix_nothing(make_study: Make, data_dir: Path) -> None:
    grid = laid_out(make_study, data_dir)
    ids = [cell.id for unit in grid.units for cell in unit.cells]
    assert sorted(ids) == sorted(cell.id for cell in grid.cells)
    assert len(set(ids)) == len(ids) == 5 * 2 * 2
    for unit in grid.units:
        assert len({cell.entry for cell in unit.cells}) == 1
        assert unit.strategy == "fused" or len({cell.budget for cell in unit.cells}) == 1


def test_strategies_and_their_reasons(make_study: Make, data_dir: Path) -> None:
    by_entry = {unit.first.entry.name: unit for unit in laid_out(make_study, data_dir).units}
    assert {name: unit.strategy for name, unit in by_entry.items()} == {
        "scratch": "loop",
        "random_frozen": "fused",
        "probe": "fused",
        "full": "loop",
        "lora": "loop",
    }
    assert by_entry["probe"].task.first == 3
    assert by_entry["lora"].task.first == 1
    assert by_entry["full"].task.first == 0
    assert "cached" in by_entry["probe"].reason
    assert "CPU" in by_entry["full"].reason


def test_the_strategy_can_be_set(make_study: Make, data_dir: Path) -> None:
    units = laid_out(make_study, data_dir, "--config.plan.strategy=fused").units
    assert {unit.strategy for unit in units if unit.first.entry.name != "probe"} == {"fused"}
    units = laid_out(make_study, data_dir, "--config.compile=pmap").units
    assert {unit.strategy for unit in units} == {"loop"}


def test_seeds_with_frozen_leaves_of_their_own_are_never_fused(make_study: Make, data_dir: Path) -> None:
    units = laid_out(
        make_study, data_dir, "--config.adapt.random_frozen.method.name=lora", "--config.plan.strategy=fused"
    ).units
    strategies = {unit.first.entry.name: (unit.strategy, unit.reason) for unit in units}
    assert strategies["random_frozen"][0] == "loop"
    assert "frozen leaves of its own" in strategies["random_frozen"][1]
    assert strategies["lora"][0] == "fused"


def test_the_outline_counts_by_hand(make_study: Make, data_dir: Path) -> None:
    grid = laid_out(make_study, data_dir)
    plan = outline(grid, data_dir / "nowhere")
    assert (plan.cells, plan.recorded) == (20, 0)
    entries = {entry.entry: entry for entry in plan.entries}
    width, patches, pixels, classes = 16, 16, 49, 10
    embed = pixels * width + width + patches * width
    block = 2 * 2 * width + 4 * (width * width + width) + 2 * 4 * width * width + 5 * width
    head = width * classes + classes
    total = embed + block + 2 * width + head
    assert entries["full"].size.trainable == entries["full"].size.total == total
    assert entries["probe"].size.trainable == head
    assert entries["lora"].size.trainable == head + 2 * 4 * (width + width)
    # Two moments of four bytes each; the rest is step counters and the two hyper-parameters.
    for entry in plan.entries:
        assert 8 * entry.size.trainable <= entry.size.optimizer_bytes <= 8 * entry.size.trainable + 64
    assert entries["probe"].step_flops < entries["lora"].step_flops < entries["full"].step_flops
    assert entries["full"].step_flops == entries["scratch"].step_flops
    labels = {(part.stage, part.label) for part in entries["lora"].parts}
    assert labels == {
        ("embed", "frozen"),
        ("block_0", "frozen"),
        ("block_0", "adapter"),
        ("pool", "frozen"),
        ("head", "head"),
    }


def test_pretraining_starts_first_and_others_need_not_wait_for_it(make_study: Make, data_dir: Path) -> None:
    entries = [unit.first.entry.name for unit in in_order(laid_out(make_study, data_dir).units)]
    assert entries == ["full", "scratch", "scratch", "random_frozen", "full", "lora", "lora", "probe"]


@pytest.mark.parametrize(("tied", "kept"), [(True, ()), (False, RESET)])
def test_a_head_that_is_the_table_of_words_comes_from_the_source(tied: bool, kept: tuple[str, ...]) -> None:
    model = tiny_model("decoder", head="lm", tied=tied)
    model = dataclasses.replace(model, num_classes=dict(model.settings)["vocab"])
    shapes = jax.eval_shape(model.init, 0)
    assert resets(shapes) == kept


DRAWN = ('--config.preprocess.ops=("pad_crop","center_crop")', "--config.preprocess.center_crop.side=28")


def test_ops_that_draw_forbid_the_cache_and_the_plan_says_so(make_study: Make, data_dir: Path) -> None:
    by_entry = {unit.first.entry.name: unit for unit in laid_out(make_study, data_dir, *DRAWN).units}
    assert {unit.task.first for unit in by_entry.values()} == {0}
    assert by_entry["probe"].reason.startswith("pad_crop draws other inputs at every step: nothing cached; ")
    assert "cached" not in by_entry["full"].reason
    assert [op.name for op in by_entry["full"].task.ops.ops] == ["pad_crop", "center_crop"]


def test_ops_that_draw_nothing_leave_the_cache(make_study: Make, data_dir: Path) -> None:
    ops = ('--config.preprocess.ops=("center_crop",)', "--config.preprocess.center_crop.side=21")
    by_entry = {unit.first.entry.name: unit for unit in laid_out(make_study, data_dir, *ops).units}
    assert by_entry["probe"].task.first == 3 and not by_entry["probe"].task.ops.ops
    assert by_entry["full"].task.first == 0 and by_entry["full"].task.ops.ops
    assert by_entry["full"].task.adapted.model.input_shape == (21, 21, 1)


def test_what_is_done_to_examples_is_part_of_what_a_cell_is(make_study: Make, data_dir: Path) -> None:
    ids = [{cell.id for cell in laid_out(make_study, data_dir, *more).cells} for more in ((), DRAWN)]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ('--config.preprocess.ops=("flop",)',),
            "config.preprocess.ops[0]: there is no op 'flop' (did you mean 'flip'?)",
        ),
        (("--config.preprocess.flip.probability=1.0",), "config.preprocess.flip: no such field"),
        (
            ('--config.preprocess.ops=("flip",)', "--config.preprocess.flip.probability=1.5"),
            "config.preprocess.flip.probability: expected a number from 0 to 1, got 1.5",
        ),
        (
            ("--config.preprocess.resize=(3,4,5)",),
            "config.preprocess.resize: expected pixels as (rows, columns), or ()",
        ),
        (
            ('--config.preprocess.ops=("random_resized_crop",)', "--config.preprocess.random_resized_crop.side=21"),
            "config.preprocess.ops: training batches are images of 21×21×1, others images of 28×28×1; these need",
        ),
        (('--config.preprocess.ops=("mixup",)', "--config.compile=pmap"), "config.compile: 'pmap' parts the examples"),
        (('--config.preprocess.ops=("mask_tokens",)',), "config.preprocess.mask_tokens"),
        (
            ("--config.preprocess.crop=(40,40)",),
            "config.sources.mnist.train: crop: 28 x 28 pixels are too few for 40 x 40",
        ),
    ],
)
def test_wrong_preprocessing_is_one_line(
    make_study: Make, data_dir: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(TlxError) as caught:
        laid_out(make_study, data_dir, *overrides)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_images_are_brought_to_a_size_on_the_host(make_study: Make, data_dir: Path) -> None:
    grid = laid_out(make_study, data_dir, "--config.preprocess.resize=(18,20)", "--config.preprocess.crop=(14,14)")
    assert grid.targets["digits"].train.input_N.shape[1:] == (14, 14, 1)
    assert {unit.task.adapted.model.input_shape for unit in grid.units} == {(14, 14, 1)}


def test_no_two_units_have_one_name(make_study: Make, data_dir: Path) -> None:
    study = make_study()
    again = dataclasses.replace(study.sources[0], name="again", seed=7)
    units = lay_out(
        dataclasses.replace(study, sources=(*study.sources, again)), Folders(data_dir / "nowhere", data_dir), Silent()
    ).units
    assert len({unit.name for unit in units}) == len(units)
    assert {"full: mnist → digits, 20 labels", "full: again → digits, 20 labels"} <= {unit.name for unit in units}
