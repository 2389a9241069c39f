"""Weights & Biases without a network: files that its own tool could send later."""

from pathlib import Path

import pytest
from by_trial import CELLS, RUNS, rows

from tlx.loggers.wandb import WandB

wandb = pytest.importorskip("wandb", reason="wandb is not here; install tlx[wandb]")


@pytest.mark.parametrize("mode", ["offline", ""])
@pytest.mark.filterwarnings("ignore")
def test_runs_are_kept_where_there_is_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    work = tmp_path / "work"
    logger = WandB(work)
    logger.log(RUNS[0], rows(5, 10))
    logger.log(RUNS[1], rows(5, 5))
    logger.log(RUNS[0], rows(15, 20, ends=True))
    for run in RUNS:
        logger.end(run)
    kept = {path.name: path.read_bytes() for path in (work / "wandb").glob("offline-run-*/run-*.wandb")}
    assert set(kept) == {f"run-{cell}-0.001.wandb" for cell in CELLS}
    one, other = (kept[f"run-{cell}-0.001.wandb"] for cell in CELLS)
    for text in (b"train/loss", b"small", RUNS[0].name.encode()):
        assert text in one
    assert b"val/score" in one and b"val/score" not in other
