"""Causal decoders as transformers computes them: hidden states, logits, gradients, greedy texts, and files read back.

PyTorch runs `hf_decoders_side.py` in a process and an environment of its own, named by TLX_TORCH_PYTHON.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from process import run_side

from tlx.interop import layout as layouts
from tlx.interop.released import Released, recognise, resized
from tlx.interop.write import save_released
from tlx.models.generate import generate

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).with_name("hf_decoders_side.py")
LMS = ("gpt2-lm", "llama-lm", "llama-lm-tied", "llama-lm-biased", "qwen2-lm", "mistral-lm")
CASES = (*LMS, "gpt2-classify", "llama-classify")

# Limits on hidden states and logits, and on a gradient as a share of its largest number.
OUTPUT, GRADIENT = 1e-5, 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case as transformers wrote it, and as tlx wrote it again with what transformers made of that."""
    where = tmp_path_factory.mktemp("decoders")
    run_side(SCRIPT, "make", where)
    for name in CASES:
        released, variables = opened(where, name)
        save_released(where / f"{name}-tlx", released.format, released.model, variables)
    run_side(SCRIPT, "read", where)
    return where


@functools.cache
def opened(folder: Path, name: str) -> tuple[Released, dict[str, Any]]:
    released = recognise(folder / name)
    variables, report = released.load()
    assert not report.of("reset") and not report.of("left out")
    return released, variables


@functools.cache
def theirs(folder: Path, name: str) -> dict[str, np.ndarray]:
    return dict(np.load(folder / f"{name}.npz"))


@functools.cache
def ours(folder: Path, name: str) -> Any:
    """What every stage hands on, and the gradients, by the names of the file."""
    released, variables = opened(folder, name)
    model, want = released.model, theirs(folder, name)
    id_BT, weight = jnp.asarray(want["id"], jnp.int32), jnp.asarray(want["weight"])

    def loss(variables: Any) -> Any:
        states, x = [], id_BT
        for k in range(len(model.stages)):
            x = model.module.apply(variables, x, k, k + 1)
            states.append(x)
        return jnp.sum(x * weight), states

    (_, states), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    layout = released.format.layout(dict(model.settings), model.num_classes)
    return states, layouts.save(layout, grads)


@pytest.mark.parametrize("name", CASES)
def test_hidden_states_and_logits(name: str, folder: Path) -> None:
    (*below, _, features, logits), want = ours(folder, name)[0], theirs(folder, name)
    words_BT = want["mask"] > 0
    # Their last hidden state is the one after the final norm.
    for k, flow in enumerate(below):
        np.testing.assert_allclose(flow["hidden"][words_BT], want[f"hidden/{k}"][words_BT], rtol=0, atol=OUTPUT)
    last = want[f"hidden/{len(below)}"]
    assert f"hidden/{len(below) + 1}" not in want
    if logits.ndim == 3:
        np.testing.assert_allclose(features[words_BT], last[words_BT], rtol=0, atol=OUTPUT)
        np.testing.assert_allclose(logits[words_BT], want["logits"][words_BT], rtol=0, atol=OUTPUT)
    else:
        final_B = [np.flatnonzero(row)[-1] for row in words_BT]
        np.testing.assert_allclose(features, last[np.arange(len(last)), final_B], rtol=0, atol=OUTPUT)
        np.testing.assert_allclose(logits, want["logits"], rtol=0, atol=OUTPUT)
    assert 2 < np.ptp(want["logits"]) < 20


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str, folder: Path) -> None:
    got, want = ours(folder, name)[1], theirs(folder, name)
    names = {key.removeprefix("grad/") for key in want if key.startswith("grad/")}
    assert names == got.keys()
    for key in sorted(names):
        largest = np.abs(want[f"grad/{key}"]).max()
        # Softmax ignores what a key's bias adds to every score alike, where positions do not turn it.
        largest = max(largest, 1e-2)
        np.testing.assert_allclose(got[key], want[f"grad/{key}"], rtol=0, atol=GRADIENT * largest, err_msg=key)


@pytest.mark.parametrize("name", LMS)
def test_greedy_texts(name: str, folder: Path) -> None:
    (released, variables), want = opened(folder, name), theirs(folder, name)
    text = generate(released.model, variables, jnp.asarray(want["id"], jnp.int32), want["text"].shape[1])
    assert np.array_equal(text.id_BN, want["text"]) and text.length_B[0] <= 3


def test_greedy_texts_without_an_end(folder: Path) -> None:
    (released, variables), want = opened(folder, "gpt2-lm"), theirs(folder, "gpt2-lm")
    new = want["endless"].shape[1]
    text = generate(resized(released.model, eos=()), variables, jnp.asarray(want["id"], jnp.int32), new)
    assert np.array_equal(text.id_BN, want["endless"]) and np.all(text.length_B == new)


@pytest.mark.parametrize("name", CASES)
def test_transformers_loads_what_tlx_wrote(name: str, folder: Path) -> None:
    again, want = np.load(folder / f"{name}-tlx.npz"), theirs(folder, name)
    assert again["wrong"].tolist() == []
    words_BT = want["mask"] > 0 if want["logits"].ndim == 3 else slice(None)
    np.testing.assert_allclose(again["logits"][words_BT], want["logits"][words_BT], rtol=0, atol=1e-6)
    assert recognise(folder / f"{name}-tlx").model == opened(folder, name)[0].model
