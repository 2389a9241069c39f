"""Losses and scores of single-label classification, of examples or of every token, and of regression."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

# Shape suffixes: B examples, T tokens, C classes, K parts of a batch.

# The label of a position that has none, such as padding or a word that is not masked.
UNSCORED = -1


def cross_entropy(logits_BC: jax.Array, label_B: jax.Array, smoothing: jax.Array | float = 0.0) -> jax.Array:
    """Softmax cross-entropy against smoothed labels.

    Args:
      logits_BC: unnormalised log-probabilities, [examples, classes], or with axes between.
      label_B: integer classes, [examples], or with as many axes more; or shares of the classes, floats in the shape of
        the logits, whose sum over the classes is 1.
      smoothing: share of the target mass spread evenly over all classes, 0 to 1; may be traced.

    Returns:
      Nats per label, in the shape of the logits without classes; for a negative label no meaning.

    Raises:
      TypeError: there are shares of another number of classes, or of other examples, than there are logits for.

    Source: Szegedy et al. (2016), section 7.
    """
    classes = logits_BC.shape[-1]
    if not jnp.issubdtype(label_B.dtype, jnp.floating):
        hot_BC = jax.nn.one_hot(label_B, classes, dtype=logits_BC.dtype)
    elif label_B.shape == logits_BC.shape:
        hot_BC = label_B.astype(logits_BC.dtype)
    else:
        raise TypeError(f"shares of classes {list(label_B.shape)} do not fit logits {list(logits_BC.shape)}")
    target_BC = hot_BC * (1.0 - smoothing) + smoothing / classes
    return optax.softmax_cross_entropy(logits_BC, target_BC)


def loss_of(logits_BC: jax.Array, label_B: jax.Array, smoothing: jax.Array | float = 0.0) -> jax.Array:
    """What training minimises: cross-entropy where labels are classes, the squared error where they are scores.

    Args:
      logits_BC: [examples, classes], or with axes between; [examples, 1] for scores.
      label_B: as for `cross_entropy`; or scores, floats [examples].
      smoothing: as for `cross_entropy`; scores are not smoothed.

    Returns:
      Nats, or the square of the scores' unit, per label.
    """
    if of_scores(label_B):
        return jnp.square(logits_BC[..., 0] - label_B.astype(logits_BC.dtype))
    return cross_entropy(logits_BC, label_B, smoothing)


def of_scores(label: jax.Array) -> bool:
    """Whether labels are numbers to be predicted, [B] of floats."""
    return label.ndim == 1 and bool(jnp.issubdtype(label.dtype, jnp.floating))


def of_shares(label: jax.Array) -> bool:
    """Whether labels are shares of classes, [B, C] of floats, as after mixup."""
    return label.ndim > 1 and bool(jnp.issubdtype(label.dtype, jnp.floating))


def of_tokens(label: jax.Array) -> bool:
    """Whether every token has a label of its own, [B, T] of integers."""
    return label.ndim > 1 and not of_shares(label)


def mean_scored(value: jax.Array, label: jax.Array) -> jax.Array:
    """The mean over examples, or over the tokens that have a label.

    Args:
      value: one number for each label.
      label: [B], or shares [B, C], all of which count; or [B, T], `UNSCORED` where a token does not.

    Returns:
      A scalar; 0 if no token counts.
    """
    if not of_tokens(label):
        return jnp.mean(value)
    scored = label != UNSCORED
    return jnp.sum(jnp.where(scored, value, 0.0)) / jnp.maximum(jnp.sum(scored), 1).astype(value.dtype)


def shares(label_K: jax.Array, axis: str | None = None) -> jax.Array:
    """What each part of a batch contributes to the mean over the labelled tokens of all parts.

    Args:
      label_K: labels of the parts, [K, B, T].
      axis: name of the device axis that the parts are on besides, or None.

    Returns:
      Weights [K] of the parts' own means that sum to 1 over all parts; equal ones where no token has a label.
    """
    count_K = jnp.sum(label_K != UNSCORED, axis=tuple(range(1, label_K.ndim))).astype(jnp.float32)
    total, parts = jnp.sum(count_K), jnp.float32(len(label_K))
    if axis is not None:
        total, parts = jax.lax.psum((total, parts), axis)
    return jnp.where(total > 0, count_K / jnp.maximum(total, 1.0), 1.0 / parts)


def correct(logits_BC: jax.Array, label_B: jax.Array) -> jax.Array:
    """Whether the highest logit is the label's, [examples] of bool."""
    return jnp.argmax(logits_BC, axis=-1) == label_B


def score_and_loss(logits_NC: np.ndarray, label_N: np.ndarray) -> tuple[float, float]:
    """How good predictions already on the host are, higher being better, and their mean loss.

    Args:
      logits_NC: [examples, classes], [examples, tokens, classes], or [examples, 1] for scores.
      label_N: classes as for `accuracy_and_loss`, or floating-point scores [examples].

    Returns:
      Accuracy and nats per label; or for scores the share of their variance that is explained, R², which is 1 at best
      and negative for what is worse than their mean, and the mean squared error.

    Raises:
      ValueError: no token has a label.
    """
    if label_N.dtype.kind != "f":
        return accuracy_and_loss(logits_NC, label_N)
    error = float(np.mean(np.square(logits_NC[:, 0].astype(np.float64) - label_N)))
    variance = float(np.var(label_N.astype(np.float64)))
    return (1.0 - error / variance if variance else 0.0), error


def accuracy_and_loss(logits_NC: np.ndarray, label_N: np.ndarray) -> tuple[float, float]:
    """Accuracy and mean cross-entropy of predictions already on the host.

    Args:
      logits_NC: [examples, classes], or [examples, tokens, classes].
      label_N: [examples], or [examples, tokens] with `UNSCORED` where a token does not count.

    Returns:
      Share of labels that have the highest logit, and nats per label.

    Raises:
      ValueError: no token has a label.
    """
    if label_N.ndim > 1:
        logits_NC, label_N = logits_NC[label_N != UNSCORED], label_N[label_N != UNSCORED]
        if not len(label_N):
            raise ValueError("no token has a label")
    shifted_NC = logits_NC.astype(np.float64) - logits_NC.max(axis=-1, keepdims=True)
    logsum_N = np.log(np.exp(shifted_NC).sum(axis=-1))
    loss_N = logsum_N - shifted_NC[np.arange(len(label_N)), label_N]
    return float(np.mean(logits_NC.argmax(axis=-1) == label_N)), float(loss_N.mean())
