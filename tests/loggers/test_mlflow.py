"""MLflow's local database, read back with its own client."""

from pathlib import Path

import pytest
from by_trial import RUNS, curves, rows

from tlx.loggers.mlflow import MLflow

mlflow = pytest.importorskip("mlflow", reason="mlflow is not here; install tlx[mlflow]")


@pytest.mark.filterwarnings("ignore")
def test_points_reach_the_database_and_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    first = MLflow(tmp_path / "work")
    first.log(RUNS[0], rows(5, 10))
    first.log(RUNS[1], rows(5, 5))
    again = MLflow(tmp_path / "work")  # as after a kill
    again.log(RUNS[0], rows(15, 20, ends=True))
    again.end(RUNS[0])
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'work' / 'mlflow' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    one, other = (next(r for r in runs if r.info.run_name == run.name) for run in RUNS)
    assert len(runs) == 2
    assert (one.info.status, other.info.status) == ("FINISHED", "RUNNING")
    assert one.data.params == {"entry": "full", "source": "mnist", "target": "digits", "seed": "0", "lr": "0.001"}
    for curve, points in curves(5, 20, ends=True).items():
        history = sorted(client.get_metric_history(one.info.run_id, curve), key=lambda point: point.step)
        assert [point.step for point in history] == [step for step, _ in points]
        assert [point.value for point in history] == pytest.approx([value for _, value in points], nan_ok=True)
    assert history[0].timestamp == 1_700_000_020_500
    assert [path.name for path in tmp_path.iterdir()] == ["work"], "nothing is left beside the work folder"
