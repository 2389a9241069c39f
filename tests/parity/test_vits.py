"""ViTs of transformers, timm and big_vision: equal outputs, stages and gradients, and files both ways."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from handover import assert_same_gradients, computed, expected, gradients, write_back
from process import run_side

from tlx.interop.released import recognise

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).with_name("vits_side.py")
TIMM = ("timm_mean", "timm_patches", "timm_before", "timm_class")
NPZ = ("augreg", "bigvision_mean", "bigvision_class")
# Largest differences seen: 1.9e-6 of outputs of order one, 1.4e-6 of a gradient.
OUTPUT, GRADIENT = 1e-5, 1e-4
# Softmax ignores what a key's bias adds to every score alike.
WITHOUT_EFFECT = "attention/key/bias"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the libraries made, what tlx wrote of it, and what the libraries made of that."""
    path = tmp_path_factory.mktemp("vits")
    run_side(SCRIPT, "make", path)
    for case in ("hf", *TIMM):
        released = recognise(path / case)
        write_back(path / case / "back", released, released.load()[0])
    run_side(SCRIPT, "load", path)
    return path


@pytest.mark.parametrize("case", ["hf", "hf_memory", *TIMM])
def test_every_stage_and_every_gradient_are_theirs(folder: Path, case: str) -> None:
    released, want = recognise(folder / case), expected(folder, case)
    model, (variables, report) = released.model, released.load()
    assert not report.of("reset") and not report.of("left out")
    stages, grads = computed(model)(variables, 2 * want["pixels"] - 1, want["weight"])
    for k in range(model.stages.index("pool")):
        np.testing.assert_allclose(stages[k], want[f"stage_{k}"], rtol=0, atol=OUTPUT, err_msg=model.stages[k])
    np.testing.assert_allclose(stages[-1], want["logits"], rtol=0, atol=OUTPUT)
    assert np.ptp(want["logits"]) > 1
    layout = released.format.layout(dict(model.settings), model.num_classes)
    assert_same_gradients(grads, gradients(folder, case, layout, variables), GRADIENT, WITHOUT_EFFECT)


@pytest.mark.parametrize("case", ["hf", *TIMM])
def test_what_tlx_wrote_they_load_whole(folder: Path, case: str) -> None:
    back = np.load(folder / f"{case}.back.npz")["logits"]
    np.testing.assert_allclose(back, expected(folder, case)["logits"], rtol=0, atol=1e-6)


def test_a_bare_encoder_gives_its_features_and_its_pooler_is_left_out(folder: Path) -> None:
    released, want = recognise(folder / "hf_bare"), expected(folder, "hf_bare")
    variables, report = released.load()
    assert {row.theirs for row in report.of("left out")} == {"pooler.dense.weight", "pooler.dense.bias"}
    assert {row.ours for row in report.of("reset")} == {"params/head/kernel", "params/head/bias"}
    features = released.model.module.apply(variables, 2 * want["pixels"] - 1, last=len(released.model.stages) - 1)
    np.testing.assert_allclose(features, want["features"], rtol=0, atol=OUTPUT)


@pytest.mark.parametrize(("case", "checkpoint"), [("hf_resized", "hf_resized"), ("timm_resized", "timm_class")])
def test_images_of_another_size(folder: Path, case: str, checkpoint: str) -> None:
    released, want = recognise(folder / checkpoint), expected(folder, case)
    model = replace(released.model, input_shape=(20, 20, 3))
    variables, report = released.load(model)
    (row,) = report.of("resized from 1×10×16")
    assert row.shape == (1, 26, 16)
    logits = model.module.apply(variables, 2 * want["pixels"] - 1)
    # PyTorch computes the cubic's weights in single precision.
    np.testing.assert_allclose(logits, want["logits"], rtol=0, atol=OUTPUT)


@pytest.mark.parametrize("case", NPZ)
def test_google_s_files_are_read_as_timm_reads_them(folder: Path, case: str) -> None:
    released, want = recognise(folder / f"{case}.npz"), expected(folder, case)
    # Google's models have the GELU's approximation, timm's the exact one.
    settings = {**dict(released.model.settings), "gelu_exact": True}
    model = replace(released.model, settings=tuple(sorted(settings.items())))
    variables, _ = released.load(model)
    logits = model.module.apply(variables, 2 * want["pixels"] - 1)
    np.testing.assert_allclose(logits, want["logits"], rtol=0, atol=OUTPUT)
