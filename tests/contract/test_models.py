"""What every registered model promises to the methods, the cut and the loop."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import CLASSES, batch, compiled_init, differing, tiny_model

from tlx import tree
from tlx.models.registry import MODELS, Model


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> Model:
    return tiny_model(request.param)


@pytest.fixture
def fresh(model: Model) -> dict[str, Any]:
    return compiled_init(model)(0)


def forward(model: Model, variables: Any, x: Any, *stages: int | None) -> jax.Array:
    return model.module.apply(variables, x, *stages)


def test_settings_have_sound_defaults(model: Model) -> None:
    for name, field in MODELS[model.name].fields.items():
        assert field.check(name, field.default) == field.default
        assert field.doc


def test_equal_settings_name_equal_models(model: Model) -> None:
    again = Model(model.name, tuple(model.settings), model.num_classes, model.image_HWC)
    assert again == model and hash(again) == hash(model)
    assert Model(model.name, model.settings, CLASSES + 1, model.image_HWC) != model


def test_float32_in_and_out(model: Model, fresh: dict[str, Any]) -> None:
    assert fresh.keys() <= {"params", "batch_stats"}
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}
    logits_BC = forward(model, fresh, batch(model, 5)["input"])
    assert logits_BC.shape == (5, CLASSES) and logits_BC.dtype == jnp.float32
    assert np.all(np.isfinite(logits_BC)) and np.ptp(logits_BC) > 0


def test_every_leaf_lies_under_a_stage(model: Model, fresh: dict[str, Any]) -> None:
    owners = {path.split("/")[1] for path in tree.flatten(fresh)}
    assert owners <= set(model.stages) and len(set(model.stages)) == len(model.stages)
    assert model.stages[-1] == "head"
    head = {path: leaf.shape for path, leaf in tree.flatten(fresh["params"]["head"]).items()}
    assert head["bias"] == (CLASSES,) and head["kernel"][-1] == CLASSES


def test_only_the_head_knows_the_number_of_classes(model: Model) -> None:
    other = Model(model.name, model.settings, CLASSES + 4, model.image_HWC)
    sizes = [jax.eval_shape(lambda m=m: m.init(0)) for m in (model, other)]
    shapes = [{path: leaf.shape for path, leaf in tree.flatten(size).items()} for size in sizes]
    assert {path.split("/")[1] for path in shapes[0] if shapes[0][path] != shapes[1][path]} == {"head"}


def test_init_follows_from_the_seed(model: Model, fresh: dict[str, Any]) -> None:
    assert differing(fresh, compiled_init(model)(0)) == set()
    other = differing(fresh, compiled_init(model)(1))
    assert {path.rsplit("/", 1)[1] for path in tree.flatten(fresh)} >= {"kernel"}
    assert {path for path in tree.flatten(fresh) if path.endswith("kernel")} <= other
    kernels = [np.asarray(leaf) for path, leaf in tree.flatten(fresh).items() if path in other]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)


def test_init_may_be_traced_over_seeds(model: Model, fresh: dict[str, Any]) -> None:
    for traced, leaf in zip(*map(jax.tree.leaves, (fresh, model.init(0))), strict=True):
        np.testing.assert_allclose(traced, leaf, atol=1e-6)


def test_any_two_runs_of_stages_make_the_whole(model: Model, fresh: dict[str, Any]) -> None:
    x_BHWC = batch(model)["input"]
    whole = forward(model, fresh, x_BHWC)
    for k in range(len(model.stages) + 1):
        parts = forward(model, fresh, forward(model, fresh, x_BHWC, 0, k), k)
        assert np.array_equal(parts, whole), k


def test_stage_k_reads_no_leaf_of_another(model: Model, fresh: dict[str, Any]) -> None:
    x = batch(model)["input"]
    for k, stage in enumerate(model.stages):
        own = {c: {stage: leaves[stage]} for c, leaves in fresh.items() if stage in leaves}
        whole = forward(model, fresh, x, k, k + 1)
        assert np.array_equal(forward(model, own, x, k, k + 1), whole), stage
        x = whole


def test_predictions_do_not_depend_on_the_rest_of_the_batch(model: Model, fresh: dict[str, Any]) -> None:
    x_BHWC = batch(model)["input"]
    padded = jnp.concatenate([x_BHWC[:3], jnp.zeros_like(x_BHWC[3:])])
    np.testing.assert_allclose(forward(model, fresh, padded)[:3], forward(model, fresh, x_BHWC)[:3], atol=1e-6)


def test_compiled_equals_eager(model: Model, fresh: dict[str, Any]) -> None:
    x_BHWC = batch(model)["input"]
    compiled = jax.jit(lambda variables, x: forward(model, variables, x))(fresh, x_BHWC)
    np.testing.assert_allclose(compiled, forward(model, fresh, x_BHWC), atol=1e-5)
