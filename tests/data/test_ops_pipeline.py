"""Several ops in turn: whose chance is whose, and what cannot stand together."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ops_by_name import CLASSES, SETTINGS, examples, small

from tlx.data.ops.listing import ON_HOST, rows
from tlx.data.ops.op import Op
from tlx.data.ops.pipeline import Pipeline, make_pipeline
from tlx.data.ops.registry import OPS
from tlx.errors import ConfigError
from tlx.losses import UNSCORED

BATCH = examples(small("flip"), size=8)
MASKING = SETTINGS["mask_tokens"]


@functools.cache
def program(pipeline: Pipeline) -> Any:
    return jax.jit(lambda batch, seed, step, first=0: pipeline(batch, seed, step, first))


def run(*ops: Op, batch: Any = BATCH, seed: int = 0, step: int = 0) -> dict[str, np.ndarray]:
    return jax.device_get(program(Pipeline(ops, CLASSES))(batch, seed, step))


def test_without_ops_nothing_happens() -> None:
    assert np.array_equal(Pipeline()(BATCH, 0, 0)["input"], BATCH["input"])
    assert (Pipeline().random, Pipeline().mixes, Pipeline().normalises, Pipeline().canonical()) == (False,) * 3 + ([],)


def test_a_batch_is_pinned() -> None:
    """What is drawn is part of every result: a change here breaks the comparison with all earlier runs."""
    at = np.arange(8, dtype=np.uint8)[None, None, :, None] + 10 * np.arange(8, dtype=np.uint8)[None, :, None, None]
    batch = {"input": jnp.asarray(np.repeat(at, 6, axis=0)), "label": jnp.zeros(6, jnp.int32)}
    out = run(small("pad_crop"), small("flip"), batch=batch, seed=7, step=3)
    assert out["input"][:, 3, 3, 0].tolist() == [11, 22, 33, 26, 56, 34]


def test_step_and_seed_give_other_draws_and_the_same_ones_again() -> None:
    ops = (small("pad_crop"), small("flip"))
    first = run(*ops, seed=1, step=2)["input"]
    assert np.array_equal(first, run(*ops, seed=1, step=2)["input"])
    assert not np.array_equal(first, run(*ops, seed=1, step=3)["input"])
    assert not np.array_equal(first, run(*ops, seed=2, step=2)["input"])


def test_whole_or_in_parts_the_batch_is_the_same() -> None:
    pipeline = Pipeline((small("pad_crop"), small("flip")), CLASSES)
    whole = program(pipeline)(BATCH, 3, 5)["input"]
    for first in (0, 4):
        part = {name: leaf[first : first + 4] for name, leaf in BATCH.items()}
        np.testing.assert_array_equal(program(pipeline)(part, 3, 5, first)["input"], whole[first : first + 4])


def test_spread_over_devices_the_batch_is_the_same() -> None:
    pipeline = Pipeline((small("pad_crop"), small("flip"), small("mixup")), CLASSES)
    mesh = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Auto,))
    spread = jax.device_put(BATCH, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data")))
    out, whole = (program(pipeline)(batch, 3, 5) for batch in (spread, BATCH))
    for name in ("input", "label"):
        np.testing.assert_array_equal(out[name], whole[name], err_msg=name)


def test_compiled_or_not_the_batch_is_the_same() -> None:
    pipeline = Pipeline((small("flip"),), CLASSES)
    np.testing.assert_array_equal(pipeline(BATCH, 3, 5)["input"], program(pipeline)(BATCH, 3, 5)["input"])


def test_another_op_does_not_change_what_the_others_draw() -> None:
    flip, crop = small("flip"), small("pad_crop")
    still = small("noise", std=0.0)  # draws, but changes nothing
    np.testing.assert_array_equal(run(still, crop, still, flip)["input"], run(crop, flip)["input"])
    # A second one of its kind draws for itself: two equal flips would undo one another.
    assert not np.array_equal(run(flip, flip)["input"], BATCH["input"])


def test_labels_become_shares_where_an_op_mixes() -> None:
    assert run(small("flip"))["label"].dtype == np.int32
    out = run(small("mixup"), small("cutmix"))
    assert out["label"].shape == (8, CLASSES) and out["label"].dtype == np.float32
    np.testing.assert_allclose(out["label"].sum(axis=1), 1, atol=1e-6)
    assert Pipeline((small("mixup"),), CLASSES).mixes


def test_tokens_go_through_too() -> None:
    out = run(small("mask_tokens"), batch=examples(small("mask_tokens")))
    assert out["label"].shape == out["input"].shape and (out["label"] != UNSCORED).any()


def test_the_model_is_built_for_what_comes_out() -> None:
    pipeline = make_pipeline([("channels", {}), ("resize", {"side": 16}), ("flip", {})])
    assert pipeline.input_shape((8, 6, 1)) == (16, 16, 3)
    assert make_pipeline([("next_token", {})]).input_shape((12,)) == (12,)
    with pytest.raises(ConfigError) as caught:
        pipeline.input_shape((12,))
    assert str(caught.value) == "channels: takes images, but the inputs are sequences of 12 token ids"
    with pytest.raises(ConfigError) as caught:
        make_pipeline([("center_crop", {"side": 9})]).input_shape((8, 6, 1))
    assert str(caught.value) == "center_crop.side: expected at most the shorter side of the images, 6"


def test_content_ids_know_every_setting() -> None:
    short, spelt = make_pipeline([("flip", {})]), make_pipeline([("flip", {"probability": 0.5})])
    assert short.canonical() == spelt.canonical() == [["flip", {"probability": 0.5}]]
    assert short.digest == spelt.digest and len(short.digest) == 64
    others = ([("flip", {"probability": 0.4})], [], [("flip", {}), ("flip", {})])
    assert len({short.digest, *(make_pipeline(named).digest for named in others)}) == 4
    crop = make_pipeline([("random_resized_crop", {"scale": [0.5, 1]})])
    assert crop.canonical()[0][1]["scale"] == [0.5, 1]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ([("flop", {})], "flop: no such op (did you mean 'flip'?)"),
        ([("flip", {"probabilty": 1})], "flip.probabilty: no such field (did you mean 'probability'?)"),
        ([("flip", {"probability": 2})], "flip.probability: expected a number from 0 to 1, got 2.0"),
        ([("flip", {"probability": "often"})], "flip.probability: expected a number from 0 to 1, got 'often'"),
        (
            [("mask_tokens", MASKING), ("next_token", {})],
            "next_token: the labels are made by 'mask_tokens' already; leave one of them out",
        ),
        ([("mixup", {})], "mixup: mixes classes, but the labels are none"),
        (
            [("normalise", {"mean": (0.4,), "std": (0.2,)}), ("flip", {}), ("rand_augment", {})],
            "normalise: must come after 'rand_augment', which expects pixels as they are",
        ),
    ],
)
def test_configs_that_cannot_be(named: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_pipeline(named)
    assert str(caught.value) == f"config.preprocess.{message}"
    with pytest.raises(ConfigError) as caught:
        make_pipeline(named, where="config.target.preprocess")
    assert str(caught.value) == f"config.target.preprocess.{message}"


def test_statistics_of_a_models_own_are_known() -> None:
    assert not make_pipeline([("normalise", {}), ("flip", {})]).normalises
    assert make_pipeline([("flip", {}), ("normalise", {"mean": [0.1], "std": [0.2]})]).normalises


def test_the_table_has_every_op_with_its_defaults() -> None:
    table = {row.name: row for row in rows()}
    assert list(table) == [*(row.name for row in ON_HOST), *OPS]
    flip = table["flip"]
    assert (flip.runs, flip.takes, flip.paper) == ("in program", "image", "Krizhevsky et al. 2012")
    assert flip.settings == (("probability", 0.5, "share of images that are flipped"),)
    assert {row.runs for row in ON_HOST} == {"host"} and all(row.does for row in table.values())
