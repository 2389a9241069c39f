"""What a study computed: FLOPs of its cells, of its sources' pre-training, and the energy that would take."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tlx.measure.energy import DEVICES, UTILISATION, Device, device_called, energy_of
from tlx.measure.pairing import Record
from tlx.report import wording
from tlx.report.table import Table

FLOPS_NOTE = (
    "FLOPs are those of training, as the compiler counts a step: steps × trials, and the stages below a cut once for "
    "each label; a run that diverged counts as if it had gone on. Validation, tests and compiling are left out."
)


@dataclass(frozen=True)
class Compute:
    """What one way of starting and adapting computed.

    Args:
      source: what the weights come from, None for random ones.
      target: what is measured.
      entry: name of the arm or method in the study.
      cells: that have a record.
      cell_flops: of a cell with all its trials, the mean; None if it is not known of each.
      flops: of all cells; None likewise.
    """

    source: str | None
    target: str
    entry: str
    cells: int
    cell_flops: float | None
    flops: float | None


def training_flops(record: Record) -> float | None:
    """The floating-point operations of a cell's training, as if it had been alone.

    Args:
      record: of the cell.

    Returns:
      Steps × FLOPs of a step × trials, and the stages below a cut once for each label; None where the compiler did not
      count.
    """
    cost = record["cost"]
    if not _known(cost["step_flops"], cost["cached_flops"]):
        return None
    return float(_steps(record) * cost["step_flops"] + record["data"]["subset"]["examples"] * cost["cached_flops"])


def _steps(record: Record) -> int:
    """Of all trials of a cell: some end early, as they were among the worst, or as they are shorter."""
    whole, share = record["config"]["recipe"]["steps"], record["config"].get("entry", {}).get("length", 1.0)
    return sum(trial.get("step", max(round(trial.get("length", share) * whole), 1)) for trial in record["trials"])


def pretraining_flops(records: Iterable[Record]) -> dict[str, float]:
    """The FLOPs of each source's pre-training, as far as records know them; released weights have none.

    Args:
      records: of a study.

    Returns:
      Source to FLOPs.
    """
    found = {}
    for record in records:
        lineage = record["lineage"] or {}
        if _known(lineage.get("pretraining_flops")):
            found[lineage["source"]] = float(lineage["pretraining_flops"])
    return found


def computes(records: Iterable[Record]) -> list[Compute]:
    """What each way of starting and adapting computed, in the order in which they first come."""
    there: dict[tuple[str | None, str, str], list[Record]] = {}
    for record in records:
        cell = record["cell"]
        there.setdefault((cell["source"], cell["target"], cell["entry"]), []).append(record)
    made = []
    for way, mine in there.items():
        flops = _sum(training_flops(record) for record in mine)
        made.append(Compute(*way, len(mine), None if flops is None else flops / len(mine), flops))
    return made


def compute_table(
    records: Sequence[Record], device: Device | None = None, utilisation: float = UTILISATION
) -> Table | None:
    """FLOPs and energy of a study, way by way and in all. `compute_note` of the same arguments belongs below it.

    Args:
      records: of one study; without any there is no table.
      device: the one whose energy is told; that of the records where its figures are known, else an A100.
      utilisation: share of its peak that it reaches.
    """
    device = device or _device_of(records)

    def line(name: str, cells: str, each: float | None, flops: float | None) -> tuple[str, ...]:
        wh = None if flops is None else energy_of(flops, device, utilisation).wh
        return name, cells, wording.amount(each), wording.amount(flops), energy(wh)

    found, before = computes(records), pretraining_flops(records)
    groups = []
    for place in dict.fromkeys((one.source, one.target) for one in found):
        here = [one for one in found if (one.source, one.target) == place]
        title = " → ".join(name for name in place if name is not None)
        groups.append((title, tuple(line(one.entry, str(one.cells), one.cell_flops, one.flops) for one in here)))
    sources = list(dict.fromkeys(one.source for one in found if one.source is not None))
    last = [line(f"pre-training {source}", "", None, before.get(source)) for source in sources]
    cells = _sum(one.flops for one in found)
    last.append(line("all cells", str(sum(one.cells for one in found)), None, cells))
    if sources:
        last.append(line("with pre-training", "", None, _sum([cells, *(before.get(source) for source in sources)])))
    groups.append(("In all", tuple(last)))
    return Table(("Method", "Cells", "FLOPs per cell", "FLOPs", "Energy"), tuple(groups)) if found else None


def compute_note(records: Sequence[Record], device: Device | None = None, utilisation: float = UTILISATION) -> str:
    """What the numbers of `compute_table` rest on."""
    assumption = energy_of(0.0, device or _device_of(records), utilisation).assumption
    return f"{FLOPS_NOTE} Energy is an estimate, {assumption}."


def energy(wh: float | None) -> str:
    """Watt-hours in words, e.g. `0.42 Wh`, `3.1 kWh`, `12 mWh`."""
    if wh is None or math.isnan(wh):
        return wording.UNKNOWN
    for factor, unit in ((1e6, "µWh"), (1e3, "mWh")):
        if 0 < wh * factor < 999.5:
            return f"{wh * factor:.3g} {unit}"
    return wording.amount(wh, "Wh")


def _device_of(records: Sequence[Record]) -> Device:
    kinds = {str(record["environment"].get("device")) for record in records}
    return (device_called(kinds.pop()) if len(kinds) == 1 else None) or DEVICES["a100"]


def _known(*values: float | None) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None as soon as a part of it is not known, since the rest would pass for all of it."""
    parts = list(values)
    return None if None in parts else math.fsum(part for part in parts if part is not None)
