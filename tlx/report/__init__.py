"""Records to answers: paired, summarised, then shown in the terminal, as charts, Markdown and HTML."""

from tlx.measure.pairing import Pair, pair
from tlx.report.results import Results, load
from tlx.report.sentence import one_sentence
from tlx.report.summary import Comparison, Row, comparisons, summarise
from tlx.report.terminal import tables
from tlx.report.write import Report, write, write_all

__all__ = [
    "Comparison",
    "Pair",
    "Report",
    "Results",
    "Row",
    "comparisons",
    "load",
    "one_sentence",
    "pair",
    "summarise",
    "tables",
    "write",
    "write_all",
]
