"""Times the rows and prints their ratios: `python -m experiments.benchmarks.run [--rows NAME ...] [--rounds N]`."""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.rows import ROWS, Row, Scale, Work
from tlx.atomic import write_json
from tlx.errors import TlxError

PIPE_WIDTH = 110  # columns when the output is a file or a pipe

# A round counts as quiet if other processes had less than this share of the processor.
QUIET = 0.08


@dataclass(frozen=True)
class Round:
    """One timed pair.

    Args:
      ratio: time of the first way over that of the second.
      others: share of the processor that other processes had meanwhile, 0 to 1; None where that is not known.
    """

    ratio: float
    others: float | None

    @property
    def quiet(self) -> bool:
        """Whether nothing else is known to have run."""
        return self.others is None or self.others < QUIET


@dataclass(frozen=True)
class Result:
    """What a row came to.

    Args:
      name: of the row.
      says: what the ratio is.
      rounds: in order.
    """

    name: str
    says: str
    rounds: tuple[Round, ...]

    @property
    def ratios(self) -> list[float]:
        """Of the quiet rounds, sorted; of all if there is no quiet one."""
        return sorted(each.ratio for each in [one for one in self.rounds if one.quiet] or self.rounds)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        ends = {"median": statistics.median(self.ratios), "low": self.ratios[0], "high": self.ratios[-1]}
        return asdict(self) | ends


def measure(name: str, row: Row, rounds: int, ours: Callable[[], float] = time.process_time) -> Result:
    """Time both ways of a row in turn, so that what disturbs the machine disturbs both.

    Args:
      name: of the row.
      row: its two ways; each is run once before the first round, which compiles it.
      rounds: pairs of runs; every second one is in the opposite order.
      ours: seconds of processor time that the work itself has had so far, in this process or others.

    Returns:
      The ratios.
    """
    row.top()
    row.bottom()

    def top_first() -> float:
        return _seconds(row.top) / _seconds(row.bottom)

    def bottom_first() -> float:
        bottom = _seconds(row.bottom)
        return _seconds(row.top) / bottom

    made = [one_round(bottom_first if i % 2 else top_first, ours) for i in range(rounds)]
    return Result(name, row.says, tuple(made))


def one_round(ratio: Callable[[], float], ours: Callable[[], float]) -> Round:
    """Measure a ratio once, and how busy others were meanwhile.

    Args:
      ratio: does the work.
      ours: seconds of processor time that the work itself has had so far, in this process or others.
    """
    began, busy = time.perf_counter(), _others_busy(ours)
    found = ratio()
    capacity = (time.perf_counter() - began) * (os.cpu_count() or 1)
    now = _others_busy(ours)
    others = None if busy is None or now is None else max(0.0, (now - busy) / capacity)
    return Round(found, others)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> int:
    """Time rows, print a table and write the ratios as JSON.

    Args:
      argv: arguments, or None for the process's own.
      scale: how much work, by default the quickstart's.

    Returns:
      The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=positive, default=7, help="timed pairs for each row (default: 7)")
    parser.add_argument("--out", type=Path, default=Path("workdir/benchmarks.json"), help="where the JSON goes")
    options = parser.parse_args(argv)
    results = []
    for name in options.rows:
        results.append(measure(name, ROWS[name](scale or Scale()), options.rounds))
        print(f"done: {name}", file=sys.stderr)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(table(results))
    content = {"environment": environment(), "scale": asdict(scale or Scale())}
    try:
        write_json(options.out, content | {"rows": [result.as_dict() for result in results]})
    except TlxError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _others_busy(ours: Callable[[], float]) -> float | None:
    """Seconds of processor time that all other processes had since the machine started, on Linux."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - ours()


def table(results: Sequence[Result]) -> Table:
    """Ratios as a table for `rich.console.Console.print`."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Row")
    table.add_column("Time of / over that of", overflow="fold")
    for heading in ("Median", "Lowest to highest", "Quiet rounds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        ratios = result.ratios
        quiet = f"{sum(one.quiet for one in result.rounds)} of {len(result.rounds)}"
        median = f"{statistics.median(ratios):.3g}"
        table.add_row(result.name, result.says, median, f"{ratios[0]:.3g} to {ratios[-1]:.3g}", quiet)
    return table


def environment() -> dict[str, str | int | None]:
    """What the ratios may depend on."""
    device = jax.devices()[0]
    return {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": device.device_kind,
        "cores": os.cpu_count(),
    }


def positive(text: str) -> int:
    """A count, from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer ≥ 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
