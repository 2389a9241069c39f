"""Studies with the claims they back, and what they share."""
