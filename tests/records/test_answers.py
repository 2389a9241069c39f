import csv
import datetime
import io
import json
import math
from decimal import Decimal

import pandas as pd

from tlx.records.answer import frame_answer, make_answer


def test_values_are_such_as_json_can_hold() -> None:
    day = datetime.date(2026, 1, 2)
    row = (math.nan, math.inf, Decimal("1.50"), day, [1, math.nan], {"a": (True, None)}, "x", 3)
    found = make_answer("abcdefgh", [row])
    assert found.rows == ((None, None, 1.5, "2026-01-02", [1, None], {"a": [True, None]}, "x", 3),)
    assert json.loads(json.dumps(found.as_dicts(), allow_nan=False))[0]["c"] == 1.5


def test_no_two_columns_are_called_alike() -> None:
    found = make_answer(["n", "n", "n", "m"], [(1, 2, 3, 4)])
    assert found.columns == ("n", "n_2", "n_3", "m") and found.as_dicts() == [{"n": 1, "n_2": 2, "n_3": 3, "m": 4}]


def test_csv_reads_back() -> None:
    found = make_answer(["a", 'b,"c"'], [("x,y", 'say "so"\nor so'), (None, 0.1)])
    assert [*csv.reader(io.StringIO(found.as_csv()))] == [["a", 'b,"c"'], ["x,y", 'say "so"\nor so'], ["", "0.1"]]


def test_a_frame_keeps_its_types_and_what_is_missing() -> None:
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None], dtype="Int64"),
            "s": pd.array(["x", None], dtype="string"),
            "f": [0.5, math.nan],
            "b": pd.array([True, None], dtype="boolean"),
        }
    )
    found = frame_answer(frame)
    assert found.columns == ("n", "s", "f", "b") and found.rows == ((1, "x", 0.5, True), (None, None, None, None))
    assert frame_answer(frame[:0]).rows == () and frame_answer(pd.DataFrame()).columns == ()
