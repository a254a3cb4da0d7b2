"""Additive models as trees: what bins, levels and pairs add, exactly; weights and curves on values that are listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..models.additive import Additive, Axis, Pair, Term
from ..models.trees import Trees


class Planter:
    """Writes trees node by node, over the columns of one model."""

    def __init__(self) -> None:
        self.feature: list[int] = []
        self.threshold: list[float] = []
        self.members: list[int] = []
        self.missing: list[bool] = []
        self.left: list[int] = []
        self.right: list[int] = []
        self.value: list[float] = []
        self.roots: list[int] = []
        self.sets: list[np.ndarray] = []

    def leaf(self, value: float) -> int:
        """Write a leaf and return its number."""
        return self._node(-1, np.nan, -1, missing_left=False, value=value)

    def missing_or(self, column: int, missing: Callable[[], int], known: Callable[[], int]) -> int:
        """Write a test that only a missing value passes to the left."""
        here = self._node(column, -np.inf, -1, missing_left=True)
        self.left[here], self.right[here] = missing(), known()
        return here

    def split(self, column: int, threshold: float, below: Callable[[], int], reaching: Callable[[], int]) -> int:
        """Write a test on a number."""
        here = self._node(column, threshold, -1, missing_left=False)
        self.left[here], self.right[here] = below(), reaching()
        return here

    def choose(self, column: int, members: np.ndarray, inside: Callable[[], int], outside: Callable[[], int]) -> int:
        """Write a test on a level."""
        self.sets.append(members)
        here = self._node(column, np.nan, len(self.sets) - 1, missing_left=False)
        self.left[here], self.right[here] = inside(), outside()
        return here

    def bins(self, column: int, edges: np.ndarray, below: Callable[[int], int], first: int = 0) -> int:
        """Write a balanced tree over the bins between edges; `below(i)` writes what hangs below bin i."""
        if not len(edges):
            return below(first)
        middle = len(edges) // 2
        return self.split(
            column,
            float(edges[middle]),
            lambda: self.bins(column, edges[:middle], below, first),
            lambda: self.bins(column, edges[middle + 1 :], below, first + middle + 1),
        )

    def levels(self, column: int, codes: Sequence[int], width: int, below: Callable[[int], int]) -> int:
        """Write a balanced tree over the levels of a category; `below(code)` writes what hangs below one."""
        if len(codes) == 1:
            return below(codes[0])
        half = len(codes) // 2
        chosen = np.zeros(width, np.bool_)
        chosen[list(codes[:half])] = True
        return self.choose(
            column,
            chosen,
            lambda: self.levels(column, codes[:half], width, below),
            lambda: self.levels(column, codes[half:], width, below),
        )

    def _node(self, feature: int, threshold: float, members: int, *, missing_left: bool, value: float = 0.0) -> int:
        self.feature.append(feature)
        self.threshold.append(threshold)
        self.members.append(members)
        self.missing.append(missing_left)
        self.left.append(0)
        self.right.append(0)
        self.value.append(value)
        return len(self.feature) - 1

    def trees(self, core: Additive) -> Trees:
        """Return what was written."""
        width = max([1, *(len(part) for part in self.sets)])
        sets = np.zeros((len(self.sets), width), np.bool_)
        for i, part in enumerate(self.sets):
            sets[i, : len(part)] = part
        return Trees(
            columns=core.columns,
            feature=np.array(self.feature, np.int32),
            threshold=np.array(self.threshold, np.float64),
            members=np.array(self.members, np.int32),
            sets=sets,
            missing_left=np.array(self.missing, np.bool_),
            left=np.array(self.left, np.int32),
            right=np.array(self.right, np.int32),
            value=np.array(self.value, np.float64),
            roots=np.array(self.roots, np.int32),
            base=core.intercept,
        )


def is_smooth(term: Term) -> bool:
    """Whether a term tells every two numbers apart."""
    return term.weight is not None


def stepped(core: Additive, listed: Mapping[int, np.ndarray]) -> Trees:
    """Return what an additive model's terms add, as trees; smooth terms only where their numbers are listed.

    What the model refuses adds NaN.

    Parameters
    ----------
    core : Additive
    listed : mapping
        Column -> all numbers that it ever holds, for those of which there are few.
    """
    planter = Planter()
    for column in sorted({term.column for term in core.terms}):
        terms = [t for t in core.terms if t.column == column and (not is_smooth(t) or column in listed)]
        if terms:
            planter.roots.append(_column(planter, column, terms, listed.get(column)))
    for pair in core.pairs:
        planter.roots.append(_pair(planter, pair))
    return planter.trees(core)


def _column(planter: Planter, column: int, terms: Sequence[Term], numbers: np.ndarray | None) -> int:
    """Write one tree for all terms of a column."""

    def leaf(x: float) -> int:
        return planter.leaf(float(sum(term.at(np.array([x]))[0] for term in terms)))

    def known() -> int:
        tables = [term.levels for term in terms if term.levels is not None]
        if tables:
            width = min(len(table) for table in tables)
            return planter.levels(column, range(width), width, lambda code: leaf(float(code)))
        if numbers is not None:
            values = np.unique(numbers[~np.isnan(numbers)])
            return planter.bins(column, values[1:], lambda i: leaf(float(values[i])))
        edges = np.unique(np.concatenate([term.edges for term in terms if term.edges is not None]))
        inside = np.append(np.nextafter(edges[:1], -np.inf), edges) if len(edges) else np.zeros(1)
        return planter.bins(column, edges, lambda i: leaf(float(inside[i])))

    return planter.missing_or(column, lambda: leaf(np.nan), known)


def _pair(planter: Planter, pair: Pair) -> int:
    """Write one tree for a pair: the first column's rows, below each the second's."""

    def second(row: int) -> int:
        def leaf(column: int) -> int:
            inside = row >= 0 and column >= 0
            return planter.leaf(float(pair.values[row, column]) if inside else np.nan)

        return _axis(planter, pair.second, leaf)

    return _axis(planter, pair.first, second)


def _axis(planter: Planter, axis: Axis, below: Callable[[int], int]) -> int:
    def known() -> int:
        if axis.levels is not None:
            rows = axis.levels
            return planter.levels(axis.column, range(len(rows)), len(rows), lambda code: below(int(rows[code])))
        assert axis.edges is not None
        return planter.bins(axis.column, axis.edges, below)

    return planter.missing_or(axis.column, lambda: below(axis.missing), known)
