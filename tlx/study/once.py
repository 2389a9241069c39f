"""A unit that several processes may be given: one of them runs it."""

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
    records = Records(context.folders.work)
    with alone(f"unit-{unit.id}", f"runs {unit.name}", context):
        if not all(records.has(cell.id) for cell in unit.cells):
            run_unit(unit, context)
