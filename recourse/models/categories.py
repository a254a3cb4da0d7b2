"""Which integers a library uses for the levels of a categorical column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import ModelError
from .base import Column, Level


def native_codes(column: str, levels: Sequence[Level]) -> np.ndarray:
    """Return the library's integer for each level that a model does not spell out.

    Whole numbers stand for themselves, since a model that stores no levels was fitted on the numbers in the data;
    other levels stand for their places in the list.
    """
    whole = [isinstance(x, int | float) and not isinstance(x, bool) and float(x).is_integer() for x in levels]
    if not all(whole):
        return np.arange(len(levels))
    codes = np.array([int(x) for x in levels], dtype=np.int64)
    if len(codes) and codes.min() < 0:
        raise ModelError(
            f"the level {codes.min()} of {column!r} is negative, which tree libraries take for missing; "
            "number the categories from 0 and fit the model again"
        )
    return codes


def to_native(matrix: np.ndarray, codes: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return the matrix with our codes (places in `Column.levels`) replaced by the library's, column by column."""
    if not codes:
        return matrix
    out = np.array(matrix, dtype=np.float64)
    for j, table in codes.items():
        known = ~np.isnan(out[:, j])
        out[known, j] = table[out[known, j].astype(np.int64)]
    return out


def left_of(codes: np.ndarray, listed: Sequence[int], width: int, *, listed_left: bool) -> np.ndarray:
    """Return a row of `Trees.sets`: which of our codes go left when the library's `listed` go one way."""
    row = np.zeros(width, dtype=bool)
    row[: len(codes)] = np.isin(codes, np.asarray(listed, dtype=np.int64))
    return row if listed_left else ~row


def width_of(columns: Sequence[Column]) -> int:
    """Return the number of columns of `Trees.sets`."""
    return max((len(c.levels) for c in columns if c.levels is not None), default=1) or 1


def levels_note(columns: Sequence[Column], listed: Sequence[int]) -> tuple[str, ...]:
    """Say which columns' codes were taken from the caller's levels, because the model stores none."""
    if not listed:
        return ()
    names = ", ".join(repr(columns[j].name) for j in listed)
    return (f"the model stores codes only for {names}: their meaning is taken from the policy's levels",)
