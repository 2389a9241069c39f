"""RoBERTa as Hugging Face writes it, and the models of other languages that are trained in its way."""

from tlx.interop.hf_bert import Family, as_format

ROBERTA = as_format(
    "hf-roberta",
    Family(
        prefix="roberta",
        classes="Roberta",
        model_types=("roberta", "xlm-roberta", "camembert"),
        lm={
            "dense": "lm_head.dense",
            "norm": "lm_head.layer_norm",
            "bias": "lm_head.bias",
            "decoder": "lm_head.decoder",
        },
        other_heads=(r"qa_outputs\..*",),
        deep=True,
        pad=1,
    ),
)
