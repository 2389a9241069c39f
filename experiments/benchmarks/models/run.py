"""Times the models beside PyTorch: `python -m experiments.benchmarks.models --torch PYTHON [--models NAME ...]`."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from experiments.benchmarks import run as benchmarks
from experiments.benchmarks.adapt.peer import Peer
from experiments.benchmarks.adapt.rows import Bench, Scale
from experiments.benchmarks.models.rows import SCALES, against, asked_of
from experiments.benchmarks.run import measure
from tlx.atomic import write_json
from tlx.errors import TlxError

SCRIPT = Path(__file__).with_name("torch_side.py")


def main(argv: Sequence[str] | None = None, scales: Mapping[str, Scale] | None = None) -> int:
    """Time the models, print a table and write the ratios as JSON.

    Args:
      argv: arguments, or None for the process's own.
      scales: how much work, by default that of `SCALES`.

    Returns:
      The exit code.
    """
    options = _parser().parse_args(argv)
    scales = scales or SCALES
    benches = [Bench(name, scales[name]) for name in options.models]
    try:
        peer = Peer(options.torch, asked_of(benches), SCRIPT)
        results = []
        try:
            for name, row in against(benches, peer):
                results.append(measure(name, row, options.rounds, lambda: time.process_time() + peer.seconds()))
                print(f"done: {name}", file=sys.stderr)
        finally:
            peer.close()
        Console(highlight=False, width=benchmarks.PIPE_WIDTH).print(benchmarks.table(results))
        about = peer.about["versions"] | {"torch_threads": peer.about["threads"]}
        content = {"environment": benchmarks.environment() | about, "rows": [result.as_dict() for result in results]}
        write_json(options.out, content)
    except TlxError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.models", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--torch", type=Path, required=True, metavar="PYTHON", help="a Python with torch, transformers")
    parser.add_argument("--models", nargs="+", choices=SCALES, default=list(SCALES), metavar="NAME")
    parser.add_argument("--rounds", type=benchmarks.positive, default=5, help="timed pairs for each (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("workdir/models.json"), help="where the JSON goes")
    return parser
