"""The list of methods: counts by hand, every method in it, what does not apply says why, nothing wider than a page."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from tiny import CLASSES, tiny_model

from tlx.adapt.registry import METHODS
from tlx.build import build
from tlx.config import load
from tlx.errors import ConfigError, TlxError
from tlx.report.methods import PIPE_WIDTH, MethodRow, Survey, default_model, model_of, rate, survey, table

SMALL = str(Path(__file__).parents[1] / "small.py")
WIDTH, DEPTH = 16, 2
# Patches of 4x4x1 and 4 positions; four layers of attention, two of the MLP, two norms; the last norm.
EMBED = 16 * WIDTH + WIDTH + 4 * WIDTH
BLOCK = 4 * (WIDTH * WIDTH + WIDTH) + 2 * 4 * WIDTH * WIDTH + 5 * WIDTH + 2 * 2 * WIDTH
HEAD = WIDTH * CLASSES + CLASSES
VIT = EMBED + DEPTH * BLOCK + 2 * WIDTH + HEAD


@pytest.fixture(scope="module")
def every() -> Survey:
    return survey(tiny_model())


def row(found: Survey, name: str) -> MethodRow:
    (mine,) = [row for row in found.rows if row.name == name]
    return mine


def lines(found: Survey, width: int = PIPE_WIDTH) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as printed:
        console.print(table(found))
    return printed.get().splitlines()


def test_every_method_is_there_with_what_it_declares(every: Survey) -> None:
    assert [row.name for row in every.rows] == list(METHODS)
    for row in every.rows:
        method = METHODS[row.name]
        assert (row.paper, row.trains) == (method.paper, method.trains)
        assert row.settings == {name: field.default for name, field in method.fields.items()}
        own = method.defaults
        assert row.learning_rates == own.learning_rates
        assert (row.optimizer, row.schedule) == (own.optimizer, own.schedule)
        assert (row.weight_decay, row.warmup) == (own.weight_decay, own.warmup)


def test_a_method_applies_or_says_why_not(every: Survey) -> None:
    for row in every.rows:
        assert (row.misfit == "") == (row.share is not None)
        assert row.share is None or 0 < row.share <= 1


def test_counts_are_those_by_hand(every: Survey) -> None:
    full, head, lora = (row(every, name) for name in ("full", "head", "lora"))
    assert (full.trainable, full.total, full.share) == (VIT, VIT, 1.0)
    assert (head.trainable, head.total) == (HEAD, VIT)
    adapters = DEPTH * 2 * METHODS["lora"].fields["rank"].default * 2 * WIDTH
    assert (lora.trainable, lora.total) == (HEAD + adapters, VIT + adapters)
    assert lora.share == pytest.approx((HEAD + adapters) / (VIT + adapters))


def test_all_that_ever_moves_counts(every: Survey) -> None:
    assert row(every, "lp_ft").trainable == VIT


def test_what_does_not_apply_says_why(every: Survey) -> None:
    (prompt,) = survey(tiny_model("resnet"), ["prompt"]).rows
    assert (prompt.trainable, prompt.total, prompt.share) == (None, None, None)
    assert "tokens" in prompt.misfit
    pissa = row(survey(tiny_model(width=2), ["pissa"]), "pissa")  # the default rank is 4
    assert pissa.misfit.startswith("expected at most 2") and "\n" not in pissa.misfit
    said = " ".join(lines(Survey("resnet", (prompt, pissa)))).split()
    assert {*prompt.misfit.split(), "expected", "most"} <= {*said}


def test_the_table_fits_and_loses_nothing(every: Survey) -> None:
    text = lines(every)
    assert max(map(len, text)) <= PIPE_WIDTH == 110
    said = "".join("".join(text).split())
    for row in every.rows:
        assert row.name in said
        for setting in row.settings:
            assert setting in said
        assert "".join(map(rate, row.learning_rates)) in said
        if row.trainable is not None:
            assert f"{row.trainable:,}" in said


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-4, "1e-4"), (3e-5, "3e-5"), (1.25e-3, "1.25e-3"), (0.01, "0.01"), (0.25, "0.25"), (5.0, "5")],
)
def test_rates_are_short(value: float, text: str) -> None:
    assert rate(value) == text
    assert float(text) == value


def test_plain_values_for_json(every: Survey) -> None:
    found = every.as_dict()
    assert found["model"] == "vit, images of 8×8×1, 3 classes"
    by_name = {method["name"]: method for method in found["methods"]}
    assert by_name["full"]["share"] == 1.0
    assert by_name["lora"]["settings"]["rank"] == METHODS["lora"].fields["rank"].default


@pytest.mark.parametrize(("name", "shape"), [("vit", (28, 28, 1)), ("bert", (128,)), ("resnet", (28, 28, 1))])
def test_default_models_fit_their_inputs(name: str, shape: tuple[int, ...]) -> None:
    model = default_model(name)
    assert (model.input_shape, model.num_classes) == (shape, 10)
    model.kind.check(dict(model.settings), shape)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--model: unknown name 'vti' \(did you mean 'vit'\?\)$"):
        default_model("vti")


def test_a_study_s_model_needs_none_of_its_data(tmp_path: Path) -> None:
    study = build(load(SMALL, ["--config.model.width=24"]), "")
    model = model_of(study, tmp_path / "nothing")
    assert (model.name, model.input_shape, model.num_classes) == ("vit", (28, 28, 1), 10)
    assert dict(model.settings)["width"] == 24
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("targets.lower.dataset=digit", "config.targets.lower.dataset: dataset 'digit': there is no such dataset"),
        ("model.patch=5", "config.model.patch: patches of 5 pixels do not tile images of 28×28"),
        ("model.name=bert", "config.model.name: 'bert' takes token ids"),
    ],
)
def test_a_study_that_does_not_fit_is_refused(override: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TlxError) as caught:
        model_of(build(load(SMALL, [f"--config.{override}"]), ""), tmp_path)
    assert str(caught.value).startswith(said)
