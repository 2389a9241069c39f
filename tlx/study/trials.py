"""The training runs of one unit: every cell at every learning rate."""

import functools
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx import cut, fused, loop, tree
from tlx.checkpoint import Checkpoints
from tlx.data.order import index_table, subset
from tlx.loop import Resident
from tlx.partition import partition
from tlx.seeds import derive
from tlx.state import TrainState, from_tree, make_hyper, to_tree
from tlx.step import init_state
from tlx.study.cells import Cell
from tlx.study.context import Context, Stopped, fresh_variables, split_stats, with_adapters
from tlx.study.plan import RESET, Unit
from tlx.study.saving import Gate
from tlx.study.spec import TRANSFER
from tlx.surgery import Report, transplant


@dataclass(frozen=True)
class Trial:
    """One training run.

    Args:
      cell: what it is a try at.
      learning_rate: peak of its schedule.
    """

    cell: Cell
    learning_rate: float

    @property
    def key(self) -> str:
        """Unique within its unit."""
        return f"{self.cell.id}-{self.learning_rate:g}"


@dataclass(frozen=True)
class Trained:
    """A finished training run.

    Args:
      trainable: the leaves that moved.
      stats: running statistics.
      losses: of every step, in nats.
      diverged: whether it was stopped by a non-finite loss.
      seconds: it took, on this machine.
    """

    trainable: dict[str, Any]
    stats: dict[str, Any]
    losses: np.ndarray
    diverged: bool
    seconds: float


@dataclass(frozen=True)
class Start:
    """Where the runs of one seed begin.

    Args:
      trainable: leaves that will move.
      frozen: leaves that will not, as far as they are needed above the cut.
      stats: running statistics.
      surgery: what was copied from the source, or None.
      inputs: what enters the first stage that runs, by role: images as bytes, or cached activations.
      cached_flops: what caching one example cost, 0 without a cut.
    """

    trainable: dict[str, Any]
    frozen: dict[str, Any]
    stats: dict[str, Any]
    surgery: Report | None
    inputs: dict[str, np.ndarray]
    cached_flops: float


def trials_of(unit: Unit) -> list[Trial]:
    """The unit's runs, in the order they are made."""
    return [Trial(cell, rate) for cell in unit.cells for rate in cell.entry.learning_rates]


def starts_of(unit: Unit, context: Context) -> dict[int, Start]:
    """Where each seed's runs begin; the cached activations of a shared backbone are computed once.

    Args:
      unit: what will run.
      context: of the study.

    Returns:
      Seed to start.
    """
    task, data = unit.task, context.targets[unit.first.target.name]
    images = {"train": data.train.image_NHWC, "validation": data.validation.image_NHWC, "test": data.test.image_NHWC}
    labels = task.adapted.labels()
    below = task.adapted.model.stages[: task.first]
    cache: dict[str, tuple[dict[str, np.ndarray], float]] = {}
    starts = {}
    for seed in sorted({cell.seed for cell in unit.cells}):
        variables, report = initial_variables(unit, seed, context)
        params, stats = split_stats(variables)
        trainable, frozen = partition(params, labels)
        inputs, flops = images, 0.0
        if task.first:
            under = {path: leaf for path, leaf in tree.flatten(frozen).items() if path.split("/")[1] in below}
            name = tree.digest(tree.unflatten(under))
            if name not in cache:
                cache[name] = _activations(unit, variables, images, context)
            inputs, flops = cache[name]
            frozen = tree.unflatten({p: leaf for p, leaf in tree.flatten(frozen).items() if p not in under})
        starts[seed] = Start(trainable, frozen, stats, report, inputs, flops)
    return starts


def initial_variables(unit: Unit, seed: int, context: Context) -> tuple[dict[str, Any], Report | None]:
    """All leaves before the first step: the source's where the arm says so, fresh ones elsewhere.

    Args:
      unit: names the arm and the method.
      seed: of the cell; decides the fresh leaves.
      context: holds the source model.

    Returns:
      The variables, and the surgery's report for an arm that starts from a source.
    """
    variables: dict[str, Any] = fresh_variables(unit.task.adapted.model, seed)
    report = None
    if unit.first.entry.arm == TRANSFER:
        assert unit.first.source is not None
        pretrained = context.pretrained[unit.first.source.name]
        variables, report = transplant(pretrained.variables, variables, RESET)
    return with_adapters(unit.task.adapted)(variables, derive(seed, "adapters")), report


def _activations(
    unit: Unit, variables: Any, images: dict[str, np.ndarray], context: Context
) -> tuple[dict[str, np.ndarray], float]:
    inputs, flops = {}, 0.0
    for role, image_NHWC in images.items():
        inputs[role], flops = cut.activations(
            unit.task.adapted,
            variables,
            image_NHWC,
            unit.task.first,
            programs=context.programs,
            batch=context.study.execution.eval_batch,
        )
    return inputs, flops


def batch_table(cell: Cell, context: Context, start: int, stop: int) -> np.ndarray:
    """Which training examples a cell sees: the same in every arm and at every learning rate.

    Args:
      cell: its budget and seed decide.
      context: holds the examples.
      start: first step.
      stop: step after the last.

    Returns:
      Positions in the train split, [steps, batch].
    """
    chosen = subset_of(cell, context)
    order = derive(cell.seed, "order")
    table: np.ndarray = chosen[index_table(len(chosen), context.study.recipe.batch_size, order, start, stop)]
    return table


def subset_of(cell: Cell, context: Context) -> np.ndarray:
    """The labelled examples a cell may use, as positions in the train split."""
    label_N = context.targets[cell.target.name].train.label_N
    return subset(label_N, cell.budget, derive(cell.seed, "subset"))


def fresh_state(unit: Unit, trial: Trial, start: Start, context: Context) -> TrainState:
    """A trial's state before its first step."""
    recipe = context.study.recipe
    hyper = make_hyper(trial.learning_rate, recipe.weight_decay, recipe.label_smoothing)
    return init_state(unit.task, start.trainable, start.stats, hyper)


def run_in_turn(unit: Unit, starts: dict[int, Start], checkpoints: Checkpoints, context: Context) -> dict[str, Trained]:
    """The unit's runs one after another, through one program.

    Args:
      unit: strategy `loop`.
      starts: from `starts_of`.
      checkpoints: the unit's own; finished runs and the current one are in the newest.
      context: of the study.

    Returns:
      Trial key to finished run.

    Raises:
      Stopped: the study was asked to stop; the state is saved.
    """
    done, now = _restore(checkpoints)
    label_N = jnp.asarray(context.targets[unit.first.target.name].train.label_N)
    placed = {seed: {"input": jnp.asarray(s.inputs["train"]), "label": label_N} for seed, s in starts.items()}
    gate = Gate(context.study.execution.every_seconds, context.save_lock)
    total = unit.task.steps
    before = len(done) * total
    current = 0
    context.progress.start(unit.name, unit.runs * total, before)
    for trial in trials_of(unit):
        if trial.key in done:
            continue
        start = starts[trial.cell.seed]
        state, losses, spent = fresh_state(unit, trial, start, context), np.zeros(0, np.float32), 0.0
        if now and trial.key in now:
            state = from_tree(state, now[trial.key]["state"])
            losses, spent = now[trial.key]["losses"], float(now[trial.key]["seconds"])
        current = int(state.step)
        context.progress.advance(unit.name, current)
        began = time.perf_counter()

        def boundary(state: TrainState, losses: np.ndarray, trial: Trial = trial, began: float = began - spent) -> None:
            nonlocal current
            step = int(state.step)
            context.progress.advance(unit.name, step - current)
            current = step
            if gate.due() or context.stop.is_set():
                seconds = np.float32(time.perf_counter() - began)
                running = {trial.key: {"state": to_tree(state), "losses": losses, "seconds": seconds}}
                gate.save(lambda: _save(checkpoints, len(done) * total + step, done, running))
            if context.stop.is_set():
                raise Stopped("stopped; run the same command to go on")

        state, losses = loop.run(
            unit.task,
            state,
            start.frozen,
            Resident(placed[trial.cell.seed], functools.partial(batch_table, trial.cell, context)),
            placement=context.placement,
            programs=context.programs,
            chunk=unit.chunk,
            losses=losses,
            boundary=boundary,
        )
        context.progress.advance(unit.name, total - current)
        seconds = spent + time.perf_counter() - began
        done[trial.key] = Trained(
            jax.device_get(state.trainable), jax.device_get(state.stats), losses, bool(state.diverged), seconds
        )
    return done


def run_fused(unit: Unit, starts: dict[int, Start], checkpoints: Checkpoints, context: Context) -> dict[str, Trained]:
    """The unit's runs all at once, in one program.

    Args:
      unit: strategy `fused`.
      starts: from `starts_of`.
      checkpoints: the unit's own; all runs are in the newest.
      context: of the study.

    Returns:
      Trial key to finished run.

    Raises:
      Stopped: the study was asked to stop; the state is saved.
    """
    trials = trials_of(unit)
    seeds = sorted(starts)
    label_N = context.targets[unit.first.target.name].train.label_N
    # One pool of inputs for all members; a seed with activations of its own has its own stretch of it.
    pools = list({id(starts[seed].inputs): starts[seed].inputs["train"] for seed in seeds}.items())
    offset = {key: i * len(label_N) for i, (key, _) in enumerate(pools)}
    data = {
        "input": jnp.concatenate([jnp.asarray(pool) for _, pool in pools]),
        "label": jnp.tile(jnp.asarray(label_N), len(pools)),
    }

    def table(start: int, stop: int) -> np.ndarray:
        return np.stack(
            [batch_table(t.cell, context, start, stop) + offset[id(starts[t.cell.seed].inputs)] for t in trials]
        )

    state = fused.stack([fresh_state(unit, trial, starts[trial.cell.seed], context) for trial in trials])
    losses, spent = np.zeros((len(trials), 0), np.float32), 0.0
    if restored := checkpoints.restore():
        state, losses = from_tree(state, restored.tree["state"]), restored.tree["losses"]
        spent = float(restored.tree["seconds"])
    gate = Gate(context.study.execution.every_seconds, context.save_lock)
    seen = int(state.step[0])
    context.progress.start(unit.name, len(trials) * unit.task.steps, len(trials) * seen)
    began = time.perf_counter() - spent

    def boundary(state: TrainState, losses: np.ndarray) -> None:
        nonlocal seen
        step = int(state.step[0])
        context.progress.advance(unit.name, len(trials) * (step - seen))
        seen = step
        if gate.due() or context.stop.is_set():
            seconds = np.float32(time.perf_counter() - began)
            content = {"state": to_tree(state), "losses": losses, "seconds": seconds}
            gate.save(lambda: checkpoints.save(step, content, {}))
        if context.stop.is_set():
            raise Stopped("stopped; run the same command to go on")

    frozen = starts[seeds[0]].frozen
    state, losses = fused.run(
        unit.task,
        state,
        frozen,
        data,
        table,
        placement=context.placement,
        programs=context.programs,
        chunk=unit.chunk,
        losses=losses,
        boundary=boundary,
    )
    seconds = (time.perf_counter() - began) / len(trials)
    state = jax.device_get(state)
    members = (fused.member(state, k) for k in range(len(trials)))
    return {
        trial.key: Trained(one.trainable, one.stats, loss, bool(one.diverged), seconds)
        for trial, one, loss in zip(trials, members, losses, strict=True)
    }


def _save(checkpoints: Checkpoints, step: int, done: dict[str, Trained], now: dict[str, Any]) -> None:
    finished = {
        key: {
            "trainable": run.trainable,
            "stats": run.stats,
            "losses": run.losses,
            "diverged": np.bool_(run.diverged),
            "seconds": np.float32(run.seconds),
        }
        for key, run in done.items()
    }
    checkpoints.save(step, {"done": finished, "now": now}, {})


def _restore(checkpoints: Checkpoints) -> tuple[dict[str, Trained], dict[str, Any]]:
    restored = checkpoints.restore()
    if restored is None:
        return {}, {}
    done = {
        key: Trained(
            run["trainable"], run.get("stats", {}), run["losses"], bool(run["diverged"]), float(run["seconds"])
        )
        for key, run in restored.tree.get("done", {}).items()
    }
    return done, restored.tree.get("now", {})
