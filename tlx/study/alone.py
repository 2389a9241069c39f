"""Work of a study that only one of all its processes may do at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from tlx import lock
from tlx.study.context import Context, Stopped

# Seconds between two looks at whether another process is through.
LOOK = 0.5


@contextmanager
def alone(name: str, what: str, context: Context) -> Iterator[None]:
    """Hold a piece of work; who comes second waits, says so in one line, and still stops when it is told to.

    Args:
      name: of the piece, the same in every process.
      what: the other process does, for that line.
      context: of the study.

    Raises:
      Stopped: the study was asked to stop meanwhile.
    """

    def pause() -> None:
        context.say_once(f"waiting: another process {what}")
        if context.stop.wait(LOOK):
            raise Stopped("stopped; run the same command to go on")

    with lock.one_at_a_time(context.folders.work / f"{lock.LOCK}-{name}", pause):
        yield
