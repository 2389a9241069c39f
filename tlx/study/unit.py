"""One unit from start to records: train, choose on validation, score the test split once."""

import itertools
import platform
from collections.abc import Callable
from typing import Any

import flax
import jax
import numpy as np
import optax

import tlx
from tlx import atomic, losses
from tlx.checkpoint import Checkpoints
from tlx.records import Records
from tlx.study.at_once import AtOnce
from tlx.study.cells import Cell, TargetData
from tlx.study.combine import combined, predictions
from tlx.study.context import Context
from tlx.study.cost import size_of, step_flops
from tlx.study.examples import subset_of
from tlx.study.heats import Judge, Runner, run_heats
from tlx.study.in_turn import InTurn
from tlx.study.keep import keep
from tlx.study.plan import Unit
from tlx.study.pretrain import lineage
from tlx.study.select import Validation, select
from tlx.study.solved import Solved
from tlx.study.spec import SCORE
from tlx.study.starts import Start, starts_of
from tlx.study.trials import Trained, Trial
from tlx.study.tried import selected, tried

# What `test_score` and `val_score` of a record are.
ACCURACY, R2 = "accuracy", "r2"
# Points of a stored learning curve; the loss at each is the mean since the one before.
CURVE_POINTS = 20
_RUNNERS: dict[str, Callable[..., Runner]] = {"loop": InTurn, "fused": AtOnce, "solved": Solved}


def run_unit(unit: Unit, context: Context) -> None:
    """Train every trial of a unit and publish a record for each of its cells.

    Args:
      unit: what to do; all of its trials are run even if some of its cells have records, as a fused
        program's last bits depend on who runs together. A record once published stays as it is.
      context: of the study.
    """
    folder = context.folders.work / "work" / unit.id
    checkpoints = Checkpoints(folder, warn=context.progress.line)
    starts = starts_of(unit, context)
    judge = Judge(unit, starts, context)
    runner = _RUNNERS[unit.strategy](unit, starts, checkpoints, context)
    trials = run_heats(unit, runner, judge)
    done = runner.done
    records = Records(context.folders.work)
    for budget in sorted({cell.budget for cell in unit.cells}):
        cells = [cell for cell in unit.cells if cell.budget == budget]
        these = [trial for trial in trials if trial.cell in cells]
        results = [judge(trial, done[trial.key]) for trial in these]
        if unit.strategy != "solved":  # what was solved for has taken no steps
            context.metrics.end(unit.task, these, [done[trial.key] for trial in these], results)
        point = select(results)
        for cell in cells:
            if records.has(cell.id):
                continue
            mine = [result for result in results if result.seed == cell.seed]
            run, chosen = combined(unit, cell, starts[cell.seed], mine, point, done, context)
            context.targets[cell.target.name].test.selection_done(cell.id)
            record = _record(unit, cell, mine, chosen, run, starts[cell.seed], context)
            if unit.every and unit.strategy != "solved":
                trial = Trial(cell, point)
                (last,) = [result for result in mine if result.point == point]
                record["evaluations"] = runner.looks.curve(trial, last, len(done[trial.key].losses))
            if context.study.execution.artifacts:
                keep(unit, cell, run, record["lineage"], context)
            seconds = sum(done[trial.key].seconds for trial in trials if trial.cell is cell)
            records.publish(record, {"id": cell.id, "wall_s": round(seconds, 4)})
    if folder.exists():
        atomic.remove_folder(folder)


def _record(
    unit: Unit,
    cell: Cell,
    trials: list[Validation],
    chosen: Validation,
    run: Trained,
    start: Start,
    context: Context,
) -> dict[str, Any]:
    data = context.targets[cell.target.name]
    source = context.pretrained[cell.source.name] if cell.source else None
    result = _score(unit, cell, run, start, chosen, data, context)
    return {
        "id": cell.id,
        "study": context.study.name,
        "status": "diverged" if result["test_score"] is None else "ok",
        "cell": cell.key(),
        "config": dict(cell.identity),
        "data": data.facts()
        | {"test": data.test.as_record(cell.id)}
        | _tokenizer(data)
        | {"subset": _subset(cell, data, context)},
        "trials": tried(unit, trials),
        "selected": selected(unit, trials, chosen),
        "result": result,
        "curve": _curve(run.losses),
        "cost": _cost(unit, run, start, context),
        "surgery": start.surgery.as_dict() if start.surgery else None,
        "lineage": lineage(source, cell.source) if source and cell.source else None,
        "environment": environment(context),
    }


def _score(
    unit: Unit, cell: Cell, run: Trained, start: Start, chosen: Validation, data: TargetData, context: Context
) -> dict[str, Any]:
    """The only place that looks at test examples, once a cell, after the choice is made."""
    size = data.test.facts()["examples"]
    metric = {"metric": R2 if cell.target.predict == SCORE else ACCURACY}
    empty = metric | dict.fromkeys(("test_score", "test_loss", "val_score", "test_correct"))
    if chosen.score is None:
        return {**empty, "test_examples": size}
    test = data.test.release(cell.id)
    logits_NC = predictions(unit, run, start, start.entering("test", test.input_N), context)
    if not np.all(np.isfinite(logits_NC)):
        return {**empty, "test_examples": size}
    score, loss = losses.score_and_loss(logits_NC, test.label_N)
    return {
        **metric,
        "test_score": score,
        "test_loss": loss,
        "val_score": chosen.score,
        "test_examples": size,
        "test_correct": None if cell.target.predict == SCORE else round(score * size),
    }


def _subset(cell: Cell, data: TargetData, context: Context) -> dict[str, Any]:
    index_N = subset_of(cell, context)
    facts = {"examples": len(index_N), "digest": atomic.digest_json([int(index) for index in index_N])}
    if cell.target.predict == SCORE:
        return facts
    per_class = np.bincount(data.train.label_N[index_N], minlength=data.train.num_classes)
    return facts | {"per_class": [int(count) for count in per_class]}


def _tokenizer(data: TargetData) -> dict[str, Any]:
    return {"tokenizer": data.train.tokenizer} if data.train.tokenizer else {}


def _curve(loss_S: np.ndarray) -> dict[str, Any]:
    edges = np.unique(np.linspace(0, len(loss_S), CURVE_POINTS + 1).round().astype(int))
    spans = list(itertools.pairwise(edges))
    means = [float(np.mean(loss_S[a:b], dtype=np.float64)) for a, b in spans]
    return {
        "step": [int(b) for _, b in spans],
        "train_loss": [mean if np.isfinite(mean) else None for mean in means],
    }


def _cost(unit: Unit, run: Trained, start: Start, context: Context) -> dict[str, Any]:
    size = size_of(unit.task)
    if run.flops is None:
        optimizer_bytes, flops = size.optimizer_bytes, step_flops(unit.task, context.study.recipe.batch_size)
    else:  # as if what was solved at once had been done in as many steps as others take
        optimizer_bytes, flops = 0, run.flops / unit.task.steps
    return {
        "trainable_params": size.trainable,
        "total_params": size.total,
        "optimizer_bytes": optimizer_bytes,
        "step_flops": flops,
        "cached_flops": start.cached_flops,
        "strategy": unit.strategy,
    }


def environment(context: Context) -> dict[str, Any]:
    """What the last bits of a result may depend on, besides its config."""
    device = jax.devices()[0]
    return {
        "tlx": tlx.__version__,
        "jax": jax.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "python": platform.python_version(),
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "devices": context.placement.devices,
        "compile": context.study.execution.compile,
    }
