"""One worker of a study on a cluster: it lays the study out once, then runs the units it is asked to."""

import json
import os
import socket
from pathlib import Path
from threading import Event
from typing import Any

from tlx import __version__, lock
from tlx.build import build
from tlx.config import restored
from tlx.errors import FileError, TlxError
from tlx.progress import Silent
from tlx.runners.local import keep_programs
from tlx.study.context import Context, Stopped
from tlx.study.estimates import places
from tlx.study.estimating import estimate
from tlx.study.once import run_once
from tlx.study.plan import Unit
from tlx.study.run import in_order, lay_out
from tlx.study.shares import plan_digest
from tlx.study.spec import Folders


class Worker:
    """What `tlx.runners.ray` places on a node; all it is told and all it answers is JSON.

    Args:
      order: `config`, resolved, `command`, the folders `work` and `data`, which every node must see, and `cwd`, where
        paths in the config begin.
      place: which of the workers it is.
    """

    def __init__(self, order: str, place: int) -> None:
        self._order: dict[str, Any] = json.loads(order)
        self._place = place
        self._stop = Event()
        self._lines = _Lines()
        self._context: Context | None = None
        self._units: dict[str, Unit] = {}

    def plan(self) -> str:
        """Lay the study out: its `manifest`, its `units` in the order they should be begun, and what must `agree`."""
        try:
            return json.dumps(self._planned())
        except Exception as error:
            return json.dumps({"error": _reason(error)})

    def run(self, unit: str) -> str:
        """Run a unit, or go on from its last save; the records lie in the folder when this returns.

        Args:
          unit: id of one of `plan`'s.
        """
        answer: dict[str, Any] = {}
        try:
            assert self._context is not None
            run_once(self._units[unit], self._context)
            units = list(self._units.values())
            estimate(places(units, [self._units[unit]]), self._context)
        except Stopped:
            answer["stopped"] = True
        except Exception as error:
            # What the user can mend is the same for every worker.
            answer |= {"error": _reason(error), "again": not isinstance(error, TlxError)}
        return json.dumps({"lines": self._lines.taken(), **answer})

    def stop(self) -> None:
        """Have `run` save and return at the next boundary."""
        self._stop.set()

    def _planned(self) -> dict[str, Any]:
        host, work = socket.gethostname(), Path(self._order["work"])
        if not lock.is_held(work):
            message = f"on {host} this is not the folder that `tlx run` holds; it must lie where all nodes see it"
            raise FileError(work, f"{message}, on a file system that locks across them")
        if os.path.isdir(here := self._order["cwd"]):  # what a config names may be named from there
            os.chdir(here)
        study = build(restored(self._order["config"]), self._order["command"])
        folders = Folders(work, self._order["data"])
        keep_programs(work / "cache" / f"{host}-{self._place}")
        grid = lay_out(study, folders, self._lines)
        self._context = Context(
            study, folders, grid.placement, grid.sources, grid.targets, self._lines, stop=self._stop
        )
        self._units = {unit.id: unit for unit in grid.units}
        units = [
            {"id": unit.id, "name": unit.name, "cells": [cell.id for cell in unit.cells]}
            for unit in in_order(grid.units)
        ]
        return {
            "host": host,
            "agree": [__version__, plan_digest(grid.units)],
            "manifest": grid.manifest(),
            "units": units,
        }


class _Lines(Silent):
    """Lines for the user, until they are asked for."""

    def __init__(self) -> None:
        self._said: list[str] = []

    def line(self, text: str) -> None:
        self._said.append(text)

    def taken(self) -> list[str]:
        """All so far, once."""
        said, self._said = self._said, []
        return said


def _reason(error: Exception) -> str:
    if isinstance(error, TlxError):
        return str(error)
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
