"""Train steps of a BERT in PyTorch, one request a line; knows nothing of tlx.

`python torch_side.py` reads JSON, one line each: first `{"bert": {...}, "batch": B, "length": T, "classes": C}` with
fields of transformers' `BertConfig`, answered by versions and threads; then `{"method": "lora", "steps": S}`, answered
by the losses of S more steps of that model once they are done. Methods: `full`, `head`, `lora` (PEFT: rank 8, on
queries and values). The same rule as tlx's: AdamW (fused), gradients clipped to a norm of 1.
"""

import json
import os
import sys
import warnings
from typing import Any

# Said before the imports, which read it: a model without a name is not looked up on a server.
os.environ["HF_HUB_OFFLINE"] = "1"

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

RATE, CLIP = 1e-4, 1.0

warnings.simplefilter("ignore")  # of one library about another


def model_of(method: str, config: BertConfig) -> nn.Module:
    """A fresh model, with the parts frozen that the method leaves alone."""
    model = BertForSequenceClassification(config)
    if method == "lora":
        targets = ["query", "value"]
        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=8, target_modules=targets))
    if method == "head":
        for name, leaf in model.named_parameters():
            leaf.requires_grad_(name.startswith("classifier"))
    return model.train()


class Run:
    """A model, its optimizer and one batch."""

    def __init__(self, method: str, asked: dict[str, Any]) -> None:
        config = BertConfig(**asked["bert"], num_labels=asked["classes"])
        torch.manual_seed(0)
        self.model = model_of(method, config)
        self.leaves = [leaf for leaf in self.model.parameters() if leaf.requires_grad]
        self.optimizer = torch.optim.AdamW(self.leaves, lr=RATE, weight_decay=0.0, fused=True)
        shape = (asked["batch"], asked["length"])
        ids = torch.randint(1, config.vocab_size, shape)
        label = torch.randint(0, asked["classes"], shape[:1])
        self.batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": label}

    def steps(self, count: int) -> list[float]:
        """The losses of so many steps."""
        losses = []
        for _ in range(count):
            self.optimizer.zero_grad()
            loss = self.model(**self.batch).loss
            loss.backward()
            nn.utils.clip_grad_norm_(self.leaves, CLIP)
            self.optimizer.step()
            losses.append(loss.detach())
        return [float(loss) for loss in losses]


def main() -> None:
    """Answer until there is no more."""
    asked = json.loads(sys.stdin.readline())
    versions = {module.__name__: module.__version__ for module in (torch, transformers, peft)}
    print(json.dumps({"versions": versions, "threads": torch.get_num_threads()}), flush=True)
    runs: dict[str, Run] = {}
    for line in sys.stdin:
        request = json.loads(line)
        name = request["method"]
        run = runs.get(name) or runs.setdefault(name, Run(name, asked))
        print(json.dumps({"losses": run.steps(request["steps"])}), flush=True)


if __name__ == "__main__":
    main()
