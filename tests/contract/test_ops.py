"""What every op of preprocessing promises to the pipeline."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ops_by_name import CLASSES, examples, keys, small

from tlx.data.ops.registry import OPS
from tlx.errors import ConfigError
from tlx.models.inputs import IMAGE, TOKENS

FORMS = [(1, "float32"), (3, "uint8")]
IMAGES = [(name, *form) for name in sorted(OPS) if OPS[name].takes == IMAGE for form in FORMS]
CASES = [*IMAGES, *((name, 0, "int32") for name in sorted(OPS) if OPS[name].takes == TOKENS)]
# Images of 8×6 go in; what is not here keeps its shape and type.
SIDES = {"resize": (5, 5), "center_crop": (5, 5)}
FLOATS = {"mixup", "normalise"}
RANDOM = sorted(name for name in OPS if OPS[name].random)


@functools.cache
def program(name: str) -> Any:
    return jax.jit(small(name))


@functools.cache
def given(name: str, channels: int, dtype: str) -> dict[str, jax.Array]:
    return examples(small(name), channels, jnp.dtype(dtype)) | {"kept": jnp.arange(4)}


@functools.cache
def done(name: str, channels: int, dtype: str, seed: int = 0) -> dict[str, np.ndarray]:
    out = program(name)(given(name, channels, dtype), keys(4, seed))
    return {part: np.asarray(value) for part, value in out.items()}


def whole(name: str) -> tuple[str, int, str]:
    return (name, 3, "uint8") if OPS[name].takes == IMAGE else (name, 0, "int32")


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[part], other[part]) for part in one)


@pytest.mark.parametrize(("name", "channels", "dtype"), CASES)
def test_shapes_types_and_ranges(name: str, channels: int, dtype: str) -> None:
    before, out = given(name, channels, dtype), done(name, channels, dtype)
    x = out["input"]
    if OPS[name].takes == TOKENS:
        assert x.shape == out["label"].shape == before["input"].shape
        assert x.dtype == out["label"].dtype == np.int32
        return
    rows, columns = SIDES.get(name, (8, 6))
    assert x.shape == (4, rows, columns, 3 if name == "channels" else channels)
    assert x.dtype == (np.float32 if name in FLOATS else np.dtype(dtype))
    assert np.isfinite(x).all()
    if name != "normalise" and x.dtype == np.float32:
        assert x.min() >= -1 and x.max() <= 1
    assert out["label"].shape == ((4, CLASSES) if OPS[name].mixes else (4,))
    assert np.array_equal(out["kept"], np.arange(4))


@pytest.mark.parametrize("name", sorted(OPS))
def test_the_same_keys_give_the_same(name: str) -> None:
    again = program(name)(given(*whole(name)), keys(4))
    assert same(again, done(*whole(name)))


@pytest.mark.parametrize("name", sorted(OPS))
def test_other_keys_change_what_is_random_and_nothing_else(name: str) -> None:
    others = [done(*whole(name), seed=seed) for seed in range(1, 4)]
    assert any(not same(done(*whole(name)), other) for other in others) == OPS[name].random


@pytest.mark.parametrize("name", [name for name in RANDOM if not OPS[name].mixes])
def test_an_example_depends_on_its_own_key_alone(name: str) -> None:
    """So that a batch may be divided among devices: neither place nor neighbours matter."""
    batch = given(*whole(name))
    order = np.array([3, 0, 0, 2])
    out = program(name)(jax.tree.map(lambda leaf: leaf[order], batch), keys(4)[order])
    for part, value in done(*whole(name)).items():
        np.testing.assert_array_equal(out[part], value[order], err_msg=part)


@pytest.mark.parametrize("name", RANDOM)
def test_equal_examples_fare_differently(name: str) -> None:
    others = np.array([0, 1, 0, 1]) if OPS[name].mixes else np.zeros(4, int)
    out = program(name)(jax.tree.map(lambda leaf: leaf[others], given(*whole(name))), keys(4))
    assert len({np.asarray(row).tobytes() for row in out["input"]}) > len(set(others))


# Noise is drawn for each channel, so that one and three of them do not compare.
@pytest.mark.parametrize("name", sorted({name for name, *_ in IMAGES} - {"noise", "random_erasing"}))
def test_bytes_and_floats_fare_alike(name: str) -> None:
    """To a level of the 255 there are: what is rounded is rounded once. Nor do gray images care for their channels."""
    batch = given(name, 1, "float32")
    tripled = jnp.repeat(jnp.round(batch["input"] * 127.5 + 127.5).astype(jnp.uint8), 3, axis=-1)
    of_bytes = np.asarray(program(name)(batch | {"input": tripled}, keys(4))["input"][..., :1])
    of_floats = done(name, 1, "float32")["input"][..., :1]
    level = 1 / 127.5 / (0.4 if name == "normalise" else 1)
    as_float = of_bytes / np.float32(127.5) - 1 if of_bytes.dtype == np.uint8 else of_bytes
    np.testing.assert_allclose(as_float, of_floats, atol=1.01 * level)


@pytest.mark.parametrize("name", sorted(OPS))
def test_the_other_kind_of_input_is_refused(name: str) -> None:
    if OPS[name].takes == IMAGE:
        message = f"{name}: takes images, but the inputs are sequences of 12 token ids"
        wrong = jnp.zeros((4, 12), jnp.int32)
    else:
        message, wrong = f"{name}: takes token ids, but the inputs are images of 8×6×1", jnp.zeros((4, 8, 6, 1))
    with pytest.raises(ConfigError) as caught:
        small(name)({"input": wrong, "label": jnp.zeros(4, jnp.int32)}, keys(4))
    assert str(caught.value) == message
    right = examples(small(name))
    with pytest.raises(TypeError, match=f"^{name} does not take float16$"):
        small(name)(right | {"input": right["input"].astype(jnp.float16)}, keys(4))


@pytest.mark.parametrize("name", sorted(OPS))
def test_settings_are_described_and_checked(name: str) -> None:
    op = small(name)
    assert OPS[name].name == name and OPS[name].does and (OPS[name].__doc__ or "").strip()
    assert op == OPS[name](**op.settings()) and hash(op) == hash(small(name))
    for field, rule in op.fields().items():
        assert rule.doc and getattr(op, field) == rule.check(field, getattr(op, field))
        with pytest.raises(ConfigError, match=rf"^{name}\.{field}: expected .*, got None$"):
            OPS[name](**op.settings() | {field: None})
