"""Tokenizers from files: ids by hand, the two kinds of file alike, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sentences import SPECIAL, WORDS, write_tokenizer

from tlx.data.text import load_tokenizer
from tlx.errors import ConfigError, TlxError

PAD, UNK, CLS, SEP = range(4)
IDS = {token: i for i, token in enumerate((*SPECIAL, *WORDS))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tokenizer(tmp_path / "mine")


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """The same words as BERT's first releases have them."""
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join((*SPECIAL, *WORDS)) + "\n")
    return folder


def configure(folder: Path, **settings: object) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def ids(*words: str) -> list[int]:
    return [IDS[word] for word in words]


def test_ids_by_hand(folder: Path) -> None:
    tokenizer = load_tokenizer(folder, 8)
    found = tokenizer(["The film was lovely", "So brightly!", "", "The film, the plot, the cast and the song"])
    expected = [
        [CLS, *ids("the", "film", "was", "lovely"), SEP, PAD, PAD],
        [CLS, *ids("so", "bright", "##ly"), UNK, SEP, PAD, PAD],
        [CLS, SEP, PAD, PAD, PAD, PAD, PAD, PAD],
        [CLS, IDS["the"], IDS["film"], UNK, IDS["the"], IDS["plot"], UNK, SEP],
    ]
    assert found.dtype == np.int32
    assert found.tolist() == expected
    assert (tokenizer.vocab, tokenizer.pad, tokenizer.length) == (len(IDS), PAD, 8)
    assert tokenizer([]).shape == (0, 8)


def test_a_vocabulary_alone_is_read_as_bert_reads_it(folder: Path, bert: Path) -> None:
    texts = ["The FILM wás lovely!", "[SEP] a [MASK] 片 brightly", "song" * 40, "\tso\u00a0and\x00is "]
    ours = load_tokenizer(bert, 12)(texts)
    assert np.array_equal(ours, load_tokenizer(folder, 12)(texts))
    assert ours[0].tolist() == [CLS, *ids("the", "film", "was", "lovely"), UNK, SEP, *[PAD] * 5]
    configure(bert, do_lower_case=False)
    assert load_tokenizer(bert, 6)(["The film"]).tolist() == [[CLS, UNK, IDS["film"], SEP, PAD, PAD]]
    configure(bert, strip_accents=False)
    assert load_tokenizer(bert, 6)(["wás"]).tolist() == [[CLS, UNK, SEP, PAD, PAD, PAD]]


def test_a_vocabulary_with_windows_line_ends(bert: Path) -> None:
    before = load_tokenizer(bert, 6).digest
    (bert / "vocab.txt").write_bytes((bert / "vocab.txt").read_bytes().replace(b"\n", b"\r\n"))
    assert load_tokenizer(bert, 6).digest == before


def test_a_file_can_be_named_in_place_of_its_folder(folder: Path, bert: Path) -> None:
    shutil.copy(bert / "vocab.txt", folder)
    assert load_tokenizer(folder, 6).path == folder / "tokenizer.json"
    assert load_tokenizer(folder / "vocab.txt", 6).path == folder / "vocab.txt"


def test_the_digest_is_of_what_it_does(folder: Path, tmp_path: Path) -> None:
    digest = load_tokenizer(folder, 6).digest
    moved = write_tokenizer(tmp_path / "elsewhere")
    assert load_tokenizer(moved, 9).digest == digest
    configure(moved, pad_token="[MASK]")
    assert load_tokenizer(moved, 6).digest != digest
    assert load_tokenizer(write_tokenizer(tmp_path / "more", (*WORDS, "new")), 6).digest != digest


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("token", ["[MASK]", {"content": "[MASK]", "lstrip": False}])
def test_the_padding_token_is_the_one_that_is_named(folder: Path, name: str, token: object) -> None:
    (folder / name).write_text(json.dumps({"pad_token": token}))
    tokenizer = load_tokenizer(folder, 5)
    assert tokenizer.pad == IDS["[MASK]"]
    assert tokenizer(["film"]).tolist() == [[CLS, IDS["film"], SEP, IDS["[MASK]"], IDS["[MASK]"]]]


def refusal(path: Path, length: int = 6) -> str:
    """The one line a tokenizer is refused with."""
    with pytest.raises(TlxError) as caught:
        load_tokenizer(path, length)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_what_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: there is no such file or folder"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == f"{tmp_path / 'empty'}: holds no tokenizer (tokenizer.json or vocab.txt)"
    (tmp_path / "model.safetensors").touch()
    assert refusal(tmp_path / "model.safetensors").endswith("is no tokenizer; expected a tokenizer.json or a vocab.txt")


@pytest.mark.parametrize(
    ("name", "damage", "line"),
    [
        ("tokenizer.json", lambda text: text[:200], "tokenizer.json: is not a tokenizer, or is damaged (EOF while"),
        ("tokenizer.json", lambda text: "{}", "tokenizer.json: is not a tokenizer, or is damaged ("),
        ("tokenizer.json", lambda text: text.replace("[PAD]", "[FILL]"), "fills up short sentences; name its padding"),
        ("tokenizer_config.json", lambda text: "{", "tokenizer_config.json: is not JSON"),
        ("tokenizer_config.json", lambda text: "[]", "tokenizer_config.json: expected a JSON object"),
        ("tokenizer_config.json", lambda text: '{"pad_token": "<p>"}', "has no token '<p>', which is said to fill up"),
    ],
)
def test_a_damaged_tokenizer(folder: Path, name: str, damage: Callable[[str], str], line: str) -> None:
    made = json.loads((folder / "tokenizer.json").read_text()) | {"padding": None}
    (folder / "tokenizer.json").write_text(json.dumps(made))
    configure(folder)
    (folder / name).write_text(damage((folder / name).read_text()))
    assert line in refusal(folder)


@pytest.mark.parametrize(
    ("vocab", "settings", "line"),
    [
        ("[PAD]\n[UNK]\n[CLS]\nfilm", {}, "vocab.txt: is not the vocabulary of a BERT: it lacks '[SEP]'"),
        ("[UNK]\n[CLS]\n[SEP]", {}, "vocab.txt: does not say what fills up short sentences"),
        (None, {"do_lower_case": "no"}, "tokenizer_config.json: do_lower_case: expected true or false, got 'no'"),
        (None, {"tokenize_chinese_chars": None}, "tokenizer_config.json: tokenize_chinese_chars: expected true or"),
        (None, {"cls_token": "<s>"}, "vocab.txt: is not the vocabulary of a BERT: it lacks '<s>'"),
    ],
)
def test_a_damaged_vocabulary(bert: Path, vocab: str | None, settings: dict[str, object], line: str) -> None:
    if vocab is not None:
        (bert / "vocab.txt").write_text(vocab)
    configure(bert, **settings)
    assert line in refusal(bert)


def test_a_vocabulary_that_is_no_text(bert: Path) -> None:
    (bert / "vocab.txt").write_bytes(b"\xff\xfe\xfd")
    assert "vocab.txt: cannot be read (" in refusal(bert)


@pytest.mark.parametrize("length", [1, 2])
def test_a_length_without_room_for_words(folder: Path, length: int) -> None:
    with pytest.raises(ConfigError, match=rf"^length: expected more than the 2 tokens that .*, got {length}$"):
        load_tokenizer(folder, length)
    assert load_tokenizer(folder, 3)(["the film"]).tolist() == [[CLS, IDS["the"], SEP]]


def test_what_special_tokens_are(tmp_path: Path) -> None:
    found = load_tokenizer(write_tokenizer(tmp_path), 8)
    assert (found.mask, found.special, found.end) == (4, (0, 1, 2, 3, 4), None)


def test_whole_texts_are_neither_cut_nor_filled_up(tmp_path: Path) -> None:
    found = load_tokenizer(write_tokenizer(tmp_path), 4)
    long, short = found.whole(["the film was so lovely", "the"])
    assert (len(long), len(short)) == (7, 3)
    # Nothing of it has changed what it does to others.
    assert found(["the film was so lovely"]).shape == (1, 4)
