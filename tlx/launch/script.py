"""A script for a place, from its template."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import jinja2


@dataclass(frozen=True)
class Job:
    """What all shards of a study have in common.

    Args:
      name: of the study: letters, digits, '.', '_' and '-'.
      config: as `tlx run` takes it.
      overrides: `--config.FIELD=VALUE`.
      shards: how many.
      workdir: of all shards.
      data_dir: of all shards; empty for each machine's own.
      tlx: words that call tlx there.
    """

    name: str
    config: str
    overrides: tuple[str, ...]
    shards: int
    workdir: str
    data_dir: str
    tlx: tuple[str, ...]

    def command(self, index: str) -> str:
        """The command of one shard, each word quoted for a shell.

        Args:
          index: of the shard, from 1, as shell code between double quotes.
        """
        data = ("--data-dir", self.data_dir) if self.data_dir else ()
        before = shlex.join((*self.tlx, "run", self.config))
        after = shlex.join(("--workdir", self.workdir, *data, *self.overrides))
        return f'{before} --shard "{index}/{self.shards}" {after}'


def render(job: Job, place: str, settings: Mapping[str, str]) -> str:
    """The script.

    Args:
      job: what is run.
      place: one of `options.PLACES`.
      settings: of `options.checked`.

    Returns:
      The text of a bash script.
    """
    # A script is no HTML: its words are quoted for a shell, by the filter.
    environment = jinja2.Environment(  # noqa: S701
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"quote": shlex.quote, "count": _count}
    template = files("tlx.launch").joinpath(f"{place}.sh.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(job=job, **settings)


def _count(bounds: str) -> int:
    """How many chips there are in a box."""
    return math.prod(map(int, bounds.split(",")))
