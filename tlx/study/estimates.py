"""What estimators said of a source on a target: one file a place, beside the records and never changed.

A place is a source, a target, a budget and a seed; methods do not matter, as nothing has been trained.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlx import atomic
from tlx.errors import FileError, RecordError
from tlx.measure.transferability.registry import ESTIMATORS
from tlx.records import content_id
from tlx.study.cells import NUMERICS, Cell, Released, SourceData, TargetData, source_identity
from tlx.study.plan import Unit
from tlx.study.spec import TRANSFER, Study

FORMAT = 1
FOLDER = "estimates"

Place = tuple[str, str, int, int]


def place_of(cell: Cell) -> Place:
    """Source, target, budget and seed of a cell that starts from a source."""
    assert cell.source is not None
    return (cell.source.name, cell.target.name, cell.budget, cell.seed)


def places(units: Sequence[Unit], mine: Sequence[Unit] | None = None) -> list[Cell]:
    """A cell for each place of a study, in the grid's order.

    Args:
      units: all of the study.
      mine: those of one share, or None for all. A place belongs to whoever has its first unit, so that shares split
        them without a word.
    """
    first: dict[Place, tuple[str, Cell]] = {}
    for unit in units:
        for cell in unit.cells:
            if cell.entry.arm == TRANSFER:
                first.setdefault(place_of(cell), (unit.id, cell))
    owned = {unit.id for unit in (units if mine is None else mine)}
    return [cell for unit, cell in first.values() if unit in owned]


def is_estimated(
    study: Study,
    cell: Cell,
    sources: Mapping[str, SourceData | Released],
    targets: Mapping[str, TargetData],
    work: Path,
) -> bool:
    """Whether a place has its estimates.

    Args:
      study: names the estimators.
      cell: stands for the place.
      sources: examples or checkpoints by source name.
      targets: examples by target name.
      work: folder of the study.
    """
    return Estimates(work).path(identity(study, cell, sources, targets)).exists()


def identity(
    study: Study,
    cell: Cell,
    sources: Mapping[str, SourceData | Released],
    targets: Mapping[str, TargetData],
) -> dict[str, Any]:
    """Everything that estimates depend on, in plain values; no result of training does.

    Args:
      study: names the model and the estimators.
      cell: stands for its place.
      sources: examples or checkpoints by source name.
      targets: examples by target name; only the train split counts.
    """
    assert cell.source is not None
    return {
        "numerics": NUMERICS,
        "source": source_identity(study, cell.source, sources[cell.source.name]),
        "train": targets[cell.target.name].digests()["train"],
        "budget": cell.budget,
        "per_class": study.per_class,
        "seed": cell.seed,
        "precision": study.recipe.precision,
        "ops": study.pipeline(2).canonical(),  # as in records, which are set beside these
        "estimators": {name: ESTIMATORS[name].version for name in study.execution.estimators},
    }


class Estimates:
    """The estimates in a work folder.

    Args:
      work: the study's folder; `estimates/` in it need not exist.
    """

    def __init__(self, work: Path) -> None:
        self.folder = Path(work) / FOLDER

    def path(self, of: Mapping[str, Any]) -> Path:
        """Where the estimates with this identity are, or will be."""
        return self.folder / f"{content_id(of)}.json"

    def publish(self, of: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        """Write estimates down, once and for all; those that are there already are kept.

        Args:
          of: from `identity`.
          content: plain values.

        Raises:
          FileError: the system refuses.
        """
        path = self.path(of)
        whole = {"format": FORMAT, "id": path.stem, "of": dict(of), **content}
        try:
            atomic.publish(path, atomic.canonical_json({**whole, "digest": atomic.digest_json(whole)}))
        except FileError:
            if not path.exists():  # another kind of processor was faster, and rounds in another way
                raise

    def load_all(self) -> list[dict[str, Any]]:
        """Every file, in the order of the ids.

        Raises:
          RecordError: one is damaged or of another format.
        """
        return list(self._loaded())

    def _loaded(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("*.json")):
            try:
                found = atomic.read_json(path)
                content = {key: value for key, value in found.items() if key != "digest"}
                intact = (found["digest"], found["id"]) == (atomic.digest_json(content), path.stem)
            except (FileError, AttributeError, KeyError):
                intact = False
            if not intact:
                raise RecordError(path, "is damaged; delete it to have it estimated again")
            if found["format"] != FORMAT:
                raise RecordError(path, f"has format {found['format']}, this tlx knows format {FORMAT}")
            yield found
