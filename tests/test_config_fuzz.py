"""Whatever stands in a config: it is taken and can be built, or refused in one line that names the field."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlx.build import build
from tlx.config import load
from tlx.errors import TlxError

SMALL = str(Path(__file__).with_name("small.py"))
HEADER = """
import numpy as np
from ml_collections import ConfigDict, config_dict

def base():
    return ConfigDict({config!r})

def get_config(argument):
"""
TEXTS = (
    *("", " ", "0", "-1", "1", "3", "2.5", "1e3", "1e400", "-inf", "nan", "None", "True", "x", "full", "head", "sgd"),
    *("()", "(1,)", "(1,2)", "(1,2,3)", "('a',)", "((1,),)", "[", "]", "(", "{}", "{'a': 1}", "{1, 2}", "1 2", "a,b"),
    *("'", '"', "\\", "\n", "é", "\0", "%s", "{0}", "=", "--config.name=x", "lambda: 0", "__import__('os')", "9" * 400),
)
VALUES = (
    *("None", "True", "-1", "0", "1", "10**400", "-0.5", "1.5", "float('nan')", "float('inf')", "''", "'x'", "'a\\nb'"),
    *("()", "[]", "(1,)", "(1, 1)", "(None,)", "('x', 1)", "((1, 2),)", "[float('nan')]", "(1.5, 2.5, 3.5)"),
    *("{}", "{'a': 1}", "{'name': 'full'}", "{1: 2}", "b'x'", "{1}", "object()", "lambda: 0", "1j", "range(3)"),
    *("np.zeros((3, 3))", "np.int64(3)", "np.float64(0.5)", "ConfigDict()", "config_dict.placeholder(int)"),
)
NAMES_A_FIELD = re.compile(r"^config\.[\w.\[\]+ -]+: ")


def leaves(node: Any, path: str = "config") -> Iterator[tuple[str, Any]]:
    """Every field by its dotted path."""
    if not isinstance(node, dict):
        yield path, node
        return
    for name, item in node.items():
        yield from leaves(item, f"{path}.{name}")


def refused_or_sound(spec: str, *overrides: str) -> str | None:
    """The line a config is refused with, or None if it is accepted and can be built."""
    try:
        config = load(spec, overrides)
    except TlxError as error:
        return str(error)
    study = build(config, "tlx run")
    hash((study.sources, study.targets, study.entries, study.recipe, study.model_settings, study.execution))
    return None


def test_no_override_whatever_gets_past_with_another_error() -> None:
    rng = random.Random(0)
    fields = list(leaves(load(SMALL).to_dict()))
    refused = 0
    for _ in range(400):
        path, value = rng.choice(fields)
        item = f"[{rng.randrange(len(value) + 1)}]" if isinstance(value, tuple) and rng.random() < 0.5 else ""
        override = f"--{path}{item}={rng.choice(TEXTS)}"
        line = refused_or_sound(SMALL, override)
        assert line is None or (NAMES_A_FIELD.match(line) and "\n" not in line), (override, line)
        refused += line is not None
    assert 150 < refused < 400


def test_no_value_whatever_gets_past_with_another_error(tmp_path: Path) -> None:
    rng = random.Random(0)
    complete = load(SMALL).to_dict()
    fields, path_of_file = list(leaves(complete)), tmp_path / "mine.py"
    refused = 0
    for _ in range(300):
        path, _ = rng.choice(fields)
        # Sometimes the whole block the field stands in.
        names = path.split(".")[1 : None if rng.random() < 0.8 else -1] or path.split(".")[1:]
        *block, name = names
        where = "".join(f"[{part!r}]" for part in block)
        body = f"config = base().to_dict()\nconfig{where}[{name!r}] = {rng.choice(VALUES)}\nreturn ConfigDict(config)"
        lines = "".join(f"    {line}\n" for line in body.split("\n"))
        path_of_file.write_text(HEADER.format(config=complete) + lines)
        line = refused_or_sound(str(path_of_file))
        assert line is None or (NAMES_A_FIELD.match(line) and "\n" not in line), (body, line)
        refused += line is not None
    assert 200 < refused < 300
