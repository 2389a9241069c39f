"""Which stages move: their labels and the cut on every model, and what is refused."""

from typing import Any

import pytest
from tiny import adapt, tiny_model

from tlx.errors import ConfigError

BODY = {
    "vit": ("embed", "block_0", "block_1", "pool"),
    "bert": ("embed", "block_0", "block_1", "pool"),
    # A ResNet's pool is a mean: it holds nothing, and nobody counts it.
    "resnet": ("stem", "block_0", "block_1"),
}


def moving(method: str, model: str, **settings: Any) -> tuple[set[str], int]:
    """The stages whose leaves move, each of them wholly or not at all, and the cut."""
    adapted = adapt(method, tiny_model(model), **settings)
    by_stage: dict[str, set[str]] = {}
    for path, label in adapted.labels().items():
        by_stage.setdefault(path.split("/")[1], set()).add(label)
    assert all(len(labels) == 1 for labels in by_stage.values())
    assert by_stage["head"] <= {"head", "frozen"}
    assert all(labels <= {"train", "frozen"} for stage, labels in by_stage.items() if stage != "head")
    return {stage for stage, labels in by_stage.items() if labels != {"frozen"}}, adapted.cut()


@pytest.mark.parametrize("model", sorted(BODY))
def test_the_first_stages_stay(model: str) -> None:
    stages = BODY[model]
    for k in range(len(stages) + 1):
        cut = adapt("head", tiny_model(model)).cut() if k == len(stages) else k
        assert moving("freeze_first", model, k=k) == ({*stages[k:], "head"}, cut)


@pytest.mark.parametrize("model", sorted(BODY))
def test_the_last_stages_move(model: str) -> None:
    stages = BODY[model]
    for k in range(len(stages) + 1):
        cut = len(stages) - k if k else adapt("head", tiny_model(model)).cut()
        assert moving("top", model, k=k) == ({*stages[len(stages) - k :], "head"}, cut)


@pytest.mark.parametrize(
    ("model", "stage", "moves", "cut"),
    [
        ("vit", "", {"embed"}, 0),
        ("resnet", "", {"stem"}, 0),
        ("bert", "block_1", {"block_1"}, 2),
        ("vit", "pool", {"pool"}, 3),
        ("resnet", r"block_\d", {"block_0", "block_1"}, 1),
    ],
)
def test_the_stages_of_one_name_move(model: str, stage: str, moves: set[str], cut: int) -> None:
    assert moving("surgical", model, stage=stage) == (moves | {"head"}, cut)
    assert moving("surgical", model, stage=stage, with_head=False) == (moves, cut)


@pytest.mark.parametrize(
    ("method", "model", "settings", "message"),
    [
        ("freeze_first", "vit", {"k": 5}, "k: expected at most 4, as 'vit' has embed, block_0, block_1, pool before"),
        ("top", "resnet", {"k": 4}, "k: expected at most 3, as 'resnet' has stem, block_0, block_1 before its head"),
        ("surgical", "vit", {"stage": "blok_1"}, r"stage: 'vit' has no stage 'blok_1' .*did you mean 'block_1'\?"),
        ("surgical", "resnet", {"stage": "pool"}, "stage: 'resnet' has no stage 'pool' with parameters"),
        ("surgical", "vit", {"stage": "block_"}, "stage: 'vit' has no stage 'block_' with parameters"),
        ("surgical", "vit", {"stage": "head"}, "stage: 'vit' has no stage 'head' with parameters"),
    ],
)
def test_stages_that_are_not_there_are_refused(method: str, model: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        adapt(method, tiny_model(model), **settings).labels()
