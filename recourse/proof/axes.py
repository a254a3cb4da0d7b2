"""What one applicant may choose, feature by feature, with prices: from the policy's text and the row alone.

A position counts choices: 0 is staying; numbers have ..., -2, -1 below the start and 1, 2, ... above it, nearest first;
a list has 1, 2, ... in its order. Beyond a model's last threshold, values are left out that the policy does not limit:
they cost more and the model cannot tell them from the first one there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from ..checking.change import Changes, decimal, grid_ends, grid_value, single_at, single_rank
from ..errors import InputError
from ..state import WAIT
from ..values import Value, levels_of

if TYPE_CHECKING:
    from ..policy import Feature

_LARGEST = float(2**127)


@dataclass(frozen=True, eq=False)
class Numbers:
    """A number's choices: positions first..last, 0 among them; prices never fall away from 0."""

    name: str
    start: Value
    first: int
    last: int
    at: Callable[[int], Value]  # of positions other than 0
    price_of: Callable[[Value], int]

    def value(self, p: int) -> Value:
        """Return the value of a position."""
        return self.start if p == 0 else self.at(p)

    def price(self, p: int) -> int:
        """Return the micro-units of a position."""
        if p not in self._prices:
            self._prices[p] = 0 if p == 0 else self.price_of(self.at(p))
        return self._prices[p]

    @cached_property
    def _prices(self) -> dict[int, int]:
        return {}

    def first_with(self, holds: Callable[[float], bool]) -> int:
        """Return the first position whose value has something that all larger values have too; last + 1 if none."""
        low, high = self.first, self.last + 1
        while low < high:
            middle = (low + high) // 2
            if holds(float(self.value(middle) or 0)):
                high = middle
            else:
                low = middle + 1
        return low


@dataclass(frozen=True, eq=False)
class Choice:
    """One entry of a list: its value, its price, what else it may turn out to be, and the condition in a plan."""

    value: Value
    price: int
    until: tuple[Value, ...] = ()  # of what is provided: every value that the plan must hold for
    condition: str | None = None


@dataclass(frozen=True, eq=False)
class Listed:
    """Choices from a level, a code or a missing value; 0 is staying."""

    name: str
    choices: tuple[Choice, ...]

    @property
    def first(self) -> int:
        """The first position."""
        return 0

    @property
    def last(self) -> int:
        """The last position."""
        return len(self.choices) - 1

    def value(self, p: int) -> Value:
        """Return the value of a position."""
        return self.choices[p].value

    def price(self, p: int) -> int:
        """Return the micro-units of a position."""
        return self.choices[p].price


Axis = Numbers | Listed


def axes_of(
    changes: Changes, start: Mapping[str, Value], thresholds: Mapping[str, Sequence[float]]
) -> tuple[Axis, ...]:
    """Return the axes of one applicant; those without a choice are left out.

    Parameters
    ----------
    changes : Changes
        The policy, as single changes are judged by it.
    start : mapping
        The applicant's present values (`state.present`).
    thresholds : mapping
        Where models part each number.
    """
    out: list[Axis] = []
    for name, feature in changes.features.items():
        if feature.movable and name in start:
            axis = _axis(changes, name, feature, start[name], thresholds.get(name, ()))
            if axis.first < axis.last:
                out.append(axis)
    time = changes.policy.time
    if time is not None:
        per_month = time.cost_per_month
        out.append(Numbers(WAIT, 0, 0, time.horizon, lambda p: p, lambda v: round(1e6 * (per_month * int(v or 0)))))
    return tuple(out)


def _axis(changes: Changes, name: str, feature: Feature, start: Value, thresholds: Sequence[float]) -> Axis:
    if start is None:
        return Listed(name, (Choice(None, 0), *_provided(changes, name, feature, thresholds)))
    if feature.listed:
        ends = [level for level in levels_of(feature) if changes.judge(name, start, level, None).problem is None]
        return Listed(name, (Choice(start, 0), *(_priced(changes, name, start, end) for end in ends)))
    if isinstance(start, str):
        raise InputError(f"{name}: expected a number, got {start!r}")
    if float(start) in feature.code_values:
        targets = [_whole(end) for end, _ in feature.code_moves(float(start))]
        able = [end for end in targets if changes.judge(name, start, end, None).problem is None]
        return Listed(name, (Choice(start, 0), *(_priced(changes, name, start, end) for end in able)))
    return _numbers(changes, name, feature, start, thresholds)


def _priced(changes: Changes, name: str, start: Value, end: Value) -> Choice:
    return Choice(end, changes.judge(name, start, end, None).micro)


def _provided(changes: Changes, name: str, feature: Feature, thresholds: Sequence[float]) -> Iterator[Choice]:
    """Yield what providing a missing value may promise: any value, or at least so much; one for each cell."""
    if feature.provide is None:
        return
    if feature.listed:
        values: list[Value] = list(levels_of(feature))
    else:
        bounds = changes.bounds(name)
        if bounds.step is None or bounds.minimum is None or bounds.maximum is None:
            raise InputError(f"features.{name}: a value that is provided needs step, min and max for a proof")
        low, high = grid_ends(bounds.minimum, bounds.maximum, bounds.step, Decimal(0))
        if high - low > 100_000:
            raise InputError(f"features.{name}: {high - low + 1:,} values may be provided, too many for a proof")
        every = (grid_value(i, bounds.step, Decimal(0)) for i in range(low, high + 1))
        values = [value for value in every if value not in bounds.codes]
    if not values:
        return
    if feature.provide.mode == "any":
        yield Choice(values[0], changes.judge(name, None, None, "any").micro, tuple(values), "any")
        return
    for i, value in enumerate(values):
        yield Choice(value, changes.judge(name, None, value, "at least").micro, tuple(values[i:]), "at least")


def _numbers(changes: Changes, name: str, feature: Feature, start: float, thresholds: Sequence[float]) -> Numbers:
    bounds, here = changes.bounds(name), decimal(start)
    reach = [decimal(float(t)) for t in thresholds if abs(t) < _LARGEST]
    room = (bounds.step or Decimal(1)) * 4
    low = min(reach, default=here) - room if bounds.minimum is None else bounds.minimum
    high = max(reach, default=here) + room if bounds.maximum is None else bounds.maximum
    if bounds.most is not None:
        most = bounds.most if bounds.percent is None else max(bounds.most, bounds.percent * abs(here) / 100)
        low, high = max(low, here - most), min(high, here + most)
    low = here if feature.change == "up" else low
    high = here if feature.change == "down" else high
    price = lambda v: round(1e6 * (changes.distance(name, float(start), float(v)) + changes.policy.cost.per_change))  # noqa: E731
    if bounds.step is None:
        at_low, at_high = single_rank(float(low), up=True), single_rank(float(high), up=False)
        above = max(single_rank(float(start), up=True), at_low)
        above += single_at(above) <= start
        below = min(single_rank(float(start), up=False), at_high)
        below -= single_at(below) >= start

        def single(p: int) -> Value:
            return single_at(above + p - 1 if p > 0 else below + p + 1)

        return Numbers(name, start, min(0, at_low - below - 1), max(0, at_high - above + 1), single, price)
    zero = here if feature.step_from == "applicant" else Decimal(0)
    step = bounds.step
    first, last = grid_ends(low, high, step, zero)
    floor, ceiling = grid_ends(here, here, step, zero)  # first grid value from the start on, last one up to it
    above = max(floor + (zero + step * floor == here), first)
    below = min(ceiling - (zero + step * ceiling == here), last)

    def on_grid(p: int) -> Value:
        return grid_value(above + p - 1 if p > 0 else below + p + 1, step, zero)

    return Numbers(name, start, min(0, first - below - 1), max(0, last - above + 1), on_grid, price)


def _whole(value: float) -> Value:
    return int(value) if float(value).is_integer() else value
