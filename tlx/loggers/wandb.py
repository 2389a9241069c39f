"""Weights & Biases: one run a trial, grouped by cell, in a project named like the study."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlx.loggers.logger import Run, scalars


class WandB:
    """Runs of Weights & Biases; without a login, or with WANDB_MODE=offline, they are kept in `WORKDIR/wandb`.

    Args:
      workdir: of the study.
    """

    def __init__(self, workdir: Path) -> None:
        import wandb

        self._wandb: Any = wandb
        workdir.mkdir(parents=True, exist_ok=True)  # it would choose another place
        self._folder = str(workdir)
        self._runs: dict[str, Any] = {}
        # Nobody may be asked to log in while a study runs.
        there = os.environ.get("WANDB_MODE") or wandb.login(prompt=False, verify=False)
        self._mode = None if there else "offline"

    def log(self, run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
        """One history step a row."""
        opened = self._runs.get(run.id) or self._open(run)
        for row in rows:
            opened.log(scalars(row), step=row["step"])

    def end(self, run: Run) -> None:
        """Marked as finished."""
        if opened := self._runs.pop(run.id, None):
            opened.finish()

    def _open(self, run: Run) -> Any:
        """A run that was interrupted goes on under its old id."""
        quiet = self._wandb.Settings(silent=True, console="off", x_disable_stats=True)
        opened = self._runs[run.id] = self._wandb.init(
            project=run.study,
            id=run.id,
            name=run.name,
            group=run.id.partition("-")[0],
            job_type=str(run.settings.get("entry", "")),
            config=dict(run.settings),
            dir=self._folder,
            mode=self._mode,
            resume="allow",
            reinit="create_new",  # trials run side by side
            settings=quiet,
        )
        return opened
