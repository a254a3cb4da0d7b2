"""What every reader of a scikit-learn estimator shares: the reading itself and a quiet copy to score with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError
from .additive import Additive
from .base import RefusedCell, Score
from .trees import Trees

Scorer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A core and the native functions that it must equal; all of them about the favourable class."""

    core: Trees | Additive
    raw: Scorer
    score: Scorer
    squash: Scorer
    leaves: Callable[[np.ndarray, int, int], np.ndarray] | None = None  # the library's own leaf of each row and tree
    leaf_id: np.ndarray | None = None  # int64[n_nodes], its number for each node of the core
    values: Callable[[np.ndarray, int], np.ndarray] | None = None  # the library's own contribution of one tree


@dataclass(frozen=True, slots=True, eq=False)
class Estimator:
    """A fitted binary classifier with the caller's wishes, ready to be read.

    `native` is a shallow copy that computes on one thread and takes plain arrays without remarking on their names;
    the caller's own estimator is never touched. `positive` says whether the favourable class is ``classes_[1]``, the
    one that binary decision functions are about.
    """

    native: Any
    name: str
    columns: tuple[str, ...]
    positive: bool
    score: Score

    @property
    def position(self) -> int:
        """Column of the favourable class in ``predict_proba``."""
        return int(self.positive)

    @property
    def sign(self) -> float:
        """Factor that makes a larger decision function better for the applicant."""
        return 1.0 if self.positive else -1.0


def quiet_copy(estimator: Any) -> Any:
    """Copy the estimator without its data, for one thread and for arrays without names."""
    native = copy.copy(estimator)
    native.__dict__.pop("feature_names_in_", None)
    if "n_jobs" in native.get_params(deep=False):
        native.set_params(n_jobs=1)
    if "verbose" in native.get_params(deep=False):
        native.set_params(verbose=0)
    return native


def guarded(function: Scorer, columns: tuple[str, ...]) -> Scorer:
    """Let the library's refusal of a value name the column and the row."""

    def call(X: np.ndarray) -> np.ndarray:
        X = np.ascontiguousarray(X, dtype=np.float64)
        try:
            with np.errstate(over="ignore"):  # what overflows float32 is refused by the library itself
                return np.ascontiguousarray(function(X), dtype=np.float64)
        except ValueError as error:
            raise _refusal(X, columns, error) from error

    return call


def _refusal(X: np.ndarray, columns: tuple[str, ...], error: ValueError) -> DataError:
    if X.ndim != 2 or X.shape[1] != len(columns):
        return DataError(f"expected a matrix with {len(columns)} columns, got shape {X.shape}")
    for position, name in enumerate(columns):
        missing = np.flatnonzero(np.isnan(X[:, position]))
        if len(missing):
            why = "the value is missing, and the model takes no missing values. Fill it in, or leave the row out"
            return RefusedCell(name, int(missing[0]), why)
        large = np.flatnonzero(np.abs(X[:, position]) > np.finfo(np.float32).max)
        if len(large):
            value = float(X[large[0], position])
            why = f"the value is {value!r}, and the model computes in float32, which ends at 3.4e38. Correct it"
            return RefusedCell(name, int(large[0]), why)
    return DataError(f"the model refuses these rows: {error}")
