"""What the `adapter_config.json` of Hugging Face PEFT says, checked field by field.

PEFT ignores fields it does not know and layers that a file leaves out; here both are errors.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlx import atomic
from tlx.errors import FileError, suggest

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"

# PEFT saves these modules with every adapter of a sequence classifier, whichever of them the model has.
HEADS = ("classifier", "score")
# Tasks with outputs for every token, of which those of prompts are nobody's concern.
PER_TOKEN = ("CAUSAL_LM", "TOKEN_CLS")

# Every field that says nothing of the arithmetic, or whose meaning the loader knows, by type. Any other must be unset.
_ALWAYS = {
    *("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("inference_mode", "modules_to_save"),
}
_LAYERS = {
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "bias"),
    # How the base keeps its weights, which the shapes tell as well.
    "fan_in_fan_out",
}
# The settings of initialisations; which initialisation was used is another field.
_INITS = {"eva_config", "corda_config", "lora_ga_config", "loftq_config", "megatron_core", "runtime_config"}
_LORA = {
    *(_LAYERS | _INITS),
    *("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern"),
    # The size of groups, without effect where `use_qalora` is unset.
    *("init_lora_weights", "qalora_group_size"),
}
_PROMPTS = {
    *("num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"),
    # How the prompts came about; the file holds what came of it.
    *("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"),
    *("encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout"),
    *("prefix_projection", "init_weights"),
}
_BUDGET = {"target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight", "total_step"}
_VERA = {"r", "projection_prng_key", "save_projection", "vera_dropout", "d_initial", "init_weights"}
FIELDS: Mapping[str, set[str]] = {
    "LORA": _ALWAYS | _LORA,
    "ADALORA": (_ALWAYS | _LORA | _BUDGET) - {"use_rslora", "use_dora", "alpha_pattern"},
    "IA3": _ALWAYS | _LAYERS | {"feedforward_modules", "init_ia3_weights"},
    "VERA": _ALWAYS | _LAYERS | _VERA,
    "PROMPT_TUNING": _ALWAYS | _PROMPTS,
    "P_TUNING": _ALWAYS | _PROMPTS,
    "PREFIX_TUNING": _ALWAYS | _PROMPTS,
}
PROMPTS = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
# Initialisations that leave the base model as it is; the others save an update of a base that they changed.
_HARMLESS_INITS = (True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class AdapterConfig:
    """The fields, each read by the type it must have.

    Args:
      path: of the file.
      values: what it holds.
    """

    path: Path
    values: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The type of adapter, a key of `FIELDS`."""
        return str(self.values["peft_type"])

    def number(self, name: str, default: float | None = None) -> float:
        """A number, as an integer where it is written as one."""
        value = self.values.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number", value)
        return value

    def count(self, name: str) -> int:
        """An integer of at least 1."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(name, "an integer ≥ 1", value)
        return value

    def names(self, name: str) -> tuple[str, ...]:
        """A list of strings without repetitions; empty where the field is unset."""
        value = self.values.get(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self.wrong(name, "a list of names", value)
        return tuple(dict.fromkeys(value))

    def by_module(self, name: str, module: str, default: Any) -> Any:
        """The value of a module in a field that maps patterns to values, or the default where none matches."""
        value = self.values.get(name) or {}
        if not isinstance(value, dict):
            raise self.wrong(name, "an object of patterns and values", value)
        for pattern, own in value.items():
            if self._matches(name, rf"(.*\.)?({pattern})$", module):
                return own
        return default

    def is_target(self, module: str) -> bool:
        """Whether the config says that a module is adapted, by the rules of PEFT.

        Args:
          module: its full name.

        Raises:
          FileError: a field that decides it is of another type, or no regular expression.
        """
        return self._among("target_modules", module) and self._in_layers(module) and not self.is_excluded(module)

    def is_excluded(self, module: str) -> bool:
        """Whether the config keeps adapters from a module, or has all of it trained."""
        saved = self.names("modules_to_save")
        return self._among("exclude_modules", module) or any(
            self._matches("modules_to_save", rf"(^|.*\.){name}($|\..*)", module) for name in saved
        )

    def is_feedforward(self, module: str) -> bool:
        """Whether IA³ scales the module's inputs and not its outputs, by the rules of PEFT."""
        value = self.values.get("feedforward_modules") or []
        if isinstance(value, str):
            return self._matches("feedforward_modules", rf"(?:{value})\Z", module)
        return any(module.endswith(name) for name in self.names("feedforward_modules"))

    def wrong(self, name: str, expected: str, value: Any) -> FileError:
        """The error of a field."""
        return FileError(self.path, f"{name}: expected {expected}, got {value!r}")

    def _among(self, name: str, module: str) -> bool:
        value = self.values.get(name) or []
        if isinstance(value, str):
            return self._matches(name, rf"(?:{value})\Z", module)
        return any(module == one or module.endswith(f".{one}") for one in self.names(name))

    def _in_layers(self, module: str) -> bool:
        wanted = self.values.get("layers_to_transform")
        if wanted in (None, []) or isinstance(self.values.get("target_modules"), str):
            return True
        allowed = wanted if isinstance(wanted, list) else [wanted]
        patterns = self.values.get("layers_pattern") or []
        patterns = [patterns] if isinstance(patterns, str) else self.names("layers_pattern")
        heads = [rf"(?:^|.*?\.){one}" for one in patterns] or [r".*?\.[^.]*"]
        for head in heads:
            try:
                found = re.match(rf"{head}\.(?P<index>\d+)\.", module)
            except re.error as error:
                raise FileError(self.path, f"layers_pattern: is no regular expression: {error}") from None
            if found:
                return int(found["index"]) in allowed
        return False

    def _matches(self, name: str, pattern: str, module: str) -> bool:
        try:
            return re.match(pattern, module) is not None
        except re.error as error:
            raise FileError(self.path, f"{name}: is no regular expression: {error}") from None


def read_config(folder: Path) -> AdapterConfig:
    """The config of an adapter.

    Args:
      folder: as PEFT's `save_pretrained` writes it.

    Raises:
      FileError: there is none, or a field asks for arithmetic that is not known here.
    """
    path = Path(folder) / CONFIG
    values = atomic.read_json(path)
    if not isinstance(values, dict):
        raise FileError(path, "expected a JSON object")
    kind = values.get("peft_type")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise FileError(path, f"peft_type: {kind!r} is not supported{suggest(str(kind), FIELDS)}")
    for name, value in values.items():
        if name not in FIELDS[kind] and value not in (None, False, "", [], {}):
            raise FileError(path, f"{name}: {value!r} is not supported, and may change what the adapter computes")
    config = AdapterConfig(path, values)
    _check_extras(config)
    return config


def _check_extras(config: AdapterConfig) -> None:
    _only(config, "bias", ("none", "all", "lora_only"), "none")
    _only(config, "num_transformer_submodules", (1,), 1)
    for name in ("use_rslora", "use_dora", "save_projection"):
        _only(config, name, (True, False), False)
    if config.values.get("init_lora_weights", True) not in _HARMLESS_INITS:
        how = config.values["init_lora_weights"]
        hint = "give save_pretrained path_initial_model_for_weight_conversion"
        raise FileError(config.path, f"init_lora_weights: {how!r} changes the weights of the base model; {hint}")
    if config.kind == "VERA" and not config.values.get("save_projection", True):
        lacks = "without them VeRA's matrices would have to be drawn as PyTorch draws"
        raise FileError(config.path, f"save_projection: expected true, got false; {lacks}")
    config.names("modules_to_save")


def _only(config: AdapterConfig, name: str, allowed: Sequence[Any], default: Any) -> None:
    value = config.values.get(name)
    if (default if value is None else value) not in allowed:
        expected = ", ".join(str(one) for one in allowed)
        raise FileError(config.path, f"{name}: {value!r} is not supported (one of {expected})")
