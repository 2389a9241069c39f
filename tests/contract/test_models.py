"""What every registered model promises to the methods, the cut and the loop."""

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from tiny import CLASSES, batch, compiled_init, differing, tiny_model

from tlx import tree
from tlx.models.registry import MODELS, Model

ROLES = {
    "low_rank",
    "scaled_outputs",
    "scaled_inputs",
    "attention",
    "mlp",
    "keys",
    "values",
    "tokens",
    "positions",
    "blocks",
}


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> Model:
    return tiny_model(request.param)


@pytest.fixture
def fresh(model: Model) -> dict[str, Any]:
    return compiled_init(model)(0)


def forward(model: Model, variables: Any, x: Any, *stages: int | None) -> Any:
    return model.module.apply(variables, x, *stages)


def training(model: Model, variables: Any, x: Any, key: int = 0) -> tuple[Any, Any]:
    """The output of a training step's forward pass, and what it changes."""
    rngs = {"dropout": jax.random.key(key)}
    return model.module.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)


def away(fresh: Any) -> Any:
    """Every leaf off the zeros and ones at which it may start."""
    rng = np.random.default_rng(1)
    leaves = tree.flatten(fresh)
    noise = {path: jnp.asarray(rng.normal(0, 0.1, leaf.shape), jnp.float32) for path, leaf in leaves.items()}
    return tree.unflatten({path: leaf + noise[path] for path, leaf in leaves.items()})


def shallow(model: Model, **changes: Any) -> Model:
    """The same with one block."""
    depth = {"depth": 1} if "depth" in dict(model.settings) else {"depths": (1,)}
    return tiny_model(model.name, **depth, **changes)


def assert_equal(one: Any, other: Any, message: str = "") -> None:
    """Whether two arrays, or two trees of them, agree to the last bit."""
    assert jax.tree.structure(one) == jax.tree.structure(other), message
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)), message


def module_paths(model: Model) -> set[str]:
    """Paths of all modules that a forward pass calls."""
    paths = set()

    def note(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        paths.add("/".join(context.module.path))
        return layer(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda: model.init(0))
    return paths


def matching_paths(pattern: str, model: Model) -> set[str]:
    return {path for path in module_paths(model) if re.fullmatch(pattern, path)}


def test_settings_have_sound_defaults(model: Model) -> None:
    for name, field in MODELS[model.name].fields.items():
        assert field.check(name, field.default) == field.default
        assert field.doc


def test_equal_settings_name_equal_models(model: Model) -> None:
    again = Model(model.name, tuple(model.settings), model.num_classes, model.input_shape)
    assert again == model and hash(again) == hash(model)
    assert Model(model.name, model.settings, CLASSES + 1, model.input_shape) != model


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
    # Decoders score without a bias.
    assert head.get("bias", (CLASSES,)) == (CLASSES,) and head["kernel"][-1] == CLASSES


def test_only_the_head_knows_the_number_of_classes(model: Model) -> None:
    other = Model(model.name, model.settings, CLASSES + 4, model.input_shape)
    sizes = [jax.eval_shape(lambda m=m: m.init(0)) for m in (model, other)]
    shapes = [{path: leaf.shape for path, leaf in tree.flatten(size).items()} for size in sizes]
    assert {path.split("/")[1] for path in shapes[0] if shapes[0][path] != shapes[1][path]} == {"head"}


def test_init_follows_from_the_seed(model: Model, fresh: dict[str, Any]) -> None:
    assert differing(fresh, compiled_init(model)(0)) == set()
    other = differing(fresh, compiled_init(model)(1))
    assert {path.rsplit("/", 1)[1] for path in tree.flatten(fresh)} >= {"kernel"}
    leaves = {path: np.asarray(leaf) for path, leaf in tree.flatten(fresh).items()}
    drawn = {path for path in leaves if path in other}
    # What is not drawn is all zeros or all ones; no two leaves are drawn alike.
    assert drawn == {path for path, leaf in leaves.items() if np.any(leaf != leaf.flat[0])}
    assert {path for path in leaves if path.endswith(("kernel", "embedding"))} <= drawn
    assert {leaf.flat[0] for path, leaf in leaves.items() if path not in drawn} <= {0.0, 1.0}
    assert len({leaves[path].tobytes() for path in drawn}) == len(drawn)


@pytest.mark.thorough
def test_a_leaf_follows_from_its_own_path(model: Model, fresh: dict[str, Any]) -> None:
    """The stages that a shallower model has too start the same, those behind its only block apart."""
    other = compiled_init(shallow(model))(0)
    for collection, leaves in other.items():
        for stage in {"embed", "stem", "block_0"} & leaves.keys():
            # Two programs may round differently.
            same = tree.flatten(fresh[collection][stage])
            for path, leaf in tree.flatten(leaves[stage]).items():
                np.testing.assert_allclose(leaf, same[path], atol=1e-6, err_msg=f"{stage}/{path}")


@pytest.mark.thorough
def test_init_may_be_traced_over_seeds(model: Model) -> None:
    small = shallow(model)
    for traced, leaf in zip(*map(jax.tree.leaves, (compiled_init(small)(0), small.init(0))), strict=True):
        np.testing.assert_allclose(traced, leaf, atol=1e-6)


def test_an_example_is_what_the_model_takes(model: Model, fresh: dict[str, Any]) -> None:
    for size in (1, 3):
        x = model.example(size)
        given = batch(model, size)["input"]
        assert (x.shape, x.dtype) == (given.shape, given.dtype) and not np.any(x)
        assert np.all(np.isfinite(forward(model, fresh, x)))
    assert x.dtype == {"image": jnp.float32, "tokens": jnp.int32}[model.kind.takes]


def test_any_two_runs_of_stages_make_the_whole(model: Model, fresh: dict[str, Any]) -> None:
    x = batch(model)["input"]
    whole = forward(model, fresh, x)
    for k in range(len(model.stages) + 1):
        parts = forward(model, fresh, forward(model, fresh, x, 0, k), k)
        # Where the last block and the head are in one pass, what the head does not read is not computed.
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-6, err_msg=str(k))


def test_stages_hand_on_float32_examples(model: Model, fresh: dict[str, Any]) -> None:
    x = batch(model, 5)["input"]
    for k in range(len(model.stages)):
        x = forward(model, fresh, x, k, k + 1)
        assert {(leaf.shape[0], str(leaf.dtype)) for leaf in jax.tree.leaves(x)} == {(5, "float32")}
        if model.stages[k] == "pool":
            assert x.ndim == 2


def test_stage_k_reads_no_leaf_of_another(model: Model, fresh: dict[str, Any]) -> None:
    x = batch(model)["input"]
    for k, stage in enumerate(model.stages):
        own = {c: {stage: leaves[stage]} for c, leaves in fresh.items() if stage in leaves}
        whole = forward(model, fresh, x, k, k + 1)
        assert_equal(forward(model, own, x, k, k + 1), whole, stage)
        x = whole


def test_predictions_do_not_depend_on_the_rest_of_the_batch(model: Model, fresh: dict[str, Any]) -> None:
    x, moved = batch(model)["input"], away(fresh)
    padded = jnp.concatenate([x[:3], jnp.zeros_like(x[3:])])
    logits_BC = forward(model, moved, x)
    np.testing.assert_allclose(forward(model, moved, padded)[:3], logits_BC[:3], atol=1e-6)
    for b in range(3):
        np.testing.assert_allclose(forward(model, moved, x[b : b + 1])[0], logits_BC[b], atol=1e-5)


def test_compiled_equals_eager(model: Model, fresh: dict[str, Any]) -> None:
    x = batch(model)["input"]
    compiled = jax.jit(lambda variables, x: forward(model, variables, x))(fresh, x)
    np.testing.assert_allclose(compiled, forward(model, fresh, x), atol=1e-5)


def test_training_changes_the_running_statistics_and_nothing_else(model: Model, fresh: dict[str, Any]) -> None:
    moved, x = away(fresh), batch(model)["input"]
    _, changed = training(model, moved, x)
    stats = {key: moved[key] for key in moved if key == "batch_stats"}
    assert differing(stats, changed) == set(tree.flatten(stats))
    _, unchanged = model.module.apply(moved, x, mutable=["batch_stats"])
    assert differing(stats, unchanged) == set()


def test_training_without_dropout_differs_in_running_statistics_only(model: Model, fresh: dict[str, Any]) -> None:
    moved, x = away(fresh), batch(model)["input"]
    if "dropout" in dict(model.settings):
        model = tiny_model(model.name, dropout=0.0)
    # Without dropout no randomness is asked for.
    out_BC, _ = model.module.apply(moved, x, train=True, mutable=["batch_stats"])
    assert np.array_equal(out_BC, forward(model, moved, x)) == ("batch_stats" not in moved)


def test_dropout_follows_from_its_key(model: Model, fresh: dict[str, Any]) -> None:
    if "dropout" not in dict(model.settings):
        pytest.skip("drops nothing")
    moved, x = away(fresh), batch(model)["input"]
    rate = tiny_model(model.name, dropout=0.3)
    one, again, other = (training(rate, moved, x, key)[0] for key in (0, 0, 1))
    assert np.array_equal(one, again) and np.abs(one - other).max() > 1e-3
    assert np.array_equal(forward(rate, moved, x), forward(model, moved, x))
    with pytest.raises(InvalidRngError):
        rate.module.apply(moved, x, train=True, mutable=["batch_stats"])


@pytest.mark.thorough
def test_remat_changes_no_number(model: Model) -> None:
    off = {"dropout": 0.0} if "dropout" in dict(model.settings) else {}
    kept, anew = (shallow(model, remat=remat, **off) for remat in (False, True))
    assert kept.stages == anew.stages
    moved, x = away(compiled_init(shallow(model))(0)), batch(model)["input"]

    def loss(variables: Any, model: Model) -> Any:
        out_BC, changed = model.module.apply(variables, x, train=True, mutable=["batch_stats"])
        return jnp.mean(out_BC**2), (out_BC, changed)

    results = [jax.jit(jax.value_and_grad(lambda v, m=m: loss(v, m), has_aux=True))(moved) for m in (kept, anew)]
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)


@pytest.mark.thorough
def test_scan_is_the_same_function_of_stacked_leaves(model: Model, fresh: dict[str, Any]) -> None:
    if "scan" not in dict(model.settings):
        pytest.skip("its blocks differ in shape")
    moved, x = away(fresh), batch(model)["input"]
    scanned = tiny_model(model.name, scan=True)
    blocks = [stage for stage in model.stages if stage.startswith("block_")]
    first, last = model.stages.index(blocks[0]), model.stages.index(blocks[-1]) + 1
    assert scanned.stages == (*model.stages[:first], "blocks", *model.stages[last:])

    def stacked(leaves: dict[str, Any]) -> dict[str, Any]:
        rest = {stage: leaf for stage, leaf in leaves.items() if stage not in blocks}
        return {**rest, "blocks": jax.tree.map(lambda *each: jnp.stack(each), *(leaves[block] for block in blocks))}

    given = {collection: stacked(leaves) for collection, leaves in moved.items()}
    shapes = {path: leaf.shape for path, leaf in tree.flatten(jax.eval_shape(lambda: scanned.init(0))).items()}
    assert shapes == {path: leaf.shape for path, leaf in tree.flatten(given).items()}

    def outputs(model: Model, variables: Any, last: int) -> Any:
        """What the blocks hand on, what the head does, and the gradients of that."""

        def loss(variables: Any) -> Any:
            between = forward(model, variables, x, 0, last)
            logits_BC = forward(model, variables, between, last)
            return jnp.mean(logits_BC**2), (between, logits_BC)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)

    (_, one), own = outputs(scanned, given, first + 1)
    (_, other), whole = outputs(model, moved, last)
    for leaf, same in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_allclose(leaf, same, atol=2e-6)
    gradients = tree.flatten(own)
    for path, leaf in tree.flatten({collection: stacked(leaves) for collection, leaves in whole.items()}).items():
        np.testing.assert_allclose(gradients[path], leaf, atol=2e-6, err_msg=path)


def test_a_scanned_model_draws_each_block_s_leaves_anew(model: Model) -> None:
    if "scan" not in dict(model.settings):
        pytest.skip("its blocks differ in shape")
    leaves = tree.flatten(compiled_init(tiny_model(model.name, scan=True))(0)["params"]["blocks"])
    kernels = [np.asarray(leaf) for path, leaf in leaves.items() if path.endswith("kernel")]
    assert kernels and all(not np.array_equal(*kernel) for kernel in kernels)


@pytest.mark.parametrize("scan", [False, True])
def test_every_role_is_played(model: Model, scan: bool) -> None:
    if scan and "scan" not in dict(model.settings):
        pytest.skip("its blocks differ in shape")
    model = tiny_model(model.name, scan=scan) if scan else model
    played = {role: matching_paths(pattern, model) for role, pattern in model.targets.items()}
    assert all(played.values()) and played.keys() <= ROLES
    assert {"low_rank", "scaled_outputs", "scaled_inputs", "mlp", "blocks"} <= played.keys()
    blocks = {stage for stage in model.stages if stage.startswith("block")}
    assert played["blocks"] == blocks
    # Each block plays its part, and a part of a block lies in that block.
    for role in ("low_rank", "scaled_outputs", "scaled_inputs", "mlp", "attention", "keys", "values"):
        if role in played:
            assert {path.split("/")[0] for path in played[role]} == blocks, role
    assert played["scaled_outputs"].isdisjoint(played["scaled_inputs"])


def test_it_accepts_its_own_settings_and_inputs(model: Model) -> None:
    model.kind.check(dict(model.settings), model.input_shape)
