"""What goes to and fro between tlx and another library: files as that library writes and reads them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save as to_safetensors

from tlx import atomic, tree
from tlx.interop import layout as layouts
from tlx.interop.files import open_safetensors
from tlx.interop.released import Released
from tlx.models.registry import Model

Arrays = dict[str, np.ndarray]


def expected(folder: Path, case: str) -> Arrays:
    """What the other library computed."""
    return dict(np.load(folder / f"{case}.expected.npz"))


def gradients(folder: Path, case: str, layout: layouts.Layout, fresh: Any) -> Arrays:
    """The other library's gradients, by our paths; what is read of weights is read of gradients alike."""
    path = folder / f"{case}.grads.safetensors"
    grads, _ = layouts.load(layout, path, open_safetensors(path), fresh)
    return tree.flatten(grads)


def write_back(folder: Path, released: Released, variables: dict[str, Any], without: tuple[str, ...] = ()) -> None:
    """The files of a model of ours in the format it came in."""
    model, config = released.model, released.format.config
    assert config is not None
    tensors = layouts.save(released.format.layout(dict(model.settings), model.num_classes), variables)
    kept = {name: value for name, value in tensors.items() if not name.startswith(without)} if without else tensors
    folder.mkdir()
    atomic.write_bytes(folder / "model.safetensors", to_safetensors(kept, metadata={"format": "pt"}))
    atomic.write_json(folder / "config.json", config(model))


@functools.cache
def computed(model: Model) -> Callable[..., Any]:
    """(variables, input, weight of each logit) to what each stage gives and the gradients of the weighted sum."""

    def loss(variables: Any, x: Any, weight: Any) -> Any:
        stages = []
        for k in range(len(model.stages)):
            x = model.module.apply(variables, x, k, k + 1)
            stages.append(x)
        return (x * weight).sum(), stages

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def stages_and_gradients(*args: Any) -> Any:
        (_, stages), grads = jax.device_get(run(*args))
        return stages, tree.flatten(grads)

    return stages_and_gradients


def assert_same_gradients(got: Arrays, want: Arrays, tolerance: float, without_effect: str) -> None:
    """Whether all gradients agree, relative to the largest number of each leaf.

    Args:
      got: ours.
      want: theirs.
      tolerance: relative.
      without_effect: end of the paths of leaves whose gradient is rounding.
    """
    assert got.keys() == want.keys()
    for path, leaf in want.items():
        if not path.endswith(without_effect):
            np.testing.assert_allclose(got[path], leaf, rtol=0, atol=tolerance * np.abs(leaf).max(), err_msg=path)
            assert np.abs(leaf).max() > 1e-4, path
