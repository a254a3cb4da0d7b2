"""A guess at a black box from what it has answered: a sum of one curve for each feature, an own sum for each applicant.

What is learned is by how much a candidate's score differs from the applicant's own, on a scale where scores add. The
curves of all applicants are shrunk towards common ones, and these towards flat ones: a Gaussian prior on the
differences between neighbouring knots (a random walk), solved as ridge regressions. Answers near the threshold count
most, since that is where the guess must be right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .policy import Feature
    from .population import Population

_KNOTS = 160  # of all features together, at most
_FEWEST, _MOST = 4, 10  # knots of one feature
_NOISE = 0.05  # of one applicant's answers against a sum of curves, relative to what is needed
_COMMON_NOISE = 0.3  # of anybody's answers against the common curves
_OWN = 0.5  # standard deviation of an applicant's curves around the common ones, relative to the prior's


class Curves:
    """The knots of all features, and where states lie between them.

    A listed feature has a knot for each level, a number has knots where people are, and one for each of its codes; both
    have one for a missing value.
    """

    def __init__(
        self,
        features: Sequence[tuple[str, Feature | None]],
        population: Population,
        spans: Sequence[tuple[float, float]],
    ) -> None:
        per_feature = int(np.clip(_KNOTS // max(1, len(features)), _FEWEST, _MOST))
        self._knots: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []
        self._listed: list[bool] = []
        offset, blocks = 0, []
        self._offset = []
        for (name, feature), (low, high) in zip(features, spans, strict=True):
            listed = feature is not None and feature.listed
            codes = np.array([] if feature is None or listed else feature.code_values, dtype=np.float64)
            if listed:
                assert feature is not None
                knots = np.arange(len(feature.levels or ()), dtype=np.float64)
            else:
                people = population.columns.get(name)
                known = np.array(people.knots if people is not None else (), dtype=np.float64)
                inside = known[(known >= low) & (known <= high)]
                marks = np.linspace(low, high, per_feature)
                if len(inside):  # half where people are, half evenly
                    half = per_feature // 2
                    marks = np.concatenate([np.quantile(inside, np.linspace(0, 1, per_feature - half)), marks[::2]])
                knots = np.unique(np.concatenate([[low, high], marks]))
            ordered = not listed or (feature is not None and feature.kind == "ordinal")
            blocks.append(_precision(knots, len(codes) + 1, ordered))
            self._knots.append(knots)
            self._codes.append(codes)
            self._listed.append(listed)
            self._offset.append(offset)
            offset += len(knots) + len(codes) + 1
        self.size = offset
        self.precision = np.zeros((offset, offset))
        for at, block in zip(self._offset, blocks, strict=True):
            self.precision[at : at + len(block), at : at + len(block)] = block

    def places(self, c: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower knot (int64) of each value of feature c, and the share of the next one (float64)."""
        knots, codes, at = self._knots[c], self._codes[c], self._offset[c]
        missing = np.isnan(x)
        clean = np.where(missing, knots[0], x)
        if self._listed[c]:
            low, share = clean.astype(np.int64), np.zeros(x.shape)
        else:
            low = np.clip(np.searchsorted(knots, clean, side="right") - 1, 0, max(0, len(knots) - 2))
            width = (knots[np.minimum(low + 1, len(knots) - 1)] - knots[low]) if len(knots) > 1 else np.ones(x.shape)
            share = np.clip((clean - knots[low]) / np.where(width > 0, width, 1.0), 0.0, 1.0)
        for k, code in enumerate(codes):
            here = clean == code
            low, share = np.where(here, len(knots) + k, low), np.where(here, 0.0, share)
        low = np.where(missing, len(knots) + len(codes), low)
        return at + low, np.where(missing, 0.0, share)

    def rows(self, states: np.ndarray) -> np.ndarray:
        """Return float64[k, size], the weights of the knots in the sum of the curves at states (float64[k, n])."""
        out = np.zeros((len(states), self.size))
        each = np.arange(len(states))
        for c in range(states.shape[1]):
            low, share = self.places(c, states[:, c])
            out[each, low] += 1.0 - share
            between = share > 0
            out[each[between], low[between] + 1] += share[between]
        return out


class Surrogate:
    """What has been learned about each of n applicants.

    Parameters
    ----------
    curves : Curves
    start : numpy.ndarray
        float64[n, n_features], present states.
    need : numpy.ndarray
        float64[n], the difference of score that would be enough.
    """

    def __init__(self, curves: Curves, start: np.ndarray, need: np.ndarray) -> None:
        self.curves, self._need = curves, need
        self._scale = max(float(np.median(np.abs(need))) if len(need) else 1.0, 1e-9)
        self._home = curves.rows(start)
        p = curves.size
        self._square = np.zeros((len(start), p, p))
        self._cross = np.zeros((len(start), p))
        self.values = np.zeros((len(start), p))  # of the knots, in each applicant's sum of curves

    def absorb(self, who: np.ndarray, states: np.ndarray, difference: np.ndarray) -> None:
        """Learn by how much the scores of states (float64[k, n_features]) of applicants `who` differ from their own."""
        rows = self.curves.rows(states) - self._home[who]
        away = (difference - self._need[who]) / self._scale
        weight = 1.0 / (1.0 + 4.0 * away**2)
        for i, row, w, y in zip(who.tolist(), rows, weight, difference, strict=True):
            self._square[i] += w * np.outer(row, row)
            self._cross[i] += w * y * row

    def fit(self) -> None:
        """Bring `values` up to date with what was absorbed."""
        prior = self.curves.precision / self._scale**2
        noise = (_COMMON_NOISE * self._scale) ** 2
        common = np.linalg.solve(self._square.sum(axis=0) / noise + prior, self._cross.sum(axis=0) / noise)
        noise = (_NOISE * self._scale) ** 2
        left = self._square / noise + prior / _OWN**2
        right = (self._cross - self._square @ common) / noise
        self.values = common + np.linalg.solve(left, right[:, :, None])[:, :, 0]

    def guess(self, who: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Return the guessed differences of score, float64[k]."""
        rows = self.curves.rows(states) - self._home[who]
        return np.asarray(np.einsum("kp,kp->k", rows, self.values[who]))


def _precision(knots: np.ndarray, single: int, ordered: bool) -> np.ndarray:
    """The prior's precision on the knots of one feature: steps between neighbours, and the single ones beside them."""
    n = len(knots)
    out = 1e-2 * np.eye(n + single)
    if ordered and n > 1:
        gaps = np.diff(knots) / (knots[-1] - knots[0])
        for k in range(n - 1):
            tight = 1.0 / (4.0 * gaps[k])
            out[k, k] += tight
            out[k + 1, k + 1] += tight
            out[k, k + 1] -= tight
            out[k + 1, k] -= tight
        out[n:, n:] += 0.25 * np.eye(single)
    else:
        out += 0.25 * np.eye(n + single)
    return out
