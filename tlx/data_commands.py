"""`tlx data`: what data sets there are, what is in them, and what a model would see of them."""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlx.errors import TlxError

if TYPE_CHECKING:
    # Everything heavy is imported by the command that needs it, so that --help stays instant.
    from tlx.data.text import Tokenizer
    from tlx.study.spec import Study

DATA_DIR = "prepared data sets, a folder or a bucket's URL (default: $TLX_DATA_DIR or ~/.cache/tlx)"
_AT_SPLIT = "NAME, or NAME@SPLIT with a split in TFDS's notation (default: train)"


def place(text: str) -> Path | str:
    """A folder, or a bucket's URL as it is."""
    return text if "://" in text else Path(text)


def add_to(commands: Any, common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Put `data` and its commands among the others.

    Args:
      commands: the subparsers of `tlx`.
      common: adds the options that every command has.
    """
    data = commands.add_parser("data", help="list, prepare, show and compare data sets", allow_abbrev=False)
    verbs = data.add_subparsers(required=True, metavar="COMMAND")

    def verb(name: str, text: str, command: Callable[..., int]) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.add_argument("--data-dir", type=place, help=DATA_DIR)
        sub.set_defaults(command=command)
        common(sub)
        return sub

    verb("list", "the data sets that tlx brings, prepared or not", _list)
    verb("info", "sizes, classes and their balance", _info).add_argument("name", help="as a config names it")
    verb("prepare", "write data sets to disk, ready to be read", _prepare).add_argument("names", nargs="+")
    show = verb("show", "a contact sheet of images as a model gets them, or texts with their tokens", _show)
    show.add_argument("name", help=_AT_SPLIT)
    show.add_argument("config", nargs="?", help="PATH or PATH:ARGUMENT of the config whose preprocessing is shown")
    show.add_argument("--out", type=Path, metavar="FILE", help="the picture (default: workdir/NAME.png)")
    show.add_argument("--tokenizer", help="of texts, where no config names one: tokenizer.json, vocab.txt or a folder")
    show.add_argument("--seed", type=int, default=0, help="of what the ops draw (default: 0)")
    overlap = verb("overlap", "equal and near-equal examples of two splits", _overlap)
    overlap.add_argument("ours", help=_AT_SPLIT)
    overlap.add_argument("theirs", help="likewise")
    overlap.add_argument("--out", type=Path, metavar="FILE", help="a picture of the closest pairs")
    verb("ops", "what can be done to examples, by config.preprocess.ops", _ops)


def _no_overrides(options: argparse.Namespace) -> None:
    if options.overrides:
        raise TlxError(f"{options.overrides[0]}: no such option")


def _list(options: argparse.Namespace) -> int:
    from tlx.report import datasets

    _no_overrides(options)
    rows = datasets.survey(options.data_dir)
    if options.json:
        print(json.dumps([row.as_dict() for row in rows], indent=1))
    else:
        datasets.show(rows)
    return 0


def _info(options: argparse.Namespace) -> int:
    from tlx.report import datasets

    _no_overrides(options)
    found = datasets.inspect(options.name, options.data_dir)
    if options.json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        datasets.show_info(found)
    return 0


def _prepare(options: argparse.Namespace) -> int:
    from tlx.data.source import prepare
    from tlx.report import datasets

    _no_overrides(options)
    for name in options.names:
        prepare(name, options.data_dir)
    rows = datasets.survey(options.data_dir, options.names)
    if options.json:
        print(json.dumps([row.as_dict() for row in rows], indent=1))
    else:
        datasets.show(rows)
    return 0


def _show(options: argparse.Namespace) -> int:
    from tlx.data.look import Examples
    from tlx.data.source import prepare
    from tlx.report import contact, samples

    study = _study(options)
    name, split = _at_split(options.name)
    prepare(name, options.data_dir)
    examples = Examples(name, split, options.data_dir)
    positions = samples.spread(examples)
    if examples.is_text:
        tokenize = _tokenizer(options, name, study)
        found = samples.texts(examples, positions, tokenize)
        if options.json:
            print(json.dumps([each.as_dict() for each in found], indent=1))
        else:
            contact.show_texts(found, f"{name} {split} through {tokenize.path}, {tokenize.length} tokens")
        return 0
    figure = samples.sheet(examples, positions, options.data_dir, study, options.seed)
    out = options.out or Path("workdir") / f"{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}.png"
    samples.save(figure, out)
    print(json.dumps({"picture": str(out)}) if options.json else f"The picture: {out}")
    return 0


def _study(options: argparse.Namespace) -> "Study | None":
    from tlx.build import build
    from tlx.config import load

    if options.config is None:
        _no_overrides(options)
        return None
    return build(load(options.config, options.overrides))


def _tokenizer(options: argparse.Namespace, name: str, study: "Study | None") -> "Tokenizer":
    from tlx.data.source import own_tokenizer
    from tlx.data.text import load_tokenizer
    from tlx.study.spec import Text
    from tlx.study.text import tokenizer_of

    place = options.tokenizer or (None if study else own_tokenizer(name, options.data_dir))
    if place:
        return load_tokenizer(place, (study.text if study else Text()).length)
    checkpoints = [source.checkpoint for source in study.sources if source.checkpoint] if study else []
    found = tokenizer_of(study, options.data_dir, checkpoints) if study else None
    if found is None:
        raise TlxError("--tokenizer: expected tokenizer.json, vocab.txt or the folder of one, or a config that has one")
    return found


def _overlap(options: argparse.Namespace) -> int:
    from tlx.data import overlap
    from tlx.data.look import Examples
    from tlx.data.source import prepare
    from tlx.report import overlap as shown
    from tlx.report import samples

    _no_overrides(options)
    sides = []
    for text in (options.ours, options.theirs):
        name, split = _at_split(text)
        prepare(name, options.data_dir)
        sides.append(Examples(name, split, options.data_dir))
    ours, theirs = sides
    if ours.is_text != theirs.is_text:
        raise TlxError(f"{options.theirs}: one set is of images, the other of texts")
    if ours.is_text and options.out:
        raise TlxError("--out: texts make no picture")

    def words(pair: overlap.Pair) -> tuple[str, str]:
        return ours.at([pair.ours])[0][0], theirs.at([pair.theirs])[0][0]

    if ours.is_text:
        found = overlap.text_overlap(list(ours), list(theirs))
    else:
        found = overlap.image_overlap(overlap.image_prints(ours.images()), overlap.image_prints(theirs.images()))
    if options.out and found.near.closest:
        samples.save(samples.pairs(found, ours, theirs), options.out)
    if options.json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        names = [f"{side.name} {side.split}" for side in sides]
        shown.show(found, names[0], names[1], words if ours.is_text else None)
    return 0


def _ops(options: argparse.Namespace) -> int:
    from tlx.data.ops.listing import rows
    from tlx.report import ops

    _no_overrides(options)
    if options.json:
        print(json.dumps([asdict(row) for row in rows()], indent=1))
    else:
        ops.show(rows())
    return 0


def _at_split(text: str) -> tuple[str, str]:
    """Name and split; what follows the last @, unless that is part of a path."""
    name, at, split = text.rpartition("@")
    return (name, split) if at and "/" not in split else (text, "train")
