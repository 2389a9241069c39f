"""Made-up rated sentences in an archive like Hutto and Gilbert's, and a tokenizer that knows their words."""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from tlx.data.builders import hutto
from tlx.data.builders.sentiment4 import DOMAINS

Row = tuple[str, float, str]

THINGS = ("film", "plot", "phone", "song", "essay", "cast", "lens", "joke")
GOOD, BAD = ("lovely", "bright", "superb"), ("dreadful", "dull", "broken")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("the", "was", "is", "so", "and", "##ly", "a", *THINGS, *GOOD, *BAD)


def rows(seed: int, size: int = 60) -> list[Row]:
    """Sentences whose adjective says what they are; every tenth is rated 0, every third ends a review of three."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(size):
        good = rng.random() < 0.5
        first, second = rng.choice(GOOD if good else BAD, 2)
        score = 0.0 if i % 10 == 9 else (1 if good else -1) * rng.uniform(0.1, 4)
        text = f"The {rng.choice(THINGS)} was {first}, and the {rng.choice(THINGS)} is {second}! ({seed}.{i})"
        made.append((f"{i // 3}_{i % 3}", round(float(score), 3), text))
    return made


def pack(members: Mapping[str, bytes]) -> bytes:
    """A .tar.gz."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def write_archive(data_dir: Path, domains: Mapping[str, Sequence[Row]] | None = None) -> str:
    """Put an archive where it is looked for, with lines as they are in the real one; returns the inner one's digest."""
    domains = domains or {name: rows(seed) for seed, name in enumerate(DOMAINS)}
    files = {
        f"hutto_ICWSM_2014/{DOMAINS[name][0]}_GroundTruth.txt": "\r\n".join(
            f"{key}\t{score}\t{text}" for key, score, text in rated
        ).encode()
        for name, rated in domains.items()
    }
    inner = pack(files)
    place = data_dir / "downloads" / "vaderSentiment-3.3.2.tar.gz"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(pack({f"vaderSentiment-3.3.2/additional_resources/{hutto.INNER}": inner}))
    return hashlib.sha256(inner).hexdigest()


@contextmanager
def trusted(sha256: str) -> Iterator[None]:
    """While an archive with this digest is taken for the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hutto, "SHA256", sha256)
        yield


def write_tokenizer(folder: Path, words: Sequence[str] = WORDS) -> Path:
    """A `tokenizer.json` with BERT's rules and few words, cut and filled up to 5 tokens as its file says."""
    vocab = {token: i for i, token in enumerate((*SPECIAL, *words))}
    made = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.add_special_tokens(list(SPECIAL))
    made.enable_padding(length=5)
    made.enable_truncation(5)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(made.to_str())
    return folder
