"""Small BERTs and RoBERTas as transformers makes, saves and loads them; knows nothing of tlx.

`python hf_bert_side.py make FOLDER` writes for each case

  CASE/                     config.json and model.safetensors, as saved by transformers
  CASE.npz                  `ids` [B, T], `label` [B] or [B, T], `loss`, `logits`, `hidden_K` after the embedding and
                            each block, and the gradient of each tensor in the file as `grad/NAME`

and, where `real.json` names the folder of a sentence encoder and `real.npz` holds `ids`, `real_out.npz` with its
embeddings. `python hf_bert_side.py check FOLDER` loads every CASE_tlx/ and writes `CASE_tlx.npz`: `logits` for the ids
of CASE.npz, and `missing` and `unexpected` names.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

# Said before the imports, which read it: a model without a name is not looked up on a server.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers
from safetensors import safe_open
from torch import nn

CLASSES, BATCH, LENGTH, UNSCORED = 5, 6, 9, -1
SMALL = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "num_labels": CLASSES,
}
ROBERTA = {**SMALL, "max_position_embeddings": 18, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}
# Cases: the class and what its configuration changes.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert_bare": ("BertModel", SMALL),
    "bert_sequence": ("BertForSequenceClassification", SMALL),
    "bert_other": (
        "BertForSequenceClassification",
        {**SMALL, "num_hidden_layers": 3, "pad_token_id": 7, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}
        | {"type_vocab_size": 3, "num_attention_heads": 4, "hidden_dropout_prob": 0.2, "classifier_dropout": 0.3},
    ),
    "bert_tokens": ("BertForTokenClassification", SMALL),
    "bert_mlm": ("BertForMaskedLM", SMALL),
    "bert_pretraining": ("BertForPreTraining", SMALL),
    "roberta_bare": ("RobertaModel", ROBERTA),
    "roberta_sequence": ("RobertaForSequenceClassification", ROBERTA),
    "roberta_other": (
        "RobertaForSequenceClassification",
        {**ROBERTA, "num_hidden_layers": 1, "pad_token_id": 3, "max_position_embeddings": 14, "type_vocab_size": 2},
    ),
    "roberta_tokens": ("RobertaForTokenClassification", ROBERTA),
    "roberta_mlm": ("RobertaForMaskedLM", ROBERTA),
    "xlm_mlm": ("XLMRobertaForMaskedLM", ROBERTA),
}


def built(name: str, changes: dict[str, Any]) -> nn.Module:
    """A model of a class with noise on every tensor, so that none stays at a zero or one that would hide a mistake."""
    cls = getattr(transformers, name)
    model = cls(cls.config_class(**changes)).eval()
    with torch.no_grad():
        for leaf in model.parameters():
            leaf.add_(0.3 * torch.randn_like(leaf))
    return model


def data(model: nn.Module, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of all lengths, filled up with padding, and labels; padding and some tokens have none."""
    config = model.config
    ids = rng.integers(8, config.vocab_size, (BATCH, LENGTH))
    is_word = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, (BATCH, 1))
    ids = np.where(is_word, ids, config.pad_token_id)
    kind = type(model).__name__
    if kind.endswith(("SequenceClassification", "Model")):
        return ids, rng.integers(0, CLASSES, BATCH)
    classes = CLASSES if kind.endswith("TokenClassification") else config.vocab_size
    return ids, np.where(is_word & (rng.random(ids.shape) < 0.7), rng.integers(0, classes, ids.shape), UNSCORED)


def forward(model: nn.Module, ids: np.ndarray) -> tuple[torch.Tensor | None, tuple[torch.Tensor, ...]]:
    """Logits, if the model has any, and hidden states."""
    known = torch.tensor(ids).long()
    mask = (known != model.config.pad_token_id).long()
    out = model(input_ids=known, attention_mask=mask, output_hidden_states=True)
    logits = getattr(out, "logits", None)
    return out.get("prediction_logits", logits), out.hidden_states


def make(folder: Path) -> None:
    """All cases."""
    for i, (case, (name, changes)) in enumerate(CASES.items()):
        torch.manual_seed(i)
        model = built(name, changes)
        model.save_pretrained(folder / case)
        ids, label = data(model, np.random.default_rng(i))
        logits, hidden = forward(model, ids)
        found = {"ids": ids, "label": label}
        found |= {f"hidden_{k}": x.detach().numpy() for k, x in enumerate(hidden)}
        if logits is not None:
            known = torch.tensor(label).long()
            loss = nn.functional.cross_entropy(logits.flatten(0, -2), known.flatten(), ignore_index=UNSCORED)
            loss.backward()
            found |= {"logits": logits.detach().numpy(), "loss": loss.item(), **gradients(model, folder / case)}
        np.savez(folder / f"{case}.npz", **found)
    if (folder / "real.json").is_file():
        real(folder, json.loads((folder / "real.json").read_text()))


def gradients(model: nn.Module, folder: Path) -> dict[str, np.ndarray]:
    """Of each tensor that was saved; zeros for those that the loss does not depend on."""
    leaves = dict(model.named_parameters(remove_duplicate=False))
    with safe_open(folder / "model.safetensors", "np") as file:
        names = list(file.keys())
    grads = {name: torch.zeros_like(leaves[name]) if leaves[name].grad is None else leaves[name].grad for name in names}
    return {f"grad/{name}": grad.numpy() for name, grad in grads.items()}


@torch.no_grad()
def real(folder: Path, model_folder: str) -> None:
    """Embeddings of a sentence encoder: the mean over tokens that are no padding, of length 1."""
    model = transformers.AutoModel.from_pretrained(model_folder).eval()
    with np.load(folder / "real.npz") as given:
        ids = torch.tensor(given["ids"]).long()
    mask = (ids != model.config.pad_token_id).long()
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    np.savez(folder / "real_out.npz", embedding=nn.functional.normalize(mean, dim=1).numpy())


@torch.no_grad()
def check(folder: Path) -> None:
    """What transformers makes of the folders that tlx wrote."""
    for case in CASES:
        saved = folder / f"{case}_tlx"
        (name,) = json.loads((saved / "config.json").read_text())["architectures"]
        model, info = getattr(transformers, name).from_pretrained(saved, output_loading_info=True)
        with np.load(folder / f"{case}.npz") as made:
            logits, hidden = forward(model.eval(), made["ids"])
        out = {"logits": (hidden[-1] if logits is None else logits).numpy()}
        keys = {key: np.array(sorted(map(str, info[f"{key}_keys"])), str) for key in ("missing", "unexpected")}
        np.savez(folder / f"{case}_tlx.npz", **out, **keys)


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    {"make": make, "check": check}[sys.argv[1]](Path(sys.argv[2]))
