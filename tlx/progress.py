"""What a long piece of work says while it runs; the command line draws it."""

from typing import Protocol


class Progress(Protocol):
    """Receives progress, from any thread."""

    def line(self, text: str) -> None:
        """One line that stays."""

    def start(self, task: str, total: int, done: int = 0) -> None:
        """A piece of work begins, `total` units long, `done` of them behind it."""

    def advance(self, task: str, units: int) -> None:
        """Some of it is done."""


class Silent:
    """Says nothing."""

    def line(self, text: str) -> None:
        """Nothing."""

    def start(self, task: str, total: int, done: int = 0) -> None:
        """Nothing."""

    def advance(self, task: str, units: int) -> None:
        """Nothing."""
