"""A complete study of a tiny ViT, small enough to run in a test; its argument becomes its name."""

from ml_collections import ConfigDict


def get_config(argument: str = "") -> ConfigDict:
    """One half of the digits to the other."""
    config = ConfigDict()
    config.name = argument or "small"
    config.model = ConfigDict({"name": "vit", "patch": 7, "width": 16, "depth": 2, "heads": 2})
    config.sources = ConfigDict(
        {"upper": {"dataset": "digits", "train": "train[:200]", "test": "test[:50]", "steps": 4, "lr": 2e-3}}
    )
    config.targets = ConfigDict(
        {"lower": {"dataset": "digits", "train": "train[700:800]", "validation": "train[900:950]", "test": "test[50:]"}}
    )
    config.adapt = ConfigDict(
        {
            "scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": (1e-3, 2e-3)},
            "random_frozen": {"arm": "random-frozen", "method": {"name": "head"}, "lr": (3e-2, 1e-1)},
            "probe": {"arm": "transfer", "method": {"name": "head"}, "lr": (1e-2, 3e-2)},
            "full": {"arm": "transfer", "method": {"name": "full"}, "lr": (1e-3, 2e-3)},
            "lora": {"arm": "transfer", "method": {"name": "lora", "rank": 4}, "lr": (3e-3, 1e-2)},
        }
    )
    config.budgets = (10, 20, 40)
    config.seeds = (0, 1, 2)
    config.train = ConfigDict({"steps": 4, "batch_size": 8})
    return config
