"""A study's cells together, beside the same cells one by one, in a process each, and in PyTorch."""
