"""Head only: a linear head on frozen features; with the features cached it is the linear probe."""

from tlx.adapt.method import HEAD_ONLY, Defaults, Method

HEAD = Method(
    name="head",
    paper="Kornblith et al., 2019",
    trains="a linear head; its features are computed once and kept",
    fields={},
    defaults=Defaults((1e-3, 1e-2, 1e-1)),
    rules=lambda settings, anatomy: HEAD_ONLY,
)
