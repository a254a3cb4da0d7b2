"""Isolation forests as trees of path lengths: the longer the paths, the more plausible a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedModel
from .base import Model, Wanted, fingerprint
from .selfcheck import Native, self_check
from .sklearn_reading import guarded, quiet_copy
from .sklearn_trees import join_trees, leaf_numbers


def read_plausibility(estimator: Any, columns: Sequence[str] | None = None) -> Model:
    """Read a fitted IsolationForest, or a pipeline around one, as a model of how plausible a row is.

    Its score is the native ``decision_function``: rows at 0 and above are plausible, those below outliers. Its raw
    score is the sum of the lengths of the row's paths, added tree after tree as the library adds them, bit for bit; the
    native score never falls where it rises.

    Parameters
    ----------
    estimator : IsolationForest or Pipeline
        Fitted; it is not changed.
    columns : sequence of str, optional
        Names of the inputs, used only if the estimator stores none.

    Returns
    -------
    Model
        ``model.cut(0.0)`` is the smallest sum of path lengths that is plausible.

    Raises
    ------
    UnsupportedModel
        If it is another estimator, or a step of the pipeline cannot be pulled back to raw columns.
    ModelError
        If the estimator is not fitted, or its columns have no names.

    Examples
    --------
    >>> from sklearn.ensemble import IsolationForest
    >>> rows = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = read_plausibility(IsolationForest(n_estimators=20, random_state=0).fit(rows), ["income", "age"])
    >>> (model.score(np.array([[0.0, 0.0], [9.0, 9.0]])) >= 0).tolist()
    [True, False]
    """
    wanted = Wanted(score="decision_function", columns=None if columns is None else tuple(columns))
    if type(estimator).__name__ == "Pipeline":
        from . import pipeline

        model = pipeline.read(estimator, wanted, reader=_read)
    else:
        model = _read(estimator, wanted)
    return replace(model, kind="decision_function")


def _read(estimator: Any, wanted: Wanted) -> Model:
    kind = type(estimator)
    if kind.__name__ != "IsolationForest" or kind.__module__.partition(".")[0] != "sklearn":
        raise UnsupportedModel(
            f"{kind.__module__.partition('.')[0]}.{kind.__name__} cannot be read as a plausibility model. "
            "Supported: scikit-learn's IsolationForest, and pipelines around it"
        )
    from sklearn.ensemble._iforest import _average_path_length

    name = "sklearn.IsolationForest"
    if not hasattr(estimator, "estimators_"):
        raise ModelError(f"{name} is not fitted. Call fit before handing it over.")
    names = wanted.named(name, getattr(estimator, "feature_names_in_", np.array([])).tolist(), estimator.n_features_in_)
    native = quiet_copy(estimator)
    trees = [tree.tree_ for tree in native.estimators_]
    lengths = [
        depth + average - 1.0  # in the library's order
        for depth, average in zip(native._decision_path_lengths, native._average_path_length_per_tree, strict=True)
    ]
    features = [np.asarray(part) for part in native.estimators_features_]
    core = join_trees(names, trees, lengths, base=0.0, divisor=1.0)
    tested = core.feature.astype(np.int64)
    for part, begin, end in zip(features, core.roots, np.append(core.roots[1:], len(tested)), strict=True):
        inner = tested[begin:end] >= 0
        tested[begin:end][inner] = part[tested[begin:end][inner]]
    core = replace(core, feature=tested.astype(np.int32))
    whole = native._max_features == native.n_features_in_  # then the library gives every tree all columns
    longest = len(trees) * _average_path_length([native._max_samples])

    def apply(single: np.ndarray, t: int) -> np.ndarray:
        return np.asarray(trees[t].apply(single if whole else single[:, features[t]]))

    def raw(X: np.ndarray) -> np.ndarray:
        single, total = X.astype(np.float32), np.zeros(len(X))
        for t, length in enumerate(lengths):
            total += length[apply(single, t)]
        return total

    def squash(total: np.ndarray) -> np.ndarray:
        total = np.asarray(total, dtype=np.float64)
        with np.errstate(over="ignore"):  # bisection asks for sums that no row has
            share = np.divide(total, longest, out=np.ones_like(total), where=longest != 0)
            return -(2**-share) - native.offset_

    def score(X: np.ndarray) -> np.ndarray:
        return np.asarray(native.decision_function(X))

    def leaves(X: np.ndarray, first: int, last: int) -> np.ndarray:
        single = X.astype(np.float32)
        return np.column_stack([apply(single, t) for t in range(first, last)])

    def values(X: np.ndarray, tree: int) -> np.ndarray:
        return np.asarray(lengths[tree][apply(X.astype(np.float32), tree)])

    judge = Native(guarded(raw, names), guarded(score, names), squash, leaves, leaf_numbers(trees), values)
    checked = self_check(name, core, judge)
    return Model(name, core, judge.score, judge.raw, squash, fingerprint(core), checked)
