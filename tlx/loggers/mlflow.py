"""MLflow: one run a trial, in an experiment named like the study."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlx.loggers.logger import Run, scalars

# By which a run is found again after an interruption.
_TAG = "tlx.trial"
_MOST = 1000  # metrics that MLflow takes in one call


class MLflow:
    """Runs of MLflow, at MLFLOW_TRACKING_URI or else in the database `WORKDIR/mlflow/mlflow.db`.

    Args:
      workdir: of the study.
    """

    def __init__(self, workdir: Path) -> None:
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # of tables that are made
        self._folder = (workdir / "mlflow").absolute()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            self._folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{self._folder / 'mlflow.db'}"
        self._local = uri.startswith("sqlite:")
        self._client: Any = MlflowClient(tracking_uri=uri)
        self._runs: dict[str, str] = {}
        self._experiments: dict[str, str] = {}

    def log(self, run: Run, rows: Sequence[Mapping[str, Any]]) -> None:
        """One point of every curve a row."""
        from mlflow.entities import Metric

        opened = self._runs.get(run.id) or self._open(run)
        points = [
            Metric(curve, value, int(row["time"] * 1000), row["step"])
            for row in rows
            for curve, value in scalars(row).items()
        ]
        for start in range(0, len(points), _MOST):
            self._client.log_batch(opened, metrics=points[start : start + _MOST])

    def end(self, run: Run) -> None:
        """Marked as finished."""
        if opened := self._runs.pop(run.id, None):
            self._client.set_terminated(opened)

    def _open(self, run: Run) -> str:
        """The run of a trial, begun anew or found again."""
        from mlflow.entities import Param

        experiment = self._experiments.get(run.study) or self._experiment(run.study)
        found = self._client.search_runs([experiment], filter_string=f"tags.`{_TAG}` = '{run.id}'", max_results=1)
        if not found:
            found = [self._client.create_run(experiment, run_name=run.name, tags={_TAG: run.id})]
            params = [Param(name, str(value)) for name, value in run.settings.items()]
            self._client.log_batch(found[0].info.run_id, params=params)
        self._runs[run.id] = str(found[0].info.run_id)
        return self._runs[run.id]

    def _experiment(self, study: str) -> str:
        there = self._client.get_experiment_by_name(study)
        # MLflow would otherwise keep the files of a local database in the current folder.
        place = (self._folder / "artifacts").as_uri() if self._local else None
        name = there.experiment_id if there else self._client.create_experiment(study, artifact_location=place)
        self._experiments[study] = str(name)
        return self._experiments[study]
