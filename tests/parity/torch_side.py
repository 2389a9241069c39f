"""The runs of `test_torch.py`, written again in PyTorch from its own parts; knows nothing of tlx.

`python torch_side.py RUN.npz...` reads each run and writes what became of it to `RUN.done.npz` beside it. Leaves go by
their path, as in "params/block_0/mlp/up/kernel"; everything else has a plain name.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

EPSILON = 1e-6
NAMES = {"kernel": "weight", "scale": "weight", "lora_a": "lora_a.weight", "lora_b": "lora_b.weight"}


class LoraLinear(nn.Linear):
    """W x + b + (α/r) B A x, as in PEFT."""

    def __init__(self, width: int, rank: int, alpha: float) -> None:
        super().__init__(width, width)
        self.lora_a = nn.Linear(width, rank, bias=False)
        self.lora_b = nn.Linear(rank, width, bias=False)
        self.scaling = alpha / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.lora_b(self.lora_a(x)) * self.scaling


class Embed(nn.Module):
    """Patches by a strided convolution, and learned positions."""

    def __init__(self, channels: int, patch: int, patches: int, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Parameter(torch.empty(1, patches, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.patches(x).flatten(2).transpose(1, 2) + self.position


class Attention(nn.Module):
    """Self-attention; query and value are adapted where a rank is given."""

    def __init__(self, width: int, heads: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.heads = heads
        for name in ("query", "key", "value", "out"):
            adapted = rank > 0 and name in ("query", "value")
            self.add_module(name, LoraLinear(width, rank, alpha) if adapted else nn.Linear(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers with a GELU in its tanh form."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, attention: nn.Module, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
        self.attention, self.mlp = attention, Mlp(width, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Pool(nn.Module):
    """Final norm and mean over patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x).mean(1)


def build(run: dict[str, Any]) -> nn.Sequential:
    """The model of a run, its leaves in place."""
    _, patches, width = run["params/embed/position"].shape
    hidden, classes = run["params/block_0/mlp/up/bias"].size, run["params/head/bias"].size
    heads, rank, alpha = int(run["heads"]), int(run["rank"]), float(run["alpha"])
    model = nn.Sequential()
    model.add_module("embed", Embed(run["input"].shape[-1], int(run["patch"]), patches, width))
    for i in range(int(run["depth"])):
        model.add_module(f"block_{i}", Block(width, Attention(width, heads, rank, alpha), hidden))
    model.add_module("pool", Pool(width))
    model.add_module("head", nn.Linear(width, classes))
    model.load_state_dict({name_of(path): to_torch(path, run) for path in paths(run)})
    return model


def paths(run: dict[str, Any]) -> list[str]:
    """Paths of all leaves."""
    return [key for key in run if "/" in key]


def name_of(path: str) -> str:
    """Where PyTorch keeps a leaf."""
    *module, leaf = path.split("/")[1:]
    return ".".join([*module, NAMES.get(leaf, leaf)])


def to_torch(path: str, run: dict[str, Any]) -> torch.Tensor:
    """A leaf in PyTorch's layout."""
    leaf = run[path]
    if path.endswith("patches/kernel"):
        return torch.tensor(leaf.reshape(run["patch"], run["patch"], -1, leaf.shape[-1]).transpose(3, 2, 0, 1))
    return torch.tensor(leaf.T if path.endswith(("kernel", "lora_a", "lora_b")) else leaf)


def from_torch(path: str, model: nn.Module) -> np.ndarray:
    """A leaf in the layout it came in."""
    leaf = model.get_parameter(name_of(path)).detach().numpy()
    if path.endswith("patches/kernel"):
        return leaf.transpose(2, 3, 1, 0).reshape(-1, leaf.shape[0])
    return leaf.T if path.endswith(("kernel", "lora_a", "lora_b")) else leaf


def groups_of(model: nn.Module, method: str, weight_decay: float) -> list[dict[str, Any]]:
    """What moves: all, the head, or the head and the side paths. Matrices decay; side paths and vectors do not."""
    moves = {"full": ("",), "head": ("head.",), "lora": ("head.", "lora_")}[method]
    decayed, plain = [], []
    for name, leaf in model.named_parameters():
        leaf.requires_grad_(any(part in name for part in moves))
        if leaf.requires_grad:
            (decayed if leaf.ndim > 1 and "lora_" not in name else plain).append(leaf)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def optimizer_of(name: str, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum and the decay of AdamW."""
    if name == "adamw":
        return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
    own = [{**group, "weight_decay": 0.0, "decoupled": group["weight_decay"]} for group in groups]
    sgd = torch.optim.SGD(own, momentum=0.9, nesterov=True)
    sgd.register_step_pre_hook(decay)
    return sgd


@torch.no_grad()
def decay(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Shrinks the leaves themselves, where PyTorch's SGD would have the decay go through its momentum."""
    for group in optimizer.param_groups:
        for leaf in group["params"]:
            leaf.mul_(1 - group["lr"] * group["decoupled"])


def train(run: dict[str, Any]) -> dict[str, np.ndarray]:
    """The run: logits of the first batch before and after, the loss of each step, and the leaves at the end."""
    model = build(run)
    images = torch.tensor(run["input"]).movedim(-1, 2)
    labels = torch.tensor(run["label"]).long()
    groups = groups_of(model, str(run["method"]), float(run["weight_decay"]))
    optimizer = optimizer_of(str(run["optimizer"]), groups)
    before, losses = model(images[0]), []
    for image, label, rate in zip(images, labels, run["learning_rate"], strict=True):
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        loss = F.cross_entropy(model(image), label, label_smoothing=float(run["label_smoothing"]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([leaf for group in groups for leaf in group["params"]], float(run["clip_norm"]))
        optimizer.step()
        losses.append(loss.item())
    done = {path: from_torch(path, model) for path in paths(run)}
    logits = {"before": before.detach().numpy(), "after": model(images[0]).detach().numpy()}
    return {**done, **logits, "losses": np.array(losses)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        with np.load(name) as stored:
            result = train(dict(stored))
        np.savez(Path(name).with_suffix(".done.npz"), **result)
