"""The command that makes a single cell again."""

import shlex

# What says where and how a study was run, or shown, rather than what was run.
_VALUED = ("--workdir", "--cell", "--shard", "--runner")
_BARE = ("--json", "--debug")


def command_of(command: str, folder: str = "reproduced") -> str:
    """The command of a study, to which a cell's id is all there is to add.

    Args:
      command: as the manifest has it.
      folder: a new work folder, as the old one has the record already.

    Returns:
      One line for a shell, which ends in `--cell `.

    >>> command_of("tlx run configs/a.py --workdir w --config.budgets=(20,)")
    "tlx run configs/a.py '--config.budgets=(20,)' --workdir reproduced --cell "
    """
    try:
        words = shlex.split(command)
    except ValueError:  # quotes that do not close
        words = command.split()
    kept = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in _VALUED:
            skip = True
        elif word not in _BARE and not word.startswith(tuple(f"{name}=" for name in _VALUED)):
            kept.append(word)
    return f"{shlex.join([*kept, '--workdir', folder])} --cell "
