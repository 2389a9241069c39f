"""Partial fine-tuning: named leaves stay, the rest moves."""

from tlx.adapt.anatomy import Anatomy
from tlx.adapt.method import EVERYTHING, Defaults, Method, Settings
from tlx.fields import Field
from tlx.partition import FROZEN, Rules


def _rules(settings: Settings, anatomy: Anatomy) -> Rules:
    return (*((pattern, FROZEN) for pattern in settings["frozen"]), *EVERYTHING)


FREEZE = Method(
    name="freeze",
    paper="Yosinski et al., 2014",
    trains="all but the leaves its patterns name; frozen stages next to the input are computed once",
    fields={
        "frozen": Field(
            ("params/embed/.*",),
            "regular expressions over parameter paths; a leaf that one of them matches in full stays",
            each=Field("params/embed/.*", "a regular expression"),
        )
    },
    defaults=Defaults((1e-4, 3e-4, 1e-3), weight_decay=0.01),
    rules=_rules,
)
