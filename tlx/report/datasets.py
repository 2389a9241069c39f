"""The data sets there are, prepared or not, and what is in one of them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlx.data.bucket import local_dir
from tlx.data.builders import BUILDERS, builder
from tlx.data.describe import features_of
from tlx.data.source import open_split
from tlx.report import wording

PIPE_WIDTH = 110  # columns when the output is a file or a pipe
_BAR = 20  # characters of the longest class
_AT_ONCE = 4096  # examples whose labels are read at once


@dataclass(frozen=True)
class DatasetRow:
    """One data set.

    Args:
      name: as a config says it.
      kind: `images` or `texts`.
      shape: of an image, None where they differ; empty for texts.
      classes: how many, 0 where there is a score in place of a label.
      splits: examples of each split; empty before it is prepared.
      prepared: whether it is on disk.
      size: bytes on disk, 0 before it is prepared.
      description: what it is, in a sentence or two.
      licence: as its authors put it, or empty.
      homepage: where it comes from, or empty.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    classes: int
    splits: dict[str, int]
    prepared: bool
    size: int
    description: str
    licence: str
    homepage: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"shape": list(self.shape)}


@dataclass(frozen=True)
class DatasetInfo:
    """One data set and the balance of its classes.

    Args:
      row: what a list says of it.
      names: of the classes, empty where there are none.
      per_class: examples of each class, for each split; empty before it is prepared.
    """

    row: DatasetRow
    names: tuple[str, ...]
    per_class: dict[str, tuple[int, ...]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        counts = {split: list(count) for split, count in self.per_class.items()}
        return self.row.as_dict() | {"names": list(self.names), "per_class": counts}


def survey(data_dir: Path | str, names: Iterable[str] = tuple(BUILDERS)) -> list[DatasetRow]:
    """What can be said of data sets without reading an example.

    Args:
      data_dir: the folder of all data sets; nothing is written there.
      names: as a config says them.

    Returns:
      A row for each.

    Raises:
      TlxError: a name is unknown.
      FileError: what is on disk is damaged.
    """
    return [_row(name, data_dir) for name in names]


def inspect(name: str, data_dir: Path | str) -> DatasetInfo:
    """One data set; the labels of all its examples are counted where it is prepared.

    Args:
      name: as a config says it.
      data_dir: the folder of all data sets.

    Raises:
      TlxError: the name is unknown.
      FileError: what is on disk is damaged.
    """
    row, label = _row(name, data_dir), features_of(name, data_dir).get("label")
    if label is None:
        return DatasetInfo(row, (), {})
    names, classes = tuple(map(str, label.names)), range(int(label.num_classes))
    counts = {split: _counts(name, split, data_dir, len(classes)) for split in row.splits}
    return DatasetInfo(row, names or tuple(map(str, classes)), counts)


def _row(name: str, data_dir: Path | str) -> DatasetRow:
    made, features = builder(name, local_dir(name, data_dir)), features_of(name, data_dir)
    info, folder = made.info, Path(made.data_dir)
    image, label = features.get("image"), features.get("label")
    prepared = (folder / "dataset_info.json").is_file()
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()] if prepared else []
    config = getattr(made.builder_config, "description", "") or ""
    about = " ".join(f"{_sentence(config)} {info.description}".split())
    return DatasetRow(
        name=name,
        kind="texts" if image is None else "images",
        shape=() if image is None else tuple(size and int(size) for size in image.shape),
        classes=0 if label is None else int(label.num_classes),
        splits={split: int(info.splits[split].num_examples) for split in sorted(info.splits)} if prepared else {},
        prepared=prepared,
        size=sum(files),
        description=about,
        licence=" ".join(_licence(info).split()),
        homepage=str(info.homepage or ""),
    )


def _licence(info: Any) -> str:
    """TFDS keeps it among the terms of passing the data on."""
    return str(getattr(info.redistribution_info, "license", "") or "")


def _sentence(text: str) -> str:
    """A description of a config, ended so that another may follow."""
    return text and (text if text.endswith(".") else f"{text}.")


def _counts(name: str, split: str, data_dir: Path | str, classes: int) -> tuple[int, ...]:
    source = open_split(name, split, data_dir)
    total = np.zeros(classes, np.int64)
    for begin in range(0, len(source), _AT_ONCE):
        examples = source.__getitems__(list(range(begin, min(begin + _AT_ONCE, len(source)))))
        total += np.bincount([int(example["label"]) for example in examples], minlength=classes)
    return tuple(int(count) for count in total)


def show(rows: Iterable[DatasetRow]) -> None:
    """Print a list of data sets.

    Args:
      rows: from `survey`.
    """
    _console().print(table(rows))


def table(rows: Iterable[DatasetRow]) -> Table:
    """Data sets as a table of at most 110 columns.

    Args:
      rows: from `survey`.

    Returns:
      For `rich.console.Console.print`.
    """
    made = _table("Data sets", "Sizes are known once a data set is on disk: tlx data prepare NAME.")
    for heading, width in (("Name", 23), ("Examples", 17), ("Classes", 7), ("On disk", 8), ("What it is", 40)):
        made.add_column(heading, overflow="fold", width=width)
    for row in rows:
        size = wording.amount(row.size, "B") if row.prepared else "no"
        made.add_row(
            Text(row.name, style="bold").append(f"\n{_inputs(row)}", style="not bold dim"),
            Text(_sizes(row)),
            Text(str(row.classes or "score")),
            Text(size, style="" if row.prepared else "dim"),
            Text(_first(row.description)).append(f"\n{row.licence}" if row.licence else "", style="dim"),
        )
    return made


def show_info(found: DatasetInfo) -> None:
    """Print one data set.

    Args:
      found: from `inspect`.
    """
    console, row = _console(), found.row
    console.print(Text(row.name, style="bold"))
    console.print(Text(row.description))
    lines = {"inputs": _inputs(row), "examples": _sizes(row, ", "), "licence": row.licence, "from": row.homepage}
    lines["on disk"] = wording.amount(row.size, "B") if row.prepared else f"not prepared: tlx data prepare {row.name}"
    for key, value in lines.items():
        if value:
            console.print(Text(f"{key:>9}  {value}"))
    if found.per_class:
        console.print(balance(found))


def balance(found: DatasetInfo) -> Table:
    """The classes of a data set, with a bar for the share that each has of the largest.

    Args:
      found: from `inspect`.

    Returns:
      For `rich.console.Console.print`.
    """
    made = _table("Classes", "Bars: examples of all splits, the largest class full.")
    made.add_column("Class", overflow="fold", max_width=30)
    for split in found.per_class:
        made.add_column(split, justify="right", no_wrap=True)
    made.add_column("", width=_BAR)
    totals = np.sum([list(counts) for counts in found.per_class.values()], axis=0)
    for c, name in enumerate(found.names):
        counts = [counts[c] for counts in found.per_class.values()]
        bar = "█" * round(_BAR * int(totals[c]) / max(1, int(totals.max())))
        empty = [Text(f"{count:,}", style="" if count else "red") for count in counts]
        made.add_row(Text(name), *empty, Text(bar, style="blue"))
    return made


def _table(title: str, caption: str) -> Table:
    return Table(
        title=Text(title, style="bold"),
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def _inputs(row: DatasetRow) -> str:
    if row.kind == "texts":
        return "texts"
    if None in row.shape[:2]:
        return "images of several sizes"
    return f"images of {'×'.join(map(str, row.shape))}"


def _sizes(row: DatasetRow, between: str = "\n") -> str:
    return between.join(f"{split} {count:,}" for split, count in row.splits.items()) or wording.UNKNOWN


def _first(description: str) -> str:
    """The first sentence."""
    head, stop, _ = description.partition(". ")
    return f"{head}." if stop else head
