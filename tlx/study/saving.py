"""When to save, and the one lock saves take."""

import threading
import time
from collections.abc import Callable

# Saving may take at most this share of the time, however long one save lasts.
SHARE = 0.05


class Gate:
    """When unfinished work is due to be saved.

    Args:
      every_seconds: at most this often; 0 for after every call. Slow saves come less often, see `SHARE`.
      lock: taken while saving, as several units may save at once.
    """

    def __init__(self, every_seconds: float, lock: threading.Lock) -> None:
        self.every, self.lock = every_seconds, lock
        self._last = time.monotonic()
        self._cost = 0.0

    def due(self) -> bool:
        """Whether to save now."""
        wait = max(self.every, self._cost / SHARE) if self.every else 0.0
        return time.monotonic() - self._last >= wait

    def save(self, write: Callable[[], None]) -> None:
        """Save, and remember how long it took.

        Args:
          write: does it.
        """
        with self.lock:
            began = time.monotonic()
            write()
            self._last = time.monotonic()
            self._cost = self._last - began
