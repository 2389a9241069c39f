"""The datasets that can be prepared, by name; each is imported only when asked for."""

from collections.abc import Callable
from typing import Any

# The values' type is Callable[[], type[tfds.core.GeneratorBasedBuilder]], unsaid so as not to import tfds.
Builder = Callable[[], Any]


def _digits() -> Any:
    from tlx.data.builders.digits import Digits

    return Digits


def _mnist5k() -> Any:
    from tlx.data.builders.mnist5k import Mnist5k

    return Mnist5k


BUILDERS: dict[str, Builder] = {"digits": _digits, "mnist5k": _mnist5k}
