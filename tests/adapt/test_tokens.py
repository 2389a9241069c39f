"""Tokens that join a sequence and leave it again, and means over positions."""

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_model

from tlx.adapt import tokens
from tlx.errors import ConfigError

FLOW = {"hidden": jnp.arange(12.0).reshape(2, 3, 2), "mask": jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])}


def test_vectors_stand_where_they_were_put_and_may_be_attended_to() -> None:
    new_BPD = tokens.each(jnp.array([[-1.0, -2.0], [-3.0, -4.0]]), FLOW["hidden"])
    flow = tokens.inserted(FLOW, new_BPD, 1)
    assert flow["hidden"][1].tolist() == [[6, 7], [-1, -2], [-3, -4], [8, 9], [10, 11]]
    assert flow["mask"].tolist() == [[1, 1, 1, 1, 0], [0, 1, 1, 0, 0]]
    np.testing.assert_array_equal(tokens.inserted(FLOW["hidden"], new_BPD, 1), flow["hidden"])
    back = tokens.without(flow, 1, 2)
    np.testing.assert_array_equal(back["hidden"], FLOW["hidden"])
    np.testing.assert_array_equal(back["mask"], FLOW["mask"])


def test_vectors_take_the_tokens_dtype() -> None:
    half_BTD = FLOW["hidden"].astype(jnp.bfloat16)
    joined = tokens.inserted(half_BTD, tokens.each(jnp.ones((2, 2)), half_BTD), 0)
    assert joined.dtype == jnp.bfloat16 and joined.shape == (2, 5, 2)


def test_means_leave_pads_out_and_a_row_of_pads_is_zero() -> None:
    assert tokens.mean(FLOW).tolist() == [[1, 2], [0, 0]]
    x_BHWC = jnp.arange(8.0).reshape(1, 2, 2, 2)
    assert tokens.mean(x_BHWC).tolist() == [[3, 4]]


def test_tokens_that_join_need_positions() -> None:
    bert = tiny_model("bert")
    tokens.check_room(bert, 10, 6)
    tokens.check_room(tiny_model("vit"), 10_000, 6)
    with pytest.raises(ConfigError, match=r"^length: expected at most 10 for 16 positions and 6 tokens, got 11"):
        tokens.check_room(bert, 11, 6)
