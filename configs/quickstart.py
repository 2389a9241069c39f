"""MNIST to UCI digits with a small ViT: does pre-training help, and adapted which way?

Run:       uv run tlx run configs/quickstart.py
Expected:  test accuracy in %, mean of 5 seeds, half-width of the 95 % interval 0.4 to 9 points
             labels   scratch  random_frozen  full  lora  probe
                 20      48.7           40.8  71.2  72.7   69.6
                100      75.5           63.6  90.0  88.3   84.0
               1000      88.8           74.0  97.7  95.9   90.9
Takes:     about 2 minutes and 1 GB of memory on two CPU cores
Source:    the arms and controls of Yosinski et al. (2014) and Kornblith et al. (2019), in miniature
"""

from ml_collections import ConfigDict


def get_config(argument: str = "") -> ConfigDict:
    """The study; it takes no argument."""
    del argument
    config = ConfigDict()
    config.name = "quickstart"
    config.model = {"name": "vit", "patch": 7, "width": 64, "depth": 3, "heads": 4}
    config.sources = {"mnist": {"dataset": "mnist5k", "steps": 800, "batch_size": 64, "lr": 2e-3}}
    config.targets = {
        "digits": {"dataset": "digits", "train": "train[:1197]", "validation": "train[1197:]", "test": "test"}
    }
    config.adapt = {
        "scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": (1e-3, 2e-3, 4e-3)},
        "random_frozen": {"arm": "random-frozen", "method": {"name": "head"}, "lr": (3e-2, 1e-1, 3e-1)},
        "probe": {"arm": "transfer", "method": {"name": "head"}, "lr": (1e-2, 3e-2, 1e-1)},
        "full": {"arm": "transfer", "method": {"name": "full"}, "lr": (1e-3, 2e-3, 4e-3)},
        "lora": {"arm": "transfer", "method": {"name": "lora", "rank": 4, "alpha": 8.0}, "lr": (3e-3, 1e-2, 3e-2)},
    }
    config.budgets = (20, 100, 1000)
    config.seeds = (0, 1, 2, 3, 4)
    config.train = {"steps": 200, "batch_size": 16, "schedule": "cosine", "weight_decay": 0.01}
    return config
