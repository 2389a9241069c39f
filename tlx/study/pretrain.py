"""The source model: pre-trained once for all cells that start from it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import loop, records, tree
from tlx.adapt.adapted import Adapted
from tlx.checkpoint import Checkpoints
from tlx.data.on_disk import OnDisk
from tlx.data.order import index_table
from tlx.errors import ConfigError
from tlx.loop import Feed, Resident, Streamed
from tlx.seeds import derive
from tlx.state import TrainState, from_tree, make_hyper, to_tree
from tlx.step import Task, init_state
from tlx.study.cells import Released, SourceData, source_identity
from tlx.study.context import Context, Pretrained, Stopped, fresh_variables
from tlx.study.plan import model_of, steps_per_call
from tlx.study.saving import Gate
from tlx.study.spec import Source


def source_model(source: Source, context: Context) -> Pretrained:
    """The source model, pre-trained by the first unit that needs it while the others wait.

    Args:
      source: the recipe.
      context: of the study.

    Returns:
      The one model of all units.
    """
    with context.source_locks[source.name]:
        if source.name not in context.pretrained:
            make = load_released if source.checkpoint else pretrain
            context.pretrained[source.name] = make(source, context)
        return context.pretrained[source.name]


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
      Its leaves, their digest and its accuracy on its own test split.

    Raises:
      ConfigError: the pre-training diverged.
      Stopped: the study was asked to stop; the state is saved.
    """
    data, recipe = context.sources[source.name], source.recipe
    assert isinstance(data, SourceData)
    model = model_of(context.study, data.train)
    adapted, ops = Adapted(model, "full", precision=recipe.precision), context.study.pipeline(model.num_classes)
    task = Task(adapted, source.optimizer, recipe.steps, ops=ops)
    trainable, stats, _ = task.adapted.split(fresh_variables(model, derive(source.seed, "source")))
    seed = derive(source.seed, "dropout")
    hyper = make_hyper(source.learning_rate, source.weight_decay, recipe.label_smoothing, seed=seed)
    state = init_state(task, trainable, stats, hyper)
    losses = np.zeros(0, np.float32)

    identity = source_identity(context.study, source, data)
    folder = context.folders.work / "sources" / records.content_id(identity)
    checkpoints = Checkpoints(folder, warn=context.progress.line)
    if restored := checkpoints.restore():
        state, losses = from_tree(state, restored.tree["state"]), restored.tree["losses"]
    if int(state.step) < task.steps and not bool(state.diverged):
        state = _train(source, task, state, losses, checkpoints, context)
    if bool(state.diverged):
        raise ConfigError(
            f"config.sources.{source.name}.lr", f"pre-training diverged at {source.learning_rate}; lower it"
        )
    logits_NC = context.logits(task, state.evaluated, {}, state.stats, data.test.input_N)
    accuracy = float(np.mean(np.argmax(logits_NC, axis=-1) == data.test.label_N))
    leaves = jax.tree.map(jnp.asarray, jax.device_get({**state.evaluated, **state.stats}))
    return Pretrained(leaves, tree.digest(leaves), accuracy)


def _train(
    source: Source, task: Task, state: TrainState, losses: np.ndarray, checkpoints: Checkpoints, context: Context
) -> TrainState:
    examples, execution = context.sources[source.name], context.study.execution
    assert isinstance(examples, SourceData)
    data = examples.train
    order = derive(source.seed, "order")

    def table(start: int, stop: int) -> np.ndarray:
        return index_table(len(data), source.recipe.batch_size, order, start, stop)

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
        if isinstance(data, OnDisk)
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
    return {
        "source": source.name,
        "checkpoint": pretrained.digest,
        "source_test_accuracy": pretrained.test_accuracy,
        **({"tensors": list(pretrained.tensors)} if pretrained.tensors else {}),
    }
