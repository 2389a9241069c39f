"""How a data set is named: as a registered one, or by a scheme and what TFDS or the disk calls it."""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from tlx.errors import TlxError, suggest

# Scheme to the options that may follow a "?".
OPTIONS: dict[str, tuple[str, ...]] = {
    "tfds": ("image", "text", "text2", "label", "score"),
    "folder": (),
    "table": ("text", "text2", "label", "target"),
    "npz": (),
    "hf": ("image", "text", "text2", "label", "target"),
}


@dataclass(frozen=True)
class Address:
    """What a data set's name says.

    Args:
      name: as the user wrote it.
      scheme: a key of `OPTIONS`, or empty for a registered name.
      rest: what follows the scheme, without the options: a path, or a name that TFDS knows.
      options: which columns or features play which role.
    """

    name: str
    scheme: str
    rest: str
    options: dict[str, str] = field(default_factory=dict)


def parse(name: str) -> Address:
    """Take a name apart: `digits`, `tfds:cifar100`, `table:reviews.csv?text=body&label=stars`.

    Args:
      name: as the user wrote it; in an option's value, `%26` is an ampersand, as in a URL. Of a table, `label=` with
        nothing after it says that its texts have none.

    Returns:
      Its parts.

    Raises:
      TlxError: there is no such scheme or option, an option is given twice or is empty, or nothing follows the scheme.
    """
    scheme, colon, rest = name.partition(":")
    if not colon:
        return Address(name, "", name)
    if scheme not in OPTIONS:
        raise TlxError(f"dataset {name!r}: there is no scheme {scheme!r}{suggest(scheme, OPTIONS)}")
    rest, mark, query = rest.partition("?")
    if not rest:
        raise TlxError(f"dataset {name!r}: expected {'a name' if scheme == 'tfds' else 'a path'} after the colon")
    try:
        pairs = parse_qsl(query or "?", keep_blank_values=True, strict_parsing=True) if mark else []
    except ValueError:
        raise TlxError(f"dataset {name!r}: expected OPTION=COLUMN after the question mark, got {query!r}") from None
    options: dict[str, str] = {}
    for option, value in pairs:
        if option not in OPTIONS[scheme]:
            raise TlxError(f"dataset {name!r}: there is no option {option!r}{suggest(option, OPTIONS[scheme])}")
        is_empty = not value and (scheme, option) != ("table", "label")
        if option in options or is_empty:
            raise TlxError(f"dataset {name!r}: option {option!r} {'is empty' if is_empty else 'stands here twice'}")
        options[option] = value
    if "label" in options and ("target" in options or "score" in options):
        raise TlxError(f"dataset {name!r}: expected either a label or a score, got both")
    return Address(name, scheme, rest, options)
