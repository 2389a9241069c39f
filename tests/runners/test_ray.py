"""The real program on a real Ray cluster of two nodes; its records are compared with those of a run without Ray."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tlx.records import Records

ROOT = Path(__file__).parents[2]
STUDY = (
    str(ROOT / "tests" / "small.py"),
    "--config.budgets=(10,20)",
    "--config.seeds=(0,1)",
    "--config.train.steps=40",
    "--config.plan.steps_per_call=5",
)
ON_RAY = ("--runner=ray", "--config.checkpoint.every_seconds=0")
CELLS = 20
# In a process of its own, as Ray sets signal handlers and leaves files open: two nodes of one CPU, the second killed
# when a line comes in.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
size = 200 * 2**20
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": size})
second = cluster.add_node(num_cpus=1, object_store_memory=size)
print("address", cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
    print("removed", flush=True)
cluster.shutdown()
"""

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: uv sync --extra ray"),
]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[str]"]:
    for name in list(os.environ):
        if name.startswith(("JAX_", "XLA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where tlx is, for the nodes
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    made = subprocess.Popen([sys.executable, "-c", CLUSTER], text=True, **pipes)
    monkeypatch.setenv("RAY_ADDRESS", heard(made, "address "))
    yield made
    made.communicate(timeout=120)


def heard(cluster: "subprocess.Popen[str]", begin: str) -> str:
    """The rest of the first line that begins so."""
    assert cluster.stdout is not None
    return next(line.removeprefix(begin).strip() for line in cluster.stdout if line.startswith(begin))


def start(work: Path, data_dir: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tlx.cli", "run", *STUDY, "--workdir", str(work), "--data-dir", str(data_dir)]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*command, *more], cwd=ROOT, text=True, start_new_session=True, **streams)


def finish(process: "subprocess.Popen[str]", code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=1200)
    assert process.returncode == code, err
    return out, err


def published(work: Path) -> dict[str, bytes]:
    folder = work / "records"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))} if folder.exists() else {}


def wait_for_records(work: Path, count: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 900
    while len(published(work)) < count:
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_a_lost_node_and_a_stopped_driver_leave_the_records_of_an_undisturbed_run(
    cluster: "subprocess.Popen[str]", tmp_path: Path, data_dir: Path
) -> None:
    on_ray = start(tmp_path / "ray", data_dir, *ON_RAY)
    wait_for_records(tmp_path / "ray", CELLS // 4, on_ray)
    second = start(tmp_path / "ray", data_dir, *ON_RAY)
    assert "another process is at work here" in finish(second, 2)[1]
    assert cluster.stdin is not None
    print("go", file=cluster.stdin, flush=True)
    heard(cluster, "removed")
    assert len(published(tmp_path / "ray")) < CELLS
    out, err = finish(on_ray)
    assert "; another goes on from its last save\n" in err
    assert "The report: " in out
    # A cluster of one node now: the driver is stopped, and a run without Ray goes on.
    stopped = start(tmp_path / "stopped", data_dir, *ON_RAY)
    wait_for_records(tmp_path / "stopped", 1, stopped)
    stopped.send_signal(signal.SIGTERM)
    assert finish(stopped, 75)[1].splitlines()[-1] == "stopped; run the same command to go on"
    assert len(published(tmp_path / "stopped")) < CELLS
    for work in ("stopped", "plain"):
        finish(start(tmp_path / work, data_dir))
    expected = published(tmp_path / "plain")
    assert len(expected) == CELLS
    assert published(tmp_path / "ray") == published(tmp_path / "stopped") == expected
    assert len(Records(tmp_path / "ray").load_all()) == CELLS
    assert len(list((tmp_path / "ray" / "sources").glob("[!.]*"))) == 1
