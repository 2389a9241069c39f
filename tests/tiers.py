"""Which cases of a test run by default."""

from collections.abc import Iterable
from typing import Any

import pytest


def first(quick: int, values: Iterable[Any]) -> list[Any]:
    """The first cases of a test as they are, the others `thorough`."""
    found = list(values)
    rest = [pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=pytest.mark.thorough) for v in found[quick:]]
    return [*found[:quick], *rest]
