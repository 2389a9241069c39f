"""Gradual unfreezing: which stages move in which phase, when each begins, and at which rate."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import ADAM, adapt, tiny_model

from tlx.adapt.adapted import Adapted
from tlx.adapt.registry import METHODS
from tlx.step import Task

# Stages from the head down; each phase adds the next one. The mean of a ResNet's pool holds nothing.
ORDER = {
    "vit": ["head", "pool", "block_1", "block_0", "embed"],
    "bert": ["head", "pool", "block_1", "block_0", "embed"],
    "resnet": ["head", "block_1", "block_0", "stem"],
}


@pytest.mark.parametrize("method", ["gradual", "ulmfit"])
@pytest.mark.parametrize("model", sorted(ORDER))
def test_one_stage_more_in_every_phase(method: str, model: str) -> None:
    adapted, order = adapt(method, tiny_model(model)), ORDER[model]
    assert len(adapted.phases) == len(order)
    for p in range(len(order)):
        for path, label in adapted.labels(p).items():
            stage = path.split("/")[1]
            kind = "head" if stage == "head" else f"train@{stage}" if method == "ulmfit" else "train"
            joined = order.index(stage)
            assert label == ("frozen" if joined > p else f"{kind}#{joined}" if joined else kind), (p, path)
        assert adapted.cut(p) == adapted.model.stages.index(order[p])


def test_phases_share_the_steps_evenly_and_one_schedule_spans_them() -> None:
    adapted = adapt("gradual", share=0.8)
    assert [phase.start for phase in adapted.phases] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert Task(adapted, ADAM, steps=50).bounds == (0, 10, 20, 30, 40)
    for step in (3, 15, 25, 35, 49):
        now = Task(adapted, ADAM, steps=50).at(step)
        whole = Task(adapt("full"), ADAM, steps=50)
        assert float(now.lr_factor(jnp.int32(step))) == float(whole.lr_factor(jnp.int32(step)))


def test_ulmfit_divides_the_rate_by_2_6_a_stage_and_slants_it() -> None:
    adapted = adapt("ulmfit")
    factors = dict(adapted.lr_scale())
    stages = ("pool", "block_1", "block_0", "embed")
    assert factors == pytest.approx({f"train@{stage}": 2.6**-depth for depth, stage in enumerate(stages)})
    assert METHODS["ulmfit"].defaults.schedule == "slanted" and METHODS["ulmfit"].defaults.warmup == 0.1


def test_adapters_join_with_their_stage() -> None:
    """Low-rank side paths beside the blocks; a mask over the whole model, which lies outside the stages, is first."""
    lora, fish = adapt("lora"), adapt("fish")
    alone = adapt("gradual")
    both = replace(alone, also=(("lora", lora.settings), ("fish", fish.settings)))
    first, third = both.labels(0), both.labels(2)
    assert first["adapters/fish/delta"] == "adapter" and first["adapters/fish/index"] == "frozen"
    assert {first[path] for path in first if path.startswith("adapters/block_")} == {"frozen"}
    assert {third[path] for path in third if path.startswith("adapters/block_1")} == {"adapter#2"}
    assert {third[path] for path in third if path.startswith("adapters/block_0")} == {"frozen"}
    assert {label.partition("#")[0] for label in both.labels().values()} == {"train", "head", "adapter", "frozen"}


def test_a_scanned_model_has_its_blocks_in_one_phase() -> None:
    adapted: Adapted = adapt("gradual", tiny_model(scan=True))
    assert [adapted.cut(p) for p in range(len(adapted.phases))] == [3, 2, 1, 0]
    assert np.isclose(adapted.phases[-1].start, 0.5)
