"""What an entry leaves open, and who then decides: config.train, the method's paper, the arm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from tlx.adapt.registry import METHODS
from tlx.build import build
from tlx.config import load
from tlx.errors import ConfigError
from tlx.study.spec import Entry

HEADER = """
from ml_collections import ConfigDict

def get_config(argument):
    return ConfigDict({config!r})
"""
SCRATCH_RATES = (1e-4, 1e-3, 1e-2)
# A method that disagrees with the built-in default of every field it has a say in.
SGD = "l2_sp"

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a config with a baseline and one more entry, `mine`."""

    def write_it(mine: dict[str, Any], scratch: dict[str, Any] | None = None) -> str:
        config = {
            "model": {"name": "vit", "patch": 7, "width": 16, "depth": 2, "heads": 2},
            "sources": {"upper": {"dataset": "digits"}},
            "targets": {"lower": {"dataset": "digits"}},
            "adapt": {"base": {"arm": "scratch", "method": {"name": "full"}, **(scratch or {})}, "mine": mine},
        }
        path = tmp_path / "mine.py"
        path.write_text(HEADER.format(config=config))
        return str(path)

    return write_it


def load_mine(spec: str, *overrides: str) -> ConfigDict:
    return load(spec, [f"--config.{text}" for text in overrides])


def entry(spec: str, *overrides: str, name: str = "mine") -> Entry:
    study = build(load_mine(spec, *overrides), "")
    (found,) = [one for one in study.entries if one.name == name]
    return found


def refusal(spec: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_mine(spec, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Optimizer, schedule, warm-up and weight decay


def chosen(found: Entry) -> tuple[str, str, float, float]:
    return found.optimizer.name, found.optimizer.schedule, found.optimizer.warmup, found.weight_decay


def test_a_silent_config_takes_what_the_method_s_paper_says(write: Write) -> None:
    for name in ("full", "head", "lora", SGD, "ulmfit"):
        own = METHODS[name].defaults
        found = entry(write({"method": {"name": name}}))
        assert chosen(found) == (own.optimizer, own.schedule, own.warmup, own.weight_decay), name
    assert chosen(entry(write({"method": {"name": SGD}}))) == ("sgd", "cosine", 0.1, 0.0)
    assert chosen(entry(write({"method": {"name": "ulmfit"}})))[1] == "slanted"


@pytest.mark.parametrize(
    ("field", "general", "own"),
    [
        ("optimizer", "adamw", "sgd"),
        ("schedule", "constant", "linear"),
        ("warmup", 0.0, 0.25),
        ("weight_decay", 0.0, 0.5),
    ],
)
def test_the_entry_comes_before_config_train_and_that_before_the_method(
    field: str, general: Any, own: Any, write: Write
) -> None:
    where = ("optimizer", "schedule", "warmup", "weight_decay").index(field)
    spec = write({"method": {"name": "ulmfit" if field == "optimizer" else SGD}})
    silent = chosen(entry(spec))

    def only(value: Any) -> tuple[Any, ...]:
        return (*silent[:where], value, *silent[where + 1 :])

    assert chosen(entry(spec, f"train.{field}={general}")) == only(general)
    assert chosen(entry(spec, f"train.{field}={general}", f"adapt.mine.{field}={own}")) == only(own)
    assert chosen(entry(spec, f"adapt.mine.{field}={own}")) == only(own)
    # The other entries follow config.train, and the source only its own block.
    assert chosen(entry(spec, f"train.{field}={general}", f"adapt.mine.{field}={own}", name="base"))[where] == general
    loaded = load_mine(spec, f"train.{field}={general}", f"adapt.mine.{field}={own}")
    source = {"optimizer": "adamw", "schedule": "cosine", "warmup": 0.1, "weight_decay": 0.01}
    assert loaded.sources.upper[field] == source[field]
    inherit = "inherit" if isinstance(own, str) else "-1"
    back = (f"train.{field}={general}", f"train.{field}={inherit}", f"adapt.mine.{field}={inherit}")
    assert chosen(entry(spec, *back)) == silent


def test_what_config_train_alone_decides_reaches_every_entry(write: Write) -> None:
    spec = write({"method": {"name": SGD}})
    for name in ("base", "mine"):
        found = entry(spec, "train.momentum=0.5", "train.clip_norm=2", "train.accumulate=4", "train.ema=0.9", name=name)
        optimizer = found.optimizer
        assert (optimizer.momentum, optimizer.clip_norm, optimizer.accumulate, optimizer.ema) == (0.5, 2.0, 4, 0.9)


# Learning rates


def test_an_entry_without_rates_takes_those_of_its_method(write: Write) -> None:
    assert entry(write({"method": {"name": "lora"}})).learning_rates == METHODS["lora"].defaults.learning_rates
    assert entry(write({"method": {"name": "lora"}, "lr": ()})).learning_rates == (1e-4, 2e-4, 5e-4)
    assert entry(write({"method": {"name": "lora"}, "lr": (1, 2, 3)})).learning_rates == (1.0, 2.0, 3.0)
    spec = write({"method": {"name": "lora"}, "lr": (1.0, 2.0, 3.0)})
    assert entry(spec, "adapt.mine.lr=()").learning_rates == (1e-4, 2e-4, 5e-4)
    assert entry(spec, "adapt.mine.lr[1]=5").learning_rates == (1.0, 5.0, 3.0)


def test_from_scratch_the_rates_are_others(write: Write) -> None:
    spec = write({"method": {"name": "full"}})
    assert entry(spec, name="base").learning_rates == SCRATCH_RATES
    assert entry(spec).learning_rates == (2e-5, 3e-5, 5e-5)


def test_an_override_of_the_method_or_the_arm_brings_the_rates_that_go_with_it(write: Write) -> None:
    spec = write({"method": {"name": "full"}})
    assert entry(spec, "adapt.mine.method.name=head").learning_rates == (1e-3, 1e-2, 1e-1)
    swapped = ("adapt.base.arm=transfer", "adapt.mine.arm=scratch")
    assert entry(spec, *swapped).learning_rates == SCRATCH_RATES
    assert entry(spec, *swapped, name="base").learning_rates == (2e-5, 3e-5, 5e-5)
    assert entry(spec, "adapt.mine.lr[0]=1", *swapped).learning_rates == (1.0, *SCRATCH_RATES[1:])
    given = write({"method": {"name": "full"}, "lr": (1.0, 2.0, 3.0)})
    assert entry(given, *swapped).learning_rates == (1.0, 2.0, 3.0)


def test_every_entry_tries_as_many(write: Write) -> None:
    line = refusal(write({"method": {"name": "full"}, "lr": (1.0, 2.0)}))
    assert line.startswith("config.adapt.mine.lr: 2 learning rates, but config.adapt.base.lr has 3; every arm gets")
    assert refusal(write({"method": {"name": "full"}}, {"lr": (1.0,)})).startswith(
        "config.adapt.mine.lr: 3 learning rates"
    )


# Methods and what is composed with them


def test_naming_another_method_brings_its_fields_which_can_be_set_at_once(write: Write) -> None:
    spec = write({"method": {"name": "full"}})
    method = load_mine(spec, "adapt.mine.method.rank=2", "adapt.mine.method.name=lora").adapt.mine.method
    assert method.to_dict() == {"name": "lora", "rank": 2, "alpha": 8.0, "dropout": 0.0, "target": ""}


def test_swapping_a_method_drops_the_settings_of_the_old_one(write: Write) -> None:
    spec = write({"method": {"name": "lora", "rank": 2}})
    assert load_mine(spec, "adapt.mine.method.name=head").adapt.mine.method.to_dict() == {"name": "head"}
    changes = ("adapt.mine.method.name=freeze", "adapt.mine.method.frozen=('params/x',)")
    assert load_mine(spec, *changes).adapt.mine.method.to_dict() == {"name": "freeze", "frozen": ("params/x",)}
    assert load_mine(spec, "adapt.mine.method.name=dora").adapt.mine.method.rank == 2, "what both have is kept"


def test_further_methods_are_filled_in_and_come_by_name(write: Write) -> None:
    spec = write({"method": {"name": "lora", "rank": 2, "also": {"norm": {}, "l2_sp": {"beta": 0}}}})
    method = load_mine(spec).adapt.mine.method
    assert method.also.to_dict() == {"norm": {}, "l2_sp": {"alpha": 0.1, "beta": 0.0}} and method.rank == 2
    found = entry(spec, "adapt.mine.method.also.l2_sp.alpha=0.5")
    assert found.also == (("l2_sp", (("alpha", 0.5), ("beta", 0.0))), ("norm", ()))
    assert dict(found.settings).keys() == {"rank", "alpha", "dropout", "target"}
    assert chosen(found) == ("adamw", "linear", 0.1, 0.0), "the main method's own"
    assert hash(found) == hash(entry(spec, "adapt.mine.method.also.l2_sp.alpha=0.5"))
    assert entry(write({"method": {"name": "lora"}})).also == ()


def test_further_methods_survive_a_change_of_the_main_one(write: Write) -> None:
    spec = write({"method": {"name": "lora", "also": {"norm": {}}}})
    assert entry(spec, "adapt.mine.method.name=ia3").also == (("norm", ()),)


@pytest.mark.parametrize(
    ("also", "line"),
    [
        ({"nrom": {}}, "also.nrom: unknown method (did you mean 'norm'?)"),
        ({"lora": {}}, "also.lora: is the main method already"),
        ({"l2_sp": {"alfa": 1}}, "also.l2_sp.alfa: no such field (did you mean 'alpha'?)"),
        ({"l2_sp": {"alpha": -1}}, "also.l2_sp.alpha: expected a number from 0 to 1000000, got -1.0"),
        ({"l2_sp": {"name": "norm"}}, "also.l2_sp.name: no such field"),
        ({"l2_sp": 3}, "also.l2_sp: expected a block of fields, got 3"),
        (3, "also: expected a block of fields, got 3"),
    ],
)
def test_what_cannot_be_composed_is_one_line(also: Any, line: str, write: Write) -> None:
    assert refusal(write({"method": {"name": "lora", "also": also}})).startswith(f"config.adapt.mine.method.{line}")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("method.also.l2_sp.alpha=x", "method.also.l2_sp.alpha: expected a number from 0 to 1000000, got 'x'"),
        ("method.also.l2_sp.alfa=1", "method.also.l2_sp.alfa: no such field (did you mean 'alpha'?)"),
        ("method.also.norm.x=1", "method.also.norm"),
        ("method.name=l2_sp", "method.also.l2_sp: is the main method already"),
    ],
)
def test_overrides_of_further_methods_are_checked_as_well(override: str, line: str, write: Write) -> None:
    spec = write({"method": {"name": "lora", "also": {"l2_sp": {}}}})
    assert refusal(spec, f"adapt.mine.{override}").startswith(f"config.adapt.mine.{line}")


def test_the_policy_for_statistics_and_the_flag_for_artifacts_reach_their_places(write: Write) -> None:
    spec = write({"method": {"name": "full"}, "batch_stats": "frozen_stats"})
    assert (entry(spec).batch_stats, entry(spec, name="base").batch_stats) == ("frozen_stats", "auto")
    assert entry(spec, "adapt.mine.batch_stats=reset").batch_stats == "reset"
    assert not build(load_mine(spec), "").execution.artifacts
    assert build(load_mine(spec, "artifacts=true"), "").execution.artifacts
