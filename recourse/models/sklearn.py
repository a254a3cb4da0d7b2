"""Fitted classifiers of scikit-learn, by class: which can be read exactly, and how."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import DataError, ModelError, UnsupportedModel
from .base import Model, Score, Wanted, fingerprint
from .scorecard import is_binned
from .selfcheck import Native, self_check
from .sklearn_files import load_pickle, load_skops
from .sklearn_hist import read_hist_gradient_boosting
from .sklearn_linear import check_linear, read_linear
from .sklearn_reading import Estimator, Reading, Scorer, guarded, quiet_copy
from .sklearn_trees import read_forest, read_gradient_boosting, read_tree
from .trees import Trees

READERS: dict[str, Callable[[Estimator], Reading]] = {
    "DecisionTreeClassifier": read_tree,
    "ExtraTreeClassifier": read_tree,
    "RandomForestClassifier": read_forest,
    "ExtraTreesClassifier": read_forest,
    "GradientBoostingClassifier": read_gradient_boosting,
    "HistGradientBoostingClassifier": read_hist_gradient_boosting,
    "LogisticRegression": read_linear,
    "LogisticRegressionCV": read_linear,
    "LinearSVC": read_linear,
    "SGDClassifier": read_linear,
    "RidgeClassifier": read_linear,
    "RidgeClassifierCV": read_linear,
    "Perceptron": read_linear,
    "PassiveAggressiveClassifier": read_linear,
    "LinearDiscriminantAnalysis": read_linear,
}

# What wraps a classifier -> our module that reads it.
ROUTES = {"Pipeline": "pipeline", "CalibratedClassifierCV": "calibrated"}

__all__ = ["READERS", "ROUTES", "load_pickle", "load_skops", "read"]

SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")


def read(estimator: Any, wanted: Wanted) -> Model:
    """Read a fitted binary classifier of scikit-learn into neutral arrays.

    Parameters
    ----------
    estimator : classifier
        One of the classes in `READERS`, or one that wraps them (`ROUTES`), fitted. It is not changed.
    wanted : Wanted
        The favourable class, the native output that decides (the decision function of a favourable ``classes_[0]`` is
        negated), and the columns' names for an estimator that was fitted on an array. Levels are not needed:
        scikit-learn stores its categories.

    Returns
    -------
    Model

    Raises
    ------
    UnsupportedModel
        If the class cannot be read exactly, or there are not exactly two classes.
    ModelError
        If the estimator is not fitted, has no such class or score, or its columns have no names.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> fitted = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], ["bad", "bad", "good", "good"])
    >>> model = read(fitted, Wanted(favourable="good", columns=("income",)))
    >>> model.name, model.columns[0].name, bool(model.core.weights[0] > 0)
    ('sklearn.LogisticRegression', 'income', True)
    """
    if type(estimator).__name__ in ROUTES:
        route = "scorecard" if is_binned(estimator) else ROUTES[type(estimator).__name__]
        module = import_module(f".{route}", __package__)
        model: Model = module.read(estimator, wanted)
        return model
    name = f"sklearn.{type(estimator).__name__}"
    reader = _reader(estimator)
    if not hasattr(estimator, "classes_") or not hasattr(estimator, "n_features_in_"):
        raise ModelError(f"{name} is not fitted. Call fit before handing it over.")
    if isinstance(estimator.classes_, list):
        raise UnsupportedModel(f"{name} has {len(estimator.classes_)} outputs; expected one. Fit one model per output.")
    positive = wanted.positive(name, list(estimator.classes_))
    _check_score(estimator, name, wanted.score)
    names = wanted.named(name, getattr(estimator, "feature_names_in_", np.array([])).tolist(), estimator.n_features_in_)
    reading = reader(Estimator(quiet_copy(estimator), name, names, positive, wanted.score))
    raw, score = guarded(reading.raw, names), guarded(reading.score, names)
    if isinstance(reading.core, Trees):
        native = Native(
            raw=raw,
            score=score,
            squash=reading.squash,
            leaves=reading.leaves,
            leaf_id=reading.leaf_id,
            values=reading.values,
            missing=_takes_missing(score, len(names)),
        )
        checked = self_check(name, reading.core, native)
    else:
        checked = check_linear(name, reading)
    return Model(
        name=name,
        core=reading.core,
        raw=raw,
        score=score,
        squash=reading.squash,
        sha256=fingerprint(reading.core),
        self_check=checked,
    )


def _takes_missing(score: Scorer, n: int) -> bool:
    try:
        score(np.full((1, n), np.nan))
    except DataError:
        return False
    return True


def _reader(estimator: Any) -> Callable[[Estimator], Reading]:
    """Choose by the exact class: a subclass may score in its own way."""
    kind = type(estimator)
    if kind.__module__.partition(".")[0] == "sklearn" and kind.__name__ in READERS:
        return READERS[kind.__name__]
    if kind.__name__ in SEARCHES and hasattr(estimator, "best_estimator_"):
        remedy = "Pass its best_estimator_."
    elif hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function"):
        remedy = "Use one of these. It can be explained as a black box, without proofs: black_box=True."
    else:
        remedy = "Use one of these."
    raise UnsupportedModel(
        f"{kind.__module__.partition('.')[0]}.{kind.__name__} cannot be read exactly. "
        f"Supported of scikit-learn: {', '.join(READERS)}. {remedy}"
    )


def _check_score(estimator: Any, name: str, score: Score) -> None:
    methods = {"probability": "predict_proba", "decision_function": "decision_function"}
    if not hasattr(estimator, methods[score]):
        (other,) = set(methods) - {score}
        raise ModelError(
            f"{name} has no {methods[score]}, so it cannot be asked for score = {score!r}. "
            f"Write score = {other!r}, and a threshold to match."
        )
