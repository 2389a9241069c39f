"""Two trials and their rows, for the tests of loggers."""

import math
from typing import Any

from tlx.loggers.logger import Run

CELLS = ("0123456789abcdef", "fedcba9876543210")
RUNS = [
    Run(
        f"{cell}-0.001",
        "small",
        f"full/mnist-digits/n20-seed{seed}-{cell}/lr0.001",
        {"entry": "full", "source": "mnist", "target": "digits", "seed": seed, "lr": 0.001},
    )
    for seed, cell in enumerate(CELLS)
]


def rows(first: int, last: int, ends: bool = False) -> list[dict[str, Any]]:
    """Every fifth step, and where the trial ends what it scored; the loss at step 10 is not finite."""
    made: list[dict[str, Any]] = [
        {
            "trial": "0.001",
            "peak_lr": 0.001,
            "step": step,
            "train_loss": None if step == 10 else 8.0 / step,
            "lr": 0.001 * (1 - step / 32),
            "seconds": step / 4,
            "time": 1_700_000_000.5 + step,
        }
        for step in range(first, last + 1, 5)
    ]
    if ends:
        made[-1] |= {"val_score": 0.75, "val_loss": 0.5}
    return made


def curves(first: int, last: int, ends: bool = False) -> dict[str, list[tuple[int, float]]]:
    """Step and value of all points that a reader must find, as single floats hold them."""
    steps = range(first, last + 1, 5)
    found = {
        "train/loss": [(step, math.nan if step == 10 else 8.0 / step) for step in steps],
        "train/lr": [(step, 0.001 * (1 - step / 32)) for step in steps],
        "train/seconds": [(step, step / 4) for step in steps],
    }
    return found | ({"val/score": [(last, 0.75)], "val/loss": [(last, 0.5)]} if ends else {})
