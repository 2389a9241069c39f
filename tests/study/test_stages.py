"""Stages of adapted models of every kind, and the source's head on trunks that may not take it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, batch, compiled_init, pairs, tiny_method, tiny_model, variables

from tlx import artifact, tree
from tlx.adapt.adapted import Adapted
from tlx.progress import Silent
from tlx.sharding import Jit
from tlx.study.beforehand import Ends, plain_leaves, with_head
from tlx.study.context import Context
from tlx.study.spec import Folders, Study
from tlx.study.stages import measured_stages, pass_through


@pytest.fixture(scope="module")
def context(make_study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("stages")
    study = make_study("--config.plan.eval_batch=4")
    return Context(study, Folders(folder, folder), Jit(), {}, {}, Silent())


def check(adapted: Adapted, context: Context) -> None:
    leaves = {name: part for name, part in variables(adapted).items() if name in artifact.OWN}
    x = batch(adapted.model, 6)["input"]
    passed = list(pass_through(adapted, (leaves, leaves), np.asarray(x), context))
    assert [len(one.logits_BC) for one, _ in passed] == [4, 2]
    whole, _ = adapted.apply(leaves, x)
    np.testing.assert_allclose(np.concatenate([one.logits_BC for one, _ in passed]), whole, rtol=1e-4, atol=1e-5)
    widths = [shape.shape[-1] for shape in map(_hidden, adapted.anatomy.outputs[:-1])]
    for one, other in passed:
        assert [feature.shape[1] for feature in one.features] == widths and len(widths) == len(measured_stages(adapted))
        for a, b in zip(one.features, other.features, strict=True):
            np.testing.assert_array_equal(a, b)


def _hidden(flow: Any) -> Any:
    return flow["hidden"] if isinstance(flow, dict) else flow


@pytest.mark.exhaustive
@pytest.mark.parametrize("pair", pairs(sample=True), ids="-".join)
def test_stages_of_every_method(pair: tuple[str, str], context: Context) -> None:
    check(adapt(pair[0], tiny_model(pair[1])), context)


def ends(method: str) -> Ends:
    adapted = adapt(method)
    leaves = {name: part for name, part in variables(adapted).items() if name in artifact.OWN}
    return Ends(adapted, leaves, leaves)


def other_classes(adapted: Adapted, classes: int = 7, **changes: Any) -> tuple[Adapted, dict[str, Any]]:
    model = replace(tiny_model(**changes), num_classes=classes)
    return replace(adapted, model=model), compiled_init(model)(1)["params"]["head"]


def test_a_head_of_other_classes_fits_the_trunk() -> None:
    given = ends("lora")
    adapted, head = other_classes(given.adapted)
    made = with_head(given, adapted, head)
    assert isinstance(made, Ends) and made.adapted.model.num_classes == 7
    for old, new in ((given.before, made.before), (given.after, made.after)):
        flat = tree.flatten(new)
        assert flat["params/head/kernel"].shape[1] == 7
        for path, leaf in tree.flatten(old).items():
            assert path.startswith("params/head/") or flat[path] is leaf


@pytest.mark.parametrize("classes", [3, 7])
def test_a_method_with_a_head_of_its_own_forgets_nothing_that_could_be_scored(classes: int) -> None:
    given = ends("head2toe")
    assert with_head(given, *other_classes(given.adapted, classes)) == "the method has a part of its own in the head"


def test_a_trunk_of_other_shapes_takes_no_head() -> None:
    given = ends("full")
    adapted, head = other_classes(given.adapted, width=8)
    told = with_head(given, adapted, head)
    assert isinstance(told, str) and told.endswith("has another shape in the source's model")


def test_adapters_that_cannot_be_folded_in_are_left_out() -> None:
    given, folded = ends("vpt_shallow"), ends("lora")
    plain, is_whole = plain_leaves(given.adapted, given.after)
    assert not is_whole and plain.keys() == {"params"}
    assert tiny_method("lora").applies("vit")
    moved = {**folded.after, "adapters": _ones(folded.after["adapters"])}
    plain, is_whole = plain_leaves(folded.adapted, moved)
    assert is_whole and "adapters" not in plain
    query = "params/block_0/attention/query/kernel"
    assert not np.array_equal(tree.flatten(plain)[query], tree.flatten(folded.before)[query])


def _ones(adapters: Any) -> Any:
    return tree.unflatten({path: jnp.ones_like(leaf) for path, leaf in tree.flatten(adapters).items()})


def test_the_folder_is_not_written_to(context: Context) -> None:
    assert not list(Path(context.folders.work).iterdir())
