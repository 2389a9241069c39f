"""Norm tuning: the scales and biases of every model's norms, and what their running statistics do."""

import dataclasses

import pytest
from tiny import adapt, tiny_model

from tlx.models.registry import MODELS

NORMS = {
    "vit": ["block_0/norm1", "block_0/norm2", "block_1/norm1", "block_1/norm2", "pool/norm"],
    "decoder": ["block_0/norm1", "block_0/norm2", "block_1/norm1", "block_1/norm2", "pool/norm"],
    "clip_vision": ["embed/norm", "block_0/norm1", "block_0/norm2", "block_1/norm1", "block_1/norm2", "pool/norm"],
    "clip_text": ["block_0/norm1", "block_0/norm2", "block_1/norm1", "block_1/norm2", "pool/norm"],
    "bert": ["embed/norm", "block_0/norm1", "block_0/norm2", "block_1/norm1", "block_1/norm2"],
    "resnet": [
        "stem/norm1",
        "block_0/norm1",
        "block_0/norm2",
        "block_1/norm1",
        "block_1/norm2",
        "block_1/shortcut_norm",
    ],
    "bit": [*(f"block_{i}/norm{k}" for i in (0, 1) for k in (1, 2, 3)), "pool/norm"],
    "efficientnet": [
        "stem/norm",
        *(f"block_0/{name}_norm" for name in ("depthwise", "project")),
        *(f"block_1/{name}_norm" for name in ("expand", "depthwise", "project")),
        "pool/norm",
    ],
}


@pytest.mark.parametrize("model", sorted(MODELS))
def test_scales_and_biases_of_norms_move_and_the_head(model: str) -> None:
    labels = adapt("norm", tiny_model(model)).labels()
    # The norms of the tiny decoder have scales alone.
    leaves = ("scale",) if model == "decoder" else ("scale", "bias")
    norms = {f"params/{norm}/{leaf}" for norm in NORMS[model] for leaf in leaves}
    assert {path for path, label in labels.items() if label == "train"} == norms
    heads = {path for path in labels if path.startswith("params/head/")}
    assert {path for path, label in labels.items() if label != "frozen"} == norms | heads


def test_running_statistics_follow_the_norms_unless_told_otherwise() -> None:
    adapted = adapt("norm", tiny_model("resnet"))
    assert set(adapted.stat_labels().values()) == {"stats"} and len(adapted.stat_labels()) == 12
    still = dataclasses.replace(adapted, stats="frozen_stats")
    assert set(still.stat_labels().values()) == {"frozen"}
