"""The four text domains, made from an archive of made-up sentences: labels, splits, order, and what is refused."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentences import Row, pack, rows, trusted, write_archive, write_tokenizer

from tlx.data.builders import hutto
from tlx.data.builders.sentiment4 import DOMAINS
from tlx.data.describe import describe, is_text
from tlx.data.pipeline import digest, load_arrays, stream
from tlx.data.source import open_split, prepare, shared_examples
from tlx.data.text import Tokenizer, load_tokenizer
from tlx.errors import FileError, TlxError

NAMES = [f"sentiment4/{name}" for name in DOMAINS]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all four domains in it."""
    folder = tmp_path_factory.mktemp("texts")
    with trusted(write_archive(folder)):
        for name in NAMES:
            prepare(name, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(write_tokenizer(tmp_path_factory.mktemp("tokenizer")), 16)


def examples(name: str, split: str, data_dir: Path) -> list[dict[str, Any]]:
    source = open_split(name, split, data_dir)
    found: list[dict[str, Any]] = source.__getitems__(list(range(len(source))))
    return found


def prepared(folder: Path, domains: dict[str, list[Row]]) -> Path:
    with trusted(write_archive(folder, domains)):
        prepare(f"sentiment4/{next(iter(domains))}", folder)
    return folder


def test_each_domain_has_a_folder_and_the_archive_stays(made: Path) -> None:
    assert sorted(os.listdir(made)) == ["downloads", "sentiment4"]
    assert sorted(os.listdir(made / "sentiment4")) == sorted(DOMAINS)
    for name in NAMES:
        assert (made / name / "1.0.0" / "dataset_info.json").is_file()


def test_labels_are_the_signs_of_the_scores(made: Path) -> None:
    for seed, name in enumerate(NAMES):
        every = [*examples(name, "train", made), *examples(name, "test", made)]
        rated = {text: score for _, score, text in rows(seed) if score}
        assert {e["text"].decode(): e["score"] for e in every} == pytest.approx(rated)
        assert len(every) == len(rated) == 54
        assert all(e["label"] == (e["score"] > 0) for e in every)


def test_scores_are_from_minus_4_to_4(made: Path, tmp_path: Path) -> None:
    for name in NAMES:
        score_N = np.array([e["score"] for e in examples(name, "train", made) + examples(name, "test", made)])
        assert -4 <= score_N.min() < -3 and 3 < score_N.max() <= 4 and np.all(score_N != 0)
    edges: list[Row] = [("1", -4.0, "worst"), ("2", 4.0, "best"), ("3", 0.0, "neither"), ("4", 0.05, "hardly")]
    folder = prepared(tmp_path, {"tweets": edges})
    found = examples(NAMES[0], "train+test", folder)
    assert {e["text"].decode(): (e["label"], e["score"]) for e in found} == {
        "worst": (0, -4.0),
        "best": (1, 4.0),
        "hardly": (1, np.float32(0.05)),
    }


@pytest.mark.parametrize("score", ["4.01", "-5", "nan", "inf"])
def test_a_score_out_of_range_is_refused(tmp_path: Path, score: str) -> None:
    row: Row = ("1", score, "beyond")  # type: ignore[assignment]
    with pytest.raises(FileError, match=rf"or is damaged \(score {float(score)} is not from -4 to 4\); delete it"):
        prepared(tmp_path, {"movies": [row]})


def test_reviews_are_not_parted(made: Path) -> None:
    review = {text: key.split("_")[0] for key, _, text in rows(2)}
    train, test = ({review[e["text"].decode()] for e in examples(NAMES[2], s, made)} for s in ("train", "test"))
    assert not train & test
    assert len(test) == 4
    assert shared_examples(NAMES[2], "train", "test", made) == 0


def test_the_order_is_the_same_everywhere(made: Path, tmp_path: Path) -> None:
    again = prepared(tmp_path, {"movies": rows(1)})
    for split in ("train", "test"):
        assert examples(NAMES[1], split, again) == examples(NAMES[1], split, made)


def test_token_ids_and_their_digest(made: Path, tokenizer: Tokenizer) -> None:
    arrays = load_arrays(NAMES[0], "train", made, tokenizer)
    found = examples(NAMES[0], "train", made)
    assert (arrays.name, arrays.num_classes, arrays.tokenizer) == ("sentiment4/tweets", 2, tokenizer.digest)
    assert arrays.input_N.dtype == np.int32
    assert np.array_equal(arrays.input_N, tokenizer([e["text"].decode() for e in found]))
    assert arrays.label_N.tolist() == [e["label"] for e in found]
    head = f"tokens ({len(found)}, 16)".encode()
    content = head + arrays.input_N.astype("<i4").tobytes() + arrays.label_N.astype("<i4").tobytes()
    assert arrays.digest == hashlib.sha256(content).hexdigest()


def test_the_digest_of_ids_is_no_digest_of_pixels() -> None:
    id_NT, label_N = np.arange(6, dtype=np.int32).reshape(2, 3), np.array([0, 1])
    pixels = id_NT.astype("<i4").view(np.uint8).reshape(2, 3, 4, 1)
    assert digest(id_NT, label_N) != digest(pixels, label_N)
    assert digest(id_NT, label_N) != digest(id_NT.reshape(3, 2), label_N)
    with pytest.raises(TypeError, match="expected uint8 pixels or int32 token ids, got int64"):
        digest(id_NT.astype(np.int64), label_N)


def test_the_stream_equals_the_resident_arrays(made: Path, tokenizer: Tokenizer) -> None:
    resident = load_arrays(NAMES[3], "train", made, tokenizer)
    source = open_split(NAMES[3], "train", made)
    batches = list(stream(source, lambda step: np.arange(step, step + 4), 2, 9, 4, tokenizer))
    for step, batch in enumerate(batches, 2):
        assert np.array_equal(batch["input"], resident.input_N[step : step + 4])
        assert np.array_equal(batch["label"], resident.label_N[step : step + 4])


def test_texts_need_a_tokenizer_and_images_ignore_it(made: Path, data_dir: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(TlxError, match=r"^dataset sentiment4/tweets is of texts, which need a tokenizer$"):
        load_arrays(NAMES[0], "train", made)
    plain, same = (load_arrays("digits", "train[:9]", data_dir, *given) for given in ((), (tokenizer,)))
    assert (same.digest, same.tokenizer) == (plain.digest, "")


def test_a_text_that_is_none(made: Path, tokenizer: Tokenizer) -> None:
    class Fake:
        def __init__(self, source: Any) -> None:
            self.dataset_info, self.split, self.source = source.dataset_info, source.split, source

        def __getitems__(self, positions: list[int]) -> list[dict[str, Any]]:
            found = self.source.__getitems__(positions)
            return [e | ({"text": b"\xff"} if i == 2 else {}) for i, e in zip(positions, found, strict=True)]

    with pytest.raises(FileError, match=r"sentiment4/tweets train, example 2 is damaged \('utf-8' codec"):
        list(stream(Fake(open_split(NAMES[0], "train", made)), lambda step: np.arange(4), 0, 1, 1, tokenizer))


def test_what_is_known_before_it_is_prepared(tmp_path: Path) -> None:
    assert describe("sentiment4/products", tmp_path, 48) == ((48,), 2)
    assert describe("digits", tmp_path, 48) == ((28, 28, 1), 10)
    assert is_text("sentiment4/products", tmp_path) and not is_text("digits", tmp_path)
    assert not list(tmp_path.iterdir())
    for call in (lambda: is_text("sentiment4", tmp_path), lambda: prepare("sentiment4/tweet", tmp_path)):
        with pytest.raises(TlxError, match=r"there is no such dataset \(did you mean 'sentiment4/\w+'\?\)"):
            call()


def test_another_archive_is_refused(tmp_path: Path) -> None:
    found = write_archive(tmp_path)
    line = rf"hutto_ICWSM_2014\.tar\.gz in it has SHA-256 {found}, expected {hutto.SHA256}; delete it"
    with pytest.raises(FileError, match=rf"vaderSentiment-3\.3\.2\.tar\.gz: {line}"):
        prepare("sentiment4/tweets", tmp_path)
    assert [path.parent.name for path in tmp_path.rglob("*") if path.is_file()] == ["downloads"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "opened"),
        (b"\x1f\x8b rubbish", "."),
        (pack({"other-1.0/PKG-INFO": b""}), "not found"),
        (pack({"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": b""})[:60], "."),
    ],
    # Archives hold the second they were made in.
    ids=["empty", "no archive", "another archive", "cut short"],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    write_archive(tmp_path)
    (tmp_path / "downloads" / "vaderSentiment-3.3.2.tar.gz").write_bytes(content)
    line = rf"tar\.gz: is not the source of vaderSentiment 3\.3\.2, or is damaged \(.*{reason}.*\); delete it, and it"
    with pytest.raises(FileError, match=line) as caught:
        prepare("sentiment4/movies", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", ["1_1\t0.5", "1_1\thigh\tfine", "1_1\t0.5\ta\tb"])
def test_a_line_that_is_no_sentence(tmp_path: Path, row: str) -> None:
    inner = pack({"hutto_ICWSM_2014/tweets_GroundTruth.txt": row.encode()})
    name = f"vaderSentiment-3.3.2/additional_resources/{hutto.INNER}"
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(pack({name: inner}))
    with trusted(hashlib.sha256(inner).hexdigest()), pytest.raises(FileError, match="or is damaged"):
        hutto.read(path, "tweets")
