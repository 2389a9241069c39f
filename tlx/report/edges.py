"""Chosen rates at the edge of those that were tried: a better one may lie beyond."""

from collections.abc import Sequence

from tlx.measure.pairing import Record
from tlx.report.wording import listing


def edge_of(record: Record) -> str | None:
    """`low` or `high` if the chosen rate, or penalty, is the lowest or highest of several that were tried, else None.

    Args:
      record: of a cell; where trials were drawn from a range, it has no edge.
    """
    chosen = record["selected"]
    if "edge" in chosen:
        found: str | None = chosen["edge"]
        return found
    name = "lr" if "lr" in chosen else "l2"
    rates = [trial[name] for trial in record["trials"]]
    if chosen[name] is None or len(set(rates)) < 2:
        return None
    return {min(rates): "low", max(rates): "high"}.get(chosen[name])


def at_edges(records: Sequence[Record]) -> str:
    """How many cells chose a rate at an edge, and of which entries: `8 of 20 cells (full and lora)`; empty for none.

    Args:
      records: any order.
    """
    there = [record for record in records if edge_of(record)]
    if not there:
        return ""
    entries = listing(sorted({record["cell"]["entry"] for record in there}))
    return f"{len(there)} of {len(records)} cells ({entries})"
