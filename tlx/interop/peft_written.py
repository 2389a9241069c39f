"""From each method of ours that PEFT has a form for to the tensors and the fields of that form.

Shape suffixes: I inputs, O outputs, R rank.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.dora import norms
from tlx.adapt.prefix import drop_reparam
from tlx.errors import ConfigError
from tlx.interop import peft_layers
from tlx.interop.layout import Tensor
from tlx.interop.peft_base import Axes, Base, Layer
from tlx.interop.peft_config import PER_TOKEN
from tlx.interop.peft_contents import PROMPT, VERA_A, VERA_B
from tlx.interop.peft_layers import Part
from tlx.interop.peft_plans import prefix_paths, prefix_tensor

Leaves = Mapping[str, np.ndarray]
# A and B of one of our layers.
Factors = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Names:
    """What the other library calls a base model's modules.

    Args:
      base: the base model.
      newest: whether by the names of its newest release, or by those on disk.
    """

    base: Base
    newest: bool

    def tensor(self, theirs: str) -> str:
        """A tensor that has this name on disk."""
        return self.base.in_memory(theirs) if self.newest else theirs

    def module(self, theirs: str) -> str:
        """A module that has this name on disk."""
        return self.tensor(f"{theirs}.weight").removesuffix(".weight")

    @functools.cached_property
    def tops(self) -> set[str]:
        """Names of the outermost modules on disk."""
        return {theirs.partition(".")[0] for theirs in self.base.tensors}

    def layers(self, leaves: Leaves, ending: str) -> dict[Layer, list[str | None]]:
        """The layers with adapters of a name, and which of the layers of ours they fuse have one."""
        paths = {path.removeprefix("adapters/").removesuffix(f"/{ending}") for path in leaves if path.endswith(ending)}
        found: dict[Layer, list[str | None]] = {}
        for layer in self.base.layers.values():
            own = [path if path in paths else None for path in layer.ours]
            if any(own):
                found[layer] = own
                paths -= set(layer.ours)
        if paths:
            what = f"{min(paths)!r} is no module of its own in {self.base.format.name!r}"
            raise ConfigError("target", f"{what}, so no file of PEFT can hold its adapter")
        return found


@dataclass(frozen=True)
class Written:
    """An adapter in PEFT's form.

    Args:
      kind: its type.
      fields: of the config, those that all types have left out.
      tensors: by their names in the file.
      modules: names on disk of the adapted modules.
      prefix: in front of the names of the base's own tensors.
    """

    kind: str
    fields: dict[str, Any]
    tensors: dict[str, np.ndarray]
    modules: tuple[str, ...] = ()
    prefix: str = "base_model.model."


def lora(adapted: Adapted, leaves: Leaves, names: Names, task: str | None) -> Written:
    """LoRA, rsLoRA, LoRA+ and DoRA: A, B and magnitudes as they are."""
    return _low_rank(adapted, leaves, names, lambda own: (own["lora_a"], own["lora_b"]))


def pissa(adapted: Adapted, leaves: Leaves, names: Names, task: str | None) -> Written:
    """PiSSA as a LoRA of twice the rank: A B - A₀ B₀ is [A A₀] times [B; -B₀], on the base as it is."""

    def both(own: Leaves) -> Factors:
        a_IR = np.concatenate([own["lora_a"], own["lora_a0"]], axis=-1)
        return a_IR, np.concatenate([own["lora_b"], -own["lora_b0"]])

    return _low_rank(adapted, leaves, names, both)


def adalora(adapted: Adapted, leaves: Leaves, names: Names, task: str | None) -> Written:
    """AdaLoRA as a LoRA: the values between A and B are multiplied into A."""
    return _low_rank(adapted, leaves, names, lambda own: (own["lora_a"] * own["lora_e"], own["lora_b"]))


def _low_rank(adapted: Adapted, leaves: Leaves, names: Names, factors: Callable[[Leaves], Factors]) -> Written:
    settings = dict(adapted.settings)
    by_root, dora = adapted.method == "rslora", adapted.method == "dora"
    tensors: dict[str, np.ndarray] = {}
    ranks: dict[str, int] = {}
    layers = names.layers(leaves, "lora_a")
    for layer, paths in layers.items():
        module, axes = names.module(layer.name), _axes(layer)
        a, bs = _fused(layer, [factors(_beside(leaves, path)) if path else None for path in paths])
        ranks[module] = a.shape[-1]
        part_a, part_b, *part_m = peft_layers.low_rank(layer, axes, f"base_model.model.{module}", a.shape[-1], dora)
        tensors |= _written(part_a, [a]) | _written(part_b, bs)
        for part in part_m:
            # Where one of several fused layers has no adapter, its magnitudes are those of the base model.
            given = [leaves[f"adapters/{path}/lora_magnitude"] if path else None for path in paths]
            kernels = [leaves[path] for path in layer.weight.ours]
            own = [np.asarray(norms(jnp.asarray(k))) if m is None else m for m, k in zip(given, kernels, strict=True)]
            tensors |= _written(part, own)
    rank = Counter(ranks.values()).most_common(1)[0][0]
    alphas = {each: _alpha(settings, each, by_root) for each in (rank, *ranks.values())}
    odd = {module: each for module, each in sorted(ranks.items()) if each != rank}
    fields = {
        "r": rank,
        "lora_alpha": alphas[rank],
        "rank_pattern": odd,
        "alpha_pattern": {module: alphas[each] for module, each in odd.items()},
        "use_rslora": by_root,
        "use_dora": dora,
        "lora_dropout": settings.get("dropout", 0.0),
        "init_lora_weights": True,
        **_targets(layers, names),
    }
    return Written("LORA", fields, tensors, tuple(layer.name for layer in layers))


def ia3(adapted: Adapted, leaves: Leaves, names: Names, task: str | None) -> Written:
    """IA³: one vector a module, on its outputs or its inputs; ones for fused layers that have none."""
    outputs, inputs = names.layers(leaves, "ia3_out"), names.layers(leaves, "ia3_in")
    if both := [layer.name for layer in outputs if layer in inputs]:
        raise ConfigError("inputs", f"both sides of {both[0]!r} are scaled, for which PEFT has one vector")
    tensors: dict[str, np.ndarray] = {}
    for layer, paths in outputs.items():
        part = peft_layers.scaled(layer, _axes(layer), f"base_model.model.{names.module(layer.name)}", inputs=False)
        ones = np.ones(part.shape, np.float32)
        tensors |= _written(part, [leaves[f"adapters/{path}/ia3_out"] if path else ones for path in paths])
    for layer, paths in inputs.items():
        axes = _axes(layer)
        own = [leaves[f"adapters/{path}/ia3_in"] if path else None for path in paths]
        alike = all(one is not None and own[0] is not None and np.array_equal(one, own[0]) for one in own)
        if not alike or own[0] is None or axes.ours_in[-1] not in axes.theirs_in:
            raise ConfigError("inputs", f"{layer.name!r} has no inputs that could be scaled in this way")
        part = peft_layers.scaled(layer, axes, f"base_model.model.{names.module(layer.name)}", inputs=True)
        tensors |= _written(part, [own[0]])
    fields = {
        "feedforward_modules": sorted(names.module(layer.name) for layer in inputs),
        "init_ia3_weights": True,
        **_targets([*outputs, *inputs], names),
    }
    del fields["bias"], fields["layers_to_transform"], fields["layers_pattern"]
    return Written("IA3", fields, tensors, tuple(layer.name for layer in (*outputs, *inputs)))


def vera(adapted: Adapted, leaves: Leaves, names: Names, task: str | None) -> Written:
    """VeRA, with its shared matrices, which PEFT could not draw."""
    settings, layers = dict(adapted.settings), names.layers(leaves, "vera_d")
    tensors = {
        VERA_A: np.ascontiguousarray(leaves["adapters/vera/a"].T),
        VERA_B: np.ascontiguousarray(leaves["adapters/vera/b"].T),
    }
    for layer in layers:
        if len(layer.ours) > 1:
            raise ConfigError(
                "target", f"{layer.name!r} is one module of several layers, for which VeRA has one vector"
            )
        for part in peft_layers.vectors(layer, f"base_model.model.{names.module(layer.name)}", settings["rank"]):
            tensors |= _written(part, [leaves[path] for path in part.tensor.ours])
    fields = {
        "r": settings["rank"],
        "d_initial": settings["d_start"],
        "save_projection": True,
        "projection_prng_key": 0,
        "vera_dropout": 0.0,
        "init_weights": True,
        **_targets(layers, names),
    }
    del fields["exclude_modules"]
    return Written("VERA", fields, tensors, tuple(layer.name for layer in layers))


def prompt(adapted: Adapted, leaves: Leaves, names: Names, task: str | None) -> Written:
    """Prompt tuning; a model that pools a token must pool its first prompt, as it does in PEFT."""
    if task not in PER_TOKEN and dict(adapted.settings)["pool"] != "prompt":
        raise ConfigError("pool", "expected 'prompt', as in PEFT a model that pools a token finds prompts there")
    (value,) = (leaf for path, leaf in leaves.items() if path.startswith("adapters/") and path.endswith("/prompt"))
    fields = {"prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": None, "tokenizer_name_or_path": None}
    return _prompts("PROMPT_TUNING", adapted, task, value, {**fields, "token_dim": value.shape[-1]})


def prefix(adapted: Adapted, leaves: Leaves, names: Names, task: str | None) -> Written:
    """Prefix tuning; of a network that makes the prefixes what it makes."""
    settings = dict(adapted.settings)
    if "positions" in adapted.model.targets and not settings["offset_positions"]:
        raise ConfigError("offset_positions", "expected true, as in PEFT positions begin after the prefix")
    adapters = tree.unflatten({path: leaf for path, leaf in leaves.items() if path.startswith("adapters/")})["adapters"]
    if settings.get("reparam"):
        adapters = drop_reparam(adapters)
    found = {f"adapters/{path}": np.asarray(leaf) for path, leaf in tree.flatten(adapters).items()}
    paths = prefix_paths(found, adapted.model.stages)
    depth = dict(adapted.model.settings).get("depth")
    if len(paths) != 2 * (depth or 0) or len({found[path].shape for path in paths}) != 1:
        raise ConfigError("target", "expected prefixes of one width in every layer, as PEFT has them")
    fields = {"encoder_hidden_size": None, "prefix_projection": False, "token_dim": found[paths[0]].shape[-1]}
    value = prefix_tensor(paths).write([found[path] for path in paths])
    return _prompts("PREFIX_TUNING", adapted, task, value, fields)


def _prompts(kind: str, adapted: Adapted, task: str | None, value: np.ndarray, fields: dict[str, Any]) -> Written:
    if task is None:
        raise ConfigError("name", f"PEFT has no {adapted.method!r} for a model whose task is unknown to it")
    settings = dict(adapted.model.settings)
    width, heads = settings.get("width"), settings.get("heads")
    # Keys and values may have fewer heads than queries.
    own_heads = fields["token_dim"] * heads // width if width and heads else None
    common = {
        "num_virtual_tokens": value.shape[0],
        "num_transformer_submodules": 1,
        "num_attention_heads": own_heads,
        "num_layers": settings.get("depth"),
    }
    return Written(kind, {**common, **fields}, {PROMPT: value}, prefix="base_model.")


WRITERS: Mapping[str, Callable[[Adapted, Leaves, Names, str | None], Written]] = {
    "lora": lora,
    "rslora": lora,
    "lora_plus": lora,
    "dora": lora,
    "pissa": pissa,
    "adalora": adalora,
    "ia3": ia3,
    "vera": vera,
    "prompt": prompt,
    "prefix": prefix,
    "ptuning_v2": prefix,
}


def _axes(layer: Layer) -> Axes:
    if layer.axes is None:
        raise ConfigError("target", f"the weight {layer.weight.theirs!r} becomes ours in a way no adapter can follow")
    return layer.axes


def _beside(leaves: Leaves, path: str) -> dict[str, np.ndarray]:
    start = f"adapters/{path}/"
    return {at.removeprefix(start): leaf for at, leaf in leaves.items() if at.startswith(start)}


def _written(part: Part, leaves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    tensor: Tensor = part.tensor
    return {tensor.theirs: tensor.write([np.asarray(leaf, np.float32) for leaf in leaves])}


def _fused(layer: Layer, own: Sequence[Factors | None]) -> tuple[np.ndarray, list[np.ndarray]]:
    """One A for layers that the other library fuses, and for each of them a B: zero but for the ranks of its own A.

    Layers with the same A share its ranks, so what was one adapter there is the same adapter again.
    """
    distinct: list[np.ndarray] = []
    place: list[int | None] = []
    for pair in own:
        same = [i for i, a in enumerate(distinct) if pair is not None and np.array_equal(a, pair[0])]
        if pair is not None and not same:
            distinct.append(pair[0])
        place.append(None if pair is None else same[0] if same else len(distinct) - 1)
    starts = np.cumsum([0, *(a.shape[-1] for a in distinct)])
    bs = []
    for pair, i in zip(own, place, strict=True):
        b_RO = np.zeros((starts[-1], layer.shape[-1]), np.float32)
        if pair is not None and i is not None:
            b_RO[starts[i] : starts[i + 1]] = pair[1]
        bs.append(b_RO)
    return np.concatenate(distinct, axis=-1), bs


def _alpha(settings: Mapping[str, Any], rank: int, by_root: bool) -> int | float:
    """What `lora_alpha` must be at a rank for our own scale."""
    more = rank / settings["rank"]
    alpha = settings["alpha"] * (math.sqrt(more) if by_root else more)
    return int(alpha) if float(alpha).is_integer() else float(alpha)


def _targets(layers: Any, names: Names) -> dict[str, Any]:
    """The fields that say which modules are adapted."""
    modules = [layer for layer in layers if not layer.is_embedding]
    return {
        "target_modules": sorted(names.module(layer.name) for layer in layers),
        "exclude_modules": None,
        "bias": "none",
        "fan_in_fan_out": bool(modules) and all(_axes(layer).in_first for layer in modules),
        "layers_to_transform": None,
        "layers_pattern": None,
    }
