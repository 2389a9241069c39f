"""Head only: a linear head on frozen features; with the features cached it is the linear probe."""

from tlx.adapt.method import Method

HEAD = Method(
    name="head",
    paper="Kornblith et al., 2019",
    fields={},
    rules=lambda settings: (("params/head/.*", "head"), ("params/.*", "frozen")),
)
