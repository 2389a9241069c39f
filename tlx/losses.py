"""Losses and scores of single-label classification."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

# Shape suffixes: B examples, C classes.


def cross_entropy(logits_BC: jax.Array, label_B: jax.Array, smoothing: jax.Array | float = 0.0) -> jax.Array:
    """Softmax cross-entropy against smoothed labels.

    Args:
      logits_BC: unnormalised log-probabilities, [examples, classes].
      label_B: integer classes, [examples].
      smoothing: share of the target mass spread evenly over all classes, 0 to 1; may be traced.

    Returns:
      Nats per example, [examples].

    Source: Szegedy et al. (2016), section 7.
    """
    classes = logits_BC.shape[-1]
    hot_BC = jax.nn.one_hot(label_B, classes, dtype=logits_BC.dtype)
    target_BC = hot_BC * (1.0 - smoothing) + smoothing / classes
    return optax.softmax_cross_entropy(logits_BC, target_BC)


def correct(logits_BC: jax.Array, label_B: jax.Array) -> jax.Array:
    """Whether the highest logit is the label's, [examples] of bool."""
    return jnp.argmax(logits_BC, axis=-1) == label_B


def accuracy_and_loss(logits_NC: np.ndarray, label_N: np.ndarray) -> tuple[float, float]:
    """Accuracy and mean cross-entropy of predictions already on the host.

    Args:
      logits_NC: [examples, classes].
      label_N: [examples].

    Returns:
      Share of examples whose highest logit is the label's, and nats per example.
    """
    shifted_NC = logits_NC.astype(np.float64) - logits_NC.max(axis=-1, keepdims=True)
    logsum_N = np.log(np.exp(shifted_NC).sum(axis=-1))
    loss_N = logsum_N - shifted_NC[np.arange(len(label_N)), label_N]
    return float(np.mean(logits_NC.argmax(axis=-1) == label_N)), float(loss_N.mean())
