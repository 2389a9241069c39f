"""Times how examples are fed: `python -m experiments.benchmarks.data [--torch PYTHON] [--tensorflow PYTHON]`."""

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.benchmarks import rows as training
from experiments.benchmarks import run as benchmarks
from experiments.benchmarks.adapt.peer import Peer
from experiments.benchmarks.data.rows import EXACT, WORK, Bench, Scale, against
from experiments.benchmarks.data.wait import waiting
from experiments.benchmarks.rows import Row
from experiments.benchmarks.run import Result, measure, one_round
from tlx.atomic import write_json
from tlx.errors import TlxError

HERE = Path(__file__).parent
TORCH, TENSORFLOW = HERE / "torch_side.py", HERE / "tensorflow_side.py"
# How the other side may be asked to go about it, and what that adds to the row's name.
TORCH_STYLES = {"transforms": " and torchvision", "examples": ", one by one", "batches": ", batch by batch"}
TENSORFLOW_STYLES = {"tensorflow": ""}
TRANSFORMED = ("augmented", "streamed")  # the rows in which torchvision has something to do
WAIT = "wait"


def main(
    argv: Sequence[str] | None = None, scale: Scale | None = None, training_scale: training.Scale | None = None
) -> int:
    """Time the rows, print a table and write the ratios as JSON.

    Args:
      argv: arguments, or None for the process's own.
      scale: how many examples there are, by default some seconds' worth.
      training_scale: of the run that waits for its data, by default the quickstart's.

    Returns:
      The exit code.
    """
    options, scale = _parser().parse_args(argv), scale or Scale()
    results: list[Result] = []
    about: dict[str, Any] = {}
    try:
        if WAIT in options.rows:
            results.append(_wait(training_scale or training.Scale(), options.rounds))
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(scale, Path(folder))
            asked = bench.write()
            for side in _sides(options):
                made, versions = _beside(bench, asked, *side, options)
                results += made
                about |= versions
        Console(highlight=False, width=benchmarks.PIPE_WIDTH).print(benchmarks.table(results))
        content = {"environment": benchmarks.environment() | about, "scale": asdict(scale)}
        write_json(options.out, content | {"rows": [result.as_dict() for result in results]})
    except TlxError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.data", description=__doc__.splitlines()[0])
    names = [*WORK, WAIT]
    parser.add_argument("--torch", type=Path, metavar="PYTHON", help="a Python with torch, numpy and pillow")
    parser.add_argument(
        "--tensorflow", type=Path, metavar="PYTHON", help="a Python with TensorFlow (default: this one)"
    )
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=benchmarks.positive, default=5, help="timed pairs for each (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("workdir/data.json"), help="where the JSON goes")
    return parser


def _sides(options: argparse.Namespace) -> list[tuple[Path, Path, str, str, dict[str, str]]]:
    """Interpreter, script, packages, name and styles of each other side that there is; a line for each that is not."""
    sides = []
    if options.torch:
        sides.append((options.torch, TORCH, "torch, numpy and pillow", "DataLoader", TORCH_STYLES))
    else:
        print("left out: DataLoader: name a Python that has PyTorch with --torch", file=sys.stderr)
    here = Path(sys.executable) if importlib.util.find_spec("tensorflow") else None
    if python := options.tensorflow or here:
        sides.append((python, TENSORFLOW, "tensorflow", "tf.data", TENSORFLOW_STYLES))
    else:
        print(
            "left out: tf.data: TensorFlow is not installed; name a Python that has it with --tensorflow",
            file=sys.stderr,
        )
    return sides


def _beside(
    bench: Bench,
    asked: dict[str, Any],
    python: Path,
    script: Path,
    needs: str,
    loader: str,
    styles: dict[str, str],
    options: argparse.Namespace,
) -> tuple[list[Result], dict[str, Any]]:
    peer = Peer(python, asked, script, needs)
    results, workers = [], {}
    try:
        for name, row, theirs in against(bench, peer, loader, _pairs(options, peer, styles)):
            _check(name, row)
            results.append(measure(name, row, options.rounds, _processor_time(peer.process.pid)))
            workers[name] = theirs.workers
            print(f"done: {name}", file=sys.stderr)
    finally:
        peer.close()
    return results, peer.about["versions"] | {f"{loader} threads": peer.about["threads"], f"{loader} workers": workers}


def _pairs(options: argparse.Namespace, peer: Peer, styles: dict[str, str]) -> list[tuple[str, str, str]]:
    """Row, style and words for it, of all that are to be timed and can be."""
    lacks = "transforms" in styles and "torchvision" not in peer.about["versions"]
    if lacks:
        print(f"left out: DataLoader with torchvision: {peer.python} does not have it", file=sys.stderr)
    return [
        (name, style, words)
        for name in options.rows
        for style, words in styles.items()
        if name in WORK and (style != "transforms" or (name in TRANSFORMED and not lacks))
    ]


def _check(name: str, row: Row) -> None:
    """That both sides went through the same examples, where chance does not change them."""
    top, bottom = row.top(), row.bottom()
    if name.partition("-")[0] in EXACT and not np.allclose(top, bottom, rtol=1e-4):
        raise TlxError(f"row {name}: the two sides went through different examples: {top[0]:.7g} and {bottom[0]:.7g}")


def _wait(scale: training.Scale, rounds: int) -> Result:
    run = waiting(training.Bench(scale))
    run()  # compiles
    made = tuple(one_round(run, time.process_time) for _ in range(rounds))
    print(f"done: {WAIT}", file=sys.stderr)
    return Result(WAIT, "28x28 in memory: waiting for data / the whole run", made)


def _processor_time(pid: int) -> Callable[[], float]:
    """Seconds that this process, another and its children have had, on Linux; children of ours are not looked for."""

    def seconds() -> float:
        return time.process_time() + _tree_seconds(pid)

    return seconds


def _tree_seconds(pid: int) -> float:
    """Of a process and of all below it, those that have ended among them."""
    used: dict[int, int] = {}
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        used[int(folder.name)] = sum(int(field) for field in fields[11:15])
        below.setdefault(int(fields[1]), []).append(int(folder.name))
    total, wanted = 0, [pid]
    while wanted:
        process = wanted.pop()
        total += used.get(process, 0)
        wanted += below.get(process, [])
    return total / os.sysconf("SC_CLK_TCK")
