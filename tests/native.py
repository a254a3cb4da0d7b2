"""The native library's own score of raw rows: what both twins hold the engine against."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn import config_context


@dataclass(frozen=True, eq=False)
class Native:
    """A fitted classifier as a function of raw rows.

    `levels` names the columns that the library itself treats as categories; all others are handed over as float64.
    """

    estimator: Any
    columns: tuple[str, ...]
    levels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    favourable: Any = 1
    score: str = "probability"  # or "decision_function"

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        """Return raw rows as the library wants them."""
        out = {}
        for name in self.columns:
            if name in self.levels:
                out[name] = pd.Categorical(raw[name].to_numpy(dtype=object), categories=list(self.levels[name]))
            else:
                out[name] = raw[name].to_numpy(dtype=object).astype(np.float64)
        return pd.DataFrame(out)

    @property
    def side(self) -> int:
        """Position of the favourable class among the two."""
        return [str(c) for c in self.estimator.classes_].index(str(self.favourable))

    def __call__(self, raw: pd.DataFrame) -> np.ndarray:
        """Return the score that decides, float64[n]."""
        if hasattr(self.estimator, "coef_"):
            return self._one_by_one(raw)
        if self.score == "decision_function":
            return self.raw(raw)
        return np.asarray(self.estimator.predict_proba(self.frame(raw))[:, self.side], dtype=np.float64)

    def _one_by_one(self, raw: pd.DataFrame) -> np.ndarray:
        """Score a linear model row by row: BLAS adds up a batch in another order than the one row that decides."""
        x = np.ascontiguousarray(self.frame(raw).to_numpy(dtype=np.float64))  # its layout, too, is part of the sum
        with config_context(assume_finite=True, skip_parameter_validation=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of feature names, which an array lacks
            if self.score == "decision_function":
                sign = 1.0 if self.side == 1 else -1.0
                return np.array(
                    [sign * float(self.estimator.decision_function(x[i : i + 1])[0]) for i in range(len(x))]
                )
            return np.array([float(self.estimator.predict_proba(x[i : i + 1])[0, self.side]) for i in range(len(x))])

    def raw(self, raw: pd.DataFrame) -> np.ndarray:
        """Return the margin of the favourable class (of forests: the probability), float64[n]."""
        frame = self.frame(raw)
        module = type(self.estimator).__module__.split(".")[0]
        if module == "xgboost":
            margin = self.estimator.predict(frame, output_margin=True)
        elif module == "lightgbm":
            margin = self.estimator.predict(frame, raw_score=True)
        elif hasattr(self.estimator, "decision_function"):
            margin = self.estimator.decision_function(frame)
        else:
            return np.asarray(self.estimator.predict_proba(frame)[:, self.side], dtype=np.float64)
        return np.asarray(margin, dtype=np.float64) * (1.0 if self.side == 1 else -1.0)
