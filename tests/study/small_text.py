"""A complete study of a tiny BERT on made-up sentences, small enough to run in a test."""

from ml_collections import ConfigDict


def get_config(argument: str = "") -> ConfigDict:
    """Made-up film reviews to made-up tweets."""
    config = ConfigDict()
    config.name = "small-text"
    size = {"vocab": 40, "positions": 16, "width": 16, "depth": 1, "heads": 2, "hidden": 32}
    config.model = ConfigDict({"name": "bert", "dropout": 0.0, **size})
    config.sources = ConfigDict(
        {"movies": {"dataset": "sentiment4/movies", "steps": 60, "lr": 1e-2, "schedule": "constant"}}
    )
    config.targets = ConfigDict({"tweets": {"dataset": "sentiment4/tweets"}})
    config.adapt = ConfigDict(
        {
            "scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": (1e-3,)},
            "full": {"arm": "transfer", "method": {"name": "full"}, "lr": (1e-3,)},
            "probe": {"arm": "transfer", "method": {"name": "head"}, "lr": (1e-2,)},
        }
    )
    config.budgets = (20,)
    config.seeds = (0, 1)
    config.train = ConfigDict({"steps": 20, "batch_size": 8})
    config.mesh = ConfigDict({"data": 1})
    config.plan = ConfigDict({"steps_per_call": 20})
    return config
