"""A model seen through one or several methods: labels, composition, phases, running statistics."""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import (
    adapt,
    batch,
    compiled_forward,
    compiled_init,
    differing,
    matching,
    tiny_method,
    tiny_model,
    variables,
)

from tlx import tree
from tlx.adapt.adapted import Adapted
from tlx.adapt.hooks import Phase
from tlx.adapt.method import EVERYTHING, Defaults, Method
from tlx.adapt.registry import METHODS
from tlx.errors import ConfigError
from tlx.fields import check_fields
from tlx.partition import FROZEN, combine

RESNET = tiny_model("resnet")


def composed(method: str, *also: str, **settings: dict[str, Any]) -> Adapted:
    """The tiny ViT under several methods; `settings` are of those named."""
    model = tiny_model()

    def own(name: str) -> tuple[tuple[str, Any], ...]:
        given = {**tiny_method(name).settings(model), **settings.get(name, {})}
        return tuple(sorted(check_fields("method", METHODS[name].fields, given).items()))

    return Adapted(model, method, own(method), tuple((name, own(name)) for name in also))


def under(label: str, labels: dict[str, str]) -> set[str]:
    return {path for path, own in labels.items() if own == label}


def refusal(call: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Several methods on one tree


def test_a_leaf_moves_if_any_method_moves_it() -> None:
    both, alone = composed("lora", "norm"), adapt("lora")
    labels, whole = both.labels(), variables(both)
    norms = matching("params/.*norm.*/(scale|bias)", whole)
    assert norms and under("train", labels) == norms
    assert under("adapter", labels) == matching("adapters/.*", whole) == under("adapter", alone.labels())
    assert under("head", labels) == matching("params/head/.*", whole)
    assert under("frozen", labels) == under("frozen", alone.labels()) - norms
    assert both.cut() == 1 and composed("lora", "full").cut() == 0


def test_both_adapters_are_there_and_each_does_what_it_does_alone() -> None:
    both = composed("lora", "ia3")
    x = batch(both.model)["input"]
    rng = np.random.default_rng(0)
    whole = tree.flatten(variables(both))
    noise = {path: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32) for path, leaf in whole.items()}
    start = compiled_forward(both)(variables(both), x)[0]
    for name in ("lora", "ia3"):
        alone = adapt(name)
        own = tree.flatten(variables(alone))
        assert all(np.array_equal(whole[path], leaf) for path, leaf in own.items()), "drawn as if it were alone"
        mine = {path for path in own if path.startswith("adapters/")}
        moved = {path: leaf + noise[path] if path in mine else leaf for path, leaf in whole.items()}
        got = compiled_forward(both)(tree.unflatten(moved), x)[0]
        expected = compiled_forward(alone)(tree.unflatten({path: moved[path] for path in own}), x)[0]
        np.testing.assert_allclose(got, expected, atol=1e-6)
        assert np.abs(got - start).max() > 1e-2
    adapters = {path for path in whole if path.startswith("adapters/")}
    everything = tree.unflatten(
        {path: leaf + noise[path] if path in adapters else leaf for path, leaf in whole.items()}
    )
    np.testing.assert_allclose(both.apply(everything, x, scale=0.0)[0], start, atol=1e-6)


def test_a_specific_label_wins_over_a_generic_one() -> None:
    for order in (("full", "llrd"), ("llrd", "full")):
        both = composed(*order)
        assert both.labels() == adapt("llrd").labels()
        assert {label for path, label in both.labels().items() if path.startswith("params/embed/")} == {"train@embed"}
        assert dict(both.lr_scale()) == dict(adapt("llrd").lr_scale()) != {}
    three = composed("lora_plus", "full", "llrd", llrd={"decay": 0.5})
    # A final norm learns as fast as the head, a block half as fast as what lies above it.
    expected = {
        "adapter@lora_b": 16.0,
        "train@block_0": 0.25,
        "train@block_1": 0.5,
        "train@embed": 0.125,
        "train@pool": 1,
    }
    assert dict(three.lr_scale()) == expected
    assert set(three.labels().values()) == {
        "head",
        "adapter@lora_a",
        "adapter@lora_b",
        *(set(expected) - {"adapter@lora_b"}),
    }


def test_two_methods_keep_the_start_of_the_run_once() -> None:
    both = composed("l2_sp", "ewc")
    kept = variables(both)["reference"]
    assert kept.keys() == {"anchor", "fisher", "source"}
    for one in ("l2_sp", "ewc"):
        assert differing(kept["anchor"], variables(adapt(one))["reference"]["anchor"]) == set()
    assert both.labels() == composed("full").labels()


def test_two_methods_may_not_add_the_same_leaf() -> None:
    both = composed("lora", "rslora")
    line = "also: two methods add the same leaf 'lora_a'"
    assert refusal(both.abstract) == line
    assert refusal(lambda: both.init_adapters(compiled_init(both.model)(0), 0)) == line


@pytest.mark.parametrize(
    ("method", "settings", "line"),
    [
        ("lora", {"rank": 17}, "rank: expected at most 16 for 'block_0/attention/query', got 17"),
        ("lora", {"target": "nothing"}, "target: 'nothing' matches no layer of 'vit' that 'lora' adapts"),
        ("lora", {"target": "("}, "target: the rule '(' is not a regular expression"),
        (
            "freeze",
            {"frozen": ("params/stem/.*",)},
            "frozen[0]: rule 'params/stem/.*' -> 'frozen' matches no parameter",
        ),
        ("surgical", {"stage": "stem"}, "stage: 'vit' has no stage 'stem' with parameters"),
    ],
)
def test_errors_of_a_further_method_name_it(method: str, settings: dict[str, Any], line: str) -> None:
    main, further = composed(method, **{method: settings}), composed("full", method, **{method: settings})
    expected = refusal(main.labels)
    assert expected.startswith(line)
    assert refusal(further.labels) == f"also.{method}.{expected}"
    if METHODS[method].interceptor:
        assert refusal(further.abstract) == f"also.{method}.{expected}"


# Phases


def phased(monkeypatch: pytest.MonkeyPatch, *phases: Phase) -> Adapted:
    name = f"phased_{abs(hash(phases))}"
    method = Method(
        name, "nobody", "", {}, Defaults((1.0, 2.0, 3.0)), lambda s, a: EVERYTHING, phases=lambda s, a: phases
    )
    monkeypatch.setitem(METHODS, name, method)
    return Adapted(tiny_model(), name)


def test_what_is_open_stays_open_and_what_joins_says_when(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Phase(0.6, ("params/(head|block_1)/.*",))
    adapted = phased(monkeypatch, Phase(0.0, ("params/head/.*",)), Phase(0.3, ("params/pool/.*",)), late)
    stages = {"params/head/bias": "head", "params/pool/norm/bias": "train#1", "params/block_1/mlp/up/bias": "train#2"}
    for phase in range(3):
        labels = adapted.labels(phase)
        for join, (path, label) in enumerate(stages.items()):
            assert labels[path] == (label if join <= phase else "frozen")
        assert labels["params/block_0/mlp/up/bias"] == "frozen", "no phase opens it"
    assert adapted.labels() == adapted.labels(2) and [adapted.cut(phase) for phase in range(3)] == [4, 3, 2]
    assert adapt("full").phases == (Phase(0.0, (".*",)),) and "train#1" not in adapt("full").labels().values()


def test_phases_of_a_further_method_open_the_leaves_of_all() -> None:
    both = composed("lora", "lp_ft")
    assert (
        under("head", both.labels(0)) == matching("params/head/.*", variables(both))
        and "adapter" not in both.labels(0).values()
    )
    assert under("adapter#1", both.labels()) == matching("adapters/.*", variables(both))
    assert refusal(lambda: composed("gradual", "lp_ft").phases) == (
        "also: two methods with phases; one must decide which leaves move when"
    )


def test_a_first_phase_in_which_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    adapted = phased(monkeypatch, Phase(0.0, ("params/stem/.*",)), Phase(0.5, (".*",)))
    assert refusal(adapted.labels) == "name: its first phase opens ('params/stem/.*',), none of which moves"


def test_the_parts_of_a_split_share_nothing_and_are_the_tree() -> None:
    for adapted in (adapt("l2_sp"), composed("lora", "norm"), adapt("freeze", RESNET), adapt("lp_ft", RESNET)):
        for phase in range(len(adapted.phases)):
            trainable, stats, frozen = adapted.split(variables(adapted), phase)
            assert differing(combine(trainable, stats, frozen), variables(adapted)) == set()
            labels = {**adapted.labels(phase), **adapted.stat_labels(phase)}
            assert tree.flatten(stats).keys() == under("stats", labels)
            moving = {path for path, label in labels.items() if label not in ("frozen", "stats")}
            assert tree.flatten(trainable).keys() == moving
    assert matching("reference/.*", adapt("l2_sp").split(variables(adapt("l2_sp")))[2])


# Running statistics

NORMS = ("block_0/norm1", "block_0/norm2", "block_1/norm1", "block_1/norm2", "block_1/shortcut_norm", "stem/norm1")


@functools.cache
def trained_once() -> dict[str, Any]:
    """A ResNet whose statistics are not those it starts with."""
    rng = np.random.default_rng(0)
    leaves = {}
    for path, leaf in tree.flatten(compiled_init(RESNET)(0)).items():
        own = {"mean": rng.normal(0, 0.5, leaf.shape), "var": rng.uniform(0.5, 2, leaf.shape)}
        found = own.get(path.rpartition("/")[2])
        leaves[path] = leaf if found is None else jnp.asarray(found, jnp.float32)
    return tree.unflatten(leaves)


def seen_through(method: str, stats: str = "auto", **settings: Any) -> Adapted:
    return replace(adapt(method, RESNET, **settings), stats=stats)


@functools.cache
def training(adapted: Adapted) -> tuple[Any, dict[str, Any]]:
    """Logits of a training step, and the statistics it updates, by path."""
    x = batch(RESNET)["input"]
    start = adapted.init_adapters(trained_once(), 0) if adapted.stats != "reset" else trained_once()
    logits_BC, stats = jax.jit(lambda v: adapted.apply(v, x, train=True))(start)
    return logits_BC, tree.flatten(stats)


@functools.cache
def plain(first: int, last: int, train: bool) -> Any:
    """Some stages of the plain model: outputs and all statistics."""

    def run(variables: Any, x: Any) -> Any:
        out, new = RESNET.module.apply(variables, x, first, last, train=train, mutable=["batch_stats"])
        return out, new["batch_stats"]

    return jax.jit(run)


def by_hand(*modes: tuple[int, int, bool]) -> tuple[Any, dict[str, Any]]:
    """Stages of the plain model one run after another: first, last and whether in training mode."""
    x, stats = batch(RESNET)["input"], {}
    for first, last, train in modes:
        x, new = plain(first, last, train)(trained_once(), x)
        changed = differing(trained_once()["batch_stats"], new)
        stats |= {f"batch_stats/{path}": tree.flatten(new)[path] for path in changed}
    return x, stats


@pytest.mark.parametrize(
    ("adapted", "modes"),
    [
        (seen_through("head"), [(0, 5, False)]),
        (seen_through("head", "frozen_stats"), [(0, 5, False)]),
        (seen_through("head", "update_stats"), [(0, 5, True)]),
        (seen_through("head", "reset"), [(0, 5, True)]),
        (seen_through("full"), [(0, 5, True)]),
        (seen_through("full", "frozen_stats"), [(0, 5, False)]),
        (seen_through("norm"), [(0, 5, True)]),
        (seen_through("freeze"), [(0, 2, False), (2, 5, True)]),
        (seen_through("freeze", "update_stats"), [(0, 5, True)]),
        (seen_through("surgical", stage="block_0"), [(0, 1, False), (1, 2, True), (2, 5, False)]),
        (seen_through("lora"), [(0, 5, False)]),
    ],
    ids=lambda value: f"{value.method}-{value.stats}" if isinstance(value, Adapted) else "",
)
def test_norms_whose_statistics_stay_normalise_by_them_in_training(
    adapted: Adapted, modes: list[tuple[int, int, bool]]
) -> None:
    logits_BC, stats = training(adapted)
    expected_BC, expected = by_hand(*modes)
    np.testing.assert_allclose(logits_BC, expected_BC, atol=2e-5)
    assert stats.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_allclose(stats[path], leaf, atol=1e-5, err_msg=path)
    labels = adapted.stat_labels()
    assert labels.keys() == {f"batch_stats/{norm}/{leaf}" for norm in NORMS for leaf in ("mean", "var")}
    assert under("stats", labels) == stats.keys()


def test_the_new_statistics_written_out() -> None:
    _, stats = training(seen_through("full"))
    kernel = trained_once()["params"]["stem"]["conv1"]["kernel"]
    x_BHWC = jax.lax.conv_general_dilated(
        batch(RESNET)["input"], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    old = trained_once()["batch_stats"]["stem"]["norm1"]
    for name, now in (("mean", x_BHWC.mean((0, 1, 2))), ("var", x_BHWC.var((0, 1, 2)))):
        np.testing.assert_allclose(stats[f"batch_stats/stem/norm1/{name}"], 0.9 * old[name] + 0.1 * now, atol=1e-6)


def test_a_single_norm_may_stay_among_others() -> None:
    adapted = seen_through("freeze", frozen=("params/block_0/norm2/.*",))
    stays = {"batch_stats/block_0/norm2/mean", "batch_stats/block_0/norm2/var"}
    assert under("frozen", adapted.stat_labels()) == stays
    _, stats = training(adapted)
    assert stats.keys() == adapted.stat_labels().keys() - stays
    # What comes before it does not notice, what comes after does.
    whole = training(seen_through("full"))[1]
    same = {path for path, leaf in stats.items() if np.allclose(leaf, whole[path], atol=1e-6)}
    assert same == {
        f"batch_stats/{norm}/{leaf}" for norm in ("stem/norm1", "block_0/norm1") for leaf in ("mean", "var")
    }


def test_a_norm_trains_with_either_of_its_leaves() -> None:
    adapted = seen_through("freeze", frozen=("params/(?!head/).*(kernel|scale)",))
    assert set(adapted.stat_labels().values()) == {"stats"}


def test_a_wrapper_of_stages_sees_each_once_and_changes_nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool]] = []

    def around(settings: Any, context: Any) -> Any:
        def wrapper(k: int, stage: Any, x: Any) -> Any:
            seen.append((k, context.train))
            return stage(x)

        return wrapper

    monkeypatch.setitem(METHODS, "wrapped", replace(METHODS["full"], around=around))
    logits_BC, stats = training(Adapted(RESNET, "wrapped"))
    expected_BC, expected = training(seen_through("full"))
    assert seen == [(k, True) for k in range(5)]
    np.testing.assert_allclose(logits_BC, expected_BC, atol=1e-6)
    assert stats.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_allclose(stats[path], leaf, atol=1e-6, err_msg=path)


def test_predictions_update_nothing_whatever_the_policy() -> None:
    logits_BC, stats = seen_through("full", "update_stats").apply(trained_once(), batch(RESNET)["input"])
    assert stats == {}
    np.testing.assert_allclose(logits_BC, by_hand((0, 5, False))[0], atol=2e-5)


@pytest.mark.parametrize(
    ("method", "stats", "cut"),
    [
        ("head", "auto", 4),
        ("head", "frozen_stats", 4),
        ("head", "update_stats", 0),
        ("head", "reset", 0),
        ("freeze", "auto", 2),
        ("freeze", "update_stats", 0),
        ("full", "frozen_stats", 0),
    ],
)
def test_what_changes_with_every_step_cannot_be_kept(method: str, stats: str, cut: int) -> None:
    assert seen_through(method, stats).cut() == cut


def test_statistics_may_begin_anew() -> None:
    given = trained_once()
    start = seen_through("lora", "reset").init_adapters(given, 0)
    fresh = tree.flatten(start["batch_stats"])
    assert fresh.keys() == tree.flatten(given["batch_stats"]).keys()
    for path, leaf in fresh.items():
        assert leaf.dtype == jnp.float32 and np.all(leaf == (0.0 if path.endswith("mean") else 1.0)), path
    assert differing(given["params"], start["params"]) == set() and "adapters" in start
    for stats in ("auto", "update_stats", "frozen_stats"):
        kept = seen_through("lora", stats).init_adapters(given, 0)
        assert differing(given["batch_stats"], kept["batch_stats"]) == set()
    # A model without statistics has nothing to begin anew.
    assert replace(adapt("full"), stats="reset").init_adapters(variables(adapt("full")), 0).keys() == {"params"}


@pytest.mark.parametrize(
    ("main", "also", "moves"),
    [
        ("lora", "lp_ft", "(params/head|adapters)/.*"),
        ("lora", "wise_ft", "(params/head|adapters)/.*"),
        ("freeze_first", "l2_sp", "params/(?!embed/).*"),
        ("freeze_first", "llrd", "params/(?!embed/).*"),
        ("l2_sp", "freeze_first", "params/.*"),
    ],
)
def test_under_also_a_modifier_opens_nothing_of_its_own_accord(main: str, also: str, moves: str) -> None:
    settings = check_fields("method", METHODS[also].fields, {})
    one = adapt(main)
    adapted = Adapted(one.model, one.method, one.settings, ((also, tuple(sorted(settings.items()))),))
    moving = {path for path, label in adapted.labels().items() if label != FROZEN}
    assert moving == {path for path in adapted.labels() if tree.matches(moves, path)}
