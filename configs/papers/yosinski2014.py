"""How transferable are features in deep networks: copy the first n layers, freeze them or not, train the rest.

Run:       uv run tlx run configs/papers/yosinski2014.py
Expected:  test accuracy in %, mean of 5 seeds, half-width of the 95 % interval 0.2 to 12 points
             n     BnB   AnB  BnB+  AnB+  random
             0                  77.5 (base)
             1    84.0  84.0  84.9  85.0    75.6
             2    84.5  85.8  86.6  88.3    62.7
             3    85.4  83.1  90.1  91.8    43.7
             4    82.5  64.4  92.4  94.4     8.4
Takes:     about 2 minutes on two CPU cores (3 of CPU time)
Source:    Yosinski, Clune, Bengio and Lipson (2014), figure 2, in miniature; the numbers of both are in
           experiments/yosinski2014
"""

from ml_collections import ConfigDict

# Forty classes of strokes, halved at random; each half has 40 images of every class to train on.
GLYPHS, TRAIN = "glyphs/whole", "train[:1600]"
# One for all networks, as in the paper.
RATE = 3e-3
RECIPE = {"steps": 300, "batch_size": 32, "optimizer": "adamw", "schedule": "cosine", "weight_decay": 0.0}


def get_config(argument: str = "") -> ConfigDict:
    """The study; it takes no argument."""
    del argument
    config = ConfigDict()
    config.name = "yosinski2014"
    config.model = {"name": "resnet", "stem": "small", "depths": (1, 1, 1), "width": 8}
    # To start from a is the paper's AnB; from b, which has learned the target's own classes, its BnB.
    config.sources = {
        half: {"dataset": GLYPHS, "train": TRAIN, "classes": f"{half}:0", "lr": RATE, **RECIPE} for half in ("a", "b")
    }
    config.targets = {
        "b": {"dataset": GLYPHS, "train": TRAIN, "validation": "train[1600:3200]", "test": "test", "classes": "b:0"}
    }
    config.adapt = {"base": {"arm": "scratch", "method": {"name": "full"}, "lr": (RATE,)}}
    for n in (1, 2, 3, 4):
        frozen = {"method": {"name": "freeze_first", "k": n}, "lr": (RATE,)}
        config.adapt[f"random{n}"] = {"arm": "random-frozen", **frozen}
        # Copied and frozen: AnB and BnB. Copied and trained on: AnB+ and BnB+.
        config.adapt[f"frozen{n}"] = {"arm": "transfer", "copied": n, **frozen}
        config.adapt[f"tuned{n}"] = {"arm": "transfer", "copied": n, "method": {"name": "full"}, "lr": (RATE,)}
    config.per_class = True
    config.budgets = (40,)
    config.seeds = (0, 1, 2, 3, 4)
    config.train = RECIPE
    return config
