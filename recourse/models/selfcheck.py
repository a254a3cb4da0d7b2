"""Probes that reach every split of a tree ensemble, on which our reading must equal the native library bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import SelfCheckFailed
from .evaluate import evaluate, leaves
from .trees import Trees

GROUP_NODES = 512  # trees are probed in groups of about so many nodes
SAMPLE = 1024  # probes on which the whole ensemble is scored
MAX_LEVELS = 64  # levels probed per category split


@dataclass(frozen=True, slots=True, eq=False)
class Native:
    """What the native library says of a matrix (codes, NaN is missing); all of it about the favourable class.

    `leaves(matrix, first, last)` gives its own numbers of the leaves in trees ``first:last``, of which `leaf_id` is
    the one of each node of ours; `values(matrix, tree)` gives one tree's contributions. Either is None where the
    library has no such call.
    """

    raw: Callable[[np.ndarray], np.ndarray]
    score: Callable[[np.ndarray], np.ndarray]
    squash: Callable[[np.ndarray], np.ndarray]
    leaves: Callable[[np.ndarray, int, int], np.ndarray] | None = None
    leaf_id: np.ndarray | None = None  # int64[n_nodes]
    values: Callable[[np.ndarray, int], np.ndarray] | None = None
    missing: bool = True  # whether the model takes missing values at all


def self_check(name: str, trees: Trees, native: Native) -> str:
    """Compare our reading with the native library on probes built to reach every split.

    The probes stand on each threshold and one representable number to either side of it, on missing values, and on
    every level of a category split (on 64 of them where there are more). Each group of trees is compared leaf by leaf
    and value by value, the whole ensemble on an even sample of the probes: raw scores, then scores through `squash`.

    Parameters
    ----------
    name : str
        The model's name, for messages.
    trees : Trees
        What was read.
    native : Native
        The library's own answers.

    Returns
    -------
    str
        What was compared, for an outcome's provenance: ``"1,284 probes equal (leaves, values, raw scores, scores)"``.

    Raises
    ------
    SelfCheckFailed
        On the first difference of a single bit.
    """
    rng = np.random.default_rng(0)
    n_probes = 0
    sample: list[np.ndarray] = []
    share = SAMPLE / max(1, 3 * int(np.count_nonzero(trees.feature >= 0)))
    for first, last, rows in probes(trees, rng, missing=native.missing):
        n_probes += len(rows)
        ends = leaves(trees, rows, first, last)
        if native.leaves is not None:
            _compare_leaves(name, trees, native, rows, ends, first, last)
        if native.values is not None:
            _compare_values(name, trees, native, rows, ends, first)
        keep = min(len(rows), int(np.ceil(len(rows) * share)))
        sample.append(rows[rng.permutation(len(rows))[:keep]])
    matrix = np.concatenate(sample) if sample else np.zeros((1, len(trees.columns)))
    raw = native.raw(matrix)
    _equal(name, "raw score", evaluate(trees, matrix), raw)
    _equal(name, "score", native.squash(raw), native.score(matrix))
    _rising(name, native, raw)
    parts = ["leaves"] * (native.leaves is not None) + ["values"] * (native.values is not None)
    return f"{max(1, n_probes):,} probes equal ({', '.join([*parts, 'raw scores', 'scores'])})"


def probes(
    trees: Trees, rng: np.random.Generator, *, missing: bool | np.ndarray = True
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield ``(first, last, matrix)``: rows that reach every reachable split of trees ``first:last``.

    `missing` says whether values may be missing, for all columns or for each.
    """
    sizes = np.diff(np.append(trees.roots, len(trees.feature)))
    sizes = np.where(sizes > 0, sizes, len(trees.feature))
    pools = _pools(trees)
    first = 0
    while first < trees.n_trees:
        last, nodes = first + 1, int(sizes[first])
        while last < trees.n_trees and nodes + int(sizes[last]) <= GROUP_NODES:
            nodes += int(sizes[last])
            last += 1
        yield first, last, _descend(trees, first, last, pools, rng, missing=missing)
        first = last


@dataclass(slots=True, eq=False)
class _Cells:
    """The nodes of one depth with the part of the input space that leads to each."""

    node: np.ndarray  # int64[k]
    low: np.ndarray  # float64[k, d], smallest number of the input type that leads here
    high: np.ndarray  # float64[k, d], largest
    missing: np.ndarray  # bool[k, d], whether a missing value leads here
    codes: np.ndarray  # bool[k, n_categorical, n_levels]

    def pick(self, index: np.ndarray) -> _Cells:
        return _Cells(
            self.node[index], self.low[index], self.high[index], self.missing[index], self.codes[index]
        )  # fmt: skip


def _descend(
    trees: Trees, first: int, last: int, pools: _Pools, rng: np.random.Generator, *, missing: bool | np.ndarray
) -> np.ndarray:
    d = len(trees.columns)
    places = np.full(d, -1)
    levels = [c.n_codes for c in trees.columns if c.levels is not None]
    places[[j for j, c in enumerate(trees.columns) if c.levels is not None]] = np.arange(len(levels))
    k = last - first
    limit = float(np.finfo(np.float32 if trees.cast_single else np.float64).max)
    codes = np.zeros((k, len(levels), trees.sets.shape[1] if levels else 0), dtype=bool)
    for place, n in enumerate(levels):
        codes[:, place, :n] = True
    cells = _Cells(
        trees.roots[first:last].astype(np.int64),
        np.full((k, d), -limit),
        np.full((k, d), limit),
        np.full((k, d), missing),
        codes,
    )
    out = [_fill(cells, places, pools, rng)]
    while len(cells.node):
        cells = cells.pick(np.flatnonzero(trees.feature[cells.node] >= 0))
        if not len(cells.node):
            break
        out.append(_on_the_split(trees, cells, places, pools, rng))
        cells = _children(trees, cells, places)
    return np.concatenate(out)


def _children(trees: Trees, cells: _Cells, places: np.ndarray) -> _Cells:
    """Cells of the next depth, without those that no row can reach."""
    k = len(cells.node)
    rows = np.arange(k)
    f = trees.feature[cells.node]
    above, below = _sides(trees, cells.node)
    group = trees.members[cells.node]
    numeric = np.flatnonzero(group < 0)
    listed = np.flatnonzero(group >= 0)
    halves = []
    for left in (True, False):
        part = cells.pick(rows)
        part.node = (trees.left if left else trees.right)[cells.node].astype(np.int64)
        if left:
            part.high[numeric, f[numeric]] = np.minimum(part.high[numeric, f[numeric]], below[numeric])
        else:
            part.low[numeric, f[numeric]] = np.maximum(part.low[numeric, f[numeric]], above[numeric])
        if len(listed):
            inside = trees.sets[group[listed]]
            part.codes[listed, places[f[listed]]] &= inside if left else ~inside
        part.missing[rows, f] &= trees.missing_left[cells.node] == left
        alive = part.low[rows, f] <= part.high[rows, f]
        if len(listed):
            alive[listed] = part.codes[listed, places[f[listed]]].any(axis=1)
        halves.append(part.pick(np.flatnonzero(alive | part.missing[rows, f])))
    a, b = halves
    return _Cells(
        np.concatenate([a.node, b.node]),
        np.concatenate([a.low, b.low]),
        np.concatenate([a.high, b.high]),
        np.concatenate([a.missing, b.missing]),
        np.concatenate([a.codes, b.codes]),
    )


def _on_the_split(
    trees: Trees, cells: _Cells, places: np.ndarray, pools: _Pools, rng: np.random.Generator
) -> np.ndarray:
    """Rows that arrive at each node with the tested value at, or just beside, its border."""
    f = trees.feature[cells.node]
    rows = np.arange(len(cells.node))
    above, below = _sides(trees, cells.node)
    low, high = cells.low[rows, f], cells.high[rows, f]
    numeric = trees.members[cells.node] < 0
    tests = [(above, above), (below, below), (_next(trees, above, np.inf), _next(trees, above, np.inf))]
    if trees.cast_single:
        # a float64 just under the threshold is rounded up to it, and goes right with it
        tests.append((above, np.nextafter(above, -np.inf)))
    index = [np.flatnonzero(numeric & (low <= landing) & (landing <= high)) for landing, _ in tests]
    value = [value[i] for i, (_, value) in zip(index, tests, strict=True)]
    index.append(np.flatnonzero(cells.missing[rows, f]))
    value.append(np.full(len(index[-1]), np.nan))
    listed = np.flatnonzero(~numeric)
    if len(listed):
        which, code = np.nonzero(cells.codes[listed, places[f[listed]]])
        # where a node has more levels than the limit, a random choice of them
        order = np.lexsort((rng.random(len(which)), which))
        which, code = which[order], code[order]
        rank = np.arange(len(which)) - np.searchsorted(which, which)
        index.append(listed[which[rank < MAX_LEVELS]])
        value.append(code[rank < MAX_LEVELS].astype(np.float64))
    chosen = np.concatenate(index)
    matrix = _fill(cells.pick(chosen), places, pools, rng)
    matrix[np.arange(len(chosen)), f[chosen]] = np.concatenate(value)
    return np.asarray(matrix)


def _fill(cells: _Cells, places: np.ndarray, pools: _Pools, rng: np.random.Generator) -> np.ndarray:
    """One row for each cell, with other features at random thresholds or levels as far as the cell allows."""
    shape = cells.low.shape
    drawn = pools.start + (rng.random(shape) * pools.size).astype(np.int64)
    matrix = np.minimum(np.maximum(pools.value[drawn], cells.low), cells.high)
    void = cells.low > cells.high
    for j in np.flatnonzero(places >= 0):
        codes = cells.codes[:, places[j]]
        matrix[:, j] = np.argmax(codes * rng.random(codes.shape), axis=1)
        void[:, j] = ~codes.any(axis=1)
    matrix[void | (cells.missing & (rng.random(shape) < 0.05))] = np.nan
    return np.asarray(matrix)


@dataclass(frozen=True, slots=True, eq=False)
class _Pools:
    """For each column the numbers on both sides of its thresholds: ``value[start[j]:start[j] + size[j]]``."""

    value: np.ndarray
    start: np.ndarray
    size: np.ndarray


def _pools(trees: Trees) -> _Pools:
    tested = np.flatnonzero((trees.feature >= 0) & (trees.members < 0))
    above, below = _sides(trees, tested)
    parts = []
    for j in range(len(trees.columns)):
        mine = trees.feature[tested] == j
        pool = np.unique(np.concatenate([above[mine], below[mine], [0.0]]))
        parts.append(pool[np.isfinite(pool)])
    size = np.array([len(part) for part in parts])
    return _Pools(np.concatenate(parts), np.cumsum(size) - size, size)


def _sides(trees: Trees, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest number of the input type that goes right at each node, and largest that goes left."""
    t = trees.threshold[nodes]
    if not trees.cast_single:
        return t, np.asarray(np.nextafter(t, -np.inf))
    with np.errstate(over="ignore"):
        near = t.astype(np.float32)
        above = np.where(near.astype(np.float64) >= t, near, np.nextafter(near, np.float32(np.inf)))
        return above.astype(np.float64), np.nextafter(above, np.float32(-np.inf)).astype(np.float64)


def _next(trees: Trees, x: np.ndarray, towards: float) -> np.ndarray:
    if not trees.cast_single:
        return np.asarray(np.nextafter(x, towards))
    return np.asarray(np.nextafter(x.astype(np.float32), np.float32(towards)).astype(np.float64))


def _compare_leaves(
    name: str, trees: Trees, native: Native, rows: np.ndarray, ends: np.ndarray, first: int, last: int
) -> None:
    assert native.leaves is not None and native.leaf_id is not None
    theirs = np.asarray(native.leaves(rows, first, last))
    ours = native.leaf_id[ends]
    if theirs.shape != ours.shape:
        raise SelfCheckFailed(f"{name}: the library counts {theirs.shape[1]} trees where {ours.shape[1]} were read")
    bad = np.argwhere(ours != theirs)
    if len(bad):
        row, tree = bad[0]
        raise SelfCheckFailed(
            f"{name}: tree {first + tree} sends the probe {_shown(trees, rows[row])} to leaf {theirs[row, tree]}, "
            f"our reading to leaf {ours[row, tree]}. {REFUSED}"
        )


def _compare_values(name: str, trees: Trees, native: Native, rows: np.ndarray, ends: np.ndarray, first: int) -> None:
    assert native.values is not None
    for tree in range(ends.shape[1]):
        ours = trees.value[ends[:, tree]]
        theirs = native.values(rows, first + tree)
        bad = np.flatnonzero(ours != theirs)
        if len(bad):
            raise SelfCheckFailed(
                f"{name}: a leaf of tree {first + tree} is worth {float(theirs[bad[0]])!r}, "
                f"by our reading {float(ours[bad[0]])!r}. {REFUSED}"
            )


def _equal(name: str, what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    bad = np.flatnonzero(ours != theirs)
    if len(bad) or ours.shape != theirs.shape:
        i = bad[0] if len(bad) else 0
        raise SelfCheckFailed(
            f"{name}: on {len(bad):,} of {len(ours):,} probes the {what} is not the library's, "
            f"first {float(ours[i])!r} instead of {float(theirs[i])!r}. {REFUSED}"
        )


def _rising(name: str, native: Native, raw: np.ndarray) -> None:
    """The search compares raw scores with a cut, which needs a squash that never falls."""
    scores = native.squash(np.unique(raw))
    if np.any(np.diff(scores) < 0):
        raise SelfCheckFailed(f"{name}: the score falls where the raw score rises. {REFUSED}")


def _shown(trees: Trees, row: np.ndarray) -> str:
    cells = [f"{c.name}={float(x)!r}" for c, x in zip(trees.columns, row, strict=True)]
    return ", ".join(cells[:6]) + (", ..." if len(cells) > 6 else "")


REFUSED = "Nothing is explained with a model that was not read exactly; please report the model's library and version"
