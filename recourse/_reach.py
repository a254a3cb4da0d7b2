"""What one applicant may set each feature to, and the price of it, as lists that need no model to be made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .errors import DataError, PolicyError
from .problem.limits import Limits, TooFine, limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .policy import Feature, Policy
    from .population import Population

WAIT = "wait"

_MOST = 384  # values of one feature that are looked at; a longer grid is thinned out away from the applicant
_NEAR = 96  # steps on either side of the applicant that are all looked at
_GROWTH = 1.06  # beyond, each step is this much longer than the one before


class Options(NamedTuple):
    """The values of one feature that one applicant may have; staying first, the others by value."""

    value: np.ndarray  # float64[k], numbers, or positions of levels; NaN is missing
    until: np.ndarray  # float64[k], a provided value stands for all from `value` up to here; else equal to it
    cost: np.ndarray  # int64[k], micro-units


class Reach:
    """The options of all actions of a policy.

    Parameters
    ----------
    policy : Policy
    population : Population
        Prices of numbers, and where numbers lie.

    Examples
    --------
    >>> from recourse import Policy, Population
    >>> policy = Policy.model_validate({
    ...     "decision": {"threshold": 0.5}, "cost": {"unit": "raw", "per_change": 0},
    ...     "features": {"late": {"kind": "integer", "change": "down", "min": 0}},
    ... })
    >>> reach = Reach(policy, Population(0, {}))
    >>> reach.names
    ('late',)
    >>> reach.options(np.array([[2.0]]))[0][0].cost.tolist()
    [0, 2000000, 1000000]
    """

    def __init__(self, policy: Policy, population: Population) -> None:
        waits = (WAIT,) if policy.time is not None else ()
        self.names: tuple[str, ...] = (*policy.movable, *waits)
        self._policy, self._population = policy, population

    def options(self, start: np.ndarray, labels: Sequence[object] | None = None) -> list[list[Options]]:
        """Return the options of every action (first index) for every applicant.

        Parameters
        ----------
        start : numpy.ndarray
            float64[n, n_actions]: numbers or positions of levels, NaN for missing; months waited are 0.
        labels : sequence, optional
            What the applicants are called in messages.
        """
        return [
            self._waiting(len(start)) if name == WAIT else self._feature(name, start[:, a], labels)
            for a, name in enumerate(self.names)
        ]

    def _waiting(self, n: int) -> list[Options]:
        assert self._policy.time is not None
        months = np.arange(self._policy.time.horizon + 1, dtype=np.float64)
        cost = np.rint(1e6 * (self._policy.time.cost_per_month * months)).astype(np.int64)
        return [Options(months, months, cost)] * n

    def _feature(self, name: str, start: np.ndarray, labels: Sequence[object] | None) -> list[Options]:
        feature = self._policy.features[name]
        coded = np.isin(start, np.array(feature.code_values)) if not feature.listed else np.zeros(len(start), bool)
        known: dict[float, Options] = {}
        out = []
        try:
            grid = None if feature.listed else limits(feature, np.where(coded, np.nan, start))
        except TooFine as error:
            row = error.at if labels is None else labels[error.at]
            raise DataError(
                f"column {name!r}, row {row}: {float(start[error.at])!r} has too many digits to count steps of "
                f'{feature.step} from it exactly. Round it, or set step_from = "zero" for the feature.'
            ) from None
        for i, x in enumerate(start.tolist()):
            key = x if x == x else np.inf  # infinity is no value: it stands for missing here
            if key not in known:
                known[key] = self._one(name, feature, x, bool(coded[i]), grid, i)
            out.append(known[key])
        return out

    def _one(self, name: str, feature: Feature, x: float, coded: bool, grid: Limits | None, i: int) -> Options:
        if np.isnan(x):
            return self._provided(name, feature, grid, i)
        if coded:
            moves = feature.code_moves(x)
            value = np.array([target for target, _ in moves], dtype=np.float64)
            cost = np.array([self._micro(feature.weight * price) for _, price in moves], dtype=np.int64)
        elif grid is None:
            value = np.array(feature.targets(int(x)), dtype=np.float64)
            if feature.kind == "ordinal":
                cost = self._numeric(name, feature, x, value)
            else:
                prices = [feature.weight * feature.move_price(int(x), int(target)) for target in value]
                cost = np.array([self._micro(price) for price in prices], dtype=np.int64)
        else:
            value = self._values(name, feature, x, grid, i)
            cost = self._numeric(name, feature, x, value)
        return _staying_first(x, value, value, cost)

    def _provided(self, name: str, feature: Feature, grid: Limits | None, i: int) -> Options:
        """What providing a missing value can be asked to show: any value, or at least so much."""
        none = np.empty(0)
        if feature.provide is None:
            return _staying_first(np.nan, none, none, np.empty(0, np.int64))
        if grid is None:
            value = np.arange(len(feature.levels or ()), dtype=np.float64)
        else:
            value = self._thinned(name, feature, None, grid, i, outer=True)
        if not len(value):
            return _staying_first(np.nan, none, none, np.empty(0, np.int64))
        until = np.full(len(value), value[-1])
        if feature.provide.mode == "any":
            value, until = value[:1], until[:1]
        cost = np.full(len(value), self._micro(feature.weight * feature.provide.cost), np.int64)
        return _staying_first(np.nan, value, until, cost)

    def _values(self, name: str, feature: Feature, x: float, grid: Limits, i: int) -> np.ndarray:
        value = self._thinned(name, feature, x, grid, i, outer=False)
        if feature.change == "up":
            return value[value > x]
        return value[value < x] if feature.change == "down" else value[value != x]

    def _thinned(
        self, name: str, feature: Feature, x: float | None, grid: Limits, i: int, *, outer: bool
    ) -> np.ndarray:
        """The permitted numbers, ascending: all near the applicant, fewer farther away, where people are."""
        people = self._population.columns.get(name)
        knots = np.array(people.knots if people is not None else (), dtype=np.float64)
        home = x if x is not None else (float(np.median(knots)) if len(knots) else 0.0)
        if feature.step is None:
            low, high = (grid.outer_low, grid.outer_high) if outer else (grid.low, grid.high)
            below, above = _crowd(feature, knots, home)
            low_, high_ = max(float(low[i]), below), min(float(high[i]), above)
            return _singles(low_, high_, home, knots, feature.code_values)
        first, last = (int(a[i]) for a in ((grid.outer_first, grid.outer_last) if outer else (grid.first, grid.last)))
        origin, stride, scale = int(grid.origin[i]), int(grid.stride[i]), int(grid.scale[i])
        below, above = _crowd(feature, knots, home)
        first = max(first, int(np.floor(np.clip((below * scale - origin) / stride, -(2.0**52), 2.0**52))))
        last = min(last, int(np.ceil(np.clip((above * scale - origin) / stride, -(2.0**52), 2.0**52))))
        if first > last:
            return np.empty(0)
        if last - first < _MOST:
            index = np.arange(first, last + 1)
        else:
            middle = int(np.clip(round((home * scale - origin) / stride), first, last))
            marks = np.clip(np.rint((knots[:: max(1, len(knots) // 32)] * scale - origin) / stride), first, last)
            away = _offsets(max(last - middle, middle - first))
            index = np.concatenate([middle + away, middle - away, marks.astype(np.int64), [first, last]])
            index = np.unique(index[(index >= first) & (index <= last)])
        value = (origin + index * stride).astype(np.float64) / float(scale)
        return value[~np.isin(value, np.array(feature.code_values))]

    def _numeric(self, name: str, feature: Feature, x: float, value: np.ndarray) -> np.ndarray:
        """Micro-units of moves of a number; the order of operations is part of the contract."""
        unit = self._policy.cost.unit
        if unit == "percentile":
            knots, shares = self._population.knots(name)
            size = np.zeros(len(value))
            if len(knots):
                size = np.abs(np.interp(value, knots, shares) - np.interp(x, knots, shares))
            amount = feature.weight * size
        else:
            amount = feature.weight * np.abs(value - x) / self._population.unit(name, unit)
        cost = 1e6 * (amount + self._policy.cost.per_change)
        if len(cost) and cost.max() > 2.0**40:
            raise PolicyError(
                f"features.{name}: a move costs more than 2^40 micro-units. "
                "Give the feature bounds or a max_change, or lower its weight."
            )
        return np.rint(cost).astype(np.int64)

    def _micro(self, amount: float) -> int:
        return round(1e6 * (amount + self._policy.cost.per_change))


def _staying_first(x: float, value: np.ndarray, until: np.ndarray, cost: np.ndarray) -> Options:
    order = np.argsort(value, kind="stable")
    return Options(
        np.concatenate([[x], value[order]]),
        np.concatenate([[x], until[order]]),
        np.concatenate([[0], cost[order]]).astype(np.int64),
    )


def _crowd(feature: Feature, knots: np.ndarray, home: float) -> tuple[float, float]:
    """Where to look on a side that the policy leaves open: among people, and half their range beyond them."""
    below, above = -np.inf, np.inf
    if len(knots) and feature.max_change is None:
        slack = 0.5 * (knots[-1] - knots[0])
        below = min(knots[0] - slack, home) if feature.min is None else below
        above = max(knots[-1] + slack, home) if feature.max is None else above
    return float(below), float(above)


def _offsets(farthest: int) -> np.ndarray:
    """Steps away from the applicant: each of the near ones, then ever longer strides."""
    out, at, stride = list(range(min(_NEAR, farthest) + 1)), float(_NEAR), 1.0
    while at < farthest:
        stride *= _GROWTH
        at += stride
        out.append(int(at))
    return np.array(out, dtype=np.int64)


def _singles(low: float, high: float, home: float, knots: np.ndarray, codes: tuple[float, ...]) -> np.ndarray:
    """Float32 numbers between two bounds: where people are, and closer and closer to home."""
    size = 1.0 + abs(home)
    low, high = max(low, home - 1e3 * size), min(high, home + 1e3 * size)
    if low > high:
        return np.empty(0)
    span = max(high - home, home - low)
    near = span * 2.0 ** np.arange(-24, 1)
    marks = np.concatenate([knots[:: max(1, len(knots) // 64)], np.linspace(low, high, 129), home + near, home - near])
    value = np.unique(np.clip(marks, low, high).astype(np.float32).astype(np.float64))
    return value[(value >= low) & (value <= high) & ~np.isin(value, np.array(codes))]
