"""Probes of layers: what they read, the penalty each layer has of its own, and control tasks."""

import numpy as np
import pytest

from tlx.measure.representation.probes import PENALTIES, Split, control_labels, probe, probe_layers

RNG = np.random.default_rng(5)
LABEL = np.arange(120) % 3
MEANS = RNG.normal(size=(3, 6))
CLEAR = 100 * (MEANS[LABEL] + 0.1 * RNG.normal(size=(120, 6))) + 50
NOISE = RNG.normal(size=(120, 6))


def splits(x: np.ndarray, types: np.ndarray | None = None) -> tuple[Split, Split, Split]:
    rows = (slice(60), slice(60, 90), slice(90, 120))
    one, two, three = (Split(x[row], LABEL[row], None if types is None else types[row]) for row in rows)
    return one, two, three


def test_what_is_there_is_read_and_noise_is_not() -> None:
    found, nothing = (probe(*splits(x), np.random.default_rng(0)) for x in (CLEAR, NOISE))
    assert found.accuracy == 1.0 and nothing.accuracy < 0.6
    assert found.selectivity == found.accuracy - found.control > 0.3
    assert nothing.selectivity < 0.15


def test_wide_probes_memorise_and_are_not_selective() -> None:
    wide = np.random.default_rng(1).normal(size=(120, 200))
    found = probe(*splits(wide), np.random.default_rng(0), penalties=(1e-5,))
    assert found.control == 1.0 and found.selectivity < -0.3


def test_types_carry_control_labels_to_the_test_examples() -> None:
    types = np.arange(120) % 30
    ones = np.eye(30)[types]
    found = probe(*splits(ones, types), np.random.default_rng(0), penalties=(1e-5,))
    assert found.accuracy == found.control == 1.0 and found.selectivity == 0.0


def test_control_labels_are_a_function_of_the_type() -> None:
    types = np.array([4, 7, 4, 9, 7])
    made = control_labels(types, LABEL, np.random.default_rng(0))
    assert made[0] == made[2] and made[1] == made[4] and set(made) <= {0, 1, 2}


def test_scale_and_place_of_features_change_nothing() -> None:
    one = probe(*splits(CLEAR), np.random.default_rng(0))
    other = probe(*splits(1e-3 * CLEAR + 7), np.random.default_rng(0))
    assert one == other


def test_each_layer_has_a_penalty_of_its_own() -> None:
    rows = (slice(60), slice(60, 90), slice(90, 120))
    noisy = np.hstack([CLEAR / 100, 3 * RNG.normal(size=(120, 60))])
    layers = {name: tuple(x[row] for row in rows) for name, x in (("clear", CLEAR), ("noisy", noisy))}
    labels = tuple(LABEL[row] for row in rows)
    found = probe_layers(layers, labels, 0)  # type: ignore[arg-type]
    assert found["clear"].penalty != found["noisy"].penalty and {p.penalty for p in found.values()} <= set(PENALTIES)
    assert found == probe_layers(layers, labels, 0)  # type: ignore[arg-type]
    assert found["clear"].accuracy > found["noisy"].accuracy


def test_a_class_that_was_never_seen_is_never_right() -> None:
    train, validation, test = splits(CLEAR)
    few = Split(train.x_ND[train.label_N < 2], train.label_N[train.label_N < 2])
    assert probe(few, validation, test, np.random.default_rng(0)).accuracy == pytest.approx(2 / 3)
    alone = Split(train.x_ND[train.label_N < 1], train.label_N[train.label_N < 1])
    assert probe(alone, validation, test, np.random.default_rng(0)).accuracy == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: (s[0], s[1], Split(s[2].x_ND[:0], s[2].label_N[:0])),
            "test: expected finite features of 0 examples",
        ),
        (lambda s: (Split(s[0].x_ND * np.nan, s[0].label_N), *s[1:]), "train: expected finite features of 60 examples"),
        (lambda s: (s[0], Split(s[1].x_ND[:, :5], s[1].label_N), s[2]), "train: expected finite features of 60"),
        (lambda s: (s[0], s[1], Split(s[2].x_ND, s[2].label_N, LABEL[:30])), "test: expected types for all splits"),
    ],
)
def test_what_cannot_be_probed_is_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        probe(*change(splits(CLEAR)), np.random.default_rng(0))
