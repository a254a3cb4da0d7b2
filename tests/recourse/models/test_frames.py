"""Rows become the model's numbers, or an error that names column, row and remedy."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recourse.errors import DataError
from recourse.models import Column, encode_frame

NUMBER = (Column("x"),)
CITY = (Column("city", ("york", "bath", "ely")),)
NAN = float("nan")


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1.5, NAN, -2.0]),
        pd.Series([1.5, None, -2.0], dtype="Float64"),
        pd.Series([1.5, NAN, -2.0], dtype="float32"),
        pd.Series([1.5, None, -2], dtype=object),
        pd.Series([Decimal("1.5"), pd.NA, np.float32(-2)], dtype=object),
        pd.Series([1.5, None, -2.0], dtype="double[pyarrow]"),
        pd.Categorical([1.5, None, -2.0]),
    ],
    ids=lambda s: str(s.dtype),
)
def test_every_dtype_of_numbers_is_a_number(series: Any) -> None:
    """Numbers keep their value and missing cells become NaN, whatever pandas keeps them in."""
    np.testing.assert_array_equal(encode_frame(pd.DataFrame({"x": series}), NUMBER), [[1.5], [NAN], [-2.0]])


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, None, 3], "Int64", [1, NAN, 3]),
        ([True, False], bool, [1, 0]),
        ([True, None], "boolean", [1, NAN]),
        ([True, 2], object, [1, 2]),
        ([], float, []),
        ([None, None], object, [NAN, NAN]),
        ([2**53], "int64", [2.0**53]),
    ],
)
def test_integers_and_flags_are_numbers(values: list[Any], dtype: Any, expected: list[float]) -> None:
    """Integers, flags, an empty column and one of missing cells only are numbers, too."""
    frame = pd.DataFrame({"x": pd.Series(values, dtype=dtype)})
    np.testing.assert_array_equal(encode_frame(frame, NUMBER)[:, 0], expected)


@pytest.mark.parametrize("dtype", [object, "str", "category", "string[pyarrow]"])
def test_levels_become_their_codes(dtype: str) -> None:
    """A level becomes its place in the model's list, not in the frame's, and a missing cell NaN."""
    frame = pd.DataFrame({"city": pd.Series(["ely", None, "york", "ely"], dtype=dtype)})
    np.testing.assert_array_equal(encode_frame(frame, CITY)[:, 0], [2, NAN, 0, 2])


@pytest.mark.parametrize("values", [[3, 1, 7], ["3", "1", "7"], [3.0, 1.0, 7.0], [np.int8(3), 1, "7"]])
@pytest.mark.parametrize("levels", [(1, 3, 7), ("1", "3", "7"), (1.0, 3.0, 7.0)])
def test_a_level_may_be_spelt_as_number_or_text(values: list[Any], levels: tuple[Any, ...]) -> None:
    """1, 1.0 and "1" are one level, as they are one cell of a CSV file."""
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object)})
    assert encode_frame(frame, (Column("x", levels),))[:, 0].tolist() == [1, 0, 2]


def test_truth_values_are_levels() -> None:
    """True and False are levels like others."""
    frame = pd.DataFrame({"x": [True, False]})
    assert encode_frame(frame, (Column("x", (False, True)),))[:, 0].tolist() == [1, 0]
    assert encode_frame(frame, (Column("x", ("True", "False")),))[:, 0].tolist() == [0, 1]


def test_order_and_extra_columns_do_not_matter() -> None:
    """Columns are found by name, in the model's order; others are left alone."""
    frame = pd.DataFrame({"note": ["", "late"], "city": ["ely", "bath"], 0: [5, 6], "x": [1, 2]})
    columns = (Column("x"), Column("city", ("york", "bath", "ely")), Column("0"))
    assert encode_frame(frame, columns).tolist() == [[1, 2, 5], [2, 1, 6]]


def test_the_frame_is_not_changed() -> None:
    """Encoding leaves the caller's frame as it was."""
    frame = pd.DataFrame({"city": pd.Categorical(["ely", "bath"]), "x": [1, 2]})
    before = frame.copy(deep=True)
    encode_frame(frame, (*CITY, *NUMBER))[:] = 0
    pd.testing.assert_frame_equal(frame, before)


def refused(frame: pd.DataFrame, columns: tuple[Column, ...], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        encode_frame(frame, columns)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_named_with_the_nearest() -> None:
    """A column that the data lacks is named, with the one that was probably meant."""
    refused(pd.DataFrame({"incme": [1]}), (Column("income"),), "no column 'income'.*Did you mean 'incme'")


def test_two_columns_of_one_name_are_refused() -> None:
    """Which of two columns is meant cannot be known."""
    refused(pd.DataFrame([[1, 2]], columns=["x", "x"]), NUMBER, "2 columns named 'x'")


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_an_infinite_number_is_refused(infinite: float) -> None:
    """An infinite cell is named by column and index label, with how many more there are."""
    frame = pd.DataFrame({"x": [1.0, infinite, infinite]}, index=["a", "b", "c"])
    refused(frame, NUMBER, r"column 'x', row 'b' \(and 1 more\): -?inf .*leave the cell empty")


def test_text_in_a_number_column_is_refused() -> None:
    """Text where the model takes a number is shown, even if it looks like one."""
    frame = pd.DataFrame({"x": [1, "12", "n/a"]}, index=[10, 20, 30], dtype=object)
    refused(frame, NUMBER, r"column 'x', row 20 \(and 1 more\): the text '12'.*convert")
    refused(pd.DataFrame({"x": ["n/a"]}), NUMBER, "the text 'n/a'")
    refused(pd.DataFrame({"x": pd.Categorical(["low"])}), NUMBER, "the text 'low'")


def test_a_date_or_an_object_is_no_number() -> None:
    """Dates, complex numbers and other objects are refused by what they are."""
    refused(pd.DataFrame({"x": pd.to_datetime(["2026-01-01"])}), NUMBER, "the date 2026-01-01")
    refused(pd.DataFrame({"x": [1 + 2j]}), NUMBER, "complex")
    refused(pd.DataFrame({"x": pd.Series([[1]], dtype=object)}), NUMBER, "list")


def test_an_unseen_level_is_refused() -> None:
    """A level that the model never saw is shown with row, nearest level and those that it knows."""
    frame = pd.DataFrame({"city": ["york", "Elly", None, "Elly"]}, index=list("abcd"))
    refused(frame, CITY, r"row 'b' \(and 1 more\): .*never seen the level 'Elly'.*It knows 'york', 'bath', 'ely'")
    refused(pd.DataFrame({"city": ["yrk"]}), CITY, "Did you mean 'york'")


@given(
    codes=st.lists(st.integers(-1, 4), max_size=30),
    # pandas itself takes texts that end in NUL for others
    levels=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=5),
        min_size=5,
        max_size=5,
        unique=True,
    ),
    seed=st.integers(0, 99),
)
def test_codes_travel_there_and_back(codes: list[int], levels: list[str], seed: int) -> None:
    """Levels written from codes are encoded to the same codes, in whatever order the frame's own categories are."""
    shuffled = np.random.default_rng(seed).permutation(levels).tolist()
    cells = pd.Categorical([None if c < 0 else levels[c] for c in codes], categories=shuffled)
    encoded = encode_frame(pd.DataFrame({"city": cells}), (Column("city", tuple(levels)),))[:, 0]
    assert np.where(np.isnan(encoded), -1, encoded).tolist() == codes
