"""Rows of a frame, as the numbers that a model's native score expects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError, did_you_mean
from .base import Column, spelling

if TYPE_CHECKING:
    import pandas as pd


def encode_frame(frame: pd.DataFrame, columns: Sequence[Column]) -> np.ndarray:
    """Return a frame's rows as the matrix that `Model.score` takes.

    Parameters
    ----------
    frame : pandas.DataFrame
        Raw values; columns that the model does not have are ignored, the order does not matter.
    columns : sequence of Column
        The model's inputs (`Model.columns`).

    Returns
    -------
    numpy.ndarray
        float64[n_rows, n_columns]: numbers as they are, a level as its position in `Column.levels` (``len(levels)``
        for a level that the model has never seen, where `Column.unseen` says that it takes those), missing as NaN.

    Raises
    ------
    DataError
        A column is missing or given twice, a number column holds text, a number is infinite, a level is unknown.
        The message names the column, the index label of the first such row, and the remedy.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"income": [41000, None], "housing": ["own", "rent"], "note": ["", "late"]})
    >>> encode_frame(frame, (Column("housing", ("rent", "own")), Column("income")))
    array([[1.0e+00, 4.1e+04],
           [0.0e+00,     nan]])
    """
    matrix = np.empty((len(frame), len(columns)), dtype=np.float64)
    known = [str(name) for name in frame.columns]
    for j, column in enumerate(columns):
        series = _series(frame, known, column.name)
        matrix[:, j] = _numbers(series, column) if column.levels is None else _codes(series, column)
    return matrix


def _series(frame: pd.DataFrame, known: list[str], name: str) -> pd.Series[Any]:
    times = known.count(name)
    if not times:
        raise DataError(f"the data has no column {name!r}, which the model needs.{did_you_mean(name, known)}")
    if times > 1:
        raise DataError(f"the data has {times} columns named {name!r}; keep one of them")
    return frame.iloc[:, known.index(name)]


def _numbers(series: pd.Series[Any], column: Column) -> np.ndarray:
    import pandas as pd

    kind = series.dtype
    if isinstance(kind, pd.CategoricalDtype):
        series = series.astype(kind.categories.dtype if not kind.categories.empty else float)
    if pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_complex_dtype(series.dtype):
        blank = {} if isinstance(series.dtype, np.dtype) else {"na_value": np.nan}
        values = np.asarray(series.to_numpy(dtype=np.float64, **blank))
    else:
        values = _from_objects(series, column)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(
            f"column {column.name!r}, {_rows(series, infinite)}: {values[infinite[0]]} is not finite; "
            "give a finite number, or leave the cell empty if the value is missing"
        )
    return values


def _from_objects(series: pd.Series[Any], column: Column) -> np.ndarray:
    """Numbers among Python objects (a row of mixed values); anything else is named."""
    from numbers import Real

    import pandas as pd

    missing = series.isna().to_numpy()
    raw = series.to_numpy(dtype=object)
    values = np.full(len(raw), np.nan)
    wrong = []
    for i in np.flatnonzero(~missing):
        if isinstance(raw[i], Real) or type(raw[i]).__name__ == "Decimal":
            values[i] = float(raw[i])
        else:
            wrong.append(i)
    if wrong:
        cell = raw[wrong[0]]
        what = f"the text {cell!r}" if isinstance(cell, str) else f"{cell!r} ({type(cell).__name__})"
        if pd.api.types.is_datetime64_any_dtype(series.dtype):
            what = f"the date {cell}"
        raise DataError(
            f"column {column.name!r}, {_rows(series, np.array(wrong))}: {what} stands where the model takes a number; "
            "convert the column to numbers, with empty cells for missing values"
        )
    return values


def _codes(series: pd.Series[Any], column: Column) -> np.ndarray:
    import pandas as pd

    assert column.levels is not None
    places, found = pd.factorize(series.astype(object), use_na_sentinel=True)
    exact: dict[Any, int] = {}
    spelt: dict[str, int] = {}
    for place, level in enumerate(column.levels):
        exact.setdefault(level, place)
        spelt.setdefault(spelling(level), place)
    table = np.full(len(found) + 1, np.nan)  # the last entry answers for place -1, a missing value
    for i, value in enumerate(found):
        code: int | None = exact.get(value, spelt.get(spelling(value)))
        if code is None and column.unseen:
            code = len(column.levels)
        if code is None:
            where = np.flatnonzero(places == i)
            shown = ", ".join(repr(level) for level in column.levels[:8]) + (", ..." if len(column.levels) > 8 else "")
            hint = did_you_mean(str(value), [str(level) for level in column.levels])
            raise DataError(
                f"column {column.name!r}, {_rows(series, where)}: the model has never seen the level {value!r}.{hint} "
                f"It knows {shown}; correct the cell, or leave it empty if the value is missing"
            )
        table[i] = code
    return np.asarray(table[places])


def _rows(series: pd.Series[Any], where: np.ndarray) -> str:
    label = series.index[int(where[0])]
    more = f" (and {len(where) - 1:,} more)" if len(where) > 1 else ""
    return f"row {label!r}{more}" if isinstance(label, str) else f"row {label}{more}"
