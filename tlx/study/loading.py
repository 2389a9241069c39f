"""The examples of a study's sources and targets, as its config has them."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tlx.data import pipeline
from tlx.data.corruptions.registry import CORRUPTIONS, SEVERITIES, corrupted
from tlx.data.describe import features_of, is_text
from tlx.data.firewall import Firewall
from tlx.data.mixed import Parts, joined
from tlx.data.on_disk import OnDisk, open_on_disk
from tlx.data.pipeline import Arrays
from tlx.data.protocol import class_halves, folds, keep_classes, named_classes
from tlx.data.running_text import load_running_text
from tlx.data.text import Tokenizer
from tlx.errors import ConfigError, TlxError, suggest
from tlx.models.registry import CLASSIFY
from tlx.study.cells import SourceData, TargetData
from tlx.study.check import blamed_on
from tlx.study.examples import strata
from tlx.study.objective import label_op
from tlx.study.spec import SCORE, Source, Study, Target
from tlx.study.weights import content_digest, open_weights

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
        _check_source(source)
        where = f"config.sources.{source.name}"
        op = label_op(source, self.study.model, self.tokenize if self._is_text(source) else None)
        start = ""
        if source.start:
            with blamed_on(f"{where}.start"):
                start = content_digest(open_weights(source.start))
        with blamed_on(f"{where}.train"):
            trains = [self._part(source, name, "train") for name in source.datasets]
        with blamed_on(f"{where}.test"):
            tests = [self._part(source, name, "test") for name in source.datasets]
        if not source.also:
            return SourceData(trains[0], _in_memory(tests[0]), op=op, start=start)
        names = [self._class_names(name) if op is None else [] for name in source.datasets]
        with blamed_on(f"{where}.also"):
            train, test = joined(trains, names), _in_memory(joined(tests, names))
        sizes = tuple(map(len, trains))
        weights = source.weights or tuple(map(float, sizes))
        return SourceData(train, test, sizes, weights, op, start)

    def _part(self, source: Source, name: str, role: str) -> Arrays | OnDisk:
        """One of the data sets of a source."""
        split, fit = getattr(source, role), self.study.preprocess.fit
        if source.pack:
            assert self.tokenize is not None  # objectives of tokens have one
            return load_running_text(name, split, self.data_dir, self.tokenize)
        wanted = "label" if source.objective == CLASSIFY else ""
        if source.feed == "streamed" and role == "train":
            return open_on_disk(name, split, self.data_dir, self.tokenize, wanted, **fit)
        arrays = pipeline.load_arrays(name, split, self.data_dir, self.tokenize, target=wanted, **fit)
        return self._kept(f"config.sources.{source.name}", source.classes, name, arrays)

    def _is_text(self, source: Source) -> bool:
        with blamed_on(f"config.sources.{source.name}.dataset"):
            return is_text(source.dataset, self.data_dir)

    def _class_names(self, name: str) -> list[str]:
        return [str(name) for name in features_of(name, self.data_dir)["label"].names or ()]

    def _kept(self, where: str, classes: str, name: str, arrays: Arrays) -> Arrays:
        """The examples of chosen classes."""
        if not classes:
            return arrays
        with blamed_on(f"{where}.classes"):
            return keep_classes(arrays, chosen_classes(classes, self._class_names(name), arrays.num_classes))

    def target(self, target: Target) -> TargetData:
        """The examples of a target, those of its test split behind a door.

        Raises:
          ConfigError: a split, a choice of classes or a corruption is wrong.
        """
        with blamed_on(f"config.targets.{target.name}.corruption"):
            _parsed(target.corruption)
        test = Firewall(functools.partial(self._test, target))
        if target.predict == SCORE and target.classes:
            raise ConfigError(f"config.targets.{target.name}.classes", "scores have no classes")
        test.facts()  # a split that is not there is found out now
        train = self._arrays(target, "train")
        if not target.fold:
            return TargetData(train, self._arrays(target, "validation"), test)
        with blamed_on(f"config.targets.{target.name}.fold"):
            kept, held_out = _fold(target.fold, train)
        return TargetData(kept, held_out, test)

    def _arrays(self, target: Target, role: str) -> Arrays:
        where = f"config.targets.{target.name}"
        with blamed_on(f"{where}.{role}"):
            arrays = pipeline.load_arrays(
                target.dataset,
                getattr(target, role),
                self.data_dir,
                self.tokenize,
                target=target.predict,
                **self.study.preprocess.fit,
            )
        return self._kept(where, target.classes, target.dataset, arrays)

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


def _check_source(source: Source) -> None:
    """Whether what a source's config says goes together."""
    where = f"config.sources.{source.name}"
    if source.feed == "streamed" and source.classes:
        raise ConfigError(f"{where}.classes", "a 'streamed' source has all of its classes; set feed to 'resident'")
    if source.pack and source.objective == CLASSIFY:
        raise ConfigError(f"{where}.pack", "texts that run on have no classes; set objective to 'causal_lm' or such")
    if source.pack and source.feed == "streamed":
        raise ConfigError(f"{where}.pack", "texts run on in memory only; set feed to 'resident'")
    if source.classes and (source.also or source.objective != CLASSIFY):
        what = "a mixture" if source.also else f"{source.objective!r}"
        raise ConfigError(f"{where}.classes", f"{what} has all of them")
    if source.weights and len(source.weights) != len(source.datasets):
        raise ConfigError(f"{where}.weights", f"{len(source.weights)} for {len(source.datasets)} data sets")
    for i, weight in enumerate(source.weights):
        if type(weight) not in (int, float) or not 0 < weight < float("inf"):
            raise ConfigError(f"{where}.weights[{i}]", f"expected a number above 0, got {weight!r}")


def _in_memory(arrays: Arrays | OnDisk | Parts) -> Arrays:
    assert isinstance(arrays, Arrays)  # only what is trained on is ever left on disk
    return arrays


def _fold(text: str, arrays: Arrays) -> tuple[Arrays, Arrays]:
    """What is kept of a split and what is held out, for `I/K`, the I-th of K folds."""
    i, slash, k = text.partition("/")
    if not slash or not i.isdecimal() or not k.isdecimal() or not 1 <= int(i) <= int(k):
        raise TlxError(f"expected FOLD/FOLDS, such as 1/5, got {text!r}")
    parts = folds(strata(arrays), int(k), 0)[int(i) - 1]
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
