"""`python -m experiments.benchmarks.models --torch PYTHON`."""

import sys

from experiments.benchmarks.models.run import main

sys.exit(main())
