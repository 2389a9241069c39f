"""`python -m experiments.benchmarks.sweep`."""

import sys

from experiments.benchmarks.sweep.run import main

if __name__ == "__main__":
    sys.exit(main())
