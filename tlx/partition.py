"""One label per leaf, and the split of a parameter tree that the labels decide."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from tlx import tree
from tlx.errors import RuleError

FROZEN = "frozen"

Rules = Sequence[tuple[str, str]]


def label_tree(rules: Rules, variables: Any) -> dict[str, str]:
    """The label of every leaf: the first rule whose pattern matches the whole path wins.

    Args:
      rules: `(pattern, label)` pairs; patterns are regular expressions over "/"-joined paths.
      variables: nested dict of arrays.

    Returns:
      Path to label, in the tree's order.

    Raises:
      RuleError: a leaf that no rule covers, or a rule that decides no leaf.

    >>> label_tree([("head/.*", "head"), (".*", "frozen")], {"head": {"bias": 0.0}, "body": 1.0})
    {'body': 'frozen', 'head/bias': 'head'}
    """
    paths = sorted(tree.flatten(variables))
    labels: dict[str, str] = {}
    used: set[int] = set()
    for path in paths:
        for i, (pattern, label) in enumerate(rules):
            if tree.matches(pattern, path):
                labels[path] = label
                used.add(i)
                break
        else:
            raise RuleError(f"parameter {path!r} is covered by no rule")
    for i, (pattern, label) in enumerate(rules):
        if i not in used:
            hidden = any(tree.matches(pattern, path) for path in paths)
            why = "only parameters that earlier rules decide" if hidden else "no parameter"
            raise RuleError(f"rule {pattern!r} -> {label!r} matches {why}")
    return labels


def kind_of(label: str) -> str:
    """What a label says first: `train@block_0#1` is of the kind `train`.

    >>> kind_of("train@block_0#1"), kind_of("head")
    ('train', 'head')
    """
    return re.split("[@#]", label)[0]


def split_by(variables: Any, which: Callable[[str], int], parts: int) -> tuple[dict[str, Any], ...]:
    """Split a tree into parts that share no leaf.

    Args:
      variables: nested dict of arrays.
      which: path to the index of its part.
      parts: how many there are.

    Returns:
      As many nested dicts, whose union is the tree.
    """
    found: tuple[dict[str, Any], ...] = tuple({} for _ in range(parts))
    for path, leaf in tree.flatten(variables).items():
        found[which(path)][path] = leaf
    return tuple(tree.unflatten(leaves) for leaves in found)


def partition(variables: Any, labels: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a tree into what is trained and what is frozen.

    Args:
      variables: nested dict of arrays.
      labels: a label for every path, from `label_tree`.

    Returns:
      `(trainable, frozen)`: two nested dicts that share no leaf and whose union is the tree.

    >>> partition({"a": 1.0, "b": {"c": 2.0}}, {"a": "frozen", "b/c": "head"})
    ({'b': {'c': 2.0}}, {'a': 1.0})
    """
    trainable, frozen = split_by(variables, lambda path: int(labels[path] == FROZEN), 2)
    return trainable, frozen


def combine(*parts: Any) -> dict[str, Any]:
    """Rejoin what `partition` split.

    Args:
      *parts: nested dicts that share no leaf.

    Returns:
      Their union.

    Raises:
      RuleError: a leaf that stands in two parts.

    >>> combine({"b": {"c": 2.0}}, {"a": 1.0})
    {'a': 1.0, 'b': {'c': 2.0}}
    """
    leaves: dict[str, Any] = {}
    for part in parts:
        for path, leaf in tree.flatten(part).items():
            if path in leaves:
                raise RuleError(f"parameter {path!r} stands in two parts of the tree")
            leaves[path] = leaf
    return tree.unflatten(dict(sorted(leaves.items())))


def trainable_labels(labels: dict[str, str]) -> dict[str, Any]:
    """The labels of the trainable leaves, as a tree shaped like the trainable part.

    Args:
      labels: from `label_tree`.

    Returns:
      Nested dict of labels, as `optax.partition` wants it.
    """
    return tree.unflatten({path: label for path, label in labels.items() if label != FROZEN})


def leading_frozen(labels: dict[str, str], stages: Sequence[str]) -> int:
    """How many stages from the input up hold no trainable leaf: the depth of the cut.

    Args:
      labels: from `label_tree`; paths start with a collection name.
      stages: the model's stage names, input first; a stage's leaves are `COLLECTION/STAGE/...`.

    Returns:
      A depth from 0 (everything trains, or a leaf outside the stages does) to `len(stages)` (nothing does).

    >>> leading_frozen({"params/embed/w": "frozen", "params/head/w": "head"}, ["embed", "head"])
    1
    """
    inside = re.compile(rf"[^/]+/({'|'.join(map(re.escape, stages))})(/.*)?")
    found = [inside.fullmatch(path) for path, label in labels.items() if label != FROZEN]
    depths = [stages.index(match[1]) if match else 0 for match in found]
    return min(depths, default=len(stages))
