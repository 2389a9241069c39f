"""tlx: does this source help on that target, by how much, adapted which way, at what cost?"""

__version__ = "0.1.0"
