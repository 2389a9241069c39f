"""A complete study of a tiny network that keeps what its cells trained; the argument names the network.

Without one it is a ViT that is fine-tuned in full; of the others there are adapters and probes, too.
"""

from ml_collections import ConfigDict

SIZES = {
    "vit": {"patch": 7, "width": 16, "depth": 1, "heads": 2},
    "resnet": {"depths": (1, 1), "width": 8, "stem": "small"},
}


def get_config(argument: str = "") -> ConfigDict:
    """One half of the digits to the other."""
    config, network = ConfigDict(), argument or "vit"
    config.name = f"inside-{network}"
    config.model = ConfigDict({"name": network, **SIZES[network]})
    config.sources = ConfigDict(
        {"upper": {"dataset": "digits", "train": "train[:200]", "test": "test[:50]", "steps": 8, "lr": 2e-3}}
    )
    config.targets = ConfigDict(
        {
            "lower": {
                "dataset": "digits",
                "train": "train[700:800]",
                "validation": "train[900:950]",
                "test": "test[50:90]",
            }
        }
    )
    config.adapt = ConfigDict(
        {
            "scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": (1e-3,)},
            "full": {"arm": "transfer", "method": {"name": "full"}, "lr": (3e-3,)},
        }
    )
    if argument:
        target = {"target": "block_.*/conv1"} if network == "resnet" else {}
        lora = {"arm": "transfer", "method": {"name": "lora", "rank": 2, **target}, "lr": (3e-2,)}
        probe = {"arm": "transfer", "method": {"name": "head"}, "lr": (1e-2,)}
        config.adapt.update(ConfigDict({"lora": lora, "probe": probe}))
    config.budgets = (20,)
    config.seeds = (0, 1)
    config.train = ConfigDict({"steps": 6, "batch_size": 8})
    config.mesh = ConfigDict({"data": 1})
    config.plan = ConfigDict({"steps_per_call": 6, "workers": 1, "eval_batch": 32})
    config.artifacts = True
    return config
