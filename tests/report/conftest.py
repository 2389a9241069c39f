"""Synthetic records for every test of a report."""

from types import SimpleNamespace

import pytest
from made_records import Study, make_study, makers, simulate


@pytest.fixture
def make() -> SimpleNamespace:
    """The makers: `record`, `diverged`, `study` and `simulated`."""
    return makers()


@pytest.fixture
def study() -> Study:
    """Two methods, two budgets, five seeds, everything there."""
    return make_study(simulate({"full": 0.25, "lora": 0.2}, (20, 100), 5))
