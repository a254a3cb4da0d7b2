"""Scorecards of optbinning: bins, special codes and levels, each worth what the library itself gives it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError, UnsupportedModel
from .additive import Additive, Term
from .additive_check import check_additive
from .base import Column, Level, Model, Wanted, fingerprint
from .ebm import frame_of
from .sklearn_linear import native_link, one_row_decisions
from .sklearn_reading import quiet_copy

if TYPE_CHECKING:
    import pandas as pd

Worth = Callable[[Any], np.ndarray]  # from a raw frame to what each selected variable adds: float64[n, n_variables]


@dataclass(frozen=True, slots=True, eq=False)
class _Card:
    """A binning process with what follows it."""

    name: str
    process: Any  # BinningProcess
    linear: Any  # the classifier on its weights of evidence
    evidence: Callable[[Any], Any]  # from a raw frame to what the classifier takes
    points: Any = None  # the Scorecard, where points decide


def is_binned(estimator: Any) -> bool:
    """Whether an estimator is a Pipeline of a BinningProcess and a classifier."""
    steps = getattr(estimator, "steps", None) if type(estimator).__name__ == "Pipeline" else None
    return steps is not None and len(steps) == 2 and type(steps[0][1]).__name__ == "BinningProcess"


def read(estimator: Any, wanted: Wanted) -> Model:
    """Read a fitted Scorecard, or a Pipeline of a BinningProcess and a linear classifier.

    Parameters
    ----------
    estimator : optbinning.Scorecard or sklearn.pipeline.Pipeline
        Of a binary target. It is not changed.
    wanted : Wanted
        The favourable class, and the score: "probability", or "decision_function". The latter is the number of points
        of a scorecard that was scaled (a note says so), else the log-odds.

    Returns
    -------
    Model
        Its columns are the selected variables. What the model gives a level that it has never seen is its own answer.

    Raises
    ------
    UnsupportedModel
        If the target is not binary, the classifier not linear, or a bin has no finite weight of evidence.
    ModelError
        If the estimator is not fitted, or points fall where the favourable class gets likelier.
    """
    card = _card(estimator)
    positive = wanted.positive(card.name, list(card.linear.classes_))
    sign = 1.0 if positive else -1.0
    native = quiet_copy(card.linear)
    decide = one_row_decisions(native)
    variables = [str(v) for v in card.process.get_support(names=True)]
    binned = [card.process.get_binned_variable(v) for v in variables]
    columns = tuple(_column(v, b) for v, b in zip(variables, binned, strict=True))
    others = [str(v) for v in card.process.variable_names if str(v) not in variables]
    coefficients = np.asarray(native.coef_, dtype=np.float64).reshape(-1)

    def frame(matrix: np.ndarray) -> pd.DataFrame:
        return frame_of(columns, matrix).assign(**dict.fromkeys(others, np.nan))

    def evidence(rows: pd.DataFrame) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on bins without events, at every call
            return np.ascontiguousarray(card.evidence(rows), dtype=np.float64)

    def margin(matrix: np.ndarray) -> np.ndarray:
        return sign * decide(evidence(frame(matrix)))

    if card.points is not None and wanted.score == "decision_function":
        return _points(card, columns, binned, frame, lambda rows: sign * evidence(rows) * coefficients)
    core = _core(
        card.name, columns, binned, frame, lambda rows: sign * evidence(rows) * coefficients,
        sign * float(np.ravel(native.intercept_)[0]),
    )  # fmt: skip
    score, squash = margin, _same
    if wanted.score == "probability":
        if not hasattr(native, "predict_proba"):
            raise ModelError(f"{card.name} has no predict_proba. Write score = 'decision_function', and a threshold")
        link = native_link(native)

        def squash(raw: np.ndarray) -> np.ndarray:
            return link(sign * np.asarray(raw))[:, int(positive)]

        def score(matrix: np.ndarray) -> np.ndarray:
            return squash(margin(matrix))

    return Model(
        name=card.name,
        core=core,
        raw=margin,
        score=score,
        squash=squash,
        sha256=fingerprint(core),
        self_check=check_additive(card.name, core, margin, score, squash),
    )


def _card(estimator: Any) -> _Card:
    if is_binned(estimator):
        (_, process), (_, linear) = estimator.steps
        name = f"sklearn.Pipeline(BinningProcess, {type(linear).__name__})"
        if not getattr(process, "_is_fitted", False) or not hasattr(linear, "classes_"):
            raise ModelError(f"{name} is not fitted. Call fit before handing it over.")
        if not hasattr(linear, "coef_"):
            raise UnsupportedModel(
                f"{name}: after a BinningProcess recourse reads linear classifiers, which have coef_. "
                "It can be explained as a black box, without proofs: black_box=True"
            )
        return _Card(name, process, linear, process.transform)
    name = f"optbinning.{type(estimator).__name__}"
    if type(estimator).__name__ != "Scorecard":
        raise UnsupportedModel(
            f"{name} cannot be read exactly. Supported of optbinning: Scorecard, and a Pipeline of a BinningProcess "
            "and a linear classifier"
        )
    if not getattr(estimator, "_is_fitted", False):
        raise ModelError(f"{name} is not fitted. Call fit before handing it over.")
    linear = estimator.estimator_
    if not hasattr(linear, "classes_"):
        raise UnsupportedModel(f"{name} predicts a number, not a class; recourse needs a binary target")
    process, special, missing = estimator.binning_process_, estimator._metric_special, estimator._metric_missing
    scaled = estimator if estimator.scaling_method is not None else None
    return _Card(
        name,
        process,
        linear,
        lambda rows: process.transform(rows, metric_special=special, metric_missing=missing),
        scaled,
    )


def _points(card: _Card, columns: tuple[Column, ...], binned: Sequence[Any], frame: Worth, margins: Worth) -> Model:
    """Read a scaled scorecard by its points, which must rise with the favourable class."""

    def raw(matrix: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(card.points.score(frame(matrix)), dtype=np.float64)

    def worth(rows: pd.DataFrame) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(card.points.transform(rows)[[c.name for c in columns]], dtype=np.float64)

    core = _core(card.name, columns, binned, frame, worth, float(np.ravel(card.points.intercept_)[0]))
    states = frame(_representatives(columns, binned)[0])
    given, odds = worth(states), margins(states)
    if float(np.sum((given - given.mean(axis=0)) * (odds - odds.mean(axis=0)))) < 0.0:
        raise ModelError(
            f"{card.name}: its points fall where the favourable class gets likelier, so a high score is no approval. "
            "Set decision.favourable to the other class, or decide by score = 'probability'"
        )
    return Model(
        name=card.name,
        core=core,
        raw=raw,
        score=raw,
        squash=_same,
        sha256=fingerprint(core),
        self_check=check_additive(card.name, core, raw, raw, _same),
        notes=("the score is the scorecard's points, not its log-odds",),
    )


def _same(raw: np.ndarray) -> np.ndarray:
    return np.asarray(raw, dtype=np.float64)


def _core(
    name: str, columns: tuple[Column, ...], binned: Sequence[Any], frame: Worth, worth: Worth, intercept: float
) -> Additive:
    """Return the terms: where values fall is the bins', what they are worth is asked of the library."""
    matrix, counts = _representatives(columns, binned)
    given = worth(frame(matrix))
    terms = []
    for j, (column, bins) in enumerate(zip(columns, binned, strict=True)):
        values = np.array(given[: counts[j], j])
        if not np.isfinite(values).all():
            raise UnsupportedModel(
                f"{name}: a bin of {column.name!r} has no finite weight of evidence, as it holds one class alone. "
                "Fit the binning with min_bin_n_event and min_bin_n_nonevent of at least 1"
            )
        if column.levels is None:
            terms.append(Term(j, edges=_edges(bins), values=values[:-1], missing=float(values[-1])))
        else:
            terms.append(Term(j, levels=values[:-1], missing=float(values[-1])))
    return Additive(columns, intercept, tuple(terms))


def _representatives(columns: tuple[Column, ...], binned: Sequence[Any]) -> tuple[np.ndarray, list[int]]:
    """Return rows in which each column runs through its bins or levels and ends with missing, and how many it has."""
    states = []
    for column, bins in zip(columns, binned, strict=True):
        if column.levels is None:
            edges = _edges(bins)
            inside = np.append(np.nextafter(edges[:1], -np.inf), edges) if len(edges) else np.zeros(1)
        else:
            inside = np.arange(column.n_codes, dtype=np.float64)
        states.append(np.append(inside, np.nan))
    most = max(map(len, states))
    return np.column_stack([np.append(s, np.repeat(s[:1], most - len(s))) for s in states]), [len(s) for s in states]


def _column(name: str, bins: Any) -> Column:
    if bins.dtype != "categorical":
        return Column(name)
    from optbinning.binning.binning_statistics import bin_categorical

    groups = bin_categorical(bins._splits_optimal, bins._categories, bins._cat_others, bins.user_splits)
    levels = [level for group in groups for level in np.asarray(group, dtype=object).tolist()]
    known = [*levels, *_codes(bins)]
    return Column(name, tuple(dict.fromkeys(_plain(level) for level in known)), unseen=True)


def _edges(bins: Any) -> np.ndarray:
    """Where the bins of a number begin; a special code is a bin of its own."""
    codes = np.array([code for code in _codes(bins) if not isinstance(code, str)], dtype=np.float64)
    splits = np.asarray(bins.splits, dtype=np.float64)
    return np.unique(np.concatenate([splits, codes, np.nextafter(codes, np.inf)]))


def _codes(bins: Any) -> list[Level]:
    codes = bins.special_codes
    if codes is None:
        return []
    if not isinstance(codes, Mapping):
        return [_plain(code) for code in codes]
    return [_plain(c) for part in codes.values() for c in (part if isinstance(part, list | np.ndarray) else [part])]


def _plain(level: Any) -> Level:
    return level.item() if isinstance(level, np.generic) else level
