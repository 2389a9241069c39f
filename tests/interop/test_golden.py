"""Checkpoints that transformers, timm and Google's code wrote: the same logits, and the same tensors written back."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiers import first

from tlx.interop import clip_pair
from tlx.interop.released import Released, recognise, resized

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoints"
# Largest difference seen: 2.4e-6, of logits of order one.
CLOSE = 1e-5
FORMATS = {
    "vit": "hf-vit",
    "timm_vit": "timm-vit",
    "augreg_vit": "bigvision-vit",
    "bert": "hf-bert",
    "bert_mlm": "hf-bert",
    "roberta": "hf-roberta",
    "gpt2": "hf-gpt2",
    "llama": "hf-llama",
    "qwen2": "hf-llama",
    "mistral": "hf-llama",
    "resnet": "hf-resnet",
}


def opened(case: str) -> tuple[Released, dict[str, np.ndarray]]:
    folder = GOLDEN / case
    npz = next(folder.glob("*.npz"), None)
    return recognise(npz or folder), load_file(folder / "expected.safetensors")


def test_each_golden_checkpoint_is_tested() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {*FORMATS, "clip"}


@pytest.mark.parametrize("case", first(7, FORMATS))
def test_logits_are_those_of_the_library_that_wrote_it(case: str) -> None:
    released, want = opened(case)
    assert released.format.name == FORMATS[case]
    # Google's models have the GELU's approximation, timm, which read this one, the exact one.
    model = resized(released.model, gelu_exact=True) if case == "augreg_vit" else released.model
    variables, report = released.load(model)
    assert not report.of("reset")
    logits = np.asarray(model.module.apply(variables, want["input"]))
    if case in ("gpt2", "llama", "qwen2", "mistral"):
        logits = np.where(want["input"][..., None] > 0, logits, np.float32(0))
    np.testing.assert_allclose(logits, want["logits"], rtol=0, atol=CLOSE)
    assert np.ptp(want["logits"]) > 1


def test_both_towers_of_clip() -> None:
    pair, variables, report = clip_pair.load(GOLDEN / "clip")
    want = load_file(GOLDEN / "clip" / "expected.safetensors")
    assert not report.of("reset") and not report.of("left out")
    logits = pair.module.apply(variables, want["input"], want["ids"])
    np.testing.assert_allclose(logits, want["logits"], rtol=0, atol=CLOSE)
