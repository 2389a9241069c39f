"""What a model is given: pictures before and after preprocessing, or texts with their token ids.

Shapes: R rows of the sheet, K draws of each, H rows, W columns, C channels.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlx.data.text import Tokenizer
from tlx.report import wording
from tlx.report.canvas import FAINT, INK, WIDTH, canvas, headline, place_axes, shorten, text_width

PIPE_WIDTH = 110  # columns when the output is a file or a pipe
# Inches.
GAP, TOP, HEADING, EDGE, LARGEST = 0.06, 0.6, 0.2, 0.12, 1.2
_COLOURS = 3
_LONGEST_LABEL = 18


def draw(
    raw: Sequence[np.ndarray],
    draws_RKHWC: np.ndarray,
    labels: Sequence[str],
    title: str,
    low: float = -1.0,
    high: float = 1.0,
    headings: Sequence[str] = (),
) -> Figure:
    """A contact sheet: a row for each example, the picture as it is stored, then draws of what a model gets.

    Args:
      raw: R pictures, uint8 [H, W, C] each, perhaps of several sizes.
      draws_RKHWC: K preprocessed versions of each: uint8, or numbers.
      labels: what stands before each row, e.g. its class.
      title: e.g. the data set and the ops.
      low: the number that is shown as black; not used for bytes.
      high: the number that is shown as white.
      headings: of the 1 + K columns, or none for `stored`, `draw 1`, ...

    Returns:
      The figure. Its small print gives the range of the numbers and the share that lies outside `low` to `high`, and
      is cut off in the picture: a picture alone does not show that it was normalised twice.

    Raises:
      ValueError: the three are not equally many, or there are none.
    """
    rows, count = draws_RKHWC.shape[:2]
    if not rows == len(raw) == len(labels) or not rows or not count:
        raise ValueError(f"expected as many pictures, draws and labels, got {len(raw)}, {rows} and {len(labels)}")
    headings = headings or ("stored", *(f"draw {k + 1}" for k in range(count)))
    with canvas(WIDTH, 1.0) as figure:
        names = [shorten(label, _LONGEST_LABEL) for label in labels]
        left = EDGE + text_width(figure, names) + 0.08
        side = min(LARGEST, (WIDTH - left - EDGE) / (count + 1) - GAP)
        figure.set_figheight(TOP + HEADING + rows * (side + GAP) + EDGE)
        headline(figure, shorten(title, 64), _says(draws_RKHWC, low, high))
        for r, name in enumerate(names):
            y = TOP + HEADING + r * (side + GAP)
            for k, picture in enumerate((raw[r], *draws_RKHWC[r])):
                heading = headings[k] if r == 0 else ""
                _picture(figure, _pixels(picture, low, high), left + k * (side + GAP), y, side, heading)
            _words(figure, name, left - 0.08, y + side / 2)
        return figure


def _says(draws_RKHWC: np.ndarray, low: float, high: float) -> str:
    size = "×".join(map(str, draws_RKHWC.shape[2:]))
    if draws_RKHWC.dtype == np.uint8:
        return f"{size} bytes from {draws_RKHWC.min()} to {draws_RKHWC.max()}"
    finite = np.isfinite(draws_RKHWC)
    numbers = draws_RKHWC[finite]
    span = f"from {numbers.min():.3g} to {numbers.max():.3g}" if len(numbers) else "none of them finite"
    # Resampling overshoots by rounding errors, which nobody wants to hear of.
    room = 1e-4 * (high - low)
    outside = float(np.mean(~finite | (draws_RKHWC < low - room) | (draws_RKHWC > high + room)))
    says = f"{size} numbers {span}, shown from {low:g} to {high:g}"
    return f"{says}; {wording.percent(outside)} lie outside" if outside else says


def _pixels(picture_HWC: np.ndarray, low: float, high: float) -> np.ndarray:
    """Colours from 0 to 1; what is neither gray nor colours is shown by its first channel."""
    if picture_HWC.dtype == np.uint8:
        low, high = 0.0, 255.0
    shown = np.nan_to_num((picture_HWC.astype(np.float64) - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    channels = shown.shape[-1]
    colours = shown[..., :_COLOURS] if channels >= _COLOURS else np.repeat(shown[..., :1], _COLOURS, axis=-1)
    return np.clip(colours, 0.0, 1.0)


def _picture(figure: Figure, pixel_HWC: np.ndarray, x: float, y: float, side: float, heading: str) -> None:
    """One picture in a square; x and y are in inches from the upper left corner."""
    wide, tall = figure.get_figwidth(), figure.get_figheight()
    axes = place_axes(figure, x, wide - x - side, tall - y - side, y)
    axes.imshow(pixel_HWC, interpolation="nearest", aspect="equal")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=FAINT, linewidth=0.4)
    if heading:
        figure.text((x + side / 2) / wide, 1 - (y - 0.05) / tall, heading, ha="center", fontsize=8, color=FAINT)


def _words(figure: Figure, text: str, right: float, y: float) -> None:
    wide, tall = figure.get_figwidth(), figure.get_figheight()
    figure.text(right / wide, 1 - y / tall, text, ha="right", va="center", fontsize=9, color=INK)


@dataclass(frozen=True)
class SampleText:
    """A text and what a model is given of it.

    Args:
      text: as it is stored.
      label: its class or score, in words.
      tokens: the tokenizer's, padding left out.
      ids: as many token ids.
      padding: tokens that fill it up.
      cut: tokens that it was longer than what a model is given.
    """

    text: str
    label: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    padding: int
    cut: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"tokens": list(self.tokens), "ids": list(self.ids)}


def sample_texts(texts: Sequence[str], labels: Sequence[str], tokenize: Tokenizer) -> list[SampleText]:
    """Texts through a tokenizer, as training sees them.

    Args:
      texts: some of a split.
      labels: their classes or scores, in words.
      tokenize: what a study would use.
    """
    encodings = tokenize.encoder.encode_batch(list(texts))
    samples = []
    for text, label, id_T, encoding in zip(texts, labels, tokenize(texts).tolist(), encodings, strict=True):
        ids = id_T[: len(encoding.ids)]
        tokens = tuple(str(tokenize.encoder.id_to_token(i)) for i in ids)
        # What was cut off comes in further pieces, each with the marks of a text's beginning and end.
        cut = sum(mask == 0 for part in encoding.overflowing for mask in part.special_tokens_mask)
        samples.append(SampleText(text, label, tokens, tuple(ids), len(id_T) - len(ids), cut))
    return samples


def show_texts(samples: Sequence[SampleText], title: str) -> None:
    """Print texts with their tokens.

    Args:
      samples: from `sample_texts`.
      title: e.g. the data set and the tokenizer.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(texts_table(samples, title))


def texts_table(samples: Sequence[SampleText], title: str) -> Table:
    """Texts with their tokens, each with its id, as a table of at most 110 columns.

    Args:
      samples: from `sample_texts`.
      title: e.g. the data set and the tokenizer.

    Returns:
      For `rich.console.Console.print`.
    """
    made = Table(
        title=Text(title, style="bold"),
        caption="Under each token stands its id.",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_lines=True,
    )
    for heading, width in (("Label", 12), ("Text", 34), ("Tokens", 58)):
        made.add_column(heading, overflow="fold", width=width)
    for sample in samples:
        made.add_row(Text(sample.label), Text(sample.text), _pieces(sample))
    return made


def _pieces(sample: SampleText) -> Text:
    """Tokens with their ids below them, broken into lines together."""
    lines: list[tuple[str, str]] = [("", "")]
    for token, number in zip(sample.tokens, sample.ids, strict=True):
        size = max(len(token), len(str(number)))
        if lines[-1][0] and len(lines[-1][0]) + size > 57:
            lines.append(("", ""))
        upper, lower = lines[-1]
        lines[-1] = (f"{upper}{token:<{size}} ", f"{lower}{number:<{size}} ")
    made = Text()
    for upper, lower in lines:
        made.append(f"{upper.rstrip()}\n").append(f"{lower.rstrip()}\n", style="dim")
    left = [f"{sample.padding} of padding"] if sample.padding else []
    left += [f"{sample.cut} cut off"] if sample.cut else []
    made.append(", ".join(left), style="yellow" if sample.cut else "dim")
    return made
