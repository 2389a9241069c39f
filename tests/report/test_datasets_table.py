"""The list of data sets: sizes and class counts as on disk, unprepared ones without; no wider than a page."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console, RenderableType

from tlx.data.builders import BUILDERS
from tlx.data.pipeline import load_arrays
from tlx.errors import TlxError
from tlx.report.datasets import PIPE_WIDTH, balance, inspect, show, show_info, survey, table


def printed(what: RenderableType, width: int = PIPE_WIDTH) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as caught:
        console.print(what)
    return caught.get().splitlines()


def test_every_data_set_is_listed(data_dir: Path) -> None:
    rows = survey(data_dir)
    assert [row.name for row in rows] == list(BUILDERS)
    for row in rows:
        assert row.description
        assert row.licence
        assert row.homepage.startswith("https://")
        assert row.prepared == bool(row.splits) == (row.size > 0)


def test_a_prepared_one_by_the_numbers(data_dir: Path) -> None:
    (row,) = survey(data_dir, ["digits"])
    files = [path for path in (data_dir / "digits/1.0.0").iterdir()]
    assert row.size == sum(path.stat().st_size for path in files)
    assert (row.kind, row.shape, row.classes, row.prepared) == ("images", (28, 28, 1), 10, True)
    assert row.splits == {"test": 400, "train": 1397}
    assert row.description.startswith("The test part of UCI's optical recognition of handwritten digits: ")
    assert row.as_dict()["shape"] == [28, 28, 1]


def test_an_unprepared_one_says_what_it_will_be(tmp_path: Path) -> None:
    images, texts = survey(tmp_path, ["mnist5k", "sentiment4/movies"])
    assert (images.kind, images.shape, images.classes) == ("images", (28, 28, 1), 10)
    assert (texts.kind, texts.shape, texts.classes) == ("texts", (), 2)
    assert texts.description.startswith("10,605 sentences from film reviews. Sentences with the mean of")
    assert not images.prepared | texts.prepared
    assert inspect("mnist5k", tmp_path).per_class == {}
    assert list(tmp_path.iterdir()) == []


def test_classes_are_counted(data_dir: Path) -> None:
    found = inspect("mnist5k", data_dir)
    for split in ("train", "test"):
        expected = np.bincount(load_arrays("mnist5k", split, data_dir).label_N, minlength=10)
        assert list(found.per_class[split]) == expected.tolist()
    assert found.names == tuple("0123456789")
    assert found.as_dict()["per_class"]["test"] == [50] * 10
    assert inspect("sentiment4/tweets", data_dir).names == ("negative", "positive")


def test_an_unknown_name(data_dir: Path) -> None:
    with pytest.raises(TlxError, match=r"dataset 'digit': there is no such dataset \(did you mean 'digits'\?\)"):
        inspect("digit", data_dir)


def test_nothing_is_wider_than_a_page_and_nothing_is_lost(data_dir: Path) -> None:
    lines = printed(table(survey(data_dir)))
    assert max(len(line.rstrip()) for line in lines) <= PIPE_WIDTH
    text = "\n".join(lines)
    for word in (*BUILDERS, "train 1,397", "test 400", "images of 28×28×1", "texts", "no", "Classes"):
        assert word in text


def test_bars_are_in_proportion(data_dir: Path) -> None:
    found = inspect("digits", data_dir)
    lines = [line for line in printed(balance(found)) if "█" in line]
    totals = np.sum(list(found.per_class.values()), axis=0)
    assert [line.count("█") for line in lines] == [round(20 * total / totals.max()) for total in totals]
    assert [int(line.split()[1]) for line in lines] == list(found.per_class["test"])


def test_printing(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(survey(data_dir, ["digits"]))
    show_info(inspect("digits", data_dir))
    show_info(inspect("sentiment4/tweets", data_dir))
    text = capsys.readouterr().out
    assert "examples  test 400, train 1,397" in text
    assert "on disk  not prepared: tlx data prepare sentiment4/tweets" in text
    assert "licence  CC BY 4.0" in text
