"""Questions to records in SQL, through DuckDB."""

import importlib.util
from typing import TYPE_CHECKING

from tlx.errors import TlxError
from tlx.records.answer import Answer, make_answer

if TYPE_CHECKING:
    import pandas as pd

TABLE = "records"
# A query sees the table and nothing of the machine: no file, no network, no extension, no variable of the program.
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "temp_directory": "",
}


def ask(frame: "pd.DataFrame", query: str) -> Answer:
    """Answer a query.

    Args:
      frame: what the query calls `records`.
      query: in DuckDB's SQL.

    Raises:
      TlxError: DuckDB is not installed, or does not understand the query.
    """
    if importlib.util.find_spec("duckdb") is None:
        raise TlxError("--sql: DuckDB is not installed; pip install 'tlx[sql]'")
    import duckdb

    with duckdb.connect(":memory:", config=_CLOSED) as database:
        database.register(TABLE, frame)
        database.execute("set python_enable_replacements = false")
        database.execute("set lock_configuration = true")
        try:
            done = database.execute(query)
            if done is None or done.description is None:
                raise TlxError("--sql: there is no query; try 'select entry, avg(gain) from records group by entry'")
            return make_answer((column[0] for column in done.description), done.fetchall())
        except duckdb.Error as error:
            raise TlxError(f"--sql: {_in_one_line(str(error))}") from None


def _in_one_line(message: str) -> str:
    """What is wrong, without the picture of where."""
    said = message.split("\n\nLINE ")[0]
    return " ".join(line.strip() for line in said.splitlines() if line.strip())
