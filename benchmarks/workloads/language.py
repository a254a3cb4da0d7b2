"""The hand-made policies on real data, behind scikit-learn pipelines: rules, codes, clocks, missing values, ratios."""

from __future__ import annotations

from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from xgboost import XGBClassifier

from recourse import Policy
from recourse.datasets import load as load_data

from . import Workload

DATASETS = ("german_credit", "heloc", "adult", "hmeq")


def load(dataset: str, queries: int) -> Workload:
    """Train a pipeline on a data set and return the first applicants that model, threshold or knock-outs refuse."""
    data = load_data(dataset)
    assert data.policy is not None
    policy = Policy.from_toml(data.policy)
    frame = data.frame
    if dataset == "hmeq":  # a model that looks at ratios
        frame = frame.assign(LTV=frame["MORTDUE"] / frame["VALUE"])
    protected = [name for name, feature in policy.features.items() if feature.role == "protected"]
    seen = frame.drop(columns=[name for name in protected if name in frame])
    seen = seen[[name for name in seen if name in policy.features]]
    target = (data.target == policy.decision.favourable).astype(int)
    favourable = Policy.model_validate(
        {**policy.model_dump(exclude_unset=True), "decision": {**policy.decision.model_dump(), "favourable": 1}}
    )
    model = pipeline(seen).fit(seen, target)
    refused = frame[model.predict_proba(seen)[:, 1] < _threshold(policy)].head(queries)
    return Workload(name=f"language-{dataset}", model=model, policy=favourable, population=frame, frame=refused)


def pipeline(frame: pd.DataFrame) -> Pipeline:
    """Return what practitioners build: words one-hot or ordinal, numbers scaled, missing ones imputed and flagged."""
    words = list(frame.select_dtypes(exclude="number"))
    whole = [name for name in frame if name not in words and not frame[name].isna().any()]
    holes = [name for name in frame if name not in words and name not in whole]
    few = [name for name in words if frame[name].nunique() <= 8]
    many = [name for name in words if name not in few]
    steps: list[tuple[str, Any, list[str]]] = [
        ("few", OneHotEncoder(handle_unknown="ignore"), few),
        ("many", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), many),
        ("whole", StandardScaler(), whole),
        ("holes", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), holes),
    ]
    return Pipeline(
        [
            ("columns", ColumnTransformer([step for step in steps if step[2]])),
            ("trees", XGBClassifier(n_estimators=100, max_depth=6, learning_rate=0.1, random_state=0, n_jobs=1)),
        ]
    )


def _threshold(policy: Policy) -> float:
    threshold = policy.decision.threshold
    return float(threshold) if not isinstance(threshold, str) else 0.5
