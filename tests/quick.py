"""The quickstart made small enough for a test: one block of width 16, two seeds, twenty steps."""

from pathlib import Path

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.py"
SMALL = (
    "--config.model.depth=1",
    "--config.model.width=16",
    "--config.sources.mnist.steps=20",
    "--config.budgets=(20,40)",
    "--config.seeds=(0,1)",
    "--config.train.steps=20",
    "--config.plan.steps_per_call=10",
)
