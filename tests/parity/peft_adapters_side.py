"""Adapter files that PEFT makes, and PEFT reading those that tlx made; knows nothing of tlx.

`python peft_adapters_side.py make FOLDER` reads `inputs.npz` there and writes, for each family of models,

  FAMILY/base/              the base model, as transformers saves it
  FAMILY/base.npz           its `logits`
  FAMILY/CASE/adapter_*     an adapter, as PEFT saves it
  FAMILY/CASE.npz           `logits` of the model that PEFT loads from that file

`python peft_adapters_side.py read FOLDER` loads every `FAMILY/from_tlx/CASE` on the base of that family, fails unless
PEFT takes each tensor of the file and asks for no other, and writes `FAMILY/from_tlx/CASE.npz` with its `logits`.
"""

import copy
import os
import sys
import warnings
from functools import partial
from pathlib import Path

# Said before the imports, which read it: a model without a name is not looked up on a server.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from peft import (
    AdaLoraConfig,
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
    get_peft_model_state_dict,
)
from safetensors.torch import load_file
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
)

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "num_labels": 5}
SIZES |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def bert() -> PreTrainedModel:
    """A classifier of sequences."""
    return BertForSequenceClassification(BertConfig(**SIZES, vocab_size=50, max_position_embeddings=16))


def bert_of_tokens() -> PreTrainedModel:
    """A classifier of each token."""
    return BertForTokenClassification(BertConfig(**SIZES, vocab_size=50, max_position_embeddings=16))


def roberta() -> PreTrainedModel:
    """A classifier of sequences whose head has two layers and whose positions begin after the padding's."""
    config = RobertaConfig(**SIZES, vocab_size=50, max_position_embeddings=17, type_vocab_size=1, pad_token_id=0)
    return RobertaForSequenceClassification(config)


def vit() -> PreTrainedModel:
    """A classifier of images."""
    return ViTForImageClassification(ViTConfig(**SIZES, image_size=8, patch_size=4))


DECODER = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}


def gpt2(classes: int = 0) -> PreTrainedModel:
    """A language model whose queries, keys and values are one layer, or a classifier of the same kind."""
    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = GPT2Config(**DECODER, **rates, n_embd=16, n_layer=2, n_head=2, n_positions=16, num_labels=classes or 2)
    return GPT2ForSequenceClassification(config) if classes else GPT2LMHeadModel(config)


def llama() -> PreTrainedModel:
    """A language model with a head of its own and fewer keys than queries."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    return LlamaForCausalLM(
        LlamaConfig(**DECODER, **sizes, num_key_value_heads=2, max_position_embeddings=16, tie_word_embeddings=False)
    )


CLASSIFY = {"task_type": "SEQ_CLS"}
LOW_RANK = {**CLASSIFY, "r": 2, "lora_alpha": 6, "target_modules": ["query", "value"]}
IMAGES = {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["classifier"], "r": 2}
WRITE = {"task_type": "CAUSAL_LM"}
FAMILIES = {"bert": bert, "bert_of_tokens": bert_of_tokens, "roberta": roberta, "vit": vit} | {
    "gpt2": gpt2,
    "gpt2_classifier": partial(gpt2, classes=5),
    "llama": llama,
}
CASES: dict[str, dict[str, PeftConfig]] = {
    "bert": {
        "lora": LoraConfig(**LOW_RANK),
        "rslora": LoraConfig(**LOW_RANK, use_rslora=True),
        "dora": LoraConfig(**LOW_RANK, use_dora=True),
        # One rank and one scale for each layer, and one layer left out.
        "patterns": LoraConfig(
            **{**LOW_RANK, "target_modules": r".*\.(query|value|intermediate\.dense)"},
            rank_pattern={"layer.0.attention.self.query": 4, "value": 1},
            alpha_pattern={"intermediate.dense": 12},
            exclude_modules=["layer.1.intermediate.dense"],
        ),
        "one_layer": LoraConfig(**LOW_RANK, layers_to_transform=[1], use_rslora=True, use_dora=True),
        "everything": LoraConfig(**{**LOW_RANK, "target_modules": "all-linear"}),
        # All that a file can hold besides: an embedding, biases, modules that are trained whole.
        "besides": LoraConfig(
            **{**LOW_RANK, "target_modules": ["query", "word_embeddings"]},
            use_dora=True,
            bias="all",
            modules_to_save=["pooler", "token_type_embeddings"],
        ),
        "adalora": AdaLoraConfig(**CLASSIFY, init_r=4, lora_alpha=6, target_modules=["query", "value"], total_step=10),
        "vera": VeraConfig(**CLASSIFY, r=6, target_modules=["query", "intermediate.dense"]),
        "ia3": IA3Config(**CLASSIFY),
        "ia3_outputs": IA3Config(**CLASSIFY, target_modules=["key", "value"], feedforward_modules=[]),
        "prompt": PromptTuningConfig(**CLASSIFY, num_virtual_tokens=4),
        "p_tuning": PromptEncoderConfig(**CLASSIFY, num_virtual_tokens=4, encoder_hidden_size=8),
        "prefix": PrefixTuningConfig(**CLASSIFY, num_virtual_tokens=4),
        "projected": PrefixTuningConfig(
            **CLASSIFY, num_virtual_tokens=4, prefix_projection=True, encoder_hidden_size=8
        ),
    },
    "bert_of_tokens": {
        "prompt": PromptTuningConfig(task_type="TOKEN_CLS", num_virtual_tokens=4),
    },
    "roberta": {
        "lora": LoraConfig(**LOW_RANK),
        "prefix": PrefixTuningConfig(**CLASSIFY, num_virtual_tokens=4),
    },
    "vit": {
        "lora": LoraConfig(**IMAGES),
        "dora": LoraConfig(**{**IMAGES, "target_modules": ["q_proj", "projection", "fc2"]}, use_dora=True),
        "ia3": IA3Config(
            target_modules=["k_proj", "v_proj", "fc2"], feedforward_modules=["fc2"], modules_to_save=["classifier"]
        ),
    },
    "gpt2": {
        # One A for queries, keys and values.
        "lora": LoraConfig(**WRITE, r=2, fan_in_fan_out=True),
        "dora": LoraConfig(**WRITE, r=2, target_modules=["c_attn", "c_fc", "c_proj"], use_dora=True),
        "ia3": IA3Config(**WRITE),
        "prompt": PromptTuningConfig(**WRITE, num_virtual_tokens=4),
        "prefix": PrefixTuningConfig(**WRITE, num_virtual_tokens=4),
    },
    "gpt2_classifier": {"lora": LoraConfig(**CLASSIFY, r=2)},
    "llama": {
        "lora": LoraConfig(**WRITE, r=2, target_modules="all-linear", modules_to_save=["lm_head"]),
        "ia3": IA3Config(**WRITE),
        "prefix": PrefixTuningConfig(**WRITE, num_virtual_tokens=4),
    },
}


@torch.no_grad()
def disturb(model: nn.Module, scale: float = 0.3) -> None:
    """Noise on all that is to be trained: no tensor stays at a zero or one that would hide a mistake."""
    for leaf in model.parameters():
        if leaf.requires_grad:
            leaf.add_(scale * torch.randn_like(leaf))


@torch.no_grad()
def logits(model: nn.Module, family: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What the model makes of the inputs of its family."""
    if family == "vit":
        return model.eval()(pixel_values=torch.tensor(inputs["images"])).logits.numpy()
    ids = torch.tensor(inputs["ids"]).long()
    out = model.eval()(input_ids=ids, attention_mask=(ids != 0).long()).logits
    # A language model has logits of its prompts, too.
    return (out if out.ndim == 2 else out[:, -ids.shape[1] :]).numpy()


def make(folder: Path, inputs: dict[str, np.ndarray]) -> None:
    """All bases and all adapters."""
    for family, build in FAMILIES.items():
        torch.manual_seed(0)
        base = build()
        disturb(base, 0.2)
        base.save_pretrained(folder / family / "base")
        np.savez(folder / family / "base.npz", logits=logits(base, family, inputs))
        for case, config in CASES[family].items():
            torch.manual_seed(1)
            model = get_peft_model(copy.deepcopy(base), config)
            disturb(model)
            model.save_pretrained(folder / family / case)
            loaded = PeftModel.from_pretrained(copy.deepcopy(base), folder / family / case)
            np.savez(folder / family / f"{case}.npz", logits=logits(loaded, family, inputs))


def read(folder: Path, inputs: dict[str, np.ndarray]) -> None:
    """All adapters of tlx."""
    for family, build in FAMILIES.items():
        for path in sorted((folder / family / "from_tlx").iterdir()):
            base = type(build()).from_pretrained(folder / family / "base")
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message=".*adapter keys.*|.*already.*multiple adapters.*")
                model = PeftModel.from_pretrained(base, path)
            held, taken = load_file(path / "adapter_model.safetensors"), get_peft_model_state_dict(model)
            assert held.keys() == taken.keys(), (path, sorted(held.keys() ^ taken.keys()))
            assert all(torch.equal(held[name], taken[name]) for name in held), path
            np.savez(path.with_suffix(".npz"), logits=logits(model, family, inputs))


if __name__ == "__main__":
    torch.set_num_threads(1)
    where = Path(sys.argv[2])
    with np.load(where / "inputs.npz") as stored:
        {"make": make, "read": read}[sys.argv[1]](where, dict(stored))
