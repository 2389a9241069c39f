"""What the README says is so."""

import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from tlx.adapt.registry import METHODS
from tlx.cli import main
from tlx.config import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_the_trace_names_the_lines_it_links_to() -> None:
    links = re.findall(r"\[`([\w.]+)`\]\((\S+?)#L(\d+)\)", README)
    assert len(links) == 6
    for name, file, number in links:
        lines = (ROOT / file).read_text().splitlines()
        right = [i for i, line in enumerate(lines, 1) if re.match(rf"def {name.split('.')[-1]}\(", line)]
        assert [int(number)] == right, f"{name} is at {file}#L{right}"


def test_the_table_of_methods_is_the_registry() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", README, re.MULTILINE)
    assert dict(rows) == {name: method.paper for name, method in METHODS.items()}


def test_the_overrides_shown_are_valid() -> None:
    shown = re.findall(r"--config\.[\w.]+=[^\s`\"]+", README.split("```")[0] + README)
    assert len(shown) >= 5
    for override in shown:
        if "rnak" not in override:
            load(str(ROOT / "configs/quickstart.py"), [override])


def test_the_mistake_shown_gives_the_line_shown(capsys: pytest.CaptureFixture[str]) -> None:
    command, answer = re.findall(r"^\$ uv run tlx (.*)\n(.*)$", README, re.MULTILINE)[0]
    argv = [str(ROOT / word) if word.endswith(".py") else word for word in command.split()]
    assert main(argv) == 2
    assert capsys.readouterr().err == f"{answer}\n"


def test_the_example_config_is_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    code = "\n".join(blocks)
    quickstart = (ROOT / "configs/quickstart.py").read_text()
    edited = quickstart.replace("    return config\n", "".join(f"    {line}\n" for line in code.splitlines()))
    path = tmp_path / "mine.py"
    path.write_text(edited + "    return config\n")
    config = load(str(path))
    assert isinstance(config, ConfigDict)
    assert config.preprocess.pad_crop.padding == 16 and config.preprocess.mixup.alpha == 0.2
    assert set(config.adapt) == {"scratch", "lora", "top"} and config.adapt.lora.scales == (0.5, 4.0)
    assert config.adapt.top.method.frozen == ("params/embed/.*", "params/block_[01]/.*")
