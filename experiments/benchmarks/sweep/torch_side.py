"""Several runs one after another in PyTorch, one request a line; knows nothing of tlx.

`python torch_side.py` reads JSON, one line each: first the scale, answered by versions and threads; then `{"work":
"heads" | "vit", "runs": K}`, answered by the last loss of each run once all are done. As fast as PyTorch does it
without being compiled: AdamW fused, features and images in memory, nothing else in the loop.
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

RATE, DECAY, CLIP = 2e-3, 0.01, 1.0

warnings.simplefilter("ignore")  # of one library about another


class Side:
    """The data, and how a run is made."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        torch.manual_seed(0)
        size, side = asked["examples"], asked["side"]
        self.features = torch.randn(size, asked["width"])
        self.images = torch.rand(size, 1, side, side) * 2 - 1
        self.labels = torch.randint(0, asked["classes"], (size,))

    def vit(self) -> nn.Module:
        """A ViT that is fine-tuned."""
        asked = self.asked
        config = transformers.ViTConfig(
            image_size=asked["side"],
            patch_size=asked["patch"],
            num_channels=1,
            hidden_size=asked["width"],
            num_hidden_layers=asked["depth"],
            num_attention_heads=4,
            intermediate_size=4 * asked["width"],
            num_labels=asked["classes"],
        )
        return transformers.ViTForImageClassification(config)

    def run(self, work: str, seed: int) -> float:
        """The last loss of a run."""
        asked = self.asked
        model = nn.Linear(asked["width"], asked["classes"]) if work == "heads" else self.vit()
        x = self.features if work == "heads" else self.images
        leaves = list(model.parameters())
        optimizer = torch.optim.AdamW(leaves, lr=RATE, weight_decay=DECAY, fused=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, asked["steps"])
        order = torch.randint(
            0, asked["examples"], (asked["steps"], asked["batch"]), generator=torch.Generator().manual_seed(seed)
        )
        loss = torch.zeros(())
        for index in order:
            out = model(x[index])
            loss = nn.functional.cross_entropy(out if work == "heads" else out.logits, self.labels[index])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(leaves, CLIP)
            optimizer.step()
            schedule.step()
        return float(loss)


def main() -> None:
    """Answer until there is no more."""
    side = Side(json.loads(sys.stdin.readline()))
    versions = {module.__name__: module.__version__ for module in (torch, transformers)}
    print(json.dumps({"versions": versions, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        values = [side.run(request["work"], seed) for seed in range(request["runs"])]
        print(json.dumps({"values": values}), flush=True)


if __name__ == "__main__":
    main()
