"""The command line: `tlx run`, `plan`, `report`, `records`, `compare`, `claims`, `inspect`, and so on."""

import argparse
import json
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tlx import __version__, claims_command, data_commands, inspect_commands, launch, record_commands
from tlx.bucket import is_url, mirror
from tlx.errors import TlxError

if TYPE_CHECKING:
    # Everything heavy is imported by the command that needs it, so that --help stays instant.
    from tlx.study.spec import Study

WRONG_INPUT = 2
FAILED = 1  # some cells, which the same command runs again
BROKEN = 1  # as rich has it, too
STOPPED = 75  # EX_TEMPFAIL: run me again
LOCAL, RAY = "local", "ray"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
      argv: arguments, or None for the process's own.

    Returns:
      The exit code: 0, 1 if cells failed, 2 for input the user can mend, 75 for a run that was stopped and can go on.
    """
    typed = list(sys.argv[1:] if argv is None else argv)
    try:
        options, rest = _parser().parse_known_args(typed)
        options.overrides, options.typed = rest, typed
        if "data_dir" in options:
            options.data_dir = options.data_dir or _data_dir()
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except TlxError as error:
        if "--debug" in typed:
            traceback.print_exc()
        print(error, file=sys.stderr)
        return STOPPED if type(error).__name__ == "Stopped" else WRONG_INPUT
    except BrokenPipeError:  # whoever reads the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN
    except KeyboardInterrupt:
        print("stopped; run the same command to go on", file=sys.stderr)
        return STOPPED


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of tlx."""

    def error(self, message: str) -> NoReturn:
        raise TlxError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tlx",
        description="Does this source help on that target, by how much, adapted which way, at what cost?",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tlx {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_study_commands(commands)
    report = commands.add_parser(
        "report", help="show and write the result of a work folder again, or of several together"
    )
    where = "folder of a study, or the URL of one in a bucket; several on one page"
    report.add_argument("workdirs", nargs="+", metavar="DIR", help=where)
    report.add_argument("--out", type=Path, metavar="FOLDER", help="where it goes (default: DIR; report, for several)")
    report.add_argument("--figures", action="store_true", help="write every chart as SVG, PDF and PNG, too")
    report.set_defaults(command=_report)
    _common(report)
    methods = commands.add_parser(
        "methods",
        help="list the methods: what trains, what share of a model, defaults",
        allow_abbrev=False,
        epilog="with a config, --config.FIELD=VALUE overrides any field, e.g. --config.model.depth=12",
    )
    methods.add_argument("config", nargs="?", help="PATH or PATH:ARGUMENT of the config whose model is shown")
    methods.add_argument("--model", help="a registered model with its defaults (default: vit)")
    methods.set_defaults(command=_methods)
    _common(methods)
    merge = commands.add_parser("merge", help="fold what a cell trained into a plain model", allow_abbrev=False)
    merge.add_argument("workdir", type=Path, help="folder of a study that was run with --config.artifacts=True")
    merge.add_argument("cell", metavar="CELL", help="id of the cell, or the beginning of it")
    merge.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the model goes")
    merge.set_defaults(command=_merge)
    _common(merge)
    export = commands.add_parser("export", help="write what a cell trained as HF PEFT does", allow_abbrev=False)
    export.add_argument("workdir", type=Path, help="folder of a study that was run with --config.artifacts=True")
    export.add_argument("cell", metavar="CELL", help="id of the cell, or the beginning of it")
    export.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the adapter goes")
    export.set_defaults(command=_export)
    _common(export)
    convert = commands.add_parser("convert", help="read a released checkpoint, or write one", allow_abbrev=False)
    convert.add_argument("source", type=Path, help="folder, or .safetensors, .npz or .pth file")
    convert.add_argument("folder", type=Path, help="where the weights go")
    convert.add_argument("--to", default="", metavar="FORMAT", help="tlx, or a format of another library")
    convert.set_defaults(command=_convert)
    _common(convert)
    for others in (record_commands, launch, claims_command, data_commands, inspect_commands):
        others.add_to(commands, _common)
    return parser


def _add_study_commands(commands: Any) -> None:
    """Those that take a config."""
    for name, command, text in (
        ("run", _run, "run what a config has no records of yet, then show the result"),
        ("plan", _plan, "show what would run, how and why, without running it"),
    ):
        sub = commands.add_parser(
            name,
            help=text,
            description=text,
            allow_abbrev=False,
            epilog="--config.FIELD=VALUE overrides any field, e.g. --config.train.steps=50",
        )
        sub.add_argument("config", help="PATH or PATH:ARGUMENT of a file with get_config(argument)")
        sub.add_argument(
            "--workdir", help="records, checkpoints, report, or the URL of a bucket's folder (default: workdir/NAME)"
        )
        sub.add_argument("--data-dir", type=data_commands.place, help=data_commands.DATA_DIR)
        sub.set_defaults(command=command)
        _common(sub)
        if name == "run":
            sub.add_argument("--shard", metavar="I/N", help="only the I-th of N shares; start all N, wherever, alike")
            sub.add_argument("--cell", metavar="ID", default="", help="only this cell, and what is chosen with it")
            sub.add_argument(
                "--runner", default="local", metavar="WHERE", help="local, or ray[://HOST:PORT]: a cluster's"
            )
        if name == "plan":
            sub.add_argument("--leaves", action="store_true", help="show the label of every single leaf")


def _common(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="print JSON instead of tables")
    sub.add_argument("--debug", action="store_true", help="show tracebacks")


def _study(options: argparse.Namespace) -> "Study":
    from tlx.build import build
    from tlx.config import load

    # Where it was run is no part of what was run.
    typed = re.sub(r" --(shard|runner|cell)(=| )\S+", "", shlex.join(["tlx", *options.typed]))
    return build(load(options.config, options.overrides), typed)


def _folders(options: argparse.Namespace, study: "Study") -> Any:
    from tlx.study.spec import Folders

    work = options.workdir or str(Path("workdir") / study.name)
    if is_url(work):
        return Folders(mirror(work, "work"), options.data_dir, work)
    return Folders(Path(work), options.data_dir)


def _data_dir() -> Path | str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlx"
    return data_commands.place(os.environ.get("TLX_DATA_DIR") or str(cache))


def _run(options: argparse.Namespace) -> int:
    from tlx.bars import Bars
    from tlx.json_lines import JsonLines
    from tlx.runners.local import keep_programs
    from tlx.study import run
    from tlx.study.shares import parse_shard

    shard = parse_shard(options.shard) if options.shard is not None else None
    if options.cell and (shard is not None or options.runner != LOCAL):
        raise TlxError("--cell: goes with neither --shard nor another --runner; a single cell is not shared out")
    if options.runner != LOCAL:
        return _run_on_ray(options)
    study = _study(options)
    folders = _folders(options, study)
    keep_programs(folders.work / "cache" / (f"{shard}".replace("/", "-of-") if shard else ""))
    with _Stopper() as stopper, JsonLines() if options.json else Bars() as progress:
        grid = run.run(study, folders, progress, lambda context: stopper.watch(context.stop), shard, options.cell)
    recorded = grid.recorded(folders.work)
    if shard is None or recorded == len(grid.cells):
        return _show([folders.work], options.json, url=folders.shared)
    left = {"recorded": recorded, "cells": len(grid.cells)}
    said = f"done: {recorded} of {len(grid.cells)} cells have records; the rest are other shards', or failed"
    print(json.dumps(left) if options.json else said)
    return FAILED if grid.failed(folders.work, shard) else 0


def _run_on_ray(options: argparse.Namespace) -> int:
    from tlx.bars import Bars
    from tlx.json_lines import JsonLines
    from tlx.runners import ray

    if options.runner != RAY and not re.fullmatch(rf"{RAY}://\S+:\d+", options.runner):
        raise TlxError(f"--runner: expected {LOCAL}, {RAY} or {RAY}://HOST:PORT, got {options.runner!r}")
    if options.shard is not None:
        raise TlxError(f"--shard: goes with --runner={LOCAL} only; Ray shares the units out itself")
    ray.require()
    from tlx.driver import drive

    study = _study(options)
    folders = _folders(options, study)
    if folders.shared:
        raise TlxError(f"--workdir: a URL goes with --runner={LOCAL} only; a cluster needs a folder that all nodes see")
    with _Stopper() as stopper, JsonLines() if options.json else Bars() as progress:
        drive(study, folders, options.runner if options.runner != RAY else "", progress, stopper.watch)
    return _show([folders.work], options.json)


def _plan(options: argparse.Namespace) -> int:
    from tlx.progress import Silent
    from tlx.report import plan
    from tlx.study import run

    study = _study(options)
    folders = _folders(options, study)
    grid = run.lay_out(study, folders, Silent())
    outline = plan.outline(grid, folders.work)
    if options.json:
        print(json.dumps(outline.as_dict(), indent=1))
    else:
        plan.show(outline, leaves=options.leaves)
    return 0


def _report(options: argparse.Namespace) -> int:
    _no_overrides(options)
    from tlx.shared import local_work

    works = [local_work(work) for work in options.workdirs]
    return _show(works, options.json, options.out or (Path("report") if len(works) > 1 else None), options.figures)


def _methods(options: argparse.Namespace) -> int:
    from tlx.report import methods

    if options.config and options.model:
        raise TlxError("--model: the config names the model; use --config.model.name")
    if options.config:
        model = methods.model_of(_study(options), _data_dir())
    else:
        _no_overrides(options)
        model = methods.default_model(options.model or methods.DEFAULT)
    found = methods.survey(model)
    if options.json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        methods.show(found)
    return 0


def _merge(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tlx.study.merge import merge_cell

    _no_overrides(options)
    outcome = merge_cell(options.workdir, options.cell, options.out)
    print(json.dumps(asdict(outcome)) if options.json else outcome.line())
    return 0


def _export(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tlx.study.export import export_cell

    _no_overrides(options)
    done = export_cell(options.workdir, options.cell, options.out)
    print(json.dumps(asdict(done)) if options.json else done.line())
    return 0


def _convert(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from tlx.report import conversion
    from tlx.study.convert import convert

    _no_overrides(options)
    done = convert(options.source, options.folder, options.to)
    if options.json:
        print(json.dumps(asdict(done), indent=1))
    else:
        conversion.show(done)
    return 0


def _no_overrides(options: argparse.Namespace) -> None:
    if options.overrides:
        raise TlxError(f"{options.overrides[0]}: no such option")


def _show(works: Sequence[Path], as_json: bool, out: Path | None = None, figures: bool = False, url: str = "") -> int:
    from tlx.report import load, terminal, write_all

    given = [load(work) for work in works]
    report = write_all(given, out or works[0], figures)
    if url:
        from tlx.shared import push_files

        push_files(url, works[0], [path.name for kind in ("report.*", "tables.*") for path in works[0].glob(kind)])
    if as_json:
        print(json.dumps(report.as_dict(), indent=1))
    else:
        terminal.show(report)
    for line in (*(line for one in given for line in one.unread), *report.failed):
        print(line, file=sys.stderr)
    return FAILED if report.failed else 0


class _Stopper:
    """Turns the first SIGINT or SIGTERM into a save at the next boundary, the second into an end at once."""

    def __init__(self) -> None:
        self._stop: threading.Event | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Stopper":
        self._before = {number: signal.signal(number, self._heed) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *failure: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def watch(self, stop: threading.Event) -> None:
        self._stop = stop

    def _heed(self, number: int, frame: Any) -> None:
        if self._stop is None:
            raise KeyboardInterrupt
        if self._stop.is_set():
            os._exit(STOPPED)
        self._stop.set()


if __name__ == "__main__":
    sys.exit(main())
