"""The script for SLURM, run by bash with a `tlx` and an `scontrol` that only write down what they are asked."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tlx.launch.options import checked
from tlx.launch.script import Job, render

TLX = """#!/usr/bin/env bash
printf '%s\\n' "$@" >asked
trap 'echo saved >>asked; exit 75' TERM
touch running
for i in $(seq {waits}); do sleep 0.02; done
exit {code}
"""
SCONTROL = """#!/usr/bin/env bash
printf '%s\\n' "$@" >requeued
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the script is run in, with both programs."""
    job = Job("s", "a config.py:x", ("--config.name=it's",), 4, "$HOME/`id`", "d", ("./my tlx",))
    (tmp_path / "script").write_text(render(job, "slurm", checked("slurm", {})))
    executable(tmp_path / "scontrol", SCONTROL)
    return tmp_path


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def start(folder: Path, code: int, waits: int = 0) -> "subprocess.Popen[bytes]":
    executable(folder / "my tlx", TLX.format(code=code, waits=waits))
    numbers = {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "80"}
    environment = {**os.environ, **numbers, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.Popen(["bash", "script"], cwd=folder, env=environment)


def read(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(("code", "requeued"), [(0, []), (2, []), (1, []), (75, ["requeue", "77_3"])])
def test_a_task_runs_its_shard_and_comes_back_if_that_says_so(code: int, requeued: list[str], folder: Path) -> None:
    assert start(folder, code).wait(timeout=30) == code
    words = ["run", "a config.py:x", "--shard", "3/4", "--workdir", "$HOME/`id`", "--data-dir", "d"]
    assert read(folder / "asked") == [*words, "--config.name=it's"]
    assert read(folder / "requeued") == requeued


@pytest.mark.parametrize("repeat", range(3))
def test_before_its_time_is_up_the_run_is_told_to_save_and_comes_back(repeat: int, folder: Path) -> None:
    script = start(folder, 0, waits=1000)
    while not (folder / "running").exists():
        time.sleep(0.01)
    script.send_signal(signal.SIGUSR1)
    assert script.wait(timeout=30) == 75
    assert read(folder / "asked")[-1] == "saved"
    assert read(folder / "requeued") == ["requeue", "77_3"]


def test_a_run_that_ends_by_itself_in_its_last_seconds_has_ended(folder: Path) -> None:
    script = (folder / "script").read_text()
    # The signal comes when the run is over, but before the script has looked at its code.
    late = script.replace('wait "$run"\ncode', 'while [ ! -e over ]; do :; done; kill -USR1 $$; wait "$run"\ncode', 1)
    assert late != script
    (folder / "script").write_text(late)
    running = start(folder, 0)
    while not (folder / "running").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    (folder / "over").touch()
    assert running.wait(timeout=30) == 0
    assert read(folder / "requeued") == []


def test_a_cancelled_task_does_not_come_back(folder: Path) -> None:
    script = start(folder, 0, waits=1000)
    while not (folder / "running").exists():
        time.sleep(0.01)
    # scancel signals the script and the run alike.
    script.send_signal(signal.SIGTERM)
    assert script.wait(timeout=30) == -signal.SIGTERM
    assert read(folder / "requeued") == []
