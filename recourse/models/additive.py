"""A linear model as neutral arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import Column


@dataclass(frozen=True, slots=True, eq=False)
class Additive:
    """Raw score = ``intercept + sum_j weights[j] * x_j``, within `eps(x)` of the native library's.

    A larger raw score is always better for the applicant: readers negate when the favourable class is the other one.
    """

    columns: tuple[Column, ...]  # the model's inputs, in native order; all numeric
    weights: np.ndarray  # float64[n_columns]
    intercept: float

    def eps(self, magnitude: np.ndarray) -> float:
        """Bound on |native - ours| for rows with ``|x_j| <= magnitude[j]`` (any order of summation, float64)."""
        n = len(self.weights)
        total = abs(self.intercept) + float(np.sum(np.abs(self.weights) * magnitude))
        return float(4.0 * (n + 2) * 2.0**-53 * total)
