"""A study on a Ray cluster: who holds its folder, and gives its units out."""

import os
from collections.abc import Callable
from threading import Event
from typing import Any

from tlx import atomic, lock
from tlx.errors import TlxError
from tlx.progress import Progress
from tlx.records import Records
from tlx.runners.queue import Job
from tlx.runners.ray import run_on_ray
from tlx.study.context import Stopped
from tlx.study.spec import Folders, Study
from tlx.worker import Worker


def drive(study: Study, folders: Folders, address: str, progress: Progress, on_start: Callable[[Event], None]) -> None:
    """Run what has no record yet on a cluster's workers.

    Nothing here touches a device: on the host of an accelerator this process would take it from the workers, and how
    cells become units depends on the devices that run them. So the first worker lays the study out.

    Args:
      study: the spec.
      folders: where; every node must see both.
      address: `ray://HOST:PORT`, or empty for `RAY_ADDRESS`, the cluster of this host, or a new one on it.
      progress: what the user sees.
      on_start: given what stops all workers when it is set.

    Raises:
      TlxError: the cluster cannot be reached, the study cannot be run, or some of its units failed.
      FileError: another process is at work in the folder.
      Stopped: it was asked to stop; what was done is saved.
    """
    stop = Event()
    on_start(stop)
    data = folders.data if isinstance(folders.data, str) else os.fspath(folders.data.absolute())
    work = os.fspath(folders.work.absolute())
    order = {"config": study.config, "command": study.command, "work": work, "data": data, "cwd": os.getcwd()}
    text = atomic.canonical_json(order).decode()
    with lock.exclusive(folders.work):
        begun = _Begun(study.name, Records(folders.work), progress)
        needs = study.execution.needs
        failures = run_on_ray(address, needs, Worker, text, begun.begin, begun.on_done, progress, stop)
    if failures:
        raise TlxError(f"{len(failures)} of {begun.units} units failed; run the same command to try them again")
    if stop.is_set():
        raise Stopped("stopped; run the same command to go on")


class _Begun:
    """The first worker's plan, and how much of it is done."""

    def __init__(self, name: str, records: Records, progress: Progress) -> None:
        self.bar, self.records, self.progress = f"cells of {name}", records, progress
        self.units = 0

    def begin(self, plan: dict[str, Any]) -> list[Job]:
        """The manifest is written; a job for each unit that lacks records."""
        self.records.write_manifest(plan["manifest"])
        lacking = {u["id"]: [c for c in u["cells"] if not self.records.has(c)] for u in plan["units"]}
        jobs = [Job(u["id"], u["name"], len(lacking[u["id"]])) for u in plan["units"] if lacking[u["id"]]]
        cells, self.units = len(plan["manifest"]["cells"]), len(jobs)
        if not jobs:
            self.progress.line(f"all {cells} cells have records: nothing to run")
        else:
            self.progress.start(self.bar, cells, cells - sum(job.size for job in jobs))
        return jobs

    def on_done(self, job: Job) -> None:
        """One bar for all workers."""
        self.progress.advance(self.bar, job.size)
