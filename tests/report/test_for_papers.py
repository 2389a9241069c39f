"""Tables for other programs: CSV that reads back, LaTeX whose braces and columns add up."""

import csv
import io
import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import make_record, make_study, simulate

from tlx.report import summarise
from tlx.report.for_papers import escape, latex, number, spreadsheet

HOSTILE = r"a&b %_#{}~^\ $1 <x> [y] \\ é"


def rows_of(study: SimpleNamespace) -> list:
    return summarise(study.records, study.manifest, study.timings)


class Parsed:
    """What LaTeX would see: braces that match, environments that nest, and the cells of each line of a tabular."""

    def __init__(self, source: str) -> None:
        body = "\n".join(line for line in source.splitlines() if not line.startswith("%"))
        self.captions = re.findall(r"\\caption\{(.*)\}", body)
        self.labels = re.findall(r"\\label\{(.*)\}", body)
        self.lines: list[list[str]] = []
        self.balanced(body)
        self.nested(body)
        for spec, inside in re.findall(
            r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}\n(.*?)\\end\{tabular\}", body, re.DOTALL
        ):
            self.rules(inside)
            for line in inside.splitlines():
                if line.startswith(("\\toprule", "\\midrule", "\\bottomrule")):
                    continue
                assert line.endswith(r" \\"), line
                cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
                spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d)\}", line))
                assert len(cells) + spanned == len(spec), line
                for cell in cells:
                    self.balanced(cell)
                    assert not re.search(r"(?<!\\)[#_%^~]", cell), cell  # ^ only in mathematics
                    assert len(re.findall(r"(?<!\\)\$", cell)) % 2 == 0, cell
                    assert cell.isascii() or "é" in cell
                self.lines.append([cell.strip() for cell in cells])

    @staticmethod
    def balanced(text: str) -> None:
        depth = 0
        for brace in re.findall(r"(?<!\\)[{}]", text):
            depth += 1 if brace == "{" else -1
            assert depth >= 0
        assert depth == 0

    @staticmethod
    def nested(text: str) -> None:
        open_ones: list[str] = []
        for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
            if what == "begin":
                open_ones.append(name)
            else:
                assert open_ones.pop() == name
        assert not open_ones

    @staticmethod
    def rules(inside: str) -> None:
        rules = re.findall(r"^\\(top|mid|bottom)rule$", inside, re.MULTILINE)
        assert (rules[0], rules[-1]) == ("top", "bottom") and set(rules[1:-1]) <= {"mid"}


def test_a_table_by_hand() -> None:
    records = [make_record("scratch", "scratch", seed=seed, correct=n) for seed, n in enumerate((200, 220, 240))]
    records += [make_record("lora", seed=seed, correct=n) for seed, n in enumerate((160, 180, 204))]
    assert latex([("quick_start", rows_of(make_study(records)))]).splitlines()[2:] == [
        r"\begin{table}[t]",
        r"\centering",
        r"\caption{Transfer from mnist to digits: test accuracy, gain over the paired scratch cells. Intervals cover "
        r"95 \% over seeds. $\downarrow$: the interval of the gain lies below 0.}",
        r"\label{tab:quick-start-mnist-digits}",
        r"\begin{tabular}{@{}lrrrr@{}}",
        r"\toprule",
        r"Method & Accuracy, \% & Gain, points & Trained & Seeds \\",
        r"\midrule",
        r"\multicolumn{5}{@{}l}{\emph{20 labels}} \\",
        r"scratch & 55.0 $\pm$ 12.4 &  & 100 \% & 3 \\",
        r"lora & 45.3 $\pm$ 13.7 & $\downarrow$ $-$9.7 {[}$-$11.1, $-$8.2{]} & 1 \% & 3 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_every_comparison_is_a_table_with_a_label_of_its_own() -> None:
    records = simulate({"full": 0.1}, (20, 100), 2) + simulate({"full": 0.1}, (20,), 10, source="a_b", target="c")
    records += simulate({"full": 0.1}, (20,), 1, source="a b", target="c ")
    parsed = Parsed(latex([("S", rows_of(make_study(records)))]))
    assert parsed.labels == ["tab:s-mnist-digits", "tab:s-a-b-c", "tab:s-a-b-c-2"]
    assert len(parsed.captions) == 3 and "Intervals" in parsed.captions[1] and "Intervals" not in parsed.captions[2]
    assert sum(line[0] == "full" for line in parsed.lines) == 4


def test_what_is_missing_and_lost_is_said() -> None:
    records = simulate({"full": 0.1}, (20,), 3)
    lost = [records.pop(0), records.pop()]
    text = latex([("s", rows_of(make_study(records, lost)))])
    by_name = {line[0]: line for line in Parsed(text).lines}
    assert by_name["full"][4] == "2/3" and by_name["full"][2].endswith("(1 pairs)")
    assert (
        Parsed(latex([("s", rows_of(make_study([], simulate({"full": 0.1}, (20,), 3))))])).lines[-1][1:4] == ["--"] * 3
    )


def test_hostile_names_are_only_text() -> None:
    records = simulate({HOSTILE: 0.2}, (20,), 3, source=HOSTILE, target=HOSTILE)
    parsed = Parsed(latex([(HOSTILE, rows_of(make_study(records)))]))
    assert parsed.labels == [f"tab:{'-'.join(['a-b-1-x-y'] * 3)}"]
    assert parsed.lines[-1][0] == escape(HOSTILE)


def test_every_special_letter_is_escaped() -> None:
    assert escape("&%$#_{}") == r"\&\%\$\#\_\{\}"
    assert escape("~^\\") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert escape("a\n\t b\x00") == "a b"
    assert number("+1.0 [-2.0, 3e-4]") == r"$+$1.0 {[}$-$2.0, 3e-4{]}"


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30))
def test_any_text_leaves_braces_balanced(text: str) -> None:
    made = escape(text)
    Parsed.balanced(re.sub(r"\\[{}]", "", made))
    assert not re.search(r"(?<!\\)[%#&]", made) and "\n" not in made


def test_csv_holds_the_numbers_in_full(study: SimpleNamespace) -> None:
    rows = rows_of(study)
    found = [*csv.DictReader(io.StringIO(spreadsheet([("s", rows)])))]
    assert len(found) == len(rows) == 8
    for line, row in zip(found, rows, strict=True):
        assert (line["source"] or None, line["entry"], int(line["budget"])) == (row.source, row.entry, row.budget)
        assert float(line["score_mean"]) == row.score.mean and float(line["score_high"]) == row.score.high
        assert (line["gain_mean"] == "") == (row.gain is None)
        assert row.gain is None or float(line["gain_low"]) == row.gain.low
        assert (line["seeds_done"], line["diverged"], line["refused"]) == ("5", "0", "0")


def test_csv_leaves_unknown_fields_empty() -> None:
    study = make_study([], simulate({"full": 0.1}, (20,), 2))
    (*_, line) = csv.DictReader(io.StringIO(spreadsheet([("s", rows_of(study))])))
    assert line["score_mean"] == line["gain_low"] == line["wall_s"] == "" and line["score_n"] == "0"
    assert "nan" not in spreadsheet([("s", rows_of(study))]) and not math.isnan(float(line["seeds_expected"]))


@pytest.mark.parametrize("write", [spreadsheet, latex])
@pytest.mark.parametrize("studies", [[], [("s", [])]])
def test_nothing_gives_no_rows(write: Any, studies: Any) -> None:
    assert write(studies).count("\n") == 1


def test_several_studies_are_told_apart(study: SimpleNamespace) -> None:
    both = [("a", rows_of(study)), ("b", rows_of(study))]
    lines = [*csv.DictReader(io.StringIO(spreadsheet(both)))]
    assert [line["study"] for line in lines] == ["a"] * 8 + ["b"] * 8
    assert Parsed(latex([*both, both[0]])).labels == [
        "tab:a-mnist-digits",
        "tab:b-mnist-digits",
        "tab:a-mnist-digits-2",
    ]
