import io
import xml.etree.ElementTree as ET
from collections.abc import Callable
from types import SimpleNamespace

import matplotlib
import pytest
from PIL import Image

from tlx.report import Comparison, comparisons, summarise
from tlx.report.canvas import Picture, palette
from tlx.report.figures import gain_bars, label_curves

Draw = Callable[[Comparison], Picture]
NAMES = ("full", "lora", "probe", "bitfit", "ia3", "a-method-with-a-really-long-name", "lp-ft", "adapter", "ninth")


def comparison(make: SimpleNamespace, entries: int, budgets: tuple[int, ...], seeds: int = 3) -> Comparison:
    records = make.simulated(dict.fromkeys(NAMES[:entries], 0.1), budgets, seeds)
    (made,) = comparisons(summarise(records, make.study(records).manifest, {}))
    return made


def ink_at_the_edge(png: bytes) -> bool:
    """Whether anything touches the border, as what is cut off would."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    width, height = image.size
    edges = [(0, 0, width, 3), (0, height - 3, width, height), (0, 0, 3, height), (width - 3, 0, width, height)]
    return any(image.crop(edge).getextrema() != ((255, 255),) * 3 for edge in edges)


@pytest.mark.parametrize("budgets", [(20,), (20, 100, 500), (1, 2, 3, 4, 5, 100000)])
@pytest.mark.parametrize("entries", [0, 1, 3, 9])
@pytest.mark.parametrize("draw", [label_curves, gain_bars])
def test_pictures_are_whole(make: SimpleNamespace, draw: Draw, entries: int, budgets: tuple[int, ...]) -> None:
    picture = draw(comparison(make, entries, budgets))
    image = Image.open(io.BytesIO(picture.png))
    assert image.format == "PNG" and image.width == 1160 and 300 <= image.height <= 6000
    assert not ink_at_the_edge(picture.png)
    root = ET.fromstring(picture.svg)
    assert root.attrib["viewBox"].split()[2] == "417.6"  # points: 5.8 inches


@pytest.mark.parametrize("draw", [label_curves, gain_bars])
def test_the_same_rows_give_the_same_bytes(make: SimpleNamespace, draw: Draw) -> None:
    made = comparison(make, 3, (20, 100))
    first = draw(made)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": None}):
        second = draw(made)
    assert first == second
    assert "2.0" not in first.svg.split("<svg")[0] and "dc:date" not in first.svg


def test_drawing_leaves_matplotlib_as_it_was(make: SimpleNamespace) -> None:
    before = dict(matplotlib.rcParams)
    label_curves(comparison(make, 1, (20, 100)))
    assert dict(matplotlib.rcParams) == before


def test_pictures_say_what_they_show(make: SimpleNamespace) -> None:
    made = comparison(make, 2, (20, 100))
    assert label_curves(made).alt == "Test accuracy on digits against labels for scratch, random-frozen, full and lora."
    assert gain_bars(made).alt == "Gain over scratch on digits for random-frozen, full and lora."


def test_names_are_text_not_markup(make: SimpleNamespace) -> None:
    records = [make.record("scratch", "scratch", budget) for budget in (20, 100)]
    records += [make.record("$\\frac{x$", "transfer", budget) for budget in (20, 100)]
    (made,) = comparisons(summarise(records, make.study(records).manifest, {}))
    for draw in (label_curves, gain_bars):
        assert draw(made).png.startswith(b"\x89PNG")


@pytest.mark.parametrize("seeds", [0, 1])
def test_few_or_no_results_are_no_problem(make: SimpleNamespace, seeds: int) -> None:
    records = make.simulated({"full": 0.2}, (20, 100), 1)
    (made,) = comparisons(summarise(records[: seeds * len(records)], make.study(records).manifest, {}))
    for draw in (label_curves, gain_bars):
        assert not ink_at_the_edge(draw(made).png)


def test_equal_accuracies_are_no_problem(make: SimpleNamespace) -> None:
    records = [
        make.record(arm, arm, budget, seed)
        for arm in ("scratch", "random-frozen")
        for budget in (20, 40)
        for seed in range(3)
    ]
    (made,) = comparisons(summarise(records, make.study(records).manifest, {}))
    for draw in (label_curves, gain_bars):
        assert not ink_at_the_edge(draw(made).png)


def test_an_entry_keeps_its_mark_in_every_comparison(make: SimpleNamespace) -> None:
    records = make.simulated({"full": 0.1, "lora": 0.2}, (20,), 1)
    records += make.simulated({"lora": 0.1, "probe": 0.2}, (20,), 1, target="usps")
    marks = palette(summarise(records, make.study(records).manifest, {}))
    assert len({mark.colour for mark in marks.values()}) == len(marks) == 5
    assert marks["scratch", "scratch"].colour == "#000000"


def test_eight_entries_differ_in_colour_and_a_ninth_in_dash(make: SimpleNamespace) -> None:
    marks = palette(comparison(make, 9, (20,)).rows)
    transfers = [mark for (arm, _), mark in marks.items() if arm == "transfer"]
    assert len({mark.colour for mark in transfers[:8]}) == 8
    assert transfers[8].colour == transfers[0].colour and transfers[8].dash != transfers[0].dash
