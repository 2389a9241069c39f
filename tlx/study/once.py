"""A unit that several processes may be given: one of them runs it."""

from tlx import shared
from tlx.records import Records
from tlx.study.alone import alone
from tlx.study.context import Context
from tlx.study.plan import Unit
from tlx.study.unit import run_unit


def run_once(unit: Unit, context: Context) -> None:
    """Run a unit, unless another process has; while one does, wait, and go on from what it left if it dies.

    Args:
      unit: what to do.
      context: of the study.

    Raises:
      Stopped: the study was asked to stop; the state is saved.
    """
    work, url = context.folders.work, context.folders.shared
    records = Records(work)
    with alone(f"unit-{unit.id}", f"runs {unit.name}", context):
        if url:  # a machine with a folder of its own may have run it
            shared.pull(url, work)
        if not all(records.has(cell.id) for cell in unit.cells):
            run_unit(unit, context)
        if url:
            shared.push(url, work, [cell.id for cell in unit.cells])
