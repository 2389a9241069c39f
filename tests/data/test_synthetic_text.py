"""Text tasks of made-up words: answers and labels found again from the texts alone, and a token for every word."""

import hashlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tlx.data.builders.sequences import vocabulary
from tlx.data.builders.synthetic_text import SPECIAL, write_tokenizer
from tlx.data.describe import describe, is_text
from tlx.data.pipeline import load_arrays
from tlx.data.source import open_split, prepare
from tlx.data.text import load_tokenizer

WORDS = 20
KNOBS = f"?words={WORDS}&length=12&train=200&test=50"
ANSWERED = ("set", "copy", "reverse", "keyword_copy")
CLASSIFIED = ("majority", "first_repeat")
# Of the 200 examples of train, the head of the SHA-256.
GOLDEN = {
    "set": "71d94446e199c39f",
    "copy": "a2f5e72e1fa0323a",
    "reverse": "adab8f9ae5585ff3",
    "keyword_copy": "6e3c4cda53bc2678",
    "majority": "c3a5b9c8f84702e8",
    "first_repeat": "670db42b5c8afbdf",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all tasks in it."""
    folder = tmp_path_factory.mktemp("tasks")
    for task in (*ANSWERED, *CLASSIFIED):
        prepare(f"set_copy/{task}{KNOBS}", folder)
    return folder


def examples(task: str, made: Path, split: str = "train", knobs: str = KNOBS) -> list[tuple[list[str], int]]:
    source = open_split(f"set_copy/{task}{knobs}", split, made)
    return [(e["text"].decode().split(" "), e["label"]) for e in source.__getitems__(list(range(len(source))))]


def answers(task: str, made: Path) -> list[tuple[list[str], list[str]]]:
    found = []
    for word_T, label in examples(task, made):
        at = word_T.index("=")
        assert word_T.count("=") == 1 and label == len(word_T) - at - 2
        found.append((word_T[:at], word_T[at + 1 :]))
    return found


def test_set_is_each_word_once_in_order_of_first_appearance(made: Path) -> None:
    for asked, answer in answers("set", made):
        expected: list[str] = []
        for word in asked:
            if word not in expected:
                expected.append(word)
        assert answer == expected
    assert sum(len(asked) > len(answer) for asked, answer in answers("set", made)) > 100


def test_copy_and_reverse(made: Path) -> None:
    assert all(asked == answer for asked, answer in answers("copy", made))
    assert all(list(reversed(asked)) == answer for asked, answer in answers("reverse", made))


def test_keywords_are_those_after_the_mark(made: Path) -> None:
    counts = []
    for asked, answer in answers("keyword_copy", made):
        assert answer == [word for before, word in pairwise(asked) if before == "*"]
        length = len(asked) - len(answer)
        assert 6 <= length <= 12 and 1 <= len(answer) <= length // 2
        counts.append(len(answer))
    assert set(counts) == {1, 2, 3, 4, 5, 6}


def test_the_label_is_the_most_frequent_word(made: Path) -> None:
    numbers = {word: w for w, word in enumerate(vocabulary(WORDS))}
    for word_T, label in examples("majority", made):
        # Counter keeps the order of first appearance among equals.
        assert label == numbers[Counter(word_T).most_common(1)[0][0]]


def test_the_label_is_the_first_word_to_return(made: Path) -> None:
    numbers = {word: w for w, word in enumerate(vocabulary(WORDS))}
    for word_T, label in examples("first_repeat", made):
        returns = [t for t, word in enumerate(word_T) if word in word_T[:t]]
        assert label == numbers[word_T[returns[0]]]


@pytest.mark.parametrize("task", [*ANSWERED, *CLASSIFIED])
def test_lengths_words_and_classes(made: Path, task: str) -> None:
    name, allowed = f"set_copy/{task}{KNOBS}", {*vocabulary(WORDS), "=", "*"}
    assert describe(name, made, 30) == ((30,), WORDS if task in CLASSIFIED else 12) and is_text(name, made)
    train, test = examples(task, made), examples(task, made, "test")
    assert (len(train), len(test)) == (200, 50)
    assert all(set(word_T) <= allowed for word_T, _ in train)
    asked = [word_T[: word_T.index("=")] if "=" in word_T else word_T for word_T, _ in train]
    assert {len([word for word in word_T if word != "*"]) for word_T in asked} == set(range(6, 13))
    assert not {tuple(word_T) for word_T, _ in train} & {tuple(word_T) for word_T, _ in test}
    if task in CLASSIFIED:
        assert set(np.bincount([label for _, label in train], minlength=WORDS) > 0) == {True}


def test_tasks_and_sizes_share_their_sequences(made: Path) -> None:
    prepare("set_copy/copy?words=20&length=12&train=40&test=1", made)
    short = examples("copy", made, knobs="?words=20&length=12&train=40&test=1")
    assert short == examples("copy", made)[:40]
    assert [asked for asked, _ in answers("copy", made)] == [asked for asked, _ in answers("reverse", made)]


def test_the_same_texts_everywhere(made: Path) -> None:
    first = {task: " ".join(examples(task, made)[0][0]) for task in ("keyword_copy", "first_repeat")}
    assert first == {
        "keyword_copy": "sobe sobe giri * baro baro * nesa * kalu bele gola bisi * bisi = baro nesa kalu bisi",
        "first_repeat": "sobe sobe giri baro baro nesa kalu bele gola bisi bisi",
    }
    found = {}
    for task in (*ANSWERED, *CLASSIFIED):
        lines = [f"{label} {' '.join(word_T)}\n" for word_T, label in examples(task, made)]
        found[task] = hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
    assert found == GOLDEN


def test_words_differ_and_a_larger_vocabulary_goes_on() -> None:
    assert len(set(vocabulary(4900))) == 4900
    assert vocabulary(4900)[:30] == vocabulary(30)
    assert vocabulary(4) == ["baba", "giri", "naku", "sobe"]
    assert all(word.isalpha() and word.islower() and len(word) == 4 for word in vocabulary(4900))


def test_each_word_is_one_token(made: Path, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "deep" / "words", WORDS)
    tokenizer = load_tokenizer(folder, 30)
    tokens = [*SPECIAL, "=", "*", *vocabulary(WORDS)]
    assert (tokenizer.vocab, tokenizer.pad) == (len(tokens), 0)
    for task in (*ANSWERED, *CLASSIFIED):
        id_NT = load_arrays(f"set_copy/{task}{KNOBS}", "train", made, tokenizer).input_N
        for id_T, (word_T, _) in zip(id_NT, examples(task, made), strict=True):
            n = len(word_T)
            assert [tokens[i] for i in id_T[1 : n + 1]] == word_T
            assert (tokens[id_T[0]], tokens[id_T[n + 1]]) == ("[CLS]", "[SEP]") and not id_T[n + 2 :].any()
    assert tokenizer(["unheard"])[0, :3].tolist() == [2, 1, 3]


def test_the_vocabulary_as_bert_reads_it_gives_the_same_ids(made: Path, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, WORDS)
    ours, bert = (load_tokenizer(folder / name, 30) for name in ("tokenizer.json", "vocab.txt"))
    texts = [" ".join(word_T) for task in ANSWERED for word_T, _ in examples(task, made)]
    assert np.array_equal(ours(texts), bert(texts))
