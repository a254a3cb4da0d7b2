"""Nodes of trees, collected one by one and laid out as `Trees`."""

from __future__ import annotations

import math

import numpy as np

from .base import Column
from .trees import Trees


class TreeBuilder:
    """Collects nodes; a child may come before or after its parent, and may have several.

    Examples
    --------
    >>> builder = TreeBuilder((Column("income"),))
    >>> low, high = builder.leaf(-1.0), builder.leaf(1.0)
    >>> builder.root(builder.number(0, 30.0, low, high, missing_left=True))
    >>> trees = builder.trees(base=0.0)
    >>> trees.n_trees, trees.threshold[2]
    (1, np.float64(30.0))
    """

    def __init__(self, columns: tuple[Column, ...]) -> None:
        self._columns = columns
        self._width = max([1, *(column.n_codes for column in columns)])
        self._feature: list[int] = []
        self._threshold: list[float] = []
        self._members: list[int] = []
        self._missing_left: list[bool] = []
        self._left: list[int] = []
        self._right: list[int] = []
        self._value: list[float] = []
        self._leaf_id: list[int] = []
        self._sets: dict[bytes, int] = {}
        self._rows: list[np.ndarray] = []
        self._roots: list[int] = []

    def leaf(self, value: float, number: int = -1) -> int:
        """Add a leaf, with the library's number for it; return its place."""
        at = self._node(-1, math.nan, -1, False, -1, -1)
        self._value[at], self._leaf_id[at] = value, number
        return at

    def number(self, column: int, threshold: float, left: int, right: int, *, missing_left: bool) -> int:
        """Add a test: ``x >= threshold`` goes right."""
        return self._node(column, threshold, -1, missing_left, left, right)

    def members(self, column: int, codes: np.ndarray, left: int, right: int, *, missing_left: bool) -> int:
        """Add a test: a code for which ``codes`` (bool[n_codes]) is true goes left."""
        row = np.zeros(self._width, dtype=bool)
        row[: len(codes)] = codes
        key = row.tobytes()
        if key not in self._sets:
            self._sets[key] = len(self._rows)
            self._rows.append(row)
        return self._node(column, math.nan, self._sets[key], missing_left, left, right)

    def root(self, node: int) -> None:
        """End a tree, which begins at this node."""
        self._roots.append(node)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self._columns)

    @property
    def leaf_id(self) -> np.ndarray:
        """int64[n_nodes], the library's number of each leaf, -1 elsewhere."""
        return np.array(self._leaf_id, dtype=np.int64)

    def trees(self, *, base: float, divisor: float = 1.0, single: bool = False, cast_single: bool = False) -> Trees:
        """Return the ensemble."""
        return Trees(
            columns=self._columns,
            feature=np.array(self._feature, np.int32),
            threshold=np.array(self._threshold, np.float64),
            members=np.array(self._members, np.int32),
            sets=np.array(self._rows, dtype=np.bool_).reshape(len(self._rows), self._width),
            missing_left=np.array(self._missing_left, np.bool_),
            left=np.array(self._left, np.int32),
            right=np.array(self._right, np.int32),
            value=np.array(self._value, np.float64),
            roots=np.array(self._roots, np.int32),
            base=base,
            divisor=divisor,
            single=single,
            cast_single=cast_single,
        )

    def _node(self, feature: int, threshold: float, members: int, missing_left: bool, left: int, right: int) -> int:
        self._feature.append(feature)
        self._threshold.append(threshold)
        self._members.append(members)
        self._missing_left.append(missing_left)
        self._left.append(left)
        self._right.append(right)
        self._value.append(0.0)
        self._leaf_id.append(-1)
        return len(self._feature) - 1


def next_single(x: float) -> float:
    """Return the smallest float32 above a number."""
    with np.errstate(over="ignore"):  # beyond the largest float32 comes infinity, which no value reaches
        near = np.float32(x)
        return float(near) if float(near) > x else float(np.nextafter(near, np.float32(np.inf)))
