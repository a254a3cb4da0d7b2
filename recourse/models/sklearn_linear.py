"""Linear classifiers of scikit-learn, read as weights."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from .additive import Additive
from .base import Column
from .sklearn_reading import Estimator, Reading, Scorer


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
    core = Additive(
        columns=tuple(Column(name) for name in estimator.columns),
        weights=sign * coef.reshape(-1),
        intercept=sign * float(intercept[0]),
    )
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
