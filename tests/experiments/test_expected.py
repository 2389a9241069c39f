"""What the experiments of this repository claim can be decided, and is about what their configs name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from claimed import ARMS, record, write_study

from tlx.config import load
from tlx.report.claims.verdicts import KINDS, NOT_HERE, decide

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments").glob("*/expected.json"))
PAPERS = sorted((ROOT / "configs" / "papers").glob("*.py"))


def said(claim: Any, *names: str) -> Iterator[Any]:
    """Every value that a claim, or a place of it, has under some names; entries are also named by themselves."""
    for name, value in claim.items():
        if name in names and isinstance(value, str | int):
            yield value
        for item in value if isinstance(value, list) else []:
            if isinstance(item, dict):
                yield from said(item, *names)
            elif "entry" in names:
                yield item


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_the_claims_of_each_experiment_can_be_decided(tmp_path: Path, path: Path) -> None:
    content = json.loads(path.read_text())
    claims = content["claims"]

    def named(*names: str, default: Any) -> list[Any]:
        return sorted({value for claim in claims for value in said(claim, *names)}) or [default]

    entries = sorted({*named("entry", "than", default=""), "base" if '"base"' in path.read_text() else "scratch"})
    records = [
        record(entry, budget, seed, 200 + seed, source, target)
        for target in named("target", default="digits")
        for budget in named("budget", "few", "many", default=40)
        for entry in entries
        for source in (named("source", default="mnist") if entry not in ARMS else ["mnist"])
        for seed in range(5)
    ]
    verdicts = decide(write_study(tmp_path, records, name=content["study"]), path)
    assert {claim["kind"] for claim in claims} == set(KINDS)
    unsaid = [one for one in verdicts if one.verdict == NOT_HERE]
    assert all(one.kind == "headline" and one.why == "a number of the paper's scale" for one in unsaid)
    assert ("paper" in content) == bool(unsaid)


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_claims_are_about_what_the_config_of_a_paper_names(path: Path) -> None:
    config = load(str(path))
    content = json.loads((ROOT / "experiments" / path.stem / "expected.json").read_text())
    claims = [claim for claim in content["claims"] if claim["kind"] != "headline"]
    assert content["study"] == config.name == path.stem
    for block, names in {"adapt": ("entry", "than"), "sources": ("source",), "targets": ("target",)}.items():
        assert {value for claim in claims for value in said(claim, *names)} <= set(config[block])
    assert {value for claim in claims for value in said(claim, "budget")} <= set(config.budgets)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.py")), ids=lambda path: path.stem)
def test_configs_are_short_and_say_what_they_are_for(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 60
    for name in ("Run:", "Expected:", "Takes:", "Source:"):
        assert any(line.startswith(f"{name:11}") for line in lines), name
