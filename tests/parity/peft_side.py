"""A small BERT adapted by PEFT in every way `test_peft.py` knows; knows nothing of tlx.

`python peft_side.py FOLDER` reads `batches.npz` there (token ids and labels of each step, the gradient's largest norm,
and a learning rate under the name of each optimizer) and writes beside it

  base/                     the pre-trained model, as transformers saves it
  CASE/adapter_*            adapter_config.json and adapter_model.safetensors, as PEFT saved them
  CASE/OPTIMIZER/           the same after a run of an optimizer; where PEFT has no part in it, the whole model
  CASE/done.npz             `logits` of the first batch, from the model that PEFT loaded from those files; the losses of
                            a run under the optimizer's name; and, as `network/NAME`, the network that makes prefixes,
                            which is in none of PEFT's files
"""

import copy
import os
import sys
from pathlib import Path

# Said before the imports, which read it: a model without a name is not looked up on a server.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

PAD = 0
BERT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
    "num_labels": 5,
    "pad_token_id": PAD,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
OPTIMIZERS = ("adamw", "sgd")
CLASSIFY = {"task_type": "SEQ_CLS"}
LOW_RANK = {**CLASSIFY, "r": 2, "lora_alpha": 6, "target_modules": ["query", "value"]}
DOWN = r".*layer\.\d+\.output\.dense"
CONFIGS: dict[str, PeftConfig | None] = {
    # Everything moves, and PEFT has no part in it.
    "full": None,
    "lora": LoraConfig(**LOW_RANK),
    "rslora": LoraConfig(**LOW_RANK, use_rslora=True),
    "dora": LoraConfig(**LOW_RANK, use_dora=True),
    # The vectors of the paper: keys, values and what goes into the last layer of the MLP.
    "ia3": IA3Config(**CLASSIFY, target_modules=rf".*(key|value)|{DOWN}", feedforward_modules=DOWN),
    # PEFT's own choice for BERT, whose "output.dense" is also the last layer of the attention.
    "ia3_as_peft": IA3Config(**CLASSIFY),
    "prompt": PromptTuningConfig(**CLASSIFY, num_virtual_tokens=4),
    # Without a projection this is P-tuning v2.
    "prefix": PrefixTuningConfig(**CLASSIFY, num_virtual_tokens=4),
    # What the network makes is saved, the network is not.
    "prefix_projected": PrefixTuningConfig(
        **CLASSIFY, num_virtual_tokens=4, prefix_projection=True, encoder_hidden_size=8
    ),
}


@torch.no_grad()
def disturb(model: nn.Module, scale: float = 0.3) -> None:
    """Noise on all that is to be trained: no tensor stays at a zero or one that would hide a mistake."""
    for leaf in model.parameters():
        if leaf.requires_grad:
            leaf.add_(scale * torch.randn_like(leaf))


def optimizer_of(name: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """Adam or SGD with Nesterov momentum, over what PEFT leaves trainable."""
    leaves = [leaf for leaf in model.parameters() if leaf.requires_grad]
    if name == "adamw":
        return torch.optim.AdamW(leaves, lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    return torch.optim.SGD(leaves, lr=rate, momentum=0.9, nesterov=True)


def train(model: nn.Module, name: str, batches: dict[str, np.ndarray]) -> np.ndarray:
    """The loss at every step."""
    optimizer, losses = optimizer_of(name, model, float(batches[name])), []
    model.train()
    for ids, label in zip(batches["ids"], batches["label"], strict=True):
        loss = model(**inputs(ids), labels=torch.tensor(label).long()).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), float(batches["clip_norm"]))
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def inputs(ids_BT: np.ndarray) -> dict[str, torch.Tensor]:
    """Token ids and which of them are no padding."""
    ids = torch.tensor(ids_BT).long()
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def run(base: nn.Module, config: PeftConfig | None, folder: Path, batches: dict[str, np.ndarray]) -> None:
    """One case, from its own copy of the base model."""
    torch.manual_seed(1)
    model = loaded = copy.deepcopy(base)
    if config is not None:
        model = get_peft_model(model, config)
        disturb(model)
        model.save_pretrained(folder)
        loaded = PeftModel.from_pretrained(copy.deepcopy(base), folder)
    with torch.no_grad():
        done = {"logits": loaded.eval()(**inputs(batches["ids"][0])).logits.numpy()}
    if getattr(config, "prefix_projection", False):
        network = model.prompt_encoder["default"].state_dict()
        done |= {f"network/{key}": leaf.numpy().copy() for key, leaf in network.items()}
    # Not the loaded one: PEFT refuses to train prompts and prefixes any further.
    for name in OPTIMIZERS:
        trained = copy.deepcopy(model)
        done[name] = train(trained, name, batches)
        trained.save_pretrained(folder / name)
    folder.mkdir(exist_ok=True)
    np.savez(folder / "done.npz", **done)


def main(folder: Path) -> None:
    """All cases."""
    with np.load(folder / "batches.npz") as stored:
        batches = dict(stored)
    torch.manual_seed(0)
    base = BertForSequenceClassification(BertConfig(**BERT))
    disturb(base)
    base.save_pretrained(folder / "base")
    for case, config in CONFIGS.items():
        run(base, config, folder / case, batches)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
