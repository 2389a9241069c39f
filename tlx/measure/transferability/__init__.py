"""How well a source may do on a target, told from its features or predictions before anything is trained."""
