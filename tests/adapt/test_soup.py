"""Model soups: the mean of all, and the mean of those that help."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import differing

from tlx.adapt.soup import greedy_soup, uniform_soup
from tlx.errors import RuleError

ordinary = st.floats(-1e3, 1e3, width=32)
vectors = st.lists(ordinary, min_size=3, max_size=3)


def point(*values: float) -> dict[str, Any]:
    return {"params": {"w": jnp.array(values, jnp.float32)}}


def near(target: float) -> Any:
    """A score that is highest, at zero, where the weight is the target."""
    return lambda soup: -abs(float(soup["params"]["w"][0]) - target)


def test_uniform_by_hand() -> None:
    soup = uniform_soup([point(1, 2), point(3, -2), point(8, 6)])
    assert soup["params"]["w"].tolist() == [4.0, 2.0]


@settings(max_examples=40, deadline=None)
@given(members=st.lists(vectors, min_size=1, max_size=5))
def test_uniform_is_the_mean(members: list[list[float]]) -> None:
    soup = uniform_soup([point(*values) for values in members])
    want = np.mean(np.array(members, np.float64), axis=0)
    atol = (len(members) + 2) * 2**-24 * 2 * max(1e-30, np.abs(members).max())
    np.testing.assert_allclose(soup["params"]["w"], want, rtol=0, atol=atol)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
    count=st.integers(1, 7),
)
def test_a_soup_of_equal_trees_is_that_tree_bit_for_bit(values: list[float], count: int) -> None:
    assert differing(point(*values), uniform_soup([point(*values)] * count)) == set()


def test_sums_do_not_overflow_half_precision() -> None:
    large = {"w": jnp.array([60000.0, 60000.0], jnp.float16)}
    other = {"w": jnp.array([60000.0, -60000.0], jnp.float16)}
    assert uniform_soup([large, other, large, other])["w"].tolist() == [60000.0, 0.0]


def test_greedy_by_hand() -> None:
    """Target 3: alone -3, -1, -7. From 4: with 0 the mean is 2, as good, so it stays; with 10 it is 14/3, worse."""
    members = [point(0), point(4), point(10)]
    soup, chosen = greedy_soup(members, [-3.0, -1.0, -7.0], near(3))
    assert chosen == (1, 0)
    assert soup["params"]["w"].tolist() == [2.0]


def test_greedy_goes_on_after_a_tree_that_does_not_help() -> None:
    """Target 5: from 6, 12 makes 9, worse; 2 makes 4, as good; 9 then makes 17/3, better; 5 makes 5.5, better."""
    members = [point(2), point(12), point(6), point(9), point(5)]
    soup, chosen = greedy_soup(members, [3.0, 4.0, 5.0, 2.0, 1.0], near(5))
    assert chosen == (2, 0, 3, 4)
    assert soup["params"]["w"].tolist() == [5.5]


def test_greedy_compares_with_the_soup_so_far_not_with_the_first_tree() -> None:
    """Target 0: 4, then 0 (mean 2), then 7 (11/3): better than 4 alone, worse than 2."""
    soup, chosen = greedy_soup([point(4), point(0), point(7)], [3.0, 2.0, 1.0], near(0))
    assert chosen == (0, 1) and soup["params"]["w"].tolist() == [2.0]


def test_scores_decide_the_order_only() -> None:
    members = [point(0), point(4), point(10)]
    plain, percent = (greedy_soup(members, scores, near(3)) for scores in ([-3.0, -1.0, -7.0], [60.0, 99.0, 1.0]))
    assert plain[1] == percent[1] == (1, 0)
    assert greedy_soup(members, [1.0, 1.0, 1.0], lambda soup: 0.0)[1] == (0, 1, 2)
    assert greedy_soup(members, [1.0, 2.0, 2.0], lambda soup: 0.0)[1] == (1, 2, 0)


def test_every_candidate_is_evaluated_once() -> None:
    seen: list[float] = []

    def evaluate(soup: dict[str, Any]) -> float:
        seen.append(float(soup["params"]["w"][0]))
        return near(3)(soup)

    greedy_soup([point(0), point(4), point(10)], [-3.0, -1.0, -7.0], evaluate)
    np.testing.assert_allclose(seen, [4.0, 2.0, 14 / 3], rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(members=st.lists(vectors, min_size=1, max_size=6), target=vectors)
def test_greedy_is_never_worse_than_the_best_tree(members: list[list[float]], target: list[float]) -> None:
    def evaluate(soup: dict[str, Any]) -> float:
        return -float(np.linalg.norm(np.asarray(soup["params"]["w"], np.float64) - target))

    trees = [point(*values) for values in members]
    scores = [evaluate(each) for each in trees]
    soup, chosen = greedy_soup(trees, scores, evaluate)
    assert evaluate(soup) >= max(scores)
    assert scores[chosen[0]] == max(scores)
    assert len(set(chosen)) == len(chosen) and set(chosen) <= set(range(len(trees)))
    assert [scores[i] for i in chosen] == sorted((scores[i] for i in chosen), reverse=True)
    assert differing(uniform_soup([trees[i] for i in chosen]), soup) == set()


def test_a_diverged_tree_is_left_out() -> None:
    broken = point(np.nan)
    soup, chosen = greedy_soup([point(4), broken, point(2)], [3.0, 2.0, 1.0], near(3))
    assert chosen == (0, 2) and soup["params"]["w"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1.0], r"^scores: expected one for each of 2 trees, got 1$"),
        ([1.0, 2.0, 3.0], r"^scores: expected one for each of 2 trees, got 3$"),
        ([1.0, float("nan")], r"^scores\[1\]: expected a number, got nan$"),
    ],
)
def test_wrong_scores_are_refused(scores: list[float], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        greedy_soup([point(0), point(1)], scores, near(0))


def test_trees_are_compared_before_anything_is_evaluated() -> None:
    def evaluate(soup: dict[str, Any]) -> float:
        raise AssertionError("evaluated")

    with pytest.raises(RuleError, match=r"trees\[1\] has no parameter 'params/w'"):
        greedy_soup([point(0), {"params": {"v": jnp.zeros(1)}}], [2.0, 1.0], evaluate)
