"""VTAB-1k as its authors define it: the tasks, the sizes, the classes; 1000 examples none of which is tested."""

import re
import subprocess
import sys

import pytest

from tlx.config.schema import TARGET
from tlx.data.derived import DERIVED
from tlx.data.vtab import GROUPS, TASKS, preset, targets
from tlx.errors import TlxError
from tlx.fields import check_fields

# Classes and size of the test set, as the authors' own tests expect them; of kitti, the later of their two numbers.
FACTS = {
    "caltech101": (102, 6084),
    "cifar100": (100, 10000),
    "dtd": (47, 1880),
    "flowers102": (102, 6149),
    "pets": (37, 3669),
    "sun397": (397, 21750),
    "svhn": (10, 26032),
    "camelyon": (2, 32768),
    "eurosat": (10, 5400),
    "resisc45": (45, 6300),
    "retinopathy": (5, 42670),
    "clevr_count": (8, 15000),
    "clevr_distance": (6, 15000),
    "dmlab": (6, 22735),
    "kitti_distance": (4, 711),
    "dsprites_location": (16, 73728),
    "dsprites_orientation": (16, 73728),
    "smallnorb_azimuth": (18, 12150),
    "smallnorb_elevation": (9, 12150),
}
# Examples of the split that both parts of a train split come from, where there is no other.
WHOLE = {
    "caltech101": 3060,
    "cifar100": 50000,
    "oxford_iiit_pet": 3680,
    "svhn_cropped": 73257,
    "eurosat": 27000,
    "resisc45": 31500,
}
WHOLE |= {"clevr": 70000, "dsprites": 737280}
SHARE = {"caltech101": 90, "cifar100": 90, "svhn_cropped": 90, "clevr": 90, "oxford_iiit_pet": 80, "dsprites": 80}
SHARE |= {"eurosat": 60, "resisc45": 60}


def spans(expression: str) -> list[tuple[str, int, int]]:
    """Split, begin and end of every part of an expression with numbers of examples."""
    found = []
    for part in expression.split("+"):
        name, begin, end = re.fullmatch(r"(\w+)(?:\[(\d*):(\d*)\])?", part).groups()  # type: ignore[union-attr]
        found.append((name, int(begin or 0), int(end or 10**9)))
    return found


def test_there_are_nineteen_in_three_groups() -> None:
    assert {name: (task.num_classes, task.test_examples) for name, task in TASKS.items()} == FACTS
    counts = {group: sum(task.group == group for task in TASKS.values()) for group in GROUPS}
    assert counts == {"natural": 7, "specialised": 4, "structured": 8}


@pytest.mark.parametrize("name", TASKS)
def test_eight_hundred_and_two_hundred_make_a_thousand(name: str) -> None:
    task = TASKS[name]
    ((_, first, last),) = spans(task.train)
    ((_, begin, end),) = spans(task.validation)
    assert (last - first, end - begin) == (800, 200)
    assert sum(stop - start for _, start, stop in spans(task.both)) == 1000
    assert task.both == f"{task.train}+{task.validation}"


@pytest.mark.parametrize("name", TASKS)
def test_the_parts_are_disjoint(name: str) -> None:
    task = TASKS[name]
    # Of smallnorb's test split, the authors choose on the first half and test on the second.
    test = task.test.replace("[50%:]", "[12150:]")
    parts = [*spans(task.both), *spans(test)]
    for i, (split, begin, end) in enumerate(parts):
        for other, start, stop in parts[:i]:
            assert split != other or end <= start or stop <= begin


@pytest.mark.parametrize("name", TASKS)
def test_validation_begins_where_the_authors_training_part_ends(name: str) -> None:
    task = TASKS[name]
    base = task.source.split("/")[0]
    if base in WHOLE:
        assert (task.choose_on, task.begin) == ("train", WHOLE[base] * SHARE[base] // 100)
    else:
        assert task.begin == 0
        assert task.choose_on == ("test" if base == "smallnorb" else "validation")


@pytest.mark.parametrize("name", TASKS)
def test_the_test_set_is_whole(name: str) -> None:
    task = TASKS[name]
    rest = {"eurosat/rgb": "train[21600:]", "resisc45": "train[25200:]", "dsprites": "train[663552:]"}
    rest |= {"smallnorb": "test[50%:]", "clevr": "validation"}
    assert task.test == rest.get(task.source, "test")
    if (base := task.source.split("/")[0]) in WHOLE and task.test.startswith("train["):
        assert WHOLE[base] - spans(task.test)[0][1] == task.test_examples


def test_derived_labels_exist_with_their_classes() -> None:
    made = {task.label: task.num_classes for task in TASKS.values() if not task.label.startswith("label")}
    assert made == {name: derived.num_classes for name, derived in DERIVED.items()}


def test_pixels_of_dsprites_are_bits() -> None:
    assert {name for name, task in TASKS.items() if task.pixel_scale == 255} == {
        "dsprites_location",
        "dsprites_orientation",
    }


def test_targets_are_what_a_config_takes() -> None:
    found = targets()
    assert list(found) == list(TASKS)
    for name, target in found.items():
        assert check_fields(f"config.targets.{name}", TARGET, target).items() >= target.items()
    assert found["clevr_count"] == {
        "dataset": "tfds:clevr?label=clevr_count",
        "train": "train[:800]",
        "validation": "train[63000:63200]",
        "test": "validation",
    }
    assert found["retinopathy"]["dataset"] == "tfds:diabetic_retinopathy_detection/btgraham-300"


def test_some_of_the_tasks_in_the_order_of_all() -> None:
    assert list(preset(["dmlab", "specialised", "camelyon"])) == [
        "camelyon",
        "eurosat",
        "resisc45",
        "retinopathy",
        "dmlab",
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cifar"], "VTAB task 'cifar': there is no such task or group (did you mean 'cifar100'?)"),
        ([], "VTAB: expected at least one task or group"),
    ],
)
def test_unknown_tasks(names: list[str], message: str) -> None:
    with pytest.raises(TlxError) as caught:
        preset(names)
    assert str(caught.value) == message


def test_a_config_that_uses_it_loads_no_large_package() -> None:
    script = (
        "import sys; import tlx.data.vtab; sys.exit(any(name in sys.modules for name in ('numpy', 'jax', 'grain')))"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
