"""Every way of adapting, on one small source and target: what each gains, and what it costs.

Run:       uv run tlx run configs/methods.py            every method on a ViT
           uv run tlx run configs/methods.py:resnet     those that apply to a ResNet
Expected:  at 100 labels nearly all gain 5 to 15 points over scratch; differences of 3 points are within the spread
Takes:     about 15 minutes and 1.5 GB of memory on two CPU cores
Source:    each method's paper, in `tlx methods`; the learning rates are this small model's, not the papers'
"""

from ml_collections import ConfigDict

from tlx.adapt.registry import METHODS

# Rates for full-size leaves, for small new ones, and for vectors that are near 1 or 0.
FULL, NEW, VECTORS = (5e-4, 1e-3, 2e-3), (3e-3, 1e-2, 3e-2), (1e-2, 3e-2, 1e-1)
RATES = {
    **dict.fromkeys(("lora", "rslora", "dora", "pissa", "adalora", "houlsby", "pfeiffer", "parallel"), NEW),
    **dict.fromkeys(("lora_plus", "adaptformer", "compacter", "fish", "norm", "bitfit", "side", "ladder"), NEW),
    **dict.fromkeys(
        ("head", "ia3", "ssf", "vera", "prompt", "prefix", "ptuning_v2", "head2toe", "vpt_shallow", "vpt_deep"), VECTORS
    ),
}
MODELS = {
    "vit": {"name": "vit", "patch": 7, "width": 64, "depth": 3, "heads": 4},
    "resnet": {"name": "resnet", "depths": (1, 1, 1), "width": 16, "stem": "small"},
}
# What a ResNet has no place for, or what needs dense layers before the head.
NOT_ON_RESNET = ("pissa", "vera", "adalora", "prompt", "prefix", "ptuning_v2", "vpt_shallow", "vpt_deep", "ladder")


def get_config(argument: str = "") -> ConfigDict:
    """The study for a model, `vit` unless the argument says otherwise."""
    model = argument or "vit"
    config = ConfigDict()
    config.name = f"methods-{model}"
    config.model = MODELS[model]
    config.sources = {"mnist": {"dataset": "mnist5k", "steps": 800, "batch_size": 64, "lr": 2e-3}}
    config.targets = {
        "digits": {"dataset": "digits", "train": "train[:1197]", "validation": "train[1197:]", "test": "test"}
    }
    names = [name for name in METHODS if model == "vit" or name not in NOT_ON_RESNET]
    config.adapt = {name: {"method": {"name": name}, "lr": RATES.get(name, FULL)} for name in names}
    config.adapt.vera.method.rank = 64
    config.adapt.scratch = {"arm": "scratch", "method": {"name": "full"}, "lr": (1e-3, 2e-3, 4e-3)}
    config.budgets = (100,)
    config.seeds = (0, 1, 2)
    # One update rule for all, so that the rates are of one scale.
    config.train = {"steps": 100, "batch_size": 16, "optimizer": "adamw"}
    return config
