"""Jobs for workers that may be lost: what is still to be given out, and how often each was lost."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

# How often a job is tried: one that kills every worker must not kill all.
TRIES = 5


@dataclass(frozen=True)
class Job:
    """Something to be done by any worker.

    Args:
      id: what a worker knows it by.
      name: for people.
      size: cells that will have records.
    """

    id: str
    name: str
    size: int


class Queue:
    """What is still to be given out.

    Args:
      jobs: in the order they are given out.
    """

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting = deque(jobs)
        self._lost: dict[str, int] = {}
        self.failures: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> Job | None:
        """The next job, or None."""
        return self._waiting.popleft() if self._waiting else None

    def put_back(self, job: Job, reason: str) -> bool:
        """A job whose worker was lost, or failed at it: the next in turn, as it has most behind it.

        Args:
          job: from `take`.
          reason: should it be the last time that is borne.

        Returns:
          False if that happened too often, and it counts as failed.
        """
        self._lost[job.id] = self._lost.get(job.id, 0) + 1
        if self._lost[job.id] >= TRIES:
            self.fail(job, f"tried {TRIES} times, at last: {reason}")
            return False
        self._waiting.appendleft(job)
        return True

    def fail(self, job: Job, reason: str) -> None:
        """A job that no worker can do."""
        self.failures[job.name] = reason

    def clear(self) -> None:
        """Nothing more is given out."""
        self._waiting.clear()
