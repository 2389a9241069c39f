"""The script that PyTorch runs is no module of these tests: to import it would be to import torch."""

collect_ignore = ["torch_side.py"]
