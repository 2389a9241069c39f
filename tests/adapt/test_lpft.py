"""LP-FT: the probe and what follows it, the schedule of each, and layer-wise rates on top."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import adapt, tiny_model

from tlx.models.registry import MODELS
from tlx.optim import Optimizer
from tlx.step import Task


@pytest.mark.parametrize("model", sorted(MODELS))
def test_the_head_first_then_everything(model: str) -> None:
    adapted = adapt("lp_ft", tiny_model(model))
    head = adapt("head", tiny_model(model))
    assert adapted.labels(0) == head.labels() and adapted.cut(0) == head.cut()
    assert adapted.labels(1) == {
        path: "head" if path.startswith("params/head/") else "train#1" for path in adapted.labels(0)
    }
    assert adapted.cut(1) == 0
    assert set(adapted.stat_labels(0).values()) <= {"frozen"} and set(adapted.stat_labels(1).values()) <= {"stats"}


def test_each_part_has_a_whole_schedule_and_the_second_a_smaller_rate() -> None:
    """Cosine without a warm-up over 100 steps: 40 for the probe, 60 after it."""
    task = Task(adapt("lp_ft", probe=0.4, lr=0.2), Optimizer(warmup=0.0), steps=100)
    assert task.bounds == (0, 40)
    for step, done, peak in [(0, 0, 1.0), (20, 0.5, 1.0), (39, 39 / 40, 1.0), (40, 0, 0.2), (70, 0.5, 0.2)]:
        factor = float(task.at(step).lr_factor(jnp.int32(step)))
        assert factor == pytest.approx(peak * 0.5 * (1 + np.cos(np.pi * done)), abs=1e-6), step


def test_it_goes_with_layer_wise_rates_either_way_round() -> None:
    lp_ft, llrd = adapt("lp_ft"), adapt("llrd", decay=0.5)
    for both in (replace(lp_ft, also=(("llrd", llrd.settings),)), replace(llrd, also=(("lp_ft", lp_ft.settings),))):
        assert both.phases == lp_ft.phases
        assert both.labels(0) == lp_ft.labels(0)
        for path, label in both.labels(1).items():
            stage = path.split("/")[1]
            assert label == ("head" if stage == "head" else f"train@{stage}#1")
        assert dict(both.lr_scale()) == dict(llrd.lr_scale())
