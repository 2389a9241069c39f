"""Gradual unfreezing: stages join one by one, from the head to the input."""

import re
from dataclasses import replace

from tlx.adapt import llrd
from tlx.adapt.anatomy import Anatomy
from tlx.adapt.hooks import Phase
from tlx.adapt.method import EVERYTHING, Defaults, Method, Settings
from tlx.adapt.ranges import holding
from tlx.fields import Field

SHARE = Field(0.5, "share of the steps after which everything moves", low=0.01, high=0.99)


def phases(settings: Settings, anatomy: Anatomy) -> tuple[Phase, ...]:
    """Phase p opens the p stages next to the head.

    Args:
      settings: `share`.
      anatomy: the model's stages.

    Returns:
      One phase more than there are stages that hold parameters: the first opens the head, and adapters outside
      these stages; each that follows one stage and its adapters. One learning rate schedule spans all.

    Source: Howard and Ruder (2018), section 3.3: one more layer each epoch. Here the phases are equal shares of the
      steps instead of epochs.
    """
    stages = holding(anatomy)
    others = f"(params|adapters)/(?!({'|'.join(map(re.escape, stages))})/).*"
    opened = (others, *(f"(params|adapters)/{re.escape(stage)}/.*" for stage in reversed(stages)))
    return tuple(Phase(settings["share"] * p / len(stages), (pattern,)) for p, pattern in enumerate(opened))


GRADUAL = Method(
    name="gradual",
    paper="Howard and Ruder, 2018",
    trains="the head, then one stage more at a time, at last everything",
    fields={"share": SHARE},
    defaults=Defaults((1e-4, 3e-4, 1e-3), weight_decay=0.01),
    rules=lambda settings, anatomy: EVERYTHING,
    phases=phases,
    modifies=True,
)

ULMFIT = Method(
    name="ulmfit",
    paper="Howard and Ruder, 2018",
    trains="the head, then one stage more at a time, each more slowly than the one above",
    fields={
        "share": SHARE,
        "decay": replace(llrd.DECAY, default=1 / 2.6),
    },
    # Section 4.1 of Howard and Ruder: 4e-3 for the language model, 1e-2 for the classifier.
    defaults=Defaults((1e-3, 4e-3, 1e-2), schedule="slanted"),
    rules=llrd.rules,
    lr_scale=llrd.lr_scale,
    phases=phases,
    modifies=True,
)
