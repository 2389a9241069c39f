import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import first
from tiny import TINY_MODELS, tiny_model

from tlx.adapt.adapted import Adapted
from tlx.models.registry import MODELS, Model

KEY = jax.random.key(3)
WITH_DROPOUT = sorted(name for name in TINY_MODELS if "dropout" in MODELS[name].fields)


def with_rate(model: Model, rate: float) -> Model:
    settings = dict(model.settings) | {"dropout": rate}
    return Model(model.name, tuple(sorted(settings.items())), model.num_classes, model.input_shape)


@pytest.mark.parametrize("name", first(1, sorted(WITH_DROPOUT, key=lambda name: name != "vit")))
def test_a_traced_rate_drops_what_a_fixed_one_drops(name: str) -> None:
    plain = with_rate(tiny_model(name), 0.0)
    # A head of zeros would hide everything.
    variables, x = jax.tree.map(lambda leaf: leaf + 0.05, plain.init(0)), plain.example(2)

    @jax.jit
    def at(rate: jax.Array) -> jax.Array:
        return Adapted(plain, "full", ()).apply(variables, x, train=True, rng=KEY, dropout=rate)[0]

    def fixed(rate: float) -> jax.Array:
        return Adapted(with_rate(plain, rate), "full", ()).apply(variables, x, train=True, rng=KEY)[0]

    for rate in (0.0, 0.4):
        np.testing.assert_allclose(at(jnp.float32(rate)), fixed(rate), rtol=2e-4, atol=2e-5)
    assert not np.allclose(at(jnp.float32(0.0)), at(jnp.float32(0.4)), rtol=1e-3)


def test_one_program_serves_every_rate() -> None:
    model = with_rate(tiny_model("vit"), 0.0)
    variables, x, made = model.init(0), model.example(), []

    def forward(rate: jax.Array) -> jax.Array:
        made.append(rate)
        return Adapted(model, "full", ()).apply(variables, x, train=True, rng=KEY, dropout=rate)[0]

    logits = jax.vmap(forward)(jnp.array([0.0, 0.3, 0.6], jnp.float32))
    assert len(made) == 1 and len({float(one) for one in logits[:, 0, 0]}) == 3


def test_dropout_is_for_training_alone() -> None:
    model = tiny_model("vit")
    adapted, variables, x = Adapted(model, "full", ()), model.init(0), model.example()
    plain = adapted.apply(variables, x)[0]
    np.testing.assert_array_equal(adapted.apply(variables, x, dropout=jnp.float32(0.9))[0], plain)
