"""Settings small enough for tests, one entry per registered method, and what each promises."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tlx.models.registry import Model

HEAD = "params/head/.*"
ADAPTERS = "(params/head|adapters)/.*"
CONVOLUTIONAL = ("resnet", "bit", "efficientnet")


@dataclass(frozen=True)
class TinyMethod:
    """What is known of a method.

    Args:
      moves: model to a pattern for the leaves that the method promises to move at some time.
      cut: model to the number of stages it leaves alone.
      settings: model to settings that differ from the defaults.
      applies: name of a model to whether the method can adapt it.
    """

    moves: Callable[[Model], str]
    cut: Callable[[Model], int]
    settings: Callable[[Model], dict[str, Any]] = lambda model: {}
    applies: Callable[[str], bool] = lambda model: True


def last(model: Model) -> int:
    """The cut of a method that trains nothing below the head."""
    return len(model.stages) - 1


def has_dense_layers(model: str) -> bool:
    """Whether the model has dense layers below the head."""
    return model not in CONVOLUTIONAL


def has_tokens(model: str) -> bool:
    """Whether the model is a transformer."""
    return model not in CONVOLUTIONAL


def norms_below(model: Model) -> bool:
    """Whether the first stage has a norm."""
    return model.name not in ("vit", "bit", "clip_text", "decoder")


def above_all(model: Model) -> dict[str, str]:
    """A target that names the first stage, for adapters where it has no norm that moves."""
    first = {"vit": "embed", "bit": "stem/conv1"}.get(model.name, "embed/dropout")
    last = r"block_\d+/conv3" if model.name == "bit" else ".*/mlp"
    return {} if norms_below(model) else {"target": f"{first}|{last}"}


TINY_METHODS = {
    "full": TinyMethod(lambda model: "params/.*", lambda model: 0),
    "freeze": TinyMethod(
        lambda model: f"params/({'|'.join(model.stages[2:])})/.*",
        lambda model: 2,
        lambda model: {"frozen": (f"params/({'|'.join(model.stages[:2])})/.*",)},
    ),
    "head": TinyMethod(lambda model: HEAD, last),
    "probe": TinyMethod(lambda model: HEAD, last),
    "lora": TinyMethod(lambda model: ADAPTERS, lambda model: 1, lambda model: {"rank": 2, "alpha": 4.0}),
    "rslora": TinyMethod(lambda model: ADAPTERS, lambda model: 1, lambda model: {"rank": 2, "alpha": 4.0}),
    "lora_plus": TinyMethod(lambda model: ADAPTERS, lambda model: 1, lambda model: {"rank": 2, "alpha": 4.0}),
    "dora": TinyMethod(lambda model: ADAPTERS, lambda model: 1, lambda model: {"rank": 2, "alpha": 4.0}),
    "pissa": TinyMethod(
        lambda model: "(params/head/.*|adapters/.*/lora_[ab])",
        lambda model: 1,
        lambda model: {"rank": 2, "alpha": 4.0},
        applies=has_dense_layers,
    ),
    "vera": TinyMethod(
        lambda model: "(params/head/.*|adapters/.*/vera_[db])",
        lambda model: 1,
        lambda model: {"rank": 24},
        applies=has_dense_layers,
    ),
    "adalora": TinyMethod(
        lambda model: ADAPTERS,
        lambda model: 1,
        lambda model: {"rank": 3, "target_rank": 2, "every": 2},
        applies=has_dense_layers,
    ),
    "ia3": TinyMethod(lambda model: ADAPTERS, lambda model: 1),
    # Tables of words and positions have no outputs of a layer to scale.
    "ssf": TinyMethod(lambda model: ADAPTERS, lambda model: 1 if model.name in ("clip_text", "decoder") else 0),
    "houlsby": TinyMethod(
        lambda model: f"{ADAPTERS}|params/.*norm.*",
        lambda model: 0 if norms_below(model) else 1,
        lambda model: {"reduction": 4, "std": 0.5},
    ),
    "pfeiffer": TinyMethod(lambda model: ADAPTERS, lambda model: 1, lambda model: {"reduction": 4, "std": 0.5}),
    "parallel": TinyMethod(lambda model: ADAPTERS, lambda model: 1),
    "adaptformer": TinyMethod(lambda model: ADAPTERS, lambda model: 1, lambda model: {"bottleneck": 2}),
    "compacter": TinyMethod(
        lambda model: f"{ADAPTERS}|params/.*norm.*",
        lambda model: 0,
        # The shared factors lie outside the stages, so the cut is 0; where the first stage has no norm, only adapters
        # move it.
        lambda model: {"n": 2, "reduction": 2 if model.name in CONVOLUTIONAL else 4, "std": 0.3, **above_all(model)},
    ),
    "freeze_first": TinyMethod(lambda model: f"params/({'|'.join(model.stages[1:])})/.*", lambda model: 1),
    "top": TinyMethod(
        lambda model: f"params/({'|'.join(model.stages[2:])})/.*",
        lambda model: 2,
        # The pool of a ResNet holds no parameters and is not counted.
        lambda model: {"k": 1 if model.name == "resnet" else 2},
    ),
    "surgical": TinyMethod(
        lambda model: "params/(block_0|head)/.*", lambda model: 1, lambda model: {"stage": "block_0"}
    ),
    "bitfit": TinyMethod(
        lambda model: "params/(head/.*|.*/bias)",
        # Their first stages have no biases.
        lambda model: 1 if model.name in ("bit", "clip_text", "decoder") else 0,
    ),
    "norm": TinyMethod(
        lambda model: "params/(head/.*|.*norm.*/(scale|bias))", lambda model: 0 if norms_below(model) else 1
    ),
    "auto_rgn": TinyMethod(lambda model: "params/.*", lambda model: 0),
    "llrd": TinyMethod(lambda model: "params/.*", lambda model: 0),
    "gradual": TinyMethod(lambda model: "params/.*", lambda model: 0),
    "ulmfit": TinyMethod(lambda model: "params/.*", lambda model: 0),
    "lp_ft": TinyMethod(lambda model: "params/.*", lambda model: 0),
    "fish": TinyMethod(
        lambda model: "(params/head/.*|adapters/fish/delta)", lambda model: 0, lambda model: {"keep": 0.02}
    ),
    "l2_sp": TinyMethod(lambda model: "params/.*", lambda model: 0),
    "ewc": TinyMethod(lambda model: "params/.*", lambda model: 0),
    "distill": TinyMethod(
        lambda model: "(params|adapters/source_head)/.*", lambda model: 0, lambda model: {"feature": 0.5}
    ),
    "prompt": TinyMethod(lambda model: ADAPTERS, lambda model: 0, lambda model: {"length": 3}, has_tokens),
    "prefix": TinyMethod(
        lambda model: ADAPTERS, lambda model: 1, lambda model: {"length": 3, "reparam": 5}, has_tokens
    ),
    "ptuning_v2": TinyMethod(lambda model: ADAPTERS, lambda model: 1, lambda model: {"length": 3}, has_tokens),
    "vpt_shallow": TinyMethod(lambda model: ADAPTERS, lambda model: 0, lambda model: {"length": 3}, has_tokens),
    "vpt_deep": TinyMethod(lambda model: ADAPTERS, lambda model: 1, lambda model: {"length": 3}, has_tokens),
    "side": TinyMethod(lambda model: "(params/head|adapters/head/side/(?!stats)).*", last),
    "ladder": TinyMethod(lambda model: ADAPTERS, lambda model: 0, lambda model: {"reduction": 4}, has_tokens),
    "head2toe": TinyMethod(lambda model: "adapters/.*", last, lambda model: {"size": 24, "keep": 0.25}),
    # They train as `full` does and differ only in what is done with finished runs.
    **{
        name: TinyMethod(
            lambda model: "params/.*", lambda model: 0, applies=lambda model: model in ("vit", "clip_vision")
        )
        for name in ("wise_ft", "uniform_soup", "greedy_soup", "task_arithmetic", "ties", "dare")
    },
}
