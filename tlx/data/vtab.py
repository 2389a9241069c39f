"""The 19 tasks of VTAB-1k: 800 examples to train on, 200 to choose by, and the full test set of each.

Source: Zhai et al. (2019), "A large-scale study of representation learning with the Visual Task Adaptation Benchmark",
section 2 and appendix A, and the splits that its authors published with it (google-research/task_adaptation, data/):
where a data set has no validation split, theirs begins where their own training part ends, at 90, 80 or 60 % of what
there is to train on. Which images the first 800 are depends on the order in which TFDS writes a version; the authors
used versions 3 of caltech101, cifar100, clevr, diabetic_retinopathy_detection, dtd, kitti, oxford_iiit_pet, resisc45
and svhn_cropped, 2 of dmlab, dsprites, eurosat, oxford_flowers102, patch_camelyon and smallnorb, and 4 of sun397.
They choose hyper-parameters on the 200 and train once more on all 1000, see `Task.both`, before they test; tlx tests
the run that was chosen, which has seen 800.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tlx.errors import TlxError, suggest

NATURAL, SPECIALISED, STRUCTURED = GROUPS = ("natural", "specialised", "structured")
TRAIN, VALIDATION = 800, 200


@dataclass(frozen=True)
class Task:
    """One task.

    Args:
      name: as VTAB's tables call it.
      group: one of `GROUPS`.
      source: TFDS name and config.
      train_on: the split that the 800 come from, its first ones.
      choose_on: the split that the 200 come from.
      begin: where in it the 200 begin.
      test: the split to be scored, in TFDS syntax.
      test_examples: how many there are in it.
      num_classes: how many classes there are.
      label: the feature that is the label, or a key of `derived.DERIVED` where the label is made from others.
      pixel_scale: what pixels are multiplied by; dSprites are stored as 0 and 1.
    """

    name: str
    group: str
    source: str
    train_on: str
    choose_on: str
    begin: int
    test: str
    test_examples: int
    num_classes: int
    label: str = "label"
    pixel_scale: int = 1

    @property
    def dataset(self) -> str:
        """The name by which tlx prepares and reads it."""
        return f"tfds:{self.source}" + (f"?label={self.label}" if self.label != "label" else "")

    @property
    def train(self) -> str:
        """The 800 examples, in TFDS syntax."""
        return f"{self.train_on}[:{TRAIN}]"

    @property
    def validation(self) -> str:
        """The 200 examples, in TFDS syntax."""
        return f"{self.choose_on}[{self.begin or ''}:{self.begin + VALIDATION}]"

    @property
    def both(self) -> str:
        """All 1000 examples, in TFDS syntax."""
        return f"{self.train}+{self.validation}"

    def target(self) -> dict[str, str]:
        """An entry of a config's `targets`."""
        return {"dataset": self.dataset, "train": self.train, "validation": self.validation, "test": self.test}


def _task(
    name: str, group: str, source: str, classes: int, test_examples: int, splits: str, label: str = "label"
) -> Task:
    """A task from `TRAIN_ON CHOOSE_ON@BEGIN TEST`."""
    train_on, choose_on, test = splits.split()
    choose_on, _, begin = choose_on.partition("@")
    scale = 255 if source == "dsprites" else 1
    return Task(name, group, source, train_on, choose_on, int(begin or 0), test, test_examples, classes, label, scale)


_OWN = "train validation test"
_SPRITES = "train train@589824 train[663552:]"
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _task("caltech101", NATURAL, "caltech101", 102, 6084, "train train@2754 test"),
        _task("cifar100", NATURAL, "cifar100", 100, 10000, "train train@45000 test"),
        _task("dtd", NATURAL, "dtd", 47, 1880, _OWN),
        _task("flowers102", NATURAL, "oxford_flowers102", 102, 6149, _OWN),
        _task("pets", NATURAL, "oxford_iiit_pet", 37, 3669, "train train@2944 test"),
        _task("sun397", NATURAL, "sun397/tfds", 397, 21750, _OWN),
        _task("svhn", NATURAL, "svhn_cropped", 10, 26032, "train train@65931 test"),
        _task("camelyon", SPECIALISED, "patch_camelyon", 2, 32768, _OWN),
        _task("eurosat", SPECIALISED, "eurosat/rgb", 10, 5400, "train train@16200 train[21600:]"),
        _task("resisc45", SPECIALISED, "resisc45", 45, 6300, "train train@18900 train[25200:]"),
        _task("retinopathy", SPECIALISED, "diabetic_retinopathy_detection/btgraham-300", 5, 42670, _OWN),
        _task("clevr_count", STRUCTURED, "clevr", 8, 15000, "train train@63000 validation", "clevr_count"),
        _task("clevr_distance", STRUCTURED, "clevr", 6, 15000, "train train@63000 validation", "clevr_distance"),
        _task("dmlab", STRUCTURED, "dmlab", 6, 22735, _OWN),
        _task("kitti_distance", STRUCTURED, "kitti", 4, 711, _OWN, "kitti_distance"),
        _task("dsprites_location", STRUCTURED, "dsprites", 16, 73728, _SPRITES, "dsprites_x"),
        _task("dsprites_orientation", STRUCTURED, "dsprites", 16, 73728, _SPRITES, "dsprites_orientation"),
        _task("smallnorb_azimuth", STRUCTURED, "smallnorb", 18, 12150, "train test test[50%:]", "label_azimuth"),
        _task("smallnorb_elevation", STRUCTURED, "smallnorb", 9, 12150, "train test test[50%:]", "label_elevation"),
    )
}


def preset(names: Iterable[str] | None = None) -> dict[str, Task]:
    """Some or all of the tasks.

    Args:
      names: keys of `TASKS` or of `GROUPS`, or None for all.

    Returns:
      Task by name, in the order of VTAB's tables.

    Raises:
      TlxError: a name is unknown, or there is none.
    """
    wanted: set[str] = set()
    for name in TASKS if names is None else names:
        members = [task.name for task in TASKS.values() if name in (task.name, task.group)]
        if not members:
            raise TlxError(f"VTAB task {name!r}: there is no such task or group{suggest(name, (*TASKS, *GROUPS))}")
        wanted.update(members)
    if not wanted:
        raise TlxError("VTAB: expected at least one task or group")
    return {name: task for name, task in TASKS.items() if name in wanted}


def targets(names: Iterable[str] | None = None) -> dict[str, dict[str, str]]:
    """The `targets` of a config, in plain values.

    Args:
      names: keys of `TASKS` or of `GROUPS`, or None for all.

    Returns:
      `dataset`, `train`, `validation` and `test` by the name of the task.

    Raises:
      TlxError: a name is unknown, or there is none.
    """
    return {name: task.target() for name, task in preset(names).items()}
