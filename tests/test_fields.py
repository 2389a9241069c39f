"""Settings: what is taken, what is refused, and in which words."""

import math
import re
from typing import Any

import pytest

from tlx.errors import ConfigError
from tlx.fields import Field, check_fields

RANK = Field(4, "rank", low=1, high=1024)
RATE = Field(0.5, "rate", low=0.0)
SHARE = Field(0.1, "share", high=1.0)
SCHEDULE = Field("cosine", "schedule", choices=("cosine", "constant"))
NESTEROV = Field(True, "nesterov")
RATES = Field((0.1,), "rates", each=RATE)
NAMES = Field(("a",), "names", each=Field("a", "a name", choices=("a", "b")))
LOOSE = Field((1, 2), "anything")
LEFT_OPEN = Field(-1.0, "share", low=0.0, high=1.0, unset=-1.0)
OWN = Field((), "rates, or none", each=RATE, may_be_empty=True)

REFUSED = [
    (RANK, "8", "expected an integer from 1 to 1024, got '8'"),
    (RANK, 8.0, "expected an integer from 1 to 1024, got 8.0"),
    (RANK, True, "expected an integer from 1 to 1024, got True"),
    (RANK, None, "expected an integer from 1 to 1024, got None"),
    (RANK, 0, "expected an integer from 1 to 1024, got 0"),
    (RANK, 1025, "expected an integer from 1 to 1024, got 1025"),
    (RATE, "fast", "expected a number ≥ 0, got 'fast'"),
    (RATE, False, "expected a number ≥ 0, got False"),
    (RATE, math.nan, "expected a number ≥ 0, got nan"),
    (RATE, math.inf, "expected a number ≥ 0, got inf"),
    (RATE, -math.inf, "expected a number ≥ 0, got -inf"),
    (RATE, -1e-9, "expected a number ≥ 0, got -1e-09"),
    (RATE, -1, "expected a number ≥ 0, got -1.0"),
    (RATE, (0.5,), "expected a number ≥ 0, got (0.5,)"),
    (SHARE, 1.5, "expected a number ≤ 1, got 1.5"),
    (SCHEDULE, "cosin", "unknown value 'cosin' (did you mean 'cosine'?)"),
    (SCHEDULE, "x", "unknown value 'x' (one of constant, cosine)"),
    (SCHEDULE, 3, "expected a string, got 3"),
    (NESTEROV, 1, "expected true or false, got 1"),
    (NESTEROV, "true", "expected true or false, got 'true'"),
    (RATES, 0.1, "expected a tuple, got 0.1"),
    (RATES, (), "expected at least one item, got an empty tuple"),
    (RATES, [], "expected at least one item, got an empty tuple"),
    (LOOSE, (), "expected at least one item, got an empty tuple"),
    (LEFT_OPEN, -0.5, "expected a number from 0 to 1 or -1, got -0.5"),
    (LEFT_OPEN, -2, "expected a number from 0 to 1 or -1, got -2.0"),
    (LEFT_OPEN, "-1", "expected a number from 0 to 1 or -1, got '-1'"),
    (OWN, 0.1, "expected a tuple, got 0.1"),
    (OWN, "", "expected a tuple, got ''"),
]
REFUSED_ITEMS = [
    (OWN, (0.1, -1), "at[1]: expected a number ≥ 0, got -1.0"),
    (RATES, (0.1, "x"), "at[1]: expected a number ≥ 0, got 'x'"),
    (RATES, (0.1, 0.2, -1.0), "at[2]: expected a number ≥ 0, got -1.0"),
    (RATES, (0.1, 0.2, 0.1), "at[2]: 0.1 stands here twice"),
    (RATES, (1, 1.0), "at[1]: 1.0 stands here twice"),
    (NAMES, ("a", "c"), "at[1]: unknown value 'c' (one of a, b)"),
]
TAKEN = [
    (RANK, 1, 1),
    (RANK, 1024, 1024),
    (RATE, 2, 2.0),
    (RATE, 0.0, 0.0),
    (SHARE, -5.0, -5.0),
    (SHARE, 1.0, 1.0),
    (SCHEDULE, "constant", "constant"),
    (NESTEROV, False, False),
    (RATES, [1, 0.5], (1.0, 0.5)),
    (NAMES, ("b", "a"), ("b", "a")),
    (LOOSE, [3, "x", 3], (3, "x", 3)),
    (LEFT_OPEN, -1, -1.0),
    (LEFT_OPEN, 0, 0.0),
    (OWN, (), ()),
    (OWN, [], ()),
    (OWN, (1,), (1.0,)),
]


@pytest.mark.parametrize(("field", "value", "message"), REFUSED)
def test_refusals(field: Field, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        field.check("config.block.field", value)
    assert str(caught.value) == f"config.block.field: {message}"
    assert caught.value.field == "config.block.field"


@pytest.mark.parametrize(("field", "value", "message"), REFUSED_ITEMS)
def test_refusals_of_items_name_the_item(field: Field, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        field.check("at", value)


@pytest.mark.parametrize("field", [RANK, RATE])
def test_a_number_too_large_for_a_float_is_refused_like_any_other(field: Field) -> None:
    with pytest.raises(ConfigError, match=r"^at: expected "):
        field.check("at", 10**400)


def test_large_limits_are_given_in_full() -> None:
    assert Field(0, "seed", low=0, high=2**31 - 1).expected() == "an integer from 0 to 2147483647"


@pytest.mark.parametrize(("field", "value", "result"), TAKEN)
def test_what_is_taken_has_the_type_of_the_default(field: Field, value: Any, result: Any) -> None:
    checked = field.check("at", value)
    assert checked == result and type(checked) is type(field.default)
    if field is RATES:
        assert {type(item) for item in checked} == {float}


def test_a_block_is_filled_in_and_converted() -> None:
    fields = {"rank": RANK, "rate": RATE}
    assert check_fields("config.method", fields, {}) == {"rank": 4, "rate": 0.5}
    filled = check_fields("config.method", fields, {"rate": 1})
    assert filled == {"rank": 4, "rate": 1.0} and type(filled["rate"]) is float


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rnak": 8}, "config.method.rnak: no such field (did you mean 'rank'?)"),
        ({"zzz": 8}, "config.method.zzz: no such field (one of rank, rate)"),
        ({"rank": 8, "rate": "x"}, "config.method.rate: expected a number ≥ 0, got 'x'"),
    ],
)
def test_a_block_names_the_wrong_field(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_fields("config.method", {"rank": RANK, "rate": RATE}, given)


def test_a_block_without_fields_takes_none() -> None:
    assert check_fields("config.method", {}, {}) == {}
    with pytest.raises(ConfigError, match=r"^config\.method\.rank: no such field$"):
        check_fields("config.method", {}, {"rank": 4})
