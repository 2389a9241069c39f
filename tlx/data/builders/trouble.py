"""What goes wrong inside TFDS, in one line that says what to do."""

import contextlib
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from tlx.errors import TlxError

_BY_HAND = "prepare it where there is a network, and copy its folder into the folder of all data sets"


@contextlib.contextmanager
def one_line(name: str) -> Iterator[None]:
    """Errors of TFDS and of its builders, which may be any, as one line.

    Args:
      name: of the data set.

    Raises:
      TlxError: whatever was raised within, but for what the disk is to blame for.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints banners about what is missing
            yield
    except TlxError:
        raise
    except Exception as error:
        chain = list(_chain(error))
        if isinstance(error, OSError) and not any(_is_of_network(each) for each in chain):
            raise
        raise TlxError(f"dataset {name}: {_reason(chain)}") from error


def check_network(name: str, made: Any, downloads: Path) -> None:
    """Refuse at once what could only fail, since TFDS would try for minutes.

    Args:
      name: of the data set.
      made: its TFDS builder.
      downloads: the folder of what was fetched before; where some of this data set is there, all may be.

    Raises:
      TlxError: none of the hosts that the data set comes from has an address here.
    """
    urls = list(made.url_infos or {})
    hosts = sorted({urlsplit(url).hostname or "" for url in urls} - {""})
    notes = [file.read_text(errors="replace") for file in downloads.glob("*.INFO")]  # TFDS's, of each file its URLs
    if not hosts or set(getproxies()) - {"no"} or any(url in note for url in urls for note in notes):
        return
    for host in hosts:
        try:
            socket.getaddrinfo(host, 443)
            return
        except OSError:
            continue
    raise TlxError(f"dataset {name}: there is no network to fetch it from {hosts[0]}; {_BY_HAND}")


def check_by_hand(name: str, made: Any, manual: Path) -> None:
    """Refuse what needs files that TFDS may not fetch.

    Args:
      name: of the data set.
      made: its TFDS builder.
      manual: the folder such files are put into.

    Raises:
      TlxError: the folder is missing or empty.
    """
    wanted = made.MANUAL_DOWNLOAD_INSTRUCTIONS
    if wanted and not (manual.is_dir() and any(manual.iterdir())):
        said = " ".join(str(wanted).split())
        raise TlxError(f"dataset {name}: needs files put into {manual} by hand: {said}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_of_network(error: BaseException) -> bool:
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    return isinstance(error, socket.gaierror | ConnectionError | TimeoutError) or bool(
        kinds & {"requests.exceptions.RequestException", "urllib.error.URLError"}
    )


def _reason(chain: list[BaseException]) -> str:
    first = (str(chain[0]).strip() or type(chain[0]).__name__).splitlines()[0]
    for error in chain:
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = error.name.partition(".")[0]
            if package == "tensorflow":
                return "TFDS needs TensorFlow for it; run pip install 'tlx[tf]'"
            return f"TFDS needs the package {package} for it; run pip install {package.replace('_', '-')}"
    if any(_is_of_network(error) or type(error).__name__ == "DownloadError" for error in chain):
        return f"it could not be fetched ({first}); {_BY_HAND}"
    return f"TFDS could not prepare it ({first})"
