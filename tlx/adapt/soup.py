"""Model soups: the mean of several tuned trees, of all or of those that help."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from tlx import tree
from tlx.adapt.combining import difference, matched, moved, numbered
from tlx.errors import RuleError


def uniform_soup(trees: Sequence[Any]) -> dict[str, Any]:
    """The mean of all trees.

    Args:
      trees: nested dicts of arrays with the same leaves.

    Returns:
      A tree of the same leaves.

    Raises:
      RuleError: no tree, or trees that differ in a leaf, a shape, a dtype or an integer.

    Source: Wortsman et al. (2022), "Model soups", uniform soup. Computed as the first tree plus the mean
      difference from it, so that a leaf that is equal in all trees keeps its bits.
    """
    kept, floats = matched(numbered("trees", trees))
    soup = {
        path: moved(leaves[0], jnp.mean(jnp.stack([difference(leaves[0], leaf) for leaf in leaves]), axis=0))
        for path, leaves in floats.items()
    }
    return tree.unflatten(kept | soup)


def greedy_soup(
    trees: Sequence[Any], scores: Sequence[float], evaluate: Callable[[dict[str, Any]], float]
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The mean of the trees that, from the best one down, do not make the mean worse.

    Args:
      trees: nested dicts of arrays with the same leaves.
      scores: a held-out score for each tree, higher is better; decides the order only, equal ones in list order.
      evaluate: held-out score of a tree, higher is better; called once for each tree.

    Returns:
      The soup, and the indices of its trees in the order in which they were added. By `evaluate` it is never worse
      than the tree of the highest score.

    Raises:
      RuleError: no tree, a score too many or too few, a score that is not a number, or trees that differ in a leaf,
        a shape, a dtype or an integer.

    Source: Wortsman et al. (2022), "Model soups", recipe 1. As in the text a tree whose addition changes nothing
      stays; the authors' code asks for a gain. The code begins with the best tree's recorded score; here it is
      evaluated once more, so that only scores of one function are compared.
    """
    matched(numbered("trees", trees))
    if len(scores) != len(trees):
        raise RuleError(f"scores: expected one for each of {len(trees)} trees, got {len(scores)}")
    for i, score in enumerate(scores):
        if math.isnan(score):
            raise RuleError(f"scores[{i}]: expected a number, got {score}")
    first, *others = sorted(range(len(trees)), key=lambda i: -scores[i])
    chosen, soup = [first], uniform_soup([trees[first]])
    best = evaluate(soup)
    for i in others:
        larger = uniform_soup([trees[j] for j in [*chosen, i]])
        if (score := evaluate(larger)) >= best:
            chosen, soup, best = [*chosen, i], larger, score
    return soup, tuple(chosen)
