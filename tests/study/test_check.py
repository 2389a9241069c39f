from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlx.data.pipeline import Arrays, digest
from tlx.errors import ConfigError, FileError, TlxError
from tlx.fields import check_fields
from tlx.models.registry import MODELS
from tlx.optim import Optimizer
from tlx.sharding import make_placement
from tlx.study.cells import SourceData, TargetData
from tlx.study.check import blamed_on, check_devices, check_overlap, check_study
from tlx.study.spec import Entry, Execution, Recipe, Source, Study, Target

RECIPE = Recipe(steps=5, batch_size=8, label_smoothing=0.0)
SIZES = {"patch": 4, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 4}
SETTINGS = check_fields("model", MODELS["vit"].fields, SIZES)
LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "target": ".*/(query|value)"}


def arrays(seed: int, n: int = 12, side: int = 8) -> Arrays:
    rng = np.random.default_rng(seed)
    image_NHWC = rng.integers(0, 256, (n, side, side, 1)).astype(np.uint8)
    label_N = (np.arange(n) % 3).astype(np.int32)
    return Arrays("noise", "train", image_NHWC, label_N, 3, digest(image_NHWC, label_N))


SOURCES = {"big": SourceData(arrays(0, 40), arrays(1))}
TARGETS = {"small": TargetData(arrays(2), arrays(3), arrays(4))}


def make(
    model: dict[str, Any] = SETTINGS,
    method: str = "full",
    settings: dict[str, Any] | None = None,
    mine: dict[str, Any] | None = None,
    **changes: Any,
) -> Study:
    """A study in which only some things are wrong; `mine` changes its second entry."""
    study = Study(
        name="check",
        model="vit",
        model_settings=pairs(model),
        sources=(Source("big", "", "noise", "train", "test", RECIPE, Optimizer(), 0.0, 1e-3, 0),),
        targets=(Target("small", "noise", "train", "train", "test"),),
        entries=(
            entry("scratch", "scratch", "full"),
            entry("mine", "transfer", method, settings, **mine or {}),
        ),
        budgets=(6, 12),
        seeds=(0,),
        recipe=RECIPE,
        execution=Execution("jit", -1, 1, "auto", 0, 0, 8, 0, 30.0, False),
        config={},
        command="tlx plan",
    )
    return replace(study, **changes)


def entry(name: str, arm: str, method: str, settings: dict[str, Any] | None = None, **changes: Any) -> Entry:
    made = Entry(name, arm, method, pairs(settings or {}), (), "auto", Optimizer(), 0.0, (1e-3,))
    return replace(made, **changes)


def pairs(settings: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(settings.items()))


def refusal(study: Study, devices: int = 4, targets: dict[str, TargetData] = TARGETS) -> str:
    """The one line a study is refused with."""
    with pytest.raises(ConfigError) as caught:
        check_study(study, SOURCES, targets, make_placement("jit", devices, 1))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("method", "settings"), [("full", {}), ("head", {}), ("lora", LORA)])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_a_study_that_can_run_passes(method: str, settings: dict[str, Any], devices: int) -> None:
    check_study(make(method=method, settings=settings), SOURCES, TARGETS, make_placement("jit", devices, 1))


def test_a_model_that_does_not_fit_its_images_or_itself() -> None:
    assert refusal(make({**SETTINGS, "patch": 3})).startswith("config.model.patch: patches of 3 pixels do not tile")
    assert refusal(make({**SETTINGS, "heads": 3})) == "config.model.heads: 3 heads do not divide the width 16"
    odd = {"small": TargetData(arrays(2, side=10), arrays(3, side=10), arrays(4, side=10))}
    line = "config.sources.big.dataset: images of 8×8×1, but config.targets.small has images of 10×10×1"
    assert refusal(make(), targets=odd) == line


@pytest.mark.parametrize(
    ("method", "settings", "line"),
    [
        ("lora", {**LORA, "target": "nothing"}, "mine.method.target: 'nothing' matches no layer of 'vit'"),
        ("lora", {**LORA, "target": "("}, "mine.method.target: the rule '(' is not a regular expression"),
        ("lora", {**LORA, "rank": 17}, "mine.method.rank: expected at most 16 for 'block_0/attention/query', got 17"),
        (
            "freeze",
            {"frozen": ("params/embed/.*", "params/blok_0/.*")},
            "mine.method.frozen[1]: rule 'params/blok_0/.*' -> 'frozen' matches no parameter "
            "(did you mean 'params/block_0/.*'?)",
        ),
        (
            "freeze",
            {"frozen": ("params/embed/.*", "params/embed/position")},
            "mine.method.frozen[1]: rule 'params/embed/position' -> 'frozen' matches only parameters that earlier",
        ),
        ("freeze", {"frozen": ("[",)}, "mine.method.frozen[0]: the rule '[' is not a regular expression"),
        ("freeze", {"frozen": ("params/.*",)}, "mine.method.frozen: rule 'params/head/.*' -> 'head' matches only"),
    ],
)
def test_a_method_that_does_not_fit_the_model(method: str, settings: dict[str, Any], line: str) -> None:
    assert refusal(make(method=method, settings=settings)).startswith(f"config.adapt.{line}")


def test_a_budget_larger_than_the_split() -> None:
    assert refusal(make(budgets=(6, 13))) == "config.budgets[1]: 13 labels, but 'train' of 'small' has 12"


@pytest.mark.parametrize(
    ("splits", "line"),
    [
        (("train[:100]", "train[90:120]", "test"), "validation: 'train[90:120]' shares 10 examples with"),
        (("train[:100]", "train[100:]", "train[99:100]"), "test: 'train[99:100]' shares 1 examples with"),
        (("train", "test[:50]", "test"), "test: 'test' shares 50 examples with config.targets.small.validation"),
        (("train[:50]", "train[50:]", "test"), ""),
    ],
)
def test_splits_that_share_examples(data_dir: Path, splits: tuple[str, str, str], line: str) -> None:
    study = make(targets=(Target("small", "digits", *splits),))
    if not line:
        check_overlap(study, data_dir)
        return
    with pytest.raises(ConfigError) as caught:
        check_overlap(study, data_dir)
    assert str(caught.value).startswith(f"config.targets.small.{line}")


def test_a_source_that_has_seen_the_target_s_test_examples(data_dir: Path) -> None:
    (source,) = make().sources
    targets = (Target("small", "digits", "train[:50]", "train[50:]", "test"),)
    check_overlap(make(targets=targets, sources=(replace(source, dataset="mnist5k"),)), data_dir)
    with pytest.raises(
        ConfigError, match=r"^config\.targets\.small\.test: 'test' shares 400 .* config\.sources\.big\.train"
    ):
        check_overlap(make(targets=targets, sources=(replace(source, dataset="digits", train="test"),)), data_dir)


@pytest.mark.parametrize(
    ("arm", "method", "settings", "line"),
    [
        ("scratch", "head", {}, "'scratch', but 'head' freezes some leaves"),
        ("scratch", "lora", LORA, "'scratch', but 'lora' freezes some leaves"),
        ("random-frozen", "full", {}, "'random-frozen', but 'full' freezes nothing"),
    ],
)
def test_an_arm_that_is_not_what_its_method_makes_it(
    arm: str, method: str, settings: dict[str, Any], line: str
) -> None:
    mine = entry("mine", arm, method, settings)
    assert refusal(make(entries=(mine,))) == f"config.adapt.mine.arm: {line}"


@pytest.mark.parametrize(
    ("method", "settings", "also", "line"),
    [
        (
            "full",
            {},
            {"lora": {**LORA, "rank": 17}},
            "also.lora.rank: expected at most 16 for 'block_0/attention/query'",
        ),
        ("full", {}, {"freeze": {"frozen": ("params/stem/.*",)}}, "also.freeze.frozen[0]: rule 'params/stem/.*'"),
        ("lp_ft", {"probe": 0.5, "lr": 1.0}, {"gradual": {"share": 0.5}}, "also: two methods with phases"),
        ("uniform_soup", {}, {"greedy_soup": {}}, "also: two methods that combine trials"),
    ],
)
def test_methods_that_do_not_go_together(
    method: str, settings: dict[str, Any], also: dict[str, Any], line: str
) -> None:
    mine = {"also": tuple((name, pairs(own)) for name, own in also.items())}
    assert refusal(make(method=method, settings=settings, mine=mine)).startswith(f"config.adapt.mine.method.{line}")


def test_a_method_that_holds_on_to_a_source_needs_one() -> None:
    settings = {"alpha": 0.1, "beta": 0.01}
    baseline, _ = make().entries
    line = "config.adapt.mine.method.name: 'l2_sp' holds on to a source, which arm 'scratch' has none of"
    assert refusal(make(entries=(baseline, entry("mine", "scratch", "l2_sp", settings)))) == line
    check_study(make(method="l2_sp", settings=settings), SOURCES, TARGETS, make_placement("jit", 1, 1))


@pytest.mark.parametrize(("devices", "parts", "each"), [(1, 3, 8), (2, 8, 4), (4, 4, 2)])
def test_a_batch_that_cannot_be_taken_in_equal_parts(devices: int, parts: int, each: int) -> None:
    uneven = Optimizer(accumulate=parts)
    said = f"accumulate: the {each} examples a device gets cannot be taken in {parts} equal parts"
    entries = tuple(replace(one, optimizer=uneven) for one in make().entries)
    assert refusal(make(entries=entries), devices) == f"config.train.{said}"
    (source,) = make().sources
    assert refusal(make(sources=(replace(source, optimizer=uneven),)), devices) == f"config.sources.big.{said}"
    fits = tuple(replace(one, optimizer=Optimizer(accumulate=8 // devices)) for one in make().entries)
    check_study(make(entries=fits), SOURCES, TARGETS, make_placement("jit", devices, 1))


@pytest.mark.parametrize(("devices", "batch"), [(2, 7), (4, 6), (3, 8)])
def test_a_batch_that_cannot_be_split_over_the_devices(devices: int, batch: int) -> None:
    uneven = replace(RECIPE, batch_size=batch)
    said = f"batch_size: {batch} examples cannot be split over {devices} devices"
    assert refusal(make(recipe=uneven), devices) == f"config.train.{said}"
    even = replace(RECIPE, batch_size=12)
    (source,) = make().sources
    study = make(recipe=even, sources=(replace(source, recipe=uneven),))
    assert refusal(study, devices) == f"config.sources.big.{said}"


@pytest.mark.parametrize(
    ("data", "fsdp", "field"),
    [(5, 1, "data"), (3, 2, "data"), (1, 5, "fsdp"), (-1, 5, "fsdp"), (4, 1, ""), (2, 2, ""), (-1, 4, "")],
)
def test_a_mesh_with_more_places_than_devices(data: int, fsdp: int, field: str) -> None:
    execution = replace(make().execution, data=data, fsdp=fsdp)
    if not field:
        check_devices(execution)
        assert make_placement("jit", data, fsdp).devices == 4
        return
    with pytest.raises(ConfigError, match=rf"^config\.mesh\.{field}: the mesh has \d+ places, but there are 4 devices"):
        check_devices(execution)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TlxError("no such split"), "config.x: no such split"),
        (ConfigError("config.y", "wrong"), "config.y: wrong"),
        (FileError("a/b", "is missing"), "a/b: is missing"),
    ],
)
def test_an_error_without_a_field_gets_one(error: TlxError, line: str) -> None:
    with pytest.raises(TlxError) as caught, blamed_on("config.x"):
        raise error
    assert str(caught.value) == line


def test_other_errors_are_not_blamed_on_the_config() -> None:
    def wrong() -> Iterable[int]:
        raise KeyError("x")

    with pytest.raises(KeyError), blamed_on("config.x"):
        wrong()
