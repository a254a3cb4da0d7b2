"""What was read of a pipeline, held against the pipeline itself on raw rows that reach every test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import SelfCheckFailed
from .additive import Additive
from .additive_check import probes as additive_probes
from .base import Model
from .evaluate import evaluate, leaves
from .pipeline_through import Scorer, Through
from .selfcheck import REFUSED, SAMPLE, probes
from .trees import Trees

MOST = 4096  # probes of a sum
ALONE = 8  # probes that are also scored one by one


def check_trees(
    name: str,
    core: Trees,
    origin: np.ndarray,
    inner: Model,
    through: Through,
    score: Scorer,
    own: Callable[[Any], np.ndarray] | None,
) -> str:
    """Compare trees on raw columns with the trees on what the steps compute, and scores with the pipeline's own.

    The probes are raw rows that reach every test of the rewritten trees: on each threshold, one double to either side,
    missing, every level and a level never seen. Each must end, in every tree, at the leaf to which the final
    estimator's tree sends what the pipeline's own steps make of the row; that those trees are the library's was checked
    when they were read.

    Raises
    ------
    SelfCheckFailed
        On the first difference.
    """
    assert isinstance(inner.core, Trees)
    rng = np.random.default_rng(0)
    missing = takes_missing(through, score)
    inner_missing = _passes(inner.raw, np.full((1, len(inner.columns)), np.nan))
    share = SAMPLE / max(1, 3 * int(np.count_nonzero(core.feature >= 0)))
    sample, n_probes = [], 0
    for first, last, rows in probes(core, rng, missing=missing):
        rows, cells = _passing(through, rows, missing=inner_missing)
        n_probes += len(rows)
        ours = origin[leaves(core, rows, first, last)]
        theirs = leaves(inner.core, cells, first, last)
        bad = np.argwhere(ours != theirs)
        if len(bad):
            row, tree = bad[0]
            raise SelfCheckFailed(
                f"{name}: tree {first + tree} sends what the steps make of {_shown(through, rows[row])} to leaf "
                f"{theirs[row, tree]}, our reading to leaf {ours[row, tree]}. {REFUSED}"
            )
        keep = min(len(rows), int(np.ceil(len(rows) * share)))
        sample.append(rows[rng.permutation(len(rows))[:keep]])
    matrix = np.concatenate(sample)
    cells = through.strict(matrix)
    _equal(name, "raw score", evaluate(core, matrix), inner.raw(cells))
    scores = score(matrix)
    _equal(name, "score", inner.squash(evaluate(core, matrix)), scores)
    if own is not None:
        _equal(name, "pipeline's own score", scores, own(through.given(matrix)))
    alone = np.array([score(row[None])[0] for row in matrix[:ALONE]])
    _equal(name, "score of a row alone", scores[:ALONE], alone)
    parts = "leaves, raw scores, scores" + (", the pipeline's own scores" if own is not None else "")
    return f"{max(1, n_probes):,} probes equal ({parts})"


def check_sums(
    name: str,
    core: Additive,
    through: Through,
    inner: Model,
    raw: Scorer,
    score: Scorer,
    own: Callable[[Any], np.ndarray] | None,
) -> str:
    """Compare a sum on raw columns with the pipeline's raw scores within rounding, and its scores one row at a time.

    The probes stand on every border, one double to either side, on levels, on missing values and on other numbers.

    Raises
    ------
    SelfCheckFailed
        If a raw score differs by more than rounding can, or a score depends on the rows beside it.
    """
    rng = np.random.default_rng(0)
    rows = additive_probes(core, rng)
    rows = rows[rng.permutation(len(rows))[:MOST]]
    inner_missing = _passes(inner.raw, np.full((1, len(inner.columns)), np.nan))
    if not inner_missing:
        rows = _computable(through, rows, rng)
    rows, cells = _passing(through, rows, missing=inner_missing)
    ours = core.evaluate(rows)
    rows, ours = rows[np.isfinite(ours)], ours[np.isfinite(ours)]
    theirs = raw(rows)
    parts = [np.abs(term.at(rows[:, term.column])) for term in core.terms] + [abs(p.at(rows)) for p in core.pairs]
    size = abs(core.intercept) + core.scale + np.sum(parts, axis=0)
    slack = 4.0 * (len(parts) + len(cells.T) + 2) * core.unit * size
    far = np.flatnonzero(~(np.abs(theirs - ours) <= slack))
    if len(far):
        raise SelfCheckFailed(
            f"{name}: on {len(far):,} of {len(rows):,} probes the raw score is not the library's, first "
            f"{float(ours[far[0]])!r} instead of {float(theirs[far[0]])!r} at {_shown(through, rows[far[0]])}. "
            f"{REFUSED}"
        )
    scores = score(rows)
    _equal(name, "score", inner.squash(theirs), scores)
    few = rows[-4 * ALONE :]
    _equal(name, "score of a row alone", scores[-len(few) :], np.array([score(row[None])[0] for row in few]))
    if own is not None:
        alone = np.array([own(through.given(row[None]))[0] for row in few])
        _equal(name, "pipeline's own score of a row alone", scores[-len(few) :], alone)
    return f"{len(rows):,} probes within rounding"


def _computable(through: Through, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the rows with other values where the steps give nothing to compute with: the logarithm of -1, say."""
    cells, out = through.loose(rows), rows.copy()
    for j, raw in enumerate(through.rows.place):
        mine = [c for c, wire in enumerate(through.wires) if wire.raw == raw]
        bad = ~np.isfinite(cells[:, mine]).all(axis=1)
        if bad.any() and not bad.all():
            out[bad, j] = rng.choice(rows[~bad, j], size=np.count_nonzero(bad))
    return out


def takes_missing(through: Through, score: Scorer) -> np.ndarray:
    """Return whether the pipeline takes a missing value in each raw column: bool[n_columns]."""
    d = len(through.rows.columns)
    good = _good_row(through, score)
    rows = np.tile(good, (d, 1))
    rows[np.arange(d), np.arange(d)] = np.nan
    if _passes(score, rows):
        return np.ones(d, dtype=bool)
    return np.array([_passes(score, row[None]) for row in rows])


def _good_row(through: Through, score: Scorer) -> np.ndarray:
    """Return a row that the pipeline takes."""
    rng = np.random.default_rng(0)
    numeric = np.array([table is None for table in through.rows.table])
    trials = [np.where(numeric, x, 0.0) for x in (0.0, 1.0, 10.0, 0.5, -1.0)]
    trials += [np.where(numeric, rng.choice([0.0, 0.5, 1.0, 10.0, 1e3], size=len(numeric)), 0.0) for _ in range(32)]
    for row in trials:
        if _passes(score, row[None]):
            return np.asarray(row)
    try:
        score(trials[0][None])
    except ValueError as error:
        raise SelfCheckFailed(f"sklearn.Pipeline refuses every row that was tried, first: {error}") from error
    return trials[0]


def _passes(score: Scorer, rows: np.ndarray) -> bool:
    try:
        score(rows)
    except ValueError:
        return False
    return True


def _passing(through: Through, rows: np.ndarray, *, missing: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that steps and final estimator take, and what the final estimator sees of them."""
    try:
        cells = through.strict(rows)
    except ValueError:
        if len(rows) <= 1:
            return rows[:0], np.empty((0, len(through.wires)))
        half = len(rows) // 2
        parts = [_passing(through, part, missing=missing) for part in (rows[:half], rows[half:])]
        return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])
    with np.errstate(over="ignore"):
        fine = ~np.isinf(cells.astype(np.float32)).any(axis=1) & (missing | ~np.isnan(cells).any(axis=1))
    return rows[fine], cells[fine]


def _equal(name: str, what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    bad = np.flatnonzero(ours != theirs)
    if len(bad):
        raise SelfCheckFailed(
            f"{name}: on {len(bad):,} of {len(ours):,} probes the {what} is not what was read, "
            f"first {float(ours[bad[0]])!r} and {float(theirs[bad[0]])!r}. {REFUSED}"
        )


def _shown(through: Through, row: np.ndarray) -> str:
    cells = [f"{c.name}={float(x)!r}" for c, x in zip(through.rows.columns, row, strict=True)]
    return ", ".join(cells[:6]) + (", ..." if len(cells) > 6 else "")
