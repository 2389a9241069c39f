"""One cell in a process of its own, as a script that is started once a cell would train it.

`python -m experiments.benchmarks.sweep.one_cell SCALE SEED`, SCALE as JSON; prints the losses of its last steps.
"""

import json
import sys

from experiments.benchmarks.rows import Bench, Scale


def main(argv: list[str]) -> int:
    """Train and print."""
    bench = Bench(Scale(**json.loads(argv[0])))
    task = bench.task("full")
    print(bench.run(task, *bench.begin(task), bench.data, seed=int(argv[1]))[-5:].tolist())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
