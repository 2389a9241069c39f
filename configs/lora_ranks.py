"""How much rank does LoRA need, and where: a grid of ranks and targets, written as axes.

Run:       uv run tlx run configs/lora_ranks.py
Expected:  test accuracy in % with 100 labels, mean of 3 seeds, half-width of the 95 % interval 1 to 8 points
             rank            1     4    16 (alpha / rank)   16 (alpha / √rank)   scratch
             queries, values 82.3  83.5  84.3                86.8                 76.3
             all layers      85.5  86.3  87.2                87.7
Takes:     4 minutes on two CPU cores, measured while they had other work
Source:    Hu et al. (2021), section 7.2, asks the same of GPT-3
"""

from ml_collections import ConfigDict

from tlx.axes import Named, blocks, product, when

QUERIES, ALL = Named("qv", ".*/(query|value)"), Named("all", ".*/(query|key|value|out|up|down)")


def get_config(argument: str = "") -> ConfigDict:
    """The study; it takes no argument."""
    del argument
    config = ConfigDict()
    config.name = "lora_ranks"
    config.model = {"name": "vit", "patch": 7, "width": 64, "depth": 3, "heads": 4}
    config.sources = {"mnist": {"dataset": "mnist5k", "train": "train", "test": "test", "steps": 800, "batch_size": 64}}
    config.targets = {"digits": {"dataset": "digits", "train": "train[:1197]", "validation": "train[1197:]"}}
    config.adapt = {"scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": (1e-3, 4e-3)}}
    points = product({"method.rank": (1, 4, 16), "method.target": (QUERIES, ALL)})
    # Only the largest rank is tried with the scale of rank-stabilised LoRA, too.
    points = when(points, lambda point: point["method.rank"] == 16, {"method.name": ("lora", "rslora")})
    base = {"method": {"name": "lora", "alpha": 16.0}, "lr": (1e-3, 4e-3)}
    config.adapt.update(blocks("lora", base, points))
    config.budgets = (100,)
    config.seeds = (0, 1, 2)
    config.train = {"steps": 200, "batch_size": 16}
    return config
