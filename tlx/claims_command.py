"""`tlx claims`: whether a study's records bear out what an experiment says of it."""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlx.errors import TlxError

ALL_HELD, SOME_FAILED = 0, 1


def add_to(commands: Any, common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Put `claims` among the commands.

    Args:
      commands: the subparsers of `tlx`.
      common: adds the options that every command has.
    """
    text = "check what an experiment claims against a study's records"
    sub = commands.add_parser("claims", help=text, description=text, allow_abbrev=False)
    sub.add_argument("workdir", type=Path, help="folder of a study")
    sub.add_argument(
        "experiment",
        type=Path,
        nargs="?",
        help="folder with expected.json, or such a file (default: the one in experiments/ about this study)",
    )
    sub.set_defaults(command=_claims)
    common(sub)


def _claims(options: argparse.Namespace) -> int:
    from tlx.report.claims.verdicts import FAILED, HELD, NOT_HERE, decide

    if options.overrides:
        raise TlxError(f"{options.overrides[0]}: no such option")
    verdicts = decide(options.workdir, options.experiment)
    if options.json:
        print(json.dumps([verdict.as_dict() for verdict in verdicts], indent=1))
    else:
        for verdict in verdicts:
            print(verdict.line())
        count = Counter(verdict.verdict for verdict in verdicts)
        print(", ".join(f"{count[word]} {word.lower()}" for word in (HELD, FAILED, NOT_HERE) if count[word]))
    return SOME_FAILED if any(verdict.verdict == FAILED for verdict in verdicts) else ALL_HELD
