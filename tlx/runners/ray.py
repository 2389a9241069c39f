"""Jobs on a Ray cluster: a pool of actors, one job each at a time, each replaced when it is lost."""

import importlib.util
import json
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from tlx.errors import TlxError
from tlx.progress import Progress
from tlx.runners.queue import Job, Queue
from tlx.runners.room import Needs, as_options, room_for

# Seconds between two looks at whether the driver was told to stop.
POLL = 0.5
# Seconds without any worker before the user is told what is waited for.
PATIENCE = 20.0
# Workers in a row that die in one place before any of them did a job: something is wrong with the place.
STARTS = 3

# A worker class has `Worker(order, place)`, `plan()`, `run(id)` and `stop()`; `plan` and `run` answer in JSON. `plan`
# gives `host` and `agree`, the same for workers that may share jobs, or `error`. `run` gives `lines` for the user and,
# where it did not end well, `stopped`, or `error` and `again`, whether another worker might do better.
Begin = Callable[[dict[str, Any]], Sequence[Job]]


def require() -> None:
    """Import Ray, which sets signal handlers of its own while it is imported.

    Raises:
      TlxError: it is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise TlxError("--runner: Ray is not installed; pip install 'tlx[ray]', here and on every node")
    import ray  # noqa: F401


def run_on_ray(
    address: str,
    needs: Needs,
    worker: type,
    order: str,
    begin: Begin,
    on_done: Callable[[Job], None],
    progress: Progress,
    stop: Event,
) -> dict[str, str]:
    """Do all jobs, whatever happens to single workers.

    Args:
      address: of a Ray Client server, `ray://HOST:PORT`; empty for `RAY_ADDRESS`, this host's cluster, or a new one.
      needs: what each worker is given.
      worker: class of the actors, importable on every node.
      order: what each is told when it starts.
      begin: the first worker's plan to the jobs.
      on_done: called after each.
      progress: what the user sees.
      stop: set to end at the next boundary of every worker.

    Returns:
      Name of each failed job to the reason.

    Raises:
      TlxError: the cluster cannot be reached or has no room, or no worker can lay the work out.
    """
    import ray

    mine = not ray.is_initialized()
    if mine:
        _connect(address)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        count, each = room_for(needs, nodes)
        made = ray.remote(**as_options(each), max_concurrency=2, max_restarts=0, max_task_retries=0)(worker)
        pool = _Pool([_Place(number) for number in range(count)], made, order, begin, on_done, progress, stop)
        try:
            return pool.run()
        finally:
            pool.close()
    finally:
        if mine:
            ray.shutdown()


def _connect(address: str) -> None:
    import ray

    address = address or os.environ.get("RAY_ADDRESS", "")
    if problem := _unreachable(address):
        raise TlxError(f"--runner: no Ray cluster at {address}: {problem}")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address or _of_this_host(), log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise TlxError(f"--runner: no Ray cluster at {address or 'this host'}: {_first_line(error)}") from error
    with suppress(ValueError):  # in another than the main thread, which none are heeded in
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray's native code put its own beneath


def _of_this_host() -> str:
    """The cluster that `ray start` noted down here, or a new one: the note outlives a cluster that was killed."""
    note = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    address = note.read_text().strip() if note.is_file() else ""
    return address if address and not _unreachable(address) else "local"


def _unreachable(address: str) -> str:
    """Why nothing answers there, found out in seconds where Ray tries for minutes; empty if something does."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return ""  # for Ray to understand
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""


@dataclass
class _Place:
    """Where one actor after the other is; `starts` of them died since one did a job."""

    number: int
    actor: Any = None
    job: Job | None = None
    ready: bool = False
    closed: bool = False
    starts: int = 0


class _Pool:
    """The actors and what each is at."""

    def __init__(
        self,
        places: list[_Place],
        actor: Any,
        order: str,
        begin: Begin,
        on_done: Callable[[Job], None],
        progress: Progress,
        stop: Event,
    ) -> None:
        self.places, self.actor, self.order, self.begin = places, actor, order, begin
        self.on_done, self.progress, self.stop = on_done, progress, stop
        self.queue: Queue | None = None
        self.agreed: Any = None
        self.calls: dict[Any, _Place] = {}
        self.told = self.said = False
        self.last = time.monotonic()

    def run(self) -> dict[str, str]:
        """Until nothing is left to be done, or the last worker has heeded the stop."""
        import ray

        for place in self.places:
            self._start(place)
        while not self._through():
            found, _ = ray.wait(list(self.calls), num_returns=1, timeout=POLL)
            for call in found:
                self._heard(call, self.calls.pop(call))
            if self.stop.is_set():
                self._tell_all()
            self._give_out()
            self._say_what_is_waited_for()
        return {} if self.queue is None else self.queue.failures

    def close(self) -> None:
        """End all actors."""
        import ray

        for place in self.places:
            if place.actor is not None:
                with suppress(Exception):  # gone already
                    ray.kill(place.actor)

    def _through(self) -> bool:
        busy = any(place.job for place in self.places)
        if busy or (self.queue is None and not self.stop.is_set()):
            return False
        if not self.queue:
            return True
        if all(place.closed for place in self.places):
            raise TlxError(f"--runner: no worker is left for {len(self.queue)} units; run the same command to go on")
        return False

    def _start(self, place: _Place) -> None:
        place.actor, place.ready = self.actor.remote(self.order, place.number), False
        self.calls[place.actor.plan.remote()] = place

    def _give_out(self) -> None:
        for place in self.places:
            if self.queue and place.ready and not place.job and (job := self.queue.take()):
                place.job = job
                self.calls[place.actor.run.remote(job.id)] = place

    def _tell_all(self) -> None:
        if self.queue is not None:
            self.queue.clear()
        if not self.told:
            self.told = True
            for place in self.places:
                if place.job:
                    place.actor.stop.remote()

    def _heard(self, call: Any, place: _Place) -> None:
        import ray

        try:
            answer = json.loads(ray.get(call))
        except ray.exceptions.RayError as error:
            self._lost(place, _first_line(error))
            return
        if place.job is None:
            self._planned(place, answer)
        else:
            self._ran(place, place.job, answer)

    def _planned(self, place: _Place, plan: dict[str, Any]) -> None:
        problem = plan.get("error")
        if self.queue is None:
            if problem:
                raise TlxError(problem)
            self.agreed, self.queue = plan["agree"], Queue(self.begin(plan))
        elif not problem and plan["agree"] != self.agreed:
            problem = f"{plan['host']} would run the study in other units: other devices, data or tlx than the first"
        if problem:
            self._close(place, problem)
        else:
            place.ready = True

    def _ran(self, place: _Place, job: Job, answer: dict[str, Any]) -> None:
        assert self.queue is not None
        place.job, place.starts = None, 0
        for line in answer["lines"]:
            self.progress.line(line)
        if "error" not in answer:
            if not answer.get("stopped"):
                self.on_done(job)
        elif not (answer["again"] and self.queue.put_back(job, answer["error"])):
            if not answer["again"]:
                self.queue.fail(job, answer["error"])
            self.progress.line(f"failed: {job.name}: {self.queue.failures[job.name]}")

    def _lost(self, place: _Place, reason: str) -> None:
        import ray

        job, place.job = place.job, None
        with suppress(Exception):  # it may only be out of reach
            ray.kill(place.actor)
        if job and self.queue is not None:
            if self.queue.put_back(job, reason):
                self.progress.line(f"lost the worker of {job.name}; another goes on from its last save")
            else:
                self.progress.line(f"failed: {job.name}: {self.queue.failures[job.name]}")
        place.starts += 1
        if place.starts >= STARTS and not job:
            self._close(place, reason)
        elif not self.stop.is_set():
            self._start(place)

    def _close(self, place: _Place, reason: str) -> None:
        place.closed, place.ready = True, False
        if self.queue is None and all(other.closed for other in self.places):
            raise TlxError(f"--runner: no worker could start: {reason}")
        self.progress.line(f"one worker fewer: {reason}")

    def _say_what_is_waited_for(self) -> None:
        now = time.monotonic()
        if any(place.ready for place in self.places):
            self.last, self.said = now, False
        elif not self.said and now - self.last > PATIENCE:
            self.said = True
            self.progress.line("waiting for the Ray cluster to have room for a worker, and for it to load the data")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
