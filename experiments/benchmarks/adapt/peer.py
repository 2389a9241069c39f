"""The same train steps in another process, in PyTorch, asked for line by line."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.adapt.rows import Bench, Step
from experiments.benchmarks.rows import Row
from tlx.errors import FileError

SCRIPT = Path(__file__).with_name("torch_side.py")
# With the settings that both sides have.
METHODS: dict[str, dict[str, Any]] = {"full": {}, "lora": {"rank": 8, "alpha": 8.0}, "head": {}}


class Peer:
    """A process that trains when it is told to.

    Args:
      python: an interpreter that has what the script needs.
      asked: what it is told first.
      script: what it runs, by default `torch_side.py`.
      needs: the packages that the script imports.

    Raises:
      FileError: there is no such interpreter, or it ends at once.
    """

    def __init__(
        self,
        python: Path,
        asked: dict[str, Any],
        script: Path | None = None,
        needs: str = "torch, transformers and peft",
    ) -> None:
        self.python, self.needs = python, needs
        try:
            self.process = subprocess.Popen(  # noqa: S603
                [python, "-I", script or SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        except OSError as error:
            raise FileError(python, f"cannot be started: {error.strerror}") from None
        try:
            self.about = self.ask(asked)
        except FileError:
            self.close()
            raise

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """What it answers to a request.

        Raises:
          FileError: it has ended.
        """
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise FileError(self.python, f"the other side ended; does this Python have {self.needs}?")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, method: str, steps: int) -> np.ndarray:
        """The losses of so many steps, [S]."""
        return np.asarray(self.ask({"method": method, "steps": steps})["losses"], np.float32)

    def seconds(self) -> float:
        """Processor time it has had so far, on Linux; 0 elsewhere."""
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def close(self) -> None:
        """End it."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def asked_of(bench: Bench) -> dict[str, Any]:
    """What a peer is told of a BERT."""
    own, (length,) = dict(bench.model.settings), bench.scale.input_shape
    bert = {
        "vocab_size": own["vocab"],
        "hidden_size": own["width"],
        "num_hidden_layers": own["depth"],
        "num_attention_heads": own["heads"],
        "intermediate_size": own["hidden"],
        "max_position_embeddings": own["positions"],
        "hidden_dropout_prob": own["dropout"],
        "attention_probs_dropout_prob": own["dropout"],
    }
    return {"bert": bert, "batch": bench.scale.batch, "length": length, "classes": bench.scale.classes}


def against(bench: Bench, peer: Peer) -> Iterator[tuple[str, Row]]:
    """PyTorch's steps over tlx's, for each method that both have.

    Args:
      bench: of a BERT.
      peer: told of the same.

    Yields:
      Name and row.
    """
    steps = bench.scale.steps
    for method, settings in METHODS.items():
        task = bench.task(method, **settings)
        step = Step(task, bench.variables(task), bench.batch())
        says = f"{method}: PyTorch{' and PEFT' if method == 'lora' else ''} / tlx"
        yield f"torch-{method}", Row(says, partial(peer.run, method, steps), partial(step.run, steps))
