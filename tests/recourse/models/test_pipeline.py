"""A pipeline read on raw columns scores as the pipeline itself, whatever stands in the rows."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier

from recourse.errors import DataError, SelfCheckFailed, UnsupportedModel
from recourse.models import Model, encode_frame, read_model
from recourse.models.evaluate import evaluate
from recourse.models.trees import Trees
from tests.rawrows import adversarial_rows

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

RNG = np.random.default_rng(0)
N = 400


def people(*, missing: bool) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a frame with numbers, codes, categories and truth values, and a target that depends on all of them."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "income": rng.lognormal(3, 1, N).round(2),
            "debts": rng.normal(0, 1e3, N).round(),
            "age": rng.integers(18, 80, N),
            "inquiries": rng.choice([-9.0, -8.0, 0.0, 1.0, 2.0, 5.0], N),
            "housing": rng.choice(["rent", "own", "free"], N),
            "purpose": rng.choice(["car", "home", "other", "boat", "ünï"], N, p=[0.4, 0.3, 0.2, 0.06, 0.04]),
            "branch": rng.choice([1, 2, 3, 7], N),
            "member": rng.choice([True, False], N),
        }
    )
    score = np.log(frame["income"]) - frame["debts"] / 1e3 + (frame["housing"] == "own") + frame["member"]
    score += frame["branch"] * 0.2 + (frame["inquiries"] < 0) - 0.02 * frame["age"] + (frame["purpose"] == "boat")
    target = (score + rng.normal(0, 1, N) > np.median(score)).astype(int)
    if missing:
        for name in ("income", "age", "housing", "purpose"):
            frame.loc[rng.random(N) < 0.1, name] = np.nan
    return frame, target.to_numpy()


NUMBERS = ["income", "debts", "age"]
WORDS = ["housing", "purpose"]
TREES: dict[str, Any] = {
    "tree": lambda: DecisionTreeClassifier(max_depth=6, random_state=0),
    "forest": lambda: RandomForestClassifier(6, max_depth=6, random_state=0, n_jobs=2),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=8, random_state=0),
    "hist": lambda: HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=5, random_state=0),
    "xgboost": lambda: xgb.XGBClassifier(n_estimators=8, max_depth=4, n_jobs=1),
    "lightgbm": lambda: lgb.LGBMClassifier(n_estimators=8, min_child_samples=5, n_jobs=1, verbose=-1),
}


def one_hot(**how: Any) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", **how)


def usual() -> ColumnTransformer:
    """Return what most people write."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    return ColumnTransformer(
        [("num", numbers, NUMBERS), ("cat", one_hot(), WORDS)], remainder="passthrough", sparse_threshold=0
    )


def scored(estimator: Any, frame: pd.DataFrame, favourable: Any = 1) -> np.ndarray:
    """Return the pipeline's own probability, on one thread: forests add in a racing order on two."""
    final = estimator[-1]
    if hasattr(final, "n_jobs"):
        final.n_jobs = 1
    side = list(estimator.classes_).index(favourable)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return np.asarray(estimator.predict_proba(frame)[:, side], dtype=np.float64)


def agree(estimator: Any, model: Model, rows: pd.DataFrame) -> None:
    """Hold trees on raw columns, and the model's native score, to the pipeline itself, bit for bit."""
    assert isinstance(model.core, Trees)
    matrix = encode_frame(rows, model.columns)
    native = scored(estimator, rows)
    assert np.array_equal(model.score(matrix), native)
    assert np.array_equal(model.squash(evaluate(model.core, matrix)), native)
    assert np.array_equal(model.raw(matrix), evaluate(model.core, matrix))


def takes(estimator: Any, data: pd.DataFrame) -> set[str]:
    """Return the columns in which the pipeline takes a missing value."""
    out = set()
    for name in data.columns:
        row = data.dropna().iloc[:1].astype({c: object for c in data.columns if data[c].dtype.kind not in "fiub"})
        row = row.astype({c: float for c in row.columns if row[c].dtype.kind in "iub"})
        row[name] = pd.Series([np.nan], index=row.index, dtype=row[name].dtype)
        try:
            scored(estimator, row)
        except ValueError:
            continue
        out.add(name)
    return out


def read_and_agree(
    steps: Any,
    final: Any,
    frame: pd.DataFrame,
    target: np.ndarray,
    *,
    n: int = 3000,
    numbers: tuple[float, ...] = (0.0, -1.0, 1e30, -1e30),
    positive: bool = False,
) -> Model:
    estimator = Pipeline([("prep", steps), ("model", final)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(frame, target)
    model = read_model(estimator)
    assert "equal" in model.self_check
    rows = adversarial_rows(model, frame, n, 5, missing=takes(estimator, frame), numbers=numbers)
    if positive:  # without numbers at which a logarithm or a reciprocal is infinite, or too large for float32
        rows = rows[~((rows.abs() < 1e-30) | (rows == -1.0)).any(axis=1)]
    agree(estimator, model, rows)
    return model


@pytest.mark.parametrize("final", TREES)
@pytest.mark.parametrize("missing", [False, True])
def test_the_usual_pipeline(final: str, missing: bool) -> None:
    """Imputer, scaler, one-hot and passthrough around any trees: every score is the pipeline's, to the last bit."""
    frame, target = people(missing=missing)
    model = read_and_agree(usual(), TREES[final](), frame, target)
    assert [c.name for c in model.columns] == list(frame.columns)
    levels = {c.name: c.levels for c in model.columns if c.levels is not None}
    assert set(levels) == set(WORDS)
    assert levels["housing"] == ("free", "own", "rent")
    assert all(c.unseen for c in model.columns if c.levels is not None)


NUMERIC: dict[str, Any] = {
    "standard": StandardScaler,
    "standard-without-mean": lambda: StandardScaler(with_mean=False),
    "minmax": MinMaxScaler,
    "minmax-clip": lambda: MinMaxScaler((-1, 3), clip=True),
    "maxabs": MaxAbsScaler,
    "robust": RobustScaler,
    "quantile": lambda: QuantileTransformer(n_quantiles=37, random_state=0),
    "quantile-normal": lambda: QuantileTransformer(n_quantiles=100, output_distribution="normal", random_state=0),
    "power": PowerTransformer,
    "power-plain": lambda: PowerTransformer(standardize=False),
    "bins-ordinal": lambda: KBinsDiscretizer(6, encode="ordinal", quantile_method="averaged_inverted_cdf"),
    "bins-onehot": lambda: KBinsDiscretizer(5, encode="onehot", quantile_method="averaged_inverted_cdf"),
    "bins-dense": lambda: KBinsDiscretizer(4, encode="onehot-dense", strategy="uniform"),
    "binarizer": lambda: Binarizer(threshold=12.5),
    "expm1-of-tanh": lambda: make_pipeline(FunctionTransformer(np.tanh), FunctionTransformer(np.expm1)),
    "square": lambda: make_pipeline(StandardScaler(), FunctionTransformer(np.square)),
    "absolute": lambda: make_pipeline(RobustScaler(), FunctionTransformer(np.abs), MinMaxScaler()),
    "negative": lambda: make_pipeline(FunctionTransformer(np.negative), MinMaxScaler(clip=True)),
    "arcsinh-quantile-bins": lambda: make_pipeline(
        FunctionTransformer(np.arcsinh),
        QuantileTransformer(n_quantiles=20),
        KBinsDiscretizer(5, encode="onehot-dense", strategy="uniform"),
        StandardScaler(),
    ),
    "bins-then-encoder": lambda: make_pipeline(KBinsDiscretizer(4, encode="ordinal", strategy="uniform"), one_hot()),
    "select": lambda: make_pipeline(StandardScaler(), SelectKBest(f_classif, k=2), VarianceThreshold()),
    "passthrough": lambda: "passthrough",
    "union": lambda: make_union(StandardScaler(), Binarizer(threshold=30.0), "passthrough"),
    "weighted-union": lambda: FeatureUnion(
        [("a", StandardScaler()), ("b", "passthrough")], transformer_weights={"a": -0.3, "b": 7.0}
    ),
}


@pytest.mark.parametrize("kind", NUMERIC)
@pytest.mark.parametrize("final", ["xgboost", "lightgbm"])
def test_steps_on_numbers(kind: str, final: str) -> None:
    """Every scaler, transform and discretizer: borders on raw doubles are exact, far out and beside them."""
    frame, target = people(missing=False)
    far = (1e12, -1e12) if kind in ("power", "power-plain", "square", "expm1-of-tanh") else (1e30, -1e30)
    read_and_agree(NUMERIC[kind](), TREES[final](), frame[NUMBERS], target, numbers=(0.0, -1.0, *far))


@pytest.mark.parametrize("function", [np.log1p, np.sqrt, np.log, np.log2, np.cbrt, np.reciprocal, np.exp2])
@pytest.mark.parametrize("final", ["tree", "hist"])
def test_functions_of_positive_numbers(function: Any, final: str) -> None:
    """Logarithms, roots and powers; numbers of which there is no logarithm become missing, as in the pipeline."""
    frame, target = people(missing=False)
    part = frame[["income", "age"]] if function is not np.exp2 else frame[["income", "age"]].clip(upper=60.0)
    steps = make_pipeline(FunctionTransformer(function), StandardScaler())
    outside = (-3.0, -1e9) if function in (np.log, np.log2, np.sqrt, np.log1p) else ()
    model = read_and_agree(steps, TREES[final](), part, target, numbers=(1e-3, 0.5, 77.0, *outside), positive=True)
    assert {c.name for c in model.columns} == {"income", "age"}


def test_box_cox_takes_positive_numbers_alone() -> None:
    """A Box-Cox transform refuses 0 and below: so does the model, naming column, row and value."""
    frame, target = people(missing=False)
    part = frame[["income", "age"]]
    final = DecisionTreeClassifier(max_depth=5)
    model = read_and_agree(PowerTransformer("box-cox"), final, part, target, numbers=(1e-5, 1e9), positive=True)
    bad = part.astype(float).iloc[:50].copy()
    bad.loc[31, "income"] = 0.0
    with pytest.raises(DataError, match=r"'income', row 31 .*refuses the value 0.0"):
        model.score(encode_frame(bad, model.columns))


ENCODERS: dict[str, Any] = {
    "onehot": one_hot,
    "onehot-closed": OneHotEncoder,
    "onehot-drop-first": lambda: OneHotEncoder(drop="first"),
    "onehot-drop-binary": lambda: one_hot(drop="if_binary", sparse_output=False),
    "onehot-infrequent": lambda: OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=30),
    "onehot-largest": lambda: one_hot(max_categories=3, drop="first"),
    "onehot-float32": lambda: one_hot(dtype=np.float32, sparse_output=False),
    "ordinal": OrdinalEncoder,
    "ordinal-unknown": lambda: OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-3, encoded_missing_value=-1
    ),
    "ordinal-unknown-missing": lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
    "ordinal-infrequent": lambda: OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=99, min_frequency=40
    ),
    "target": lambda: TargetEncoder(cv=2),
    "target-then-scaler": lambda: make_pipeline(TargetEncoder(smooth=10.0, cv=2), StandardScaler()),
    "imputed": lambda: make_pipeline(SimpleImputer(strategy="most_frequent"), one_hot()),
    "imputed-constant": lambda: make_pipeline(SimpleImputer(strategy="constant", fill_value="?"), OrdinalEncoder()),
    "ordinal-then-onehot": lambda: make_pipeline(OrdinalEncoder(encoded_missing_value=-1), one_hot()),
    "ordinal-then-imputer": lambda: make_pipeline(OrdinalEncoder(), SimpleImputer(strategy="mean", add_indicator=True)),
}


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("missing", [False, True])
def test_encoders_of_levels(kind: str, missing: bool) -> None:
    """Every encoder and option, missing and unseen levels included; what one refuses the model refuses."""
    frame, target = people(missing=missing)
    final = "forest" if missing else "tree"
    dense = make_column_transformer((ENCODERS[kind](), WORDS), ("passthrough", ["income"]), sparse_threshold=0)
    model = read_and_agree(dense, TREES[final](), frame[["income", *WORDS]], target)
    closed = kind in ("onehot-closed", "onehot-drop-first", "ordinal", "imputed-constant") or kind.startswith(
        "ordinal-then"
    )
    for column in model.columns:
        if column.levels is not None:
            assert column.unseen is not closed
    if closed:
        strange = frame.dropna().iloc[:3].copy()
        strange["housing"] = "castle"
        with pytest.raises(DataError, match="never seen the level 'castle'"):
            encode_frame(strange, model.columns)


@pytest.mark.parametrize("final", ["xgboost", "lightgbm", "tree"])
@pytest.mark.parametrize("missing", [False, True])
def test_sparse_zeros(final: str, missing: bool) -> None:
    """XGBoost takes what a sparse matrix leaves out for missing, each exact 0 too; others take it for 0."""
    frame, target = people(missing=missing)
    frame["debts"] = (frame["debts"] / 100).round()  # many zeros
    steps = make_column_transformer(
        (SimpleImputer(), ["income", "age"]),
        ("passthrough", ["debts", "branch"]),
        (one_hot(), WORDS),
        sparse_threshold=1,
    )
    read_and_agree(steps, TREES[final](), frame[["debts", "income", "age", "branch", *WORDS]], target)
    assert steps.sparse_output_


def test_columns_that_are_numbers_and_levels() -> None:
    """A number that only encoders take has their levels; one that is also computed with is a number; all the same."""
    frame, target = people(missing=False)
    part = frame[["branch", "age", "member"]]
    only = make_column_transformer((one_hot(), ["branch", "member"]), ("passthrough", ["age"]), sparse_threshold=0)
    model = read_and_agree(only, TREES["tree"](), part, target)
    levels = {c.name: c.levels for c in model.columns}
    assert levels == {"branch": (1, 2, 3, 7), "member": (False, True), "age": None}
    both = make_column_transformer(
        (one_hot(sparse_output=False), ["branch"]),
        (StandardScaler(), ["branch", "age"]),
        (OrdinalEncoder(), ["member"]),
    )
    model = read_and_agree(both, TREES["lightgbm"](), part, target, numbers=(0.0, 2.5, 6.0, 7.0, -1.0))
    assert {c.name: c.levels for c in model.columns} == {"branch": None, "member": (False, True), "age": None}


def test_levels_are_the_union_over_encoders() -> None:
    """Two encoders that know different levels: the column has all that both take."""
    frame, target = people(missing=False)
    narrow = OneHotEncoder(categories=[["own", "castle"]], handle_unknown="ignore", sparse_output=False)
    wide = OneHotEncoder(categories=[["rent", "own", "free", "tent"]], handle_unknown="ignore", sparse_output=False)
    steps = make_column_transformer((narrow, ["housing"]), (wide, ["housing"]), ("passthrough", ["income"]))
    model = read_and_agree(steps, TREES["tree"](), frame[["housing", "income"]], target)
    column = next(c for c in model.columns if c.name == "housing")
    assert column.levels == ("own", "castle", "rent", "free", "tent")
    closed = OneHotEncoder(categories=[["rent", "own", "free"]], sparse_output=False)
    steps = make_column_transformer((narrow, ["housing"]), (closed, ["housing"]), ("passthrough", ["income"]))
    model = read_and_agree(steps, TREES["tree"](), frame[["housing", "income"]], target)
    column = next(c for c in model.columns if c.name == "housing")
    assert column.levels == ("own", "rent", "free")
    assert not column.unseen


def test_codes_that_an_imputer_takes_for_missing() -> None:
    """An imputer that replaces -9 makes -9 a value of its own among the numbers, to the double."""
    frame, target = people(missing=False)
    part = frame[["inquiries", "income"]]
    steps = make_column_transformer(
        (make_pipeline(SimpleImputer(missing_values=-9.0, add_indicator=True), StandardScaler()), ["inquiries"]),
        (MissingIndicator(missing_values=-8.0, features="all"), ["inquiries"]),
        remainder="passthrough",
    )
    beside = (-9.0, float(np.nextafter(-9.0, 0)), float(np.nextafter(-9.0, -10)), -8.0, float(np.nextafter(-8.0, 0)))
    read_and_agree(steps, TREES["boosting"](), part, target, numbers=(*beside, 1e6))


def test_pipelines_within_pipelines() -> None:
    """Steps inside steps inside steps, columns by name, place, type and slice, and what is dropped."""
    frame, target = people(missing=True)
    inner = ColumnTransformer(
        [
            ("a", make_pipeline(SimpleImputer(), MinMaxScaler()), [0]),
            ("b", "passthrough", slice(1, 2)),
            ("c", "drop", [2]),
        ]
    )
    words = make_column_selector(dtype_include=[object, "str"])
    columns = ColumnTransformer(
        [
            ("num", Pipeline([("inner", inner), ("nothing", "passthrough"), ("s", RobustScaler())]), NUMBERS),
            ("cat", make_pipeline(one_hot(sparse_output=False)), words),
            ("gone", "drop", ["branch"]),
        ],
        remainder=SimpleImputer(),
    )
    steps = Pipeline([("columns", columns), ("constant", VarianceThreshold())])
    frame["member"] = frame["member"].astype(float)
    model = read_and_agree(steps, TREES["lightgbm"](), frame, target)
    assert [c.name for c in model.columns] == ["income", "debts", "inquiries", "housing", "purpose", "member"]
    nested = Pipeline([("outer", StandardScaler()), ("inner", make_pipeline(MaxAbsScaler(), TREES["tree"]()))])
    nested.fit(frame[["debts", "inquiries"]], target)
    model = read_model(nested)
    rows = adversarial_rows(model, frame[["debts", "inquiries"]], 500, 0, missing=False)
    assert np.array_equal(model.score(encode_frame(rows, model.columns)), nested.predict_proba(rows)[:, 1])


def test_frames_between_the_steps() -> None:
    """Steps that hand on data frames, and final estimators that take categories of their own."""
    frame, target = people(missing=True)
    part = frame[["income", "age", *WORDS]]
    steps = make_column_transformer(
        (make_pipeline(SimpleImputer(), QuantileTransformer(n_quantiles=30)), ["income", "age"]),
        (one_hot(sparse_output=False), WORDS),
    ).set_output(transform="pandas")
    read_and_agree(steps, TREES["xgboost"](), part, target)
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    hist = HistGradientBoostingClassifier(max_iter=6, categorical_features=[0, 1], min_samples_leaf=5)
    model = read_and_agree(make_column_transformer((codes, WORDS), remainder="passthrough"), hist, part, target)
    assert [c.name for c in model.columns if c.levels is not None] == WORDS
    typed = frame[["income", *WORDS]].astype(dict.fromkeys(WORDS, "category"))
    steps = ColumnTransformer([("s", StandardScaler(), ["income"])], remainder="passthrough")
    steps.set_output(transform="pandas")
    for final in (
        HistGradientBoostingClassifier(max_iter=6, categorical_features="from_dtype", min_samples_leaf=5),
        lgb.LGBMClassifier(n_estimators=6, min_child_samples=5, n_jobs=1, verbose=-1),
        xgb.XGBClassifier(n_estimators=6, max_depth=4, enable_categorical=True, n_jobs=1),
    ):
        whole = Pipeline([("prep", steps), ("model", final)]).fit(typed, target)
        # XGBoost damages levels beyond ASCII: these it must be told
        model = read_model(whole, levels={name: list(typed[name].cat.categories) for name in WORDS})
        rows = adversarial_rows(model, frame[["income", *WORDS]], 1000, 0)
        rows = rows.astype({name: typed[name].dtype for name in WORDS})
        agree(whole, model, rows)


def test_pipelines_fitted_on_arrays() -> None:
    """Without names the caller gives them; columns of numbers and of words may stand side by side."""
    frame, target = people(missing=False)
    numbers = frame[NUMBERS].to_numpy(dtype=float)
    whole = make_pipeline(StandardScaler(), TREES["forest"]()).fit(numbers, target)
    model = read_model(whole, columns=NUMBERS)
    rows = adversarial_rows(model, frame[NUMBERS], 1000, 0)
    assert np.array_equal(model.score(encode_frame(rows, model.columns)), scored(whole, rows.to_numpy()))
    mixed = frame[["income", "housing"]].to_numpy(dtype=object)
    steps = ColumnTransformer([("n", StandardScaler(), [0]), ("c", one_hot(), [1])])
    whole = Pipeline([("prep", steps), ("model", TREES["tree"]())]).fit(mixed, target)
    model = read_model(whole, columns=["income", "housing"])
    rows = adversarial_rows(model, frame[["income", "housing"]], 1000, 0, missing={"housing"})
    assert np.array_equal(model.score(encode_frame(rows, model.columns)), scored(whole, rows.to_numpy(dtype=object)))


class CountFrequencyEncoder(TransformerMixin, BaseEstimator):
    """Stands in for feature_engine's encoder: what it has learnt is called the same, and it answers the same."""

    def __init__(self, variables: Any = (), unseen: str = "ignore") -> None:
        self.variables, self.unseen = variables, unseen

    def fit(self, X: pd.DataFrame, y: Any = None) -> CountFrequencyEncoder:
        self.feature_names_in_, self.n_features_in_ = np.array(X.columns, dtype=object), X.shape[1]
        self.encoder_dict_ = {name: X[name].value_counts(normalize=True).to_dict() for name in self.variables}
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        out = X.copy()
        for name, table in self.encoder_dict_.items():
            strange = set(X[name].dropna()) - set(table)
            if strange and self.unseen == "raise":
                raise ValueError(f"unseen {strange}")
            out[name] = X[name].map(table).astype(float)
            if self.unseen == "encode":
                out[name] = out[name].fillna(0.0)
        return out


CountFrequencyEncoder.__module__ = "feature_engine.encoding.count_frequency"


@pytest.mark.parametrize("unseen", ["ignore", "raise", "encode"])
@pytest.mark.parametrize("missing", [False, True])
def test_tables_of_frequencies(unseen: str, missing: bool) -> None:
    """An encoder that replaces levels by how frequent they are is a lookup table."""
    frame, target = people(missing=missing)
    part = frame[["income", *WORDS]].astype(dict.fromkeys(WORDS, object))
    model = read_and_agree(CountFrequencyEncoder(WORDS, unseen), TREES["xgboost"](), part, target, n=1000)
    assert {c.name: c.unseen for c in model.columns if c.levels} == dict.fromkeys(WORDS, unseen != "raise")


def test_the_favourable_class_may_be_the_first() -> None:
    """Scores are about the class that was asked for."""
    frame, target = people(missing=False)
    words = np.where(target == 1, "bad", "good")
    whole = make_pipeline(StandardScaler(), TREES["boosting"]()).fit(frame[NUMBERS], words)
    for favourable in ("good", "bad"):
        model = read_model(whole, favourable=favourable)
        matrix = encode_frame(frame[NUMBERS], model.columns)
        assert np.array_equal(model.score(matrix), scored(whole, frame[NUMBERS], favourable))
        assert isinstance(model.core, Trees)
        assert np.array_equal(model.raw(matrix), evaluate(model.core, matrix))


class Doubler(StandardScaler):
    """A subclass, which may do anything."""


@pytest.mark.parametrize(
    "step, message",
    [
        (PCA(2), r"'prep' > 'num' \(PCA\).*mixes columns"),
        (PolynomialFeatures(), r"'prep' > 'num' \(PolynomialFeatures\)"),
        (FunctionTransformer(np.maximum.accumulate), r"\(FunctionTransformer\).*is not one of numpy's log"),
        (FunctionTransformer(lambda x: x), r"'<lambda>' is not one of numpy's"),
        (Doubler(), r"'prep' > 'num' \(Doubler\)"),
    ],
)
def test_other_steps_are_named(step: Any, message: str) -> None:
    """A step that cannot be pulled back is named by its path, in one line, with the way out; which works."""
    frame, target = people(missing=False)
    steps = ColumnTransformer([("num", step, NUMBERS)], remainder="drop")
    whole = Pipeline([("prep", steps), ("model", TREES["tree"]())]).fit(frame, target)
    with pytest.raises(UnsupportedModel, match=message) as caught:
        read_model(whole)
    assert "\n" not in str(caught.value)
    assert "black_box=True" in str(caught.value)


def test_a_step_falls_to_the_black_box() -> None:
    """With black_box=True a pipeline that cannot be read is asked instead, and its notes say which step it was."""
    frame, target = people(missing=False)
    whole = make_pipeline(PCA(2), TREES["tree"]()).fit(frame[NUMBERS], target)
    model = read_model(whole, black_box=True)
    assert any("'pca' (PCA)" in note for note in model.notes)
    exact = read_model(make_pipeline(StandardScaler(), TREES["tree"]()).fit(frame[NUMBERS], target), black_box=True)
    assert isinstance(exact.core, Trees)


def test_what_the_pipeline_refuses_is_named_by_its_raw_column() -> None:
    """A missing value that no step takes is refused with the raw column and the row."""
    frame, target = people(missing=False)
    whole = make_pipeline(StandardScaler(), TREES["boosting"]()).fit(frame[NUMBERS], target)
    model = read_model(whole)
    bad = frame[NUMBERS].iloc[:40].copy()
    bad.loc[17, "age"] = np.nan
    with pytest.raises(DataError, match=r"column 'age', row 17 .*missing.*Fill it in"):
        model.score(encode_frame(bad, model.columns))


def test_a_wrong_reading_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One border moved by one double: the self-check refuses the model."""
    from recourse.models import pipeline

    frame, target = people(missing=False)
    whole = make_pipeline(StandardScaler(), TREES["tree"]()).fit(frame[NUMBERS], target)
    original = pipeline.rewrite

    def wrong(*given: Any) -> Any:
        core, origin = original(*given)
        core.threshold[0] = np.nextafter(core.threshold[0], np.inf)
        return core, origin

    monkeypatch.setattr(pipeline, "rewrite", wrong)
    with pytest.raises(SelfCheckFailed, match="Nothing is explained"):
        read_model(whole)


def test_files_of_pipelines(tmp_path: Path) -> None:
    """A pipeline is read from skops, boosters of other libraries inside it too, and from a pickle that is allowed."""
    import joblib
    import skops.io

    frame, target = people(missing=True)
    for final in ("xgboost", "lightgbm", "forest"):
        whole = Pipeline([("prep", usual()), ("model", TREES[final]())]).fit(frame, target)
        skops.io.dump(whole, tmp_path / "m.skops")
        joblib.dump(whole, tmp_path / "m.joblib")
        with pytest.warns(UserWarning, match="run any code"):
            pickled = read_model(tmp_path / "m.joblib", allow_pickle=True)
        for model in (read_model(tmp_path / "m.skops"), pickled):
            matrix = encode_frame(frame, model.columns)
            assert np.array_equal(model.score(matrix), scored(whole, frame))


def test_the_caller_s_pipeline_is_left_alone() -> None:
    """Reading changes nothing in the pipeline, nor in scikit-learn's configuration."""
    frame, target = people(missing=True)
    whole = Pipeline([("prep", usual()), ("model", TREES["forest"]())]).fit(frame, target)

    def state() -> tuple[Any, ...]:
        return repr(whole.get_params()), set(vars(whole["prep"])), set(vars(whole["model"])), get_config()

    before = state()
    read_model(whole)
    assert state() == before


def test_a_row_alone_scores_as_among_others() -> None:
    """One row's score does not depend on the rows beside it."""
    frame, target = people(missing=True)
    for final in (TREES["xgboost"](), LogisticRegression()):
        whole = Pipeline([("prep", usual_linear()), ("model", final)]).fit(frame, target)
        model = read_model(whole)
        matrix = encode_frame(frame, model.columns)[:50]
        assert np.array_equal(model.score(matrix), [model.score(row[None])[0] for row in matrix])


def usual_linear() -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return ColumnTransformer([("num", numbers, [*NUMBERS, "branch"]), ("cat", one_hot(), [*WORDS, "member"])])


def test_extra_trees_too() -> None:
    """Extremely randomised trees have thresholds anywhere."""
    frame, target = people(missing=True)
    read_and_agree(usual(), ExtraTreesClassifier(5, max_depth=8, random_state=1), frame, target, n=1000)
