"""Kill the real program at random instants, start it again, and compare every byte that is not a time."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlx.records import Records

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.py"
SMALL = (
    "--config.model.depth=1",
    "--config.model.width=16",
    "--config.sources.mnist.steps=100",
    "--config.budgets=(20,)",
    "--config.seeds=(0,1)",
    "--config.train.steps=75",
)
ALWAYS_SAVING = "--config.checkpoint.every_seconds=0"
NEVER_SAVING = "--config.checkpoint.every_seconds=1000"
KILLS = 8
SEED = 20


def start(work: Path, data_dir: Path, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tlx.cli", "run", str(CONFIG), "--workdir", str(work), "--data-dir", str(data_dir)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "XLA_"))}
    return subprocess.Popen(
        [*command, *SMALL, *more],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[bytes]") -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    return out.decode()


def contents(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((work / "records").iterdir())}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> tuple[Path, str]:
    work = tmp_path_factory.mktemp("undisturbed")
    return work, finish(start(work, data_dir, NEVER_SAVING))


@pytest.mark.chaos
def test_killed_runs_end_with_the_records_of_an_undisturbed_one(
    tmp_path: Path, data_dir: Path, undisturbed: tuple[Path, str]
) -> None:
    chance = random.Random(SEED)
    kills = 0
    while kills < KILLS:
        process = start(tmp_path, data_dir, ALWAYS_SAVING)
        try:
            process.wait(timeout=chance.uniform(3.0, 8.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
        if process.returncode == 0:
            break
    assert kills >= 3, "the run ended before it could be killed three times"
    finish(start(tmp_path, data_dir))
    expected = contents(undisturbed[0])
    assert len(expected) == 10
    assert contents(tmp_path) == expected
    assert not list((tmp_path / "work").glob("*"))


@pytest.mark.chaos
def test_a_polite_stop_saves_and_says_so(tmp_path: Path, data_dir: Path, undisturbed: tuple[Path, str]) -> None:
    process = start(tmp_path, data_dir, NEVER_SAVING)
    deadline = time.monotonic() + 120
    while not (tmp_path / "sources").exists() or not list((tmp_path / "sources").glob("*/*/manifest.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75
    assert err.decode().strip().splitlines()[-1] == "stopped; run the same command to go on"
    finish(start(tmp_path, data_dir))
    assert contents(tmp_path) == contents(undisturbed[0])


@pytest.mark.chaos
def test_a_second_run_recomputes_nothing(data_dir: Path, undisturbed: tuple[Path, str]) -> None:
    work, shown = undisturbed
    before = contents(work)
    stamps = {path: path.stat().st_mtime_ns for path in (work / "records").iterdir()}
    assert finish(start(work, data_dir)) == shown
    assert contents(work) == before
    assert {path: path.stat().st_mtime_ns for path in (work / "records").iterdir()} == stamps
    assert len(Records(work).load_all()) == 10
