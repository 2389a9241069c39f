"""What trials say of themselves while they run: rows of streams, handed on to loggers, and no part of any record."""

import functools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from tlx import stream
from tlx.errors import FileError
from tlx.loggers.logger import Logger, Run
from tlx.loggers.registry import LOGGERS
from tlx.step import Task

if TYPE_CHECKING:
    # They know of the context, which holds these metrics.
    from tlx.study.select import Validation
    from tlx.study.trials import Trained, Trial

# Rows of a trial before its last, at most.
ROWS = 1000
# Rows are kept in memory this long, or longer where the disk is slow: writing may take at most this share of the time.
SECONDS, SHARE = 10.0, 0.01


@dataclass
class _Noted:
    """How far a trial's rows have come, those of earlier processes included."""

    run: Run
    step: int = 0
    ended: bool = False


class Metrics:
    """The streams of all cells of a study, and its loggers. Every method may be called from any thread.

    Rows reach the disk every `SECONDS`, and with `flush`, which must come before a checkpoint is saved: what a killed
    process had not written is then computed again, and written then.

    Args:
      workdir: of the study.
      study: its name.
      loggers: names of registered loggers.
      say: shows the user a line.
    """

    def __init__(self, workdir: Path, study: str, loggers: Sequence[str], say: Callable[[str], None]) -> None:
        self._workdir, self._study, self._say = workdir, study, say
        self._lock = threading.Lock()
        self._noted: dict[str, _Noted] = {}
        self._names = list(loggers)
        self._loggers: dict[str, Logger] = {}
        # Rows that the loggers, and those that the streams have yet to get; both by trial, which begins with the cell.
        self._unlogged: dict[str, list[stream.Row]] = {}
        self._unwritten: dict[str, list[stream.Row]] = {}
        self._flushed, self._cost = time.monotonic(), 0.0
        self._warned: set[str] = set()

    def note(self, task: Task, trial: "Trial", loss_S: np.ndarray, seconds: float) -> None:
        """How far a trial has come; a row where it is far enough from the last one.

        Args:
          task: names the schedule.
          trial: under way.
          loss_S: of all its steps so far, in nats.
          seconds: it took so far, or the program that it is a part of.
        """
        with self._lock:
            noted, step = self._of(trial), len(loss_S)
            spacing = -(-task.steps // ROWS) if step < trial.steps(task) else 1
            if step - noted.step >= spacing:
                self._add(noted, trial, _progress(task, trial, loss_S, noted.step, seconds))
                noted.step = step
            if time.monotonic() - self._flushed >= max(SECONDS, self._cost / SHARE):
                self._flush()

    def end(
        self, task: Task, trials: "Sequence[Trial]", runs: "Sequence[Trained]", results: "Sequence[Validation]"
    ) -> None:
        """How trials did on validation data; all of their rows are on the disk afterwards.

        Args:
          task: names the schedule.
          trials: that have ended.
          runs: what each has learned.
          results: how each scored.
        """
        with self._lock:
            for trial, run, result in zip(trials, runs, results, strict=True):
                noted, step = self._of(trial), len(run.losses)
                if noted.ended:
                    continue
                row: stream.Row = {"step": step, "val_score": result.score, "val_loss": result.loss}
                if step > noted.step:
                    row = _progress(task, trial, run.losses, noted.step, run.seconds) | row
                self._add(noted, trial, row)
            self._flush()
            for trial in trials:
                self._tell(self._noted.pop(trial.key).run, None)

    def flush(self) -> None:
        """Write what is waiting."""
        with self._lock:
            self._flush()

    def _of(self, trial: "Trial") -> _Noted:
        """What is known of a trial, from its stream where an earlier process has begun it."""
        if not (noted := self._noted.get(trial.key)):
            noted = self._noted[trial.key] = _Noted(_run_of(self._study, trial))
            try:
                rows = stream.read(stream.path_of(self._workdir, trial.cell.id)).rows
            except FileError as error:
                self._warn("reading", str(error))
                return noted
            for row in rows:
                if row["trial"] == _name(trial):
                    noted.step, noted.ended = max(noted.step, row["step"]), noted.ended or "val_score" in row
        return noted

    def _add(self, noted: _Noted, trial: "Trial", row: stream.Row) -> None:
        named = {"trial": _name(trial), "peak_lr": trial.point.learning_rate, "time": round(time.time(), 3), **row}
        for waiting in (self._unlogged, self._unwritten):
            waiting.setdefault(trial.key, []).append(named)

    def _flush(self) -> None:
        began = time.monotonic()
        # Loggers first: what a kill in between costs is a row that some of them get twice, not one that they never get.
        unlogged, self._unlogged = self._unlogged, {}
        for key, rows in unlogged.items():
            self._tell(self._noted[key].run, rows)
        trials_of_cell: dict[str, list[str]] = {}
        for key in self._unwritten:
            trials_of_cell.setdefault(key.partition("-")[0], []).append(key)
        try:
            for cell, keys in trials_of_cell.items():
                rows = [row for key in keys for row in self._unwritten[key]]
                stream.append(stream.path_of(self._workdir, cell), rows)
                for key in keys:
                    del self._unwritten[key]
        except FileError as error:
            self._warn("writing", f"{error}; results are not harmed, metrics wait in memory")
        self._flushed = time.monotonic()
        self._cost = self._flushed - began

    def _tell(self, run: Run, rows: list[stream.Row] | None) -> None:
        """Hand rows to every logger that has not failed yet, or with None say that no more will come."""
        for name in list(self._names):
            try:
                if name not in self._loggers:
                    self._loggers[name] = LOGGERS[name].make(self._workdir)
                if rows is None:
                    self._loggers[name].end(run)
                else:
                    self._loggers[name].log(run, rows)
            except Exception as error:  # whatever a service or its library raises, no result depends on it
                self._names.remove(name)
                lines = str(error).strip().splitlines() or [""]
                what = f"{type(error).__name__}: {lines[0]}"[:200]
                self._warn(name, f"{name} gets no more metrics ({what}); all are in {self._workdir / 'metrics'}")

    def _warn(self, about: str, text: str) -> None:
        """One line about each thing that can go wrong, however often it does."""
        if about not in self._warned:
            self._warned.add(about)
            self._say(text)


def _name(trial: "Trial") -> str:
    """The trial within its cell."""
    return trial.key.removeprefix(f"{trial.cell.id}-")


def _run_of(study: str, trial: "Trial") -> Run:
    cell = trial.cell
    where = f"{cell.source.name}-{cell.target.name}" if cell.source else cell.target.name
    name = f"{cell.entry.name}/{where}/n{cell.budget}-seed{cell.seed}-{cell.id}/lr{_name(trial)}"
    return Run(trial.key, study, name, {**cell.key(), "lr": trial.point.learning_rate})


def _progress(task: Task, trial: "Trial", loss_S: np.ndarray, before: int, seconds: float) -> dict[str, Any]:
    """What a row says of the steps since the row before."""
    step = len(loss_S)
    loss = float(np.mean(loss_S[before:], dtype=np.float64))
    return {
        "step": step,
        "train_loss": loss if np.isfinite(loss) else None,
        "lr": float(np.float32(trial.point.learning_rate) * _lr_factor(task, step - 1, trial.steps(task))),
        "seconds": round(seconds, 3),
    }


@functools.lru_cache(maxsize=4096)
def _lr_factor(task: Task, step: int, length: int) -> np.float32:
    """The learning rate of a step as a share of its peak; the trials of a unit ask for the same ones."""
    own = jnp.asarray(length, jnp.int32) if task.shortened else None
    return np.float32(task.at(step).lr_factor(jnp.asarray(step, jnp.int32), own))
