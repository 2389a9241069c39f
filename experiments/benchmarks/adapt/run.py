"""Times the methods: `python -m experiments.benchmarks.adapt [--model NAME] [--methods NAME ...] [--rounds N]`."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.benchmarks import run as benchmarks
from experiments.benchmarks.adapt import show
from experiments.benchmarks.adapt.cost import Cost, cost_of
from experiments.benchmarks.adapt.peer import Peer, against, asked_of
from experiments.benchmarks.adapt.rows import SCALES, Bench, Scale, Step
from experiments.benchmarks.adapt.together import ROWS
from experiments.benchmarks.run import Result, measure
from tlx.adapt.registry import METHODS
from tlx.atomic import write_json
from tlx.errors import TlxError
from tlx.models.registry import MODELS


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> int:
    """Time methods, print tables and write the ratios as JSON.

    Args:
      argv: arguments, or None for the process's own.
      scale: how much work, by default the model's in `SCALES`.

    Returns:
      The exit code.
    """
    options = _parser().parse_args(argv)
    name = "bert" if options.torch else options.model
    bench = Bench(name, scale or SCALES[name])
    try:
        if options.torch:
            costs, rows, about = [], *_beside_torch(bench, options)
        else:
            costs, rows, about = _methods(bench, options), _together(bench, options), {}
        left_out = {name: why for name in options.methods if not options.torch and (why := bench.misfit(name))}
        show.tables(costs, rows, left_out)
        if options.markdown:
            print(show.markdown(costs))
        content = {"environment": benchmarks.environment() | about, "model": bench.name, "scale": asdict(bench.scale)}
        results = {"methods": [c.as_dict() for c in costs], "rows": [r.as_dict() for r in rows], "left_out": left_out}
        write_json(options.out, content | results)
    except TlxError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.adapt", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="vit", help="whose train step (default: vit)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS), metavar="NAME")
    parser.add_argument("--rounds", type=benchmarks.positive, default=5, help="timed pairs for each (default: 5)")
    parser.add_argument("--torch", type=Path, metavar="PYTHON", help="time BERT beside the PyTorch of this Python")
    parser.add_argument("--markdown", action="store_true", help="print the methods as a Markdown table, too")
    parser.add_argument("--out", type=Path, default=Path("workdir/adapt.json"), help="where the JSON goes")
    return parser


def _methods(bench: Bench, options: argparse.Namespace) -> list[Cost]:
    names = [name for name in options.methods if not bench.misfit(name)]
    full = Step(bench.task("full"), bench.variables(bench.task("full")), bench.batch())
    costs = []
    for name in names:
        costs.append(cost_of(bench, name, full, options.rounds))
        print(f"done: {name}", file=sys.stderr)
    return costs


def _together(bench: Bench, options: argparse.Namespace) -> list[Result]:
    results = []
    for name in options.rows:
        results.append(measure(name, ROWS[name](bench), options.rounds))
        print(f"done: {name}", file=sys.stderr)
    return results


def _beside_torch(bench: Bench, options: argparse.Namespace) -> tuple[list[Result], dict[str, Any]]:
    peer = Peer(options.torch, asked_of(bench))
    results = []
    try:
        for name, row in against(bench, peer):
            results.append(measure(name, row, options.rounds, lambda: time.process_time() + peer.seconds()))
            print(f"done: {name}", file=sys.stderr)
    finally:
        peer.close()
    return results, peer.about["versions"] | {"torch_threads": peer.about["threads"]}
