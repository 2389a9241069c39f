"""Partial fine-tuning: which leaves stay, where the cut lies, and which pattern is to blame."""

import re

import pytest
from tiny import adapt, tiny_model

from tlx.errors import ConfigError


@pytest.mark.parametrize(
    ("frozen", "cut"),
    [
        (("params/embed/.*",), 1),
        (("params/(embed|block_0)/.*",), 2),
        (("params/embed/.*", "params/block_[01]/.*"), 3),
        (("params/(embed|block_0|block_1)/.*", "params/pool/norm/bias"), 3),
        (("params/block_0/.*",), 0),
        ((".*/bias",), 0),
        (("params/head/bias", "params/embed/.*"), 1),
    ],
)
def test_the_cut_is_the_number_of_leading_stages_that_stay(frozen: tuple[str, ...], cut: int) -> None:
    adapted = adapt("freeze", frozen=frozen)
    stays = {path for path, label in adapted.labels().items() if label == "frozen"}
    assert stays == {path for path in adapted.labels() if any(re.fullmatch(pattern, path) for pattern in frozen)}
    assert adapted.cut() == cut


def test_the_head_has_a_label_of_its_own() -> None:
    labels = adapt("freeze").labels()
    assert {path for path, label in labels.items() if label == "head"} == {"params/head/bias", "params/head/kernel"}
    assert set(labels.values()) == {"frozen", "head", "train"}


@pytest.mark.parametrize(
    ("frozen", "field", "part"),
    [
        (("params/stem/.*",), "frozen[0]", "rule 'params/stem/.*' -> 'frozen' matches no parameter"),
        (("params/embed/.*", "embed/.*"), "frozen[1]", "rule 'embed/.*' -> 'frozen' matches no parameter"),
        (("params/.*/bias", "params/pool/.*/bias"), "frozen[1]", "matches only parameters that earlier rules decide"),
        (("params/(embed/.*",), "frozen[0]", "is not a regular expression"),
        (("params/.*",), "frozen", "rule 'params/head/.*' -> 'head' matches only parameters that earlier rules decide"),
        (("params/[^h].*",), "frozen", "rule 'params/.*' -> 'train' matches only parameters that earlier rules decide"),
    ],
)
def test_a_wrong_pattern_is_blamed_by_its_place(frozen: tuple[str, ...], field: str, part: str) -> None:
    adapted = adapt("freeze", model=tiny_model(), frozen=frozen)
    with pytest.raises(ConfigError, match=re.escape(part)) as caught:
        adapted.labels()
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
