"""A short regular expression for a list of layers."""

import re
from collections.abc import Iterable


def pattern_of(paths: Iterable[str]) -> str:
    """A pattern that matches these paths and no others of the same parts.

    >>> pattern_of(["block_0/mlp/up", "block_1/mlp/up", "head"])
    '(block_0|block_1)/mlp/up|head'
    >>> pattern_of([])
    ''
    """
    below: dict[str, list[str]] = {}
    for path in paths:
        stage, _, rest = path.partition("/")
        below.setdefault(stage, []).append(rest)
    alike: dict[tuple[str, ...], list[str]] = {}
    for stage, rests in below.items():
        alike.setdefault(tuple(sorted(set(rests))), []).append(stage)
    return "|".join(
        "/".join(part for part in (_any_of(stages), _any_of(rests)) if part) for rests, stages in alike.items()
    )


def _any_of(names: Iterable[str]) -> str:
    escaped = [re.escape(name) for name in names]
    return f"({'|'.join(escaped)})" if len(escaped) > 1 else "".join(escaped)
