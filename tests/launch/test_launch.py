"""`tlx launch`: what it prints and writes, and what it refuses."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlx.cli import main
from tlx.launch.options import PLACES, checked
from tlx.launch.script import Job, render

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "launch"
QUICKSTART = "configs/quickstart.py"
ALL_ALIKE = (
    "--shards=16",
    "--workdir=/mnt/shared/my study",
    "--data-dir=gs://bucket/data sets",
    "--tlx=uv run --frozen tlx",
    "--config.budgets=(20,50)",
    "--config.adapt.lora.method.target=.*/(query|value)",
)
# The files and the commands that printed them.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "slurm.sh": ("--on=slurm", "--shards=8"),
    "slurm_all.sh": (
        *("--on=slurm", "--time=1-12:00:00", "--grace=300", "--cpus=16", "--memory=64G", "--gpus=a100:1"),
        *("--partition=long,short", "--account=my-lab", *ALL_ALIKE),
    ),
    "tpu-vm.sh": ("--on=tpu-vm", "--shards=4", "--tpu=my-tpu", "--zone=us-central2-b"),
    "tpu-vm_all.sh": (
        *("--on=tpu-vm", "--tpu=v5e-16", "--zone=europe-west4-b", "--project=my-project", "--chips=2,4,1"),
        *("--folder=/srv/tlx's checkout", *ALL_ALIKE),
    ),
}

Launch = Callable[..., int]


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Launch:
    """`tlx launch` of the quickstart, typed in the repository's folder."""
    monkeypatch.chdir(ROOT)
    return lambda *argv: main(["launch", QUICKSTART, *argv])


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_what_they_were(name: str, launch: Launch, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(*SCRIPTS[name], "--dry-run") == 0
    out = capsys.readouterr()
    assert out.err == "" and out.out.encode() == (GOLDEN / name).read_bytes()


def test_golden_scripts_are_those_and_parse() -> None:
    paths = sorted(GOLDEN.iterdir())
    assert [path.name for path in paths] == sorted(SCRIPTS)
    for path in paths:
        done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), path
        assert all(line.isprintable() and len(line) < 400 for line in path.read_text().splitlines())


def test_a_script_is_written_once_and_edits_of_it_are_kept(
    launch: Launch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my script.sh"
    argv = (*SCRIPTS["slurm.sh"], "--out", str(path))
    assert launch(*argv) == 0
    assert path.read_bytes() == (GOLDEN / "slurm.sh").read_bytes()
    assert capsys.readouterr().out == f"read {path}, then: sbatch '{path}'\n"
    assert launch(*argv, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "start": f"sbatch '{path}'"}
    path.write_text("mine")
    assert launch(*argv) == 2
    assert capsys.readouterr().err == f"{path}: exists already with other content; delete it or choose another --out\n"
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


def test_the_script_is_named_by_study_and_place(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ("--on=tpu-vm", "--tpu=a", "--zone=us-east1-d", "--config.name=mine")
    assert main(["launch", str(ROOT / QUICKSTART), *argv]) == 0
    assert capsys.readouterr().out == "read mine.tpu-vm.sh, then: bash mine.tpu-vm.sh start\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tpu-vm.sh"]


def test_a_dry_run_writes_nothing(launch: Launch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = (*SCRIPTS["slurm.sh"], "--dry-run", "--out", str(tmp_path / "x.sh"), "--json")
    assert launch(*argv) == 0
    assert json.loads(capsys.readouterr().out)["script"].encode() == (GOLDEN / "slurm.sh").read_bytes()
    assert list(tmp_path.iterdir()) == []


TPU = ("--on=tpu-vm", "--tpu=t", "--zone=us-east1-d")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--on=slurm", "--shards=0"), "--shards: expected an integer from 1 to 999999, got '0'"),
        (("--on=slurm", "--shards=1/4"), "--shards: expected an integer from 1 to 999999, got '1/4'"),
        (("--on=slurm", "--shards=٤"), "--shards: expected an integer from 1 to 999999, got '٤'"),
        (("--on=slurm", "--time=soon"), "--time: expected minutes, HH:MM:SS or DAYS-HH:MM:SS, got 'soon'"),
        (("--on=slurm", "--grace=0"), "--grace: expected seconds, 1 to 9999, got '0'"),
        (("--on=slurm", "--cpus=0"), "--cpus: expected an integer ≥ 1, got '0'"),
        (("--on=slurm", "--memory=16"), "--memory: expected a number and K, M, G or T, such as 16G, got '16'"),
        (("--on=slurm", "--gpus=a100"), "--gpus: expected COUNT or TYPE:COUNT, got 'a100'"),
        (("--on=slurm", "--partition=a b"), "--partition: expected names with commas, got 'a b'"),
        (("--on=slurm", "--partition=gpu\n"), r"--partition: expected names with commas, got 'gpu\n'"),
        (("--on=slurm", "--account=$(id)"), "--account: expected a name, got '$(id)'"),
        (("--on=slurm", "--zone=us-east1-d"), "--zone: is for --on tpu-vm, not for slurm"),
        (("--on=tpu-vm", "--gpus=1"), "--gpus: is for --on slurm, not for tpu-vm"),
        (("--on=tpu-vm", "--zone=us-east1-d"), "--tpu: must be given with --on tpu-vm: lower-case letters, digits and"),
        (("--on=tpu-vm", "--tpu=t"), "--zone: must be given with --on tpu-vm: a zone, such as us-central2-b"),
        (("--on=tpu-vm", "--tpu=My TPU"), "--tpu: expected lower-case letters, digits and '-', got 'My TPU'"),
        (("--on=tpu-vm", "--tpu=--x"), "--tpu: expected lower-case letters, digits and '-', got '--x'"),
        ((*TPU, "--zone=here"), "--zone: expected a zone, such as us-central2-b, got 'here'"),
        ((*TPU, "--project=My Project"), "--project: expected the id of a project, got 'My Project'"),
        ((*TPU, "--folder=~/tlx"), "--folder: expected a folder without ~, got '~/tlx'"),
        ((*TPU, "--folder=a\nHOST"), r"--folder: expected a folder without ~, got 'a\nHOST'"),
        ((*TPU, "--chips=4"), "--chips: expected X,Y,Z, such as 2,2,1, got '4'"),
        (
            (*TPU, "--workdir=a\nHOST\nid"),
            r"--workdir: expected one line that does not begin with '-', got 'a\nHOST\ni",
        ),
        (("--on=slurm", "--workdir=-x"), "--workdir: expected one line that does not begin with '-', got '-x'"),
        (("--on=slurm", "--workdir="), "--workdir: expected one line that does not begin with '-', got ''"),
        (("--on=slurm", "--data-dir=\t"), r"--data-dir: expected one line that does not begin with '-', got '\t'"),
        (("--on=slurm", "--tlx=uv 'run"), '--tlx: no closing quotation in "uv \'run"'),
        (("--on=slurm", "--tlx= "), "--tlx: expected a command, got ' '"),
        (
            ("--on=slurm", "--config.adapt.lora.method.target=a\nHOST"),
            r"--config.adapt.lora.method.target: expected one line that does not begin with '-', got 'config.adapt.lor",
        ),
        (("--on=slurm", "--config.train.stepz=1"), "config.train.stepz: no such field (did you mean 'steps'?)"),
        (("--on=slurm", "--leaves"), "--leaves: expected --config.FIELD=VALUE"),
        (("--on=pbs",), "argument --on: invalid choice: 'pbs'"),
        ((), "the following arguments are required: --on; see tlx launch --help"),
    ],
)
def test_what_no_script_could_hold_is_one_line(
    argv: tuple[str, ...], line: str, launch: Launch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(*argv, "--dry-run") == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.startswith(line) and out.err.count("\n") == 1


def test_a_missing_config_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "nowhere.py", "--on=slurm"]) == 2
    assert capsys.readouterr().err == "nowhere.py: no such config file\n"


def test_the_defaults_are_what_may_be_said() -> None:
    needed: dict[str, Any] = {"tpu": "t", "zone": "us-east1-d"}
    for place, options in PLACES.items():
        given = {name: value for name, value in needed.items() if name in options}
        values = checked(place, given)
        assert list(values) == list(options)
        assert checked(place, {name: value or None for name, value in values.items()}) == values
        script = render(Job("n", "c.py", (), 1, "w", "", ("tlx",)), place, values)
        assert 'tlx run c.py --shard "$' in script and script.endswith("\n")
