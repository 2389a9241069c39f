"""The scripts that PyTorch runs are no modules of these tests: to import them would be to import torch."""

collect_ignore_glob = ["*_side.py"]
