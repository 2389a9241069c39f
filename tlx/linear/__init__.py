"""Linear models on fixed features, solved to their optimum instead of trained step by step."""
