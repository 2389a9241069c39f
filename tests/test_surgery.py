"""From a source tree to a target tree: copied, reset on purpose, or an error that names the leaf."""

import re
from typing import Any

import jax
import numpy as np
import pytest

from tlx import tree
from tlx.errors import RuleError
from tlx.surgery import transplant

SHAPES = {
    "params/block/bias": (3,),
    "params/block/kernel": (2, 3),
    "params/head/bias": (4,),
    "params/head/kernel": (3, 4),
}
HEAD = ["params/head/.*"]


def make(seed: int, **shapes: tuple[int, ...]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {path: rng.normal(size=shape).astype(np.float32) for path, shape in {**SHAPES, **shapes}.items()}


def source() -> dict[str, Any]:
    return make(0)


def target() -> dict[str, Any]:
    """As the source, with a head of two classes instead of four."""
    return make(1, **{"params/head/bias": (2,), "params/head/kernel": (3, 2)})


def apply(old: dict[str, Any], new: dict[str, Any], reset: list[str]) -> Any:
    return transplant(tree.unflatten(old), tree.unflatten(new), reset)


def refusal(old: dict[str, Any], new: dict[str, Any], reset: list[str]) -> str:
    with pytest.raises(RuleError) as caught:
        apply(old, new, reset)
    return str(caught.value)


def test_values_are_the_sources_bit_for_bit() -> None:
    old, new = source(), target()
    grown, _ = apply(old, new, HEAD)
    leaves = tree.flatten(grown)
    assert list(leaves) == sorted(SHAPES)
    for path, leaf in leaves.items():
        expected = new[path] if path.startswith("params/head/") else old[path]
        assert leaf.tobytes() == expected.tobytes() and leaf.shape == expected.shape and leaf.dtype == np.float32
    assert jax.tree.structure(grown) == jax.tree.structure(tree.unflatten(new))


def test_the_report_accounts_for_both_trees() -> None:
    old, new = source(), target()
    old["params/teacher/kernel"] = np.zeros((2, 2), np.float32)
    new["params/block/scale"] = np.ones(3, np.float32)
    _, report = apply(old, new, [*HEAD, "params/teacher/.*", ".*/scale"])
    assert report.copied == ("params/block/bias", "params/block/kernel")
    assert report.reset == ("params/block/scale", "params/head/bias", "params/head/kernel")
    assert report.left_out == ("params/head/bias", "params/head/kernel", "params/teacher/kernel")
    assert {*report.copied, *report.reset} == new.keys() and not {*report.copied} & {*report.reset}
    assert {*report.copied, *report.left_out} == old.keys() and not {*report.copied} & {*report.left_out}
    assert report.copied_params == 3 + 6 and report.total_params == 3 + 6 + 3 + 2 + 6


def test_without_reset_rules_everything_is_copied() -> None:
    grown, report = apply(source(), make(1), [])
    assert tree.digest(grown) == tree.digest(tree.unflatten(source()))
    assert len(report.copied) == 4 and report.reset == report.left_out == ()
    assert report.line() == "copied 4 leaves (100.0% of 25 parameters), reset none, left out none"


def test_a_report_is_plain_data_and_one_line() -> None:
    _, report = apply(source(), target(), HEAD)
    assert report.as_dict() == {
        "copied": ["params/block/bias", "params/block/kernel"],
        "reset": ["params/head/bias", "params/head/kernel"],
        "left_out": ["params/head/bias", "params/head/kernel"],
        "copied_params": 9,
        "total_params": 17,
    }
    head = "params/head/bias, params/head/kernel"
    assert report.line() == f"copied 2 leaves (52.9% of 17 parameters), reset {head}, left out {head}"


@pytest.mark.parametrize("path", SHAPES)
def test_a_leaf_the_source_lacks_is_named(path: str) -> None:
    old = source()
    del old[path]
    message = refusal(old, make(1), [])
    assert message.startswith(f"the source has no parameter {path!r}") and "\n" not in message


@pytest.mark.parametrize("path", SHAPES)
def test_a_leaf_the_target_lacks_is_named(path: str) -> None:
    new = make(1)
    del new[path]
    message = refusal(source(), new, [])
    assert message.startswith(f"the target has no parameter {path!r}") and "\n" not in message


def test_a_renamed_leaf_is_named_with_its_likely_other_name() -> None:
    old = source()
    old["params/block/weight"] = old.pop("params/block/kernel")
    assert "no parameter 'params/block/kernel' (did you mean 'params/block/weight'?)" in refusal(old, make(1), [])


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("shape", [(5,), (3, 2), (1, 2, 3), ()])
def test_a_reshaped_leaf_is_named_with_both_shapes(path: str, shape: tuple[int, ...]) -> None:
    old = make(0, **{path: shape})
    expected = f"{path!r} has shape {shape} in the source and {SHAPES[path]} in the target"
    assert refusal(old, make(1), []) == expected


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_a_recast_leaf_is_named_with_both_types(path: str, dtype: type) -> None:
    old = source()
    old[path] = old[path].astype(dtype)
    assert refusal(old, make(1), []) == f"{path!r} is {np.dtype(dtype)} in the source and float32 in the target"


def test_a_head_of_other_size_must_be_reset() -> None:
    assert "'params/head/bias' has shape (4,) in the source and (2,) in the target" in refusal(source(), target(), [])


@pytest.mark.parametrize("pattern", ["params/stem/.*", "params/head", "head/.*"])
def test_a_reset_rule_that_matches_nothing_is_named(pattern: str) -> None:
    with pytest.raises(RuleError, match=re.escape(f"reset rule {pattern!r} matches no parameter")):
        apply(source(), target(), [*HEAD, pattern])
