"""What an adapter's weights file holds, sorted: tensors beside layers, and tensors in the place of the base's own."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tlx.errors import FileError, suggest
from tlx.interop.files import Tensors, open_checkpoint
from tlx.interop.layout import Tensor
from tlx.interop.peft_base import Base, Layer
from tlx.interop.peft_config import HEADS, PICKLED, PROMPTS, WEIGHTS, AdapterConfig

# What the tensors beside a layer end with, by the type of adapter.
_BESIDE = {
    "LORA": r"lora_[AB]\.weight|lora_embedding_[AB]|lora_magnitude_vector",
    "ADALORA": r"lora_[ABE]",
    "IA3": r"ia3_l",
    "VERA": r"vera_lambda_[bd]",
}
# Modules that PEFT saves for a task without being asked.
_TASK_HEADS = {"SEQ_CLS": HEADS, "TOKEN_CLS": HEADS, "QUESTION_ANS": ("qa_outputs",)}
_LINEAR = "all-linear"
# Tensors that belong to no module.
PROMPT, VERA_A, VERA_B = "prompt_embeddings", "base_model.vera_A", "base_model.vera_B"
# With biases PEFT saves those of modules it trains a second and a third time.
COPIES = r".*\.(original_module|modules_to_save)\..*"


@dataclass(frozen=True)
class Contents:
    """A weights file and all that says what is in it.

    Args:
      path: of the weights.
      file: the weights.
      config: the adapter's config.
      base: the model it belongs to.
    """

    path: Path
    file: Tensors
    config: AdapterConfig
    base: Base

    @property
    def prefix(self) -> str:
        """What PEFT puts in front of a module's name."""
        return "base_model." if self.config.kind in PROMPTS else "base_model.model."

    @functools.cached_property
    def layers(self) -> dict[str, Layer]:
        """The adapted layers by their modules' names in the file.

        Raises:
          FileError: the model has no such layer, or the config asks for others.
        """
        pattern = rf"{re.escape(self.prefix)}(.+)\.({_BESIDE[self.config.kind]})"
        found: dict[str, Layer] = {}
        for name in self.file:
            if not (match := re.fullmatch(pattern, name)):
                continue
            if (layer := self.base.layer(match[1])) is None:
                hint = suggest(match[1], self.base.layers)
                what = f"adapts {match[1]!r}, which {self.base.format.name} does not have"
                raise FileError(self.path, f"{what}{hint}; was it made for another model?")
            if layer.axes is None:
                raise FileError(self.path, f"adapts {match[1]!r}, whose weight becomes ours in no way an adapter can")
            found[match[1]] = layer
        if not found:
            raise FileError(self.path, f"holds no tensor of an adapter of type {self.config.kind}")
        self._check_targets(found)
        return found

    @functools.cached_property
    def saved(self) -> list[Tensor]:
        """The tensors that stand in the place of the base's own, by their names in the file.

        Raises:
          FileError: the file holds one that the config does not name, or the config names what is not there.
        """
        present = {tensor.theirs: name for name, tensor in self._of_base.items()}
        wanted = self._wanted()
        for theirs, name in present.items():
            if theirs not in wanted:
                raise FileError(self.path, f"holds {name!r} of the base model, which modules_to_save does not name")
        return [
            replace(self.base.tensors[theirs], theirs=present.get(theirs, name), resize=None)
            for theirs, name in wanted.items()
        ]

    @functools.cached_property
    def _of_base(self) -> Mapping[str, Tensor]:
        found = {}
        for name in self.file:
            plain = name.removeprefix(self.prefix).replace(".base_layer.", ".")
            tensor = self.base.tensor(plain)
            if name.startswith(self.prefix) and tensor and not re.fullmatch(COPIES, name):
                found[name] = tensor
        return found

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        """The base's tensors by their names on disk, and what this file calls them."""
        beside = _BESIDE.get(self.config.kind, "(?!)")
        modules = [match[1] for name in self.file if (match := re.fullmatch(rf"(.+)\.({beside})", name))]
        plain = [name.replace(".base_layer.", ".") for name in self._of_base]
        named = [*(f"{module}.weight" for module in modules), *plain]
        return self.base.named_as(dict.fromkeys(name.removeprefix(self.prefix) for name in named))

    def _wanted(self) -> dict[str, str]:
        """Tensors of the base that the file must hold, by their names on disk, and what it should call them."""
        task = self.config.values.get("task_type")
        implied = _TASK_HEADS.get(str(task), ())
        wanted: dict[str, str] = {}
        for module in dict.fromkeys((*self.config.names("modules_to_save"), *implied)):
            matched = [theirs for theirs, name in self._names.items() if _lies_in(name, module)]
            if not matched and module not in (*HEADS, *implied):
                raise FileError(self.config.path, f"modules_to_save: the model has no module {module!r}")
            wanted |= {theirs: self.prefix + self._names[theirs] for theirs in matched}
        bias = self.config.values.get("bias", "none")
        if self.config.kind not in PROMPTS and bias != "none":
            adapted = {layer.name for layer in self.layers.values()}
            for theirs, name in self._names.items():
                module, _, last = theirs.rpartition(".")
                if last == "bias" and (bias == "all" or module in adapted):
                    infix = ".base_layer.bias" if module in adapted else ".bias"
                    wanted.setdefault(theirs, self.prefix + name.removesuffix(".bias") + infix)
        return wanted

    def _check_targets(self, found: Mapping[str, Layer]) -> None:
        modules = {self._names[layer.weight.theirs]: layer for layer in self.base.layers.values()}
        wanted = {name for at, layer in modules.items() if self._is_target(name := at.removesuffix(".weight"), layer)}
        if lacking := sorted(wanted - {*found}):
            raise FileError(self.path, f"has no adapter of {lacking[0]!r}, which target_modules names")
        if excess := sorted({*found} - wanted):
            raise FileError(self.path, f"holds an adapter of {excess[0]!r}, which target_modules does not name")

    def _is_target(self, module: str, layer: Layer) -> bool:
        if str(self.config.values.get("target_modules")).lower() != _LINEAR:
            return self.config.is_target(module)
        is_linear = not layer.is_embedding and layer.axes is not None and len(layer.axes.theirs_in) == 1
        is_output = layer.ours == ("head",) and self.config.values.get("task_type") is not None
        return is_linear and not is_output and not self.config.is_excluded(module)


def open_contents(folder: Path, config: AdapterConfig, base: Base) -> Contents:
    """The weights beside a config.

    Raises:
      FileError: they are missing or damaged, or a tensor's name is none that PEFT would load.
    """
    path = folder / WEIGHTS
    if not path.is_file() and (folder / PICKLED).is_file():
        path = folder / PICKLED
    contents = Contents(path, open_checkpoint(path).tensors, config, base)
    for name in contents.file:
        if not name.startswith(contents.prefix) and name not in (PROMPT, VERA_A, VERA_B):
            raise FileError(path, f"{name!r} does not begin with {contents.prefix!r}, without which PEFT leaves it out")
    return contents


def _lies_in(name: str, module: str) -> bool:
    """Whether a tensor belongs to a module that `modules_to_save` names, by the rule of PEFT."""
    parts = name.split(".")[:-1]
    return any(".".join(parts[: i + 1]).endswith(module) for i in range(len(parts)))
