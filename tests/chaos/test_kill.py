"""Kill the real program at random instants, start it again, and compare every byte that is not a time."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from tlx.checkpoint import load_artifact
from tlx.records import Records

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.py"
SMALL = (
    "--config.model.depth=1",
    "--config.model.width=16",
    "--config.sources.mnist.steps=100",
    "--config.budgets=(20,)",
    "--config.seeds=(0,1)",
    "--config.train.steps=75",
    "--config.artifacts=True",
)
ALWAYS_SAVING = "--config.checkpoint.every_seconds=0"
NEVER_SAVING = "--config.checkpoint.every_seconds=1000"
KILLS = 50
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


def contents(work: Path) -> dict[str, bytes | str]:
    """The records, byte for byte, and the digests of what the cells trained."""
    # A kill leaves temporary names, which begin with a dot.
    folders = sorted(path for path in (work / "artifacts").iterdir() if path.name[0] != ".")
    trained = {f"leaves of {path.name}": load_artifact(path).digest for path in folders}
    records = {path.name: path.read_bytes() for path in sorted((work / "records").iterdir())}
    assert len(records) == len(trained)
    return {**records, **trained}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> tuple[Path, str]:
    work = tmp_path_factory.mktemp("undisturbed")
    return work, finish(start(work, data_dir, NEVER_SAVING))


@pytest.fixture
def warm() -> "Iterator[subprocess.Popen[str]]":
    """A process that has everything imported and starts the program when asked to."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "XLA_"))}
    command = [sys.executable, str(Path(__file__).with_name("warm.py"))]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.chaos
def test_killed_runs_end_with_the_records_of_an_undisturbed_one(
    tmp_path: Path, data_dir: Path, undisturbed: tuple[Path, str], warm: "subprocess.Popen[str]"
) -> None:
    assert warm.stdin is not None and warm.stdout is not None
    chance, expected, kills, finished = random.Random(SEED), contents(undisturbed[0]), 0, 0
    assert len(expected) == 20
    while kills < KILLS:
        work = tmp_path / str(finished)
        argv = ["run", str(CONFIG), "--workdir", str(work), "--data-dir", str(data_dir), *SMALL, ALWAYS_SAVING]
        warm.stdin.write(json.dumps(argv) + "\n")
        warm.stdin.flush()
        pid = int(warm.stdout.readline())
        # Most are killed at work, some on the way there, and now and then one is let live.
        time.sleep(chance.uniform(0.5, 4.0))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        code = int(warm.stdout.readline())
        kills += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            assert contents(work) == expected and not list((work / "work").glob("*"))
            finished += 1
    finish(start(tmp_path / str(finished), data_dir))
    assert contents(tmp_path / str(finished)) == expected
    assert not list((tmp_path / str(finished) / "work").glob("*"))


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
