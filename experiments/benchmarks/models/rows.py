"""What is timed on both sides: the same architectures, sizes, batches and optimizer.

Shape suffixes: B batch, C classes, S steps.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.adapt.peer import Peer
from experiments.benchmarks.adapt.rows import BERT, Bench, Scale, Step
from experiments.benchmarks.rows import Row

IMAGENET = (0.485, 0.456, 0.406)
VIT = {"patch": 16, "width": 192, "depth": 12, "heads": 3, "pool": "class", "gelu_exact": True}
SCALES = {
    "bert": Scale(BERT, (64,), classes=2, batch=16, steps=2),
    "vit": Scale(VIT, (224, 224, 3), classes=10, batch=8, steps=2),
    "resnet": Scale({"depths": (2, 2, 2, 2)}, (64, 64, 3), classes=10, batch=32, steps=2),
}
WORK = ("forward", "full")


def asked_of(benches: Sequence[Bench]) -> dict[str, Any]:
    """What the other side is told: fields of transformers' configs, and the shapes of a batch."""
    return {
        "models": {
            bench.name: {
                "config": _CONFIGS[bench.name](dict(bench.model.settings), bench.scale),
                "batch": bench.scale.batch,
                "input_shape": list(bench.scale.input_shape),
                "classes": bench.scale.classes,
            }
            for bench in benches
        }
    }


def _bert(own: dict[str, Any], scale: Scale) -> dict[str, Any]:
    return {
        "vocab_size": own["vocab"],
        "hidden_size": own["width"],
        "num_hidden_layers": own["depth"],
        "num_attention_heads": own["heads"],
        "intermediate_size": own["hidden"],
        "max_position_embeddings": own["positions"],
        "hidden_dropout_prob": own["dropout"],
        "attention_probs_dropout_prob": own["dropout"],
    }


def _vit(own: dict[str, Any], scale: Scale) -> dict[str, Any]:
    return {
        "hidden_size": own["width"],
        "num_hidden_layers": own["depth"],
        "num_attention_heads": own["heads"],
        "intermediate_size": own["mlp_ratio"] * own["width"],
        "image_size": scale.input_shape[0],
        "patch_size": own["patch"],
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def _resnet(own: dict[str, Any], scale: Scale) -> dict[str, Any]:
    widths = [own["width"] * 2**level for level in range(len(own["depths"]))]
    return {
        "embedding_size": own["width"],
        "hidden_sizes": widths,
        "depths": list(own["depths"]),
        "layer_type": "bottleneck" if own["bottleneck"] else "basic",
    }


_CONFIGS = {"bert": _bert, "vit": _vit, "resnet": _resnet}


def against(benches: Sequence[Bench], peer: Peer) -> Iterator[tuple[str, Row]]:
    """PyTorch's time over tlx's, for each model and kind of work.

    Args:
      benches: one for each model.
      peer: told of the same.

    Yields:
      Name and row.
    """
    for bench in benches:
        for work in WORK:
            ours = _forward(bench) if work == "forward" else _full(bench)
            theirs = partial(_asked, peer, bench.name, work, bench.scale.steps)
            yield f"{bench.name}-{work}", Row(f"{bench.name}, {work}: PyTorch / tlx", theirs, ours)


def _asked(peer: Peer, model: str, work: str, steps: int) -> np.ndarray:
    return np.asarray(peer.ask({"model": model, "work": work, "steps": steps})["values"], np.float32)


def _full(bench: Bench) -> Any:
    task = bench.task("full")
    return partial(Step(task, bench.variables(task), bench.batch()).run, bench.scale.steps)


def _forward(bench: Bench) -> Any:
    x_B, variables = bench.batch()["input"], bench.base
    program = jax.jit(lambda v, x: bench.model.module.apply(v, x)).lower(variables, x_B).compile()

    def run() -> np.ndarray:
        # The sum of each step's logits stands for all of them.
        return np.asarray([float(program(variables, x_B).sum()) for _ in range(bench.scale.steps)])

    return run
