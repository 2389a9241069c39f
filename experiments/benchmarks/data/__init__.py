"""How fast examples get to where they are used, beside PyTorch's and TensorFlow's ways."""
