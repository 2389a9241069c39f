"""Full fine-tuning: every parameter moves."""

from tlx.adapt.method import EVERYTHING, Defaults, Method

FULL = Method(
    name="full",
    paper="Devlin et al., 2018",
    trains="everything",
    fields={},
    # Appendix A.3 of Devlin et al.: 5e-5, 3e-5, 2e-5; linear decay after 10 % of warm-up.
    defaults=Defaults((2e-5, 3e-5, 5e-5), weight_decay=0.01, schedule="linear"),
    rules=lambda settings, anatomy: EVERYTHING,
)
