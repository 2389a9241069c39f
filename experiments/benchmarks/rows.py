"""The work that is timed: each row does the same twice, once tlx's way and once another.

Shape suffixes: N examples, S steps, B batch, K runs.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tlx import cut, fused, loop, tree
from tlx.adapt.adapted import Adapted
from tlx.data.order import index_table
from tlx.linear.logistic import logistic_path
from tlx.linear.ridge import ridge_path
from tlx.loop import Programs, Resident
from tlx.models.registry import Model
from tlx.optim import Optimizer
from tlx.partition import FROZEN, partition
from tlx.runners.local import run_jobs
from tlx.sharding import Jit
from tlx.state import TrainState, make_hyper
from tlx.step import Task, init_state

CLASSES, IMAGE_HWC = 10, (28, 28, 1)
RATE, DECAY, CLIP, WARMUP = 2e-3, 0.01, 1.0, 0.1
Work = Callable[[], Any]


@dataclass(frozen=True)
class Scale:
    """How much work there is; by default as much as in the quickstart.

    Args:
      width: of the ViT.
      depth: of the ViT.
      examples: labelled images.
      steps: of one run.
      batch: examples per step.
      chunk: steps in one call of a program.
      heads: runs of the probe: 3 learning rates, 3 budgets, 5 seeds.
      jobs: runs of the ViT that wait for a worker.
      labels: examples of the heads that are solved for.
      features: width of what they see.
      penalties: how many are tried; Kornblith et al. (2019) try 45 from 1e-6 to 1e5.
    """

    width: int = 64
    depth: int = 3
    examples: int = 1197
    steps: int = 200
    batch: int = 16
    chunk: int = 25
    heads: int = 45
    jobs: int = 4
    labels: int = 2000
    features: int = 384
    penalties: int = 45


@dataclass(frozen=True)
class Row:
    """Two ways of doing the same work.

    Args:
      says: what the ratio is: the time of `top` over the time of `bottom`.
      top: returns the losses of every step.
      bottom: returns the same.
    """

    says: str
    top: Work
    bottom: Work


@dataclass(frozen=True)
class Bench:
    """A model and random data, which take as long as real ones."""

    scale: Scale
    programs: Programs = field(default_factory=Programs)
    placement: Jit = field(default_factory=Jit)

    @functools.cached_property
    def model(self) -> Model:
        """The quickstart's ViT."""
        settings = {"patch": 7, "width": self.scale.width, "depth": self.scale.depth, "heads": 4, "mlp_ratio": 4}
        return Model("vit", tuple(sorted(settings.items())), CLASSES, IMAGE_HWC)

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """Fresh leaves."""
        fresh: dict[str, Any] = jax.jit(self.model.init)(0)
        return fresh

    @functools.cached_property
    def data(self) -> dict[str, jax.Array]:
        """Images as bytes, and labels, on the device."""
        rng, size = np.random.default_rng(0), self.scale.examples
        image_NHWC = rng.integers(0, 256, (size, *IMAGE_HWC), np.uint8)
        return jax.device_put({"input": image_NHWC, "label": rng.integers(0, CLASSES, size, np.int32)})

    def order(self, seed: int = 0) -> Callable[[int, int], np.ndarray]:
        """Steps to example indices, [steps, batch]."""
        return lambda start, stop: index_table(self.scale.examples, self.scale.batch, seed, start, stop)

    def task(self, method: str, first: int = 0) -> Task:
        """A run of the quickstart's recipe."""
        return Task(Adapted(self.model, method), Optimizer(clip_norm=CLIP, warmup=WARMUP), self.scale.steps, first)

    def begin(self, task: Task, rate: float = RATE) -> tuple[TrainState, dict[str, Any]]:
        """A state before its first step, and the frozen leaves that the run needs."""
        trainable, frozen = partition(self.variables, task.adapted.labels())
        needed = self.model.stages[task.first :]
        above = {path: leaf for path, leaf in tree.flatten(frozen).items() if path.split("/")[1] in needed}
        return init_state(task, trainable, {}, make_hyper(rate, DECAY)), tree.unflatten(above)

    def run(self, task: Task, state: TrainState, frozen: Any, data: dict[str, Any], seed: int = 0) -> np.ndarray:
        """One run as tlx makes it; saves nothing, shows nothing."""
        settings: dict[str, Any] = {"placement": self.placement, "programs": self.programs, "chunk": self.scale.chunk}
        nothing = np.zeros(0, np.float32)
        feed = Resident(data, self.order(seed))
        end, loss_S = loop.run(task, state, frozen, feed, **settings, losses=nothing, boundary=ignore)
        jax.block_until_ready(end.trainable)
        return loss_S


def ignore(state: TrainState, losses: np.ndarray) -> None:
    """A boundary where nothing happens."""


def by_hand(bench: Bench, transformation: optax.GradientTransformation) -> Work:
    """The training loop one writes without tlx: differentiates everything, scans a chunk, reads its losses.

    Args:
      bench: names the model, the data and their order.
      transformation: updates all leaves.
    """
    module, scale, table = bench.model.module, bench.scale, bench.order()
    start_carry = (bench.variables, transformation.init(bench.variables))

    def step(data: Any, carry: Any, index_B: jax.Array) -> Any:
        params, opt_state = carry
        image_BHWC = (data["input"][index_B].astype(jnp.float32) - 127.5) / 127.5

        def loss_of(params: Any) -> jax.Array:
            logits_BC = module.apply(params, image_BHWC)
            return optax.softmax_cross_entropy_with_integer_labels(logits_BC, data["label"][index_B]).mean()

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, opt_state = transformation.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(carry: Any, data: Any, index_SB: jax.Array) -> Any:
        return jax.lax.scan(functools.partial(step, data), carry, index_SB)

    def train() -> np.ndarray:
        carry, losses = jax.tree.map(jnp.copy, start_carry), []
        for start in range(0, scale.steps, scale.chunk):
            carry, loss_S = advance(carry, bench.data, table(start, min(start + scale.chunk, scale.steps)))
            losses.append(np.asarray(loss_S))
        jax.block_until_ready(carry)
        return np.concatenate(losses)

    return train


def adamw(scale: Scale) -> optax.GradientTransformation:
    """The quickstart's rule by hand: warm-up, cosine, decay of matrices alone."""
    warmup = max(1, round(WARMUP * scale.steps))

    def schedule(count: jax.Array) -> jax.Array:
        now = count.astype(jnp.float32)
        done = jnp.clip((now - warmup) / max(1, scale.steps - warmup), 0.0, 1.0)
        return RATE * jnp.minimum(1.0, (now + 1.0) / warmup) * 0.5 * (1.0 + jnp.cos(jnp.pi * done))

    matrices = functools.partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
    return optax.adamw(schedule, weight_decay=DECAY, mask=matrices)


def overhead(scale: Scale) -> Row:
    """tlx's loop against a loop by hand that does the same steps."""
    bench = Bench(scale)
    task = bench.task("full")
    state, frozen = bench.begin(task)
    plain = by_hand(bench, optax.chain(optax.clip_by_global_norm(CLIP), adamw(scale)))
    return Row("tlx's loop / by hand", lambda: bench.run(task, state, frozen, bench.data), plain)


def probes(scale: Scale) -> Row:
    """The heads of a study one by one, and all in one program."""
    bench = Bench(scale)
    task = bench.task("head", first=len(bench.model.stages) - 1)
    feature_ND = np.random.default_rng(1).normal(size=(scale.examples, scale.width)).astype(np.float32)
    data = {"input": jnp.asarray(feature_ND), "label": bench.data["label"]}
    starts = [bench.begin(task, RATE * (1 + k % 3)) for k in range(scale.heads)]
    orders = [bench.order(seed=k // 3) for k in range(scale.heads)]

    def in_turn() -> np.ndarray:
        return np.stack([bench.run(task, *start, data, seed=k // 3) for k, start in enumerate(starts)])

    def at_once() -> np.ndarray:
        end, loss_KS = fused.run(
            task,
            fused.stack([state for state, _ in starts]),
            {},
            data,
            lambda start, stop: np.stack([order(start, stop) for order in orders]),
            placement=bench.placement,
            programs=bench.programs,
            chunk=scale.chunk,
            losses=np.zeros((scale.heads, 0), np.float32),
            boundary=ignore,
        )
        jax.block_until_ready(end.trainable)
        return loss_KS

    return Row(f"{scale.heads} heads one by one / fused", in_turn, at_once)


def features(scale: Scale) -> Row:
    """One head with the backbone in its step, and on features computed once, their computation included."""
    bench = Bench(scale)
    whole, above = bench.task("head"), bench.task("head", first=len(bench.model.stages) - 1)
    state, frozen = bench.begin(whole)

    def cached() -> np.ndarray:
        feature_ND, _ = cut.activations(
            above.adapted,
            bench.variables,
            np.asarray(bench.data["input"]),
            above.first,
            placement=bench.placement,
            programs=bench.programs,
            batch=200,
        )
        return bench.run(above, state, {}, {"input": jnp.asarray(feature_ND), "label": bench.data["label"]})

    backbone = functools.partial(bench.run, whole, state, frozen, bench.data)
    return Row("backbone in the step / cached features", backbone, cached)


def workers(scale: Scale) -> Row:
    """Runs of the ViT by one worker, and by two."""
    bench = Bench(scale)
    task = bench.task("full")
    state, frozen = bench.begin(task)

    def with_workers(count: int) -> np.ndarray:
        loss_KS = np.zeros((scale.jobs, scale.steps), np.float32)

        def job(k: int) -> None:
            loss_KS[k] = bench.run(task, state, frozen, bench.data, seed=k)

        run_jobs([functools.partial(job, k) for k in range(scale.jobs)], count, Event())
        return loss_KS

    return Row("one worker / two", lambda: with_workers(1), lambda: with_workers(2))


def masked(scale: Scale, clips: bool) -> Row:
    """Head only: gradients of everything with a mask on the updates, and of the head alone.

    Args:
      scale: of the work.
      clips: whether the masked way also clips by the norm of all gradients, so that something reads them.
    """
    bench = Bench(scale)
    task = bench.task("head")
    state, frozen = bench.begin(task)
    labels = tree.unflatten(task.adapted.labels())
    rule = optax.multi_transform({"head": adamw(scale), FROZEN: optax.set_to_zero()}, labels)
    clip = optax.clip_by_global_norm(CLIP) if clips else optax.identity()
    says = f"mask after gradients {'and their norm ' if clips else ''}of everything / partitioned"
    return Row(says, by_hand(bench, optax.chain(clip, rule)), lambda: bench.run(task, state, frozen, bench.data))


def solved(scale: Scale, solver: str) -> Row:
    """Heads for every penalty by scikit-learn one after another, and all at once, to the same tolerance.

    Args:
      scale: of the work.
      solver: `logistic` or `ridge`.
    """
    from sklearn.linear_model import LogisticRegression, Ridge  # not where rows are only listed

    rng, size = np.random.default_rng(0), scale.labels
    label_N = np.concatenate([np.arange(CLASSES), rng.integers(0, CLASSES, size - CLASSES)])
    x_ND = rng.normal(size=(size, scale.features)) * np.linspace(0.05, 1.5, scale.features)
    x_ND += 0.02 * rng.normal(size=(CLASSES, scale.features))[label_N]  # classes overlap
    one_hot_NC = np.eye(CLASSES)[label_N]
    lambdas = [float(penalty) for penalty in np.logspace(-6, 5, scale.penalties)]

    def theirs() -> np.ndarray:
        losses = []
        for penalty in lambdas:
            if solver == "ridge":
                fit = Ridge(alpha=penalty * size).fit(x_ND, one_hot_NC)
                error = 0.5 * np.square(fit.predict(x_ND) - one_hot_NC).sum(axis=1).mean()
            else:
                fit = LogisticRegression(C=1 / (penalty * size), tol=1e-4, max_iter=10_000).fit(x_ND, label_N)
                error = -fit.predict_log_proba(x_ND)[np.arange(size), label_N].mean()
            losses.append(error + 0.5 * penalty * np.square(fit.coef_).sum())
        return np.array(losses)

    def ours() -> np.ndarray:
        if solver == "ridge":
            return ridge_path(x_ND, one_hot_NC, lambdas).loss_L
        return logistic_path(x_ND, one_hot_NC, lambdas, tolerance=1e-4).loss_L

    return Row(f"{solver} for {scale.penalties} penalties by scikit-learn / by tlx", theirs, ours)


ROWS: dict[str, Callable[[Scale], Row]] = {
    "overhead": overhead,
    "fused": probes,
    "cached": features,
    "workers": workers,
    "partition": functools.partial(masked, clips=True),
    "partition-unclipped": functools.partial(masked, clips=False),
    "logistic": functools.partial(solved, solver="logistic"),
    "ridge": functools.partial(solved, solver="ridge"),
}
