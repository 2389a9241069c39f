"""Both datasets, prepared once for all the tests of this folder."""

from pathlib import Path

import pytest

from tlx.data.source import prepare


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits and mnist5k in it; not to be written to."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("digits", "mnist5k"):
        prepare(name, folder)
    return folder
