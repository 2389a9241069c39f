"""What changed inside a network: comparisons of activations and of weights, one file a measure."""
