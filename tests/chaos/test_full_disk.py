"""A disk that fills up while the real program runs on it: what was there stays, and it goes on once there is room."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.py"
SMALL = (
    "--config.model.depth=1",
    "--config.model.width=16",
    "--config.sources.mnist.steps=40",
    "--config.budgets=(20,)",
    "--config.seeds=(0,1)",
    "--config.train.steps=25",
    "--config.checkpoint.every_seconds=0",
)
SIZE = 8 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def run(work: Path, data_dir: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tlx.cli", "run", str(CONFIG), "--workdir", str(work), "--data-dir", str(data_dir)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "XLA_"))}
    return subprocess.run([*command, *SMALL], env=environment, capture_output=True, text=True, timeout=300, check=False)


def records(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((work / "records").glob("*.json"))}


@pytest.mark.chaos
def test_it_goes_on_once_there_is_room(small_disk: Path, tmp_path: Path, data_dir: Path) -> None:
    assert run(tmp_path / "undisturbed", data_dir).returncode == 0
    expected = records(tmp_path / "undisturbed")
    assert len(expected) == 10

    work, ballast = small_disk / "work", small_disk / "ballast"
    full, left = 0, 300_000
    while True:
        ballast.unlink(missing_ok=True)
        free = os.statvfs(small_disk)
        ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left)))
        done = run(work, data_dir)
        if done.returncode == 0:
            break
        full += 1
        before = records(work)
        # One line that names a file and says why, and no traceback.
        assert done.returncode == 2, done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert str(small_disk) in last and ("full" in last or "No space" in last), done.stderr
        assert "Traceback" not in done.stderr
        assert all(expected[name] == record for name, record in before.items())
        left += 500_000
        assert full < 12
    assert full >= 2, "the disk was never full"
    assert records(work) == expected
