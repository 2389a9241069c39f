"""`tlx records` and `tlx compare`: what was recorded, as a table, as data, and beside another study."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlx.errors import TlxError

_WORKDIR = "folder of a study, or a bucket's URL"


def add_to(commands: Any, common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Put both among the others.

    Args:
      commands: the subparsers of `tlx`.
      common: adds the options that every command has.
    """
    text = "the cells of studies, one a row: as a table, JSON, CSV, or asked in SQL"
    records = commands.add_parser("records", help=text, description=text, allow_abbrev=False)
    records.add_argument("workdirs", nargs="*", metavar="WORKDIR", help=_WORKDIR)
    records.add_argument("--csv", action="store_true", help="print comma-separated values instead of a table")
    asked = 'in DuckDB\'s SQL, e.g. "select entry, avg(test_score) from records group by entry"'
    records.add_argument("--sql", metavar="QUERY", help=asked)
    records.add_argument("--columns", action="store_true", help="list the columns and what each holds")
    records.set_defaults(command=_records)
    common(records)
    text = "two studies side by side: scores and their paired differences, and what else differs"
    compare = commands.add_parser("compare", help=text, description=text, allow_abbrev=False)
    compare.add_argument("a", metavar="A", help=_WORKDIR)
    compare.add_argument("b", metavar="B", help="of another")
    compare.add_argument("--out", type=Path, metavar="FILE", help="write it as Markdown, too")
    compare.set_defaults(command=_compare)
    common(compare)


def _no_overrides(options: argparse.Namespace) -> None:
    if options.overrides:
        raise TlxError(f"{options.overrides[0]}: no such option")


def _records(options: argparse.Namespace) -> int:
    from tlx.records import load
    from tlx.records.answer import frame_answer, make_answer
    from tlx.records.columns import COLUMNS
    from tlx.records.sql import ask
    from tlx.shared import local_work

    _no_overrides(options)
    if options.json and options.csv:
        raise TlxError("--csv: goes without --json")
    if not options.workdirs and not options.columns:
        raise TlxError("WORKDIR: expected the folder of a study, or several")
    unread: list[str] = []
    if options.columns:
        found = make_answer(("column", "dtype", "holds"), ((each.name, each.dtype, each.doc) for each in COLUMNS))
    else:
        frame = load(*map(local_work, options.workdirs), warn=unread.append)
        found = ask(frame, options.sql) if options.sql is not None else frame_answer(frame)
    if options.json:
        print(json.dumps(found.as_dicts(), indent=1, ensure_ascii=False))
    elif options.csv:
        sys.stdout.write(found.as_csv())
    else:
        from tlx.report import cells  # with what draws, which data alone does not wait for

        show = cells.show_answer if options.columns or options.sql is not None else cells.show_cells
        show(found)
    _say_unread(unread)
    return 0


def _say_unread(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
    if lines:
        print(f"{len(lines)} file{'' if len(lines) == 1 else 's'} could not be used", file=sys.stderr)


def _compare(options: argparse.Namespace) -> int:
    from tlx.atomic import write_bytes
    from tlx.records import read
    from tlx.report import beside, beside_shown
    from tlx.shared import local_work

    _no_overrides(options)
    a, b = read(local_work(options.a)), read(local_work(options.b))
    found = beside.compare(a, b)
    if options.out:
        write_bytes(options.out, beside_shown.markdown(found).encode())
    if options.json:
        print(json.dumps(found.as_dict(), indent=1, ensure_ascii=False))
    else:
        beside_shown.show(found)
    _say_unread([*a.unread, *b.unread])
    return 0
