"""Every supported scikit-learn classifier is read exactly, and every other one is refused with a remedy."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from recourse.errors import DataError, ModelError, SelfCheckFailed, UnsupportedModel
from recourse.models import encode_frame, read_model
from recourse.models.additive import Additive
from recourse.models.evaluate import evaluate
from recourse.models.sklearn_linear import check_linear
from recourse.models.sklearn_reading import Reading
from recourse.models.sklearn_trees import first_single_above
from recourse.models.trees import Trees

TREES: dict[str, Any] = {
    "tree": lambda: DecisionTreeClassifier(max_depth=4, random_state=0),
    "extra-tree": lambda: ExtraTreeClassifier(max_depth=5, random_state=0),
    "weighted-tree": lambda: DecisionTreeClassifier(class_weight="balanced", min_samples_leaf=3, random_state=0),
    "forest": lambda: RandomForestClassifier(7, n_jobs=2, random_state=0),
    "extra-trees": lambda: ExtraTreesClassifier(6, bootstrap=True, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=6, random_state=0),
    "boosting-exponential": lambda: GradientBoostingClassifier(n_estimators=5, loss="exponential", random_state=0),
    "boosting-from-zero": lambda: GradientBoostingClassifier(n_estimators=5, init="zero", learning_rate=0.3),
    "boosting-from-prior": lambda: GradientBoostingClassifier(n_estimators=5, init=DummyClassifier(strategy="prior")),
    "boosting-stopped": lambda: GradientBoostingClassifier(n_estimators=40, n_iter_no_change=2, subsample=0.7),
    "hist": lambda: HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=3, random_state=0),
    "hist-stopped": lambda: HistGradientBoostingClassifier(max_iter=40, early_stopping=True, n_iter_no_change=2),
}
LINEAR: dict[str, Any] = {
    "logistic": lambda: LogisticRegression(),
    "logistic-without-intercept": lambda: LogisticRegression(fit_intercept=False),
    "svc": lambda: LinearSVC(),
    "svc-without-intercept": lambda: LinearSVC(fit_intercept=False),
    "sgd-hinge": lambda: SGDClassifier(random_state=0),
    "sgd-log-loss": lambda: SGDClassifier(loss="log_loss", random_state=0),
    "sgd-modified-huber": lambda: SGDClassifier(loss="modified_huber", random_state=0),
    "ridge": lambda: RidgeClassifier(),
    "ridge-cv": lambda: RidgeClassifierCV(),
    "perceptron": lambda: Perceptron(),
    "discriminant": lambda: LinearDiscriminantAnalysis(),
}
FEW = settings(max_examples=max(2, settings().max_examples // 10))  # of every kind
TAKES_MISSING = ("tree", "extra-tree", "weighted-tree", "forest", "extra-trees", "hist", "hist-stopped")
SCORES = {"probability": "predict_proba", "decision_function": "decision_function"}


def numbers(seed: int, *, missing: bool = False) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a small frame of numbers on a coarse grid, with ties, and a noisy outcome."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(80, 4)).round(1) * [1.0, 0.1, 1e4, 1.0]
    y = X[:, 0] + 10 * X[:, 1] + rng.normal(size=80) > 0
    y[:2] = [False, True]
    if missing:
        X[rng.random(X.shape) < 0.15] = np.nan
    return pd.DataFrame(X, columns=["a", "b", "c", "d"]), np.where(y, "good", "bad")


def clone_for_one_thread(estimator: Any) -> Any:
    """Return a shallow copy of the fitted estimator that uses one thread."""
    return copy.copy(estimator).set_params(n_jobs=1)


def native(estimator: Any, rows: Any, favourable: Any, score: str) -> np.ndarray:
    """Return the score through the estimator's public method, on one thread: forests add in a racing order on two."""
    if hasattr(estimator, "n_jobs"):
        estimator = clone_for_one_thread(estimator)
    second = list(estimator.classes_).index(favourable) == 1
    if score == "probability":
        return np.asarray(estimator.predict_proba(rows)[:, int(second)])
    return np.asarray(estimator.decision_function(rows) * (1.0 if second else -1.0))


@pytest.mark.parametrize("kind", TREES)
@FEW
@given(seed=st.integers(0, 10_000), favourable=st.sampled_from(["good", "bad"]), missing=st.booleans())
def test_trees_are_read_bit_for_bit(kind: str, seed: int, favourable: str, missing: bool) -> None:
    """Raw scores and scores of a read ensemble are the library's to the last bit, whichever class is favourable."""
    frame, y = numbers(seed, missing=missing and kind in TAKES_MISSING)
    fitted = TREES[kind]().fit(frame, y)
    rows, _ = numbers(seed + 1, missing=kind in TAKES_MISSING)
    for score, method in SCORES.items():
        if not hasattr(fitted, method):
            continue
        model = read_model(fitted, favourable=favourable, score=score)
        matrix = encode_frame(rows, model.columns)
        expected = native(fitted, rows, favourable, score)
        assert np.array_equal(model.score(matrix), expected)
        assert isinstance(model.core, Trees)
        assert np.array_equal(evaluate(model.core, matrix), model.raw(matrix))
        assert np.array_equal(model.squash(model.raw(matrix)), expected)
        assert "probes equal (leaves, values, raw scores, scores)" in model.self_check


@pytest.mark.parametrize("kind", LINEAR)
@FEW
@given(seed=st.integers(0, 10_000), favourable=st.sampled_from(["good", "bad"]))
def test_linear_scores_do_not_depend_on_the_rows_beside_them(kind: str, seed: int, favourable: str) -> None:
    """A linear model's score of a row among many is the library's score of that row alone; weights agree within eps."""
    frame, y = numbers(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small fits may not converge
        fitted = LINEAR[kind]().fit(frame, y)
    rows, _ = numbers(seed + 1)
    for score, method in SCORES.items():
        if not hasattr(fitted, method):
            continue
        model = read_model(fitted, favourable=favourable, score=score)
        matrix = encode_frame(rows, model.columns)
        alone = [native(fitted, rows.iloc[[i]], favourable, score)[0] for i in range(len(rows))]
        assert np.array_equal(model.score(matrix), alone)
        assert np.array_equal([model.score(row[None])[0] for row in matrix], alone)
        raw = model.raw(matrix)
        assert np.array_equal(model.squash(raw), alone)
        core = model.core
        assert isinstance(core, Additive)
        slack = [core.eps(np.abs(row)) for row in matrix]
        assert np.all(np.abs(matrix @ core.weights + core.intercept - raw) <= slack)


def mixed(seed: int, *, text: bool) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a frame whose categories stand between the numbers: text, numbers, booleans, missing ones."""
    rng = np.random.default_rng(seed)
    n = 120
    frame = pd.DataFrame({"income": rng.normal(size=n).round(1)})
    frame["housing"] = rng.choice(["rent", "own", "free"], n)
    frame["debt"] = rng.normal(size=n).round(1)
    frame["grade"] = rng.choice([3, 1, 2, 7], n)
    frame["member"] = rng.choice([True, False], n)
    y = frame["income"] + (frame["housing"] == "own") - (frame["grade"] == 7) + 0.5 * rng.normal(size=n) > 0
    y[:2] = [False, True]
    if not text:
        for name in ("housing", "grade", "member"):
            frame[name] = pd.Categorical(frame[name])
    frame.loc[rng.random(n) < 0.1, "housing"] = None
    frame.loc[rng.random(n) < 0.1, "debt"] = np.nan
    return frame, y.astype(int).to_numpy()


@settings(max_examples=max(2, settings().max_examples // 4))
@given(seed=st.integers(0, 10_000), text=st.booleans(), favourable=st.integers(0, 1))
def test_native_categories_are_read_bit_for_bit(seed: int, text: bool, favourable: int) -> None:
    """Categories by dtype or by name, of text, numbers and booleans, with missing ones, score as natively."""
    frame, y = mixed(seed, text=text)
    names = ["grade", "housing", "member"] if text else "from_dtype"
    fitted = HistGradientBoostingClassifier(
        max_iter=5, min_samples_leaf=3, categorical_features=names, random_state=seed
    ).fit(frame, y)
    rows, _ = mixed(seed + 1, text=text)
    for score in SCORES:
        model = read_model(fitted, favourable=favourable, score=score)
        assert [c.name for c in model.columns] == list(frame.columns)
        assert model.columns[1].levels == ("free", "own", "rent")
        assert model.columns[3].levels == (1, 2, 3, 7)
        matrix = encode_frame(rows, model.columns)
        assert np.array_equal(model.score(matrix), native(fitted, rows, favourable, score))
        assert isinstance(model.core, Trees)
        assert np.array_equal(evaluate(model.core, matrix), model.raw(matrix))


def test_categories_of_an_array_are_read() -> None:
    """An array's category codes become levels, whole numbers without a decimal point."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=100), rng.choice([2.0, 4.0, 10.0], 100)])
    y = (X[:, 0] + (X[:, 1] == 4) > 0).astype(int)
    fitted = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3, categorical_features=[1]).fit(X, y)
    model = read_model(fitted, columns=["a", "b"])
    assert model.columns[1].levels == (2, 4, 10)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), fitted.predict_proba(X)[:, 1])


def test_an_unknown_category_goes_where_missing_goes() -> None:
    """A code outside the levels is what the library calls unknown: it travels as missing."""
    frame, y = mixed(1, text=False)
    model = read_model(HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=3).fit(frame, y))
    matrix = encode_frame(frame, model.columns)
    unknown, missing = matrix.copy(), matrix.copy()
    unknown[:, 1], missing[:, 1] = 3.0, np.nan
    assert np.array_equal(model.score(unknown), model.score(missing))


def test_the_estimator_is_left_as_it_was() -> None:
    """Reading changes neither the parameters nor the feature names of the caller's estimator."""
    frame, y = numbers(0)
    fitted = RandomForestClassifier(3, n_jobs=2).fit(frame, y)
    before = dict(vars(fitted))
    read_model(fitted, favourable="good")
    assert vars(fitted) == before
    hist = HistGradientBoostingClassifier(max_iter=2).fit(*mixed(0, text=False))
    encoder = hist._preprocessor
    read_model(hist)
    assert hist._preprocessor is encoder


@given(st.floats(allow_nan=False, allow_infinity=True))
def test_the_stored_threshold_is_the_first_float32_above(threshold: float) -> None:
    """For every float32 x, ``x >= stored`` is ``not x <= threshold``."""
    stored = first_single_above(np.array([threshold]))[0]
    assert stored == np.inf or (stored > threshold and stored == np.float32(stored))
    with np.errstate(over="ignore"):
        below = float(np.nextafter(np.float32(stored), np.float32(-np.inf)))
    assert below <= threshold


def test_labels_of_any_type_are_matched_and_others_refused() -> None:
    """Booleans, numbers and text are found among the classes; an unknown label is refused with the known ones."""
    frame, y = numbers(0)
    for labels, favourable in [((False, True), True), ((0, 1), 0), ((-1.0, 1.0), 1), (("no", "yes"), "yes")]:
        fitted = DecisionTreeClassifier(max_depth=2).fit(frame, np.where(y == "good", labels[1], labels[0]))
        model = read_model(fitted, favourable=favourable)
        assert np.array_equal(model.score(frame.to_numpy()), native(fitted, frame, favourable, "probability"))
    with pytest.raises(ModelError, match=r"'goood'.*'bad' and 'good'.*Did you mean 'good'\?"):
        read_model(DecisionTreeClassifier().fit(frame, y), favourable="goood")


def test_what_cannot_be_read_is_refused_by_name() -> None:
    """Pipelines, wrappers, other classes, subclasses: the message names the class and what is supported."""
    frame, y = numbers(0)

    class Mine(DecisionTreeClassifier):
        pass

    Mine.__module__ = "sklearn.mine"
    for estimator, words in [
        (make_pipeline(PCA(2), LogisticRegression()), r"step 'pca' \(PCA\)"),
        (CalibratedClassifierCV(DecisionTreeClassifier(), cv=2), "CalibratedClassifierCV .*ensemble=False"),
        (VotingClassifier([("t", DecisionTreeClassifier())]), "VotingClassifier"),
        (AdaBoostClassifier(n_estimators=2), "AdaBoostClassifier .*black_box=True"),
        (SVC(), "SVC cannot"),
        (GridSearchCV(DecisionTreeClassifier(), {"max_depth": [1, 2]}, cv=2), "best_estimator_"),
        (Mine(), "Mine"),
        (GradientBoostingClassifier(n_estimators=2, init=DecisionTreeClassifier()), "init=DecisionTreeClassifier"),
    ]:
        with pytest.raises(UnsupportedModel, match=words):
            read_model(estimator.fit(frame, y), favourable="good")


@pytest.mark.parametrize("kind", ["tree", "forest", "boosting", "hist"])
def test_three_classes_are_refused(kind: str) -> None:
    """A model of three classes is refused with their number."""
    frame, _ = numbers(0)
    with pytest.raises(UnsupportedModel, match="3 classes"):
        read_model(TREES[kind]().fit(frame, np.arange(80) % 3))


def test_several_outputs_are_refused() -> None:
    """A tree of two outputs is refused."""
    frame, y = numbers(0)
    with pytest.raises(UnsupportedModel, match="2 outputs"):
        read_model(DecisionTreeClassifier().fit(frame, np.column_stack([y, y])), favourable="good")


def test_missing_parts_are_named() -> None:
    """An unfitted estimator, absent names and a score that the class does not give are errors with a remedy."""
    frame, y = numbers(0)
    with pytest.raises(ModelError, match="not fitted"):
        read_model(LogisticRegression())
    bare = DecisionTreeClassifier(max_depth=2).fit(frame.to_numpy(), y)
    with pytest.raises(ModelError, match="columns"):
        read_model(bare, favourable="good")
    with pytest.raises(ModelError, match="3 names"):
        read_model(bare, favourable="good", columns=["a", "b", "c"])
    with pytest.raises(ModelError, match=r"no decision_function.*score = 'probability'"):
        read_model(bare, favourable="good", columns=list("abcd"), score="decision_function")
    with pytest.raises(ModelError, match=r"no predict_proba.*score = 'decision_function'"):
        read_model(RidgeClassifier().fit(frame, y), favourable="good")


def test_a_refused_value_is_named() -> None:
    """Where the library takes no missing or too large values, the error names column and row."""
    frame, y = numbers(0)
    model = read_model(GradientBoostingClassifier(n_estimators=2).fit(frame, y), favourable="good")
    matrix = frame.to_numpy().copy()
    matrix[3, 2] = np.nan
    with pytest.raises(DataError, match=r"'c', row 3 .*missing"):
        model.score(matrix)
    matrix[3, 2] = 1e39
    with pytest.raises(DataError, match=r"'c', row 3 .*1e\+39"):
        model.score(matrix)
    linear = read_model(LogisticRegression().fit(frame, y), favourable="good")
    matrix[3, 2] = np.nan
    for rows in (matrix, matrix[3:4]):
        with pytest.raises(DataError, match=r"'c', row \d .*missing"):
            linear.score(rows)
    with pytest.raises(DataError, match="4 columns"):
        model.score(matrix[:, :3])


def test_a_wrong_weight_does_not_pass_the_self_check() -> None:
    """The linear self-check sees a weight that differs by one part in a million."""
    frame, y = numbers(0)
    fitted = RidgeClassifier().fit(frame, y)
    model = read_model(fitted, favourable="good", score="decision_function")
    assert isinstance(model.core, Additive)
    for j in range(4):
        weights = model.core.weights.copy()
        weights[j] *= 1 + 1e-6
        wrong = Additive.linear(model.core.columns, weights, model.core.intercept)
        with pytest.raises(SelfCheckFailed, match="raw score"):
            check_linear("a model", Reading(wrong, model.raw, model.score, model.squash))
