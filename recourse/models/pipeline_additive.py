"""Sums on what a pipeline computes, rewritten as sums on its raw columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..errors import UnsupportedModel
from .additive import Additive, Axis, Curve, Pair, Term
from .pipeline_rows import quietly
from .pipeline_steps import Wire
from .pipeline_through import Through
from .pipeline_trees import Table

_LARGEST = float(np.finfo(np.float64).max)
_HUGE = 1e200  # no score is made of larger numbers
_FAR = 2.0**100  # so far out a mean does not count, and a slope is exact to its last digit


def add_up(core: Additive, tables: Mapping[int, Table], through: Through, missing: np.ndarray) -> Additive:
    """Return the sum on raw columns.

    All terms of one column of levels become one term. On a number, bins of what the steps compute become bins of the
    raw column; a weight stays a weight where the steps only shift and scale, else it becomes a weight on the curve that
    the steps compute.

    Parameters
    ----------
    core : Additive
        On the outputs.
    tables : mapping
        Output to its table.
    through : Through
    missing : bool[n_columns]
        Whether the pipeline takes missing values in a raw column.
    """
    terms: list[Term] = []
    levels: dict[int, np.ndarray] = {}  # column -> what its codes and a missing value add
    steps: dict[int, np.ndarray] = {}  # column -> what its pieces and a missing value add
    intercept, scale = core.intercept, core.scale
    for term in core.terms:
        table, wire = tables[term.column], through.wires[term.column]
        with np.errstate(invalid="ignore", over="ignore"):
            added = term.at(table.value)
        if table.borders is None:
            levels[table.column] = levels.get(table.column, 0.0) + added
        elif term.weight is None or table.stepped:
            steps[table.column] = steps.get(table.column, 0.0) + added
        elif wire.affine and term.curve is None:
            slope, shift = _line(wire)
            intercept += term.weight * shift
            scale += 2.0 * abs(term.weight * shift)
            gone = added[-1] - term.weight * shift  # the constant part is in the intercept
            terms.append(Term(table.column, weight=term.weight * slope, missing=float(gone)))
        else:
            terms.append(
                replace(term, column=table.column, curve=_curve(term.curve, wire, table, through), missing=added[-1])
            )
    pairs = []
    for pair in core.pairs:
        first, second = tables[pair.first.column], tables[pair.second.column]
        a, b = pair.first.at(first.value), pair.second.at(second.value)
        if first.column == second.column:
            grouped = levels if first.borders is None else steps
            both = np.where((a < 0) | (b < 0), np.nan, pair.values[a, b])
            grouped[first.column] = grouped.get(first.column, 0.0) + both
        else:
            pairs.append(Pair(_axis(first, a, missing), _axis(second, b, missing), pair.values[np.ix_(a, b)]))
    borders = {table.column: table.borders for table in tables.values()}
    terms += [Term(j, levels=part[:-1], missing=float(part[-1])) for j, part in levels.items()]
    terms += [_binned(j, borders[j], part) for j, part in steps.items()]
    terms = [t if missing[t.column] else replace(t, missing=np.nan) for t in sorted(terms, key=lambda t: t.column)]
    return replace(
        core, columns=through.rows.columns, intercept=intercept, terms=tuple(terms), pairs=tuple(pairs), scale=scale
    )


def _binned(column: int, borders: np.ndarray | None, added: np.ndarray) -> Term:
    """A term of bins, neighbours that add the same joined."""
    assert borders is not None
    values, change = added[:-1], np.flatnonzero(np.diff(added[:-1]) != 0)
    return Term(
        column,
        edges=borders[change],
        values=values[np.append(change, len(values) - 1)],
        missing=float(added[-1]),
    )


def _axis(table: Table, row: np.ndarray, missing: np.ndarray) -> Axis:
    """One row of a pair's table for each piece or code, and the last for a missing value."""
    last = len(row) - 1 if missing[table.column] and row[-1] >= 0 else -1
    if table.borders is None:
        return Axis(table.column, levels=np.arange(len(row) - 1), missing=last)
    return Axis(table.column, edges=table.borders, missing=last)


def _line(wire: Wire) -> tuple[float, float]:
    """Slope and value at 0 of an output that is a straight line."""
    y = _computed(wire)(np.array([0.0, -_FAR, _FAR]))
    return float((y[2] - y[1]) / (2.0 * _FAR)), float(y[0])


def _curve(outer: Curve | None, wire: Wire, table: Table, through: Through) -> Curve:
    """What the steps make of a number, where they take it; beyond, what they make of the nearest one they take."""
    name = through.rows.columns[table.column].name
    black = "The pipeline can be explained as a black box, without proofs: black_box=True"
    if wire.maps is None:
        raise UnsupportedModel(
            f"sklearn.Pipeline: an imputer replaces a number in {name!r}, of which a linear model then takes a weight; "
            f"that is no curve. Write missing values as NaN. {black}"
        )
    assert table.borders is not None
    assert table.last is not None
    fine = np.flatnonzero(np.isfinite(table.value[:-1]) | np.isfinite(table.last))
    ends = np.stack([table.value[fine], table.last[fine]], axis=1).reshape(-1)
    rises = np.diff(ends)
    if not len(fine) or np.any(np.diff(fine) != 1) or (np.any(rises < 0) and np.any(rises > 0)):
        raise UnsupportedModel(
            f"sklearn.Pipeline: its steps turn the numbers of {name!r} up and down again, and a linear model takes a "
            f"weight of what they give. {black}"
        )
    low = np.append(-_LARGEST, table.borders)[fine[0]]
    high = np.append(np.nextafter(table.borders, -np.inf), _LARGEST)[fine[-1]]
    inner = _computed(wire)

    def curve(x: np.ndarray) -> np.ndarray:
        y = np.clip(inner(np.clip(x, low, high)), -_HUGE, _HUGE)
        return y if outer is None else outer(y)

    return curve


def _computed(wire: Wire) -> Curve:
    """What the steps make of numbers in a raw column."""
    maps = wire.maps
    assert maps is not None

    def curve(x: np.ndarray) -> np.ndarray:
        y = np.array(x, dtype=np.float64)
        with quietly(finite=True):
            for function in maps:
                y = function(y)
        return y

    return curve
