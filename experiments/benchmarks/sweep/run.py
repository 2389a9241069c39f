"""Times cells together: `python -m experiments.benchmarks.sweep [--torch PYTHON] [--rounds N]`."""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from experiments.benchmarks import run as benchmarks
from experiments.benchmarks.adapt.peer import Peer
from experiments.benchmarks.rows import Bench, Row, Scale
from experiments.benchmarks.run import measure
from experiments.benchmarks.sweep import scaling
from experiments.benchmarks.sweep.rows import against, asked_of, heads, rows, together
from tlx.atomic import write_json
from tlx.errors import TlxError

SCRIPT = Path(__file__).with_name("torch_side.py")
CELLS, RUNS = 8, 16
HEADS, VITS = (10, 30, 100, 300, 1000), (2, 4, 8, 16)


def main(
    argv: Sequence[str] | None = None,
    scale: Scale | None = None,
    numbers: tuple[Sequence[int], Sequence[int]] = (HEADS, VITS),
) -> int:
    """Time rows and curves, print a table, draw the curves and write all as JSON.

    Args:
      argv: arguments, or None for the process's own.
      scale: how much work, by default the quickstart's.
      numbers: of heads and of ViTs whose times make the curves.

    Returns:
      The exit code.
    """
    options, scale = _parser().parse_args(argv), scale or Scale()
    try:
        results = []
        for name, row, ours in _all_rows(options, scale):
            results.append(measure(name, row, options.rounds, ours))
            print(f"done: {name}", file=sys.stderr)
        bench = Bench(scale)
        kinds = {"heads, fused": partial(heads, scale), "ViT, in turn": lambda cells: partial(together, bench, cells)}
        curves = [
            scaling.measure(name, make, cells, options.rounds)
            for (name, make), cells in zip(kinds.items(), numbers, strict=True)
        ]
        Console(highlight=False, width=benchmarks.PIPE_WIDTH).print(benchmarks.table(results))
        for curve in curves:
            print(f"{curve.name}, {curve.cells[0]} to {curve.cells[-1]} cells: slope {curve.slope:.3g}")
        scaling.draw(curves, options.out.with_suffix(".png"))
        content = {"environment": benchmarks.environment(), "scale": asdict(scale)}
        content |= {"rows": [result.as_dict() for result in results]}
        write_json(options.out, content | {"curves": [asdict(curve) | {"slope": curve.slope} for curve in curves]})
    except TlxError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _all_rows(options: argparse.Namespace, scale: Scale) -> Iterator[tuple[str, Row, Callable[[], float]]]:
    for name, row in rows(scale, options.cells):
        # Processes that have ended count as ours, too.
        yield name, row, _with_children
    if options.torch:
        peer = Peer(options.torch, asked_of(scale), SCRIPT, "torch and transformers")
        try:
            for name, row in against(scale, options.runs, peer):
                yield name, row, lambda: time.process_time() + peer.seconds()
        finally:
            peer.close()


def _with_children() -> float:
    """Processor time of this process and of those it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--torch", type=Path, metavar="PYTHON", help="a Python with torch and transformers")
    parser.add_argument("--cells", type=benchmarks.positive, default=CELLS, help=f"cells of a study (default: {CELLS})")
    parser.add_argument("--runs", type=benchmarks.positive, default=RUNS, help=f"beside PyTorch (default: {RUNS})")
    parser.add_argument("--rounds", type=benchmarks.positive, default=3, help="timed pairs for each (default: 3)")
    parser.add_argument("--out", type=Path, default=Path("workdir/sweep.json"), help="where JSON and picture go")
    return parser
