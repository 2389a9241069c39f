"""Labels of tokens: what is hidden, how often, and what follows what."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ops_by_name import VOCAB, keys, small

from tlx.errors import ConfigError
from tlx.losses import UNSCORED

SPECIAL = (0, 2, 3)
MASK = 4


def sentences(size: int, length: int) -> np.ndarray:
    """Ids of words, between a beginning and an end, then padding."""
    id_BT = np.random.default_rng(0).integers(5, VOCAB, (size, length)).astype(np.int32)
    id_BT[:, 0], id_BT[:, -6], id_BT[:, -5:] = 2, 3, 0
    return id_BT


@functools.cache
def program(**settings: Any) -> Any:
    return jax.jit(small("mask_tokens", probability=0.15, **settings))


def hidden(id_BT: np.ndarray, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    batch = {"input": jnp.asarray(id_BT), "label": jnp.zeros(len(id_BT), jnp.int32)}
    out = program(**settings)(batch, keys(len(id_BT)))
    return np.asarray(out["input"]), np.asarray(out["label"])


def near(count: int, of: int, rate: float) -> bool:
    """Within four standard deviations of a binomial."""
    return abs(count - of * rate) < 4 * np.sqrt(of * rate * (1 - rate))


def test_the_rates_are_those_of_bert() -> None:
    id_BT = sentences(400, 64)
    new_BT, label_BT = hidden(id_BT)
    words = ~np.isin(id_BT, SPECIAL)
    chosen = label_BT != UNSCORED
    assert not chosen[~words].any() and near(chosen.sum(), words.sum(), 0.15)
    assert np.array_equal(label_BT[chosen], id_BT[chosen])
    assert np.array_equal(new_BT[~chosen], id_BT[~chosen])
    masked = new_BT[chosen] == MASK
    kept = new_BT[chosen] == id_BT[chosen]
    assert near(masked.sum(), chosen.sum(), 0.8 + 0.1 / VOCAB)
    assert near(kept.sum(), chosen.sum(), 0.1 + 0.1 / VOCAB)
    others = new_BT[chosen][~masked & ~kept]
    assert others.min() >= 0 and others.max() < VOCAB and len(np.unique(others)) > 0.8 * VOCAB


def test_all_that_is_chosen_may_become_the_mask() -> None:
    id_BT = sentences(400, 64)
    new_BT, label_BT = hidden(id_BT, masked=1.0, replaced=0.0)
    assert np.array_equal(new_BT == MASK, label_BT != UNSCORED)
    # What is chosen does not depend on what becomes of it.
    assert np.array_equal(label_BT, hidden(id_BT)[1])


def test_a_mask_that_is_there_already_is_not_chosen() -> None:
    id_BT = np.full((400, 64), MASK, np.int32)
    new_BT, label_BT = hidden(id_BT)
    assert np.array_equal(new_BT, id_BT) and (label_BT == UNSCORED).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocab": -1}, "vocab: expected the size of the tokenizer's vocabulary, an integer ≥ 2"),
        ({"mask": -1}, "mask: expected an id below 50, got -1"),
        ({"mask": 50}, "mask: expected an id below 50, got 50"),
        ({"special": (0, 50)}, "special[1]: expected an id below 50, got 50"),
        ({"special": (0, -1)}, "special[1]: expected an integer ≥ 0, got -1"),
        ({"special": (0, 0)}, "special[1]: 0 stands here twice"),
        ({"replaced": 0.3}, "replaced: expected at most 0.2, what is not masked"),
        ({"probability": 15}, "probability: expected a number from 0 to 1, got 15.0"),
    ],
)
def test_masking_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small("mask_tokens", **settings)
    assert str(caught.value) == f"mask_tokens.{message}"


def following(id_BT: Any, pad: int = 0, **more: Any) -> list[list[int]]:
    batch = {"input": jnp.asarray(id_BT, jnp.int32)} | {name: jnp.asarray(value) for name, value in more.items()}
    return small("next_token", pad=pad)(batch, keys(len(id_BT)))["label"].tolist()


def test_the_label_is_the_next_token_and_padding_none() -> None:
    assert following([[5, 6, 7, 8], [5, 6, 0, 0]]) == [[6, 7, 8, -1], [6, -1, -1, -1]]
    assert following([[5, 0, 7]], pad=-1) == [[0, 7, -1]]


def test_a_packed_sequence_ends_at_its_last_token() -> None:
    id_BT, segment_BT = [[5, 6, 7, 8, 9, 1, 1]], [[1, 1, 2, 2, 2, 0, 0]]
    assert following(id_BT, pad=-1, segment=segment_BT) == [[6, -1, 8, 9, -1, -1, -1]]
