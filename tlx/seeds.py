"""Separate randomness for separate purposes, all from one seed."""

import hashlib


def derive(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose, so that changing one source of chance leaves the others alone.

    Args:
      seed: the cell's or the source's seed.
      purpose: `subset`, `init`, `order`, ...

    Returns:
      An integer in [0, 2**31).

    >>> derive(0, "init") == derive(0, "init") != derive(0, "order")
    True
    """
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
