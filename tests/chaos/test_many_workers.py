"""Eight workers on three hundred tiny cells, killed and paused all the while: every cell has exactly one record."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import tiny_worker

from tlx.records import Records

WORKERS, KILLS, SEED = 8, 40, 4
SCRIPT = Path(tiny_worker.__file__)


def start(work: Path, worker: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, str(SCRIPT), str(work), str(worker)], stderr=subprocess.PIPE)


def ended(work: Path) -> Counter[str]:
    """How often each cell was computed to its end, by workers that lived to say so."""
    lines = [line for diary in (work / "diary").iterdir() for line in diary.read_text().splitlines()]
    return Counter(line.split()[1] for line in lines if line.startswith("end"))


@pytest.mark.chaos
def test_every_cell_has_exactly_one_record(tmp_path: Path) -> None:
    chance, kills, pauses = random.Random(SEED), 0, 0
    running = {index: start(tmp_path, index) for index in range(WORKERS)}
    while kills < KILLS:
        time.sleep(chance.uniform(0.05, 0.25))
        index = chance.choice(sorted(running))
        process = running[index]
        if process.poll() is None and chance.random() < 0.3:
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.2)
            os.kill(process.pid, signal.SIGCONT)
            pauses += 1
            continue
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        running[index] = start(tmp_path, index)
        if len(list((tmp_path / "records").glob("*.json"))) == len(tiny_worker.CELLS):
            break
    assert kills >= 10 and pauses >= 2, "all was done before it could be disturbed often enough"
    for process in running.values():
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()
    records = Records(tmp_path).load_all()
    assert Counter(record["id"] for record in records) == Counter(tiny_worker.CELLS)
    assert all(record["value"] == tiny_worker.value_of(record["id"]) for record in records)
    computed = ended(tmp_path)
    assert computed and set(computed.values()) == {1}, "a cell was computed again although it had a record"
