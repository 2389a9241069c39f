"""From each type of adapter in PEFT's files to a method of ours: its settings, its tensors, and what is left to do.

Where PEFT has a rank or a scale for each layer and we have one for all, ranks are filled up with zeros and scales are
multiplied into B: the function is the same.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError, FileError, RuleError
from tlx.fields import check_fields
from tlx.interop import peft_layers
from tlx.interop.layout import Tensor
from tlx.interop.peft_base import Axes, Layer
from tlx.interop.peft_config import PER_TOKEN
from tlx.interop.peft_contents import PROMPT, VERA_A, VERA_B, Contents
from tlx.interop.peft_layers import Part
from tlx.interop.peft_patterns import pattern_of
from tlx.models.inputs import TOKENS
from tlx.models.registry import Model

Leaves = dict[str, np.ndarray]


@dataclass(frozen=True)
class Change:
    """What a leaf becomes after it was read.

    Args:
      said: what reports say of it.
      make: the change.
    """

    said: str
    make: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Plan:
    """How an adapter is read.

    Args:
      method: ours.
      settings: those of the method that the file decides; a list of layers stands for a pattern.
      parts: its tensors.
      changes: by path of a leaf.
      fold: leaves that multiply others and are no leaves of ours: path to the path of the other.
    """

    method: str
    settings: Mapping[str, Any]
    parts: list[Part]
    changes: Mapping[str, Change] = field(default_factory=dict)
    fold: Mapping[str, str] = field(default_factory=dict)


def lora(contents: Contents) -> Plan:
    """LoRA, rsLoRA and DoRA."""
    config = contents.config
    dora, by_root = bool(config.values.get("use_dora")), bool(config.values.get("use_rslora"))
    ranks, scales, parts = {}, {}, []
    for module, layer in contents.layers.items():
        rank = config.by_module("rank_pattern", module, config.values.get("r"))
        alpha = config.by_module("alpha_pattern", module, config.number("lora_alpha", 8))
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise config.wrong("rank_pattern" if config.values.get("rank_pattern") else "r", "integers ≥ 1", rank)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            raise config.wrong("alpha_pattern", "numbers", alpha)
        ranks[module], scales[module] = rank, float(alpha / (math.sqrt(rank) if by_root else rank))
        parts += peft_layers.low_rank(layer, _axes(layer), contents.prefix + module, rank, dora)
    rank, scale = max(ranks.values()), _most_common(scales)
    # Of DoRA there is no variant here that divides by the root.
    method = "dora" if dora else "rslora" if by_root else "lora"
    alpha = scale * (math.sqrt(rank) if method == "rslora" else rank)
    settings = {"rank": rank, "alpha": alpha, **_common(contents)}
    return Plan(method, settings, parts, _one_for_all(contents, ranks, scales, rank, scale))


def adalora(contents: Contents) -> Plan:
    """AdaLoRA, whose schedule of ranks is over, as a LoRA: the values between A and B are multiplied into A."""
    config = contents.config
    first = config.count("init_r")
    alpha = config.number("lora_alpha", 8)
    # PEFT keeps the first rank in the divisor when ranks are pruned, and keeps it from zero.
    scale = float((alpha if alpha > 0 else first) / (first + 1e-5))
    ranks, parts = {}, []
    for module, layer in contents.layers.items():
        shape = contents.file.shapes.get(f"{contents.prefix}{module}.lora_E", (first, 1))
        ranks[module] = shape[0]
        if ranks[module] > first:
            raise FileError(contents.path, f"has a rank of {shape[0]} at {module!r}, above init_r = {first}")
        parts += peft_layers.triplets(layer, _axes(layer), contents.prefix + module, ranks[module])
    rank = max(1, *ranks.values())
    settings = {"rank": rank, "alpha": scale * rank, **_common(contents)}
    fold = {path: f"{path.removesuffix('e')}a" for path in _paths(contents, "lora_e")}
    return Plan("lora", settings, parts, _one_for_all(contents, ranks, dict.fromkeys(ranks, scale), rank, scale), fold)


def ia3(contents: Contents) -> Plan:
    """IA³; where a file scales only inputs or only outputs, ours has factors of one on the others."""
    parts, sides = [], {"inputs": list[str](), "outputs": list[str]()}
    for module, layer in contents.layers.items():
        axes, inputs = _axes(layer), contents.config.is_feedforward(module)
        if inputs and axes.ours_in[-1] not in axes.theirs_in:
            raise FileError(contents.path, f"scales the inputs of {module!r}, which here have no channels of their own")
        parts.append(peft_layers.scaled(layer, axes, contents.prefix + module, inputs))
        sides["inputs" if inputs else "outputs"] += layer.ours
    return Plan("ia3", sides, parts)


def vera(contents: Contents) -> Plan:
    """VeRA; the shared matrices are those of the file."""
    rank = contents.config.count("r")
    parts, shapes = [], []
    for module, layer in contents.layers.items():
        if len(layer.ours) > 1 or layer.is_embedding or len(layer.shape) != 2:
            raise FileError(contents.path, f"adapts {module!r}, which VeRA here does not: it is no single dense layer")
        parts += peft_layers.vectors(layer, contents.prefix + module, rank)
        shapes.append(layer.shape)
    inputs, outputs = (max(sizes) for sizes in zip(*shapes, strict=True))
    parts += [
        Part(Tensor(VERA_A, ("adapters/vera/a",), "r i -> i r"), (inputs, rank)),
        Part(Tensor(VERA_B, ("adapters/vera/b",), "o r -> r o"), (rank, outputs)),
    ]
    settings = {"rank": rank, "d_start": float(contents.config.number("d_initial", 0.1)), "target": _target(contents)}
    return Plan("vera", settings, parts)


def prompt(contents: Contents) -> Plan:
    """Prompt tuning, and P-tuning, of which the file holds what its network made."""
    # A classifier that pools a certain token finds a prompt there; outputs of tokens are those of the words.
    pool = "class" if contents.config.values.get("task_type") in PER_TOKEN else "prompt"
    settings = {"length": contents.config.count("num_virtual_tokens"), "pool": pool}
    leaves = _adapters(contents, Plan("prompt", settings, []))
    parts = [Part(Tensor(PROMPT, (path,)), shape) for path, shape in leaves.items()]
    return Plan("prompt", settings, parts)


def prefix(contents: Contents) -> Plan:
    """Prefix tuning: keys and values of all layers side by side; a network that made them is in no file."""
    settings = {"length": contents.config.count("num_virtual_tokens"), "offset_positions": True}
    leaves = _adapters(contents, Plan("ptuning_v2", settings, []))
    paths = prefix_paths(leaves, contents.base.model.stages)
    return Plan("ptuning_v2", settings, [Part(prefix_tensor(paths), leaves[paths[0]])])


def prefix_paths(leaves: Mapping[str, Any], stages: tuple[str, ...]) -> tuple[str, ...]:
    """Paths of prefixes in PEFT's order: layer by layer, keys before values."""
    return tuple(sorted(leaves, key=lambda path: (stages.index(path.split("/")[1]), path.endswith("value"))))


def prefix_tensor(paths: tuple[str, ...]) -> Tensor:
    """[p, layers · 2 · width] as a `prefix_key` and a `prefix_value` [p, width] for each layer."""
    return Tensor(PROMPT, paths, "p (l d) -> l p d", (("l", len(paths)),))


PLANS: Mapping[str, Callable[[Contents], Plan]] = {
    "LORA": lora,
    "ADALORA": adalora,
    "IA3": ia3,
    "VERA": vera,
    "PROMPT_TUNING": prompt,
    "P_TUNING": prompt,
    "PREFIX_TUNING": prefix,
}


def _axes(layer: Layer) -> Axes:
    assert layer.axes is not None, "refused on opening"
    return layer.axes


def _common(contents: Contents) -> dict[str, Any]:
    return {"dropout": float(contents.config.number("lora_dropout", 0.0)), "target": _target(contents)}


def _target(contents: Contents) -> list[str]:
    return [path for layer in contents.layers.values() for path in layer.ours]


def _paths(contents: Contents, leaf: str) -> list[str]:
    return [f"adapters/{path}/{leaf}" for layer in contents.layers.values() for path in layer.ours]


def _most_common(scales: Mapping[str, float]) -> float:
    """The scale that most layers have; not zero, by which nothing could be divided."""
    counted = Counter(scale for scale in scales.values() if scale)
    return counted.most_common(1)[0][0] if counted else 0.0


def _one_for_all(
    contents: Contents, ranks: Mapping[str, int], scales: Mapping[str, float], rank: int, scale: float
) -> dict[str, Change]:
    """Changes that make layers of different ranks and scales alike."""
    changes = {}
    for module, layer in contents.layers.items():
        lacking, factor = rank - ranks[module], scales[module] / scale if scale else 1.0
        fills = f"rank {ranks[module]} filled up to {rank}" if lacking else ""
        scaled = f"multiplied by {factor:.6g}" if factor != 1.0 else ""
        for path in layer.ours:
            for leaf, said in (("lora_a", fills), ("lora_b", ", ".join(filter(None, (fills, scaled))))):
                if said:
                    changes[f"adapters/{path}/{leaf}"] = Change(said, _filled(leaf, lacking, factor))
    return changes


def _filled(leaf: str, lacking: int, factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def make(value: np.ndarray) -> np.ndarray:
        if leaf == "lora_a":
            return np.pad(value, [*[(0, 0)] * (value.ndim - 1), (0, lacking)])
        return np.float32(factor) * np.pad(value, [(0, lacking), *[(0, 0)] * (value.ndim - 1)])

    return make


def adapted_by(
    contents: Contents, plan: Plan, model: Model, trained: Sequence[str] = ()
) -> tuple[Adapted, dict[str, Any]]:
    """The model as adapted by a plan, and the shapes of its adapters by path.

    Args:
      contents: the file.
      plan: what it holds.
      model: the base model, or the same with scanned blocks.
      trained: paths of further leaves that the file replaces.

    Raises:
      FileError: the method cannot be set so, or not on this model.
    """
    try:
        is_scanned = dict(model.settings).get("scan")
        given = {
            name: pattern_of(_scanned(value) if is_scanned else value) if isinstance(value, list) else value
            for name, value in plan.settings.items()
        }
        settings = check_fields(plan.method, METHODS[plan.method].fields, given)
        also: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()
        if trained:
            own = pattern_of(path.removeprefix("params/") for path in trained)
            others = rf"params/(?!head/|({own})$).*"
            also = (("freeze", (("frozen", (others,)),)),)
        model = _with_room(model, settings.get("length", 0))
        adapted = Adapted(model, plan.method, tuple(sorted(settings.items())), also)
        leaves = tree.flatten(adapted.abstract())
        adapted.labels()
    except (ConfigError, RuleError) as error:
        raise FileError(contents.config.path, f"asks for what {plan.method!r} here is not: {error}") from None
    return adapted, {path: leaf for path, leaf in leaves.items() if path.startswith("adapters/")}


def _scanned(layers: Sequence[str]) -> list[str]:
    """The layers where all blocks are one stage."""
    return list(dict.fromkeys(re.sub(r"block_\d+/", "blocks/", path) for path in layers))


def _with_room(model: Model, prompts: int) -> Model:
    """The model for sequences short enough that prompts have positions, too."""
    positions = dict(model.settings).get("positions")
    if model.kind.takes != TOKENS or positions is None:
        return model
    return replace(model, input_shape=(min(model.input_shape[0], max(1, positions - prompts)),))


def _adapters(contents: Contents, plan: Plan) -> dict[str, tuple[int, ...]]:
    _, adapters = adapted_by(contents, plan, contents.base.model)
    return {path: tuple(leaf.shape) for path, leaf in adapters.items()}
