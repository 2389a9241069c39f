from pathlib import Path

import pytest

from tlx.build import build
from tlx.config import load
from tlx.errors import ConfigError

SMALL = str(Path(__file__).with_name("small.py"))
HALF = "--config.adapt.lora.length=0.5"
RANDOM = ("--config.search.kind=random", "--config.search.trials=6")


def test_what_an_entry_says_of_its_own_is_built() -> None:
    overrides = ("train.label_smoothing=0.1", "adapt.full.label_smoothing=0.0", "adapt.lora.dropout=0.0")
    study = build(load(SMALL, (*(f"--config.{one}" for one in overrides), "--config.adapt.lora.scale=2")))
    entries = {entry.name: entry for entry in study.entries}
    assert {name: entry.label_smoothing for name, entry in entries.items()} == {
        **dict.fromkeys(entries, 0.1),
        "full": 0.0,
    }
    assert {name: (entry.dropout, entry.scale) for name, entry in entries.items()} == {
        **dict.fromkeys(entries, (None, 1.0)),
        "lora": (0.0, 2.0),
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("--config.adapt.lora.dropouts=(0.0,0.2)",),
            "config.adapt.lora.dropouts: expected () where trials are not drawn, got (0.0, 0.2)",
        ),
        (
            (*RANDOM, "--config.adapt.lora.scales=(2.0,)"),
            "config.adapt.lora.scales: expected the two ends of a range to draw from, got (2.0,)",
        ),
        (
            ("--config.adapt.lora.dropout=0.95",),
            "config.adapt.lora.dropout: expected a number from 0 to 0.9 or -1, got 0.95",
        ),
        (
            ("--config.adapt.full.length=0.5", "--config.adapt.full.method.name=gradual"),
            "config.adapt.full.length: 'gradual' has times of its own within a run, "
            "so all of its runs are equally long",
        ),
        (
            ("--config.search.kind=halving", "--config.search.eta=2", "--config.search.rungs=1", HALF),
            "config.adapt.lora.length: config.search.kind='halving' decides how long runs are",
        ),
        (
            ("--config.adapt.full.scale=2.0",),
            "config.adapt.full.scale: method.name='full' adds nothing whose effect could be scaled",
        ),
        (
            (*RANDOM, "--config.adapt.lora.scales=(1.0,2.0)", "--config.artifacts=True"),
            "config.adapt.lora.scales: an artifact has no scale of its own; leave config.artifacts=False",
        ),
        (
            ("--config.adapt.full.scale=2.0", "--config.adapt.full.method.name=greedy_soup"),
            "config.adapt.full.scale: 'greedy_soup' combines trials, which must then have the same scale",
        ),
        (
            ("--config.adapt.probe.method.name=probe", "--config.adapt.probe.dropout=0.1"),
            "config.adapt.probe.dropout: expected -1.0 with method.name='probe', whose penalties are "
            "config.adapt.probe.lr, got 0.1",
        ),
    ],
)
def test_what_has_nothing_to_act_on_is_refused_in_one_line(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(SMALL, overrides)
    assert str(caught.value) == message


def test_a_model_without_dropout_has_no_rate_of_it(tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text(
        Path(SMALL)
        .read_text()
        .replace('{"name": "vit", "patch": 7, "width": 16, "depth": 2, "heads": 2}', '{"name": "resnet"}')
    )
    with pytest.raises(ConfigError) as caught:
        load(str(config), ("--config.adapt.full.dropout=0.1",))
    assert str(caught.value) == "config.adapt.full.dropout: config.model.name='resnet' has no dropout"
