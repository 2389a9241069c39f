import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from tlx.build import build, plain
from tlx.config import load, restored
from tlx.errors import ConfigError, FileError, TlxError

QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.py"
SMALL = str(Path(__file__).with_name("small.py"))
# How a config file of a test begins; `base()` is the small config, with every field present.
HEADER = """
import numpy as np
from ml_collections import ConfigDict, config_dict

def base():
    return ConfigDict({config!r})
"""


@pytest.fixture(scope="module")
def complete() -> dict[str, Any]:
    return load(SMALL).to_dict()


@pytest.fixture
def write(tmp_path: Path, complete: dict[str, Any]) -> Any:
    """Writes a config file whose `get_config` has this body."""

    def write_it(body: str) -> str:
        lines = "".join(f"    {line}\n" for line in body.split("\n"))
        path = tmp_path / "mine.py"
        path.write_text(HEADER.format(config=complete) + "def get_config(argument):\n" + lines)
        return str(path)

    return write_it


def refusal(*overrides: str, spec: str = SMALL) -> str:
    """The one line a config is refused with."""
    with pytest.raises(TlxError) as caught:
        load(spec, overrides)
    line = str(caught.value)
    assert line and "\n" not in line
    return line


def leaves(node: Any, path: str = "config") -> Iterator[tuple[str, Any]]:
    """Every field by its dotted path."""
    if not isinstance(node, dict):
        yield path, node
        return
    for name, item in node.items():
        yield from leaves(item, f"{path}.{name}")


def value_at(config: ConfigDict, path: str) -> Any:
    node: Any = config.to_dict()
    for name in path.split(".")[1:]:
        node = node[name]
    return node


def test_the_quickstart_loads() -> None:
    config = load(str(QUICKSTART))
    assert config.name == "quickstart"
    assert {config.adapt[entry].arm for entry in config.adapt} == {"scratch", "random-frozen", "transfer"}


def test_a_config_is_loaded_with_every_field_filled_in() -> None:
    config = load(SMALL)
    assert config.is_locked
    assert config.name == "small"
    assert config.adapt.lora.method.to_dict() == {"name": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.0, "target": ""}
    assert config.adapt.full.method.to_dict() == {"name": "full"}
    assert not config.artifacts
    assert config.train.to_dict() == {
        "steps": 4,
        "batch_size": 8,
        "optimizer": "inherit",
        "momentum": 0.9,
        "clip_norm": 1.0,
        "accumulate": 1,
        "ema": 0.0,
        "evaluations": 0,
        "warmup": -1.0,
        "schedule": "inherit",
        "weight_decay": -1.0,
        "label_smoothing": 0.0,
        "precision": "float32",
    }
    assert config.sources.upper.schedule == "cosine" and config.sources.upper.weight_decay == 0.01
    assert config["compile"] == "jit" and config.mesh.to_dict() == {"data": -1, "fsdp": 1}
    assert config.sources.upper.momentum == 0.9
    assert len(list(leaves(config.to_dict()))) > 60


def test_a_complete_config_is_its_own_completion(write: Any, complete: dict[str, Any]) -> None:
    assert load(write("return base()")).to_dict() == complete
    assert load(write("return ConfigDict({**base(), 'budgets': [1, 2]})")).budgets == (1, 2), "a list is as good"


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.steps=50", 50),
        ("train.steps=0x10", 16),
        ("train.steps=1_000", 1000),
        ("train.weight_decay=1", 1.0),
        ("train.weight_decay=0", 0.0),
        ("train.accumulate=4", 4),
        ("train.ema=0.9", 0.9),
        ("adapt.full.schedule=slanted", "slanted"),
        ("adapt.full.batch_stats=reset", "reset"),
        ("artifacts=true", True),
        ("train.weight_decay=2.5e-3", 0.0025),
        ("train.optimizer=sgd", "sgd"),
        ("name=other-name", "other-name"),
        ("name=5", "5"),
        ("targets.lower.test=test[:10]", "test[:10]"),
        ("targets.lower.test=train[1:2]+test[3:4]", "train[1:2]+test[3:4]"),
        ("budgets=(10, 30)", (10, 30)),
        ("budgets=10,30", (10, 30)),
        ("budgets=[10,30]", (10, 30)),
        ("budgets=(10,)", (10,)),
        ("budgets=10", (10,)),
        ("budgets[0]=7", (7, 20, 40)),
        ("budgets[2]=7", (10, 20, 7)),
        ("seeds=7", (7,)),
        ("adapt.lora.lr[1]=1", (3e-3, 1.0)),
        ("adapt.lora.lr=(1, 0.5)", (1.0, 0.5)),
        ("adapt.lora.method.rank=2", 2),
        ("adapt.lora.method.target=.*/(up|down)", ".*/(up|down)"),
        ("sources.upper.lr=1e-3", 1e-3),
        ("checkpoint.every_seconds=0", 0.0),
        ("mesh.data=2", 2),
        ("compile=pmap", "pmap"),
    ],
)
def test_an_override_replaces_one_value_and_nothing_else(override: str, value: Any, complete: dict[str, Any]) -> None:
    changed = load(SMALL, [f"--config.{override}"])
    path = "config." + re.split(r"[\[=]", override)[0]
    found = value_at(changed, path)
    assert (found, type(found)) == (value, type(value))
    before, after = dict(leaves(complete)), dict(leaves(changed.to_dict()))
    assert {name for name in before if before[name] != after.get(name)} == {path}
    assert before.keys() == after.keys()


def test_overrides_come_in_order_and_the_last_one_wins() -> None:
    config = load(SMALL, ["--config.budgets=(1,2)", "--config.budgets[1]=5", "--config.train.steps=3"])
    assert config.budgets == (1, 5) and config.train.steps == 3
    assert load(SMALL, ["--config.train.steps=3", "--config.train.steps=4"]).train.steps == 4


@pytest.mark.parametrize(
    ("override", "line"),
    [
        # Type and range.
        ("adapt.lora.method.rank=eight", "adapt.lora.method.rank: expected an integer from 1 to 1024, got 'eight'"),
        ("adapt.lora.method.rank=0", "adapt.lora.method.rank: expected an integer from 1 to 1024, got 0"),
        ("adapt.lora.method.rank=1.0", "adapt.lora.method.rank: expected an integer from 1 to 1024, got '1.0'"),
        ("adapt.lora.method.rank=", "adapt.lora.method.rank: expected an integer from 1 to 1024, got ''"),
        ("train.weight_decay=nan", "train.weight_decay: expected a number from 0 to 100 or -1, got nan"),
        ("train.weight_decay=inf", "train.weight_decay: expected a number from 0 to 100 or -1, got inf"),
        ("train.weight_decay=True", "train.weight_decay: expected a number from 0 to 100 or -1, got 'True'"),
        ("train.weight_decay=-0.5", "train.weight_decay: expected a number from 0 to 100 or -1, got -0.5"),
        ("adapt.full.warmup=-0.1", "adapt.full.warmup: expected a number from 0 to 1 or -1, got -0.1"),
        ("sources.upper.weight_decay=-1", "sources.upper.weight_decay: expected a number from 0 to 100, got -1.0"),
        ("sources.upper.schedule=inherit", "sources.upper.schedule: unknown value 'inherit'"),
        ("train.accumulate=0", "train.accumulate: expected an integer from 1 to 1000000, got 0"),
        ("train.ema=1", "train.ema: expected a number from 0 to 0.999999, got 1.0"),
        ("adapt.full.schedule=linnear", "adapt.full.schedule: unknown value 'linnear' (did you mean 'linear'?)"),
        (
            "adapt.full.batch_stats=frozen",
            "adapt.full.batch_stats: unknown value 'frozen' (did you mean 'frozen_stats'",
        ),
        ("artifacts=1.5", "artifacts: expected true or false, got '1.5'"),
        ("train.clip_norm=-1", "train.clip_norm: expected a number ≥ 0, got -1.0"),
        ("sources.upper.seed=-1", "sources.upper.seed: expected an integer from 0 to "),
        ("train.optimizer=adam", "train.optimizer: unknown value 'adam' (did you mean 'adamw'?)"),
        ("compile=xla", "compile: unknown value 'xla' (one of jit, pmap)"),
        # Tuples and their items.
        ("budgets=()", "budgets: expected at least one item, got an empty tuple"),
        ("budgets=(1,'a')", "budgets[1]: expected an integer ≥ 1, got 'a'"),
        ("budgets=(1,(2,3))", "budgets[1]: expected an integer ≥ 1, got (2, 3)"),
        ("budgets=(1 2,3)", "budgets: expected a tuple, got '(1 2,3)'"),
        ("budgets[0]=x", "budgets[0]: expected an integer ≥ 1, got 'x'"),
        ("budgets[0]=(1,2)", "budgets[0]: expected an integer ≥ 1, got '(1,2)'"),
        ("budgets[3]=1", "budgets[3]: config.budgets has no item 3"),
        ("budgets[-1]=1", "budgets[-1]: config.budgets has no item -1"),
        ("budgets[x]=1", "budgets[x]: config.budgets has no item x"),
        ("train.steps[0]=1", "train.steps[0]: config.train.steps has no item 0"),
        ("seeds=(3,1,3)", "seeds[2]: 3 stands here twice"),
        ("seeds[1]=0", "seeds[1]: 0 stands here twice"),
        ("adapt.full.lr=(1,nan)", "adapt.full.lr[0]: expected a number from 1e-12 to 1000000, got '(1,nan)'"),
        ("adapt.full.lr[0]=nan", "adapt.full.lr[0]: expected a number from 1e-12 to 1000000, got nan"),
        ("adapt.full.lr=(1,1e400)", "adapt.full.lr[1]: expected a number from 1e-12 to 1000000, got inf"),
        ("adapt.full.lr=(True,2)", "adapt.full.lr[0]: expected a number from 1e-12 to 1000000, got True"),
        # Fields that do not exist, or are no fields.
        ("train.stepz=1", "train.stepz: no such field (did you mean 'steps'?)"),
        ("trian.steps=1", "trian: no such field (did you mean 'train'?)"),
        ("train.steps.x=1", "train.steps.x: no such field"),
        ("train..steps=1", "train.: no such field"),
        ("adapt.lorra.lr=1", "adapt.lorra: no such field (did you mean 'lora'?)"),
        ("adapt.full.method.rank=4", "adapt.full.method.rank: no such field (one of name)"),
        ("train=1", "train: is a block; set one of its fields (accumulate, batch_size, clip_norm,"),
        ("adapt=1", "adapt: is a block; set one of its fields (full, lora, probe, random_frozen, scratch)"),
        ("adapt.lora.method=full", "adapt.lora.method: is a block; set one of its fields (alpha, dropout, name,"),
        # Names.
        ("model.name=vitt", "model.name: unknown name 'vitt' (did you mean 'vit'?)"),
        ("adapt.full.method.name=lorra", "adapt.full.method.name: unknown name 'lorra' (did you mean 'lora'?)"),
        ("adapt.full.arm=transfr", "adapt.full.arm: unknown value 'transfr' (did you mean 'transfer'?)"),
        ("name=a/b", "name: expected letters, digits, '.', '_' and '-', got 'a/b'"),
        ("name=..", "name: expected letters, digits, '.', '_' and '-', got '..'"),
        ("name=", "name: expected letters, digits, '.', '_' and '-', got ''"),
        # What concerns several fields.
        ("adapt.full.lr=(1,2,3)", "adapt.full.lr: 3 learning rates, but config.adapt.scratch.lr has 2; every arm gets"),
        (
            "adapt.scratch.arm=transfer",
            "adapt: expected exactly one entry with arm='scratch' to compare with, got none",
        ),
        ("adapt.full.arm=scratch", "adapt: expected exactly one entry with arm='scratch' to compare with, got full, "),
        ("mesh.data=0", "mesh.data: expected a number of devices, or -1 for all, got 0"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_the_field(override: str, line: str) -> None:
    assert refusal(f"--config.{override}").startswith(f"config.{line}")


@pytest.mark.parametrize(
    "text",
    ["--config.train.steps", "--config=3", "--train.steps=3", "--verbose", "stray", "config.train.steps=3"],
)
def test_what_is_no_override_is_refused_as_it_was_typed(text: str) -> None:
    assert refusal(text) == f"{text}: expected --config.FIELD=VALUE"


def test_pmap_does_not_split_parameters() -> None:
    line = refusal("--config.compile=pmap", "--config.mesh.fsdp=2")
    assert line == "config.mesh.fsdp: expected 1 with config.compile='pmap', got 2"
    assert load(SMALL, ["--config.mesh.fsdp=2"]).mesh.fsdp == 2


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("config = base(); config.train.stepz = 1; return config", "config.train.stepz: no such field (did you mean"),
        (
            "config = base(); config.budget = (1,); return config",
            "config.budget: no such field (did you mean 'budgets'?",
        ),
        ("config = base(); del config.model['name']; return config", "config.model.name: unknown name None (one of "),
        ("config = base(); config.adapt.full.method.rank = 4; return config", "config.adapt.full.method.rank: no such"),
        ("return ConfigDict({**base(), 'train': 3})", "config.train: expected a block of fields, got 3"),
        ("return ConfigDict({**base(), 'adapt': None})", "config.adapt: expected a block of fields, got None"),
        ("return ConfigDict({**base(), 'adapt': {'full': 'full'}})", "config.adapt.full: expected a block of fields"),
        (
            "return ConfigDict({**base(), 'adapt': {'a': {'method': 'full'}}})",
            "config.adapt.a.method: expected a block",
        ),
        ("return ConfigDict({**base(), 'adapt': {}})", "config.adapt: expected at least one, got none"),
        ("return ConfigDict({**base(), 'targets': {}})", "config.targets: expected at least one, got none"),
        ("return ConfigDict({**base(), 'sources': {}})", "config.sources: expected at least one, as some entries have"),
        ("return ConfigDict({**base(), 'targets': {'a b': {}}})", "config.targets: expected names of letters, digits"),
        (
            "return ConfigDict({**base(), 'budgets': {'a': 1, 'b': 2}})",
            "config.budgets: expected a tuple, got {'a': 1,",
        ),
        (
            "return ConfigDict({**base(), 'budgets': np.zeros((40, 3))})",
            "config.budgets: expected a plain value, got one",
        ),
        (
            "return ConfigDict({**base(), 'budgets': (1, np.zeros((40, 3)))})",
            "config.budgets[1]: expected a plain value",
        ),
        (
            "return ConfigDict({**base(), 'seeds': (1, lambda: 2)})",
            "config.seeds[1]: expected a plain value, got one of",
        ),
        ("return ConfigDict({**base(), 'train': {1: 2}})", "config.train: expected a name for each field, got 1"),
        ("return ConfigDict()", "config.model.name: unknown name None"),
    ],
)
@pytest.mark.parametrize("overrides", [(), ("--config.train.batch_size=4", "--config.adapt.full.method.name=full")])
def test_a_wrong_config_file_is_one_line_that_names_the_field(
    body: str, line: str, overrides: tuple[str, ...], write: Any
) -> None:
    spec = write(body)
    if not overrides:
        assert refusal(spec=spec).startswith(line)
    else:
        # The override may meet the mistake first.
        assert refusal(*overrides, spec=spec).startswith("config.")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
        ("return {}['x']", "KeyError: 'x'"),
        ("config = base(); config.trian.steps = 1; return config", "AttributeError: "),
        ("config = base(); config.train.steps = 'many'; return config", "TypeError: "),
        ("c = base(); c.x = config_dict.required_placeholder(int); return c", "RequiredValueError: "),
        ("return base().to_dict()", "get_config returned dict, expected a ml_collections.ConfigDict"),
        ("pass", "get_config returned NoneType, expected a ml_collections.ConfigDict"),
        ("return get_config(argument)", "RecursionError: "),
    ],
)
def test_a_config_file_that_fails_is_one_line_that_names_the_file(body: str, reason: str, write: Any) -> None:
    spec = write(body)
    assert refusal(spec=spec).startswith(f"{spec}: {reason}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("x = 3\n", "defines no get_config(argument)"),
        ("def get_config(:\n", "SyntaxError: "),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import math\nmath.no_such_name\n", "AttributeError: "),
        ("def get_config():\n    pass\n", "TypeError: "),
    ],
)
def test_a_file_that_is_no_config_is_named(content: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(content)
    assert refusal(spec=str(path)).startswith(f"{path}: {reason}")


def test_a_missing_file_is_named_with_its_closest_neighbour(tmp_path: Path) -> None:
    wrong = str(QUICKSTART.with_name("quikstart.py"))
    assert refusal(spec=wrong) == f"{wrong}: no such config file (did you mean {str(QUICKSTART)!r}?)"
    assert refusal(spec=str(tmp_path / "x.py")) == f"{tmp_path / 'x.py'}: no such config file"
    assert refusal(spec=str(tmp_path)) == f"{tmp_path}: no such config file"
    text = tmp_path / "config.txt"
    text.write_text("x")
    assert refusal(spec=str(text)) == f"{text}: expected a Python file with get_config(argument)"


def test_the_argument_after_the_colon_reaches_the_file(write: Any) -> None:
    spec = write("config = base(); config.name = argument or 'none'; return config")
    assert load(f"{spec}:small").name == "small"
    assert load(spec).name == "none"


def test_an_error_tlx_raises_in_a_config_file_is_kept(write: Any) -> None:
    spec = write("from tlx.errors import ConfigError\nraise ConfigError('config.x', 'as I said')")
    with pytest.raises(ConfigError, match=r"^config\.x: as I said$"):
        load(spec)


def test_two_mistakes_are_still_one_line() -> None:
    assert refusal("--config.train.steps=x", "--config.train.stepz=1").startswith("config.train.stepz: ")


def test_a_config_that_ends_the_program_does_not_end_tlx(tmp_path: Path) -> None:
    path = tmp_path / "leaves.py"
    path.write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(FileError, match=r"leaves\.py: SystemExit: 3"):
        load(str(path))


def test_a_manifest_s_config_is_the_config_again() -> None:
    config = load(str(QUICKSTART), ["--config.adapt.lora.method.rank=3"])
    again = restored(json.loads(json.dumps(plain(config.to_dict()))))
    assert again.to_dict() == config.to_dict() and again.is_locked
    assert build(again) == build(config)


def test_a_manifest_of_another_version_is_refused_by_its_field() -> None:
    config = plain(load(str(QUICKSTART)).to_dict())
    with pytest.raises(ConfigError, match=r"^config\.train\.stepz: no such field \(did you mean 'steps'\?\)$"):
        restored({**config, "train": {**config["train"], "stepz": 3}})
