"""The same sentences in tlx and in transformers: equal token ids, from `vocab.txt` and from `tokenizer.json`."""

import json
from pathlib import Path

import numpy as np
import pytest
from process import run_side

from tlx.data.text import load_tokenizer

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).with_name("tokenizers_side.py")
LENGTH = 12
WORDS = (
    "the",
    "The",
    "café",
    "cafe",
    "un",
    "##believ",
    "##able",
    "don",
    "t",
    "'",
    ".",
    "!",
    "東",
    "京",
    "ÜBER",
    "uber",
)
VOCAB = ("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "\u0085", "##s")
TEXTS = (
    "The cafés!",
    "unbelievable CAFÉ",
    "don't.",
    "東京 Über ÜBER uber\u0301",
    "the [MASK] and [SEP]the[PAD] end",
    "",
    " \t the\u00a0\u200bthe\x00\ufffd ",
    "x" * 101 + " the",
    "the " * 40,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tokenizers")
    for name, lower in (("uncased", True), ("cased", False)):
        (made / name).mkdir()
        (made / name / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8")
        settings = {"do_lower_case": lower, "tokenizer_class": "BertTokenizer"}
        (made / name / "tokenizer_config.json").write_text(json.dumps(settings))
    (made / "texts.json").write_text(json.dumps(TEXTS))
    run_side(SCRIPT, made, str(LENGTH))
    return made


@pytest.mark.parametrize("name", ["uncased", "cased", "uncased-saved", "cased-saved"])
def test_ids_are_equal(folder: Path, name: str) -> None:
    tokenizer = load_tokenizer(folder / name, LENGTH)
    assert tokenizer.path.name == ("tokenizer.json" if name.endswith("saved") else "vocab.txt")
    assert np.array_equal(tokenizer(TEXTS), np.load(folder / name / "ids.npy"))


def test_the_cases_differ(folder: Path) -> None:
    uncased, cased = (load_tokenizer(folder / name, LENGTH)(TEXTS) for name in ("uncased", "cased"))
    assert not np.array_equal(uncased, cased)
