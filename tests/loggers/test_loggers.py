"""Loggers by name."""

import subprocess
import sys

import pytest
from by_trial import rows

from tlx.errors import ConfigError
from tlx.loggers.logger import scalars
from tlx.loggers.registry import LOGGERS, check_loggers


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOGGERS:
        monkeypatch.setitem(sys.modules, LOGGERS[name].package, None)
    check_loggers(())
    for name in ("wandb", "mlflow"):
        with pytest.raises(ConfigError) as caught:
            check_loggers((name,))
        message = f"config.loggers: '{name}' needs the package {name}, which is not installed; install tlx[{name}]"
        assert str(caught.value) == message


def test_what_is_registered_and_here_passes() -> None:
    assert set(LOGGERS) == {"tensorboard", "wandb", "mlflow"}
    check_loggers(("tensorboard",))


def test_no_package_is_imported_before_a_run() -> None:
    code = "import sys, tlx.loggers.registry as r; r.check_loggers(('tensorboard',)); print(sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{name}'" in found for name in ("tensorboardX", "wandb", "mlflow", "jax", "numpy"))


def test_curves_are_what_a_row_has() -> None:
    assert scalars(rows(5, 5, ends=True)[0]) == {
        "train/loss": 1.6,
        "train/lr": 0.001 * (1 - 5 / 32),
        "train/seconds": 1.25,
        "val/score": 0.75,
        "val/loss": 0.5,
    }
    assert str(scalars(rows(10, 10)[0])["train/loss"]) == "nan"
    assert scalars({"step": 5, "val_score": None}) == {"val/score": pytest.approx(float("nan"), nan_ok=True)}
