"""Stages that are copied from a source, and those that are drawn anew: what starts where, paired by seed."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Make
from tiny import tiny_model

from tlx import tree
from tlx.errors import ConfigError
from tlx.models.registry import MODELS, Model
from tlx.progress import Silent
from tlx.study.context import Context, Pretrained, fresh_variables
from tlx.study.copied import above, is_fresh_below
from tlx.study.run import Grid, lay_out
from tlx.study.spec import Folders
from tlx.study.starts import initial_variables

# The quickstart's small ViT has the stages embed, block_0, pool and head.
ONE = "--config.adapt.full.copied=1"


def laid_out(make_study: Make, data_dir: Path, *overrides: str) -> Grid:
    return lay_out(make_study(*overrides), Folders(data_dir / "nowhere", data_dir), Silent())


def resnet() -> Model:
    fields = {name: field.default for name, field in MODELS["resnet"].fields.items()}
    settings = fields | {"depths": (1, 1), "width": 2, "stem": "small"}
    return Model("resnet", tuple(sorted(settings.items())), 3, (8, 8, 1))


@pytest.mark.parametrize(
    ("copied", "fresh"),
    [
        (0, set()),
        (1, {"block_0", "block_1"}),
        (2, {"block_1"}),
        (3, set()),
    ],
)
def test_what_lies_above_the_copied_stages_is_fresh_with_its_running_statistics(copied: int, fresh: set[str]) -> None:
    model = resnet()
    paths = list(tree.flatten(fresh_variables(model, 0)))
    found = [path for path in paths if any(tree.matches(pattern, path) for pattern in above(model, copied))]
    assert {path.split("/")[1] for path in found} == fresh
    assert {path.split("/")[0] for path in found} == ({"params", "batch_stats"} if fresh else set())


def test_pooling_without_parameters_counts_as_no_stage_but_a_norm_does() -> None:
    assert above(resnet(), 3) == ()
    assert above(tiny_model(depth=1), 2) == (r"\w+/(pool)/.*",)


def test_stages_below_a_depth_that_are_not_the_sources() -> None:
    model = resnet()  # stem, block_0, block_1, pool, head
    assert [is_fresh_below(model, copied=1, depth=depth) for depth in range(4)] == [False, False, True, True]
    assert not any(is_fresh_below(model, copied=0, depth=depth) for depth in range(4))


@pytest.fixture
def grid(make_study: Make, data_dir: Path) -> Grid:
    return laid_out(make_study, data_dir, ONE)


def test_the_first_stages_are_the_sources_and_the_rest_the_seeds_own(grid: Grid, tmp_path: Path) -> None:
    context = Context(grid.study, Folders(tmp_path, tmp_path), grid.placement, grid.sources, grid.targets, Silent())
    by_entry = {unit.first.entry.name: unit for unit in grid.units}
    full, scratch = by_entry["full"], by_entry["scratch"]
    source = fresh_variables(full.task.adapted.model, 77)
    context.pretrained["mnist"] = Pretrained(source, "digest", 0.9)
    for seed in (0, 1):
        made, report = initial_variables(full, seed, context)
        from_scratch, _ = initial_variables(scratch, seed, context)
        assert report is not None
        for path, leaf in tree.flatten(made).items():
            begins = source if path.startswith("params/embed/") else from_scratch
            np.testing.assert_array_equal(leaf, tree.flatten(begins)[path])
        assert {path.split("/")[1] for path in report.copied} == {"embed"}
        assert {path.split("/")[1] for path in report.reset} == {"block_0", "pool", "head"}
        assert report.line().endswith("reset 20 of block_0, head, pool, left out 20 of block_0, head, pool")


def test_it_is_part_of_what_a_cell_is_and_silent_otherwise(make_study: Make, data_dir: Path, grid: Grid) -> None:
    plain = laid_out(make_study, data_dir)
    before = {cell.id: cell.entry.name for cell in plain.cells}
    after = {cell.id for cell in grid.cells}
    assert {name for cell_id, name in before.items() if cell_id not in after} == {"full"}
    assert all("copied" not in cell.identity["entry"] for cell in plain.cells)
    assert {cell.identity["entry"].get("copied") for cell in grid.cells} == {None, 1}


def test_frozen_stages_of_the_seeds_own_are_not_fused(make_study: Make, data_dir: Path) -> None:
    frozen = ("--config.adapt.full.method.name=freeze_first", "--config.plan.strategy=fused")

    def strategy(copied: int) -> tuple[str, str]:
        units = laid_out(make_study, data_dir, *frozen, f"--config.adapt.full.copied={copied}").units
        unit = next(unit for unit in units if unit.first.entry.name == "full")
        return unit.strategy, unit.reason

    # One frozen stage lies below the cut, where each seed may have activations of its own.
    assert strategy(1)[0] == strategy(2)[0] == "fused"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "--config.adapt.full.copied=4",
            "config.adapt.full.copied: expected at most 3, as 'vit' has embed, block_0, pool before its head, got 4",
        ),
        (
            "--config.adapt.scratch.copied=1",
            "config.adapt.scratch.copied: expected 0, as arm 'scratch' has no source, got 1",
        ),
        (
            "--config.adapt.random_frozen.copied=1",
            "config.adapt.random_frozen.copied: expected 0, as arm 'random-frozen' has no source, got 1",
        ),
    ],
)
def test_what_cannot_be_copied(make_study: Make, data_dir: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        laid_out(make_study, data_dir, override)
    assert str(refused.value) == message


# Targets with a schedule of their own


def test_a_target_can_have_steps_of_its_own(make_study: Make, data_dir: Path) -> None:
    plain = laid_out(make_study, data_dir)
    longer = laid_out(make_study, data_dir, "--config.targets.digits.steps=30")
    assert {unit.task.steps for unit in plain.units} == {20}
    assert {unit.task.steps for unit in longer.units} == {30}
    assert {cell.identity["recipe"]["steps"] for cell in longer.cells} == {30}
    assert not {cell.id for cell in plain.cells} & {cell.id for cell in longer.cells}


def test_it_is_the_number_of_steps_that_counts_not_who_said_it(make_study: Make, data_dir: Path) -> None:
    target = laid_out(make_study, data_dir, "--config.targets.digits.steps=30")
    train = laid_out(make_study, data_dir, "--config.train.steps=30")
    assert [cell.id for cell in target.cells] == [cell.id for cell in train.cells]
