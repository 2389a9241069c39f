"""The scripts that PyTorch runs are no modules of these tests: to import them would be to import torch."""

collect_ignore = ["peft_side.py", "torch_side.py"]
