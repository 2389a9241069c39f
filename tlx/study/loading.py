"""The examples of a study's sources and targets, as its config has them."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tlx.data import pipeline
from tlx.data.corruptions.registry import CORRUPTIONS, SEVERITIES, corrupted
from tlx.data.describe import features_of
from tlx.data.firewall import Firewall
from tlx.data.on_disk import open_on_disk
from tlx.data.pipeline import Arrays
from tlx.data.protocol import class_halves, folds, keep_classes, named_classes
from tlx.data.text import Tokenizer
from tlx.errors import ConfigError, TlxError, suggest
from tlx.study.cells import SourceData, TargetData
from tlx.study.check import blamed_on
from tlx.study.spec import Source, Study, Target

_HALVES = ("a", "b")


class Loader:
    """Reads what a study trains on and scores.

    Args:
      study: the spec.
      data_dir: where its data sets are prepared.
      tokenize: makes token ids of texts, or None.
    """

    def __init__(self, study: Study, data_dir: Path | str, tokenize: Tokenizer | None) -> None:
        self.study, self.data_dir, self.tokenize = study, data_dir, tokenize

    def source(self, source: Source) -> SourceData:
        """The examples of a source that is pre-trained.

        Raises:
          ConfigError: a split or a choice of classes is wrong.
        """
        if source.feed == "resident":
            return SourceData(self._arrays(source, "train"), self._arrays(source, "test"))
        where = f"config.sources.{source.name}"
        if source.classes:
            raise ConfigError(f"{where}.classes", "a 'streamed' source has all of its classes; set feed to 'resident'")
        with blamed_on(f"{where}.train"):
            fit = self.study.preprocess.fit
            train = open_on_disk(source.dataset, source.train, self.data_dir, self.tokenize, **fit)
        return SourceData(train, self._arrays(source, "test"))

    def target(self, target: Target) -> TargetData:
        """The examples of a target, those of its test split behind a door.

        Raises:
          ConfigError: a split, a choice of classes or a corruption is wrong.
        """
        with blamed_on(f"config.targets.{target.name}.corruption"):
            _parsed(target.corruption)
        test = Firewall(functools.partial(self._test, target))
        test.facts()  # a split that is not there is found out now
        train = self._arrays(target, "train")
        if not target.fold:
            return TargetData(train, self._arrays(target, "validation"), test)
        with blamed_on(f"config.targets.{target.name}.fold"):
            kept, held_out = _fold(target.fold, train)
        return TargetData(kept, held_out, test)

    def _arrays(self, item: Source | Target, role: str) -> Arrays:
        where = f"config.{'sources' if isinstance(item, Source) else 'targets'}.{item.name}"
        with blamed_on(f"{where}.{role}"):
            arrays = pipeline.load_arrays(
                item.dataset, getattr(item, role), self.data_dir, self.tokenize, **self.study.preprocess.fit
            )
        if not item.classes:
            return arrays
        with blamed_on(f"{where}.classes"):
            names = [str(name) for name in features_of(item.dataset, self.data_dir)["label"].names or ()]
            return keep_classes(arrays, chosen_classes(item.classes, names, arrays.num_classes))

    def _test(self, target: Target) -> Arrays:
        arrays = self._arrays(target, "test")
        name, severity = _parsed(target.corruption)
        if not name:
            return arrays
        with blamed_on(f"config.targets.{target.name}.corruption"):
            if arrays.input_N.dtype != np.uint8:
                raise TlxError("texts have no corruptions")
            worse = [corrupted(name, image_HWC, severity, 0, i) for i, image_HWC in enumerate(arrays.input_N)]
        input_N = np.stack(worse)
        return replace(arrays, input_N=input_N, digest=pipeline.digest(input_N, arrays.label_N))


def _fold(text: str, arrays: Arrays) -> tuple[Arrays, Arrays]:
    """What is kept of a split and what is held out, for `I/K`, the I-th of K folds."""
    i, slash, k = text.partition("/")
    if not slash or not i.isdecimal() or not k.isdecimal() or not 1 <= int(i) <= int(k):
        raise TlxError(f"expected FOLD/FOLDS, such as 1/5, got {text!r}")
    parts = folds(arrays.label_N, int(k), 0)[int(i) - 1]
    kept, held_out = (pipeline.taken(arrays, part) for part in parts)
    return kept, held_out


def chosen_classes(text: str, names: Sequence[str], num_classes: int) -> np.ndarray:
    """Which classes a config's `classes` names.

    Args:
      text: `a` or `b`, a random half of the classes, or `a:SEED`; or names with commas between, `!` in front for all
        others.
      names: of all classes.
      num_classes: how many there are.

    Returns:
      Numbers of classes.

    Raises:
      TlxError: it names none, or one that is not there.
    """
    half, colon, seed = text.partition(":")
    if half in _HALVES and (not colon or seed.isdecimal()) and half not in names:
        return class_halves(num_classes, int(seed or 0))[_HALVES.index(half)]
    chosen = [name.strip() for name in text.removeprefix("!").split(",")]
    return named_classes(chosen, names)[text.startswith("!")]


def _parsed(corruption: str) -> tuple[str, int]:
    """Name and severity of `NAME:SEVERITY`."""
    if not corruption:
        return "", 0
    name, _, severity = corruption.partition(":")
    if name not in CORRUPTIONS:
        raise TlxError(f"there is no corruption {name!r}{suggest(name, CORRUPTIONS)}")
    if severity not in map(str, SEVERITIES):
        raise TlxError(f"expected {name}:SEVERITY with a severity from 1 to 5, got {corruption!r}")
    return name, int(severity)
