"""A unit that fails is a result with its reason; the others go on."""

import functools
import traceback
from collections.abc import Callable

import jax

from tlx import shared
from tlx.errors import TlxError
from tlx.records import Records
from tlx.study.context import Context
from tlx.study.plan import Unit

_LONGEST = 300  # characters of a reason
_NO_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory")


def or_failed(work: Callable[[Unit], None], context: Context) -> Callable[[Unit], None]:
    """The same work, whose failure is noted for the unit's cells and stops nobody else.

    What the user can mend, such as a full disk, and a wish to stop are no failures of a cell: they end the study.

    Args:
      work: runs a unit.
      context: of the study.
    """

    @functools.wraps(work)
    def guarded(unit: Unit) -> None:
        try:
            work(unit)
        except TlxError:
            raise
        except Exception as error:
            reason, records = reason_of(error), Records(context.folders.work)
            lost = [cell for cell in unit.cells if not records.has(cell.id)]
            for cell in lost:
                records.fail(cell.id, reason, "".join(traceback.format_exception(error)))
            if context.folders.shared:
                shared.push(context.folders.shared, context.folders.work, [cell.id for cell in lost])
            context.progress.line(f"failed: {unit.name}, {len(lost)} cells: {reason}")

    return guarded


def reason_of(error: Exception) -> str:
    """Why something failed, in one line.

    Args:
      error: what was raised.
    """
    if is_out_of_memory(error):
        return "out of memory; lower config.train.batch_size, or raise config.train.accumulate"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"[:_LONGEST].rstrip(": ")


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device or the machine had too little memory."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in str(error) for word in _NO_MEMORY)
