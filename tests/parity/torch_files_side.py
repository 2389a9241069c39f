"""State dicts as PyTorch itself writes them: `torch_files_side.py FOLDER` saves each twice and says what is in it."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

torch.manual_seed(0)


def kinds():
    x = torch.randn(3, 4) * 20
    names = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8")
    return {**{name: x.to(getattr(torch, name)) for name in names}, "uint8": x.abs().to(torch.uint8), "bool": x > 0}


def views():
    x = torch.randn(4, 6)
    return {
        "whole": x,
        "transposed": x.T,
        "columns": x[:, 1:4],
        "every_other": x[::2, ::3],
        "one": x[2, 3],
        "nothing": x[:0],
        "again": x,
        "apart": torch.randn(5),
    }


def network():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    model[2].weight = nn.Parameter(torch.randn(4, 2).T)
    return model.state_dict()


def parameters():
    return {"a": nn.Parameter(torch.randn(2, 3)), "b": nn.Parameter(torch.randn(3), requires_grad=False)}


def plain(value):
    """NumPy knows no bfloat16: the same numbers in float32."""
    return (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()


folder = Path(sys.argv[1])
for make in (kinds, views, network, parameters):
    content = make()
    np.savez(folder / f"{make.__name__}.npz", **{name: plain(value) for name, value in content.items()})
    torch.save(content, folder / f"{make.__name__}-zip.pth")
    torch.save(content, folder / f"{make.__name__}-legacy.pth", _use_new_zipfile_serialization=False)
torch.save({"epoch": 1, "state_dict": kinds()}, folder / "wrapped.pth")
torch.save(network, folder / "function.pth")
torch.save(nn.Linear(2, 2), folder / "module.pth")
