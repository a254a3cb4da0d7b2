"""EBMs, scorecards and calibrated classifiers of real data are read as their libraries score them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from recourse import datasets, read_model
from recourse.errors import ModelError, SelfCheckFailed, UnsupportedModel
from recourse.models import encode_frame
from recourse.models.additive import Additive
from recourse.models.additive_check import check_additive

DataDir = Callable[[str], Path]


def some(name: str, data_dir: DataDir, n: int = 1500) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the first rows of a data set and whether each was good."""
    data = datasets.load(name, path=data_dir(name))
    return data.frame.head(n).reset_index(drop=True), np.asarray(data.target).astype(int)[:n]


def agrees(fitted: Any, frame: pd.DataFrame, **wanted: Any) -> Any:
    """Read a model, and compare its scores of real rows with the library's own."""
    model = read_model(fitted, **wanted)
    matrix = encode_frame(frame, model.columns)
    theirs = fitted.predict_proba(frame)[:, list(fitted.classes_).index(model.favourable)]
    assert np.abs(model.score(matrix) - theirs).max() <= 1e-12  # theirs depend on the rows beside in the last digit
    assert isinstance(model.core, Additive)
    slack = model.core.eps(np.nan_to_num(np.abs(matrix)).max(axis=0))
    assert np.abs(model.core.evaluate(matrix) - model.raw(matrix)).max() <= slack
    assert np.array_equal(model.squash(model.raw(matrix)), model.score(matrix))
    return model


def ebm(frame: pd.DataFrame, target: np.ndarray, interactions: int) -> Any:
    glassbox = pytest.importorskip("interpret.glassbox")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on missing values in its plots
        return glassbox.ExplainableBoostingClassifier(
            interactions=interactions, outer_bags=1, max_rounds=60, n_jobs=1, random_state=0
        ).fit(frame, target)


@pytest.mark.parametrize("favourable", [0, 1])
def test_an_ebm_with_pairs_categories_and_gaps_is_read(data_dir: DataDir, favourable: int) -> None:
    """On Adult with missing numbers and unseen levels, scores are the library's for either class."""
    frame, target = some("adult", data_dir)
    frame = frame.iloc[:, :8].copy()
    number = frame.select_dtypes("number").columns[0]
    frame[number] = frame[number].astype(float).mask(frame.index % 7 == 0)
    fitted = ebm(frame, target, interactions=4)
    model = agrees(fitted, frame, favourable=favourable)
    assert len(model.core.pairs) == 4
    level = next(c for c in model.columns if c.levels is not None)
    strange = frame.head(20).assign(**{level.name: "never seen"})
    theirs = fitted.predict_proba(strange)[:, favourable]
    assert np.array_equal(model.score(encode_frame(strange, model.columns)), theirs)


def test_a_wrong_bin_of_an_ebm_is_noticed(data_dir: DataDir) -> None:
    """The self-check finds an edge that lies one representable number off."""
    frame, target = some("heloc", data_dir)
    model = read_model(ebm(frame.iloc[:, :4], target, interactions=1))
    core = model.core
    assert isinstance(core, Additive)
    term = core.terms[0]
    assert term.edges is not None
    assert term.values is not None
    jump = int(np.argmax(np.abs(np.diff(term.values))))
    edges = term.edges.copy()
    edges[jump] = np.nextafter(edges[jump], np.inf)
    wrong = replace(core, terms=(replace(term, edges=edges), *core.terms[1:]))
    with pytest.raises(SelfCheckFailed, match="raw score is not the library's"):
        check_additive("ebm", wrong, model.raw, model.score, model.squash)


def test_terms_of_three_features_are_refused(data_dir: DataDir) -> None:
    """What no pair can say is refused by the names of its features."""
    frame, target = some("heloc", data_dir, 600)
    fitted = ebm(frame.iloc[:, :3], target, interactions=[(0, 1, 2)])  # type: ignore[arg-type]
    with pytest.raises(UnsupportedModel, match="a term of 3 features"):
        read_model(fitted)


def scorecard(frame: pd.DataFrame, target: np.ndarray, **how: Any) -> Any:
    optbinning = pytest.importorskip("optbinning")
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    frame = frame.astype(dict.fromkeys(texts, object))
    process = optbinning.BinningProcess(list(frame.columns), categorical_variables=texts, special_codes=[-7, -8, -9])
    scaled = {"pdo": 20, "odds": 50, "scorecard_points": 600}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optbinning.Scorecard(
            process, LogisticRegression(), scaling_method="pdo_odds", scaling_method_params=scaled, **how
        ).fit(frame, target, metric_special="empirical", metric_missing="empirical")


@pytest.mark.parametrize("name", ["heloc", "german_credit"])
def test_a_scorecard_is_read_by_probability_and_by_points(data_dir: DataDir, name: str) -> None:
    """Codes and categories included, both scores are the library's; points that fall are refused with the remedy."""
    frame, target = some(name, data_dir, 1000)
    frame = frame.iloc[:, :8]
    fitted = scorecard(frame, 1 - target)  # the event is default, as scorecards have it
    texts = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    frame = frame.astype(dict.fromkeys(texts, object))
    fitted.classes_ = fitted.estimator_.classes_
    agrees(fitted, frame, favourable=0)
    model = read_model(fitted, favourable=0, score="decision_function")
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), fitted.score(frame))
    assert "points" in model.notes[0]
    with pytest.raises(ModelError, match="points fall where the favourable class gets likelier"):
        read_model(fitted, favourable=1, score="decision_function")


def test_a_binning_process_before_a_classifier_is_read(data_dir: DataDir) -> None:
    """A Pipeline of a BinningProcess and logistic regression is the same kind of model."""
    optbinning = pytest.importorskip("optbinning")
    frame, target = some("heloc", data_dir)
    frame = frame.iloc[:, :6]
    codes = {"none": [-7], "no record": [-8, -9]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        process = optbinning.BinningProcess(list(frame.columns), special_codes=codes)
        fitted = make_pipeline(process, LogisticRegression()).fit(frame, target)
    agrees(fitted, frame, favourable=1)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("favourable", [0, 1])
def test_a_calibrated_classifier_keeps_the_core(data_dir: DataDir, method: str, favourable: int) -> None:
    """With one calibrator the scores are the library's, and the cut is where they reach the threshold."""
    frame, target = some("heloc", data_dir)
    frame = frame.iloc[:, :6]
    fitted = CalibratedClassifierCV(LogisticRegression(max_iter=5000), method=method, ensemble=False, cv=3)
    model = agrees(fitted.fit(frame, target), frame, favourable=favourable)
    cut = model.cut(0.5)
    below = np.nextafter(cut, -np.inf)
    assert model.squash(np.array([cut]))[0] >= 0.5 > model.squash(np.array([below]))[0]


def test_the_edge_of_a_plateau_is_the_cut(data_dir: DataDir) -> None:
    """An isotonic plateau at the threshold is approved as a whole, from its first raw score on."""
    frame, target = some("heloc", data_dir)
    fitted = CalibratedClassifierCV(LogisticRegression(max_iter=5000), method="isotonic", ensemble=False, cv=3)
    model = read_model(fitted.fit(frame.iloc[:, :6], target))
    scores, counts = np.unique(model.score(encode_frame(frame, model.columns)), return_counts=True)
    plateau = float(scores[np.argmax(counts)])
    cut = model.cut(plateau)
    assert model.squash(np.array([np.nextafter(cut, -np.inf)]))[0] < plateau <= model.squash(np.array([cut]))[0]


def test_folds_of_calibrators_are_refused(data_dir: DataDir) -> None:
    """The mean of several calibrated classifiers is a black box, and the message says what to do."""
    frame, target = some("heloc", data_dir, 500)
    fitted = CalibratedClassifierCV(LogisticRegression(max_iter=5000), cv=3).fit(frame.iloc[:, :4], target)
    with pytest.raises(UnsupportedModel, match="ensemble=False"):
        read_model(fitted)
