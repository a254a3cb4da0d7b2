"""Any data set that recourse loads, with a model trained here and now and the data set's own policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recourse import Policy, datasets

from . import Workload

SEED = 0


class Kind(NamedTuple):
    """How a library is trained here; `categories` where it splits on sets of levels, else levels become numbers."""

    estimator: Callable[[], Any]
    categories: bool
    missing: bool = True


def load(dataset: str, model: str, queries: int) -> Workload:
    """Train `model` on half of the data set and return up to `queries` refused applicants of the other half."""
    kind = MODELS[model]
    data = datasets.load(dataset)
    policy = Policy.from_toml(datasets.policy_path(dataset))
    frame, target = data.frame[list(policy.features)], data.target.to_numpy()
    if not kind.missing:
        complete = frame.notna().all(axis=1).to_numpy()
        frame, target = frame[complete], target[complete]
    if not kind.categories:
        frame, policy = _numbered(frame, policy)
    typed = frame.assign(**{name: pd.Categorical(frame[name], list(levels)) for name, levels in policy.levels.items()})
    inputs = typed if kind.categories else frame
    order = np.random.default_rng(SEED).permutation(len(frame))
    train, held = np.sort(order[::2]), np.sort(order[1::2])
    fitted = kind.estimator().fit(inputs.iloc[train], target[train])
    refused = fitted.predict_proba(inputs.iloc[held])[:, 1] < policy.decision.threshold
    return Workload(f"{dataset}-{model}", fitted, policy, frame.iloc[train], frame.iloc[held][refused].iloc[:queries])


def _numbered(frame: pd.DataFrame, policy: Policy) -> tuple[pd.DataFrame, Policy]:
    """Write every level as its position, in the rows and in the policy."""
    written = policy.model_dump(exclude_defaults=True)
    for name, levels in policy.levels.items():
        at = {str(level): i for i, level in enumerate(levels)}
        feature = written["features"][name]
        feature["levels"] = list(at.values())
        if "moves" in feature:
            feature["moves"] = {str(at[str(k)]): [at[str(to)] for to in v] for k, v in feature["moves"].items()}
        if "move_cost" in feature:
            feature["move_cost"] = {
                str(at[str(k)]): {str(at[str(to)]): cost for to, cost in v.items()}
                for k, v in feature["move_cost"].items()
            }
        positions = [np.nan if value != value or value is None else at[str(value)] for value in frame[name].tolist()]
        frame = frame.assign(**{name: np.array(positions)})
    return frame.astype(float), Policy.model_validate(written)


def _xgboost() -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=100, max_depth=6, enable_categorical=True, n_jobs=1, random_state=SEED)


def _lightgbm() -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=100, n_jobs=1, random_state=SEED, verbose=-1)


def _random_forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_jobs=2, random_state=SEED)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver="newton-cholesky", max_iter=1_000)


MODELS = {
    "xgboost": Kind(_xgboost, categories=True),
    "lightgbm": Kind(_lightgbm, categories=True),
    "random_forest": Kind(_random_forest, categories=False),
    "logistic": Kind(_logistic, categories=False, missing=False),
}
