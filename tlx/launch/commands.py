"""The command `tlx launch`: its options, and what becomes of the script."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlx.errors import FileError
from tlx.launch.options import PLACES, START, checked, clean, shard_count, words

if TYPE_CHECKING:
    # Everything heavy is imported when the command is run, so that --help stays instant.
    from tlx.launch.script import Job

# In the folder of a checkout. Not `uv run tlx`: it passes a signal on that its child got, too, and two end it at once.
_TLX = ".venv/bin/tlx"


def add_to(commands: Any, common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Put `launch` among the other commands.

    Args:
      commands: the subparsers of `tlx`.
      common: adds the options that every command has.
    """
    text = "write a script that runs a study's shards on other machines; nothing is started"
    sub: argparse.ArgumentParser = commands.add_parser(
        "launch",
        help=text,
        description=text,
        allow_abbrev=False,
        epilog="--config.FIELD=VALUE overrides any field, there as here",
    )
    sub.add_argument("config", help="PATH or PATH:ARGUMENT of a file with get_config(argument), here and there")
    sub.add_argument("--on", required=True, choices=tuple(PLACES), help="what kind of machines")
    sub.add_argument("--shards", default="1", metavar="N", help="parts the study is cut into (default: 1)")
    sub.add_argument("--out", type=Path, metavar="FILE", help="the script (default: STUDY.slurm.sh or .tpu-vm.sh)")
    sub.add_argument("--dry-run", action="store_true", help="print the script instead")
    sub.add_argument("--workdir", help="there, seen by all machines (default: workdir/STUDY)")
    sub.add_argument("--data-dir", dest="data_there", metavar="DATA_DIR", help="prepared data sets there")
    sub.add_argument("--tlx", default=_TLX, metavar="COMMAND", help=f"what calls tlx there (default: {_TLX})")
    for place, options in PLACES.items():
        group = sub.add_argument_group(f"with --on {place}")
        for name, option in options.items():
            default = f" (default: {option.default})" if option.default else ""
            group.add_argument(f"--{name}", help=option.doc + default)
    sub.set_defaults(command=_launch)
    common(sub)


def _launch(options: argparse.Namespace) -> int:
    from tlx import atomic
    from tlx.launch.script import render

    settings = checked(options.on, {name: getattr(options, name) for place in PLACES.values() for name in place})
    job = _job(options)
    script = render(job, options.on, settings)
    if options.dry_run:
        sys.stdout.write(json.dumps({"script": script}, indent=1) + "\n" if options.json else script)
        return 0
    path, data = options.out or Path(f"{job.name}.{options.on}.sh"), script.encode()
    if path.exists() and not (path.is_file() and path.read_bytes() == data):
        raise FileError(path, "exists already with other content; delete it or choose another --out")
    atomic.publish(path, data)
    start = START[options.on].format(shlex.quote(str(path)))
    print(json.dumps({"file": str(path), "start": start}) if options.json else f"read {path}, then: {start}")
    return 0


def _job(options: argparse.Namespace) -> "Job":
    """What is run; a config that would be refused there is refused here."""
    from tlx.config import load
    from tlx.launch.script import Job

    shards, tlx = shard_count(options.shards), words("--tlx", options.tlx)
    there = {"--workdir": options.workdir, "--data-dir": options.data_there}
    for option, word in {"config": options.config, **there}.items():
        if word is not None:
            clean(option, word)
    for override in options.overrides:
        clean(override.partition("=")[0], override.removeprefix("--"))
    name = load(options.config, options.overrides).name
    workdir = options.workdir or f"workdir/{name}"
    return Job(name, options.config, tuple(options.overrides), shards, workdir, options.data_there or "", tlx)
