"""Starts the program again and again without importing it again: reads a command a line, answers with its process.

A child is forked before jax has started any thread, and leads a group of its own.
"""

import json
import os
import sys

import grain  # noqa: F401
import jax  # noqa: F401
import tensorflow_datasets  # noqa: F401

import tlx.bars
import tlx.build
import tlx.config
import tlx.report
import tlx.study.run  # noqa: F401
from tlx import cli


def main() -> None:
    """Answer until there is no more."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            os.setsid()
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            os._exit(cli.main(json.loads(line)))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
