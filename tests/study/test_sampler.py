import importlib.metadata
from pathlib import Path

import numpy as np
import pytest
from counting import STEPS, Counting, unit_of

from tlx.build import build
from tlx.config import load
from tlx.errors import ConfigError
from tlx.optim import Optimizer
from tlx.study.heats import run_heats
from tlx.study.sampler import suggested, version
from tlx.study.search import Heat, heats
from tlx.study.select import Validation
from tlx.study.spec import Entry, Search
from tlx.study.trials import Trained, Trial

SMALL = str(Path(__file__).parents[1] / "small.py")
OVERRIDES = ("--config.search.kind=optuna", "--config.search.trials=4")
SEARCH = Search("optuna", trials=24, seed=1, sampler="5.0.0")


def entry(low: float, high: float, decays: tuple[float, ...] = ()) -> Entry:
    return Entry("full", "transfer", "full", (), (), "auto", Optimizer(), 0.05, (low, high), decays)


def test_without_optuna_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ConfigError) as caught:
        build(load(SMALL, OVERRIDES))
    assert str(caught.value) == "config.search.kind: 'optuna' needs Optuna; run pip install 'tlx[optuna]'"


def test_trials_are_counted_beforehand_and_the_version_is_part_of_what_a_cell_is() -> None:
    assert heats(SEARCH, entry(1e-3, 1.0), 20) == (Heat(1, 0, 20),) * 24
    assert SEARCH.identity() == {"kind": "optuna", "trials": 24, "seed": 1, "sampler": "5.0.0"}
    with pytest.raises(ConfigError, match=r"^config\.search\.trials: expected an integer ≥ 1 with .*'optuna', got 0$"):
        load(SMALL, OVERRIDES[:1])


def test_a_config_names_the_version_that_draws() -> None:
    pytest.importorskip("optuna")
    assert build(load(SMALL, OVERRIDES)).search == Search("optuna", trials=4, sampler=version())


def peak(trial: Trial, run: Trained) -> Validation:
    """Best at a rate of 0.5, within a range from 0.1 to 0.8; one seed is always better than the other."""
    miss = abs(np.log(trial.point.learning_rate / 0.5))
    return Validation(trial.cell.seed, trial.point, float(np.exp(-miss)) - 0.1 * trial.cell.seed, miss, run.stopped)


def test_arms_begin_with_the_same_points_and_the_sampler_learns() -> None:
    pytest.importorskip("optuna")
    first = suggested(SEARCH, entry(1e-4, 1e-2), [])
    other = suggested(SEARCH, entry(1e-2, 1.0, (1e-3, 1e-1)), [])
    assert first.weight_decay == 0.05 and 1e-3 <= other.weight_decay <= 1e-1
    assert np.log(first.learning_rate / 1e-4) == pytest.approx(np.log(other.learning_rate / 1e-2), abs=1e-4)
    runner = Counting()
    trials = run_heats(unit_of(SEARCH), runner, peak)
    rates = [trial.point.learning_rate for trial in trials if trial.cell.seed == 0]
    assert len(rates) == 24 and runner.steps == 2 * 24 * STEPS == unit_of(SEARCH).steps
    miss = np.abs(np.log(np.array(rates) / 0.5))
    assert np.median(miss[12:]) < 0.5 * np.median(miss[:10])


def test_a_search_that_goes_on_draws_what_it_would_have_drawn() -> None:
    pytest.importorskip("optuna")
    search = Search("optuna", trials=6, seed=1, sampler="5.0.0")
    whole, runner = Counting(), Counting()
    trials = run_heats(unit_of(search, (20, 40)), whole, peak)
    runner.done = {trial.key: whole.done[trial.key] for trial in trials[:14]}
    assert run_heats(unit_of(search, (20, 40)), runner, peak) == trials
    assert runner.steps == (24 - 14) * STEPS
