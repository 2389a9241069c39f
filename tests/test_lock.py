import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tlx.cli import main
from tlx.errors import FileError
from tlx.lock import exclusive, is_held, one_at_a_time, shard

HOLD = """
import sys, time
from pathlib import Path
from tlx.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
import sys, time
from pathlib import Path
from tlx.lock import one_at_a_time
folder = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with one_at_a_time(folder / ".lock-x", lambda: time.sleep(0.0005)):
        before = int((folder / "count").read_text())
        (folder / "count").write_text(str(before + 1))
        if sys.argv[3:]:
            print("held", flush=True)
            time.sleep(60)
"""
QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.py"


def test_it_can_be_held_again_and_again_but_not_twice(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    for _ in range(2):
        with exclusive(folder):
            with pytest.raises(FileError, match="another process is at work here"), exclusive(folder):
                pass
            with exclusive(tmp_path):
                pass


def test_a_killed_holder_leaves_it_free(tmp_path: Path, capsys: pytest.CaptureFixture[str], data_dir: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    assert main(["run", str(QUICKSTART), "--workdir", str(tmp_path), "--data-dir", str(data_dir)]) == 2
    assert capsys.readouterr().err == f"{tmp_path}: another process is at work here; wait for it, or choose --workdir\n"
    assert os.listdir(tmp_path) == [".lock"]
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with exclusive(tmp_path):
        assert os.listdir(tmp_path) == [".lock"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot be written to"), exclusive(tmp_path / "file" / "folder"):
        pass


def test_it_is_seen_to_be_held_only_while_it_is(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "nowhere") and not is_held(tmp_path)
    with exclusive(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_all_shards_of_one_number_hold_it_together(tmp_path: Path) -> None:
    with shard(tmp_path, 1, 3, "a"), shard(tmp_path, 3, 3, "a"), shard(tmp_path, 2, 3, "a"):
        assert sorted(os.listdir(tmp_path)) == [".lock", ".lock-1-of-3", ".lock-2-of-3", ".lock-3-of-3"]
        with pytest.raises(FileError, match="another process is at work on shard 2/3"), shard(tmp_path, 2, 3, "a"):
            pass
    assert os.listdir(tmp_path) == [".lock"]


def test_what_a_killed_shard_left_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / ".lock-1-of-3").write_text("a")
    with shard(tmp_path, 2, 2, "b"), shard(tmp_path, 1, 2, "b"):
        pass
    with shard(tmp_path, 1, 3, "b"):
        assert (tmp_path / ".lock-1-of-3").read_text() == "b"


def test_one_at_a_time_loses_no_update_of_several_processes(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", COUNT, str(tmp_path), "200"]
    workers = [subprocess.Popen(command) for _ in range(3)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "600"
    assert os.listdir(tmp_path) == ["count"]


def test_who_waits_goes_on_when_the_holder_is_killed(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    holder = subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path), "1", "and stay"], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    waited: list[int] = []

    def pause() -> None:
        if not waited:
            os.kill(holder.pid, signal.SIGKILL)
        waited.append(holder.wait())

    with one_at_a_time(tmp_path / ".lock-x", pause):
        assert waited == [-signal.SIGKILL]
    holder.communicate()
    assert os.listdir(tmp_path) == ["count"]
