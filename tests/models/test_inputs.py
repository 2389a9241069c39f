"""Images and token ids are told apart, and the wrong ones refused in words."""

import pytest
from tiny import tiny_model

from tlx.errors import ConfigError
from tlx.models.inputs import IMAGE, TOKENS, check_input
from tlx.models.registry import MODELS


def test_the_right_inputs_pass() -> None:
    check_input("m", IMAGE, (28, 28, 1))
    check_input("m", TOKENS, (128,))


@pytest.mark.parametrize(
    ("takes", "input_shape", "message"),
    [
        (IMAGE, (128,), "name: 'm' takes images, but the inputs are sequences of 128 token ids"),
        (TOKENS, (28, 30, 1), "name: 'm' takes token ids, but the inputs are images of 28×30×1"),
        (TOKENS, (28, 30), "name: 'm' takes token ids, but the inputs are arrays of 28×30"),
        (IMAGE, (28, 30), "name: 'm' takes images, but the inputs are arrays of 28×30"),
    ],
)
def test_the_wrong_ones_do_not(takes: str, input_shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_input("m", takes, input_shape)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_asks(name: str) -> None:
    model = tiny_model(name)
    model.kind.check(dict(model.settings), model.input_shape)
    other = (16, 16, 3) if model.kind.takes == TOKENS else (16,)
    with pytest.raises(ConfigError, match=f"^name: '{name}' takes "):
        model.kind.check(dict(model.settings), other)
