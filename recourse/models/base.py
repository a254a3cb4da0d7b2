"""What the rest of recourse knows of a model: its columns, its neutral core, its native score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .additive import Additive
    from .trees import Trees

Level = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Column:
    """One input of a model.

    `levels` is None for a column that the model treats as a number; else its levels in the order of their codes, as
    the applicant's data spells them.
    """

    name: str
    levels: tuple[Level, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A fitted binary classifier, read exactly.

    `score` and `raw` call the native library (one thread) on a float64[n, n_columns] matrix in which a categorical
    column holds codes (positions in its `levels`) and NaN is missing; they return float64[n]. `squash` is the native,
    non-decreasing map from raw scores to scores. All three are about the favourable class.
    """

    name: str  # e.g. "xgboost.Booster"
    core: Trees | Additive
    score: Callable[[np.ndarray], np.ndarray]
    raw: Callable[[np.ndarray], np.ndarray]
    squash: Callable[[np.ndarray], np.ndarray]
    sha256: str  # of the file's bytes, or of the neutral arrays for an estimator in memory
    self_check: str = "not checked"  # e.g. "1,284 probes equal"
    notes: tuple[str, ...] = ()
    cuts: dict[float, float] = field(default_factory=dict)  # threshold -> raw score; a cache

    @property
    def columns(self) -> tuple[Column, ...]:
        """The model's inputs in native order."""
        return self.core.columns

    def cut(self, threshold: float) -> float:
        """Return the smallest raw score whose native score is at least `threshold` (inf when there is none).

        Bisection over the representable raw scores (float32 ones where the model adds in float32), so that comparing
        raw scores with the cut decides exactly as comparing native scores with the threshold.
        """
        if threshold not in self.cuts:
            self.cuts[threshold] = _bisect(self.squash, threshold, single=bool(getattr(self.core, "single", False)))
        return self.cuts[threshold]


def _bisect(squash: Callable[[np.ndarray], np.ndarray], threshold: float, *, single: bool) -> float:
    dtype: Any = np.float32 if single else np.float64
    word: Any = np.int32 if single else np.int64

    def reaches(key: int) -> bool:
        return bool(squash(np.array([_from_key(key, dtype, word)], dtype=np.float64))[0] >= threshold)

    high = int(np.array(np.finfo(dtype).max, dtype=dtype).view(word))
    low = -high
    if not reaches(high):
        return float("inf")
    if reaches(low):
        return float("-inf")
    while high - low > 1:
        middle = (low + high) // 2
        if reaches(middle):
            high = middle
        else:
            low = middle
    return _from_key(high, dtype, word)


def _from_key(key: int, dtype: Any, word: Any) -> float:
    """Number a float's rank: non-negative keys are the bits of x >= 0, key -k is -(float of bits k)."""
    size = np.array(abs(key), dtype=word).view(dtype)
    return float(size if key >= 0 else -size)
