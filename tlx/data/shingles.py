"""Texts that share most of their word sequences, found through the rarest of these."""

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tlx.errors import TlxError

WORDS = 2  # of a shingle; with more, one changed word makes two sentences strangers


def normal_form(text: str) -> str:
    """A text without what does not change its wording: case, accents' spelling, punctuation, spaces.

    Args:
      text: any.

    Returns:
      Its letters, digits and other marks of words in small letters, single spaces between words.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    # An apostrophe is dropped, other punctuation parts words: "don't" is one word, "well-made" two.
    kept = (" " if unicodedata.category(c)[0] in "PZC" else c for c in folded if c not in "'’")
    return " ".join("".join(kept).split())


def shingles(normal: str) -> frozenset[str]:
    """The sequences of two words of a text; of a text of one word, the word.

    Args:
      normal: from `normal_form`.

    Returns:
      None for an empty text.

    Source: Broder (1997), section 2, with two words in place of ten as our texts are short.
    """
    words = normal.split()
    if not words:
        return frozenset()
    count = max(1, len(words) - WORDS + 1)
    return frozenset(" ".join(words[i : i + WORDS]) for i in range(count))


def near_pairs(
    ours: Sequence[frozenset[str]], theirs: Sequence[frozenset[str]], least: float
) -> Iterator[tuple[int, int, float]]:
    """Pairs of sets whose Jaccard similarity is high enough, none left out.

    Two sets of which neither has a common element among its rarest few cannot be similar enough, so only those few are
    looked up.

    Args:
      ours: sets of shingles; an empty one is similar to none.
      theirs: the same.
      least: smallest similarity, above 0 and up to 1.

    Yields:
      Position in ours, position in theirs and 1 - similarity, by rising positions.

    Raises:
      TlxError: the similarity is out of range.

    Source: Chaudhuri, Ganti and Kaushik (2006), section 4.1, and Bayardo, Ma and Srikant (2007): prefix filtering.
    """
    if not 0 < least <= 1:
        raise TlxError(f"similarity {least:g}: expected above 0 and up to 1")
    counts = Counter(shingle for group in (ours, theirs) for each in group for shingle in each)
    index: defaultdict[str, list[int]] = defaultdict(list)
    for b, each in enumerate(theirs):
        for shingle in _rarest(each, counts, least):
            index[shingle].append(b)
    for a, each in enumerate(ours):
        candidates = {b for shingle in _rarest(each, counts, least) for b in index.get(shingle, ())}
        for b in sorted(candidates):
            common = len(each & theirs[b])
            similarity = common / (len(each) + len(theirs[b]) - common)
            if similarity >= least:
                yield a, b, 1 - similarity


def _rarest(each: frozenset[str], counts: Counter[str], least: float) -> list[str]:
    """So many of a set that those left are too few to reach the similarity."""
    # Rounding may make a product an integer's neighbour: one element more costs little, one less would lose pairs.
    needed = max(1, math.ceil(least * len(each) - 1e-9))
    return sorted(each, key=lambda shingle: (counts[shingle], shingle))[: len(each) - needed + 1]
