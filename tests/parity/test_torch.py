"""The same runs in tlx and in PyTorch: equal logits, equal losses at every step, equal leaves at the end.

PyTorch runs `torch_side.py` in a process and an environment of its own, named by TLX_TORCH_PYTHON; `.ci/parity` makes
both. What goes to and fro are arrays.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from process import run_side

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.models.registry import Model
from tlx.optim import Optimizer
from tlx.partition import combine, partition
from tlx.state import make_hyper
from tlx.step import Task, init_state, predict, train_step

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).with_name("torch_side.py")

# Sides, channels and classes all differ, so that no two axes can be taken for one another.
VIT = {"patch": 4, "width": 16, "depth": 2, "heads": 2, "mlp_ratio": 3}
MODEL = Model("vit", tuple(sorted(VIT.items())), num_classes=5, input_shape=(8, 12, 3))
LORA = {"rank": 2, "alpha": 6.0, "dropout": 0.0, "target": r".*/(query|value)"}
METHODS: dict[str, dict[str, Any]] = {"full": {}, "head": {}, "lora": LORA}
LEARNING_RATES = {"adamw": 0.01, "sgd": 0.1}
STEPS, WARMUP, BATCH, CLIP = 10, 2, 8, 0.5
HYPER = {"weight_decay": 0.3, "label_smoothing": 0.1}
CASES = [(method, optimizer) for method in METHODS for optimizer in LEARNING_RATES]

# Largest differences seen: 3e-7 in logits of order one, 8e-7 of a loss, 1.4e-5 of the way a leaf went and 6e-6 in the
# logits at its end. Nearly all of the last two is Adam's 1 - β2^t, taken in single precision by optax, in double by
# PyTorch; under SGD they are 1e-5 (a leaf that hardly moves) and 5e-7.
LOGITS, LOSS, LEAF, LOGITS_AFTER = 1e-6, 5e-6, 1e-4, 3e-5
# Softmax ignores what a key's bias adds to every score alike: its gradient is rounding, which Adam blows up.
WITHOUT_EFFECT = "attention/key/bias"

Run = dict[str, np.ndarray]
Runs = dict[tuple[str, str], Run]


def adapted(method: str) -> Adapted:
    return Adapted(MODEL, method, tuple(sorted(METHODS[method].items())))


def task_of(method: str, optimizer: str) -> Task:
    return Task(adapted(method), Optimizer(name=optimizer, clip_norm=CLIP, warmup=WARMUP / STEPS), steps=STEPS)


@functools.cache
def leaves_of(method: str) -> Run:
    """Fresh leaves with noise on them: none stays at a zero or one that would hide a mistake."""
    rng = np.random.default_rng(0)
    fresh = adapted(method).init_adapters(MODEL.init(0), 1)
    return {
        path: np.asarray(leaf + rng.normal(0, 0.1, leaf.shape), np.float32)
        for path, leaf in sorted(tree.flatten(jax.device_get(fresh)).items())
    }


@functools.cache
def batches() -> Run:
    rng = np.random.default_rng(1)
    shape = (STEPS, BATCH, *MODEL.input_shape)
    label = rng.integers(0, MODEL.num_classes, (STEPS, BATCH))
    return {"input": rng.uniform(-1, 1, shape).astype(np.float32), "label": label.astype(np.int32)}


def schedule(peak: float) -> np.ndarray:
    """Linear over the warm-up to the peak, then half a cosine to zero."""
    step = np.arange(STEPS)
    cosine = (1 + np.cos(np.pi * (step - WARMUP) / (STEPS - WARMUP))) / 2
    return peak * np.where(step < WARMUP, (step + 1) / WARMUP, cosine)


@functools.cache
def tlx_run(method: str, optimizer: str) -> Run:
    task = task_of(method, optimizer)
    trainable, frozen = partition(tree.unflatten(leaves_of(method)), task.adapted.labels())
    state = init_state(task, trainable, {}, make_hyper(LEARNING_RATES[optimizer], **HYPER))
    step = jax.jit(functools.partial(train_step, task))
    logits = jax.jit(lambda leaves: predict(task, leaves, frozen, {}, batches()["input"][0], 1.0))
    before, losses = logits(state.trainable), []
    for i in range(STEPS):
        state, loss = step(state, frozen, {key: jnp.asarray(values[i]) for key, values in batches().items()})
        losses.append(float(loss))
    whole = tree.flatten(combine(state.trainable, frozen))
    whole |= {"before": before, "after": logits(state.trainable), "losses": losses}
    return {key: np.asarray(value) for key, value in whole.items()}


@pytest.fixture(scope="module")
def torch_runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """What PyTorch makes of every case, all in one process."""
    folder = tmp_path_factory.mktemp("parity")
    files = {case: folder / f"{'-'.join(case)}.npz" for case in CASES}
    for (method, optimizer), file in files.items():
        settings = {**VIT, "rank": 0, "alpha": 0.0, **METHODS[method], **HYPER}
        settings |= {"method": method, "optimizer": optimizer, "clip_norm": CLIP}
        rates = schedule(LEARNING_RATES[optimizer])
        np.savez(file, **leaves_of(method), **batches(), **settings, learning_rate=rates)
    run_side(SCRIPT, *files.values())
    return {case: dict(np.load(file.with_suffix(".done.npz"))) for case, file in files.items()}


@pytest.mark.parametrize("method", METHODS)
def test_the_forward_pass_is_that_of_pytorch(method: str, torch_runs: Runs) -> None:
    got, want = tlx_run(method, "sgd")["before"], torch_runs[method, "sgd"]["before"]
    np.testing.assert_allclose(got, want, rtol=0, atol=LOGITS)
    assert np.ptp(want) > 1


@pytest.mark.parametrize(("method", "optimizer"), CASES)
def test_training_is_that_of_pytorch(method: str, optimizer: str, torch_runs: Runs) -> None:
    got, want, start = tlx_run(method, optimizer), torch_runs[method, optimizer], leaves_of(method)
    np.testing.assert_allclose(got["losses"], want["losses"], rtol=LOSS)
    np.testing.assert_allclose(got["after"], want["after"], rtol=0, atol=LOGITS_AFTER)
    for path, leaf in start.items():
        if not path.endswith(WITHOUT_EFFECT):
            way = np.linalg.norm(want[path] - leaf)
            assert np.linalg.norm(got[path] - want[path]) <= LEAF * way, path
