import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tlx.cli import main
from tlx.errors import FileError
from tlx.lock import exclusive

HOLD = """
import sys, time
from pathlib import Path
from tlx.lock import exclusive
with exclusive(Path(sys.argv[1])):
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
