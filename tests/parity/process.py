"""Runs a script in the environment that has PyTorch, which shares nothing with this one but files."""

import os
import subprocess
from pathlib import Path

import pytest

INTERPRETER = "TLX_TORCH_PYTHON"
_START = Path(__file__).with_name("start_side.py")


def run_side(script: Path, *arguments: Path | str) -> None:
    """Run a script with the interpreter that TLX_TORCH_PYTHON names; a test that needs it fails without one.

    Args:
      script: what to run; it imports nothing of tlx.
      arguments: for its command line.
    """
    if not (python := os.environ.get(INTERPRETER)):
        pytest.fail(f"{INTERPRETER} must name a Python that has torch; .ci/parity makes one")
    subprocess.run([python, "-I", str(_START), str(script), *map(str, arguments)], check=True, timeout=600)
