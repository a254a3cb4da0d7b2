"""Any data set that recourse loads, with a model trained here and now and the data set's own policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from recourse import Policy, datasets

from . import Workload

SEED = 0


def load(dataset: str, model: str, queries: int) -> Workload:
    """Train `model` on half of the data set and return up to `queries` refused applicants of the other half."""
    data = datasets.load(dataset)
    policy = Policy.from_toml(datasets.policy_path(dataset))
    frame, target = data.frame[list(policy.features)], data.target.to_numpy()
    if model == "logistic":  # the one model that takes no missing values
        complete = frame.notna().all(axis=1).to_numpy()
        frame, target = frame[complete], target[complete]
    order = np.random.default_rng(SEED).permutation(len(frame))
    train, held = np.sort(order[::2]), np.sort(order[1::2])
    as_input, estimator = MODELS[model]()
    fitted = estimator.fit(as_input(frame.iloc[train], policy), target[train])
    score = fitted.predict_proba(as_input(frame.iloc[held], policy))[:, 1]
    refused = frame.iloc[held][score < policy.decision.threshold].iloc[:queries]
    return Workload(f"{dataset}-{model}", fitted, policy, frame.iloc[train], refused)


def _categories(frame: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Levels as pandas categories, for libraries that split on sets of them."""
    listed = {name: feature.levels for name, feature in policy.features.items() if feature.levels}
    return frame.assign(
        **{name: pd.Categorical(frame[name], categories=list(levels)) for name, levels in listed.items()}
    )


def _codes(frame: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Levels as their positions in the policy, for libraries that know numbers alone."""
    listed = [name for name, feature in policy.features.items() if feature.levels]
    categories = _categories(frame, policy)
    positions = {name: categories[name].cat.codes.astype(float).replace(-1.0, np.nan) for name in listed}
    return categories.assign(**positions).astype(float)


def _xgboost() -> tuple[Callable[..., pd.DataFrame], Any]:
    from xgboost import XGBClassifier

    return _categories, XGBClassifier(
        n_estimators=100, max_depth=6, enable_categorical=True, n_jobs=1, random_state=SEED
    )


def _lightgbm() -> tuple[Callable[..., pd.DataFrame], Any]:
    from lightgbm import LGBMClassifier

    return _categories, LGBMClassifier(n_estimators=100, n_jobs=1, random_state=SEED, verbose=-1)


def _random_forest() -> tuple[Callable[..., pd.DataFrame], Any]:
    from sklearn.ensemble import RandomForestClassifier

    return _codes, RandomForestClassifier(n_jobs=2, random_state=SEED)


def _logistic() -> tuple[Callable[..., pd.DataFrame], Any]:
    from sklearn.linear_model import LogisticRegression

    return _codes, LogisticRegression(max_iter=10_000)


MODELS: dict[str, Callable[[], tuple[Callable[..., pd.DataFrame], Any]]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "random_forest": _random_forest,
    "logistic": _logistic,
}
