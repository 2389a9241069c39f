"""Adapters that PEFT wrote, read into tlx: equal logits, and from there equal losses and leaves when trained.

transformers and PEFT run `peft_side.py` in a process and an environment of their own, named by TLX_TORCH_PYTHON;
`.ci/parity` makes both. What goes to and fro are arrays and the two libraries' own files.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from process import run_side

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.prefix import drop_reparam
from tlx.adapt.registry import METHODS
from tlx.fields import check_fields
from tlx.interop.hf_bert import BERT as BERT_FORMAT
from tlx.interop.peft_load import load_adapter
from tlx.interop.released import recognise
from tlx.models.registry import MODELS, Model
from tlx.optim import Optimizer
from tlx.partition import combine
from tlx.state import make_hyper
from tlx.step import Task, init_state, train_step

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).with_name("peft_side.py")

STEPS, BATCH, LENGTH, CLIP = 10, 8, 7, 0.5
LEARNING_RATES = {"adamw": 0.01, "sgd": 0.1}
# As in `peft_side.py`.
VOCAB, PAD, DEPTH, CLASSES = 50, 0, 2, 5
BERT = {"vocab": VOCAB, "positions": 16, "width": 16, "depth": DEPTH, "heads": 2, "hidden": 32}
BERT |= {"dropout": 0.0, "pad": PAD}

LOW_RANK = {"rank": 2, "alpha": 6.0, "target": r".*/(query|value)"}
# PEFT's configurations by the names they have in `peft_side.py`, and the methods that they are in tlx.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "lora": ("lora", LOW_RANK),
    "rslora": ("rslora", LOW_RANK),
    "dora": ("dora", LOW_RANK),
    "ia3": ("ia3", {"outputs": r".*/(key|value)", "inputs": r".*/mlp/down"}),
    "ia3_as_peft": ("ia3", {"outputs": r".*/(key|value)", "inputs": r".*/(attention/out|mlp/down)"}),
    # PEFT has BERT pool what stands first, which is a prompt.
    "prompt": ("prompt", {"length": 4, "pool": "prompt"}),
    # PEFT has positions begin after the prefix.
    "prefix": ("ptuning_v2", {"length": 4, "offset_positions": True}),
    "prefix_projected": ("prefix", {"length": 4, "offset_positions": True, "reparam": 8}),
}
# SGD's steps follow the gradient's size, Adam's do not.
RUNS = [*((case, "sgd") for case in CASES), *((case, "adamw") for case in ("full", "lora", "dora", "ia3"))]

# Largest differences seen: 1.5e-6 in logits of up to 3, 2e-6 of a loss, 2e-5 of the way a leaf went.
LOGITS, LOSS, LEAF = 5e-6, 1e-5, 1e-4
# Softmax ignores what a key's bias adds to every score alike: its gradient is rounding, which Adam blows up.
WITHOUT_EFFECT = "attention/key/bias"

Leaves = dict[str, np.ndarray]

# Where the prefixes of keys and of values stand.
PREFIXES = ("key/prefix_key", "value/prefix_value")


def adapted(case: str, **changes: Any) -> Adapted:
    """The model and the method of a case; `changes` replace the method's settings."""
    method, settings = CASES[case]
    of_method = check_fields("method", METHODS[method].fields, {**settings, **changes})
    of_model = check_fields("model", MODELS["bert"].fields, BERT)
    model = Model("bert", tuple(sorted(of_model.items())), CLASSES, (LENGTH,))
    return Adapted(model, method, tuple(sorted(of_method.items())))


@functools.cache
def batches() -> Leaves:
    """Sequences of all lengths, filled up with padding."""
    rng = np.random.default_rng(1)
    ids = rng.integers(1, VOCAB, (STEPS, BATCH, LENGTH))
    length = rng.integers(1, LENGTH + 1, (STEPS, BATCH, 1))
    ids = np.where(np.arange(LENGTH) < length, ids, PAD)
    label = rng.integers(0, CLASSES, (STEPS, BATCH))
    return {"ids": ids.astype(np.int32), "label": label.astype(np.int32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What PEFT makes of every case, all in one process."""
    folder = tmp_path_factory.mktemp("peft")
    np.savez(folder / "batches.npz", **batches(), **LEARNING_RATES, clip_norm=CLIP)
    run_side(SCRIPT, folder)
    return folder


@functools.cache
def of_base(folder: Path) -> dict[str, Any]:
    """The leaves of a model that transformers saved."""
    leaves, report = recognise(folder).load()
    assert {row.what for row in report.rows} == {"copied"}
    return leaves


def held(case: str, folder: Path) -> Leaves:
    """The leaves in a file of PEFT, or those of the whole model where PEFT had no part in it."""
    if case == "full":
        return tree.flatten(of_base(folder))
    return tree.flatten(load_adapter(folder, BERT_FORMAT, adapted(case).model)[1])


def network(tensors: Leaves) -> Leaves:
    """The network that makes prefixes: its last layer is cut into those of all keys and values."""
    kernels = rearrange(tensors["transform.2.weight"], "(l s d) h -> l s h d", l=DEPTH, s=2)
    biases = rearrange(tensors["transform.2.bias"], "(l s d) -> l s d", l=DEPTH, s=2)
    leaves = {
        "adapters/block_0/prefix/embedding": tensors["embedding.weight"],
        "adapters/block_0/prefix/first/kernel": tensors["transform.0.weight"].T,
        "adapters/block_0/prefix/first/bias": tensors["transform.0.bias"],
    }
    for i in range(DEPTH):
        for s, at in enumerate(PREFIXES):
            leaves[f"adapters/block_{i}/attention/{at}/kernel"] = kernels[i, s]
            leaves[f"adapters/block_{i}/attention/{at}/bias"] = biases[i, s]
    return leaves


def as_saved(case: str, leaves: Leaves) -> Leaves:
    """The leaves that PEFT would save: prefixes, but not the network that makes them."""
    if case != "prefix_projected":
        return leaves
    nested = tree.unflatten({path: jnp.asarray(leaf) for path, leaf in leaves.items()})
    return tree.flatten({**nested, "adapters": drop_reparam(nested["adapters"])})


def done(case: str, name: str, folder: Path) -> np.ndarray:
    """An array of `done.npz`."""
    with np.load(folder / case / "done.npz") as stored:
        return stored[name]


def logits_of(case: str, folder: Path) -> np.ndarray:
    return done(case, "logits", folder)


def saved(case: str, folder: Path) -> Leaves:
    """The base model's leaves, and those that PEFT's file adds or has in their place."""
    leaves = tree.flatten(of_base(folder / "base"))
    return leaves if case == "full" else {**leaves, **held(case, folder / case)}


def start_of(case: str, folder: Path) -> Leaves:
    """All leaves before the first step."""
    leaves = saved(case, folder)
    if case != "prefix_projected":
        return leaves
    unadapted = {path: leaf for path, leaf in leaves.items() if path.startswith("params/")}
    with np.load(folder / case / "done.npz") as stored:
        tensors = {name.removeprefix("network/"): stored[name] for name in stored if name.startswith("network/")}
    return {**unadapted, **network(tensors)}


def tlx_run(case: str, optimizer: str, start: Leaves) -> tuple[list[float], Leaves]:
    """The loss at every step, and the leaves at the end."""
    rule = Optimizer(name=optimizer, clip_norm=CLIP, warmup=0.0, schedule="constant")
    task = Task(adapted(case), rule, steps=STEPS)
    trainable, stats, frozen = task.adapted.split(tree.unflatten(start))
    state = init_state(task, trainable, stats, make_hyper(LEARNING_RATES[optimizer]))
    step, losses = jax.jit(functools.partial(train_step, task)), []
    for ids, label in zip(batches()["ids"], batches()["label"], strict=True):
        state, loss = step(state, frozen, {"input": jnp.asarray(ids), "label": jnp.asarray(label)})
        losses.append(float(loss))
    return losses, {path: np.asarray(leaf) for path, leaf in tree.flatten(combine(state.trainable, frozen)).items()}


@pytest.mark.parametrize("case", CASES)
def test_the_files_hold_the_leaves_of_the_method_and_no_others(case: str, folder: Path) -> None:
    start, found = start_of(case, folder), saved(case, folder)
    assert shapes(start) == shapes(tree.flatten(adapted(case).abstract()))
    assert shapes(as_saved(case, start)) == shapes(found)
    for path, leaf in as_saved(case, start).items():
        np.testing.assert_allclose(leaf, found[path], rtol=0, atol=LOGITS, err_msg=path)


@pytest.mark.parametrize("case", [case for case in CASES if case != "full"])
def test_the_files_ask_for_the_method_and_its_settings(case: str, folder: Path) -> None:
    want = adapted(case)
    found, _, _ = load_adapter(folder / case, BERT_FORMAT, want.model)
    method = {"prefix": "ptuning_v2"}.get(want.method, want.method)
    by_pattern = {"target", "outputs", "inputs"}
    settings = {name: value for name, value in dict(found.settings).items() if name not in by_pattern}
    assert (found.model, found.method) == (want.model, method)
    assert settings.items() <= dict(want.settings).items()


def shapes(leaves: Leaves) -> dict[str, tuple[int, ...]]:
    return {path: tuple(leaf.shape) for path, leaf in leaves.items()}


def tlx_logits(case: str, folder: Path, **changes: Any) -> np.ndarray:
    variables = tree.unflatten({path: jnp.asarray(leaf) for path, leaf in start_of(case, folder).items()})
    logits, _ = jax.jit(adapted(case, **changes).apply)(variables, jnp.asarray(batches()["ids"][0]))
    return np.asarray(logits)


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_from_peft_computes_in_tlx_what_it_does_there(case: str, folder: Path) -> None:
    want = logits_of(case, folder)
    np.testing.assert_allclose(tlx_logits(case, folder), want, rtol=0, atol=LOGITS)
    assert np.ptp(want) > 1
    assert case == "full" or np.abs(want - logits_of("full", folder)).max() > 0.1


@pytest.mark.parametrize(("case", "change"), [("prompt", {"pool": "class"}), ("prefix", {"offset_positions": False})])
def test_only_with_the_habits_of_peft_are_the_numbers_those_of_peft(
    case: str, change: dict[str, Any], folder: Path
) -> None:
    assert np.abs(tlx_logits(case, folder, **change) - logits_of(case, folder)).max() > 0.01


@pytest.mark.parametrize(("case", "optimizer"), RUNS)
def test_training_goes_on_as_it_does_in_peft(case: str, optimizer: str, folder: Path) -> None:
    start = saved(case, folder)
    losses, end = tlx_run(case, optimizer, start_of(case, folder))
    np.testing.assert_allclose(losses, done(case, optimizer, folder), rtol=LOSS)
    moved, got = held(case, folder / case / optimizer), as_saved(case, end)
    for path, leaf in moved.items():
        if not path.endswith(WITHOUT_EFFECT):
            way = np.linalg.norm(leaf - start[path])
            assert np.linalg.norm(got[path] - leaf) <= LEAF * way, path
    assert [path for path in start if path not in moved and (got[path] != start[path]).any()] == []
