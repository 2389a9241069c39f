"""Sequences of made-up words, and what is asked about them: what is to follow, or which class they are of.

Shape suffixes: N examples, T words.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlx.data.builders.bits import WORDS, Draws

SEPARATOR, MARK = "=", "*"
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_STEP = 1237  # has no factor in common with the number of words, so that each comes once
_FEWEST = 2

Numbers = list[int]


@dataclass(frozen=True)
class Task:
    """What is asked about a sequence.

    Args:
      answer: sequence, and which of its words are marked, to what follows it; None where only the label is asked for.
      label: the same to a class.
      marks: whether some words are marked.
      must_return: whether a sequence in which no word returns is changed so that the first does.
    """

    answer: Callable[[Numbers, Numbers], Numbers] | None
    label: Callable[[Numbers, Numbers], int] | None = None
    marks: bool = False
    must_return: bool = False


TASKS: dict[str, Task] = {
    "set": Task(lambda word_T, _: list(dict.fromkeys(word_T))),
    "copy": Task(lambda word_T, _: word_T),
    "reverse": Task(lambda word_T, _: word_T[::-1]),
    "keyword_copy": Task(lambda word_T, place: [word_T[t] for t in place], marks=True),
    "majority": Task(None, lambda word_T, _: max(dict.fromkeys(word_T), key=word_T.count)),
    "first_repeat": Task(None, lambda word_T, _: _first_repeat(word_T), must_return=True),
}


def vocabulary(words: int) -> list[str]:
    """Made-up words of two syllables, the first ones of an endless list as far as it goes.

    Args:
      words: how many, up to 4,900.
    """
    syllables = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]
    total = len(syllables) ** 2
    return ["".join(syllables[part] for part in divmod(i * _STEP % total, len(syllables))) for i in range(words)]


def num_classes(settings: dict[str, Any]) -> int:
    """Of the label: as many as words where it is a word, else as many as an answer may have words."""
    return int(settings["words"] if TASKS[settings["task"]].answer is None else settings["length"])


def generate(settings: dict[str, Any], size: int, split: int) -> Iterator[tuple[str, int]]:
    """The examples of a split.

    Args:
      settings: of the data set.
      size: how many.
      split: its number.

    Yields:
      Text and label. A task with an answer has it in the text, after `=`, and its number of words less one as label.
    """
    task, longest = TASKS[settings["task"]], settings["length"]
    spelled = vocabulary(settings["words"])
    shortest = max(_FEWEST, longest // 2)
    length_N = shortest + Draws(settings["seed"], 3 * split, WORDS).below(longest - shortest + 1, size)
    words, marks = (Draws(settings["seed"], 3 * split + k, WORDS) for k in (1, 2))
    for length in length_N:
        # As many as the longest has, whatever the length, so that the next example does not depend on it.
        word_T = words.below(settings["words"], longest)[:length].tolist()
        marked = _marked(marks.words(longest)[:length]) if task.marks else []
        if task.must_return and len(set(word_T)) == len(word_T):
            word_T[-1] = word_T[0]
        yield _example(task, word_T, marked, spelled)


def _example(task: Task, word_T: Numbers, marked: Numbers, spelled: Sequence[str]) -> tuple[str, int]:
    shown = [f"{MARK} {spelled[word]}" if t in marked else spelled[word] for t, word in enumerate(word_T)]
    if task.answer is None:
        assert task.label
        return " ".join(shown), task.label(word_T, marked)
    answer = task.answer(word_T, marked)
    return " ".join([*shown, SEPARATOR, *(spelled[word] for word in answer)]), len(answer) - 1


def _marked(word_T: np.ndarray) -> Numbers:
    """From one place to half of them, in order."""
    count = 1 + int(word_T[0] % np.uint64(max(1, len(word_T) // 2)))
    return sorted(np.argsort(word_T, kind="stable")[:count].tolist())


def _first_repeat(word_T: Numbers) -> int:
    seen: set[int] = set()
    for word in word_T:
        if word in seen:
            return word
        seen.add(word)
    raise AssertionError("no word returns")
