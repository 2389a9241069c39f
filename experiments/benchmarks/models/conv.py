"""Convolutions on a CPU: XLA's own beside those of `tlx.models.conv`, on the shapes of two networks.

`python -m experiments.benchmarks.models.conv [--rows NAME ...] [--rounds N]` times a forward pass and both gradients.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.console import Console

from experiments.benchmarks import run as benchmarks
from experiments.benchmarks.rows import Row
from experiments.benchmarks.run import measure
from tlx.atomic import write_json
from tlx.errors import TlxError
from tlx.models.conv import convolve

AXES = ("NHWC", "HWIO", "NHWC")
LOOPS = 4  # steps of a loop


@dataclass(frozen=True)
class Shape:
    """A convolution.

    Args:
      batch: images.
      side: of an image, in pixels.
      channels: of an image.
      features: of the output.
      kernel: side of the kernel.
      stride: in rows and columns.
      depthwise: whether each channel has a kernel of its own.
      in_loop: whether it stands in `lax.scan`.
    """

    batch: int
    side: int
    channels: int
    features: int
    kernel: int
    stride: int = 1
    depthwise: bool = False
    in_loop: bool = False

    def row(self) -> Row:
        """XLA's convolution over ours."""
        words = f"{self.kernel}x{self.kernel} by {self.stride}, {self.channels} to {self.features}"
        kind = "depthwise " if self.depthwise else ""
        where = " in a loop" if self.in_loop else ""
        says = f"{kind}{words}, {self.batch}x{self.side}x{self.side}{where}: XLA / tlx"
        return Row(says, self._work(lax.conv_general_dilated), self._work(convolve))

    def _work(self, form: Callable[..., jax.Array]) -> Callable[[], np.ndarray]:
        rng, margin = np.random.default_rng(0), (self.kernel - 1) // 2
        inputs = 1 if self.depthwise else self.channels
        x = jnp.asarray(rng.normal(size=(self.batch, self.side, self.side, self.channels)), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=(self.kernel, self.kernel, inputs, self.features)), jnp.float32)
        settings = {"dimension_numbers": AXES, "feature_group_count": self.channels if self.depthwise else 1}

        def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
            y = form(x, kernel, (self.stride,) * 2, ((margin, margin),) * 2, **settings)
            return jnp.sum(jnp.square(y))

        def step(carry: Any, _: None = None) -> tuple[Any, jax.Array]:
            value, (dx, dkernel) = jax.value_and_grad(loss, (0, 1))(*carry)
            return (carry[0] - 1e-9 * dx, carry[1] - 1e-9 * dkernel), value

        run = jax.jit(lambda *carry: lax.scan(step, carry, None, LOOPS) if self.in_loop else step(carry))
        return lambda: np.asarray(jax.block_until_ready(run(x, kernel))[1])


# Batches of 32 images of 64×64 through ResNet-18.
RESNET = {
    "resnet-stem": Shape(32, 64, 3, 64, 7, 2),
    "resnet-64": Shape(32, 16, 64, 64, 3),
    "resnet-128-by-2": Shape(32, 16, 64, 128, 3, 2),
    "resnet-shortcut": Shape(32, 16, 64, 128, 1, 2),
    "resnet-128": Shape(32, 8, 128, 128, 3),
    "resnet-256-by-2": Shape(32, 8, 128, 256, 3, 2),
    "resnet-256": Shape(32, 4, 256, 256, 3),
    "resnet-512-by-2": Shape(32, 4, 256, 512, 3, 2),
    "resnet-512": Shape(32, 2, 512, 512, 3),
}
# EfficientNet-Lite0 on 8 images of 64×64 and on 4 of 224×224: its stem, a 1x1 convolution and depthwise ones.
LITE = {
    "lite0-64-stem": Shape(8, 64, 3, 32, 3, 2),
    "lite0-64-1x1": Shape(8, 16, 24, 144, 1),
    "lite0-64-32": Shape(8, 32, 32, 32, 3, depthwise=True),
    "lite0-64-96-by-2": Shape(8, 32, 96, 96, 3, 2, depthwise=True),
    "lite0-64-240": Shape(8, 8, 240, 240, 5, depthwise=True),
    "lite0-64-672": Shape(8, 4, 672, 672, 5, depthwise=True),
    "lite0-64-1152": Shape(8, 2, 1152, 1152, 5, depthwise=True),
    "lite0-224-stem": Shape(4, 224, 3, 32, 3, 2),
    "lite0-224-1x1": Shape(4, 56, 24, 144, 1),
    "lite0-224-32": Shape(4, 112, 32, 32, 3, depthwise=True),
    "lite0-224-144-by-2": Shape(4, 56, 144, 144, 5, 2, depthwise=True),
    "lite0-224-672": Shape(4, 14, 672, 672, 5, depthwise=True),
}
LOOPED = {
    "loop-resnet-64": Shape(8, 16, 64, 64, 3, in_loop=True),
    "loop-resnet-512": Shape(4, 2, 512, 512, 3, in_loop=True),
    "loop-lite0-240": Shape(4, 8, 240, 240, 5, depthwise=True, in_loop=True),
}
SHAPES = {**RESNET, **LITE, **LOOPED}


def main(argv: Sequence[str] | None = None, shapes: dict[str, Shape] | None = None) -> int:
    """Time the shapes, print a table and write the ratios as JSON.

    Args:
      argv: arguments, or None for the process's own.
      shapes: by name, by default those of `SHAPES`.

    Returns:
      The exit code.
    """
    shapes = shapes or SHAPES
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.models.conv", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rows", nargs="+", choices=shapes, default=list(shapes), metavar="NAME")
    parser.add_argument("--rounds", type=benchmarks.positive, default=5, help="timed pairs for each row (default: 5)")
    parser.add_argument("--out", type=Path, default=Path("workdir/conv.json"), help="where the JSON goes")
    options = parser.parse_args(argv)
    results = []
    for name in options.rows:
        results.append(measure(name, shapes[name].row(), options.rounds))
        print(f"done: {name}", file=sys.stderr)
    Console(highlight=False, width=benchmarks.PIPE_WIDTH).print(benchmarks.table(results))
    content = {"environment": benchmarks.environment(), "rows": [result.as_dict() for result in results]}
    try:
        write_json(options.out, content)
    except TlxError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
