"""A batch is a pure function of (data, seed, step): found by a seek, whoever reads it, on any number of hosts.

That training from the resident and from the streamed examples ends in the same weights is in `tests/test_loop.py`;
here it is the batches themselves, bit by bit.
"""

import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlx.data.mixture import mixture_indices, mixture_table
from tlx.data.order import batch_indices, host_slice, index_table, subset
from tlx.data.pipeline import Arrays, load_arrays, stream
from tlx.data.source import open_split

SPLIT, BATCH, STEPS, SEED = "train[:150]", 16, 30, 11

Batch = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def arrays(data_dir: Path) -> Arrays:
    return load_arrays("digits", SPLIT, data_dir)


@pytest.fixture(scope="module")
def source(data_dir: Path) -> Any:
    return open_split("digits", SPLIT, data_dir)


def indices(step: int) -> np.ndarray:
    return batch_indices(150, BATCH, SEED, step)


def resident(arrays: Arrays, start: int, stop: int) -> Iterator[Batch]:
    """What a program gets that holds all examples and indexes them."""
    for index_B in index_table(150, BATCH, SEED, start, stop):
        yield {"input": arrays.input_N[index_B], "label": arrays.label_N[index_B]}


def digest(batches: Iterator[Batch] | list[Batch]) -> list[str]:
    """Of each batch, over its bytes in order."""
    found = []
    for batch in batches:
        sha = hashlib.sha256(batch["input"].tobytes())
        sha.update(batch["label"].astype(np.int32).tobytes())
        found.append(sha.hexdigest())
    return found


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_streamed_is_resident_at_every_step_across_epochs(arrays: Arrays, source: Any, num_threads: int) -> None:
    # 30 steps of 16 are more than three epochs, whose ends lie inside of batches.
    streamed = digest(stream(source, indices, 0, STEPS, num_threads))
    assert streamed == digest(resident(arrays, 0, STEPS))
    assert len(set(streamed)) == STEPS


@pytest.mark.parametrize("start", [0, 1, 9, 10, 29, 10**9])
def test_a_seek_finds_what_going_through_would(arrays: Arrays, source: Any, start: int) -> None:
    (found,) = digest(stream(source, indices, start, start + 1))
    assert [found] == digest(resident(arrays, start, start + 1))
    if start < STEPS:
        assert found == digest(resident(arrays, 0, STEPS))[start]


@pytest.mark.parametrize("at", [1, 7, 29])
def test_a_reader_that_was_stopped_goes_on_where_it_was(source: Any, at: int) -> None:
    whole = digest(stream(source, indices, 0, STEPS))
    begun = stream(source, indices, 0, STEPS)
    before = digest([next(begun) for _ in range(at)])
    begun.close()  # type: ignore[attr-defined]
    assert before + digest(stream(source, indices, at, STEPS)) == whole


def test_two_readers_of_one_source_do_not_disturb_each_other(source: Any) -> None:
    whole = digest(stream(source, indices, 0, STEPS))
    pairs = list(zip(stream(source, indices, 0, STEPS, 1), stream(source, indices, 0, STEPS, 4), strict=True))
    assert digest([a for a, _ in pairs]) == digest([b for _, b in pairs]) == whole


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_read_disjoint_parts_of_one_global_batch(arrays: Arrays, source: Any, hosts: int) -> None:
    def share(host: int) -> Callable[[int], np.ndarray]:
        return lambda step: host_slice(indices(step), host, hosts)

    parts = [list(stream(source, share(host), 0, 12)) for host in range(hosts)]
    joined = [
        {key: np.concatenate([part[step][key] for part in parts]) for key in ("input", "label")} for step in range(12)
    ]
    assert digest(joined) == digest(resident(arrays, 0, 12))


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_share_a_mixture(hosts: int) -> None:
    sizes, weights = (150, 40), (0.7, 0.3)
    for step in (0, 5, 10**6):
        for whole in mixture_indices(sizes, weights, BATCH, SEED, step):
            shares = [host_slice(whole, host, hosts) for host in range(hosts)]
            assert np.array_equal(np.concatenate(shares), whole)


def test_another_seed_is_another_order_of_the_same_examples(arrays: Arrays) -> None:
    ours, theirs = (index_table(150, 15, seed, 0, 10) for seed in (SEED, SEED + 1))
    assert not np.array_equal(ours, theirs)
    assert sorted(ours.ravel().tolist()) == sorted(theirs.ravel().tolist())


def test_another_process_makes_the_same_choices() -> None:
    """With another hash seed, and nothing left over from this one's caches."""
    script = """
        import numpy as np
        from tlx.data.mixture import mixture_table
        from tlx.data.order import index_table, subset
        print(index_table(150, 16, 11, 7, 9).tolist())
        print([part.tolist() for part in mixture_table((150, 40), (0.7, 0.3), 16, 11, 7, 9)])
        print(subset(np.arange(150) % 10, 20, 11).tolist())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        str(index_table(150, 16, 11, 7, 9).tolist()),
        str([part.tolist() for part in mixture_table((150, 40), (0.7, 0.3), 16, 11, 7, 9)]),
        str(subset(np.arange(150) % 10, 20, 11).tolist()),
    ]
