"""Rethinking pre-training: what is left of its gain when training from scratch goes on for longer?

Run:       uv run tlx run configs/papers/he2018.py
Expected:  gain over scratch in points, mean of 5 seeds, half-width of the 95 % interval 1 to 12 points
             steps            25    75   250   800
              5 a class     45.7  53.0  51.9  52.2
             40 a class     43.5  42.6   3.4   1.6
Takes:     about 2 minutes on two CPU cores (3.5 of CPU time)
Source:    He, Girshick and Dollár (2018), in miniature; the numbers of both are in experiments/he2018
"""

from ml_collections import ConfigDict

from tlx.axes import blocks, product

STEPS = (25, 75, 250, 800)
# Both arms try the same ones at every schedule.
RATES = (3e-3, 1e-2)


def get_config(argument: str = "") -> ConfigDict:
    """The study; it takes no argument."""
    del argument
    config = ConfigDict()
    config.name = "he2018"
    config.model = {"name": "resnet", "stem": "small", "depths": (1, 1, 1), "width": 8}
    config.sources = {
        "glyphs": {"dataset": "glyphs", "train": "train[:1200]", "steps": 800, "batch_size": 32, "lr": 3e-3}
    }
    # Twelve other classes, once for each schedule, so that both arms are compared after as many steps.
    target = {"dataset": "glyphs/new", "train": "train[:1200]", "validation": "train[1200:1800]", "test": "test"}
    config.targets = blocks("new", target, product({"steps": STEPS}))
    config.adapt = {
        "scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": RATES},
        "full": {"arm": "transfer", "method": {"name": "full"}, "lr": RATES},
    }
    config.per_class = True
    config.budgets = (5, 40)
    config.seeds = (0, 1, 2, 3, 4)
    config.train = {"batch_size": 16, "optimizer": "adamw", "schedule": "cosine", "weight_decay": 0.0}
    return config
