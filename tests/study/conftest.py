"""A study small enough to run in a test: one block of width 16, two seeds, twenty steps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tlx.build import build
from tlx.config import load
from tlx.study.spec import Study

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.py"
SMALL = (
    "--config.model.depth=1",
    "--config.model.width=16",
    "--config.sources.mnist.steps=20",
    "--config.budgets=(20,40)",
    "--config.seeds=(0,1)",
    "--config.train.steps=20",
    "--config.plan.steps_per_call=10",
)

Make = Callable[..., Study]


@pytest.fixture(scope="session")
def make_study() -> Make:
    """Overrides to a small study."""

    def make(*overrides: str) -> Study:
        return build(load(str(CONFIG), (*SMALL, *overrides)), "tlx run configs/quickstart.py")

    return make
