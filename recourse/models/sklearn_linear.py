"""Linear classifiers of scikit-learn, read as weights."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..errors import SelfCheckFailed, UnsupportedModel
from .additive import Additive
from .base import Column
from .selfcheck import REFUSED
from .sklearn_reading import Estimator, Reading, Scorer

PROBES = 64
ALONE = 16  # probes that are also scored one by one


def read_linear(estimator: Estimator) -> Reading:
    """Read ``coef_`` and ``intercept_`` of a binary linear classifier."""
    native, sign = estimator.native, estimator.sign
    coef = np.asarray(native.coef_, dtype=np.float64)
    intercept = np.asarray(native.intercept_, dtype=np.float64).reshape(-1)
    if coef.reshape(-1).shape != (len(estimator.columns),) or len(intercept) != 1:
        raise UnsupportedModel(
            f"{estimator.name} has coefficients of shape {np.shape(native.coef_)} and {len(intercept)} intercepts; "
            f"expected one of each for {len(estimator.columns)} columns, as a binary linear classifier has."
        )
    columns = tuple(Column(name) for name in estimator.columns)
    core = Additive.linear(columns, sign * coef.reshape(-1), sign * float(intercept[0]))
    decision = one_row_decisions(native)

    def raw(X: np.ndarray) -> np.ndarray:
        return sign * decision(X)

    if estimator.score == "decision_function":
        return Reading(core, raw=raw, score=raw, squash=lambda r: r)
    link, position = native_link(native), estimator.position

    def squash(r: np.ndarray) -> np.ndarray:
        return link(sign * r)[:, position]

    def score(X: np.ndarray) -> np.ndarray:
        if len(X) == 1:
            return np.asarray(native.predict_proba(X))[:, position]
        return link(decision(X))[:, position]

    return Reading(core, raw=raw, score=score, squash=squash)


def one_row_decisions(native: Any) -> Scorer:
    """Return the decision function that gives every row what the library gives it alone, however many there are.

    A matrix product adds in another order than a single row's (two rows of three differ in their last digits), and a
    decision must not depend on who else is scored. The stack of 1 x d products below is the library's own expression
    for one row, n times.
    """
    weights = native.coef_.T if native.coef_.ndim == 2 else native.coef_.reshape(-1, 1)
    intercept = native.intercept_

    def decision(X: np.ndarray) -> np.ndarray:
        if len(X) == 1:
            return np.asarray(native.decision_function(X), dtype=np.float64).reshape(-1)
        if not np.isfinite(X).all():
            raise ValueError("the values must be finite")
        return np.asarray((X[:, None, :] @ weights)[:, 0, :] + intercept, dtype=np.float64).reshape(-1)

    return decision


def native_link(native: Any) -> Scorer:
    """Return the library's own map from decisions to probabilities: the estimator with the identity for weights."""
    identity = copy.copy(native)
    identity.coef_ = np.ones((1, 1))
    identity.intercept_ = np.zeros(1)
    identity.n_features_in_ = 1

    def link(decisions: np.ndarray) -> np.ndarray:
        return np.asarray(identity.predict_proba(np.asarray(decisions, dtype=np.float64).reshape(-1, 1)))

    return link


def check_linear(name: str, reading: Reading) -> str:
    """Compare the weights with the library's raw scores, one row at a time, within the stated rounding.

    Raises
    ------
    SelfCheckFailed
        If a raw score differs by more than rounding can, or the scores of one row and of many do.
    """
    core = reading.core
    assert isinstance(core, Additive)
    n = len(core.weights)
    rng = np.random.default_rng(0)
    scale = np.where(core.weights == 0, 1.0, 1.0 / np.maximum(np.abs(core.weights), 2.0**-200))
    mixed = rng.normal(size=(PROBES, n)) * 10.0 ** rng.integers(-3, 6, size=(PROBES, n))
    matrix = np.concatenate(
        [np.zeros((1, n)), np.diag(scale), -np.diag(scale), mixed, rng.normal(size=(PROBES, n)) * scale]
    )
    matrix = matrix[np.isfinite(matrix).all(axis=1)]
    raw = reading.raw(matrix)
    ours = matrix @ core.weights + core.intercept
    slack = np.array([core.eps(np.abs(row)) for row in matrix])
    far = np.flatnonzero(~(np.abs(raw - ours) <= slack))
    if len(far):
        raise SelfCheckFailed(
            f"{name}: on {len(far)} of {len(matrix)} probes the raw score is not the library's, "
            f"first {float(ours[far[0]])!r} instead of {float(raw[far[0]])!r}. {REFUSED}"
        )
    scores = reading.score(matrix)
    alone = [reading.score(row[None])[0] for row in matrix[-ALONE:]]
    if not np.array_equal(alone, scores[-ALONE:]) or not np.array_equal(reading.squash(raw), scores):
        raise SelfCheckFailed(f"{name}: the score of a row depends on the rows beside it. {REFUSED}")
    return f"{len(matrix):,} probes within rounding"
