"""Costs as tables: for a terminal, and in Markdown."""

import statistics
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments.benchmarks import run as benchmarks
from experiments.benchmarks.adapt.cost import Cost
from experiments.benchmarks.run import Result
from tlx.report.wording import percent

NONE = "–"


def tables(costs: Sequence[Cost], rows: Sequence[Result], left_out: Mapping[str, str]) -> None:
    """Print everything that was measured.

    Args:
      costs: of the methods.
      rows: other ratios.
      left_out: methods that do not apply to the model, and why.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=benchmarks.PIPE_WIDTH)
    if costs:
        console.print(_methods(costs))
    if rows:
        console.print(benchmarks.table(rows))
    for name, why in left_out.items():
        console.print(f"left out: {name}: {why}", markup=False, soft_wrap=True)


def _methods(costs: Sequence[Cost]) -> Table:
    table = Table(title="A train step as a share of full fine-tuning's", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Method")
    for heading in ("Trained", "Time", "FLOPs", "Memory", "Cached: time", "FLOPs", "Quiet rounds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cost in costs:
        numbers = [*_ratios(cost), *_cached(cost)]
        table.add_row(cost.name, percent(cost.share), *numbers, cost.quiet)
    return table


def markdown(costs: Sequence[Cost]) -> str:
    """The methods as a Markdown table.

    Args:
      costs: of the methods.

    Returns:
      Lines without a last newline.
    """
    lines = [
        "| method | what trains | share of parameters | time | FLOPs | memory | cached: time | FLOPs | source |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for cost in costs:
        cells = [f"`{cost.name}`", cost.trains, percent(cost.share), *_ratios(cost), *_cached(cost), cost.paper]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratios(cost: Cost) -> list[str]:
    return [f"{ratio:.2f}" for ratio in (cost.time, cost.flops, cost.memory)]


def _cached(cost: Cost) -> list[str]:
    if cost.cached is None:
        return [NONE, NONE]
    return [f"{ratio:.2g}" for ratio in (statistics.median(cost.cached.time.ratios), cost.cached.flops)]
