"""One of many workers on tiny cells: holds a cell, computes it, publishes its record, and keeps a diary of it.

No jax, so that it starts as fast as it is killed.
"""

import hashlib
import random
import sys
import time
from pathlib import Path

from tlx import atomic, lock
from tlx.records import Records

CELLS = [hashlib.sha256(f"cell {i}".encode()).hexdigest()[:16] for i in range(300)]


def value_of(cell: str) -> float:
    """What a cell comes to, whoever computes it."""
    return int(hashlib.sha256(f"value of {cell}".encode()).hexdigest()[:8], 16) / 2**32


def main(work: Path, worker: int) -> None:
    """Until every cell has a record."""
    records, order = Records(work), random.Random(worker).sample(CELLS, len(CELLS))
    diary = work / "diary" / f"{worker}-{time.monotonic_ns()}"
    for cell in order:
        if records.has(cell):
            continue
        with lock.one_at_a_time(work / f"{lock.LOCK}-{cell}", lambda: time.sleep(0.001)):
            if records.has(cell):
                continue
            atomic.append(diary, f"begin {cell} {time.monotonic_ns()}\n".encode())
            time.sleep(0.2)
            records.publish({"id": cell, "value": value_of(cell)}, {"worker": worker})
            atomic.append(diary, f"end {cell} {time.monotonic_ns()}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
