"""What a method's train step costs beside that of full fine-tuning."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from experiments.benchmarks.adapt.rows import Bench, Step
from experiments.benchmarks.rows import Row
from experiments.benchmarks.run import Result, measure
from tlx.adapt.registry import METHODS
from tlx.study.cost import size_of


@dataclass(frozen=True)
class Phase:
    """A train step in one phase of a method, as shares of the step of full fine-tuning.

    Args:
      weight: share of the steps that the phase lasts.
      time: its timings.
      flops: operations.
      memory: bytes at the peak.
    """

    weight: float
    time: Result
    flops: float
    memory: float


@dataclass(frozen=True)
class Cost:
    """A method on one model.

    Args:
      name: of the method.
      trains: what moves, in a few words.
      paper: author, year.
      share: of the parameters, those of adapters included, that move.
      phases: its step from the input on, in each phase.
      cached: its step from the cut on, where that lies above the first stage.
    """

    name: str
    trains: str
    paper: str
    share: float
    phases: tuple[Phase, ...]
    cached: Phase | None

    def mean(self, of: Callable[[Phase], float]) -> float:
        """A number of the phases, weighted by how long they last."""
        return sum(phase.weight * of(phase) for phase in self.phases)

    @property
    def time(self) -> float:
        """Time of a step, the median, over that of full fine-tuning."""
        return self.mean(lambda phase: statistics.median(phase.time.ratios))

    @property
    def flops(self) -> float:
        """Operations of a step over those of full fine-tuning."""
        return self.mean(lambda phase: phase.flops)

    @property
    def memory(self) -> float:
        """Bytes at the peak of its hungriest phase over those of full fine-tuning."""
        return max(phase.memory for phase in self.phases)

    @property
    def quiet(self) -> str:
        """How many of its rounds counted."""
        rounds = [one for phase in (*self.phases, *([self.cached] if self.cached else [])) for one in phase.time.rounds]
        return f"{sum(one.quiet for one in rounds)} of {len(rounds)}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return asdict(self) | {"time": self.time, "flops": self.flops, "memory": self.memory}


def cost_of(bench: Bench, name: str, full: Step, rounds: int) -> Cost:
    """Time a method's steps in turns with those of full fine-tuning.

    Args:
      bench: the model.
      name: of the method; it applies to the model.
      full: the step of full fine-tuning.
      rounds: timed pairs for each phase.

    Returns:
      Its cost.
    """
    task, steps = bench.task(name), bench.scale.steps
    variables, batch = bench.variables(task), bench.batch()

    def phase(step: Step, weight: float, says: str) -> Phase:
        row = Row(f"{says} / full", lambda: step.run(steps), lambda: full.run(steps))
        return Phase(weight, measure(name, row, rounds), step.flops / full.flops, step.memory / full.memory)

    phases = [phase(Step(now, variables, batch), weight, name) for weight, now in bench.phases(task)]
    cached = None
    if task.adapted.cut() > 1:
        above = replace(task.at(task.steps), first=task.adapted.cut())
        cached = phase(Step(above, variables, batch), 1.0, f"{name}, cached")
    size, method = size_of(task), METHODS[name]
    return Cost(name, method.trains, method.paper, size.trainable / size.total, tuple(phases), cached)
