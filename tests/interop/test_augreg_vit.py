"""Google's `.npz` files: AugReg's names and big_vision's."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from in_numpy import Arrays, attend, drawn, gelu_tanh

from tlx.errors import FileError
from tlx.interop.released import recognise

PATCH, WIDTH, HEADS, HIDDEN, CLASSES, SIDE = 2, 8, 2, 12, 3, 4
OLD, NEW = ("", 1, 2, 3), ("params/", 0, 1, 0)


def shapes(generation: tuple[str, int, int, int], cls: bool, rows: int) -> dict[str, tuple[int, ...]]:
    """Of one file: what leads its names and how it numbers attention, second norm and MLP."""
    top, attention, second, mlp = generation
    positions = "pos_embedding" if top else "Transformer/posembed_input/pos_embedding"
    found: dict[str, tuple[int, ...]] = {
        **({"cls": (1, 1, WIDTH)} if cls else {}),
        positions: (1, rows, WIDTH),
        "embedding/kernel": (PATCH, PATCH, 3, WIDTH),
        "embedding/bias": (WIDTH,),
        "Transformer/encoder_norm/scale": (WIDTH,),
        "Transformer/encoder_norm/bias": (WIDTH,),
        "head/kernel": (WIDTH, CLASSES),
        "head/bias": (CLASSES,),
    }
    for i in range(2):
        block = f"Transformer/encoderblock_{i}"
        for number in (0, second):
            found |= {f"{block}/LayerNorm_{number}/{leaf}": (WIDTH,) for leaf in ("scale", "bias")}
        own = f"{block}/MultiHeadDotProductAttention_{attention}"
        for name in ("query", "key", "value"):
            found |= {f"{own}/{name}/kernel": (WIDTH, HEADS, WIDTH // HEADS), f"{own}/{name}/bias": (HEADS, 4)}
        found |= {f"{own}/out/kernel": (HEADS, WIDTH // HEADS, WIDTH), f"{own}/out/bias": (WIDTH,)}
        found |= {f"{block}/MlpBlock_{mlp}/Dense_0/kernel": (WIDTH, HIDDEN)}
        found |= {f"{block}/MlpBlock_{mlp}/Dense_0/bias": (HIDDEN,)}
        found |= {f"{block}/MlpBlock_{mlp}/Dense_1/kernel": (HIDDEN, WIDTH)}
        found |= {f"{block}/MlpBlock_{mlp}/Dense_1/bias": (WIDTH,)}
    return {f"{top}{name}": shape for name, shape in found.items()}


def norm(x: np.ndarray, t: Arrays, name: str) -> np.ndarray:
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * t[f"{name}/scale"] + t[f"{name}/bias"]


def dense(x: np.ndarray, t: Arrays, name: str) -> np.ndarray:
    """With any number of axes of heads in front or behind."""
    kernel, bias = t[f"{name}/kernel"].astype(np.float64), t[f"{name}/bias"]
    return x @ kernel.reshape(x.shape[-1], -1) + bias.reshape(-1)


def logits_of(t: Arrays, generation: tuple[str, int, int, int], pixels_HWC: np.ndarray) -> np.ndarray:
    """One image's, as flax computes them."""
    top, attention, second, mlp = generation
    t = {name.removeprefix(top): value for name, value in t.items()}
    x_HWC = 2 * pixels_HWC.astype(np.float64) - 1
    corners = [(i, j) for i in range(0, SIDE, PATCH) for j in range(0, SIDE, PATCH)]
    cut = [x_HWC[i : i + PATCH, j : j + PATCH] for i, j in corners]
    x = np.stack([np.einsum("pqc,pqcd->d", one, t["embedding/kernel"]) for one in cut]) + t["embedding/bias"]
    if top:
        x = x + t["pos_embedding"][0]
    x = np.concatenate([t["cls"][0], x]) if "cls" in t else x
    if not top:
        x = x + t["Transformer/posembed_input/pos_embedding"][0]
    for i in range(2):
        block = f"Transformer/encoderblock_{i}"
        own, h = f"{block}/MultiHeadDotProductAttention_{attention}", norm(x, t, f"{block}/LayerNorm_0")
        q, k, v = (dense(h, t, f"{own}/{name}") for name in ("query", "key", "value"))
        x = x + dense(attend(q, k, v, HEADS), t, f"{own}/out")
        h = gelu_tanh(dense(norm(x, t, f"{block}/LayerNorm_{second}"), t, f"{block}/MlpBlock_{mlp}/Dense_0"))
        x = x + dense(h, t, f"{block}/MlpBlock_{mlp}/Dense_1")
    x = norm(x, t, "Transformer/encoder_norm")
    return dense(x[0] if "cls" in t else x.mean(axis=0), t, "head")


def saved(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("generation", "cls", "rows"),
    [(OLD, True, 5), (OLD, False, 4), (NEW, False, 4), (NEW, True, 4)],
    ids=["augreg", "augreg-mean", "bigvision-mean", "bigvision-class"],
)
def test_it_computes_what_flax_does(
    generation: tuple[str, int, int, int], cls: bool, rows: int, tmp_path: Path
) -> None:
    arrays = drawn(shapes(generation, cls, rows))
    released = recognise(saved(tmp_path / "vit.npz", arrays))
    model, (variables, report) = released.model, released.load()
    assert (released.format.name, model.num_classes, model.input_shape) == ("bigvision-vit", CLASSES, (SIDE, SIDE, 3))
    # Where positions come without one for the class token, it gets one of zeros.
    assert len(report.of("resized from 1×4×8")) == (cls and rows == 4)
    pixels = np.random.default_rng(1).uniform(0, 1, (SIDE, SIDE, 3)).astype(np.float32)
    logits = model.module.apply(variables, 2 * pixels[None] - 1)[0]
    np.testing.assert_allclose(logits, logits_of(arrays, generation, pixels), atol=1e-5)


@pytest.mark.parametrize(("generation", "rows"), [(OLD, 5), (NEW, 4)])
def test_positions_follow_the_images(generation: tuple[str, int, int, int], rows: int, tmp_path: Path) -> None:
    arrays = drawn(shapes(generation, True, rows))
    released = recognise(saved(tmp_path / "vit.npz", arrays))
    variables, _ = released.load(replace(released.model, input_shape=(6, 6, 3)))
    position = variables["params"]["embed"]["position"]
    old = next(value for name, value in arrays.items() if "pos_embedding" in name)[0, -4:]
    assert position.shape == (1, 10, WIDTH)
    # Corners stay corners, and in the middle lies the mean.
    np.testing.assert_allclose(position[0, [1, 3, 7, 9]], old, atol=1e-6)
    np.testing.assert_allclose(position[0, 5], old.mean(axis=0), atol=1e-6)


def test_a_head_behind_a_layer_of_its_own_is_not_read(tmp_path: Path) -> None:
    extra = drawn({"pre_logits/kernel": (WIDTH, WIDTH), "pre_logits/bias": (WIDTH,)})
    released = recognise(saved(tmp_path / "vit.npz", {**drawn(shapes(OLD, True, 5)), **extra}))
    _, report = released.load()
    assert {row.theirs for row in report.of("left out")} == extra.keys()
    assert {row.theirs for row in report.of("reset")} == {"head/kernel", "head/bias"}


def test_what_cannot_be_read(tmp_path: Path) -> None:
    arrays = drawn(shapes(NEW, False, 4))
    stacked = {re.sub("encoderblock_0", "encoderblock", k): v for k, v in arrays.items() if "encoderblock_1" not in k}
    for given, message in (
        (stacked, "holds no blocks one by one with learned positions"),
        (
            {**arrays, "params/MAPHead_0/probe": np.ones((1, 1, 8), np.float32)},
            "'params/MAPHead_0/probe' that the model",
        ),
        (drawn(shapes(NEW, False, 7)), "has 7 rows, which are no square"),
    ):
        with pytest.raises(FileError, match=re.escape(message)):
            recognise(saved(tmp_path / "vit.npz", given)).load()
