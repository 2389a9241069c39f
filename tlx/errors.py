"""The errors a user meets: one line, the config field or file first, no traceback."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class TlxError(Exception):
    """Anything the user can mend; the command line prints it as one line and exits with 2."""


class ConfigError(TlxError):
    """A wrong setting.

    Args:
      field: dotted path of the field, e.g. `config.adapt.lora.method.rank`.
      message: what was expected and what was found.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message
        super().__init__(f"{field}: {message}")

    def within(self, block: str) -> "ConfigError":
        """The same error, with the path of the block its field lies in."""
        return ConfigError(f"{block}.{self.field}", self.message)


class FileError(TlxError):
    """A file or folder that is missing, damaged or of the wrong kind.

    Args:
      path: the file.
      message: what is wrong with it and what to do.
    """

    def __init__(self, path: Path | str, message: str) -> None:
        self.path = Path(path)
        super().__init__(f"{path}: {message}")


class RuleError(TlxError):
    """A rule that matches no parameter, or a parameter that no rule covers."""


class CheckpointError(FileError):
    """A checkpoint that cannot be used."""


class RecordError(FileError):
    """A record that cannot be used, or two records that contradict one another."""


class PairingError(TlxError):
    """Two cells that must not be compared, because they differ in more than the arm."""


def suggest(name: str, options: Iterable[str]) -> str:
    """The closest option, as the tail of an error message.

    Args:
      name: what the user wrote.
      options: what would have been right.

    Returns:
      ` (did you mean 'x'?)`, or the list of options when few and none is close, or nothing.
    """
    known = sorted(set(options))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f" (did you mean {close[0]!r}?)"
    if known and len(known) <= 12:
        return f" (one of {', '.join(known)})"
    return ""
