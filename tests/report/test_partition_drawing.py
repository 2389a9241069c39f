"""The picture of a partition: counts by hand, lengths that are square roots, nothing cut off."""

import io
import math

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from tiny import CLASSES, adapt, tiny_model

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.report.partition import KINDS, draw, parts

WIDTH = 16
BLOCK = 4 * (WIDTH * WIDTH + WIDTH) + 2 * 4 * WIDTH * WIDTH + 5 * WIDTH + 2 * 2 * WIDTH
HEAD = WIDTH * CLASSES + CLASSES


def widths(figure: Figure) -> dict[str, list[float]]:
    """Widths of the bars of each colour, without the lines under the headings."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    (axes,) = figure.axes
    colours = {matplotlib.colors.to_rgba(colour): kind for kind, colour in KINDS.items()}
    for bar in axes.patches:
        if bar.get_height() > 0.5:
            found[colours[bar.get_facecolor()]].append(bar.get_width())
    return found


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def png(figure: Figure) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def test_lora_keeps_blocks_and_adds_to_them() -> None:
    found = parts(adapt("lora", rank=2))
    assert list(found) == ["embed", "block_0", "block_1", "pool", "head"]
    adapters = 2 * (WIDTH * 2 + 2 * WIDTH)
    for block in ("block_0", "block_1"):
        assert (found[block].frozen, found[block].trained, found[block].new) == (BLOCK, 0, adapters)
    assert (found["head"].frozen, found["head"].trained, found["head"].new) == (0, HEAD, 0)
    assert found["embed"].trained == found["embed"].new == 0


@pytest.mark.parametrize("method", ["full", "vera", "fish", "prompt", "l2_sp"])
def test_no_parameter_is_lost_or_counted_twice(method: str) -> None:
    adapted = adapt(method)
    leaves = {key: leaf for key, leaf in adapted.abstract().items() if key in ("params", "adapters")}
    assert sum(part.of(*KINDS) for part in parts(adapted).values()) == tree.count(leaves)


def test_adapters_that_stay_as_they_are_drawn_are_frozen() -> None:
    found, rank = parts(adapt("vera", rank=24)), 24
    # Beside query and value of two blocks, vectors d [rank] and b [width] move; the matrices they share do not.
    assert sum(part.new for part in found.values()) == 2 * 2 * (rank + WIDTH)
    frozen = sum(part.frozen for part in found.values())
    assert frozen == tree.count(tiny_model().init(0)["params"]) - HEAD + 2 * rank * WIDTH


def test_leaves_outside_all_stages_have_a_row_of_their_own() -> None:
    found = parts(adapt("fish"))
    assert list(found)[-1] == "shared" and found["shared"].new > 0
    assert "shared" not in parts(adapt("lora"))


def test_phases_open_one_after_another() -> None:
    adapted = adapt("lp_ft")
    before, after = (parts(adapted, phase) for phase in (0, 1))
    assert before["block_0"].frozen == after["block_0"].trained == BLOCK
    assert before["head"].trained == after["head"].trained == HEAD
    assert before["block_0"].trained == after["block_0"].frozen == 0


def test_bars_are_as_long_as_square_roots() -> None:
    bars = widths(draw(adapt("lora", rank=2)))
    adapters = 2 * (WIDTH * 2 + 2 * WIDTH)
    assert len(bars["new"]) == 2 and len(bars["frozen"]) == 4 and len(bars["trained"]) == 1
    # The input is the first row.
    np.testing.assert_allclose(bars["new"][0] / bars["frozen"][1], math.sqrt(adapters / BLOCK), rtol=1e-6)
    np.testing.assert_allclose(bars["trained"][0] / bars["frozen"][1], math.sqrt(HEAD / BLOCK), rtol=1e-6)


def test_numbers_and_stages_are_written() -> None:
    figure = draw(adapt("lora", rank=2))
    assert {"3.28 k", "128", "51", "frozen", "trained", "new"} <= set(texts(figure))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["embed", "block_0", "block_1", "pool", "head"]
    said = [text.get_text() for text in figure.texts]
    assert said[0].startswith("lora on vit: ") and "parameters move" in said[0]


def test_every_phase_has_a_column_that_says_when_it_begins() -> None:
    figure = draw(adapt("lp_ft"))
    assert {"0 %", "50 %"} <= set(texts(figure))
    bars = widths(figure)
    assert len(bars["frozen"]) == 4 and len(bars["trained"]) == 1 + 5


@pytest.mark.parametrize(
    "adapted",
    [
        adapt("lora"),
        adapt("gradual", tiny_model(depth=9)),
        adapt("houlsby", tiny_model("resnet")),
        adapt("lp_ft", tiny_model("bert")),
    ],
    ids=lambda adapted: adapted.method,
)
def test_pictures_are_whole(adapted: Adapted) -> None:
    image = png(draw(adapted))
    width, height = image.size
    edges = [(0, 0, width, 3), (0, height - 3, width, height), (0, 0, 3, height), (width - 3, 0, width, height)]
    assert all(image.crop(edge).getextrema() == ((255, 255),) * 3 for edge in edges)
    assert image.getcolors(1 << 20)


def test_what_is_tiny_can_still_be_seen() -> None:
    thinnest = min(min(widths(draw(adapt("ia3", tiny_model(width=256))))[kind]) for kind in ("new", "trained"))
    assert thinnest >= 0.02


def test_it_draws_where_it_is_told() -> None:
    figure = Figure(figsize=(8, 3))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    assert draw(adapt("lora"), right) is figure
    assert not left.patches and right.patches
    assert max(bar.get_x() + bar.get_width() for bar in right.patches) <= right.get_xlim()[1] + 1e-9


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    draw(adapt("lora"))
    assert dict(matplotlib.rcParams) == before
