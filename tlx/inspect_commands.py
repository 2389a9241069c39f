"""`tlx inspect`: what changed inside the network while it was adapted."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlx import data_commands


def add_to(commands: Any, common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Put `inspect` among the other commands.

    Args:
      commands: the subparsers of `tlx`.
      common: adds the options that every command has.
    """
    text = "compare what each cell kept with where it began: CKA, drift, forgetting"
    sub = commands.add_parser(
        "inspect",
        help=text,
        description=text,
        allow_abbrev=False,
        epilog="for a study that was run with --config.artifacts=True; give it the same config and overrides",
    )
    sub.add_argument("config", help="PATH or PATH:ARGUMENT of a file with get_config(argument)")
    sub.add_argument("--workdir", type=Path, help="folder of the study (default: workdir/NAME)")
    sub.add_argument("--data-dir", type=data_commands.place, help=data_commands.DATA_DIR)
    sub.add_argument("--pairs", action="store_true", help="also the barrier between two seeds of each entry")
    sub.add_argument("--probes", action="store_true", help="also what a linear probe reads from each stage")
    sub.set_defaults(command=_inspect)
    common(sub)


def _inspect(options: argparse.Namespace) -> int:
    from tlx.bars import Bars
    from tlx.build import build
    from tlx.config import load
    from tlx.json_lines import JsonLines
    from tlx.report import inside as shown
    from tlx.study.inside import Inside
    from tlx.study.inspecting import inspect
    from tlx.study.spec import Folders

    study = build(load(options.config, options.overrides))
    folders = Folders(options.workdir or Path("workdir") / study.name, options.data_dir)
    with JsonLines() if options.json else Bars() as progress:
        done = inspect(study, folders, progress, options.pairs, options.probes)
    inside = Inside(folders.work)
    if options.json:
        print(json.dumps(done.as_dict(), indent=1))
    else:
        shown.show(inside.cells(), inside.pairs(), inside.probes(), done.lines(), inside.folder)
    return 0
