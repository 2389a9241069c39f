"""Settings for every test: strict numerics, several simulated devices, prepared data."""

import gc
import itertools
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from tlx.data.source import prepare

# Half of what Linux allows by default.
MOST_MAPS = 30_000
_tests = itertools.count(1)

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def four_devices() -> None:
    """Tests of sharding rely on these; asking starts the backend with them."""
    assert jax.device_count() == 4


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits and mnist5k in it; not to be written to."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("digits", "mnist5k"):
        prepare(name, folder)
    return folder


@pytest.fixture(autouse=True)
def few_programs() -> Iterator[None]:
    """Each program is mapped into memory in pieces, of which a process may have no more than the system lets it."""
    yield
    maps = Path("/proc/self/maps")
    # To count them takes as long as a short test.
    if next(_tests) % 50 == 0 and maps.exists() and len(maps.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True, scope="module")
def quick_compilation() -> Iterator[None]:
    """Tests are thousands of programs that run for a millisecond: compiling them well would not pay."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
