"""`python -m experiments.benchmarks.data [--torch PYTHON] [--tensorflow PYTHON]`."""

import sys

from experiments.benchmarks.data.run import main

if __name__ == "__main__":
    sys.exit(main())
