import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tlx import __version__
from tlx.adapt.registry import METHODS
from tlx.cli import main
from tlx.models.registry import Model
from tlx.records import Records
from tlx.report import methods
from tlx.report.methods import Survey
from tlx.study import merge, run
from tlx.study.context import Stopped
from tlx.study.merge import Outcome

SMALL = str(Path(__file__).with_name("small.py"))
HEAVY = (
    "jax",
    "flax",
    "grain",
    "orbax",
    "tensorflow_datasets",
    "matplotlib",
    "ml_collections",
    "scipy",
    "pandas",
    "altair",
    "vl_convert",
)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command that must fail, and gives the one line it says."""

    def run(*argv: str) -> str:
        assert main(list(argv)) == 2
        out, err = capsys.readouterr()
        assert out == "" and "Traceback" not in err
        assert err.endswith("\n") and err.count("\n") == 1
        return err.removesuffix("\n")

    return run


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            (SMALL, "--config.train.steps=many"),
            "config.train.steps: expected an integer from 1 to 100000000, got 'many'",
        ),
        ((SMALL, "--config.train.stepz=1"), "config.train.stepz: no such field (did you mean 'steps'?)"),
        ((SMALL, "--config.train.steps", "5"), "--config.train.steps: expected --config.FIELD=VALUE"),
        ((SMALL, "--workdirr=x"), "--workdirr=x: expected --config.FIELD=VALUE"),
        ((SMALL, "--json", "--leafs"), "--leafs: expected --config.FIELD=VALUE"),
        (("nowhere/small.py",), "nowhere/small.py: no such config file"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_wrong_input_is_one_line_and_exit_code_2(
    command: str, arguments: tuple[str, ...], line: str, refused: Any
) -> None:
    assert refused(command, *arguments) == line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--runner=slurm",), "--runner: expected local, ray or ray://HOST:PORT, got 'slurm'"),
        (("--runner=ray://head",), "--runner: expected local, ray or ray://HOST:PORT, got 'ray://head'"),
        (
            ("--shard=1/2", "--cell=ab"),
            "--cell: goes with neither --shard nor another --runner; a single cell is not shared out",
        ),
        (("--runner=ray", "--shard=1/2"), "--shard: goes with --runner=local only; Ray shares the units out itself"),
        (("--runner=ray",), "--runner: Ray is not installed; pip install 'tlx[ray]', here and on every node"),
    ],
)
def test_wrong_runners_are_one_line(
    options: tuple[str, ...], line: str, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refused("run", SMALL, *options) == line


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "sources.upper.dataset=digit",
            "sources.upper.dataset: dataset 'digit': there is no such dataset (did you mean",
        ),
        (
            "targets.lower.train=trian",
            "targets.lower.train: split 'trian': dataset digits has no 'trian' (did you mean",
        ),
        ("targets.lower.test=test[900:]", "targets.lower.test: split 'test[900:]' of dataset digits: "),
        ("targets.lower.validation=test[", "targets.lower.validation: split 'test[' of dataset digits: "),
        ("targets.lower.validation=train[700:800]", "targets.lower.validation: 'train[700:800]' shares 100 examples"),
        ("budgets[2]=101", "budgets[2]: 101 labels, but 'train[700:800]' of 'lower' has 100"),
        ("model.patch=5", "model.patch: patches of 5 pixels do not tile images of 28×28"),
        ("model.heads=3", "model.heads: 3 heads do not divide the width 16"),
        ("adapt.lora.method.rank=17", "adapt.lora.method.rank: expected at most 16 for 'block_0/attention/query'"),
        (
            "adapt.lora.method.target=nothing",
            "adapt.lora.method.target: 'nothing' matches no layer of 'vit' that 'lora' adapts",
        ),
        ("adapt.lora.method.target=(", "adapt.lora.method.target: the rule '(' is not a regular expression"),
        ("train.batch_size=6", "train.batch_size: 6 examples cannot be split over 4 devices"),
        ("sources.upper.batch_size=6", "sources.upper.batch_size: 6 examples cannot be split over 4 devices"),
        ("mesh.data=8", "mesh.data: the mesh has 8 places, but there are 4 devices"),
        ("mesh.fsdp=8", "mesh.fsdp: the mesh has 8 places, but there are 4 devices"),
    ],
)
def test_what_does_not_fit_the_data_or_the_machine_is_refused_before_any_work(
    override: str, line: str, refused: Any, data_dir: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    said = refused("plan", SMALL, f"--config.{override}", "--data-dir", str(data_dir), "--workdir", str(work))
    assert said.startswith(f"config.{line}")
    assert not work.exists()


def test_frozen_patterns_are_named_by_their_place(refused: Any, data_dir: Path) -> None:
    frozen = "--config.adapt.full.method.frozen=('params/embed/.*','params/blok_0/.*')"
    said = refused("plan", SMALL, "--config.adapt.full.method.name=freeze", frozen, "--data-dir", str(data_dir))
    assert said.startswith(
        "config.adapt.full.method.frozen[1]: rule 'params/blok_0/.*' -> 'frozen' matches no parameter"
    )
    assert said.endswith("(did you mean 'params/block_0/.*'?)")


def test_debug_shows_where_it_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", SMALL, "--config.train.stepz=1", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and err.endswith("\nconfig.train.stepz: no such field (did you mean 'steps'?)\n")


@pytest.mark.parametrize("damage", [b"", b"{", b'{"format": 1, "id": "0123456789abcdef"}\n', b"[]\n"])
def test_a_damaged_record_is_named_and_the_rest_is_shown(
    damage: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = Records(tmp_path)
    records.write_manifest({"study": "small", "cells": []})
    records.publish({"id": "0123456789abcdef", "status": "ok"}, {"wall_s": 1.0})
    path = tmp_path / "records" / "0123456789abcdef.json"
    path.write_bytes(damage)
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().err == f"{path}: is damaged; delete it to have the cell run again\n"


def test_a_folder_without_a_study_is_named(refused: Any, tmp_path: Path) -> None:
    assert refused("report", str(tmp_path)).startswith(f"{tmp_path / 'study.json'}: ")
    assert refused("report", str(tmp_path / "nowhere")).startswith(f"{tmp_path / 'nowhere' / 'study.json'}: ")
    assert refused("report", str(tmp_path), "--leaves") == "--leaves: no such option"


@pytest.mark.parametrize("argv", [[], ["fly"], ["run"], ["run", SMALL, "--workdir"]])
def test_a_command_that_is_none_exits_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("--help")


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["run", "--help"]])
def test_help_and_version_import_nothing_heavy(argv: list[str]) -> None:
    script = (
        "import sys\n"
        "from tlx.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as end:\n    print('code', end.code)\n"
        "print('loaded', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, check=True, timeout=60)
    *said, code, loaded = done.stdout.strip().split("\n")
    assert code == "code 0" and done.stderr == ""
    assert not set(HEAVY) & set(loaded.split())
    assert said == [f"tlx {__version__}"] if argv == ["--version"] else said[0].startswith("usage: tlx")


def test_a_process_that_refuses_says_one_line_and_leaves_nothing_behind(data_dir: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    command = [sys.executable, "-m", "tlx.cli", "run", SMALL, "--config.adapt.lora.method.target=nothing"]
    done = subprocess.run(
        [*command, "--data-dir", str(data_dir), "--workdir", str(work)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "config.adapt.lora.method.target: 'nothing' matches no layer of 'vit' that 'lora' adapts\n"
    assert not work.exists()


@pytest.mark.parametrize("error", [Stopped("stopped; run the same command to go on"), KeyboardInterrupt()])
def test_a_command_that_was_stopped_says_how_to_go_on(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*args: Any) -> None:
        raise error

    monkeypatch.setattr(run, "lay_out", stop)
    assert main(["plan", SMALL]) == 75
    assert capsys.readouterr().err == "stopped; run the same command to go on\n"


def test_methods_of_a_config_s_model_need_no_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TLX_DATA_DIR", str(tmp_path / "data"))
    assert main(["methods", SMALL, "--config.model.depth=1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "vit, images of 28×28×1, 10 classes"
    shares = {method["name"]: method["share"] for method in found["methods"]}
    assert list(shares) == list(METHODS)
    assert shares["full"] == 1.0 and 0 < shares["head"] < shares["lora"] < 0.5
    assert list(tmp_path.iterdir()) == []


def test_methods_without_a_config_are_those_of_a_registered_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Model] = []
    monkeypatch.setattr(methods, "survey", lambda model: asked.append(model) or Survey("a model", ()))
    assert main(["methods"]) == main(["methods", "--model", "resnet"]) == 0
    assert [model.name for model in asked] == ["vit", "resnet"]
    assert capsys.readouterr().out.count("Methods on a model") == 2


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("methods", "--model", "vti"), "--model: unknown name 'vti' (did you mean 'vit'?)"),
        (("methods", SMALL, "--model", "vit"), "--model: the config names the model; use --config.model.name"),
        (("methods", "--config.model.width=8"), "--config.model.width=8: no such option"),
        (("methods", SMALL, "--config.model.patch=5"), "config.model.patch: patches of 5 pixels do not tile"),
        (("methods", "nowhere.py"), "nowhere.py: no such config file"),
        (("merge", "nowhere", "abc", "--out", "x"), "nowhere/study.json: "),
        (("merge", "nowhere", "abc"), "the following arguments are required: --out"),
        (("merge", "nowhere", "abc", "--out", "x", "--fast"), "--fast: no such option"),
    ],
)
def test_wrong_methods_and_merges_are_one_line(argv: tuple[str, ...], line: str, refused: Any) -> None:
    assert refused(*argv).startswith(line)


def test_a_merge_says_what_it_did(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []
    outcome = Outcome("0123456789abcdef", 1, 1.5e-6, 32, "out")
    monkeypatch.setattr(merge, "merge_cell", lambda *args: asked.append(args) or outcome)
    assert main(["merge", "work", "0123", "--out", "out"]) == 0
    said = capsys.readouterr().out
    assert said == "1 leaf changed; logits differ by at most 1.5e-06 on 32 random inputs; out\n"
    assert main(["merge", "work", "0123", "--out", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gap"] == 1.5e-6
    assert asked == [(Path("work"), "0123", Path("out"))] * 2
