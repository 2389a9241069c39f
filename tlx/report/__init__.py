"""Records to answers: paired, summarised, then shown in the terminal, as pictures, Markdown and HTML."""

from tlx.report.pairing import Pair, pair
from tlx.report.sentence import one_sentence
from tlx.report.summary import Comparison, Row, comparisons, summarise
from tlx.report.terminal import tables
from tlx.report.write import Report, write

__all__ = [
    "Comparison",
    "Pair",
    "Report",
    "Row",
    "comparisons",
    "one_sentence",
    "pair",
    "summarise",
    "tables",
    "write",
]
