"""Studies small enough to run in a test."""

from collections.abc import Callable

import pytest
from quick import CONFIG, SMALL

from tlx.build import build
from tlx.config import load
from tlx.study.spec import Study

Make = Callable[..., Study]


@pytest.fixture(scope="session")
def make_study() -> Make:
    """Overrides to a small study."""

    def make(*overrides: str) -> Study:
        return build(load(str(CONFIG), (*SMALL, *overrides)), "tlx run configs/quickstart.py")

    return make
