"""Progress for machines: one JSON object a line."""

import json
import sys
import threading
import time


class JsonLines:
    """A `tlx.progress.Progress` that writes events to the standard error stream.

    Each has `time`, seconds since 1970, and `event`: `line` with a `text`; `progress` with a `task`, units `done` of
    a `total`, `rate` in units a second since it began, and `left` in seconds.

    Args:
      every: seconds between two events of one task, but for its first and last.
    """

    def __init__(self, every: float = 1.0) -> None:
        self._every, self._lock = every, threading.Lock()
        self._tasks: dict[str, list[float]] = {}

    def __enter__(self) -> "JsonLines":
        """Nothing to begin."""
        return self

    def __exit__(self, *failure: object) -> None:
        """Nothing to end."""

    def line(self, text: str) -> None:
        """A line of text."""
        self._write({"event": "line", "text": text})

    def start(self, task: str, total: int, done: int = 0) -> None:
        """A piece of work begins."""
        with self._lock:
            self._tasks[task] = [time.monotonic(), done, done, total, -1.0]
            self._say(task)

    def advance(self, task: str, units: int) -> None:
        """Some of it is done."""
        with self._lock:
            now = self._tasks[task]
            now[2] += units
            if now[2] >= now[3] or time.monotonic() - now[4] >= self._every:
                self._say(task)

    def _say(self, task: str) -> None:
        began, first, done, total, _ = self._tasks[task]
        moment = time.monotonic()
        self._tasks[task][4] = moment
        rate = (done - first) / (moment - began) if done > first and moment > began else None
        left = round((total - done) / rate, 1) if rate else None
        event = {"event": "progress", "task": task, "done": int(done), "total": int(total)}
        self._write({**event, "rate": rate and round(rate, 3), "left": left})

    def _write(self, event: dict[str, object]) -> None:
        print(json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False), file=sys.stderr, flush=True)
