"""What all figures share: their look, a colour for each entry, and how they become bytes."""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tlx.report.summary import Row

INK, FAINT, RULE = "#1a1a1a", "#666666", "#dddddd"
DPI = 200
WIDTH = 5.8  # inches: on a phone's screen the letters stay readable
LINE = 0.2  # inches from one line of text to the next
_LOOK = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a `$` in a name is a dollar
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "svg.fonttype": "path",
}
# Okabe and Ito 2008 without yellow, which white paper swallows, then two of Tol 2021; black and grey are the
# random starts.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_LAPS = ("-", "-.", ":")  # a ninth entry has the first one's colour


@dataclass(frozen=True)
class Mark:
    """How one entry is drawn in every figure."""

    colour: str
    marker: str
    dash: str


@dataclass(frozen=True)
class Picture:
    """A finished figure.

    Args:
      name: file name without suffix.
      alt: what it shows, for those who cannot see it.
      svg: an SVG document.
      png: the same as PNG.
    """

    name: str
    alt: str
    svg: str
    png: bytes


Palette = Mapping[tuple[str, str], Mark]


def palette(rows: Iterable[Row]) -> Palette:
    """A mark for each arm and entry; give the rows of the whole study, so that all figures agree."""
    random = {"scratch": Mark("#000000", "o", "--"), "random-frozen": Mark("#8a8a8a", "o", "--")}
    made = {}
    turn = 0
    for arm, entry in dict.fromkeys((row.arm, row.entry) for row in rows):
        made[arm, entry] = random.get(arm) or _transfer_mark(turn)
        turn += arm == "transfer"
    return made


def _transfer_mark(turn: int) -> Mark:
    lap, place = divmod(turn, len(_COLOURS))
    return Mark(_COLOURS[place], _MARKERS[place], _LAPS[lap % len(_LAPS)])


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """A white figure in the common look, untouched by the user's matplotlib settings.

    Args:
      width: inches.
      height: inches.
    """
    with style.context(["default", _LOOK]):
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        yield figure


def place_axes(figure: Figure, left: float, right: float, bottom: float, top: float) -> Axes:
    """Axes inside margins given in inches."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    wide, tall = 1 - (left + right) / width, 1 - (bottom + top) / height
    return figure.add_axes((left / width, bottom / height, wide, tall))


def text_width(figure: Figure, texts: Iterable[str]) -> float:
    """The width that the longest text needs at 9 points bold, in inches."""
    widest = 0.0
    for text in texts:
        drawn = figure.text(0, 0, text, fontsize=9.0, fontweight="bold")
        widest = max(widest, drawn.get_window_extent().width / figure.dpi)
        drawn.remove()
    return widest


def headline(figure: Figure, title: str, subtitle: str) -> None:
    """A title and a line of small print below it, at the top left."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    figure.text(0.12 / width, 1 - 0.1 / height, title, fontsize=11, fontweight="bold", va="top")
    figure.text(0.12 / width, 1 - 0.32 / height, subtitle, fontsize=8.5, color=FAINT, va="top")


def shorten(name: str, most: int = 26) -> str:
    """A name that cannot push everything else off the paper."""
    return name if len(name) <= most else name[: most - 1] + "…"


def svg_and_png(figure: Figure, name: str) -> tuple[str, bytes]:
    """The figure as SVG and PNG: the same bytes for the same drawing, with no date and no version in them."""
    blank = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    svg, png = io.StringIO(), io.BytesIO()
    with style.context({"svg.hashsalt": name}):
        figure.savefig(svg, format="svg", metadata=blank)
    figure.savefig(png, format="png", metadata={"Software": None})
    return svg.getvalue(), png.getvalue()
