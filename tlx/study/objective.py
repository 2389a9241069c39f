"""What a source is trained to do: tell classes apart, guess hidden tokens, or guess the next one."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlx.cut import in_batches
from tlx.data.ops.mask_tokens import MaskTokens
from tlx.data.ops.next_token import NextToken
from tlx.data.ops.op import Op
from tlx.data.ops.pipeline import Pipeline
from tlx.data.text import Tokenizer
from tlx.errors import ConfigError
from tlx.losses import UNSCORED, accuracy_and_loss, cross_entropy
from tlx.models.registry import CLASSIFY, MASKED_LM, MODELS, Model
from tlx.step import Task, predict
from tlx.study.cells import SourceData
from tlx.study.context import Context
from tlx.study.plan import model_of
from tlx.study.spec import Source, Study

# The tokens that are hidden for scoring are the same for every model.
_SCORING_SEED = 0


def label_op(source: Source, model: str, tokenizer: Tokenizer | None) -> Op | None:
    """What makes a batch's labels of its tokens; None where the data set has them.

    Args:
      source: names the objective.
      model: registered architecture.
      tokenizer: of the texts, None for images.

    Raises:
      ConfigError: the model, the data or the tokenizer is not made for the objective.
    """
    where = f"config.sources.{source.name}.objective"
    if source.objective == CLASSIFY:
        return None
    if source.objective not in MODELS[model].objectives:
        able = ", ".join(name for name, kind in MODELS.items() if source.objective in kind.objectives)
        raise ConfigError(where, f"a {model!r} does not learn by {source.objective!r}; there is {able}")
    if tokenizer is None:
        raise ConfigError(where, f"{source.objective!r} is learned from texts, and {source.dataset!r} is of images")
    if source.objective == MASKED_LM:
        if tokenizer.mask is None:
            raise ConfigError(where, f"{tokenizer.path} has no token that hides another")
        return MaskTokens(mask=tokenizer.mask, vocab=tokenizer.vocab, special=tokenizer.special)
    return NextToken(pad=tokenizer.pad)


def trained_model(study: Study, source: Source, data: SourceData) -> Model:
    """The study's architecture as a source trains it, with a head for its objective.

    Args:
      study: names the architecture.
      source: names the objective.
      data: its examples.
    """
    model = model_of(study, data.train)
    if source.objective == CLASSIFY:
        return model
    settings = {**dict(model.settings), **model.kind.objectives[source.objective]}
    return replace(model, settings=tuple(sorted(settings.items())), num_classes=settings["vocab"])


def trained_ops(study: Study, data: SourceData, model: Model) -> Pipeline:
    """What is done to a source's batches, the making of labels last.

    Args:
      study: names the ops.
      data: of the source.
      model: from `trained_model`.

    Raises:
      ConfigError: the ops do not go with the objective.
    """
    ops = study.pipeline(model.num_classes)
    return ops if data.op is None else Pipeline((*ops.ops, data.op), ops.num_classes)


def scored(task: Task, trainable: Any, stats: Any, data: SourceData, context: Context) -> tuple[float, float]:
    """How well a trained source does on its own test split.

    Args:
      task: of the training.
      trainable: its leaves.
      stats: its running statistics.
      data: its examples.
      context: of the study.

    Returns:
      Share of labels, or of guessed tokens, that have the highest logit, and nats per label.
    """
    if data.op is None:
        logits_NC = context.logits(task, trainable, {}, stats, data.test.input_N)
        return accuracy_and_loss(logits_NC, data.test.label_N)
    return _tokens(task, trainable, stats, data.op, data.test.input_N, context)


def _tokens(task: Task, trainable: Any, stats: Any, op: Op, id_NT: np.ndarray, context: Context) -> tuple[float, float]:
    """Accuracy and nats per guessed token. Logits of a whole split would fill the memory: only their sums are kept."""
    labelled = Pipeline((*task.ops.evaluation.ops, op))

    def forward(trainable: Any, stats: Any, x: Any) -> jax.Array:
        batch = {"input": x["id"], "label": x["position"]}
        batch = labelled(batch, _SCORING_SEED, 0, x["position"][0])
        logits_BTV = predict(task, trainable, {}, stats, batch["input"], jnp.float32(1.0))
        is_scored_BT = batch["label"] != UNSCORED
        nats_BT = jnp.where(is_scored_BT, cross_entropy(logits_BTV, batch["label"]), 0.0)
        right_BT = is_scored_BT & (jnp.argmax(logits_BTV, axis=-1) == batch["label"])
        parts = (is_scored_BT, right_BT, nats_BT)
        return jnp.stack([part.astype(jnp.float32).sum(axis=1) for part in parts], axis=1)

    place = context.placement.evaluation
    placed = place.shared((trainable, stats))

    def call(chunk: Any) -> tuple[Any, float]:
        args = (*placed, place.batch(chunk))
        name = (task.adapted, labelled, "tokens")
        program = context.programs.get(name, lambda *a: jax.jit(forward).lower(*a).compile(), *args)
        return np.asarray(program.call(*args)), 0.0

    x_N = {"id": id_NT, "position": np.arange(len(id_NT), dtype=np.int32)}
    sums_N3 = in_batches(call, x_N, context.study.execution.eval_batch)[0]
    count, right, nats = sums_N3.sum(axis=0, dtype=np.float64)
    if not count:
        raise ConfigError("config.text.length", "no token of the source's test split can be guessed")
    return float(right / count), float(nats / count)
