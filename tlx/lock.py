"""Who may write where: locks that the system takes back when their holder dies, however it dies.

They hold between the processes of one host, and between hosts where the file system locks across them (NFSv4 does).
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tlx.errors import FileError

LOCK = ".lock"
# A second in all.
_TRIES, _BETWEEN = 10, 0.1
_SHARD = re.compile(rf"{re.escape(LOCK)}-(\d+)-of-(\d+)")


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder while something is written to it.

    Args:
      folder: made if it is missing.

    Raises:
      FileError: another process holds it, or it cannot be made.
    """
    with _folder_lock(folder, fcntl.LOCK_EX):
        yield


@contextmanager
def shard(folder: Path, index: int, count: int, plan: str) -> Iterator[None]:
    """Hold one of a folder's shares; those who hold the others may write there at the same time.

    Args:
      folder: made if it is missing.
      index: of the share, from 1.
      count: of all shares.
      plan: digest of what is shared out; all holders must have the same.

    Raises:
      FileError: the whole folder, or this share, is held; or shares of another number or of another plan are.
    """
    with _folder_lock(folder, fcntl.LOCK_SH):
        path = folder / f"{LOCK}-{index}-of-{count}"
        if (handle := _try_for_a_while(path)) is None:
            raise FileError(folder, f"another process is at work on shard {index}/{count}; wait for it")
        try:
            os.ftruncate(handle, 0)
            os.write(handle, plan.encode())
            # Only now, so that of two that come at once at least one sees the other.
            _check_others(folder, index, count, plan)
            yield
        finally:
            _give_back(path, handle)


@contextmanager
def one_at_a_time(path: Path, pause: Callable[[], None]) -> Iterator[None]:
    """Hold a name; who comes second waits.

    Args:
      path: of a file that is there only while somebody holds it, or was killed.
      pause: called again and again while another process holds it; waits a little, and may raise.

    Raises:
      FileError: the file cannot be made.
    """
    while (handle := _try(path)) is None:
        pause()
    try:
        yield
    finally:
        _give_back(path, handle)


def is_held(folder: Path) -> bool:
    """Whether some process holds a folder as `exclusive` does.

    Args:
      folder: need not exist.

    Returns:
      False also where the folder is another one than on the holder's host, or its locks do not reach this host.
    """
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


@contextmanager
def _folder_lock(folder: Path, how: int) -> Iterator[None]:
    """The lock of the folder itself; its file stays."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise FileError(folder, f"cannot be written to: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except OSError:
            raise FileError(folder, "another process is at work here; wait for it, or choose --workdir") from None
        yield
    finally:
        os.close(handle)


def _try(path: Path) -> int | None:
    """The lock of a file that its last holder may remove at any moment, or None if another process has it."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise FileError(path, f"cannot be written to: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass  # its last holder removed it meanwhile
        except OSError as error:
            os.close(handle)
            raise FileError(path, f"cannot be locked: {error.strerror}; choose another --workdir") from error
        os.close(handle)  # what was locked is not what has the name now


def _try_for_a_while(path: Path) -> int | None:
    """The same, as another process may hold it for an instant only to see whether it is held."""
    for _ in range(_TRIES):
        if (handle := _try(path)) is not None:
            return handle
        time.sleep(_BETWEEN)
    return None


def _give_back(path: Path, handle: int) -> None:
    with suppress(OSError):  # before it is unlocked, so that only its holder ever removes it
        os.unlink(path)
    os.close(handle)


def _check_others(folder: Path, index: int, count: int, plan: str) -> None:
    for path in sorted(folder.iterdir()):
        found = _SHARD.fullmatch(path.name)
        if not found or (theirs := (int(found[1]), int(found[2]))) == (index, count):
            continue
        if (other := _held_content(path)) is None:
            continue
        name = f"shard {theirs[0]}/{theirs[1]}"
        if theirs[1] != count:
            raise FileError(folder, f"{name} is at work here, so {index}/{count} cannot be; use one number for all")
        if other not in ("", plan):
            what = "the same config, tlx and kind of devices for all"
            raise FileError(folder, f"{name} is at work here on other cells or units; use {what}")


def _held_content(path: Path) -> str | None:
    """What the holder of a share wrote into its file, or None if nobody holds it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.read(handle, 200).decode(errors="replace")
    finally:
        os.close(handle)
    return None
