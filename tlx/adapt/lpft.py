"""LP-FT: a linear probe first, then full fine-tuning from its head."""

from tlx.adapt.anatomy import Anatomy
from tlx.adapt.hooks import Phase
from tlx.adapt.method import EVERYTHING, Defaults, Method, Settings
from tlx.fields import Field


def phases(settings: Settings, anatomy: Anatomy) -> tuple[Phase, Phase]:
    """The head alone, then everything at a smaller rate; the schedule starts anew.

    Args:
      settings: `probe`, `lr`.
      anatomy: not used.

    Returns:
      Both phases.

    Source: Kumar et al. (2022), section 3.4. The probe is trained for a share of the steps, not solved to the end.
    """
    probe = Phase(0.0, ("(params|adapters)/head/.*",), restart=True)
    return probe, Phase(settings["probe"], (".*",), lr=settings["lr"], restart=True)


LP_FT = Method(
    name="lp_ft",
    paper="Kumar et al., 2022",
    trains="the head, then everything",
    fields={
        "probe": Field(0.5, "share of the steps for the head alone", low=0.01, high=0.99),
        "lr": Field(0.1, "factor on the learning rate once everything moves", low=0.0, high=100.0),
    },
    defaults=Defaults((3e-4, 1e-3, 3e-3), weight_decay=0.01),
    rules=lambda settings, anatomy: EVERYTHING,
    phases=phases,
    modifies=True,
)
