"""PiSSA: it starts at the best low-rank approximation and is the paper's residual form on an untouched base model."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, batch, compiled_init, differing, tiny_model, variables

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.merging import merge
from tlx.errors import ConfigError

TARGETS = [f"block_{i}/attention/{name}" for i in (0, 1) for name in ("query", "value")]
FACTOR = 3.0 / 2


def pissa(**settings: Any) -> Adapted:
    return adapt("pissa", **{"rank": 2, "alpha": 3.0, **settings})


def moved(adapted: Adapted) -> dict[str, Any]:
    rng, whole = np.random.default_rng(0), variables(adapted)
    sides = tree.flatten(whole["adapters"])
    noise = {path: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32) for path, leaf in sides.items()}
    sides = {path: leaf if path.endswith("0") else leaf + noise[path] for path, leaf in sides.items()}
    return {**whole, "adapters": tree.unflatten(sides)}


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_it_starts_at_the_best_approximation_of_its_rank(rank: int) -> None:
    """What is left over has the energy of the other singular values, and no matrix of this rank leaves less."""
    whole = variables(pissa(rank=rank))
    leaves, sides = tree.flatten(whole["params"]), tree.flatten(whole["adapters"])
    for path in TARGETS:
        kernel_IO = np.asarray(leaves[f"{path}/kernel"], np.float64)
        a_IR, b_RO = (np.asarray(sides[f"{path}/lora_{side}"], np.float64) for side in "ab")
        assert a_IR.shape == (16, rank) and b_RO.shape == (rank, 16)
        singular = np.linalg.svd(kernel_IO, compute_uv=False)
        left = np.sum((kernel_IO - 3.0 / rank * a_IR @ b_RO) ** 2)
        assert left == pytest.approx(np.sum(singular[rank:] ** 2), abs=1e-5)
        # Both sides carry the same share: AᵀA = BBᵀ = diag(S / factor).
        for gram in (a_IR.T @ a_IR, b_RO @ b_RO.T):
            np.testing.assert_allclose(gram, np.diag(singular[:rank] * rank / 3.0), rtol=1e-5, atol=1e-5)


def test_the_copies_equal_the_start_and_the_base_model_is_left_alone() -> None:
    adapted = pissa()
    base = compiled_init(adapted.model)(0)
    whole = variables(adapted)
    assert differing(base["params"], whole["params"]) == set()
    sides = tree.flatten(whole["adapters"])
    assert {path.rpartition("/")[2] for path in sides} == {"lora_a", "lora_b", "lora_a0", "lora_b0"}
    for path in TARGETS:
        for side in "ab":
            assert np.array_equal(sides[f"{path}/lora_{side}"], sides[f"{path}/lora_{side}0"])
    x_BHWC = batch(adapted.model)["input"]
    assert np.array_equal(adapted.apply(whole, x_BHWC)[0], adapted.model.module.apply(base, x_BHWC))
    other = adapted.init_adapters(base, 7)
    assert differing(whole["adapters"], other["adapters"]) == set()


def test_it_is_the_residual_form_of_the_paper() -> None:
    """Outputs and gradients of a model whose kernels are W - s A0 B0 + s A B."""
    adapted = pissa()
    whole, data = moved(adapted), batch(adapted.model)
    start = tree.flatten(variables(adapted)["adapters"])
    residual = dict(tree.flatten(whole["params"]))
    for path in TARGETS:
        residual[f"{path}/kernel"] -= FACTOR * start[f"{path}/lora_a"] @ start[f"{path}/lora_b"]

    def ours(adapters: Any) -> tuple[jax.Array, jax.Array]:
        logits_BC, _ = adapted.apply({**whole, "adapters": adapters}, data["input"])
        return jnp.sum(jnp.sin(logits_BC)), logits_BC

    def paper(adapters: Any) -> tuple[jax.Array, jax.Array]:
        leaves, sides = dict(residual), tree.flatten(adapters)
        for path in TARGETS:
            leaves[f"{path}/kernel"] += FACTOR * sides[f"{path}/lora_a"] @ sides[f"{path}/lora_b"]
        logits_BC = adapted.model.module.apply({"params": tree.unflatten(leaves)}, data["input"])
        return jnp.sum(jnp.sin(logits_BC)), logits_BC

    (_, logits_BC), grads = jax.value_and_grad(ours, has_aux=True)(whole["adapters"])
    (_, expected_BC), wanted = jax.value_and_grad(paper, has_aux=True)(whole["adapters"])
    np.testing.assert_allclose(logits_BC, expected_BC, atol=1e-5)
    for path, want in tree.flatten(wanted).items():
        if not path.endswith("0"):
            assert np.abs(want).max() > 1e-4
            np.testing.assert_allclose(tree.flatten(grads)[path], want, atol=1e-5, err_msg=path)


def test_merging_adds_what_moved() -> None:
    adapted = pissa()
    whole = moved(adapted)
    merged, sides = tree.flatten(merge(adapted, whole).variables["params"]), tree.flatten(whole["adapters"])
    for path in TARGETS:
        a, b, a0, b0 = (np.asarray(sides[f"{path}/lora_{side}"], np.float64) for side in ("a", "b", "a0", "b0"))
        expected = tree.flatten(whole["params"])[f"{path}/kernel"] + FACTOR * (a @ b - a0 @ b0)
        np.testing.assert_allclose(merged[f"{path}/kernel"], expected, atol=1e-6)


def test_a_rank_beyond_the_kernel_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^rank: expected at most 16 for 'block_0/attention/query', got 17"):
        pissa(rank=17).init_adapters(compiled_init(tiny_model())(0), 0)
