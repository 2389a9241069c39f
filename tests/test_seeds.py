"""Derived seeds are the same for good, and apart from one another."""

import numpy as np
import pytest

from tlx.seeds import derive
