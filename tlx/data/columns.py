"""Which features of a data set are the inputs and which the labels, whatever they are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from tlx.data.derived import DERIVED
from tlx.errors import TlxError, suggest

_INPUTS = {"image": "Image", "text": "Text"}


def roles(name: str, info: Any, options: Mapping[str, str]) -> dict[str, str]:
    """The feature of each role that a data set has.

    What the options leave open is the feature called like its role, or else what TFDS says is to be learned.

    Args:
      name: of the data set, for messages.
      info: a TFDS DatasetInfo.
      options: role to feature, as the data set's name says.

    Returns:
      `image`, or `text` and perhaps `text2`; and `label`, `score` or both, which texts may lack; each with its feature.

    Raises:
      TlxError: a feature is missing, or is no image, text or class label.
    """
    features = info.features
    for role, feature in options.items():
        if feature not in features and not (role == "label" and _made_from(feature, features)):
            raise TlxError(f"dataset {name}: there is no feature {feature!r} for {role}{suggest(feature, features)}")
    usual = info.supervised_keys if _is_pair(info.supervised_keys) else (None, None)
    found = _input(options, features, usual[0])
    if not found:
        raise TlxError(f"dataset {name}: no feature is its image or text; name one with ?image=… or ?text=…{_of(info)}")
    role, feature = next(iter(found.items()))
    if not _is_a(features[feature], _INPUTS[role]):
        raise TlxError(f"dataset {name}: feature {feature!r} is no {role}{_of(info)}")
    if "text2" in options or ("text2" in features and role == "text"):
        found["text2"] = options.get("text2", "text2")
    if "score" in options or "score" in features:
        found["score"] = options.get("score", "score")
    label = options.get("label") or next((key for key in ("label", usual[1]) if key and key in features), None)
    if label and ("label" in options or _is_a(features[label], "ClassLabel")):
        found["label"] = label
    if role == "image" and "label" not in found and "score" not in found:  # of text alone a model can learn, too
        raise TlxError(f"dataset {name}: no feature is its label; name one with ?label=…{_of(info)}")
    if "label" in found and not getattr(_feature(found["label"], features), "num_classes", None):
        raise TlxError(f"dataset {name}: feature {found['label']!r} is no class label{_of(info)}")
    return found


def chosen(info: Any, found: Mapping[str, str]) -> dict[str, Any]:
    """The features of a data set by their roles.

    Args:
      info: a TFDS DatasetInfo.
      found: from `roles`.
    """
    return {role: _feature(feature, info.features) for role, feature in found.items()}


@dataclass(frozen=True)
class View:
    """A TFDS data source under the data set's own name, its features by their roles.

    Args:
      name: of the data set, as the user wrote it.
      source: a TFDS data source.
      found: from `roles`.
    """

    name: str
    source: Any
    found: Mapping[str, str]

    @property
    def split(self) -> str:
        """As asked for, in TFDS's notation."""
        return str(self.source.split)

    @property
    def dataset_info(self) -> Any:
        """What readers want of a DatasetInfo: its name, folder and features."""
        info = self.source.dataset_info
        features = chosen(info, self.found)
        return SimpleNamespace(name=self.name, config_name=None, data_dir=info.data_dir, features=features)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, position: int) -> dict[str, Any]:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The examples at some positions, in that order."""
        examples = self.source.__getitems__(positions)
        return [{role: _value(feature, example) for role, feature in self.found.items()} for example in examples]


def _made_from(label: str, features: Any) -> bool:
    """Whether a label that is no feature can be made from one that is there."""
    return label not in features and label in DERIVED and DERIVED[label].feature in features


def _feature(name: str, features: Any) -> Any:
    """A feature, or what one would be that holds a label made from others."""
    if _made_from(name, features):
        classes = DERIVED[name].num_classes
        return SimpleNamespace(num_classes=classes, names=[str(c) for c in range(classes)])
    return features[name]


def _value(feature: str, example: Mapping[str, Any]) -> Any:
    if _made_from(feature, example):
        return DERIVED[feature].label(example[DERIVED[feature].feature])
    return example[feature]


def _input(options: Mapping[str, str], features: Any, usual: str | None) -> dict[str, str]:
    for role in _INPUTS:
        if role in options:
            return {role: options[role]}
    for role, kind in _INPUTS.items():
        if role in features and _is_a(features[role], kind):
            return {role: role}
    for role, kind in _INPUTS.items():
        if usual and usual in features and _is_a(features[usual], kind):
            return {role: usual}
    return {}


def _is_pair(keys: Any) -> bool:
    return isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys)


def _is_a(feature: Any, kind: str) -> bool:
    """Whether a feature is of one of TFDS's classes, or of one made from it."""
    return any(base.__name__ == kind for base in type(feature).__mro__)


def _of(info: Any) -> str:
    """The features there are, as the tail of a message."""
    return f" (there are {', '.join(sorted(info.features))})"
