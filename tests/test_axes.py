"""Axes as code: how many points, in which order, and what they are called."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlx.axes import Named, blocks, cross, product, values, when, zipped
from tlx.config import load
from tlx.errors import TlxError

CONFIG = Path(__file__).parents[1] / "configs" / "lora_ranks.py"
names = st.lists(st.sampled_from("abcdef"), unique=True, max_size=4)
axes = names.flatmap(
    lambda ns: st.fixed_dictionaries({n: st.lists(st.integers(0, 9), min_size=1, max_size=4) for n in ns})
)


@given(axes)
def test_a_product_has_every_combination_in_order(given_axes: dict[str, list[int]]) -> None:
    points = product(given_axes)
    count = 1
    for choices in given_axes.values():
        count *= len(choices)
    assert len(points) == count
    # The first axis is the slowest: its values stand in blocks of equal length.
    if given_axes:
        first = next(iter(given_axes))
        block = count // len(given_axes[first])
        assert [point[first] for point in points] == [value for value in given_axes[first] for _ in range(block)]
    assert all(list(point) == list(given_axes) for point in points)


@given(axes, axes)
def test_a_cross_of_products_is_the_product_of_all(one: dict[str, list[int]], other: dict[str, list[int]]) -> None:
    if one.keys() & other.keys():
        with pytest.raises(TlxError, match="stands here twice"):
            cross(product(one), product(other))
    else:
        assert cross(product(one), product(other)) == product({**one, **other})


@given(axes)
def test_every_point_has_a_name_of_its_own(given_axes: dict[str, list[int]]) -> None:
    distinct = {name: sorted(set(choices)) for name, choices in given_axes.items()}
    points = product({f"method.{name}": choices for name, choices in distinct.items()})
    made = blocks("x", {"method": {"name": "lora"}}, points)
    assert len(made) == len(points)
    assert [block["method"] for block in made.values()] == [
        {"name": "lora", **{name.removeprefix("method."): value for name, value in point.items()}} for point in points
    ]


def test_names_tell_every_field() -> None:
    points = product({"method.rank": (2, 8), "method.scale": (0.5,), "target": (Named("qv", ".*q"), "all")})
    made = blocks("lora", {"lr": (1e-3,)}, points)
    assert list(made) == ["lora_rank2_scale0p5_qv", "lora_rank2_scale0p5_all", *list(made)[2:]]
    assert made["lora_rank2_scale0p5_qv"] == {"method": {"rank": 2, "scale": 0.5}, "lr": (1e-3,), "target": ".*q"}
    assert list(blocks("lr", {}, product({"rate": (0.001, 0.25)}))) == ["lr_rate0p001", "lr_rate0p25"]


def test_a_sweep_that_grows_keeps_its_names() -> None:
    small, large = ({"method.rank": ranks, "lr": ((1e-3,),)} for ranks in ((2,), (2, 8)))
    assert blocks("x", {}, product(small)).items() <= blocks("x", {}, product(large)).items()


def test_blocks_share_nothing() -> None:
    base: dict[str, Any] = {"method": {"name": "lora"}}
    one, other = blocks("x", base, product({"method.rank": (1, 2)})).values()
    assert base == {"method": {"name": "lora"}} and one["method"] is not other["method"]


def test_a_conditional_axis() -> None:
    points = when(product({"a": (Named("low", 1), 2)}), lambda point: point["a"] == 1, {"b": (3, 4)})
    assert [values(point) for point in points] == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2}]
    assert list(blocks("x", {}, points)) == ["x_low_b3", "x_low_b4", "x_a2"]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: product({"rank": ()}), "axis 'rank': expected a sequence of values, got ()"),
        (lambda: product({"target": "query"}), "axis 'target': expected a sequence of values, got 'query'"),
        (lambda: zipped({"a": (1, 2), "b": (1,)}), "zipped axes of 2 (a), 1 (b) values"),
        (lambda: when([{"a": 1}], lambda point: True, {"a": (2,)}), "axis 'a' stands here twice"),
        (lambda: blocks("x", {}, [{"a": "q|v"}, {"a": "q/v"}]), "two points are called 'x_q-v'"),
        (lambda: blocks("x", {"lr": 1}, [{"lr.rate": 1}]), "'lr.rate' lies below 'lr', which is a value"),
        (lambda: blocks("a.b", {}, [{}]), "'a.b' is no name"),
    ],
)
def test_mistakes_are_one_line(make: Any, line: str) -> None:
    with pytest.raises(TlxError) as caught:
        make()
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_a_config_of_axes() -> None:
    config = load(str(CONFIG))
    assert len(config.adapt) == 1 + 2 * 2 + 2 * 2
    assert {name for name in config.adapt if "16" in name} == {
        f"lora_rank16_{where}_{how}" for where in ("qv", "all") for how in ("lora", "rslora")
    }
    assert config.adapt.lora_rank4_all.method.rank == 4
    assert config.adapt.lora_rank16_qv_rslora.method.name == "rslora"
