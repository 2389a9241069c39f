"""Kill processes that share a study out among them, start them again, and compare every byte that is not a time."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlx.records import Records

CONFIG = Path(__file__).parents[1] / "small.py"
SMALL = ("--config.budgets=(10,20)", "--config.seeds=(0,1)", "--config.train.steps=40")
OFTEN = ("--config.checkpoint.every_seconds=0", "--config.plan.steps_per_call=5")
CELLS, SHARDS, KILLS, FEWEST = 20, 3, 12, 6
SEED = 6


def start(work: Path, data_dir: Path, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tlx.cli", "run", str(CONFIG), "--workdir", str(work), "--data-dir", str(data_dir)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "XLA_"))}
    return subprocess.Popen(
        [*command, *SMALL, *OFTEN, *more],
        env={**environment, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[bytes]") -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    return out.decode()


def contents(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((work / "records").glob("[!.]*"))}


@pytest.mark.chaos
def test_killed_shards_end_with_the_records_of_an_undisturbed_run(tmp_path: Path, data_dir: Path) -> None:
    work, chance = tmp_path / "shards", random.Random(SEED)

    def shard(index: int) -> "subprocess.Popen[bytes]":
        return start(work, data_dir, f"--shard={index}/{SHARDS}")

    running = {index: shard(index) for index in range(1, SHARDS + 1)}
    kills = 0
    while kills < KILLS and len(contents(work)) < CELLS:
        time.sleep(chance.uniform(1.0, 6.0))
        index = chance.choice(sorted(running))
        if running[index].poll() is None:
            os.killpg(running[index].pid, signal.SIGKILL)
            kills += 1
        _, err = running[index].communicate()
        assert running[index].returncode in (0, -signal.SIGKILL), err.decode()
        running[index] = shard(index)
    assert kills >= FEWEST, "the study ended before its shards could be killed often enough"
    for process in running.values():
        finish(process)
    finish(start(tmp_path / "plain", data_dir))
    expected = contents(tmp_path / "plain")
    assert len(expected) == CELLS
    assert contents(work) == expected
    assert len(Records(work).load_all()) == CELLS
    assert len(list((work / "sources").glob("[!.]*"))) == 1
    assert not list((work / "work").glob("[!.]*"))


@pytest.mark.chaos
def test_the_last_shard_shows_the_report_and_the_others_what_is_left(tmp_path: Path, data_dir: Path) -> None:
    few = ("--config.budgets=(10,)", "--config.seeds=(0,)", "--config.train.steps=5")
    first = finish(start(tmp_path, data_dir, *few, "--shard=1/2"))
    recorded = len(contents(tmp_path))
    assert 0 < recorded < 5
    assert first == f"done: {recorded} of 5 cells have records; the rest are other shards', or failed\n"
    assert not (tmp_path / "report.html").exists()
    assert "The report: " in finish(start(tmp_path, data_dir, *few, "--shard=2/2"))
    assert (tmp_path / "report.html").exists()
    assert "--shard" not in Records(tmp_path).manifest()["command"]
