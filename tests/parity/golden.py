"""Makes `tests/golden/checkpoints`: small checkpoints as their libraries write them, and what those compute.

`TLX_TORCH_PYTHON=PYTHON python tests/parity/golden.py [FOLDER]`, in tlx's own environment. For each case CASE/ holds
the files as saved, and `expected.safetensors`: `input`, and for CLIP `ids`, and the `logits` of transformers or timm;
those of padding are zeros.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from process import run_side
from safetensors.numpy import save_file

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden" / "checkpoints"
# Case: the script that makes it, what it calls it there, and what it calls the numbers that go in.
CASES = {
    "vit": ("vits", "hf", "pixels"),
    "timm_vit": ("vits", "timm_class", "pixels"),
    "augreg_vit": ("vits", "augreg", "pixels"),
    "bert": ("hf_bert", "bert_sequence", "ids"),
    "bert_mlm": ("hf_bert", "bert_mlm", "ids"),
    "roberta": ("hf_bert", "roberta_other", "ids"),
    "gpt2": ("hf_decoders", "gpt2-lm", "id"),
    "llama": ("hf_decoders", "llama-lm-tied", "id"),
    "qwen2": ("hf_decoders", "qwen2-lm", "id"),
    "mistral": ("hf_decoders", "mistral-lm", "id"),
    "clip": ("clip", "exact", "pixels"),
    "resnet": ("cnns", "hf-bottleneck", "x"),
}


def make(folder: Path) -> None:
    """All cases, in place of what is there.

    Args:
      folder: of the cases.
    """
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        for script in sorted({script for script, _, _ in CASES.values()}):
            (made / script).mkdir()
            run_side(HERE / f"{script}_side.py", "make", made / script)
        shutil.rmtree(folder, ignore_errors=True)
        for case, (script, theirs, given) in CASES.items():
            keep(folder / case, made / script, theirs, given)


def keep(goal: Path, made: Path, case: str, given: str) -> None:
    """One case, its numbers that stages hand on and its gradients left out."""
    if (made / case).is_dir():
        shutil.copytree(made / case, goal)
    else:
        goal.mkdir(parents=True)
        shutil.copy(made / f"{case}.npz", goal)
    numbers = made / f"{case}.expected.npz"
    found = np.load(numbers if numbers.is_file() else made / f"{case}.npz")
    inputs, logits = found[given], found["logits"]
    inputs = inputs.astype(np.float32 if inputs.dtype.kind == "f" else np.int32)
    if given == "pixels":
        inputs = 2 * inputs - 1
    kept = {"input": inputs, "logits": logits}
    if "mask" in found:
        kept["logits"] = np.where(found["mask"][..., None] > 0, logits, np.float32(0))
    if given == "pixels" and "ids" in found:
        kept["ids"] = found["ids"].astype(np.int32)
    save_file({name: np.ascontiguousarray(value) for name, value in kept.items()}, goal / "expected.safetensors")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN)
