"""Progress on the terminal: one bar for the study's cells, one for the steps of each unit under way."""

import sys
import threading
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Bars:
    """A `tlx.progress.Progress` drawn with rich; plain lines where the output is no terminal."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._left: dict[str, int] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Bars":
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Stop drawing."""
        self._progress.stop()

    def line(self, text: str) -> None:
        """One line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def start(self, task: str, total: int, done: int = 0) -> None:
        """A bar appears."""
        with self._lock:
            self._tasks[task] = self._progress.add_task(task, total=total, completed=done)
            self._left[task] = total - done

    def advance(self, task: str, units: int) -> None:
        """A bar grows; a full one goes away."""
        if units == 0:
            return
        with self._lock:
            self._progress.advance(self._tasks[task], units)
            self._left[task] -= units
            if self._left[task] == 0:
                self._progress.remove_task(self._tasks[task])
