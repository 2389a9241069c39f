"""Where a head reads the first token alone, the last block computes no other: the same numbers for less."""

import functools
from typing import Any

import jax
import numpy as np
import pytest
from formulas import randomised
from tiny import adapt, batch, tiny_model

from tlx import tree
from tlx.adapt.registry import METHODS
from tlx.models.registry import Model

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit", {"pool": "class"}),
    "vit remat": ("vit", {"pool": "class", "remat": True}),
    "clip_vision": ("clip_vision", {}),
    "bert": ("bert", {}),
    "bert without pooler": ("bert", {"pool": "first_token", "after_pad": True}),
}
# Those that read or move other tokens, or stand in the last block, one of each kind.
QUICK = ("prompt", "ladder", "parallel")
THOROUGH = (
    *("lora", "prefix", "vpt_deep", "vpt_shallow", "ptuning_v2"),
    *("houlsby", "ssf", "ia3", "compacter", "head2toe", "side", "dora", "bitfit"),
)


def model_of(name: str) -> Model:
    kind, changes = MODELS[name]
    return tiny_model(kind, **changes)


@functools.cache
def leaves_of(model: Model) -> dict[str, Any]:
    return randomised(model.module, model.example())


def in_two(model: Model, variables: Any, x: Any) -> Any:
    """The logits, by way of all that flows out of the last block."""
    pool = model.stages.index("pool")
    return model.module.apply(variables, model.module.apply(variables, x, 0, pool), pool)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("vit", "bert") else pytest.mark.thorough) for name in MODELS]
)
def test_one_pass_gives_the_logits_and_gradients_of_two(name: str) -> None:
    model = model_of(name)
    variables, x = leaves_of(model), batch(model, 3)["input"]

    def with_loss(run: Any) -> Any:
        def loss(v: Any) -> Any:
            logits = run(v)
            return (logits**2).sum(), logits

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)

    (_, one), grads = with_loss(lambda v: model.module.apply(v, x))
    (_, two), others = with_loss(lambda v: in_two(model, v, x))
    np.testing.assert_allclose(one, two, atol=2e-5)
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(others))
    for path, leaf in tree.flatten(others).items():
        np.testing.assert_allclose(tree.flatten(grads)[path], leaf, rtol=0, atol=1e-5 * largest, err_msg=path)


@pytest.mark.parametrize(("name", "share"), [("vit", 0.75), ("clip_vision", 0.75), ("bert", 0.75)])
def test_one_pass_costs_less(name: str, share: float) -> None:
    kind, changes = MODELS[name]
    # Wide, so that what each token costs outweighs the rest.
    model = tiny_model(kind, **changes, width=64, hidden=256)
    shapes = (jax.eval_shape(model.init, 0), model.example(8))

    def flops(run: Any) -> float:
        return float(jax.jit(run).lower(*shapes).compile().cost_analysis()["flops"])

    assert flops(model.module.apply) < share * flops(functools.partial(in_two, model))


def test_where_every_token_is_read_every_token_is_computed() -> None:
    for model in (tiny_model("vit", pool="mean"), tiny_model("bert", pool="mean"), tiny_model("bert", scan=True)):
        variables, x = leaves_of(model), batch(model, 3)["input"]
        np.testing.assert_allclose(model.module.apply(variables, x), in_two(model, variables, x), atol=1e-6)


@pytest.mark.parametrize("name", ["vit", "bert"])
@pytest.mark.parametrize("method", [*QUICK, *(pytest.param(method, marks=pytest.mark.thorough) for method in THOROUGH)])
def test_methods_see_no_difference(method: str, name: str) -> None:
    adapted = adapt(method, model_of(name))
    pool = adapted.model.stages.index("pool")
    shapes, rng = tree.flatten(adapted.abstract()), np.random.default_rng(1)
    drawn = {p: np.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype) for p, leaf in shapes.items()}
    variables, x = tree.unflatten(drawn), batch(adapted.model, 3)["input"]

    @jax.jit
    def both(variables: Any) -> Any:
        between, _ = adapted.apply(variables, x, last=pool)
        return adapted.apply(variables, x)[0], adapted.apply(variables, between, first=pool)[0]

    one, two = both(variables)
    np.testing.assert_allclose(one, two, atol=5e-5)


def test_every_method_that_adds_to_a_model_is_tried() -> None:
    adding = {name for name, method in METHODS.items() if method.interceptor or method.around}
    alike = {"rslora", "lora_plus", "pissa", "vera", "adalora", "pfeiffer", "adaptformer"}
    assert adding <= {*QUICK, *THOROUGH, *alike}
