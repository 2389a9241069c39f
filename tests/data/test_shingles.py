"""Near texts: what is dropped from the wording, and the same pairs as by comparing all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.data.shingles import near_pairs, normal_form, shingles
from tlx.errors import TlxError

sets = st.lists(st.frozensets(st.sampled_from("abcdefgh"), max_size=6), max_size=10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The film -- was LOVELY!!!", "the film was lovely"),
        ("Don't, don’t", "dont dont"),
        ("well-made\t(2,000 times)\n", "well made 2 000 times"),
        ("ﬁne ＡＢＣ Straße", "fine abc strasse"),
        ("caf\u0065\u0301", "café"),
        ("a\u200bb 片 c++ :)", "a b 片 c++"),
        ("... ?!", ""),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normal_form(text) == expected
    assert normal_form(expected) == expected


def test_shingles_are_pairs_of_words() -> None:
    assert shingles("a b c b c") == {"a b", "b c", "c b"}
    assert shingles("lovely") == {"lovely"}
    assert shingles("") == frozenset()


@settings(max_examples=200, deadline=None)
@given(ours=sets, theirs=sets, least=st.sampled_from([0.01, 0.25, 1 / 3, 0.5, 0.6, 2 / 3, 0.75, 0.8, 1.0]))
def test_the_same_pairs_as_by_comparing_all(
    ours: list[frozenset[str]], theirs: list[frozenset[str]], least: float
) -> None:
    every = [(a, b, len(x & y) / len(x | y)) for a, x in enumerate(ours) for b, y in enumerate(theirs) if x | y]
    expected = [(a, b, 1 - similarity) for a, b, similarity in every if similarity >= least]
    assert list(near_pairs(ours, theirs, least)) == expected


@pytest.mark.parametrize("least", [0.0, -0.5, 1.5])
def test_similarities_that_are_not_looked_for(least: float) -> None:
    with pytest.raises(TlxError, match=f"^similarity {least:g}: expected above 0 and up to 1$"):
        list(near_pairs([], [], least))
