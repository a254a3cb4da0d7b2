"""A gradient boosting as a newcomer would fit it, for demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Level

if TYPE_CHECKING:
    import pandas as pd


def fit_boosting(
    frame: pd.DataFrame, target: Any, *, levels: Mapping[str, Sequence[Level]], n_trees: int = 100, seed: int = 0
) -> tuple[Any, str]:
    """Fit XGBoost where it is installed, scikit-learn's histogram gradient boosting otherwise.

    Parameters
    ----------
    frame : pandas.DataFrame
        Raw values; missing ones are left to the model.
    target : array of 0 and 1
    levels : mapping
        The levels of the categories among the columns, in the order of their codes.
    n_trees, seed : int

    Returns
    -------
    model, name : the fitted estimator, and what it is in words
    """
    typed = frame.copy()
    for name, listed in levels.items():
        if name in typed and any(isinstance(level, str) for level in listed):
            typed[name] = typed[name].astype(_categories(listed))
    target = np.asarray(target)
    if find_spec("xgboost") is not None:
        import xgboost

        model = xgboost.XGBClassifier(
            n_estimators=n_trees, max_depth=4, learning_rate=0.1, random_state=seed, n_jobs=1, enable_categorical=True
        )
        return model.fit(typed, target), f"XGBoost, {n_trees} trees"
    from sklearn.ensemble import HistGradientBoostingClassifier

    forest = HistGradientBoostingClassifier(
        max_iter=n_trees, max_leaf_nodes=15, random_state=seed, categorical_features="from_dtype", early_stopping=False
    )
    return forest.fit(typed, target), f"scikit-learn's HistGradientBoosting, {n_trees} trees"


def _categories(levels: Sequence[Level]) -> Any:
    import pandas as pd

    return pd.CategoricalDtype(list(levels))
