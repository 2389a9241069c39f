"""`tlx launch`: scripts that run a study's shards on other machines, for the user to read, edit and start."""

from tlx.launch.commands import add_to

__all__ = ["add_to"]
