"""NLEEP: LEEP with clusters of features in the place of source classes.

Shape suffixes: S sources, N examples, D features, K components.
"""

import jax
import numpy as np
from numpy.typing import ArrayLike

from tlx.measure.transferability import mixture, spectrum
from tlx.measure.transferability.batched import over_sources
from tlx.measure.transferability.inputs import Numbers, features_of, one_hot_of
from tlx.measure.transferability.leep import expected_log_probability

ENERGY, PER_CLASS, EXAMPLES_EACH = 0.8, 5, 4


def nleep(features: ArrayLike, labels: ArrayLike, *, energy: float = ENERGY, seed: int = 0) -> Numbers:
    """LEEP of the posteriors of a mixture of Gaussians, fitted to the features' first principal components.

    Args:
      features: [N, D], or [S, N, D], mapped at once.
      labels: integers [N].
      energy: share of the variance that the kept components hold, 0 to 1.
      seed: of the mixture's start.

    Returns:
      Nats, one number or [S]; at most 0.

    Raises:
      ValueError: the inputs do not have these shapes or are not finite.

    Source: Li et al. 2021, "Ranking neural checkpoints": 5 components for each class. Ours takes no more than one for
      every 4 examples, but one for each class: with as many components as examples every source would score 0.
    """
    x = features_of(features)
    y_NC = one_hot_of(labels, x.shape[-2])
    examples, classes = y_NC.shape
    wanted = min(PER_CLASS * classes, max(classes, examples // EXAMPLES_EACH))
    score, s = over_sources(spectrum.components, x)
    # Sources keep different numbers of components: those of one that are beyond its own are 0, which changes nothing.
    kept = np.array([spectrum.kept(s_K, energy) for s_K in np.atleast_2d(s)]).reshape((*s.shape[:-1], 1, 1))
    most = int(kept.max())
    projected = np.where(np.arange(most) < kept, score[..., :most], 0.0)
    return over_sources(_one, projected, y_NC, components=wanted, seed=seed)


def _one(x_ND: jax.Array, y_NC: jax.Array, components: int, seed: int) -> jax.Array:
    return expected_log_probability(mixture.posteriors(x_ND, components, seed), y_NC)
