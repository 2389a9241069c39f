"""Partial fine-tuning: named leaves stay, the rest moves."""

from tlx.adapt.method import Method, Settings
from tlx.fields import Field
from tlx.partition import FROZEN, Rules


def _rules(settings: Settings) -> Rules:
    frozen = tuple((pattern, FROZEN) for pattern in settings["frozen"])
    return (*frozen, ("params/head/.*", "head"), ("params/.*", "train"))


FREEZE = Method(
    name="freeze",
    paper="Yosinski et al., 2014",
    fields={
        "frozen": Field(
            ("params/embed/.*",),
            "regular expressions over parameter paths; a leaf that one of them matches in full stays",
            each=Field("params/embed/.*", "a regular expression"),
        )
    },
    rules=_rules,
)
