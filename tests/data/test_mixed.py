"""Several splits as one: whose classes are whose, and the same batches in memory and from disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tlx.data.mixed import Parts, joined, joined_table
from tlx.data.mixture import mixture_table
from tlx.data.on_disk import open_on_disk
from tlx.data.pipeline import Arrays, load_arrays
from tlx.errors import TlxError

SPLITS = ("train[:30]", "test[:20]")
DIGITS = [str(digit) for digit in range(10)]
# Two data sets that share one class.
NAMES = (DIGITS, ["9", *(f"other {i}" for i in range(9))])


@pytest.fixture
def arrays(data_dir: Path) -> list[Arrays]:
    return [load_arrays("digits", split, data_dir) for split in SPLITS]


def test_classes_of_one_name_are_one_class(arrays: list[Arrays]) -> None:
    whole = joined(arrays, NAMES)
    assert isinstance(whole, Arrays)
    assert (len(whole), whole.num_classes, whole.input_shape) == (50, 19, arrays[0].input_shape)
    first, second = whole.label_N[:30], whole.label_N[30:]
    np.testing.assert_array_equal(first, arrays[0].label_N)
    # Its class 0 is the other's 9; its class i > 0 comes after all of the other's.
    np.testing.assert_array_equal(second, np.where(arrays[1].label_N == 0, 9, arrays[1].label_N + 9))
    np.testing.assert_array_equal(whole.input_N[30:], arrays[1].input_N)
    assert joined(arrays, (DIGITS, DIGITS)).digest != whole.digest


def test_on_disk_the_whole_is_the_same(arrays: list[Arrays], data_dir: Path) -> None:
    here, there = joined(arrays, NAMES), joined([open_on_disk("digits", split, data_dir) for split in SPLITS], NAMES)
    assert isinstance(here, Arrays) and isinstance(there, Parts)
    assert (there.digest, there.num_classes, len(there), there.name) == (here.digest, 19, 50, here.name)
    positions = np.array([49, 0, 30, 29])
    for one, other in zip(there.at(positions), here.at(positions), strict=True):
        np.testing.assert_array_equal(one, other)

    def table(start: int, stop: int) -> np.ndarray:
        return joined_table((30, 20), (5.0, 1.0), 4, 3, start, stop)

    batches = there.batches(table, 30)
    seen = set()
    for start, stop in ((0, 9), (9, 12), (20, 30), (4, 6)):
        for positions, batch in zip(table(start, stop), batches(start, stop), strict=True):
            seen.add(int((positions >= 30).sum()))
            np.testing.assert_array_equal(batch["input"], here.input_N[positions])
            np.testing.assert_array_equal(batch["label"], here.label_N[positions])
    assert {0, 1} <= seen  # some steps have nothing of the second


def test_the_table_is_the_mixture_s() -> None:
    part_SB, position_SB = mixture_table((30, 20), (1.0, 3.0), 8, 5, 2, 9)
    table = joined_table((30, 20), (1.0, 3.0), 8, 5, 2, 9)
    np.testing.assert_array_equal(table, position_SB + np.where(part_SB == 1, 30, 0))
    assert 0.7 < (table >= 30).mean() < 0.8


def test_inputs_of_other_shapes_are_refused(arrays: list[Arrays]) -> None:
    other = replace(arrays[1], name="wide", input_N=np.zeros((20, 4, 9, 1), np.uint8))
    with pytest.raises(TlxError, match=r"^'wide' has inputs \[4, 9, 1\], but 'digits' has"):
        joined([arrays[0], other], NAMES)
