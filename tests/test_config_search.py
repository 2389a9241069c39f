from pathlib import Path

import pytest

from tlx.build import build
from tlx.config import load, restored
from tlx.errors import ConfigError
from tlx.study.spec import Search

SMALL = str(Path(__file__).with_name("small.py"))
RANDOM = ("--config.search.kind=random", "--config.search.trials=6")
SOLVED = "--config.adapt.probe.method.name=probe"
HALVING = ("--config.search.kind=halving", "--config.search.eta=2", "--config.search.rungs=1")


def test_a_silent_config_tries_every_rate() -> None:
    assert build(load(SMALL)).search == Search()


def test_a_search_is_built_and_found_again_in_a_manifest() -> None:
    study = build(load(SMALL, (*RANDOM, "--config.search.seed=3", "--config.adapt.lora.weight_decays=(1e-4,1e-2)")))
    assert study.search == Search("random", trials=6, seed=3)
    assert {entry.name: entry.weight_decays for entry in study.entries if entry.weight_decays} == {"lora": (1e-4, 1e-2)}
    again = build(restored(study.config))
    assert (again.search, again.entries) == (study.search, study.entries)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("--config.search.kind=bayes",), "config.search.kind: unknown value 'bayes'"),
        (("--config.search.extend=-1",), "config.search.extend: expected an integer from 0 to 100, got -1"),
        (
            ("--config.search.kind=random",),
            "config.search.trials: expected an integer ≥ 1 with config.search.kind='random', got 0",
        ),
        (
            ("--config.search.trials=6",),
            "config.search.trials: expected 0 with config.search.kind='grid', got 6; use 'random'",
        ),
        (
            (*RANDOM, "--config.search.extend=2"),
            "config.search.extend: expected 0 with config.search.kind='random', got 2",
        ),
        (
            (*RANDOM, "--config.adapt.lora.lr=(1e-3,)"),
            "config.adapt.lora.lr: expected the two ends of a range to draw from, got (0.001,)",
        ),
        (
            (*RANDOM, "--config.adapt.lora.weight_decays=(1e-3,)"),
            "config.adapt.lora.weight_decays: expected the two ends of a range to draw from, got (0.001,)",
        ),
        (
            (*RANDOM, "--config.adapt.lora.lr=(1.0,1.0001)"),
            "config.adapt.lora.lr: (1.0, 1.0001) is too narrow a range to draw 6 trials from",
        ),
        (
            ("--config.adapt.lora.lr=(1e-3,2e-3,3e-3)",),
            "config.adapt.lora.lr: 3 learning rates, but config.adapt.scratch.lr has 2; "
            "every arm gets the same number of trials",
        ),
        (
            ("--config.adapt.lora.weight_decays=(1e-3,1e-2)",),
            "config.adapt.lora.weight_decays: expected () where trials are not drawn, got (0.001, 0.01)",
        ),
        (
            ("--config.search.kind=halving",),
            "config.search.eta: one in 3 is to go on, but each cell has 2 trials",
        ),
        (
            (*HALVING, "--config.search.rungs=3"),
            "config.search.rungs: 3 rungs of config.search.eta=2 in 4 steps; at most 2",
        ),
        (
            (*HALVING, SOLVED),
            "config.search.kind: 'halving' is for runs of steps, and config.adapt.probe.method.name='probe' solves for "
            "its heads; use 'grid' or 'random'",
        ),
        (
            ("--config.search.kind=optuna", "--config.search.trials=6", SOLVED),
            "config.search.kind: 'optuna' is for runs of steps, and config.adapt.probe.method.name='probe' solves",
        ),
        (
            (*RANDOM, SOLVED, "--config.adapt.probe.weight_decays=(1e-4,1e-2)"),
            "config.adapt.probe.weight_decays: expected () with method.name='probe', whose penalties are "
            "config.adapt.probe.lr, got (0.0001, 0.01)",
        ),
    ],
)
def test_a_search_that_is_not_the_same_for_all_is_refused_in_one_line(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(SMALL, overrides)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_one_rate_has_no_next_one() -> None:
    names = ("scratch", "random_frozen", "probe", "full", "lora")
    with pytest.raises(ConfigError, match=r"^config\.adapt\.\w+\.lr: config\.search\.extend needs two rates at least"):
        load(SMALL, ("--config.search.extend=1", *(f"--config.adapt.{name}.lr=(1e-3,)" for name in names)))


def test_penalties_of_heads_that_are_solved_for_may_be_drawn_or_extended() -> None:
    assert build(load(SMALL, (*RANDOM, SOLVED))).search.kind == "random"
    assert build(load(SMALL, ("--config.search.extend=1", SOLVED))).search.extend == 1


def test_trials_are_drawn_and_halved_together() -> None:
    study = build(load(SMALL, (*HALVING, "--config.search.trials=8")))
    assert study.search == Search("halving", trials=8, rungs=1, eta=2)
