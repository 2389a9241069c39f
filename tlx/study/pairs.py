"""Two seeds of an entry: whether they ended in one basin, and whether they moved the same way."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.losses import score_and_loss
from tlx.measure.representation.barrier import Barrier, barrier
from tlx.measure.representation.distance import update_cosine, weight_distance
from tlx.records import Records
from tlx.study.beforehand import ends_of, plain_leaves
from tlx.study.cells import Cell
from tlx.study.context import Context
from tlx.study.examples import subset_of
from tlx.study.inside import PAIRS, Inside
from tlx.study.plan import Unit
from tlx.study.spec import TRANSFER
from tlx.study.stages import pass_through

# Batches over which running statistics are estimated anew between two networks.
BATCHES = 64


def inspect_pairs(units: Sequence[Unit], records: Records, inside: Inside, context: Context) -> list[str]:
    """The line between the first two seeds of every entry, source, target and budget.

    Args:
      units: of the study; scratch entries, too: between networks that began apart there is a barrier.
      records: of the study.
      inside: where to write.
      context: of the study.

    Returns:
      Names of the pairs that were inspected now.
    """
    found = []
    for unit in units:
        for budget in sorted({cell.budget for cell in unit.cells}):
            cells = [cell for cell in unit.cells if cell.budget == budget and is_kept(cell, records, context)][:2]
            name = "-".join(cell.id for cell in cells)
            if len(cells) == 2 and not inside.has(name, PAIRS):
                inside.publish({"id": name, **_between(unit, cells, context)}, PAIRS)
                found.append(name)
    return found


def is_kept(cell: Cell, records: Records, context: Context) -> bool:
    """Whether a cell has a result, and what it trained was kept."""
    is_there = records.has(cell.id) and (context.folders.work / "artifacts" / cell.id).is_dir()
    return is_there and records.get(cell.id)["status"] == "ok"


def _between(unit: Unit, cells: Sequence[Cell], context: Context) -> dict[str, Any]:
    """What is told of a pair."""
    ends = [ends_of(unit, cell, context) for cell in cells]
    data = context.targets[cells[0].target.name]
    told: dict[str, Any] = {
        "study": context.study.name,
        "cell": {**cells[0].key(), "seed": [cell.seed for cell in cells]},
    }
    folded = [plain_leaves(each.adapted, each.after) for each in ends]
    one, other = (plain for plain, _ in folded)
    told["distance"] = {layer: each.l2 for layer, each in weight_distance(one, other).items()}
    if cells[0].entry.arm == TRANSFER:  # both began alike but for the head
        told["update_cosine"] = update_cosine(plain_leaves(ends[0].adapted, ends[0].before)[0], one, other)
    if not all(is_whole for _, is_whole in folded):
        return told | {"unknown": "the method's adapters cannot be folded into plain leaves"}
    adapted = Adapted(ends[0].adapted.model, "full", precision=ends[0].adapted.precision)
    train_N = np.unique(np.concatenate([subset_of(cell, context) for cell in cells]))
    name = "-".join(cell.id for cell in cells)
    data.test.selection_done(name)  # both have records
    test = data.test.release(name)
    examples = {
        "train": (data.train.input_N[train_N], data.train.label_N[train_N]),
        "test": (test.input_N, test.label_N),
    }
    refreshed = _refresher(adapted, examples["train"][0], context) if "batch_stats" in one else None
    for role, (x_N, label_N) in examples.items():
        evaluate = _evaluator(adapted, x_N, label_N, context)
        told[role] = _told(barrier(evaluate, one, other, refreshed=refreshed)) | {"examples": len(label_N)}
    return told


def _told(found: Barrier) -> dict[str, Any]:
    return {
        "loss_barrier": found.loss,
        "score_barrier": found.accuracy,
        "alpha": found.alpha_P.tolist(),
        "loss": found.loss_P.tolist(),
        "score": found.accuracy_P.tolist(),
    }


def _evaluator(
    adapted: Adapted, x_N: np.ndarray, label_N: np.ndarray, context: Context
) -> Callable[[Any], tuple[float, float]]:
    def evaluate(leaves: Any) -> tuple[float, float]:
        logits = [passed.logits_BC for (passed,) in pass_through(adapted, (leaves,), x_N, context)]
        return score_and_loss(np.concatenate(logits), label_N)

    return evaluate


def _refresher(adapted: Adapted, x_N: np.ndarray, context: Context) -> Callable[[Any], Any]:
    """Running statistics as they come to be when training examples pass by, often enough to forget what was there."""
    updating = replace(adapted, stats="update_stats")
    ops, size = context.study.pipeline().evaluation, min(len(x_N), context.study.recipe.batch_size)

    @jax.jit
    def step(leaves: Any, x: Any, seed: jax.Array) -> Any:
        return updating.apply(leaves, ops.ready(x), train=True, rng=jax.random.key(seed))[1]

    def refreshed(leaves: Any) -> Any:
        rng = np.random.default_rng(0)
        for i in range(BATCHES):
            batch = x_N[rng.choice(len(x_N), size, replace=False)]
            new = step(leaves, batch, jnp.int32(i))
            leaves = tree.unflatten({**tree.flatten(leaves), **tree.flatten(new)})
        return leaves

    return refreshed
