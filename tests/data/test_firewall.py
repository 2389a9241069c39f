"""The test split comes out once for each cell, after its selection, whoever asks at the same time."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from tlx.data.firewall import Firewall, split_facts
from tlx.data.pipeline import Arrays, digest
from tlx.errors import FileError, TlxError

INPUT_N = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)
LABEL_N = np.array([1, 0, 1], np.int32)
TEST = Arrays("pets", "test", INPUT_N, LABEL_N, 3, digest(INPUT_N, LABEL_N))
FACTS = {"split": "test", "examples": 3, "per_class": [1, 2, 0], "digest": TEST.digest}


class Counting:
    """Hands out the split and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Arrays:
        self.calls += 1
        return TEST


def test_selection_then_the_split_once() -> None:
    load = Counting()
    firewall = Firewall(load)
    assert load.calls == 0
    firewall.selection_done("a")
    assert firewall.as_record("a") == FACTS | {"releases": 0}
    assert firewall.release("a") is TEST
    assert firewall.as_record("a") == FACTS | {"releases": 1}
    assert firewall.as_record("b") == FACTS | {"releases": 0}
    firewall.selection_done("b")
    assert firewall.release("b") is TEST
    assert (firewall.releases(), load.calls) == (2, 1)


def test_before_selection_it_stays_shut() -> None:
    firewall = Firewall(lambda: TEST)
    firewall.selection_done("b")
    with pytest.raises(TlxError, match="^cell a: the test split is given out after selection, which is not done$"):
        firewall.release("a")
    assert firewall.releases() == 0


def test_a_second_time_it_stays_shut() -> None:
    firewall = Firewall(lambda: TEST)
    firewall.selection_done("a")
    firewall.selection_done("a")
    firewall.release("a")
    with pytest.raises(TlxError, match="^cell a: the test split was given out already; a cell is scored once$"):
        firewall.release("a")
    with pytest.raises(TlxError, match="^cell a: nothing can be selected after its test split was given out$"):
        firewall.selection_done("a")


def test_what_cannot_be_read_was_not_given_out() -> None:
    answers = [FileError("test", "is damaged"), TEST]

    def load() -> Arrays:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    firewall = Firewall(load)
    firewall.selection_done("a")
    with pytest.raises(FileError):
        firewall.release("a")
    assert firewall.releases() == 0
    assert firewall.release("a") is TEST


def test_of_many_threads_one_gets_it() -> None:
    load, together = Counting(), Barrier(8)
    firewall = Firewall(load)
    firewall.selection_done("a")

    def ask(_: int) -> bool:
        together.wait()
        try:
            return firewall.release("a") is TEST
        except TlxError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(ask, range(8))) == [False] * 7 + [True]
    assert (load.calls, firewall.releases()) == (1, 1)


def test_facts_are_free_and_hold_no_examples() -> None:
    firewall = Firewall(lambda: TEST)
    assert firewall.facts() == split_facts(TEST) == FACTS
    assert firewall.releases() == 0


def test_scores_have_no_classes_to_count() -> None:
    scores = Arrays("pets", "test", INPUT_N, np.array([0.5, 1.5, 2.0], np.float32), 0, "0" * 64)
    assert split_facts(scores) == {"split": "test", "examples": 3, "digest": "0" * 64}
