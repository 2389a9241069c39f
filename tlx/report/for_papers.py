"""The numbers of a report for other programs: comma-separated values, and tables for LaTeX."""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tlx.measure.stats import Interval
from tlx.report import wording
from tlx.report.summary import Comparison, Row, comparisons

_ENDS = ("mean", "low", "high", "n", "kind")
_COLUMNS = (
    "study",
    "source",
    "target",
    "entry",
    "arm",
    "budget",
    "metric",
    *(f"score_{name}" for name in _ENDS),
    *(f"gain_{name}" for name in _ENDS),
    "trainable_params",
    "trainable_share",
    "optimizer_bytes",
    "step_flops",
    "cached_flops",
    "wall_s",
    "seeds_done",
    "seeds_expected",
    "diverged",
    "refused",
)
_PREAMBLE = "% Needs \\usepackage{booktabs}. Names in other than Latin letters need XeLaTeX or LuaLaTeX.\n"
# What LaTeX takes for a command, and what its fonts lack.
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "[": "{[}",  # at the beginning of a line it would be an option of the \\ before
    "]": "{]}",
    "→": r"$\rightarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "▼": r"$\downarrow$",
    "–": "--",
    "…": r"\dots{}",
    "²": "$^2$",
    "λ": r"$\lambda$",
}


def spreadsheet(studies: Iterable[tuple[str, Iterable[Row]]]) -> str:
    """Rows as comma-separated values: shares of 1, an empty field for what is unknown.

    Args:
      studies: the name of each, and its rows as `summarise` gives them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for study, row in ((study, row) for study, rows in studies for row in rows):
        ends: dict[str, Any] = {"study": study}
        ends |= {f"score_{name}": getattr(row.score, name) for name in _ENDS}
        ends |= {f"gain_{name}": getattr(row.gain, name) for name in _ENDS} if row.gain else {}
        writer.writerow(_known(ends[name] if name in ends else getattr(row, name, None)) for name in _COLUMNS)
    return text.getvalue()


def latex(studies: Iterable[tuple[str, Iterable[Row]]]) -> str:
    """A booktabs table for each source and target of each study, each with a caption and a label.

    Args:
      studies: the name of each, which is in the labels, and its rows as `summarise` gives them.
    """
    made = [(study, one) for study, rows in studies for one in comparisons(rows)]
    names: list[str] = []
    for study, one in made:
        name = f"tab:{_slug(study)}-{_slug(one.source or 'scratch')}-{_slug(one.target)}"
        names.append(name if name not in names else f"{name}-{len(names)}")
    return "\n".join([_PREAMBLE, *map(_table, (one for _, one in made), names)])


def escape(text: str) -> str:
    """Text that LaTeX sets as it is, on one line."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()) if letter.isprintable())


def number(text: str) -> str:
    """A number as `wording` says it, with a minus sign for a hyphen."""
    return re.sub(r"(?<![\w.])([-+])(?=\d)", r"$\1$", escape(text))


def _table(made: Comparison, name: str) -> str:
    metric = wording.capital(wording.metric(made.rows))
    head = ("Method", f"{metric}, %", "Gain, points", "Trained", "Seeds")
    lines = [rf"\begin{{tabular}}{{@{{}}l{'r' * (len(head) - 1)}@{{}}}}", r"\toprule"]
    lines.append(_row([escape(cell) for cell in head]))
    for budget in dict.fromkeys(row.budget for row in made.rows):
        lines += [
            r"\midrule",
            rf"\multicolumn{{{len(head)}}}{{@{{}}l}}{{\emph{{{escape(wording.labels(budget))}}}}} \\",
        ]
        lines += [_row(_cells(row)) for row in made.rows if row.budget == budget]
    body = "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])
    caption = rf"\caption{{{_caption(made)}}}" + "\n" + rf"\label{{{name}}}"
    return "\n".join([r"\begin{table}[t]", r"\centering", caption, body, r"\end{table}", ""])


def _cells(row: Row) -> list[str]:
    gain = "" if row.gain is None else wording.marked_gain(row)
    few = f" ({row.gain.n} pairs)" if row.gain is not None and 0 < row.gain.n < row.seeds_done else ""
    share = wording.percent(row.trainable_share)
    return [
        escape(row.name),
        *(number(text) for text in (wording.score(row.score), gain + few, share, wording.seeds(row))),
    ]


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _caption(made: Comparison) -> str:
    from_to = f"from {made.source} to {made.target}" if made.source is not None else f"on {made.target}"
    said = [f"Transfer {from_to}: test {wording.metric(made.rows)}, gain over the paired scratch cells."]
    if any(_has_interval(row.score) for row in made.rows):
        said.append("Intervals cover 95 % over seeds.")
    if any(row.gain is not None and row.gain.below_zero for row in made.rows):
        said.append(f"{wording.WORSE}: the interval of the gain lies below 0.")
    if lost := sum(row.diverged for row in made.rows):
        said.append(f"{lost} diverged cell{' is' if lost == 1 else 's are'} left out.")
    return escape(" ".join(said))


def _has_interval(value: Interval) -> bool:
    return value.kind != "none"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def _known(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
