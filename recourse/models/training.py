"""A gradient boosting as a newcomer would fit it, for demonstrations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .base import Level

if TYPE_CHECKING:
    import pandas as pd


Library = Literal["xgboost", "scikit-learn"]


def installed() -> Library:
    """Return XGBoost where it is installed, scikit-learn otherwise."""
    return "scikit-learn" if find_spec("xgboost") is None else "xgboost"


def fit_boosting(
    frame: pd.DataFrame,
    target: Any,
    *,
    levels: Mapping[str, Sequence[Level]],
    library: Library,
    n_trees: int = 100,
    seed: int = 0,
) -> Any:
    """Fit XGBoost, or scikit-learn's histogram gradient boosting.

    Parameters
    ----------
    frame : pandas.DataFrame
        Raw values; missing ones are left to the model.
    target : array of 0 and 1
    levels : mapping
        The levels of the categories among the columns, in the order of their codes.
    library : {"xgboost", "scikit-learn"}
    n_trees, seed : int

    Returns
    -------
    XGBClassifier or HistGradientBoostingClassifier
    """
    typed = frame.copy()
    for name, listed in levels.items():
        if name in typed and any(isinstance(level, str) for level in listed):
            typed[name] = typed[name].astype(_categories(listed))
    target = np.asarray(target)
    if library == "xgboost":
        import xgboost

        trees = xgboost.XGBClassifier(
            n_estimators=n_trees, max_depth=4, learning_rate=0.1, random_state=seed, n_jobs=1, enable_categorical=True
        )
        return trees.fit(typed, target)
    from sklearn.ensemble import HistGradientBoostingClassifier

    forest = HistGradientBoostingClassifier(
        max_iter=n_trees, max_leaf_nodes=15, random_state=seed, categorical_features="from_dtype", early_stopping=False
    )
    return forest.fit(typed, target)


def save(model: Any, folder: Path) -> Path:
    """Write what `fit_boosting` returned to a file that `read_model` reads, and return its path."""
    if hasattr(model, "save_model"):
        path = folder / "model.ubj"
        model.save_model(path)
        return path
    import skops.io

    path = folder / "model.skops"
    skops.io.dump(model, path)
    return path


def _categories(levels: Sequence[Level]) -> Any:
    import pandas as pd

    return pd.CategoricalDtype(list(levels))
