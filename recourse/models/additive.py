"""A sum of terms, each of one column or of two, as neutral arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..errors import UnsupportedModel
from .base import Column

Curve = Callable[[np.ndarray], np.ndarray]
_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """What one column adds to the raw score; exactly one of `weight`, `edges` with `values`, and `levels` is given.

    A number adds ``weight * x``, or ``weight * curve(x)``, or ``values[number of edges <= x]``; a category adds the
    value of its code. Several terms may share a column. Edges stand for raw doubles: readers of libraries that test
    ``x <= t`` store the next double above ``t``, and a code in the middle of numbers is a bin between two edges.
    """

    column: int
    weight: float | None = None
    edges: np.ndarray | None = None  # float64[k], ascending
    values: np.ndarray | None = None  # float64[k + 1]
    levels: np.ndarray | None = None  # float64[n_levels], by code
    missing: float = np.nan  # what a missing value adds; NaN: the model takes none
    curve: Curve | None = None  # a monotone map of many raw numbers at once, as the library computes it

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return what the term adds for each number (or code) of x; NaN in x is missing."""
        known = ~np.isnan(x)
        out = np.full(len(x), self.missing)
        if self.levels is not None:
            out[known] = self.levels[x[known].astype(np.int64)]
        elif self.values is not None:
            out[known] = self.values[np.searchsorted(_given(self.edges), x[known], side="right")]
        else:
            out[known] = _given(self.weight) * (x[known] if self.curve is None else self.curve(x[known]))
        return out

    def range(self, low: float, high: float) -> tuple[float, float]:
        """Return bounds on what the term adds for numbers from low to high, for any level, and for missing."""
        if self.levels is not None:
            ends = self.levels
        elif self.values is not None:
            first, last = np.searchsorted(_given(self.edges), [low, high], side="right")
            ends = self.values[first : last + 1]
        else:
            ends = self.at(np.array([low, high]))
        ends = np.append(ends, self.missing) if not np.isnan(self.missing) else ends
        return float(ends.min()), float(ends.max())


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """How one column is cut into the rows (or columns) of a pair's table: by edges, or by level."""

    column: int
    edges: np.ndarray | None = None  # float64[k], ascending: a number lies in row "number of edges <= x"
    levels: np.ndarray | None = None  # int64[n_levels]: the row of each code
    missing: int = -1  # row of a missing value; -1: the model takes none

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the row of each number (or code) of x."""
        known = ~np.isnan(x)
        out = np.full(len(x), self.missing, dtype=np.int64)
        if self.levels is not None:
            out[known] = self.levels[x[known].astype(np.int64)]
        else:
            out[known] = np.searchsorted(_given(self.edges), x[known], side="right")
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """What two different columns add together: ``values[first.at(x_first), second.at(x_second)]``."""

    first: Axis
    second: Axis
    values: np.ndarray  # float64[rows of first, rows of second]

    def at(self, matrix: np.ndarray) -> np.ndarray:
        """Return what the pair adds for each row of a matrix of the model's columns."""
        a, b = self.first.at(matrix[:, self.first.column]), self.second.at(matrix[:, self.second.column])
        return np.where((a < 0) | (b < 0), np.nan, self.values[a, b])


@dataclass(frozen=True, slots=True, eq=False)
class Additive:
    """Raw score = ``intercept + terms + pairs``, within `eps(x)` of the native library's.

    A larger raw score is always better for the applicant: readers negate when the favourable class is the other one.
    A linear model is `Additive.linear`; its `weights` are what it was made of.

    Examples
    --------
    >>> income = Term(0, weight=0.5)
    >>> age = Term(1, edges=np.array([25.0, 60.0]), values=np.array([-1.0, 0.0, 0.5]), missing=-0.2)
    >>> core = Additive((Column("income"), Column("age")), -1.0, (income, age))
    >>> core.evaluate(np.array([[2.0, 24.0], [2.0, 60.0], [4.0, np.nan]]))
    array([-1. ,  0.5,  0.8])
    """

    columns: tuple[Column, ...]  # the model's inputs, in native order
    intercept: float
    terms: tuple[Term, ...]
    pairs: tuple[Pair, ...] = ()
    scale: float = 0.0  # largest size of what the library adds and takes away again (a mean, say), for `eps`
    unit: float = 2.0**-53  # of the library's rounding; 2**-24 where it adds in float32

    @classmethod
    def linear(cls, columns: tuple[Column, ...], weights: np.ndarray, intercept: float) -> Additive:
        """Return the core of a linear model: one weight for each column, which are all numeric."""
        weights = np.asarray(weights, dtype=np.float64)
        return cls(columns, float(intercept), tuple(Term(j, weight=float(w)) for j, w in enumerate(weights)))

    @property
    def is_linear(self) -> bool:
        """Whether all terms are weights of numbers as they are."""
        return not self.pairs and all(t.weight is not None and t.curve is None for t in self.terms)

    @property
    def weights(self) -> np.ndarray:
        """float64[n_columns], the weights of a linear model.

        Raises
        ------
        UnsupportedModel
            If there are terms that are no weights.
        """
        if not self.is_linear:
            raise UnsupportedModel("a model with bins, levels, curves or pairs has no weights; use its terms")
        out = np.zeros(len(self.columns))
        for term in self.terms:
            out[term.column] += _given(term.weight)
        return out

    @property
    def used(self) -> np.ndarray:
        """bool[n_columns], whether the raw score depends on a column at all."""
        out = np.zeros(len(self.columns), dtype=bool)
        for term in self.terms:
            steps = term.levels if term.values is None else term.values
            steps = np.array([0.0, _given(term.weight)]) if steps is None else steps
            if not np.isnan(term.missing) and steps is not None:
                steps = np.append(steps, term.missing)
            out[term.column] |= bool(np.any(steps != steps[0]))
        for pair in self.pairs:
            out[pair.first.column] |= bool(np.any(pair.values != pair.values[:1]))
            out[pair.second.column] |= bool(np.any(pair.values != pair.values[:, :1]))
        return out

    def evaluate(self, matrix: np.ndarray) -> np.ndarray:
        """Return our raw score of every row: float64[n_rows]; NaN where a value is missing that may not be."""
        total = np.full(len(matrix), self.intercept)
        for term in self.terms:
            total += term.at(matrix[:, term.column])
        for pair in self.pairs:
            total += pair.at(matrix)
        return total

    def range(self, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
        """Return bounds on the raw score of all rows whose numbers lie between low and high, rounding apart."""
        ends = [term.range(low[term.column], high[term.column]) for term in self.terms]
        ends += [(float(pair.values.min()), float(pair.values.max())) for pair in self.pairs]
        return self.intercept + sum(a for a, _ in ends), self.intercept + sum(b for _, b in ends)

    def eps(self, magnitude: np.ndarray) -> float:
        """Bound on |native - ours| for rows with ``|x_j| <= magnitude[j]`` (any order of summation)."""
        total = abs(self.intercept) + self.scale
        for term in self.terms:
            total += max(map(abs, term.range(-magnitude[term.column], magnitude[term.column])))
        for pair in self.pairs:
            total += float(np.abs(pair.values).max())
        return float(4.0 * (len(self.terms) + len(self.pairs) + 2) * self.unit * total)


def _given(part: _Part | None) -> _Part:
    assert part is not None
    return part
