"""What a script can be told about the machines it is for."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from tlx.errors import TlxError


@dataclass(frozen=True)
class Option:
    """One option of `tlx launch`.

    Args:
      doc: what it means.
      pattern: regular expression that the whole value matches. Schedulers read their lines without a shell, where
        nothing can be quoted, so that it must be narrow.
      expected: the same in words.
      default: the value of those who say nothing; empty to leave it out of the script, None where it must be said.
    """

    doc: str
    pattern: str
    expected: str
    default: str | None = ""


_POSITIVE = r"[1-9]\d{0,8}"
_SLURM = {
    "time": Option(
        "longest time of a task; one that is not through then goes on in another turn",
        r"\d+(:\d{2}){0,2}|\d+-\d{1,2}(:\d{2}){0,2}",
        "minutes, HH:MM:SS or DAYS-HH:MM:SS",
        "04:00:00",
    ),
    "grace": Option("seconds before that at which it is told to save", r"[1-9]\d{0,3}", "seconds, 1 to 9999", "120"),
    "cpus": Option("cores of a task", _POSITIVE, "an integer ≥ 1", "8"),
    "memory": Option("memory of a task", rf"{_POSITIVE}[KMGT]", "a number and K, M, G or T, such as 16G", "16G"),
    "gpus": Option("GPUs of a task, such as 1 or a100:1", rf"([A-Za-z][\w.-]*:)?{_POSITIVE}", "COUNT or TYPE:COUNT"),
    "partition": Option("queue", r"\w[\w.-]*(,\w[\w.-]*)*", "names with commas"),
    "account": Option("whose budget", r"\w[\w.-]*", "a name"),
}
_TPU_VM = {
    "tpu": Option("name of the TPU", r"[a-z]([a-z0-9-]*[a-z0-9])?", "lower-case letters, digits and '-'", None),
    "zone": Option("where it is", r"[a-z]+(-[a-z]+)+\d+-[a-z]", "a zone, such as us-central2-b", None),
    "project": Option("whose it is (default: gcloud's own)", r"[a-z][a-z0-9.:-]*", "the id of a project"),
    "folder": Option(
        "of tlx on each host, from the home folder or from /",
        r"[^\x00-\x1f\x7f~-][^\x00-\x1f\x7f]*",
        "a folder without ~",
        "tlx",
    ),
    "chips": Option("of one host, along each axis of the slice", r"[1-8],[1-8],[1-8]", "X,Y,Z, such as 2,2,1", "2,2,1"),
}
SLURM, TPU_VM = "slurm", "tpu-vm"
PLACES: Mapping[str, Mapping[str, Option]] = {SLURM: _SLURM, TPU_VM: _TPU_VM}
# What the user does with the script.
START = {SLURM: "sbatch {}", TPU_VM: "bash {} start"}


def checked(place: str, given: Mapping[str, str | None]) -> dict[str, str]:
    """A value for every option of a place.

    Args:
      place: one of `PLACES`.
      given: what the user said, None for nothing; options of all places.

    Returns:
      Values by option; empty for what the script leaves out.

    Raises:
      TlxError: an option of another place, a bad value, or one that must be said and is not.
    """
    known = PLACES[place]
    for name, value in given.items():
        if value is not None and name not in known:
            others = " or ".join(other for other in PLACES if name in PLACES[other])
            raise TlxError(f"--{name}: is for --on {others}, not for {place}")
    values = {}
    for name, option in known.items():
        value = given.get(name)
        if value is None and option.default is None:
            raise TlxError(f"--{name}: must be given with --on {place}: {option.expected}")
        if value is not None and not re.fullmatch(option.pattern, value, re.ASCII):
            raise TlxError(f"--{name}: expected {option.expected}, got {value!r}")
        values[name] = (option.default or "") if value is None else value
    return values


def shard_count(text: str) -> int:
    """The number of shards.

    Raises:
      TlxError: it is none.
    """
    if not re.fullmatch(r"[1-9]\d{0,5}", text, re.ASCII):
        raise TlxError(f"--shards: expected an integer from 1 to 999999, got {text!r}")
    return int(text)


def clean(option: str, text: str) -> str:
    """A word for a script's command, if it can be one.

    Args:
      option: what it was given as, for the message.
      text: the word.

    Raises:
      TlxError: it is empty, begins with a '-', or holds a line break or another character that is not printed.
    """
    if not text or text.startswith("-") or not text.isprintable():
        raise TlxError(f"{option}: expected one line that does not begin with '-', got {text!r}")
    return text


def words(option: str, text: str) -> tuple[str, ...]:
    """The words of a command.

    Args:
      option: what it was given as, for the message.
      text: as in a shell.

    Raises:
      TlxError: there are none, or a quote is not closed.
    """
    try:
        found = tuple(shlex.split(clean(option, text)))
    except ValueError as error:
        raise TlxError(f"{option}: {str(error).lower()} in {text!r}") from None
    if not found:
        raise TlxError(f"{option}: expected a command, got {text!r}")
    return found
