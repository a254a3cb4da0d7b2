"""Where columns of data are not what the policy says of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._columns import exact, likely_codes, number_text, on_grid, sounds_protected
from ..errors import InputError, did_you_mean
from ..policy.values import plain
from ..population import read_numbers
from .finding import NAMED, Finding, error, listed, rows_like, warning

if TYPE_CHECKING:
    from ..policy import Feature, Policy


def features_alone(policy: Policy) -> Iterator[Finding]:
    """Yield what can be read off single features."""
    if not policy.movable and policy.time is None:
        yield warning(
            None,
            "nothing is actionable: no feature has the role action, so no applicant has a plan. Free at least one.",
        )
    for name in policy.movable:
        feature = policy.features[name]
        if sounds_protected(name):
            yield warning(
                name, 'sounds like a protected characteristic, but is an action. Is role = "protected" meant?'
            )
        if feature.levels is not None:
            if feature.provide is None and not any(feature.targets(p) for p in range(len(feature.levels))):
                yield warning(name, "its moves lead nowhere: no level reaches another. Add moves, or make it fixed.")
        elif feature.step is not None and feature.step_from == "zero" and _no_value(feature):
            low, high = number_text(feature.min or 0.0), number_text(feature.max or 0.0)
            yield warning(name, f"no multiple of the step {feature.step} lies between min {low} and max {high}.")


def _no_value(feature: Feature) -> bool:
    if feature.min is None or feature.max is None or feature.step is None:
        return False
    step = Fraction(feature.step)
    return math.ceil(exact(feature.min) / step) > math.floor(exact(feature.max) / step)


def against_data(policy: Policy, table: pd.DataFrame) -> Iterator[Finding]:
    """Yield where single columns are not what the policy says."""
    for name, feature in policy.features.items():
        if name in policy.groups.columns or (feature.role == "derived" and name not in table.columns):
            continue  # columns of their own, or computed
        if name not in table.columns:
            yield error(name, f"the data has no column {name!r}.{did_you_mean(name, table.columns)}")
        elif feature.listed:
            yield from _levels(name, feature, table[name])
        else:
            try:
                values = read_numbers(table[name], name)
            except InputError as fault:
                yield error(name, str(fault))
            else:
                yield from _numbers(name, feature, values, table[name])


def _levels(name: str, feature: Feature, column: pd.Series[Any]) -> Iterator[Finding]:
    assert feature.levels is not None
    which, found = pd.factorize(column.astype(object), use_na_sentinel=True)
    places = [feature.position(value) for value in found]
    unknown = [i for i, place in enumerate(places) if place is None]
    for i in unknown[:NAMED]:
        where = rows_like(column, np.flatnonzero(which == i))
        guess = did_you_mean(str(found[i]), map(str, feature.levels))
        what = f"{plain(found[i])!r} is not among the policy's levels ({where}).{guess}"
        yield error(name, f"{what} Add the level, or correct the data.")
    if len(unknown) > NAMED:
        yield error(name, f"{len(unknown) - NAMED:,} more values are not among the policy's levels.")
    seen = set(places)
    never = [level for position, level in enumerate(feature.levels) if position not in seen]
    if never and len(column):
        yield warning(name, f"{listed(never)} never occurs in the data.")


def _numbers(name: str, feature: Feature, values: np.ndarray, column: pd.Series[Any]) -> Iterator[Finding]:
    coded = np.isin(values, np.array(feature.code_values))
    real = ~np.isnan(values) & ~coded
    for code in likely_codes(values[real]) if feature.min is None or feature.min >= 0 else ():
        rows = np.flatnonzero(values == code)
        text = number_text(code)
        yield warning(
            name,
            f"{text} looks like a code ({rows_like(column, rows)}), but is read as a number. "
            f'If it is one, declare codes = {{ "{text}" = "its meaning" }}.',
        )
    if not feature.movable:
        return
    for side, wrong in (("min", values < _or(feature.min, -math.inf)), ("max", values > _or(feature.max, math.inf))):
        rows = np.flatnonzero(wrong & real)
        if len(rows):
            bound = number_text(float(getattr(feature, side)))
            where = "below" if side == "min" else "above"
            yield warning(
                name,
                f"{where} {side} {bound}: {rows_like(column, rows, values)}. Staying there is allowed.",
            )
    if feature.step is not None and feature.step_from == "zero":
        distinct = np.unique(values[real])
        off = distinct[[not on_grid(value, feature.step) for value in distinct.tolist()]] if len(distinct) else distinct
        rows = np.flatnonzero(np.isin(values, off) & real)
        if len(rows):
            yield warning(
                name,
                f"off the grid of {number_text(feature.step)}: {rows_like(column, rows, values)}. A change lands on "
                'the grid; with step_from = "applicant" it keeps the remainder.',
            )
    if real.any() and _stuck(feature, values[real]):
        yield warning(name, "no applicant can move: all stand at the bound that change leads to.")


def _stuck(feature: Feature, values: np.ndarray) -> bool:
    if feature.change == "up":
        return feature.max is not None and bool(values.min() >= feature.max)
    return feature.change == "down" and feature.min is not None and bool(values.max() <= feature.min)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
