"""Full fine-tuning: every parameter moves."""

from tlx.adapt.method import Method

FULL = Method(
    name="full",
    paper="Devlin et al., 2018",
    fields={},
    rules=lambda settings: (("params/head/.*", "head"), ("params/.*", "train")),
)
