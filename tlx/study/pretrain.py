"""The source model: pre-trained once for all cells that start from it."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import loop, records, tree
from tlx.adapt.adapted import Adapted
from tlx.checkpoint import Checkpoints
from tlx.data.pipeline import Arrays
from tlx.errors import ConfigError
from tlx.loop import Feed, Resident, Streamed
from tlx.models.registry import CLASSIFY, Model
from tlx.seeds import derive
from tlx.state import TrainState, from_tree, make_hyper, to_tree
from tlx.step import Task, init_state
from tlx.study.alone import alone
from tlx.study.cells import Released, SourceData, source_identity
from tlx.study.context import Context, Pretrained, Stopped, fresh_variables
from tlx.study.cost import step_flops
from tlx.study.objective import scored, trained_model, trained_ops
from tlx.study.plan import model_of, steps_per_call
from tlx.study.saving import Gate
from tlx.study.spec import Source
from tlx.study.weights import moved, open_weights


def source_model(source: Source, context: Context) -> Pretrained:
    """The source model, pre-trained by the first unit of any process that needs it, while the others wait.

    Args:
      source: the recipe.
      context: of the study.

    Returns:
      The one model of all units.
    """
    with context.source_locks[source.name]:
        if source.name not in context.pretrained:
            if source.checkpoint:
                made = load_released(source, context)
            else:
                with alone(f"source-{_id(source, context)}", f"pre-trains {source.name}", context):
                    made = pretrain(source, context)
            context.pretrained[source.name] = made
        return context.pretrained[source.name]


def _id(source: Source, context: Context) -> str:
    """The same for equal weights, in every process."""
    return records.content_id(source_identity(context.study, source, context.sources[source.name]))


def load_released(source: Source, context: Context) -> Pretrained:
    """The source model that a checkpoint holds.

    Args:
      source: names the checkpoint.
      context: of the study.

    Returns:
      Its leaves, with the head it came with.

    Raises:
      FileError: the checkpoint does not hold what it describes.
    """
    data, study = context.sources[source.name], context.study
    assert isinstance(data, Released)
    target = model_of(study, next(iter(context.targets.values())).train)
    model = data.weights.for_study(study.model_settings, target.input_shape, target.num_classes)
    leaves, rows, line = data.weights.load(model)
    context.say_once(f"{source.name}, {data.weights.format}: {line}")
    leaves = jax.tree.map(jnp.asarray, leaves)
    return Pretrained(leaves, tree.digest(leaves), None, tuple(rows))


def pretrain(source: Source, context: Context) -> Pretrained:
    """The source model: restored if it is there, trained from where it stands if it is not.

    Args:
      source: the recipe.
      context: of the study.

    Returns:
      Its leaves, their digest and how it does on its own test split; after an objective of tokens with a fresh head.

    Raises:
      ConfigError: the pre-training diverged.
      Stopped: the study was asked to stop; the state is saved.
    """
    data, recipe, study = context.sources[source.name], source.recipe, context.study
    assert isinstance(data, SourceData)
    model = trained_model(study, source, data)
    adapted = Adapted(model, "full", precision=recipe.precision)
    task = Task(adapted, source.optimizer, recipe.steps, ops=trained_ops(study, data, model))
    variables, rows = _initial(source, model, context)
    trainable, stats, _ = task.adapted.split(variables)
    seed = derive(source.seed, "dropout")
    hyper = make_hyper(source.learning_rate, source.weight_decay, recipe.label_smoothing, seed=seed)
    state = init_state(task, trainable, stats, hyper)
    losses = np.zeros(0, np.float32)

    checkpoints = Checkpoints(context.folders.work / "sources" / _id(source, context), warn=context.progress.line)
    if restored := checkpoints.restore():
        state, losses = from_tree(state, restored.tree["state"]), restored.tree["losses"]
    if int(state.step) < task.steps and not bool(state.diverged):
        state = _train(source, task, state, losses, checkpoints, context)
    if bool(state.diverged):
        raise ConfigError(
            f"config.sources.{source.name}.lr", f"pre-training diverged at {source.learning_rate}; lower it"
        )
    accuracy, loss = scored(task, state.evaluated, state.stats, data, context)
    context.say_once(f"{source.name}: pre-trained, accuracy on its own test split {accuracy:.1%}")
    leaves = jax.tree.map(jnp.asarray, jax.device_get({**state.evaluated, **state.stats}))
    if source.objective != CLASSIFY:
        # Whoever starts from it has another head, as from a released checkpoint.
        target = model_of(study, next(iter(context.targets.values())).train)
        leaves = moved(leaves, fresh_variables(target, derive(source.seed, "source")))
    flops = recipe.steps * step_flops(task, recipe.batch_size)
    return Pretrained(leaves, tree.digest(leaves), accuracy, tuple(rows), loss, flops if math.isfinite(flops) else None)


def _initial(source: Source, model: Model, context: Context) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The leaves before the first step, and what became of each tensor of the checkpoint they are from."""
    variables: dict[str, Any] = fresh_variables(model, derive(source.seed, "source"))
    if not source.start:
        return variables, []
    weights = open_weights(source.start)
    leaves, rows, line = weights.load(weights.for_study(model.settings, model.input_shape, model.num_classes))
    context.say_once(f"{source.name} starts from {weights.format}: {line}")
    keeps = source.objective != CLASSIFY and weights.reads_as(model)
    return moved(jax.tree.map(jnp.asarray, leaves), variables, keeps), rows


def _train(
    source: Source, task: Task, state: TrainState, losses: np.ndarray, checkpoints: Checkpoints, context: Context
) -> TrainState:
    examples, execution = context.sources[source.name], context.study.execution
    assert isinstance(examples, SourceData)
    data = examples.train
    order = derive(source.seed, "order")

    def table(start: int, stop: int) -> np.ndarray:
        return examples.table(source.recipe.batch_size, order, start, stop)

    gate = Gate(execution.every_seconds, context.save_lock)
    seen = int(state.step)
    name = f"pre-training {source.name}"
    context.progress.start(name, task.steps, seen)

    def boundary(state: TrainState, losses: np.ndarray) -> None:
        nonlocal seen
        step = int(state.step)
        context.progress.advance(name, step - seen)
        seen = step
        ends = step == task.steps or bool(state.diverged) or context.stop.is_set()
        if ends or gate.due():
            gate.save(lambda: checkpoints.save(step, {"state": to_tree(state), "losses": losses}, {}))
        if context.stop.is_set():
            raise Stopped("stopped; run the same command to go on")

    feed: Feed = (
        Streamed(data.batches(table, task.steps))
        if not isinstance(data, Arrays)
        else Resident({"input": jnp.asarray(data.input_N), "label": jnp.asarray(data.label_N)}, table)
    )
    state, _ = loop.run(
        task,
        state,
        {},
        feed,
        placement=context.placement,
        programs=context.programs,
        chunk=steps_per_call(context.study, task.adapted.model),
        losses=losses,
        boundary=boundary,
    )
    return state


def lineage(pretrained: Pretrained, source: Source) -> dict[str, Any]:
    """Where a cell's weights came from, for its record."""
    of_tokens = source.objective != CLASSIFY and not source.checkpoint
    return {
        "source": source.name,
        "checkpoint": pretrained.digest,
        "source_test_accuracy": pretrained.test_accuracy,
        **({"source_test_loss": pretrained.test_loss, "objective": source.objective} if of_tokens else {}),
        **({"tensors": list(pretrained.tensors)} if pretrained.tensors else {}),
        **({"pretraining_flops": pretrained.flops} if pretrained.flops is not None else {}),
    }
