import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tlx.measure.iqm import interquartile_mean, iqm_interval
from tlx.measure.stats import Interval

SCORES = np.random.default_rng(0).normal(size=(4, 6)) + np.arange(4)[:, None]


def test_the_middle_half_is_averaged() -> None:
    assert interquartile_mean([[100.0, 1.0], [2.0, 3.0], [4.0, -100.0], [2.5, 2.5]]) == pytest.approx(2.5)
    # of 5 runs a quarter is 1.25, rounded down to one at either end
    assert interquartile_mean([[0.0, 1.0, 2.0, 6.0, 90.0]]) == pytest.approx(3.0)


def test_it_is_scipys_trimmed_mean_of_all_runs() -> None:
    assert interquartile_mean(list(SCORES)) == pytest.approx(stats.trim_mean(SCORES, 0.25, axis=None))


def test_one_run_and_one_task() -> None:
    assert interquartile_mean([[0.25]]) == 0.25
    found = iqm_interval([[0.25]], np.random.default_rng(0))
    assert (found.mean, found.n, found.kind) == (0.25, 1, "none")


@given(st.permutations(range(4)), st.permutations(range(6)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_tasks_and_runs_does_not_matter(tasks: list[int], runs: list[int]) -> None:
    assert interquartile_mean(list(SCORES[tasks][:, runs])) == pytest.approx(interquartile_mean(list(SCORES)))


def test_runs_are_resampled_within_their_task() -> None:
    # Tasks whose runs are all equal leave nothing to resample, however far apart the tasks are.
    found = iqm_interval([[0.0] * 3, [0.5] * 3, [1.0] * 3, [0.5] * 3], np.random.default_rng(0), resamples=50)
    assert found == Interval(0.5, 0.5, 0.5, 12, "percentile")
    wider = iqm_interval([[0.0] * 3, [0.5] * 3, [1.0] * 3, [0.5] * 3], np.random.default_rng(0), 0.95, 200, True)
    assert wider.low < 0.5 < wider.high


def test_the_interval_is_that_of_a_plain_loop() -> None:
    rng, means = np.random.default_rng(9), []
    for _ in range(1500):
        drawn = np.stack([task[rng.integers(0, 6, 6)] for task in SCORES])
        means.append(stats.trim_mean(drawn, 0.25, axis=None))
    found = iqm_interval(list(SCORES), np.random.default_rng(1), resamples=4000, widen=False)
    np.testing.assert_allclose([found.low, found.high], np.quantile(means, [0.025, 0.975]), atol=0.06)
    assert found.mean == pytest.approx(interquartile_mean(list(SCORES))) and found.n == 24
    # sqrt(6 / 5) · t(0.975, 20) = 2.2851, which a normal exceeds with 1.115 %
    wider = iqm_interval(list(SCORES), np.random.default_rng(1), resamples=4000)
    np.testing.assert_allclose([wider.low, wider.high], np.quantile(means, [0.01115, 0.98885]), atol=0.08)
    assert wider.low < found.low and found.high < wider.high


def test_the_interval_over_tasks_is_that_of_a_plain_loop() -> None:
    tasks = [*SCORES, SCORES[0][:3]]
    rng, means = np.random.default_rng(9), []
    for _ in range(1000):
        drawn = [rng.choice(task, task.size) for task in (tasks[place] for place in rng.integers(0, 5, 5))]
        means.append(stats.trim_mean(np.concatenate(drawn), 0.25))
    found = iqm_interval(tasks, np.random.default_rng(1), resamples=4000, over_tasks=True, widen=False)
    np.testing.assert_allclose([found.low, found.high], np.quantile(means, [0.025, 0.975]), atol=0.15)


@pytest.mark.parametrize("over_tasks", [False, True])
def test_it_depends_on_nothing_but_the_generator(over_tasks: bool) -> None:
    first = iqm_interval(list(SCORES), np.random.default_rng(2), 0.95, 100, over_tasks)
    np.random.seed(0)
    assert iqm_interval(list(SCORES), np.random.default_rng(2), 0.95, 100, over_tasks) == first
    assert iqm_interval(list(SCORES), np.random.default_rng(3), 0.95, 100, over_tasks) != first


def test_two_runs_of_a_task_are_too_few() -> None:
    assert iqm_interval([[0.1, 0.2], [0.1, 0.2, 0.3]], np.random.default_rng(0)).kind == "none"
    assert iqm_interval([[0.1], [0.2]], np.random.default_rng(0), over_tasks=True).kind == "none"


def test_what_is_no_set_of_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="scores_TR: expected at least one task"):
        interquartile_mean([])
    with pytest.raises(ValueError, match=r"scores_TR\[1\]: expected at least 1 finite values"):
        iqm_interval([[0.5], [float("nan")]], np.random.default_rng(0))
