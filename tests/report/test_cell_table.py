from types import SimpleNamespace

from tlx.report import pair
from tlx.report.cell_table import HEAD, cell_lines, unfinished, written
from tlx.report.reproduce import command_of
from tlx.report.results import Results, gather


def results(make: SimpleNamespace) -> Results:
    records = make.simulated({"full": 0.25}, (20,), 2)
    lost, failed = records.pop(0), records.pop(0)
    records[-1] = make.diverged(records[-1])
    study = make.study(records, lost=[lost, failed])
    found = {record["id"]: record for record in records}
    return gather(found, study.manifest, study.timings, {failed["id"]: "ValueError: no"}, None)


def test_every_planned_cell_has_a_line(make: SimpleNamespace) -> None:
    given = results(make)
    gains = {one.record["id"]: one.gain for one in pair(given.records)}
    lines = cell_lines(given, gains)
    assert [line[HEAD.index("State")] for line in lines] == ["ok", "ok", "ok", "diverged", "missing", "failed"]
    assert all(len(line) == len(HEAD) for line in lines)
    first = dict(zip(HEAD, lines[0], strict=True))
    assert (first["Labels"], first["Seed"], first["Rate"], first["Time, s"]) == (20, 0, 0.001, 1.5)
    assert first["Test, %"] == round(100 * given.records[0]["result"]["test_score"], 2)
    assert first["Gain"] is None and dict(zip(HEAD, lines[-1], strict=True))["Test, %"] is None
    text = written(lines)
    assert text[0][HEAD.index("Rate")] == "0.001" and text[-1][HEAD.index("Test, %")] == "–"


def test_what_is_unfinished_has_its_reason(make: SimpleNamespace) -> None:
    found = unfinished(results(make))
    assert [one.state for one in found] == ["diverged", "missing", "failed"]
    assert found[-1].line().startswith("failed: scratch on digits, 20 labels, seed 1 (")
    assert found[-1].line().endswith("): ValueError: no")


def test_the_command_of_a_cell() -> None:
    assert command_of("tlx run configs/a.py --workdir w --data-dir d --json --shard=1/2") == (
        "tlx run configs/a.py --data-dir d --workdir reproduced --cell "
    )
    assert command_of("tlx run a.py --config.budgets=(20,)") == (
        "tlx run a.py '--config.budgets=(20,)' --workdir reproduced --cell "
    )
    quoted = "tlx run 'my study.py' '--config.seeds=(1, 2)'"
    assert command_of(quoted) == f"{quoted} --workdir reproduced --cell "
    assert command_of("tlx run it's.py") == """tlx run 'it'"'"'s.py' --workdir reproduced --cell """
