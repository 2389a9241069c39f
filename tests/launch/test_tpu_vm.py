"""The script for TPU VMs, run by bash with a `gcloud` that takes folders for hosts."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tlx.launch.options import checked
from tlx.launch.script import Job, render

HOSTS = 3
# Each host's commands run in a home of its own.
GCLOUD = """#!/usr/bin/env bash
printf '%s\\n' "${@:1:$#-1}" >"$ROOT/asked"
command=${!#}
for host in 0 1 2; do
    (cd "$ROOT/home-$host" && HOST_NUMBER=$host bash -c "${command#--command=}") || exit
done
"""
CURL = """#!/usr/bin/env bash
case "${!#}" in
    http://metadata.google.internal/*/instance/attributes/agent-worker-number) printf %s "$HOST_NUMBER" ;;
    */worker-network-endpoints) printf a:b:10.0.0.1,a:b:10.0.0.2,a:b:10.0.0.3 ;;
    *) exit 22 ;;
esac
"""
TLX = """#!/usr/bin/env bash
printf '%s\\n' "$@" "$TPU_PROCESS_BOUNDS $TPU_CHIPS_PER_PROCESS_BOUNDS $TPU_VISIBLE_CHIPS" >asked
trap 'echo saved; exit 75' TERM
echo running
for i in $(seq 500); do sleep 0.02; done
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three hosts, each with tlx in a folder, and the programs that reach them."""
    executable(tmp_path / "bin" / "gcloud", GCLOUD)
    executable(tmp_path / "bin" / "curl", CURL)
    for host in range(HOSTS):
        executable(tmp_path / f"home-{host}" / "my code" / "t l x", TLX)
    return tmp_path


def call(root: Path, *argv: str, shards: int = HOSTS) -> "subprocess.CompletedProcess[str]":
    job = Job("s", "a config.py", ("--config.name=it's",), shards, "$HOME/`id`", "", ("./t l x",))
    given = {"tpu": "my-tpu", "zone": "us-east1-d", "project": "mine", "folder": "my code"}
    (root / "script").write_text(render(job, "tpu-vm", checked("tpu-vm", given)))
    environment = {**os.environ, "ROOT": str(root), "PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
    command = ["bash", "script", *argv]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=30)


def logs(root: Path) -> list[str]:
    return [(root / f"home-{host}" / "my code" / f"s-{host}.log").read_text() for host in range(HOSTS)]


def until(root: Path, expected: str) -> None:
    deadline = time.monotonic() + 30
    while logs(root) != [expected] * HOSTS:
        assert time.monotonic() < deadline, logs(root)
        time.sleep(0.02)


def test_every_host_runs_its_shard_until_it_is_told_to_stop(root: Path) -> None:
    begun = call(root, "start")
    assert (begun.returncode, begun.stderr) == (0, "")
    assert begun.stdout.splitlines() == [f"host {host}: shard {host + 1}/3 begun" for host in range(HOSTS)]
    asked = (root / "asked").read_text().split("\n")
    words = ["compute", "tpus", "tpu-vm", "ssh", "my-tpu", "--zone=us-east1-d", "--project=mine", "--worker=all", ""]
    assert asked == words
    until(root, "running\n")
    for host in range(HOSTS):
        found = (root / f"home-{host}" / "my code" / "asked").read_text().splitlines()
        words = ["run", "a config.py", "--shard", f"{host + 1}/3", "--workdir", "$HOME/`id`", "--config.name=it's"]
        assert found == [*words, "1,1,1 2,2,1 0,1,2,3"]
    again = call(root, "start")
    assert again.stdout.splitlines() == [f"host {host} is at work already" for host in range(HOSTS)]
    assert call(root, "look").stdout.splitlines() == [f"host {host}: running" for host in range(HOSTS)]
    assert call(root, "stop").stdout.splitlines() == [f"host {host}: told to save and end" for host in range(HOSTS)]
    until(root, "running\nsaved\n")
    deadline = time.monotonic() + 30
    idle = [f"host {host}: nothing is running" for host in range(HOSTS)]
    while call(root, "stop").stdout.splitlines() != idle:
        assert time.monotonic() < deadline


def test_as_many_shards_as_hosts_or_nothing_is_begun(root: Path) -> None:
    done = call(root, "start", shards=4)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "this TPU has 3 hosts, but the study 4 shards: launch it with --shards 3\n"
    assert not list(root.glob("home-*/my code/s-*"))


@pytest.mark.parametrize("argv", [(), ("begin",)])
def test_without_a_verb_it_says_which_there_are(argv: tuple[str, ...], root: Path) -> None:
    done = call(root, *argv)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "usage: bash script start|look|stop\n")
    assert not (root / "asked").exists()
