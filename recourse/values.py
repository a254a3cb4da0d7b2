"""One value of an applicant's row: made plain, written as text and read back without loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import DataError, did_you_mean

if TYPE_CHECKING:
    from .policy import Feature

Value = str | int | float | bool | None

_EXACT = 2**53  # beyond it a float's digits as an integer are no longer its shortest text


def plain(value: Any) -> Value:
    """Return a value as a Python scalar: numpy's become Python's, every spelling of missing becomes None.

    Raises
    ------
    DataError
        If the value is no scalar that a row can hold (a list, a timestamp).

    Examples
    --------
    >>> plain(np.float64(1.5)), plain(float("nan")), plain(np.int64(3))
    (1.5, None, 3)
    """
    kind = type(value)
    if kind is float:
        return None if value != value else value
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if isinstance(value, np.bool_ | bool):
        return bool(value)
    if isinstance(value, np.integer | int):
        return int(value)
    if isinstance(value, np.floating | float):
        return plain(float(value))
    if isinstance(value, str):
        return str(value)
    if value is pd.NA or value is pd.NaT:
        return None
    raise DataError(f"expected text, a number or a truth value, got {value!r} of type {kind.__name__}")


def levels_of(feature: Feature) -> tuple[str | int | float | bool, ...]:
    """Return the levels of a listed feature in order; a flag without levels has 0 and 1."""
    return (0, 1) if feature.levels is None else tuple(feature.levels)


def position_of(value: Value, feature: Feature) -> int | None:
    """Return where a value stands among a listed feature's levels, or None; 1, 1.0 and "1" meet, as in a file.

    Examples
    --------
    >>> from recourse.policy import Feature
    >>> position_of("1", Feature(kind="flag")), position_of("free", Feature(kind="category", levels=["rent", "own"]))
    (1, None)
    """
    levels = levels_of(feature)
    for position, level in enumerate(levels):
        if level == value and isinstance(level, str) == isinstance(value, str):
            return position
    spelling = _spelling(value)
    for position, level in enumerate(levels):
        if _spelling(level) == spelling:
            return position
    return None


def _spelling(value: Value) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def format_value(value: Value, feature: Feature) -> str:
    """Return a value as text that `parse_value` reads back to an equal value.

    Numbers are written with their shortest exact digits, whole ones without a point; a level as it stands in the
    policy; a missing value as the empty text.

    Examples
    --------
    >>> from recourse.policy import Feature
    >>> format_value(46500.0, Feature(kind="number")), format_value(0.1, Feature(kind="number"))
    ('46500', '0.1')
    """
    if value is None:
        return ""
    if feature.listed:
        position = position_of(value, feature)
        return str(value) if position is None else str(levels_of(feature)[position])
    if isinstance(value, float):
        return number_text(value)
    return str(int(value)) if isinstance(value, bool) else str(value)


def number_text(value: float) -> str:
    """Return a float's shortest exact digits, without a point where it is whole.

    Examples
    --------
    >>> number_text(80.0), number_text(0.1)
    ('80', '0.1')
    """
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT else str(value)


def parse_value(text: str, feature: Feature) -> Value:
    """Return the value that a text stands for: a level of the policy, a whole number, or a float.

    Raises
    ------
    DataError
        If the text is no level of the feature, or no finite number.

    Examples
    --------
    >>> from recourse.policy import Feature
    >>> parse_value("46500", Feature(kind="number")), parse_value("0.1", Feature(kind="number"))
    (46500, 0.1)
    """
    if feature.listed:
        for level in levels_of(feature):
            if str(level) == text:
                return level
        if text == "":
            return None
        known = ", ".join(repr(str(level)) for level in levels_of(feature))
        hint = did_you_mean(text, [str(level) for level in levels_of(feature)])
        raise DataError(f"expected one of the levels {known}, got {text!r}.{hint}")
    if text == "":
        return None
    try:
        number = float(text)
    except ValueError:
        raise DataError(f"expected a number, got {text!r}") from None
    if not math.isfinite(number):
        raise DataError(f"expected a finite number, got {text!r}")
    if number.is_integer() and abs(number) < _EXACT:
        return int(number)
    return number
