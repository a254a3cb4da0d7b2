"""What a tree ensemble says of rows, in plain numpy and by definition; the search shares none of this code."""

from __future__ import annotations

from typing import Any

import numpy as np

from .trees import Trees

CHUNK = 1 << 20  # cells of (row, tree) that walk together


def leaves(trees: Trees, matrix: np.ndarray, first: int = 0, last: int | None = None) -> np.ndarray:
    """Return the node at which every row ends in trees ``first:last``: int64[n_rows, n_trees]."""
    roots = trees.roots[first:last].astype(np.int64)
    n = len(matrix)
    cells = matrix.astype(np.float32).astype(np.float64) if trees.cast_single else np.asarray(matrix, np.float64)
    out = np.empty((n, len(roots)), dtype=np.int64)
    step = max(1, CHUNK // max(1, len(roots)))
    for start in range(0, n, step):
        part = cells[start : start + step]
        out[start : start + step] = _walk(trees, part, roots)
    return out


def evaluate(trees: Trees, matrix: np.ndarray) -> np.ndarray:
    """Return the raw score of every row, added exactly as `Trees` says: float64[n_rows]."""
    kind: Any = np.float32 if trees.single else np.float64
    ends = leaves(trees, matrix)
    total: Any = np.full(len(matrix), trees.base, dtype=kind)
    value = trees.value.astype(kind)
    for t in range(trees.n_trees):
        total = total + value[ends[:, t]]
    return np.asarray(total / kind(trees.divisor), dtype=np.float64)


def _walk(trees: Trees, cells: np.ndarray, roots: np.ndarray) -> np.ndarray:
    n = len(cells)
    node = np.tile(roots, n)
    row = np.repeat(np.arange(n), len(roots))
    moving = np.flatnonzero(trees.feature[node] >= 0)
    while len(moving):
        at = node[moving]
        x = cells[row[moving], trees.feature[at]]
        with np.errstate(invalid="ignore"):
            left = ~(x >= trees.threshold[at])
        group = trees.members[at]
        listed = np.flatnonzero(group >= 0)
        if len(listed):
            left[listed] = _in_set(trees.sets, group[listed], x[listed])
        missing = np.isnan(x)
        left[missing] = trees.missing_left[at[missing]]
        at = np.where(left, trees.left[at], trees.right[at])
        node[moving] = at
        moving = moving[trees.feature[at] >= 0]
    return node.reshape(n, len(roots))


def _in_set(sets: np.ndarray, group: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Whether a code is in its node's set; a code outside the table is in none."""
    known = (x >= 0) & (x < sets.shape[1])
    code = np.where(known, x, 0).astype(np.int64)
    return np.asarray(known & sets[group, code])
