"""Explainable boosting machines of interpret-core: bins, levels and pairs, read as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError, UnsupportedModel
from .additive import Additive, Axis, Pair, Term
from .additive_check import check_additive
from .base import Column, Model, Wanted, fingerprint

if TYPE_CHECKING:
    import pandas as pd

_UNSEEN = "\x00never seen\x00"


def read(estimator: Any, wanted: Wanted) -> Model:
    """Read a fitted ExplainableBoostingClassifier.

    Parameters
    ----------
    estimator : ExplainableBoostingClassifier
        Of two classes; with terms of one or two features. It is not changed.
    wanted : Wanted
        The favourable class and the score. Levels are not needed: the model stores its categories.

    Returns
    -------
    Model
        Its score of a level that the model has never seen is the model's own for such levels.

    Raises
    ------
    UnsupportedModel
        If there are other than two classes, or a term joins three features or more.
    ModelError
        If the estimator is not fitted, or has no such class.
    """
    name = f"interpret.{type(estimator).__name__}"
    if type(estimator).__name__ != "ExplainableBoostingClassifier":
        raise UnsupportedModel(
            f"{name} cannot be read exactly. Supported of interpret: ExplainableBoostingClassifier. "
            "It can be explained as a black box, without proofs: black_box=True"
        )
    if not getattr(estimator, "has_fitted_", False):
        raise ModelError(f"{name} is not fitted. Call fit before handing it over.")
    positive = wanted.positive(name, list(estimator.classes_))
    if estimator.link_ != "logit":
        raise UnsupportedModel(f"{name} has the link {estimator.link_!r}; recourse reads 'logit'")
    sign = 1.0 if positive else -1.0
    core = _core(estimator, name, sign)

    def margin(matrix: np.ndarray) -> np.ndarray:
        return np.asarray(estimator.decision_function(frame_of(core.columns, matrix)), dtype=np.float64).reshape(-1)

    def raw(matrix: np.ndarray) -> np.ndarray:
        return sign * margin(matrix)

    def squash(raw: np.ndarray) -> np.ndarray:
        from interpret.utils._link import inv_link

        return np.asarray(inv_link(sign * np.asarray(raw, np.float64), estimator.link_))[:, int(positive)]

    def score(matrix: np.ndarray) -> np.ndarray:
        return np.asarray(estimator.predict_proba(frame_of(core.columns, matrix)))[:, int(positive)]

    if wanted.score == "decision_function":
        score, squash = raw, _same
    return Model(
        name=name,
        core=core,
        raw=raw,
        score=score,
        squash=squash,
        sha256=fingerprint(core),
        self_check=check_additive(name, core, raw, score, squash),
    )


def frame_of(columns: tuple[Column, ...], matrix: np.ndarray) -> pd.DataFrame:
    """Return the raw rows of a matrix; for the code beyond a column's levels a text that nobody has seen."""
    import pandas as pd

    matrix = np.asarray(matrix, dtype=np.float64)
    out: dict[str, Any] = {}
    for j, column in enumerate(columns):
        if column.levels is None:
            out[column.name] = matrix[:, j]
            continue
        spelt = np.empty(len(column.levels) + 2, dtype=object)
        spelt[:] = [*column.levels, _UNSEEN, None]
        known = ~np.isnan(matrix[:, j])
        out[column.name] = spelt[np.where(known, np.nan_to_num(matrix[:, j]), len(spelt) - 1).astype(np.int64)]
    return pd.DataFrame(out)


def _same(raw: np.ndarray) -> np.ndarray:
    return np.asarray(raw, dtype=np.float64)


def _core(estimator: Any, name: str, sign: float) -> Additive:
    names = [str(n) for n in estimator.feature_names_in_]
    columns, coarse = [], []  # bins of each feature for terms of one feature and of two
    for column, levels in zip(names, estimator.bins_):
        first = levels[0] if len(levels) else np.empty(0)
        columns.append(Column(column, tuple(first), unseen=True) if isinstance(first, Mapping) else Column(column))
        coarse.append((first, levels[min(len(levels), 2) - 1] if len(levels) else first))
    terms, pairs = [], []
    for features, scores in zip(estimator.term_features_, estimator.term_scores_):
        values = sign * np.asarray(scores, dtype=np.float64)
        if len(features) == 1:
            terms.append(_term(features[0], coarse[features[0]][0], columns[features[0]], values))
        elif len(features) == 2:
            first, second = (_axis(j, coarse[j][1], columns[j]) for j in features)
            pairs.append(Pair(first, second, np.roll(values, -1, axis=(0, 1))))
        else:
            joined = " & ".join(names[j] for j in features)
            raise UnsupportedModel(
                f"{name} has a term of {len(features)} features ({joined}); recourse reads terms of one or two. "
                "Fit it with interactions of two features"
            )
    return Additive(tuple(columns), sign * float(np.ravel(estimator.intercept_)[0]), tuple(terms), tuple(pairs))


def _axis(j: int, bins: Any, column: Column) -> Axis:
    """How a feature is cut; the library's first row, for missing values, is moved behind all others."""
    if isinstance(bins, Mapping):
        assert column.levels is not None
        unseen = max(bins.values(), default=0)  # the library's rows of levels start at 1
        rows = np.array([*(bins.get(level, unseen + 1) - 1 for level in column.levels), unseen], dtype=np.int64)
        return Axis(j, levels=rows, missing=unseen + 1)
    edges = np.asarray(bins, dtype=np.float64)
    return Axis(j, edges=edges, missing=len(edges) + 2)  # the row before is for texts among numbers


def _term(j: int, bins: Any, column: Column, values: np.ndarray) -> Term:
    axis, moved = _axis(j, bins, column), np.roll(values, -1)
    if axis.levels is not None:
        return Term(j, levels=moved[axis.levels], missing=float(moved[-1]))
    return Term(j, edges=axis.edges, values=moved[:-2], missing=float(moved[-1]))
