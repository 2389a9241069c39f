"""`python -m experiments.benchmarks.adapt`."""

import sys

from experiments.benchmarks.adapt.run import main

if __name__ == "__main__":
    sys.exit(main())
