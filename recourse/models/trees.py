"""A tree ensemble as neutral arrays that reproduce the native library's raw score bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import Column


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """Nodes of all trees in one set of arrays; a subtree may be shared (the arrays are a DAG).

    A number goes right when ``cast(x) >= threshold``; readers of libraries that test ``x <= t`` store the next
    representable value above ``t``. A category goes left when its code is in the node's set. A missing value (NaN)
    follows ``missing_left``. The raw score is ``(base + leaf_1 + ... + leaf_T) / divisor``, added one tree after the
    other in the order of ``roots``, each partial sum rounded to float32 when ``single``.

    A larger raw score is always better for the applicant: readers negate when the favourable class is the other one.
    """

    columns: tuple[Column, ...]  # the model's inputs, in native order
    feature: np.ndarray  # int32[n_nodes], column of the test; -1 at a leaf
    threshold: np.ndarray  # float64[n_nodes], NaN at leaves and category tests
    members: np.ndarray  # int32[n_nodes], row of `sets`; -1 where the test is numeric
    sets: np.ndarray  # bool[n_sets, max(1, largest number of levels)], True: this code goes left
    missing_left: np.ndarray  # bool[n_nodes]
    left: np.ndarray  # int32[n_nodes]
    right: np.ndarray  # int32[n_nodes]
    value: np.ndarray  # float64[n_nodes], the leaf's exact native contribution
    roots: np.ndarray  # int32[n_trees]
    base: float
    divisor: float = 1.0
    single: bool = False  # partial sums are rounded to float32
    cast_single: bool = False  # inputs are rounded to float32 before they are compared

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.roots)

    @property
    def eps(self) -> float:
        """Bound on |native raw score - exact sum| times `divisor`, for pruning boxes (never for deciding points)."""
        unit = 2.0**-24 if self.single else 2.0**-53
        largest = np.zeros(len(self.value))
        largest[self.feature < 0] = np.abs(self.value[self.feature < 0])
        total = abs(self.base) + sum(_largest_leaf(self, largest))
        return float(4.0 * unit * (self.n_trees + 2) * total + 2.0**-52 * total * (self.n_trees + 2))


def _largest_leaf(trees: Trees, largest: np.ndarray) -> list[float]:
    """Largest absolute leaf value below each root."""
    out = []
    for root in trees.roots:
        stack, seen, best = [int(root)], set(), 0.0
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if trees.feature[node] < 0:
                best = max(best, float(largest[node]))
            else:
                stack += [int(trees.left[node]), int(trees.right[node])]
        out.append(best)
    return out
