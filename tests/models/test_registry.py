"""Which modules play which role, by model and setting."""

from typing import Any

import flax.linen as nn
import jax
import pytest
from tiny import tiny_model

from tlx.models.registry import MODELS, Model
from tlx.tree import matches


def played(model: Model, role: str) -> set[str]:
    """Paths of the modules that play a role."""
    paths = set()

    def note(layer: Any, args: Any, kwargs: Any, context: Any) -> Any:
        paths.add("/".join(context.module.path))
        return layer(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda: model.init(0))
    return {path for path in paths if matches(model.targets[role], path)}


def in_blocks(*names: str, blocks: tuple[str, ...] = ("block_0", "block_1")) -> set[str]:
    return {f"{block}/{name}" for block in blocks for name in names}


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("vit", "embed"),
        ("bert", "embed/word"),
        ("clip_vision", "embed"),
        ("clip_text", "embed/word"),
        ("decoder", "embed/word"),
    ],
)
@pytest.mark.parametrize("scan", [False, True])
def test_roles_in_transformers(name: str, tokens: str, scan: bool) -> None:
    model = tiny_model(name, scan=scan)
    blocks = ("blocks",) if scan else ("block_0", "block_1")
    expected = {
        "low_rank": in_blocks("attention/query", "attention/value", blocks=blocks),
        "scaled_outputs": in_blocks("attention/key", "attention/value", blocks=blocks),
        "scaled_inputs": in_blocks("mlp/down", blocks=blocks),
        "attention": in_blocks("attention", blocks=blocks),
        "mlp": in_blocks("mlp", blocks=blocks),
        "keys": in_blocks("attention/key", blocks=blocks),
        "values": in_blocks("attention/value", blocks=blocks),
        "tokens": {tokens},
        "blocks": set(blocks),
    }
    if MODELS[name].takes == "tokens":
        expected["positions"] = {"embed/position"}
    assert {role: played(model, role) for role in model.targets} == expected


@pytest.mark.parametrize("bottleneck", [False, True])
def test_roles_in_residual_networks(bottleneck: bool) -> None:
    model = tiny_model("resnet", bottleneck=bottleneck)
    inner = ("conv1", "conv2") if bottleneck else ("conv1",)
    last = 3 if bottleneck else 2
    # A bottleneck widens at its end, so that its first block needs a shortcut of its own.
    shortcuts = {"block_0/shortcut", "block_1/shortcut"} if bottleneck else {"block_1/shortcut"}
    assert {role: played(model, role) for role in model.targets} == {
        "low_rank": in_blocks(*inner, f"conv{last}") | shortcuts,
        "scaled_outputs": in_blocks(*inner),
        "scaled_inputs": in_blocks(f"conv{last}"),
        "mlp": in_blocks(f"norm{last}"),
        "blocks": {"block_0", "block_1"},
    }


def test_roles_in_bit() -> None:
    model = tiny_model("bit")
    assert {role: played(model, role) for role in model.targets} == {
        "low_rank": in_blocks("conv1", "conv2", "conv3", "shortcut"),
        "scaled_outputs": in_blocks("conv1", "conv2"),
        "scaled_inputs": in_blocks("conv3"),
        "mlp": in_blocks("conv3"),
        "blocks": {"block_0", "block_1"},
    }


def test_roles_in_efficientnets() -> None:
    model = tiny_model("efficientnet")
    assert {role: played(model, role) for role in model.targets} == {
        # The first level's blocks do not expand.
        "low_rank": in_blocks("project") | {"block_1/expand"},
        "scaled_outputs": in_blocks("depthwise"),
        "scaled_inputs": in_blocks("project"),
        "mlp": in_blocks("project_norm"),
        "blocks": {"block_0", "block_1"},
    }


def test_what_the_kinds_say_of_their_inputs() -> None:
    found = {name: (kind.takes, tiny_model(name).class_tokens) for name, kind in MODELS.items()}
    assert found == {
        "vit": ("image", 0),
        "bert": ("tokens", 1),
        "decoder": ("tokens", 0),
        "clip_vision": ("image", 1),
        "clip_text": ("tokens", 0),
        "resnet": ("image", 0),
        "bit": ("image", 0),
        "efficientnet": ("image", 0),
    }
    assert {name for name, kind in MODELS.items() if not kind.folds} == {"bit"}
