"""Classifiers behind one calibrator: the classifier's own core, its raw scores bent by a monotone map."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any, cast

import numpy as np

from ..errors import ModelError, SelfCheckFailed, UnsupportedModel
from .additive import Additive, Pair, Term
from .base import Level, Model, Score, Wanted
from .ebm import frame_of
from .selfcheck import REFUSED
from .trees import Trees

METHODS = ("sigmoid", "isotonic")
PROBES = 512


def read(estimator: Any, wanted: Wanted) -> Model:
    """Read a fitted CalibratedClassifierCV that has one calibrator (``ensemble=False``, or of a frozen classifier).

    Calibration moves the place where raw scores turn into approval, and nothing else: what stands on a plateau of an
    isotonic calibrator has the same score, and the cut is the plateau's edge.

    Parameters
    ----------
    estimator : CalibratedClassifierCV
        Around a classifier that can be read.
    wanted : Wanted
        The favourable class; the score is the probability.

    Returns
    -------
    Model

    Raises
    ------
    UnsupportedModel
        If there are several calibrators (their mean is a sum of bent scores), another method than "sigmoid" or
        "isotonic", or the classifier cannot be read.
    ModelError
        If the estimator is not fitted, or asked for a decision function.
    """
    from .reading import read_estimator

    name = "sklearn.CalibratedClassifierCV"
    if not hasattr(estimator, "calibrated_classifiers_"):
        raise ModelError(f"{name} is not fitted. Call fit before handing it over.")
    classes = list(estimator.classes_)
    positive = wanted.positive(name, classes)
    if wanted.score != "probability":
        raise ModelError(f"{name} has no decision_function. Write score = 'probability', and a threshold to match.")
    parts = estimator.calibrated_classifiers_
    if len(parts) != 1:
        raise UnsupportedModel(
            f"{name} is the mean of {len(parts)} calibrated classifiers, which cannot be read exactly. Fit it with "
            "ensemble=False, or take it as a black box: black_box=True"
        )
    part = parts[0]
    if part.method not in METHODS or len(part.calibrators) != 1:
        raise UnsupportedModel(f"{name} has the method {part.method!r}; recourse reads {' and '.join(METHODS)}")
    native, calibrator = _thawed(part.estimator), part.calibrators[0]
    kind: Score = "decision_function" if hasattr(native, "decision_function") else "probability"
    second = cast("Level", classes[1].item() if isinstance(classes[1], np.generic) else classes[1])
    inner = read_estimator(native, replace(wanted, favourable=second, score=kind))
    if not isinstance(inner.core, Trees | Additive):
        raise UnsupportedModel(f"{name}: the classifier in it, {inner.name}, cannot be read exactly")
    rises = bool(calibrator.increasing_) if part.method == "isotonic" else bool(calibrator.a_ <= 0.0)
    turned = positive != rises  # a larger raw score is to be better for the applicant

    def calibrated(answers: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # the search for a cut tries the largest numbers there are
            p = np.asarray(calibrator.predict(answers), dtype=np.float64)
        return p if positive else 1.0 - p

    def raw(matrix: np.ndarray) -> np.ndarray:
        return -inner.raw(matrix) if turned else inner.raw(matrix)

    def score(matrix: np.ndarray) -> np.ndarray:
        return calibrated(inner.score(matrix))

    def squash(raw: np.ndarray) -> np.ndarray:
        raw = np.asarray(raw, dtype=np.float64)
        return calibrated(inner.squash(-raw if turned else raw))

    model = replace(
        inner,
        name=f"{name}({inner.name})",
        core=_turned(inner.core) if turned else inner.core,
        raw=raw,
        score=score,
        squash=squash,
        sha256=_identity(inner.sha256, part.method, calibrator),
        cuts={},
    )
    _check(estimator, native, model, int(positive))
    return model


def _thawed(estimator: Any) -> Any:
    return estimator.estimator if type(estimator).__name__ == "FrozenEstimator" else estimator


def _turned(core: Trees | Additive) -> Trees | Additive:
    """Return the core of the negated raw score; rounding is the same on both sides of 0."""
    if isinstance(core, Trees):
        return replace(core, value=-core.value, base=-core.base)
    return replace(
        core,
        intercept=-core.intercept,
        terms=tuple(_turned_term(term) for term in core.terms),
        pairs=tuple(Pair(pair.first, pair.second, -pair.values) for pair in core.pairs),
    )


def _turned_term(term: Term) -> Term:
    return replace(
        term,
        weight=None if term.weight is None else -term.weight,
        values=None if term.values is None else -term.values,
        levels=None if term.levels is None else -term.levels,
        missing=-term.missing,
    )


def _identity(inner: str, method: str, calibrator: Any) -> str:
    digest = sha256(f"{inner}|{method}".encode())
    names = ("a_", "b_") if method == "sigmoid" else ("X_thresholds_", "y_thresholds_")
    for name in names:
        digest.update(np.ascontiguousarray(getattr(calibrator, name), dtype=np.float64).tobytes())
    return f"sha256:{digest.hexdigest()}"


def _check(estimator: Any, native: Any, model: Model, position: int) -> None:
    """Compare the composed score with the estimator's own on random rows, where a frame of them can be built."""
    rng = np.random.default_rng(0)
    numeric = all(column.levels is None for column in model.columns)
    if not numeric and type(native).__name__ != "Pipeline":
        return  # how the library takes categories is known to the classifier's own reader, which has compared them
    columns = [
        np.asarray(rng.integers(0, len(c.levels), PROBES), dtype=np.float64)
        if c.levels is not None
        else rng.normal(size=PROBES) * 10.0 ** rng.integers(-2, 5, size=PROBES)
        for c in model.columns
    ]
    matrix = np.column_stack(columns)
    named = hasattr(native, "feature_names_in_") or not numeric
    alone = [matrix[i : i + 1] for i in range(0, PROBES, 16)]
    rows = [frame_of(model.columns, row) if named else row for row in alone]
    theirs = np.array([estimator.predict_proba(row)[0, position] for row in rows])
    ours = model.score(matrix)
    if not np.array_equal(theirs, ours[::16]) or not np.array_equal(model.squash(model.raw(matrix)), ours):
        raise SelfCheckFailed(f"{model.name}: the score is not the library's. {REFUSED}")
    # interpolation may round by a unit in the last place where two of its lines meet
    falls = np.diff(model.squash(np.unique(model.raw(matrix))))
    if np.any(falls < -4e-16):
        raise SelfCheckFailed(f"{model.name}: the score falls where the raw score rises. {REFUSED}")
