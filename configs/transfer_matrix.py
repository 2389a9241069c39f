"""Which source helps which target: six sources, four targets, three ways of adapting, as one matrix.

Run:       uv run tlx run configs/transfer_matrix.py
Expected:  gain of full over scratch in points, mean of 5 seeds, half-width of the 95 % interval 1 to 10 points
             from             digits  new_blobs  new_glyphs  striped
             glyphs              1.0       10.8        11.2     17.5
             inverted            1.5        9.2        10.0     14.6
             mnist               1.8        7.3         6.5      8.8
             no_classes         -0.6       -0.7        -5.1     -1.4
           and with everything but the top frozen from -57 (no_classes to new_glyphs) to 10 (glyphs to new_glyphs)
Takes:     about 5 minutes on two CPU cores (7.6 of CPU time)
Source:    the matrix of Poth et al. (2021) and the estimators' pools of You et al. (2021), in miniature
"""

from ml_collections import ConfigDict

SOURCES = {
    "glyphs": "glyphs?classes=30&class_seed=7",
    "few_glyphs": "glyphs?classes=4&class_seed=7",
    "inverted": "glyphs?classes=30&class_seed=7&invert=true",
    "no_classes": "glyphs/randomlabels",
    "blobs": "blobs",
    "mnist": "mnist5k",
}
TARGETS = {
    "new_glyphs": "glyphs/new",
    "striped": "glyphs?class_seed=1&stripes=0.5",
    "new_blobs": "blobs/new",
    "digits": "digits",
}


def get_config(argument: str = "") -> ConfigDict:
    """The study; it takes no argument."""
    del argument
    config = ConfigDict()
    config.name = "transfer_matrix"
    config.model = {"name": "resnet", "stem": "small", "depths": (1, 1, 1), "width": 8}
    # All images are 16 by 16 pixels, as made-up ones are from the start.
    config.preprocess = {"resize": (16, 16)}
    config.sources = {
        name: {"dataset": dataset, "train": "train[:2400]", "steps": 600, "batch_size": 32, "lr": 3e-3}
        for name, dataset in SOURCES.items()
    }
    splits = {"train": "train[:800]", "validation": "train[800:1197]", "test": "test[:400]"}
    config.targets = {name: {"dataset": dataset, **splits} for name, dataset in TARGETS.items()}
    config.adapt = {
        "scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": (3e-3, 1e-2)},
        "random_frozen": {"arm": "random-frozen", "method": {"name": "probe"}, "lr": (1e-3, 1e-1)},
        "probe": {"method": {"name": "probe"}, "lr": (1e-3, 1e-1)},
        "top": {"method": {"name": "top", "k": 1}, "lr": (3e-3, 1e-2)},
        "full": {"method": {"name": "full"}, "lr": (3e-3, 1e-2)},
    }
    config.estimators = ("logme", "h_score", "leep", "parc", "knn_5", "source_accuracy", "parameter_count")
    config.budgets = (400,)
    config.seeds = (0, 1, 2, 3, 4)
    config.train = {"steps": 150, "batch_size": 16, "optimizer": "adamw", "schedule": "cosine", "weight_decay": 0.0}
    config.train["evaluations"] = 15  # validation scores on the way
    return config
