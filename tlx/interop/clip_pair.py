"""Both towers of a `CLIPModel` at once, in and out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save as to_safetensors

from tlx import atomic
from tlx.errors import FileError
from tlx.interop import hf_clip
from tlx.interop import layout as layouts
from tlx.interop.layout import Layout, Tensor
from tlx.interop.released import recognise
from tlx.interop.report import Report
from tlx.models.clip import Clip, check_projections
from tlx.models.registry import Model


@dataclass(frozen=True)
class Pair:
    """Two towers that share a space.

    Args:
      vision: a `clip_vision`.
      text: a `clip_text`.
    """

    vision: Model
    text: Model

    def vision_with(self, num_classes: int) -> Model:
        """The image tower with a head for so many classes."""
        return replace(self.vision, num_classes=num_classes)

    @property
    def module(self) -> Clip:
        """The linen module, of images and token ids."""
        return Clip(self.vision.module, self.text.module)

    @property
    def layout(self) -> Layout:
        """The tensors of `CLIPModel`."""
        tensors = [
            *hf_clip.vision_tensors(dict(self.vision.settings), "params/vision"),
            *hf_clip.text_tensors(dict(self.text.settings), "params/text"),
            Tensor("logit_scale", ("params/logit_scale",)),
        ]
        return Layout(tuple(tensors), buffers=hf_clip.BUFFERS)

    @property
    def config(self) -> dict[str, Any]:
        """The `config.json` of `CLIPModel`."""
        settings = dict(self.vision.settings)
        return {
            "architectures": ["CLIPModel"],
            "model_type": "clip",
            "projection_dim": settings["projection"],
            "vision_config": hf_clip.vision_config(self.vision),
            "text_config": hf_clip.text_config(self.text),
        }


def load(path: Path | str) -> tuple[Pair, dict[str, Any], Report]:
    """Both towers and the scale.

    Args:
      path: of a folder that `CLIPModel.save_pretrained` wrote.

    Returns:
      The architectures, `{"params": {"vision": …, "text": …, "logit_scale": …}}` in float32, and what became of every
      tensor.

    Raises:
      FileError: it holds something else, or not what its config promises.
    """
    found = recognise(path, hf_clip.CLIP_VISION.name)
    pair = Pair(found.model, recognise(path, hf_clip.CLIP_TEXT.name).model)
    for model, name in ((pair.vision, "visual_projection.weight"), (pair.text, "text_projection.weight")):
        if not dict(model.settings)["projection"]:
            raise FileError(path, f"has no tensor {name!r}, without which there is no space for images and texts")
    fresh = jax.eval_shape(pair.module.init, jax.random.key(0), pair.vision.example(), pair.text.example())
    variables, report = layouts.load(pair.layout, found.checkpoint.path, found.checkpoint.tensors, fresh)
    return pair, variables, report


def tower(pair: Pair, variables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The leaves of one tower, with a fresh head.

    Args:
      pair: the architectures.
      variables: of both.
      name: `vision` or `text`.
    """
    model = {"vision": pair.vision, "text": pair.text}[name]
    head = jax.jit(lambda: model.init(0)["params"]["head"])()
    return {"params": {**variables["params"][name], "head": head}}


def save(folder: Path | str, pair: Pair, variables: Mapping[str, Any]) -> None:
    """Write what `CLIPModel.from_pretrained` loads.

    Args:
      folder: made where it is missing; its `config.json` and `model.safetensors` are replaced.
      pair: the architectures.
      variables: of both; heads beside them are not written, as `CLIPModel` has none.

    Raises:
      ConfigError: the towers do not share a space.
      FileError: the system refuses.
    """
    check_projections(dict(pair.vision.settings), dict(pair.text.settings))
    tensors: dict[str, np.ndarray] = layouts.save(pair.layout, dict(variables))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(folder / "model.safetensors", to_safetensors(tensors, metadata={"format": "pt"}))
    atomic.write_json(folder / "config.json", pair.config)
