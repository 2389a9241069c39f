"""MNIST to UCI digits with a small ViT: does pre-training help, and adapted which way?

Run:       uv run tlx run configs/quickstart.py
"""

from ml_collections import ConfigDict


def get_config(argument: str = "") -> ConfigDict:
    """The study; `argument` is not used."""
    del argument
    config = ConfigDict()
    config.name = "quickstart"
    config.model = ConfigDict(dict(name="vit", patch=7, width=64, depth=3, heads=4))
    config.sources = ConfigDict(
        dict(mnist=dict(dataset="mnist5k", train="train", test="test", steps=800, batch_size=64, lr=2e-3))
    )
    config.targets = ConfigDict(
        dict(digits=dict(dataset="digits", train="train[:1197]", validation="train[1197:]", test="test"))
    )
    config.adapt = ConfigDict(
        {
            "scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": (1e-3, 2e-3, 4e-3)},
            "random_frozen": {"arm": "random-frozen", "method": {"name": "head"}, "lr": (3e-2, 1e-1, 3e-1)},
            "probe": {"arm": "transfer", "method": {"name": "head"}, "lr": (1e-2, 3e-2, 1e-1)},
            "full": {"arm": "transfer", "method": {"name": "full"}, "lr": (1e-3, 2e-3, 4e-3)},
            "lora": {"arm": "transfer", "method": {"name": "lora", "rank": 4, "alpha": 8.0}, "lr": (3e-3, 1e-2, 3e-2)},
        }
    )
    config.budgets = (20, 100, 1000)
    config.seeds = (0, 1, 2, 3, 4)
    config.train = ConfigDict(dict(steps=200, batch_size=16, weight_decay=0.01))
    return config
