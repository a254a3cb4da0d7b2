"""Probes that reach every bin, level and cell of an additive core, on which it must equal the native library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import SelfCheckFailed
from .additive import Additive, Axis
from .selfcheck import REFUSED

Scorer = Callable[[np.ndarray], np.ndarray]
MIXED = 512  # probes with everything drawn at random
ALONE = 16  # probes that are also scored one by one
MOST = 4096  # cells probed of one pair


def check_additive(name: str, core: Additive, raw: Scorer, score: Scorer, squash: Scorer) -> str:
    """Compare a core with the library's raw scores, within its stated rounding.

    The probes stand on every edge and one representable number to either side of it, on every level, on missing
    values where the model takes them, and in every cell of the pairs; the other columns are drawn from theirs.

    Parameters
    ----------
    name : str
        The model's name, for messages.
    core : Additive
        What was read.
    raw, score, squash : callable
        The library's own raw scores and scores of a matrix, and its map from one to the other.

    Returns
    -------
    str
        What was compared: ``"1,284 probes within rounding"``.

    Raises
    ------
    SelfCheckFailed
        If a raw score differs by more than rounding can, a score is not that of the raw score, depends on the rows
        beside it, or falls where the raw score rises.
    """
    rng = np.random.default_rng(0)
    matrix = probes(core, rng)
    theirs, ours = raw(matrix), core.evaluate(matrix)
    slack = core.eps(np.nanmax(np.abs(np.nan_to_num(matrix)), axis=0, initial=1.0))
    far = np.flatnonzero(~(np.abs(theirs - ours) <= slack))
    if len(far):
        shown = ", ".join(f"{c.name}={x!r}" for c, x in zip(core.columns, matrix[far[0]].tolist()))
        raise SelfCheckFailed(
            f"{name}: on {len(far):,} of {len(matrix):,} probes the raw score is not the library's, first "
            f"{float(ours[far[0]])!r} instead of {float(theirs[far[0]])!r} at {shown[:400]}. {REFUSED}"
        )
    scores = score(matrix)
    alone = [score(row[None])[0] for row in matrix[-ALONE:]]
    if not np.array_equal(alone, scores[-ALONE:]) or not np.array_equal(squash(theirs), scores):
        raise SelfCheckFailed(f"{name}: the score of a row depends on the rows beside it. {REFUSED}")
    if np.any(np.diff(squash(np.unique(theirs))) < 0):
        raise SelfCheckFailed(f"{name}: the score falls where the raw score rises. {REFUSED}")
    return f"{len(matrix):,} probes within rounding"


def probes(core: Additive, rng: np.random.Generator) -> np.ndarray:
    """Return rows that reach every bin, level and cell: float64[n, n_columns]."""
    pools = [_pool(core, j, rng) for j in range(len(core.columns))]
    sizes = [len(pool) for pool in pools]
    one = _drawn(pools, sum(sizes), rng)
    at = 0
    for j, pool in enumerate(pools):
        one[at : at + len(pool), j] = pool
        at += len(pool)
    parts = [one]
    for pair in core.pairs:
        first, second = (_inside(axis, pools[axis.column]) for axis in (pair.first, pair.second))
        a, b = (part.ravel() for part in np.meshgrid(first, second))
        some = rng.permutation(len(a))[:MOST]
        rows = _drawn(pools, len(some), rng)
        rows[:, pair.first.column], rows[:, pair.second.column] = a[some], b[some]
        parts.append(rows)
    return np.concatenate([*parts, _drawn(pools, MIXED, rng)])


def _pool(core: Additive, j: int, rng: np.random.Generator) -> np.ndarray:
    """Values of a column that its terms and pairs tell apart."""
    terms = [term for term in core.terms if term.column == j]
    axes = [axis for pair in core.pairs for axis in (pair.first, pair.second) if axis.column == j]
    column = core.columns[j]
    if column.levels is not None:
        values = np.arange(column.n_codes, dtype=np.float64)
    else:
        edges = [part.edges for part in terms if part.edges is not None]
        edges += [axis.edges for axis in axes if axis.edges is not None]
        edge = np.unique(np.concatenate([np.zeros(1), *edges]))
        values = np.unique(np.concatenate([np.nextafter(edge, -np.inf), edge, np.nextafter(edge, np.inf)]))
        if any(term.weight is not None for term in terms):
            values = np.concatenate([values, rng.normal(size=8) * 10.0 ** rng.integers(-3, 4, size=8)])
    takes_missing = not any(np.isnan(term.missing) for term in terms) and not any(axis.missing < 0 for axis in axes)
    return np.append(values, np.nan) if takes_missing else values


def _inside(axis: Axis, pool: np.ndarray) -> np.ndarray:
    """Return one value of each row of a pair's table, as far as the pool reaches."""
    return pool[np.unique(axis.at(pool), return_index=True)[1]]


def _drawn(pools: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
    return np.column_stack([rng.choice(pool, size=n) for pool in pools])
