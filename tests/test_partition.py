"""One label per leaf: first match wins, every leaf and every rule counts, splits rejoin exactly."""

import doctest
import re
from typing import Any

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tlx.partition
from tlx import tree
from tlx.errors import RuleError
from tlx.partition import combine, kind_of, label_tree, leading_frozen, partition, split_by, trainable_labels

PARAMS = {
    "params": {
        "embed": {"kernel": 1.0, "bias": 2.0},
        "block": {"kernel": 3.0, "bias": 4.0},
        "head": {"kernel": 5.0},
    }
}
STAGES = ("embed", "block", "head")

names = st.text("abc_01", min_size=1, max_size=3)
nested = st.recursive(
    st.integers(), lambda node: st.dictionaries(names, node, min_size=1, max_size=4), max_leaves=12
).filter(lambda value: isinstance(value, dict))


def labels(**by_stage: str) -> dict[str, str]:
    return {f"params/{stage}/kernel": label for stage, label in by_stage.items()}


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(tlx.partition)
    assert result.attempted >= 5 and result.failed == 0


def test_the_first_match_wins() -> None:
    rules = [("params/embed/bias", "bias"), (".*/(embed|head)/.*", "ends"), (".*", "frozen")]
    assert label_tree(rules, PARAMS) == {
        "params/block/bias": "frozen",
        "params/block/kernel": "frozen",
        "params/embed/bias": "bias",
        "params/embed/kernel": "ends",
        "params/head/kernel": "ends",
    }


def test_a_pattern_must_match_the_whole_path() -> None:
    with pytest.raises(RuleError, match="rule 'params/head' -> 'head' matches no parameter"):
        label_tree([("params/head", "head"), (".*", "frozen")], PARAMS)


def test_a_leaf_that_no_rule_covers_is_named() -> None:
    with pytest.raises(RuleError, match=re.escape("parameter 'params/block/bias' is covered by no rule")):
        label_tree([(".*/kernel", "train"), ("params/embed/.*", "frozen")], PARAMS)


def test_a_rule_that_matches_nothing_is_named() -> None:
    with pytest.raises(RuleError, match=re.escape("rule 'params/stem/.*' -> 'frozen' matches no parameter")):
        label_tree([("params/stem/.*", "frozen"), (".*", "train")], PARAMS)


def test_a_rule_in_the_shadow_of_earlier_ones_is_named() -> None:
    expected = "rule 'params/head/.*' -> 'head' matches only parameters that earlier rules decide"
    with pytest.raises(RuleError, match=re.escape(expected)):
        label_tree([(".*", "frozen"), ("params/head/.*", "head")], PARAMS)


def test_a_bad_pattern_is_named() -> None:
    with pytest.raises(RuleError, match=r"'\(head' is not a regular expression"):
        label_tree([("(head", "head")], PARAMS)


def test_the_split_keeps_only_frozen_apart() -> None:
    by_path = label_tree([(".*/bias", "bias"), (".*/block/.*", "train"), (".*", "frozen")], PARAMS)
    trainable, frozen = partition(PARAMS, by_path)
    assert trainable == {"params": {"block": {"bias": 4.0, "kernel": 3.0}, "embed": {"bias": 2.0}}}
    assert frozen == {"params": {"embed": {"kernel": 1.0}, "head": {"kernel": 5.0}}}
    assert trainable_labels(by_path) == {
        "params": {"block": {"bias": "bias", "kernel": "train"}, "embed": {"bias": "bias"}}
    }


@settings(max_examples=100, deadline=None)
@given(whole=nested, data=st.data())
def test_combine_undoes_partition(whole: dict[str, Any], data: st.DataObject) -> None:
    paths = sorted(tree.flatten(whole))
    by_path = {path: data.draw(st.sampled_from(["frozen", "train", "head"])) for path in paths}
    trainable, frozen = partition(whole, by_path)
    assert combine(trainable, frozen) == combine(frozen, trainable) == whole
    assert len(jax.tree.leaves(trainable)) == sum(label != "frozen" for label in by_path.values())
    assert len(jax.tree.leaves(trainable)) + len(jax.tree.leaves(frozen)) == len(paths)
    assert jax.tree.structure(trainable_labels(by_path)) == jax.tree.structure(trainable)


@settings(max_examples=50, deadline=None)
@given(whole=nested, data=st.data())
def test_any_number_of_parts_rejoin(whole: dict[str, Any], data: st.DataObject) -> None:
    part = {path: data.draw(st.integers(0, 2)) for path in sorted(tree.flatten(whole))}
    parts = split_by(whole, part.__getitem__, 3)
    assert [sorted(tree.flatten(one)) for one in parts] == [[p for p in part if part[p] == k] for k in range(3)]
    assert combine(*parts) == whole


@pytest.mark.parametrize(
    ("label", "kind"),
    [("frozen", "frozen"), ("train@block_0", "train"), ("head#2", "head"), ("adapter@lora_b#1", "adapter")],
)
def test_the_kind_of_a_label_is_what_it_says_first(label: str, kind: str) -> None:
    assert kind_of(label) == kind


def test_combine_refuses_a_leaf_that_stands_twice() -> None:
    with pytest.raises(RuleError, match="parameter 'a/b' stands in two parts of the tree"):
        combine({"a": {"b": 1.0}}, {"c": 2.0}, {"a": {"b": 1.0}})


@pytest.mark.parametrize(
    ("by_stage", "depth"),
    [
        ({"embed": "train", "block": "train", "head": "head"}, 0),
        ({"embed": "train", "block": "frozen", "head": "frozen"}, 0),
        ({"embed": "frozen", "block": "train", "head": "frozen"}, 1),
        ({"embed": "frozen", "block": "frozen", "head": "head"}, 2),
        ({"embed": "frozen", "block": "frozen", "head": "frozen"}, 3),
    ],
)
def test_the_cut_lies_below_the_first_trainable_stage(by_stage: dict[str, str], depth: int) -> None:
    assert leading_frozen(labels(**by_stage), STAGES) == depth


def test_an_adapter_ends_the_frozen_stages_as_a_parameter_does() -> None:
    frozen = labels(embed="frozen", block="frozen", head="frozen")
    assert leading_frozen({**frozen, "adapters/block/query/lora_a": "adapter"}, STAGES) == 1


@pytest.mark.parametrize("path", ["adapters/fish/delta", "params/shared/kernel", "batch_stats/norm"])
def test_what_lies_outside_the_stages_may_reach_any_of_them(path: str) -> None:
    frozen = labels(embed="frozen", block="frozen", head="head")
    assert leading_frozen({**frozen, path: "frozen"}, STAGES) == 2
    assert leading_frozen({**frozen, path: "train"}, STAGES) == 0


def test_statistics_that_are_updated_end_the_frozen_stages() -> None:
    frozen = labels(embed="frozen", block="frozen", head="head")
    assert leading_frozen({**frozen, "batch_stats/block/norm1/mean": "stats"}, STAGES) == 1


def test_a_stage_is_not_taken_for_one_whose_name_it_begins() -> None:
    stages = tuple(f"block_{i}" for i in range(12))
    by_path = {f"params/{stage}/kernel": "frozen" for stage in stages}
    assert leading_frozen({**by_path, "params/block_10/kernel": "train"}, stages) == 10


def test_a_stage_without_leaves_or_with_one_bare_leaf() -> None:
    assert leading_frozen({"params/head": "head"}, ["relu", "head"]) == 1
    assert leading_frozen({"params/head": "frozen"}, ["relu", "head"]) == 2
