"""The contact sheet: every picture where it belongs, numbers that show what the eye misses; texts with their ids."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from sentences import write_tokenizer

from tlx.data.text import Tokenizer, load_tokenizer
from tlx.report.contact import SampleText, draw, sample_texts, texts_table

RAW = [np.full((6, 8, 1), value, np.uint8) for value in (0, 200)]
LABELS = ("cat", "dog")


def images(figure: Figure) -> list[np.ndarray]:
    """The pixels of every picture, row by row."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_a_row_for_each_example_the_stored_one_first() -> None:
    draws = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3, 1, 1, 1) * np.ones((4, 4, 3), np.float32)
    figure = draw(RAW, draws, LABELS, "pets: crop, flip")
    found = images(figure)
    assert [image.shape for image in found] == [(6, 8, 3), *[(4, 4, 3)] * 3] * 2
    np.testing.assert_allclose([image.mean() for image in found], [0, 0, 0.2, 0.4, 200 / 255, 0.6, 0.8, 1], atol=1e-6)
    for text in (
        *LABELS,
        "stored",
        "draw 1",
        "draw 3",
        "pets: crop, flip",
        "4×4×3 numbers from -1 to 1, shown from -1 to 1",
    ):
        assert text in words(figure)


def test_rows_and_columns_are_on_a_grid() -> None:
    figure = draw([raw[:, :6] for raw in RAW], np.zeros((2, 3, 4, 4, 1), np.uint8), LABELS, "")
    boxes = np.array([axes.get_position().bounds for axes in figure.axes]).reshape(2, 4, 4)
    assert np.all(np.diff(boxes[:, :, 0], axis=1) > boxes[0, 0, 2])
    assert np.all(boxes[0, :, 1] > boxes[1, :, 1] + boxes[1, :, 3])
    assert np.all(boxes[..., :2] > 0)
    assert np.all(boxes[..., :2] + boxes[..., 2:] < 1)
    sides = boxes[..., 2:] * (figure.get_figwidth(), figure.get_figheight())
    np.testing.assert_allclose(sides, sides[0, 0, 0], rtol=1e-6)


def test_nothing_is_cut_off_however_long_the_names() -> None:
    figure = draw(RAW, np.zeros((2, 8, 4, 4, 1), np.uint8), ("a" * 60, "b"), "c" * 200)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    pixel_HWC = np.asarray(Image.open(file).convert("RGB"))
    for edge in (pixel_HWC[0], pixel_HWC[-1], pixel_HWC[:, 0], pixel_HWC[:, -1]):
        assert np.all(edge == 255)


@pytest.mark.parametrize(
    ("draws", "says"),
    [
        (np.full((1, 1, 2, 2, 1), 7, np.uint8), "2×2×1 bytes from 7 to 7"),
        (np.full((1, 1, 2, 2, 1), -1.00001, np.float32), "2×2×1 numbers from -1 to -1, shown from -1 to 1"),
        # Normalised twice: all of it would look black.
        (np.full((1, 1, 2, 2, 1), -1.008), "2×2×1 numbers from -1.01 to -1.01, shown from -1 to 1; 100 % lie outside"),
        (
            np.array([0, 0, np.nan, 3.0]).reshape(1, 1, 2, 2, 1),
            "2×2×1 numbers from 0 to 3, shown from -1 to 1; 50 % lie outside",
        ),
        (
            np.full((1, 1, 2, 2, 1), np.inf),
            "2×2×1 numbers none of them finite, shown from -1 to 1; 100 % lie outside",
        ),
    ],
)
def test_the_small_print_gives_the_range(draws: np.ndarray, says: str) -> None:
    figure = draw(RAW[:1], draws, LABELS[:1], "")
    assert says in words(figure)
    assert all(np.all((image >= 0) & (image <= 1)) for image in images(figure))


def test_the_range_may_be_another() -> None:
    figure = draw(RAW[:1], np.full((1, 1, 2, 2, 1), 0.5), LABELS[:1], "", low=0.0, high=2.0)
    np.testing.assert_allclose(images(figure)[1], 0.25)


def test_counts_that_do_not_agree() -> None:
    with pytest.raises(ValueError, match="^expected as many pictures, draws and labels, got 2, 1 and 2$"):
        draw(RAW, np.zeros((1, 3, 4, 4, 1), np.uint8), LABELS, "")


@pytest.fixture
def tokenize(tmp_path: Path) -> Tokenizer:
    return load_tokenizer(write_tokenizer(tmp_path / "mine"), 8)


def test_texts_with_tokens_padding_and_what_was_cut(tokenize: Tokenizer) -> None:
    texts = ("The film was lovely", "The film, the plot, the cast and the song")
    short, long = sample_texts(texts, ("positive", "negative"), tokenize)
    assert short.tokens == ("[CLS]", "the", "film", "was", "lovely", "[SEP]")
    assert list(short.ids) == tokenize(texts)[0].tolist()[:6]
    assert (short.padding, short.cut, short.label) == (2, 0, "positive")
    assert len(long.tokens) == len(long.ids) == 8
    assert long.tokens[-1] == "[SEP]"
    # Eleven words and marks between the two at the ends, six of which fit.
    assert (long.padding, long.cut) == (0, 5)
    assert short.as_dict() == {
        "text": texts[0],
        "label": "positive",
        "tokens": list(short.tokens),
        "ids": list(short.ids),
        "padding": 2,
        "cut": 0,
    }


def test_tokens_stand_above_their_ids_on_a_page_of_any_length() -> None:
    tokens = tuple(f"token{i}" for i in range(30))
    sample = SampleText("[bold]Words[/bold] " * 12, "fine", tokens, tuple(range(100, 130)), 3, 7)
    console = Console(width=110, file=io.StringIO())
    with console.capture() as printed:
        console.print(texts_table([sample], "sentiment4/tweets"))
    lines = printed.get().splitlines()
    assert max(map(len, lines)) <= 110
    for i in range(30):
        (row,) = [n for n, line in enumerate(lines) if f" token{i} " in f" {line} "]
        assert lines[row + 1][lines[row].index(f"token{i}") :].startswith(str(100 + i))
    assert any("3 of padding, 7 cut off" in line for line in lines)
    assert "[bold]Words[/bold]" in lines[4]
