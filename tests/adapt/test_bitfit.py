"""BitFit: the biases of every model, a choice of them, and models that have none."""

import flax.linen as nn
import jax
import pytest
from tiny import adapt, tiny_model

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.errors import ConfigError
from tlx.models.registry import MODELS, Kind, Model

BLOCK = ["attention/key", "attention/out", "attention/query", "attention/value", "mlp/down", "mlp/up", "norm1", "norm2"]
BIASES = {
    "vit": ["embed/patches", *(f"block_{i}/{layer}" for i in (0, 1) for layer in BLOCK), "pool/norm"],
    "bert": ["embed/norm", *(f"block_{i}/{layer}" for i in (0, 1) for layer in BLOCK), "pool/dense"],
    "clip_vision": ["embed/norm", *(f"block_{i}/{layer}" for i in (0, 1) for layer in BLOCK), "pool/norm"],
    "clip_text": [*(f"block_{i}/{layer}" for i in (0, 1) for layer in BLOCK), "pool/norm"],
    # Of these settings: biases as in Qwen2, and norms without any.
    "decoder": [f"block_{i}/attention/{layer}" for i in (0, 1) for layer in ("key", "query", "value")],
    # Its convolutions have none.
    "resnet": [
        "stem/norm1",
        "block_0/norm1",
        "block_0/norm2",
        "block_1/norm1",
        "block_1/norm2",
        "block_1/shortcut_norm",
    ],
    "bit": [*(f"block_{i}/norm{k}" for i in (0, 1) for k in (1, 2, 3)), "pool/norm"],
    "efficientnet": [
        "stem/norm",
        *(f"block_0/{name}_norm" for name in ("depthwise", "project")),
        *(f"block_1/{name}_norm" for name in ("expand", "depthwise", "project")),
        "pool/norm",
    ],
}


def labelled(adapted: Adapted, label: str) -> set[str]:
    return {path for path, found in adapted.labels().items() if found == label}


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_bias_moves_and_the_head(model: str) -> None:
    adapted = adapt("bitfit", tiny_model(model))
    assert labelled(adapted, "train") == {f"params/{layer}/bias" for layer in BIASES[model]}
    of_head = {path for path in adapted.labels() if path.startswith("params/head/")}
    assert labelled(adapted, "head") == of_head >= {"params/head/kernel"}
    # Their first stages have none.
    assert adapted.cut() == (1 if model in ("bit", "clip_text", "decoder") else 0)


def test_some_of_the_biases() -> None:
    adapted = adapt("bitfit", biases=".*/(query|up)/bias")
    wanted = {f"params/block_{i}/{layer}/bias" for i in (0, 1) for layer in ("attention/query", "mlp/up")}
    assert labelled(adapted, "train") == wanted
    assert adapted.cut() == 1


@pytest.mark.parametrize(
    ("biases", "message"),
    [
        (".*/qery/bias", "biases: 'vit' has no parameter '.*/qery/bias' outside its head"),
        ("params/head/bias", "biases: 'vit' has no parameter 'params/head/bias' outside its head"),
        (
            "params/block_0/attention/query/.*",
            "biases: 'params/block_0/attention/query/.*' matches 'params/block_0/attention/query/kernel', "
            "which is no bias",
        ),
    ],
)
def test_what_is_no_bias_is_refused(biases: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        adapt("bitfit", biases=biases).labels()
    assert str(caught.value) == message


class Unbiased(nn.Module):
    """A dense layer without a bias and a head with one."""

    num_classes: int

    def setup(self) -> None:
        self.embed = nn.Dense(4, use_bias=False)
        self.head = nn.Dense(self.num_classes)

    def stages(self) -> tuple[str, ...]:
        return ("embed", "head")

    def __call__(self, x: jax.Array, first: int = 0, last: int | None = None, train: bool = False) -> jax.Array:
        for stage in [self.embed, self.head][first:last]:
            x = stage(x)
        return x


@pytest.fixture
def unbiased(monkeypatch: pytest.MonkeyPatch) -> Model:
    kind = Kind(Unbiased, {}, lambda settings, shape: None, lambda settings: {})
    monkeypatch.setitem(MODELS, "unbiased", kind)
    return Model("unbiased", (), num_classes=3, input_shape=(5,))


def test_a_model_without_biases_is_refused(unbiased: Model) -> None:
    assert tree.flatten(jax.eval_shape(unbiased.init, 0)).keys() == {
        "params/embed/kernel",
        "params/head/bias",
        "params/head/kernel",
    }
    with pytest.raises(ConfigError, match="^biases: 'unbiased' has no bias outside its head$"):
        Adapted(unbiased, "bitfit", (("biases", "all"),)).labels()


def test_a_decoder_without_biases_is_refused() -> None:
    with pytest.raises(ConfigError, match="^biases: 'decoder' has no bias outside its head$"):
        adapt("bitfit", tiny_model("decoder", bias="none")).labels()


def test_a_model_without_norms_is_refused(unbiased: Model) -> None:
    with pytest.raises(ConfigError, match="^name: 'unbiased' has no norm with a scale$"):
        Adapted(unbiased, "norm").labels()
