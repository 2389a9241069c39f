"""Forward passes and train steps in PyTorch, one request a line; knows nothing of tlx.

`python torch_side.py` reads JSON, one line each: first `{"models": {NAME: {"config", "batch", "input_shape",
"classes"}}}` with fields of transformers' configs, answered by versions and threads; then `{"model": NAME, "work":
"forward" | "full", "steps": S}`, answered by S numbers once they are done. As fast as PyTorch does it without being
compiled: AdamW fused, images channels last, no gradients kept in a forward pass.
"""

import json
import os
import sys
import warnings
from typing import Any

# Said before the imports, which read it: a model without a name is not looked up on a server.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from torch import nn

RATE, CLIP = 1e-4, 1.0
KINDS = {
    "bert": (transformers.BertConfig, transformers.BertForSequenceClassification),
    "vit": (transformers.ViTConfig, transformers.ViTForImageClassification),
    "resnet": (transformers.ResNetConfig, transformers.ResNetForImageClassification),
}

warnings.simplefilter("ignore")  # of one library about another


class Run:
    """A model, its optimizer and one batch."""

    def __init__(self, name: str, asked: dict[str, Any]) -> None:
        config_of, model_of = KINDS[name]
        torch.manual_seed(0)
        config = config_of(**asked["config"], num_labels=asked["classes"])
        self.model = model_of(config)
        self.label = torch.randint(0, asked["classes"], (asked["batch"],))
        if name == "bert":
            x = torch.randint(1, config.vocab_size, (asked["batch"], *asked["input_shape"]))
            self.inputs = {"input_ids": x, "attention_mask": torch.ones_like(x)}
        else:
            rows, columns, channels = asked["input_shape"]
            x = torch.rand(asked["batch"], channels, rows, columns) * 2 - 1
            self.model = self.model.to(memory_format=torch.channels_last)
            self.inputs = {"pixel_values": x.to(memory_format=torch.channels_last)}
        self.leaves = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(self.leaves, lr=RATE, weight_decay=0.0, fused=True)

    def forward(self) -> float:
        """The sum of one batch's logits."""
        with torch.inference_mode():
            return float(self.model.eval()(**self.inputs).logits.sum())

    def full(self) -> float:
        """The loss of one step."""
        self.model.train()
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(**self.inputs).logits, self.label)
        loss.backward()
        nn.utils.clip_grad_norm_(self.leaves, CLIP)
        self.optimizer.step()
        return float(loss)


def main() -> None:
    """Answer until there is no more."""
    asked = json.loads(sys.stdin.readline())
    versions = {module.__name__: module.__version__ for module in (torch, transformers)}
    print(json.dumps({"versions": versions, "threads": torch.get_num_threads()}), flush=True)
    runs: dict[str, Run] = {}
    for line in sys.stdin:
        request = json.loads(line)
        name = request["model"]
        run = runs.get(name) or runs.setdefault(name, Run(name, asked["models"][name]))
        work = run.forward if request["work"] == "forward" else run.full
        print(json.dumps({"values": [work() for _ in range(request["steps"])]}), flush=True)


if __name__ == "__main__":
    main()
