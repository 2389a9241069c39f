"""CLIP of transformers: equal stages, image-text logits, gradients and zero-shot probabilities, and files both ways."""

from pathlib import Path

import jax
import numpy as np
import pytest
from handover import assert_same_gradients, expected, gradients, write_back
from process import run_side

from tlx import tree
from tlx.interop import clip_pair
from tlx.interop.released import recognise
from tlx.models import zero_shot

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).with_name("clip_side.py")
# The Gelu's approximation by a sigmoid and the exact one; the end of a text as the highest id and as the first of one.
CASES = ("quick", "exact")
FORMATS = {"vision": "hf-clip", "text": "hf-clip-text"}
# Largest differences seen: 1.4e-6 of outputs of order one, 1.9e-5 of a gradient.
OUTPUT, GRADIENT = 1e-5, 1e-4
# Softmax ignores what a key's bias adds to every score alike.
WITHOUT_EFFECT = "attention/key/bias"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What transformers made, what tlx wrote of it, and what transformers made of that."""
    path = tmp_path_factory.mktemp("clip")
    run_side(SCRIPT, "make", path)
    for case in CASES:
        pair, variables, _ = clip_pair.load(path / case)
        clip_pair.save(path / case / "back", pair, variables)
        for name in FORMATS:
            released = recognise(path / f"{case}_towers" / name)
            # The head is ours alone.
            write_back(path / f"{case}_towers" / f"{name}_back", released, released.load()[0], without=("head.",))
    run_side(SCRIPT, "load", path)
    return path


@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients_of_both_towers_are_theirs(folder: Path, case: str) -> None:
    (pair, variables, report), want = clip_pair.load(folder / case), expected(folder, case)
    assert not report.of("reset") and not report.of("left out")
    x, ids = 2 * want["pixels"] - 1, want["ids"].astype(np.int32)

    def loss(variables: object) -> object:
        logits = pair.module.apply(variables, x, ids)
        return (logits * want["weight"]).sum(), logits

    (_, logits), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    np.testing.assert_allclose(logits, want["logits"], rtol=0, atol=OUTPUT)
    assert np.ptp(want["logits"]) > 1
    theirs = gradients(folder, case, pair.layout, variables)
    assert_same_gradients(tree.flatten(jax.device_get(grads)), theirs, GRADIENT, WITHOUT_EFFECT)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_every_stage_of_a_tower_is_theirs(folder: Path, case: str, name: str) -> None:
    released, want = recognise(folder / case, FORMATS[name]), expected(folder, case)
    variables, report = released.load()
    other = {"vision": "text", "text": "vision"}[name]
    left_out = {row.theirs for row in report.of("left out")}
    assert "logit_scale" in left_out and any(tensor.startswith(f"{other}_model.") for tensor in left_out)
    assert {row.ours for row in report.of("reset")} == {"params/head/kernel", "params/head/bias"}
    model = released.model
    x = 2 * want["pixels"] - 1 if name == "vision" else want["ids"].astype(np.int32)
    for k, stage in enumerate(model.stages[:-1]):
        x = model.module.apply(variables, x, k, k + 1)
        found = x["hidden"] if isinstance(x, dict) else x
        at = f"{name}_features" if stage == "pool" else f"{name}_{k}"
        np.testing.assert_allclose(found, want[at], rtol=0, atol=OUTPUT, err_msg=stage)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_a_tower_of_its_own_holds_the_same_leaves(folder: Path, case: str, name: str) -> None:
    alone, whole = recognise(folder / f"{case}_towers" / name), recognise(folder / case, FORMATS[name])
    one, other = (tree.flatten(released.load()[0]) for released in (alone, whole))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[path], other[path]) for path in one)


def test_an_image_tower_without_projection(folder: Path) -> None:
    released, want = recognise(folder / "bare"), expected(folder, "bare")
    model, (variables, _) = released.model, released.load()
    assert dict(model.settings)["projection"] == 0 and "projection" not in variables["params"]["pool"]
    features = model.module.apply(variables, 2 * want["pixels"] - 1, last=len(model.stages) - 1)
    length = np.linalg.norm(want["features"], axis=1, keepdims=True)
    np.testing.assert_allclose(features * length, want["features"], rtol=0, atol=OUTPUT)


@pytest.mark.parametrize("case", CASES)
def test_zero_shot_probabilities_are_theirs(folder: Path, case: str) -> None:
    (pair, variables, _), want = clip_pair.load(folder / case), expected(folder, case)
    text, vision = (clip_pair.tower(pair, variables, name) for name in ("text", "vision"))
    classes = zero_shot.class_embeddings(pair.text, text, want["prompts"].astype(np.int32))
    np.testing.assert_allclose(classes, want["classes"], rtol=0, atol=OUTPUT)
    model = pair.vision_with(len(classes))
    source = zero_shot.classifier(model, vision, classes, variables["params"]["logit_scale"])
    logits = model.module.apply(source, 2 * want["pixels"] - 1)
    np.testing.assert_allclose(jax.nn.softmax(logits), want["probability"], rtol=0, atol=OUTPUT)
    assert np.ptp(want["probability"]) > 0.3


@pytest.mark.parametrize("case", CASES)
def test_what_tlx_wrote_transformers_loads_whole(folder: Path, case: str) -> None:
    back, want = np.load(folder / f"{case}.back.npz"), expected(folder, case)
    for name in ("logits", "vision_features", "text_features"):
        np.testing.assert_allclose(back[name], want[name], rtol=0, atol=1e-6)
