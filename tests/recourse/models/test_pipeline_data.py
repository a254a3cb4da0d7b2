"""Pipelines on the public data: 10,000 raw rows each, as they are and as nobody would write them, score alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from recourse.datasets import load
from recourse.models import encode_frame, read_model
from recourse.models.evaluate import evaluate
from recourse.models.trees import Trees
from tests.rawrows import adversarial_rows

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

ROWS = 10_000


def words_of(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]


def german(frame: pd.DataFrame) -> Pipeline:
    """Everything one-hot and sparse, XGBoost: zeros are missing to it."""
    numbers = [name for name in frame if name not in words_of(frame)]
    steps = ColumnTransformer(
        [("num", StandardScaler(), numbers), ("cat", OneHotEncoder(handle_unknown="ignore"), words_of(frame))],
        sparse_threshold=1.0,
    )
    return Pipeline([("prep", steps), ("model", xgb.XGBClassifier(n_estimators=40, max_depth=4, n_jobs=1))])


def adult(frame: pd.DataFrame) -> Pipeline:
    """Target encoding, rare levels together, logarithms and quantiles, LightGBM."""
    steps = ColumnTransformer(
        [
            ("rare", OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=300), ["native-country"]),
            ("target", make_pipeline(TargetEncoder(), StandardScaler()), ["occupation", "workclass"]),
            ("log", FunctionTransformer(np.log1p), ["capital-gain", "capital-loss"]),
            ("quantile", QuantileTransformer(n_quantiles=200, output_distribution="normal"), ["age"]),
            ("bins", KBinsDiscretizer(6, encode="onehot-dense", strategy="uniform"), ["hours-per-week"]),
        ],
        remainder="drop",
        sparse_threshold=0,
    )
    return Pipeline([("prep", steps), ("model", lgb.LGBMClassifier(n_estimators=40, n_jobs=1, verbose=-1))])


def hmeq(frame: pd.DataFrame) -> Pipeline:
    """Missing values everywhere: medians with indicators, missing as a level, a forest."""
    numbers = [name for name in frame if name not in words_of(frame)]
    steps = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), RobustScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", drop="if_binary", sparse_output=False), words_of(frame)),
    )
    return Pipeline([("prep", steps), ("model", RandomForestClassifier(12, max_depth=8, random_state=0, n_jobs=1))])


def heloc(frame: pd.DataFrame) -> Pipeline:
    """Codes inside of numbers: one imputer takes -8 for missing, other columns are bent by a power transform."""
    codes = ["MSinceMostRecentDelq", "MSinceMostRecentInqexcl7days"]
    codes = [name for name in codes if name in frame]
    bent = ["ExternalRiskEstimate", "AverageMInFile"]
    steps = make_column_transformer(
        (SimpleImputer(missing_values=-8, strategy="mean", add_indicator=True), codes),
        (PowerTransformer(), bent),
        (make_pipeline(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)), ["MaxDelqEver"]),
        remainder="passthrough",
    )
    return Pipeline([("prep", steps), ("model", HistGradientBoostingClassifier(max_iter=40))])


PIPELINES: dict[str, Callable[[pd.DataFrame], Pipeline]] = {
    "german_credit": german,
    "adult": adult,
    "hmeq": hmeq,
    "heloc": heloc,
}


def data(name: str, data_dir: Any) -> tuple[pd.DataFrame, np.ndarray]:
    folder: Path = data_dir(name)
    loaded = load(name, path=folder)
    return loaded.frame, loaded.target.to_numpy()


def own(whole: Any, rows: pd.DataFrame) -> np.ndarray:
    return np.asarray(whole.predict_proba(rows)[:, 1], dtype=np.float64)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", PIPELINES)
def test_ten_thousand_raw_rows(name: str, data_dir: Any) -> None:
    """The trees on raw columns, our native score and the pipeline itself are equal in every bit on every row."""
    frame, target = data(name, data_dir)
    whole = PIPELINES[name](frame).fit(frame, target)
    model = read_model(whole)
    assert isinstance(model.core, Trees)
    missing = {"german_credit": True, "hmeq": True}.get(name, set())
    if name == "german_credit":
        missing = set(words_of(frame)) | {"duration", "amount", "age"}
    far = (0.0, -8.0, -9.0, -7.0, 1e9) if name == "heloc" else (0.0, 1e9, 17.0)
    rows = adversarial_rows(model, frame, ROWS, 11, missing=missing, numbers=far)
    if name == "adult":  # log1p of -1 is infinite, and the pipeline refuses it
        rows = rows[~(rows[["capital-gain", "capital-loss"]] <= -1.0).any(axis=1)]
    matrix = encode_frame(rows, model.columns)
    native = own(whole, rows)
    assert np.array_equal(model.score(matrix), native)
    assert np.array_equal(model.squash(evaluate(model.core, matrix)), native)
    assert len(np.unique(native)) > 100
    for column in model.columns:
        if column.levels is not None:
            assert set(frame[column.name].dropna().unique()) <= set(column.levels)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", PIPELINES)
def test_the_same_around_a_linear_model(name: str, data_dir: Any) -> None:
    """A sum on raw columns is within its stated rounding, and the native score is the pipeline's own."""
    frame, target = data(name, data_dir)
    numbers = [n for n in frame if n not in words_of(frame)]
    steps = ColumnTransformer(
        [
            ("num", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers[1:]),
            ("bins", make_pipeline(SimpleImputer(), KBinsDiscretizer(5, strategy="uniform")), numbers[:1]),
            ("cat", OneHotEncoder(handle_unknown="ignore"), words_of(frame)),
        ]
    )
    whole = Pipeline([("prep", steps), ("model", LogisticRegression(max_iter=50))]).fit(frame, target)
    model = read_model(whole)
    rows = adversarial_rows(model, frame, 2_000, 13, numbers=(0.0, -5.0, 1e6))
    matrix = encode_frame(rows, model.columns)
    slack = np.array([model.core.eps(np.nan_to_num(np.abs(row))) for row in matrix])  # type: ignore[union-attr]
    ours = model.core.evaluate(matrix)  # type: ignore[union-attr]
    assert np.all(np.abs(ours - model.raw(matrix)) <= slack)
    assert np.all(slack < 1e-3)
    alone = np.array([own(whole, rows.iloc[i : i + 1])[0] for i in range(0, len(rows), 20)])
    assert np.array_equal(model.score(matrix)[::20], alone)
