"""Event files, one folder a trial, for `tensorboard --logdir WORKDIR/tensorboard`."""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tlx.loggers.logger import Run, scalars

# Names a way of opening files, which tensorboardX otherwise empties.
_APPENDING = "tlx-append"


class TensorBoard:
    """Writes event files through tensorboardX, which needs neither TensorFlow nor TensorBoard.

    A file is open only while rows are added: a program may have a thousand trials, and a process as many files.
    Each process has files of its own, so that what a killed one has torn hides nothing that follows.

    Args:
      workdir: of the study.
    """

    def __init__(self, workdir: Path) -> None:
        # Imported late, as it takes a quarter of a second that only a run has to spend.
        from tensorboardX import record_writer

        record_writer.register_writer_factory(_APPENDING, _Appending)
        self._folder = workdir / "tensorboard"
        self._files: dict[str, Path] = {}

    def log(self, run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
        """One event a row."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import RecordWriter

        events = []
        if not (file := self._files.get(run.id)):
            name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
            file = self._files[run.id] = self._folder / run.name / name
            file.parent.mkdir(parents=True, exist_ok=True)
            events = [Event(wall_time=rows[0]["time"], file_version="brain.Event:2")]
        for row in rows:
            values = [Summary.Value(tag=curve, simple_value=value) for curve, value in scalars(row).items()]
            events.append(Event(wall_time=row["time"], step=row["step"], summary=Summary(value=values)))
        writer = RecordWriter(f"{_APPENDING}:{file}")
        try:
            for event in events:
                writer.write(event.SerializeToString())
        finally:
            writer.close()

    def end(self, run: Run) -> None:
        """Nothing is open."""
        self._files.pop(run.id, None)


class _Appending:
    """How tensorboardX opens a file: what is in it stays."""

    @staticmethod
    def open(path: str) -> BinaryIO:
        return Path(path.removeprefix(f"{_APPENDING}:")).open("ab")
