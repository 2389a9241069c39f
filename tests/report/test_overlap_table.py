"""What two sets have in common, told: the answer first, counts, and the closest pairs to be looked at."""

import io

import numpy as np
import pytest
from rich.console import Console, RenderableType

from tlx.data.overlap import Found, Overlap, image_overlap, image_prints, text_overlap
from tlx.report.overlap import closest, counts, draw, sentence, show

OURS = ("It was [bold]fine[/bold], really", "so dull", "nothing alike here")
THEIRS = ("it was bold fine bold, really!", "So dull...", "so dull", "an essay")
NONE = Found(0, 0, 0, ())


@pytest.fixture
def found() -> Overlap:
    return text_overlap(OURS, THEIRS)


def lines(what: RenderableType) -> list[str]:
    console = Console(width=110, file=io.StringIO())
    with console.capture() as printed:
        console.print(what)
    return [line.strip() for line in printed.get().splitlines()]


def test_the_answer(found: Overlap) -> None:
    assert (
        sentence(found, "reviews", "tweets")
        == "3 of 4 examples of tweets (75 %) look like some of reviews, 3 of them equal."
    )
    near = Overlap((5, 2000), NONE, Found(3, 1, 3, ()), 8)
    assert sentence(near, "a", "b") == "3 of 2,000 examples of b (0.15 %) look like some of a, none of them equal."
    assert sentence(Overlap((5, 2000), NONE, NONE, 8), "a", "b") == "b shares nothing with a."


def test_counts_of_pairs_and_examples(found: Overlap) -> None:
    text = lines(counts(found, "reviews", "tweets"))
    assert text[1].split("  ")[0] == "Pairs"
    assert text[1].endswith("of 3 in reviews   of 4 in tweets")
    assert [line.split() for line in text if line.startswith(("equal", "near"))] == [
        ["equal", "3", "2", "3"],
        ["near", "3", "2", "3"],
    ]


def test_pairs_with_their_texts(found: Overlap) -> None:
    text = lines(closest(found, "reviews", "tweets", lambda pair: (OURS[pair.ours], THEIRS[pair.theirs]), most=2))
    assert any("0 It was [bold]fine[/bold], really" in line for line in text)
    assert text[-1] == "The closest 2 of 3 pairs, by their positions."
    assert lines(closest(found, "reviews", "tweets"))[-1] == "All pairs."


def test_pairs_of_images_side_by_side() -> None:
    image_NHWC = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    near = image_overlap(image_prints([image_NHWC]), image_prints([image_NHWC[::-1]]))
    firsts = [image_NHWC[pair.ours] for pair in near.near.closest]
    seconds = np.stack([image_NHWC[::-1][pair.theirs] for pair in near.near.closest])
    figure = draw(near, firsts, seconds, "a | b")
    pictures = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert len(pictures) == 6
    for ours, theirs in zip(pictures[::2], pictures[1::2], strict=True):
        assert np.array_equal(ours, theirs)
    assert {"0 | 2", "1 | 1", "2 | 0", "first", "second"} <= {text.get_text() for text in figure.texts}


def test_printing(found: Overlap, capsys: pytest.CaptureFixture[str]) -> None:
    show(found, "reviews", "tweets")
    text = capsys.readouterr().out
    assert text.startswith("3 of 4 examples of tweets")
    assert max(map(len, text.splitlines())) <= 110
