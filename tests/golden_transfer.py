"""The fixture whose numbers reference implementations and an independent one agree on."""

from typing import Any

import numpy as np

from tlx.measure.transferability.registry import (
    ACCURACY,
    FEATURES,
    LABELS,
    PARAMETERS,
    PROBABILITIES,
    SOURCE_FISHER,
    TARGET_FISHER,
)

N, D, C, Z = 60, 8, 3, 5


def golden() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [N, D], labels [N] and source probabilities [N, Z]."""
    draw = np.random.RandomState(0)
    label_N = np.arange(N) % C
    mean_CD = draw.randn(C, D)
    feature_ND = mean_CD[label_N] + 0.5 * draw.randn(N, D)
    logit_NZ = draw.randn(C, Z)[label_N] + 0.5 * draw.randn(N, Z)
    share_NZ = np.exp(logit_NZ) / np.exp(logit_NZ).sum(axis=1, keepdims=True)
    return feature_ND, label_N, share_NZ


def hard(examples: int = N, features: int = D, classes: int = C, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, D] of classes that overlap, and labels [N]; in the golden shape, so that programs are shared."""
    draw = np.random.default_rng(seed)
    label_N = np.arange(examples) % classes
    return draw.normal(size=(classes, features))[label_N] + draw.normal(size=(examples, features)), label_N


def everything(feature_ND: Any, label_N: Any, share_NZ: Any) -> dict[str, Any]:
    """All that an estimator may need."""
    return {
        FEATURES: feature_ND,
        LABELS: label_N,
        PROBABILITIES: share_NZ,
        PARAMETERS: 1000,
        ACCURACY: 0.75,
        SOURCE_FISHER: [1.0, 2.0, 3.0],
        TARGET_FISHER: [1.0, 2.0, 4.0],
    }
