"""Layer-wise learning rates that fall from the head to the input."""

from tlx import tree
from tlx.adapt.anatomy import Anatomy
from tlx.adapt.method import Defaults, Method, Settings
from tlx.adapt.ranges import holding
from tlx.errors import ConfigError
from tlx.fields import Field
from tlx.partition import Rules

DECAY = Field(0.75, "factor on the learning rate from one block to the one below", low=1e-3, high=1.0)


def depths(anatomy: Anatomy) -> dict[str, int]:
    """How far below the head's a stage's learning rate is, for every stage that holds parameters.

    Args:
      anatomy: the model's stages.

    Returns:
      0 for what comes after the blocks, such as a final norm, 1 for the last block, one more for each below.

    Raises:
      ConfigError: the model's blocks are one scanned stage, which has one learning rate.
    """
    if dict(anatomy.model.settings).get("scan"):
        raise ConfigError("name", f"each block needs a rate of its own, but {anatomy.model.name!r} has scan=True")
    pattern = anatomy.model.targets.get("blocks", ".*")
    last = max(k for k, stage in enumerate(anatomy.stages[:-1]) if tree.matches(pattern, stage))
    return {stage: max(0, last + 1 - anatomy.stages.index(stage)) for stage in holding(anatomy)}


def rules(settings: Settings, anatomy: Anatomy) -> Rules:
    """Everything moves; a stage's label has its name."""
    return (
        ("params/head/.*", "head"),
        *((f"params/{stage}/.*", f"train@{stage}") for stage in depths(anatomy)),
    )


def lr_scale(settings: Settings, anatomy: Anatomy) -> dict[str, float]:
    """The factor `max(min_scale, decay ** depth)` of each stage.

    Args:
      settings: `decay`, and `min_scale` if there is one.
      anatomy: the model's stages.

    Returns:
      Label to factor; the head's is 1.

    Source: Bao et al. (2021), after the authors' code: the embedding's factor is `decay ** (blocks + 1)`, that of
      a final norm is the head's.
    """
    low = settings.get("min_scale", 0.0)
    return {f"train@{stage}": max(low, settings["decay"] ** depth) for stage, depth in depths(anatomy).items()}


LLRD = Method(
    name="llrd",
    paper="Bao et al., 2021",
    trains="everything, more slowly towards the input",
    fields={"decay": DECAY, "min_scale": Field(0.0, "smallest factor on the learning rate", low=0.0, high=1.0)},
    defaults=Defaults((1e-4, 3e-4, 1e-3), weight_decay=0.05),
    rules=rules,
    lr_scale=lr_scale,
    modifies=True,
)
