"""The data sets that are made up rather than collected: their knobs, and the settings of them that have a name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlx.fields import Field, Fields

DEFAULT = "default"
SPLITS = ("train", "test")
_SEED = 2**32 - 1


@dataclass(frozen=True)
class Family:
    """Data sets that one builder makes.

    Args:
      fields: the knobs.
      presets: name to the knobs that are not at their defaults; `DEFAULT` is what no name means.
    """

    fields: Fields
    presets: Mapping[str, Mapping[str, Any]]


_SIZES: dict[str, Field] = {
    "train": Field(2400, "examples in train", low=1, high=1_000_000),
    "test": Field(1200, "examples in test", low=1, high=1_000_000),
    "seed": Field(0, "of the examples; another one gives other examples of the same classes", low=0, high=_SEED),
}
_IMAGES: dict[str, Field] = {
    "classes": Field(12, "number of classes", low=2, high=1000),
    "class_seed": Field(0, "of the classes; another one gives unrelated classes", low=0, high=_SEED),
    "first": Field(0, "number of the first class, so that classes of one seed can be halved", low=0, high=1_000_000),
    "side": Field(16, "rows and columns, in pixels", low=8, high=256),
    "difficulty": Field(1.0, "how far rotation, scale and place vary, 1 as in the default", low=0, high=3),
    "blur": Field(0.0, "standard deviation of a blur, in pixels", low=0, high=8),
    "stripes": Field(0.0, "brightness of vertical stripes, four pixels apart", low=0, high=1),
    "noise": Field(0.3, "standard deviation of each pixel's noise, where ink is 1", low=0, high=1),
    "invert": Field(False, "whether ink is dark on bright"),
    "label_noise": Field(0.0, "share of train's labels that are wrong; test's are right", low=0, high=1),
    "label_seed": Field(0, "of which class has which label; 0: as numbered", low=0, high=_SEED),
    **_SIZES,
}
# What the names of variants mean, with the shapes of any family.
_VARIANTS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "clean": {"noise": 0.0},
    "hard": {"difficulty": 2.0},
    "blur": {"blur": 1.0},
    "stripes": {"stripes": 0.5},
    "inverted": {"invert": True},
    "new": {"class_seed": 1},
    "relabelled": {"label_seed": 1},
    "labelnoise": {"label_noise": 0.4},
    # As many wrong labels as there would be if each were drawn at random.
    "randomlabels": {"label_noise": 11 / 12},
    "whole": {"classes": 40, "train": 8000, "test": 4000},
    "half_a": {"classes": 20, "train": 4000, "test": 2000},
    "half_b": {"classes": 20, "train": 4000, "test": 2000, "first": 20},
}
_TASKS = ("set", "copy", "reverse", "keyword_copy", "majority", "first_repeat")

FAMILIES: dict[str, Family] = {
    "glyphs": Family({"segments": Field(4, "straight strokes of a class", low=1, high=32), **_IMAGES}, _VARIANTS),
    "blobs": Family({"bumps": Field(5, "round bumps of a class", low=1, high=32), **_IMAGES}, _VARIANTS),
    "fractals": Family({"maps": Field(4, "affine maps of a class", low=2, high=8), **_IMAGES}, _VARIANTS),
    "set_copy": Family(
        {
            "task": Field("set", "what follows the sequence, or what its label is", choices=_TASKS),
            "words": Field(32, "different words", low=2, high=4900),
            "length": Field(14, "most words of a sequence; the fewest are half of it", low=2, high=10_000),
            **_SIZES,
        },
        {DEFAULT: {}, **{task: {"task": task} for task in _TASKS}},
    ),
}
