"""Adapter files to and fro: what PEFT wrote computes in tlx what it does there, and what tlx wrote what it does here.

transformers and PEFT run `peft_adapters_side.py`, which says what the cases are.
"""

import functools
import re
from dataclasses import replace
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
from tlx.adapt.registry import METHODS
from tlx.fields import check_fields
from tlx.interop.formats import FORMATS
from tlx.interop.peft_load import load_adapter, onto
from tlx.interop.peft_save import save_adapter
from tlx.interop.released import recognise
from tlx.models.registry import Model

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).with_name("peft_adapters_side.py")
FORMAT = {format.name: format for format in FORMATS}
BASES = {"bert": "hf-bert", "bert_of_tokens": "hf-bert", "roberta": "hf-roberta"} | {
    "vit": "hf-vit",
    "gpt2": "hf-gpt2",
    "gpt2_classifier": "hf-gpt2",
    "llama": "hf-llama",
}
# Largest difference seen: 2e-6 in logits of up to 5.
LOGITS = 1e-5

# The cases that PEFT makes, and the methods that they are in tlx.
FROM_PEFT = {
    "bert": {
        "lora": "lora",
        "rslora": "rslora",
        "dora": "dora",
        "patterns": "lora",
        "one_layer": "dora",
        "everything": "lora",
        "besides": "dora",
        "adalora": "lora",
        "vera": "vera",
        "ia3": "ia3",
        "ia3_outputs": "ia3",
        "prompt": "prompt",
        "p_tuning": "prompt",
        "prefix": "ptuning_v2",
        "projected": "ptuning_v2",
    },
    "bert_of_tokens": {"prompt": "prompt"},
    "roberta": {"lora": "lora", "prefix": "ptuning_v2"},
    "vit": {"lora": "lora", "dora": "dora", "ia3": "ia3"},
    "gpt2": {"lora": "lora", "dora": "dora", "ia3": "ia3", "prompt": "prompt", "prefix": "ptuning_v2"},
    "gpt2_classifier": {"lora": "lora"},
    "llama": {"lora": "lora", "ia3": "ia3", "prefix": "ptuning_v2"},
}
LOW_RANK = {"rank": 2, "alpha": 6.0}
# The cases that tlx makes: a method and its settings.
FROM_TLX: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "bert": {
        "lora": ("lora", LOW_RANK),
        "lora_of_embedding": ("lora", {**LOW_RANK, "target": "embed/word|.*/mlp/up"}),
        "rslora": ("rslora", LOW_RANK),
        "lora_plus": ("lora_plus", LOW_RANK),
        "dora": ("dora", {**LOW_RANK, "target": "embed/word|.*/query"}),
        "pissa": ("pissa", LOW_RANK),
        "adalora": ("adalora", {**LOW_RANK, "target_rank": 1}),
        "vera": ("vera", {"rank": 6, "target": ".*/(query|up)"}),
        "ia3": ("ia3", {}),
        "prompt": ("prompt", {"length": 4, "pool": "prompt"}),
        "prefix": ("prefix", {"length": 4, "reparam": 8}),
        "ptuning_v2": ("ptuning_v2", {"length": 4}),
    },
    "bert_of_tokens": {"lora": ("lora", LOW_RANK), "prompt": ("prompt", {"length": 4})},
    "roberta": {"dora": ("dora", LOW_RANK), "prompt": ("prompt", {"length": 4, "pool": "prompt"})},
    "vit": {
        "lora": ("lora", {**LOW_RANK, "target": "embed/patches|.*/(query|value)"}),
        "dora": ("dora", {**LOW_RANK, "target": "embed/patches|.*/mlp/down"}),
        "ia3": ("ia3", {}),
    },
    # Queries and values have adapters, which PEFT's one layer must hold beside keys that have none.
    "gpt2": {
        "lora": ("lora", LOW_RANK),
        "rslora": ("rslora", {**LOW_RANK, "target": ".*/(query|value|up)"}),
        "dora": ("dora", LOW_RANK),
        "ia3": ("ia3", {}),
        "prompt": ("prompt", {"length": 4}),
        "ptuning_v2": ("ptuning_v2", {"length": 4}),
    },
    "gpt2_classifier": {"lora": ("lora", LOW_RANK)},
    "llama": {
        "pissa": ("pissa", LOW_RANK),
        "ia3": ("ia3", {}),
        "ptuning_v2": ("ptuning_v2", {"length": 4}),
    },
}
READ = [(family, case) for family, cases in FROM_PEFT.items() for case in cases]
WRITTEN = [(family, case) for family, cases in FROM_TLX.items() for case in cases]


@functools.cache
def inputs() -> dict[str, np.ndarray]:
    """Sequences of several lengths, filled up with padding, and images."""
    rng = np.random.default_rng(0)
    length = rng.integers(1, 9, (6, 1))
    ids = np.where(np.arange(8) < length, rng.integers(1, 50, (6, 8)), 0).astype(np.int32)
    return {"ids": ids, "images": rng.uniform(-1, 1, (4, 3, 8, 8)).astype(np.float32)}


def in_tlx(family: str) -> jax.Array:
    return jnp.asarray(rearrange(inputs()["images"], "b c h w -> b h w c") if family == "vit" else inputs()["ids"])


def of_words(logits: np.ndarray) -> np.ndarray:
    """Logits, but for those of padding, which mean nothing."""
    return logits if logits.ndim == 2 else logits[inputs()["ids"] != 0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What PEFT makes of every case, all in one process."""
    folder = tmp_path_factory.mktemp("peft_adapters")
    np.savez(folder / "inputs.npz", **inputs())
    run_side(SCRIPT, "make", folder)
    return folder


def base(family: str, made: Path) -> tuple[Model, dict[str, Any]]:
    return _base(made / family / "base")


@functools.cache
def _base(folder: Path) -> tuple[Model, dict[str, Any]]:
    released = recognise(folder)
    return released.model, released.load()[0]


def logits_of(file: Path) -> np.ndarray:
    with np.load(file) as stored:
        return of_words(stored["logits"])


def tlx_logits(adapted: Adapted, variables: dict[str, Any], family: str) -> np.ndarray:
    variables = jax.tree.map(jnp.asarray, variables)
    run = jax.jit(lambda variables, x: adapted.apply(variables, x)[0])
    return of_words(np.asarray(run(variables, in_tlx(family))))


@pytest.mark.parametrize(("family", "case"), READ)
def test_what_peft_wrote_computes_here_what_it_does_there(family: str, case: str, made: Path) -> None:
    model, variables = base(family, made)
    adapted, leaves, report = load_adapter(made / family / case, FORMAT[BASES[family]], model)
    assert adapted.method == FROM_PEFT[family][case]
    assert tree.flatten(leaves).keys() == {row.ours for row in report.rows if row.ours}
    want = logits_of(made / family / f"{case}.npz")
    np.testing.assert_allclose(tlx_logits(adapted, onto(variables, leaves), family), want, rtol=0, atol=LOGITS)
    assert np.abs(want - logits_of(made / family / "base.npz")).max() > 0.1


def from_tlx(family: str, case: str, model: Model, variables: dict[str, Any]) -> tuple[Adapted, dict[str, Any]]:
    """A case with noise on all that the method adds or moves, the norms among it."""
    method, settings = FROM_TLX[family][case]
    model = replace(model, input_shape=in_tlx(family).shape[1:])
    checked = check_fields("method", METHODS[method].fields, settings)
    also = () if method in ("prompt", "prefix", "ptuning_v2") else (("norm", ()),)
    adapted = Adapted(model, method, tuple(sorted(checked.items())), also)
    moving, rng = {path for path, label in adapted.labels().items() if label != "frozen"}, np.random.default_rng(2)
    leaves = tree.flatten(variables)
    for path, leaf in sorted(tree.flatten(adapted.abstract()).items()):
        if path in moving or path.startswith("adapters/"):
            around = 1.0 if re.search("ia3|magnitude", path) else leaves.get(path, 0.0)
            leaves[path] = np.asarray(around + rng.normal(0, 0.3, leaf.shape), np.float32)
    return adapted, tree.unflatten(leaves)


@pytest.fixture(scope="module")
def read_back(made: Path) -> dict[tuple[str, str], np.ndarray]:
    """Writes every case of tlx, has PEFT read them all, and keeps tlx's own logits."""
    found = {}
    for family, case in WRITTEN:
        adapted, variables = from_tlx(family, case, *base(family, made))
        (made / family / "from_tlx").mkdir(exist_ok=True)
        save_adapter(made / family / "from_tlx" / case, adapted, variables, FORMAT[BASES[family]])
        found[family, case] = tlx_logits(adapted, variables, family)
    run_side(SCRIPT, "read", made)
    return found


@pytest.mark.parametrize(("family", "case"), WRITTEN)
def test_what_tlx_wrote_computes_there_what_it_does_here(
    family: str, case: str, made: Path, read_back: dict[tuple[str, str], np.ndarray]
) -> None:
    got = logits_of(made / family / "from_tlx" / f"{case}.npz")
    np.testing.assert_allclose(got, read_back[family, case], rtol=0, atol=LOGITS)
    assert np.abs(got - logits_of(made / family / "base.npz")).max() > 0.1
