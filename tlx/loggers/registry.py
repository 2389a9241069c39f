"""All loggers by name: the only way from a config's text to one of them."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tlx.errors import ConfigError
from tlx.loggers.logger import Logger
from tlx.loggers.mlflow import MLflow
from tlx.loggers.tensorboard import TensorBoard
from tlx.loggers.wandb import WandB


@dataclass(frozen=True)
class Kind:
    """A logger and what it needs.

    Args:
      make: from the study's work folder; imports the package.
      package: it is written with.
    """

    make: Callable[[Path], Logger]
    package: str


LOGGERS: Mapping[str, Kind] = {
    "tensorboard": Kind(TensorBoard, "tensorboardX"),
    "wandb": Kind(WandB, "wandb"),
    "mlflow": Kind(MLflow, "mlflow"),
}


def check_loggers(names: Sequence[str]) -> None:
    """Whether what the loggers are written with is there; nothing is imported.

    Args:
      names: of registered loggers.

    Raises:
      ConfigError: a package is missing.
    """
    for name in names:
        if not importlib.util.find_spec(package := LOGGERS[name].package):
            message = f"{name!r} needs the package {package}, which is not installed; install tlx[{name}]"
            raise ConfigError("config.loggers", message)
