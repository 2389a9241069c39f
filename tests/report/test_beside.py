"""Two studies side by side: numbers by hand, what is matched, what is refused, what differs."""

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from made_records import Record, diverge, make_record, make_study, publish, simulate

from tlx.records import read
from tlx.report import beside_shown
from tlx.report.beside import Beside, compare, differences, flat


def renamed(records: Iterable[Record], **changes: Any) -> list[Record]:
    """The same cells under other ids, as another config gives them; `changes` set dotted fields."""
    made = copy.deepcopy([*records])
    for record in made:
        record["id"] = record["id"][::-1]
        for path, value in changes.items():
            *way, last = path.split("__")
            place = record
            for name in way:
                place = place[name]
            place[last] = value
    return made


def compared(folder: Path, a: list[Record], b: list[Record], lost: list[Record] | None = None, **b_says: Any) -> Beside:
    one = publish(make_study(a), folder / "a")
    return compare(read(one), read(publish(make_study(b, lost or []), folder / "b"), **b_says))


def by_hand(scores: Iterable[int]) -> list[Record]:
    return [make_record("lora", seed=seed, correct=correct) for seed, correct in enumerate(scores)]


def test_differences_are_paired_by_seed_whatever_the_ids(tmp_path: Path) -> None:
    found = compared(tmp_path, by_hand((280, 300, 340)), renamed(by_hand((300, 324, 352))[::-1]))
    (line,) = found.lines
    assert (line.source, line.target, line.entry, line.budget) == ("mnist", "digits", "lora", 20)
    assert line.a.mean == pytest.approx(23 / 30) and line.b.mean == pytest.approx(976 / 1200)
    # 0.05, 0.06 and 0.03: mean 0.0466…, s = 0.0152753, t(0.975, 2) = 4.302653
    assert line.difference.mean == pytest.approx(0.14 / 3)
    assert line.difference.high - line.difference.mean == pytest.approx(4.302653 * 0.01527525 / 3**0.5, abs=1e-6)
    assert (line.difference.n, line.refused) == (3, 0)
    assert found.config == found.origins == found.refused == found.only_a == found.only_b == ()


def test_a_study_beside_itself(tmp_path: Path) -> None:
    records = simulate({"full": 0.2}, (20, 100), 3)
    found = compared(tmp_path, records, records)
    assert len(found.lines) == 6 and all(line.difference.mean == 0.0 for line in found.lines)
    assert (found.a.cells, found.a.done, found.b.done) == (18, 18, 18)


def test_cells_without_a_partner_are_named(tmp_path: Path) -> None:
    a, b = by_hand((280, 300)), renamed(by_hand((280, 300, 320))[1:])
    found = compared(tmp_path, a, b)
    assert found.lines[0].difference.n == 1 and found.lines[0].a.n == 1
    assert found.only_a == ("lora from mnist on digits, 20 labels, seed 0",)
    assert found.only_b == ("lora from mnist on digits, 20 labels, seed 2",)


def test_missing_and_diverged_cells_are_never_paired(tmp_path: Path) -> None:
    a, b = by_hand((280, 300, 320)), renamed(by_hand((300, 320, 340)))
    found = compared(tmp_path, a, [b[0], diverge(b[1])], lost=[b[2]])
    assert (found.lines[0].a.n, found.lines[0].b.n, found.lines[0].difference.n) == (3, 1, 1)
    assert (found.b.cells, found.b.done) == (3, 1)


@pytest.mark.parametrize(
    "field",
    ["data.train.digest", "data.test.digest", "data.test.split", "data.subset.digest", "result.metric"],
)
def test_scores_of_different_things_are_not_subtracted(tmp_path: Path, field: str) -> None:
    a = by_hand((280, 300, 320))
    b = renamed(a[:2], **{field.replace(".", "__"): "other"}) + renamed(a[2:])
    found = compared(tmp_path, a, b)
    (line,) = found.lines
    assert (line.a.n, line.b.n, line.difference.n, line.refused) == (3, 3, 1, 2)
    assert found.refused == (
        f"{field}: differs in 2 pairs of cells, whose scores are therefore of different things; no difference is given",
    )


def test_other_settings_may_differ_and_are_listed(tmp_path: Path) -> None:
    a = by_hand((280, 300, 320))
    b = renamed(a, config__recipe={"steps": 200}, environment__jax="0.13", config__numerics=6)
    one = publish(make_study(a, config={"train": {"steps": 100}, "seeds": [0, 1], "old": 1}), tmp_path / "a")
    two = publish(make_study(b, config={"train": {"steps": 200}, "seeds": [0, 1], "new": {}}), tmp_path / "b")
    found = compare(read(one), read(two))
    assert found.lines[0].difference.n == 3
    assert [(one.field, one.a, one.b) for one in found.config] == [
        ("new", None, {}),
        ("old", 1, None),
        ("train.steps", 100, 200),
    ]
    assert [(one.field, one.a, one.b) for one in found.origins] == [
        ("config.numerics", None, "6"),
        ("environment.jax", "0.12.0.1", "0.13"),
    ]


def test_origins_say_whose_they_are(tmp_path: Path) -> None:
    a = by_hand((280, 300))
    found = compared(tmp_path, a, renamed(a, data__test__digest="d2", lineage__checkpoint="c2"))
    assert [one.field for one in found.origins] == ["digits: data.test.digest", "mnist: lineage.checkpoint"]
    assert found.origins[1].a == a[0]["lineage"]["checkpoint"] and found.origins[1].b == "c2"


def test_empty_folders_have_nothing_in_common(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    found = compare(read(tmp_path / "a"), read(tmp_path / "b"))
    assert found.lines == () and found.config == () and found.a.cells == 0
    assert "They have no cell in common." in beside_shown.markdown(found)


def test_as_json_it_has_no_nan(tmp_path: Path) -> None:
    found = compared(tmp_path, by_hand((280,)), renamed(by_hand((300,))))
    line = json.loads(json.dumps(found.as_dict(), allow_nan=False))["lines"][0]
    assert line["difference"]["mean"] == pytest.approx(0.05) and line["difference"]["low"] is None


def test_flat_and_differences() -> None:
    assert flat({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}
    assert flat({}) == {} and differences({}, {}) == []
    assert [one.field for one in differences({"b": None, "c": 1}, {"a": 0, "c": 1})] == ["a", "b"]


def test_terminal_and_markdown_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = simulate({"full": 0.25, "lora": 0.1}, (20,), 3)
    b = renamed(simulate({"full": 0.1, "lora": 0.1}, (20,), 3)[:10])
    b[0]["environment"]["jax"] = "0.13 | pipe"
    found = compared(tmp_path, a, b)
    beside_shown.show(found)
    for text in (capsys.readouterr().out, beside_shown.markdown(found)):
        text = text.replace("\\", "")
        for part in (
            "A: quickstart in ",
            "12 of 12 cells done",
            "10 of 10 cells done",
            "mnist → digits",
            "▼ -",
            "environment.jax",
            "0.13 | pipe",
            "2 cells only in A",
            "lora from mnist on digits, 20 labels, seed 2",
        ):
            assert part in text, part
    table = [line for line in beside_shown.markdown(found).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 2  # of scores, and of fields


def test_only_a_few_of_many_cells_are_named_in_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(tmp_path, by_hand([280] * 12), [])
    beside_shown.show(found)
    out = capsys.readouterr().out
    assert "12 cells only in A" in out and "… and 4 more" in out and "seed 8" not in out
    assert beside_shown.markdown(found).count("seed ") == 12
