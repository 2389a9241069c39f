"""Makes torchvision importable beside a PyTorch for CPUs, then runs a script.

timm imports torchvision, whose only build is one for GPUs: its compiled operators cannot be loaded, and on import it
fails because they are missing. Nothing here uses any of them, so their names are declared and that is all.
"""

import importlib.util
import re
import runpy
import sys
from pathlib import Path

import torch

# Apart from the environment itself, where its failing import would fail that of transformers.
sys.path.append(str(Path(sys.prefix) / "vision"))

library = torch.library.Library("torchvision", "DEF")
if found := importlib.util.find_spec("torchvision"):
    text = (Path(found.origin).parent / "_meta_registrations.py").read_text()
    for name in re.findall(r'register_(?:fake|meta)\("(?:torchvision::)?(\w+)"', text):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}() -> ()")

sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
