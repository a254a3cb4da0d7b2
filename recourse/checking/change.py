"""Whether one change may be made, and its price to the micro-unit: from raw values and the policy's text alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import TYPE_CHECKING

import numpy as np

from ..errors import did_you_mean
from ..state import WAIT, is_plain
from ..values import Value, format_value, levels_of, parse_value, position_of

if TYPE_CHECKING:
    from ..plan import Condition
    from ..policy import Feature, Policy
    from ..population import Population

# Wide enough that sums and remainders of any two floats' decimal texts are exact.
_EXACT = Context(prec=1500)
_WHOLE = 2**53  # whole floats below here are what they print as
_MOST_KNOWN = 100_000  # verdicts kept

Known = tuple[str, Value, Value, "Condition | None"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What there is to say of one change: why it may not be made, or what it costs."""

    problem: str | None
    micro: int = 0


@dataclass(frozen=True, slots=True)
class _Bounds:
    """A feature's numbers as exact decimals, whole ones also as integers."""

    step: Decimal | None
    minimum: Decimal | None
    maximum: Decimal | None
    most: Decimal | None  # largest absolute change
    percent: Decimal | None  # ... or this much of |start|, if that is larger than `most`
    codes: frozenset[float]
    whole: tuple[int, int | None, int | None, int | None] | None  # step, min, max, most, where all are whole


class Changes:
    """The policy as single changes are judged by it, with what is looked up once for all plans."""

    def __init__(self, policy: Policy, population: Population) -> None:
        self.policy = policy
        self.features: dict[str, Feature] = dict(policy.features)
        self.protected = frozenset(name for name, feature in self.features.items() if feature.role == "protected")
        self.plainly = is_plain(policy)
        self._population = population
        self._bounds: dict[str, _Bounds] = {}
        self._units: dict[str, float] = {}
        self._knots: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._known: dict[Known, Verdict] = {}

    def judge(self, name: str, before: Value, after: Value, condition: Condition | None) -> Verdict:
        """Return why a change may not be made, or its price.

        `before` and `after` are plain; that the applicant is at `before` is looked at elsewhere.
        """
        key = (name, before, after, condition)
        verdict = self._known.get(key)
        if verdict is None:
            problem = self._problem(name, before, after, condition)
            verdict = Verdict(problem) if problem is not None else Verdict(None, self._price(name, before, after))
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = verdict
        return verdict

    def bounds(self, name: str) -> _Bounds:
        """Return the feature's step, bounds and codes as exact numbers."""
        if name not in self._bounds:
            self._bounds[name] = _read_bounds(self.features[name])
        return self._bounds[name]

    def distance(self, name: str, before: float, after: float) -> float:
        """Return the length of a numeric change in the policy's unit, weight included, as the cost defines it."""
        weight, unit = self.features[name].weight, self.policy.cost.unit
        if unit == "percentile":
            if name not in self._knots:
                self._knots[name] = self._population.knots(name)
            values, shares = self._knots[name]
            if not len(values):  # a column of nothing but missing values and codes: all places are one
                return 0.0
            return weight * abs(float(np.interp(after, values, shares)) - float(np.interp(before, values, shares)))
        if name not in self._units:
            self._units[name] = 1.0 if unit == "raw" else self._population.unit(name, unit)
        return weight * abs(after - before) / self._units[name]

    def _problem(self, name: str, before: Value, after: Value, condition: Condition | None) -> str | None:
        """Say why one change may not be made, or None."""
        if name == WAIT:
            return _waiting(self.policy, before, after, condition)
        feature = self.features.get(name)
        if feature is None:
            member = next((g for g, part in self.policy.groups.columns.items() if name in part), None)
            if member is not None:
                return f"the column is part of the group {member!r}, which changes as one"
            return f"the policy has no such feature.{did_you_mean(name, self.features)}"
        if not feature.movable:
            return _unmovable(feature)
        if before is None:
            return self._providing(name, feature, after, condition)
        if after is None:
            return "no plan may end at a missing value"
        if condition == "any":
            return "only a missing value can be provided, whatever it is"
        if before == after and isinstance(before, str) == isinstance(after, str):
            return f"the change from {before!r} to {after!r} is none"
        problem = (
            _listed(feature, before, after) if feature.listed else _numeric(feature, before, after, self.bounds(name))
        )
        if problem is None and parse_value(format_value(after, feature), feature) != after:
            return f"{after!r} is not the same after it is written and read"
        return problem

    def _providing(self, name: str, feature: Feature, after: Value, condition: Condition | None) -> str | None:
        """Say why a missing value may not be provided so, or None."""
        if feature.provide is None:
            return "a missing value never changes"
        if feature.provide.mode == "any":
            if condition != "any" or after is not None:
                return 'the policy lets the missing value be provided, whatever it is: condition "any", to no value'
            return None
        if condition != "at least" or after is None:
            return 'the policy lets the missing value be provided if it is large enough: condition "at least" a value'
        if feature.listed:
            return None if position_of(after, feature) is not None else f"{after!r} is not among the policy's levels"
        return _numeric(feature, None, after, self.bounds(name))

    def _price(self, name: str, before: Value, after: Value) -> int:
        """Return the price of one admissible change in micro-units."""
        cost = self.policy.cost
        if name == WAIT:
            assert self.policy.time is not None
            return round(1e6 * (self.policy.time.cost_per_month * int(float(after or 0))))
        feature = self.features[name]
        if before is None:
            assert feature.provide is not None
            return round(1e6 * (feature.weight * feature.provide.cost + cost.per_change))
        if not feature.listed:
            start, end = float(before), float(after or 0)
            if start in self.bounds(name).codes:
                price = next(price for target, price in _code_moves(feature, start) if target == end)
                return round(1e6 * (feature.weight * price + cost.per_change))
            return round(1e6 * (self.distance(name, start, end) + cost.per_change))
        first, last = position_of(before, feature) or 0, position_of(after, feature) or 0
        if feature.kind == "ordinal":
            return round(1e6 * (self.distance(name, float(first), float(last)) + cost.per_change))
        levels = levels_of(feature)
        price = (feature.move_cost or {}).get(str(levels[first]), {}).get(str(levels[last]), 1.0)
        return round(1e6 * (feature.weight * price + cost.per_change))


# -------------------------------------------------------------------------------------------------- one kind of change


def _unmovable(feature: Feature) -> str:
    if feature.role != "action":
        return f"a feature with role {feature.role!r} never changes"
    if feature.manipulable:
        return "the policy calls it manipulable, and such a change is never advised"
    return "the feature follows from others and is never changed itself"


def _waiting(policy: Policy, before: Value, after: Value, condition: Condition | None) -> str | None:
    """Say why a plan may not ask for so many months, or None."""
    if policy.time is None:
        return "the policy does not let an applicant wait"
    if before != 0:
        return f"waiting starts at 0 months, not {before!r}"
    if isinstance(after, str) or after is None or not float(after).is_integer():
        return f"expected whole months, got {after!r}"
    if not 1 <= after <= policy.time.horizon:
        return f"{after!r} months, the policy allows 1 to {policy.time.horizon}"
    return "only a missing value can be provided, whatever it is" if condition == "any" else None


def _listed(feature: Feature, before: Value, after: Value) -> str | None:
    """Say why a feature with levels may not go from one to the other, or None."""
    start, end = position_of(before, feature), position_of(after, feature)
    if start is None:
        return f"the applicant's value {before!r} is not among the policy's levels"
    if end is None:
        return f"{after!r} is not among the policy's levels"
    if start == end:
        return f"the change from {before!r} to {after!r} is none"
    if feature.change == "up" and end < start:
        return f"{after!r} comes before {before!r}, the policy allows only later levels"
    if feature.change == "down" and end > start:
        return f"{after!r} comes after {before!r}, the policy allows only earlier levels"
    levels = levels_of(feature)
    reachable = levels if feature.moves is None else feature.moves.get(str(levels[start]), ())
    if levels[end] not in reachable:
        return f"the policy's moves do not lead from {before!r} to {after!r}"
    if feature.kind == "ordinal" and feature.max_change is not None:
        change = feature.max_change
        if isinstance(change, float | int):
            most = decimal(change)
        else:
            share = _EXACT.multiply(decimal(change.percent), Decimal(start)).scaleb(-2)
            most = max(share, decimal(change.at_least))
        if abs(end - start) > most:
            return f"{abs(end - start)} levels from {before!r} to {after!r}, the policy allows {_digits(most)}"
    return None


def _numeric(feature: Feature, before: Value, after: Value, bounds: _Bounds) -> str | None:
    """Say why a number may not go from one value to the other, or None; `before` is None for what is provided."""
    if isinstance(before, str) or isinstance(after, str) or after is None:
        return f"expected numbers, got {before!r} and {after!r}"
    if not np.isfinite(float(after)) or not np.isfinite(float(before or 0)):
        return f"expected finite numbers, got {before!r} and {after!r}"
    if before in bounds.codes and before is not None:
        return _coded(feature, before, after, bounds)
    if after in bounds.codes:
        return f"{after!r} is a code, and a code is never a target"
    if bounds.whole is not None and _is_whole(after) and (before is None or _is_whole(before)):
        problem = _whole(feature, None if before is None else int(before), int(after), bounds.whole)
        if not problem:
            return None
    return _exactly(feature, before, after, bounds)


def _coded(feature: Feature, before: float, after: float, bounds: _Bounds) -> str | None:
    """Say why a code may not become another code or a number, or None."""
    ends = [end for end, _ in _code_moves(feature, float(before))]
    if not ends:
        return f"{before!r} is a code, and a coded value never changes"
    if float(after) not in ends:
        return f"the policy's moves do not lead from the code {before!r} to {after!r}"
    if after in bounds.codes:
        return None
    return _exactly(feature, None, after, bounds)


def _code_moves(feature: Feature, code: float) -> Iterator[tuple[float, float]]:
    """Yield where a code may go, with the price of each."""
    for start, ends in (feature.moves or {}).items():
        if float(start) == code:
            prices = {float(end): price for end, price in (feature.move_cost or {}).get(start, {}).items()}
            for end in ends:
                yield float(end), prices.get(float(end), 1.0)


def _whole(
    feature: Feature, start: int | None, end: int, whole: tuple[int, int | None, int | None, int | None]
) -> bool:
    """Whether anything is wrong with a change between whole numbers under whole bounds."""
    step, minimum, maximum, most = whole
    move = end if start is None else end - start
    return bool(
        (start is not None and ((feature.change == "up" and move < 0) or (feature.change == "down" and move > 0)))
        or (minimum is not None and end < minimum)
        or (maximum is not None and end > maximum)
        or (start is not None and most is not None and abs(move) > most)
        or (end if feature.step_from == "zero" or start is None else move) % step
    )


def _exactly(feature: Feature, before: float | None, after: float, bounds: _Bounds) -> str | None:
    """Say why a number may not be gone to, in decimals, or None."""
    end = decimal(+after)
    start = end if before is None else decimal(+before)
    move = _EXACT.subtract(end, start)
    if feature.change == "up" and move < 0:
        return f"{after!r} is below {before!r}, the policy allows only increases"
    if feature.change == "down" and move > 0:
        return f"{after!r} is above {before!r}, the policy allows only decreases"
    if bounds.minimum is not None and end < bounds.minimum:
        return f"{after!r} is below the policy's min {feature.min!r}"
    if bounds.maximum is not None and end > bounds.maximum:
        return f"{after!r} is above the policy's max {feature.max!r}"
    if bounds.most is not None:
        most = bounds.most
        if bounds.percent is not None:
            most = max(most, _EXACT.scaleb(_EXACT.multiply(bounds.percent, abs(start)), -2))
        if _EXACT.abs(move) > most:
            return f"{after!r} is {_digits(_EXACT.abs(move))} from {before!r}, the policy allows {_digits(most)}"
    if bounds.step is None:
        if float(np.float32(after)) != after:
            return f"{after!r} is no 32-bit number, and the policy gives no step"
    else:
        offset = end if feature.step_from == "zero" or before is None else move
        if _EXACT.remainder(offset, bounds.step) != 0:
            origin = "0" if feature.step_from == "zero" or before is None else repr(before)
            return f"{after!r} is not on the grid of steps of {bounds.step} from {origin}"
    return None


# ------------------------------------------------------------------------------------------------------------- numbers


def decimal(number: float) -> Decimal:
    """Return the decimal that a number is written as: 0.1 is a tenth, not its nearest binary fraction."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(int(number))


def _digits(number: Decimal) -> str:
    """Return a decimal without an exponent and without idle zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _is_whole(value: float) -> bool:
    return type(value) is int or (abs(value) < _WHOLE and float(value).is_integer())


def _read_bounds(feature: Feature) -> _Bounds:
    step = feature.step
    if step is None and feature.kind in ("integer", "ordinal"):
        step = Decimal(1)
    change = feature.max_change
    most: Decimal | None = None
    percent: Decimal | None = None
    if change is not None and isinstance(change, float | int):
        most = decimal(change)
    elif change is not None:
        most, percent = decimal(change.at_least), decimal(change.percent)
    minimum = None if feature.min is None else decimal(feature.min)
    maximum = None if feature.max is None else decimal(feature.max)
    whole = None
    parts = (step, minimum, maximum, most)
    if step is not None and percent is None and all(part is None or part == int(part) for part in parts):
        ends = [None if part is None else int(part) for part in parts[1:]]
        whole = (int(step), ends[0], ends[1], ends[2])
    return _Bounds(step, minimum, maximum, most, percent, frozenset(feature.code_values), whole)


def grid_ends(low: Decimal, high: Decimal, step: Decimal, zero: Decimal) -> tuple[int, int]:
    """Return the smallest and the largest i for which zero + i * step lies between low and high."""
    first, rest = _EXACT.divmod(_EXACT.subtract(low, zero), step)
    last, over = _EXACT.divmod(_EXACT.subtract(high, zero), step)
    # divmod rounds towards zero: one further where that is outside
    return int(first) + (1 if rest > 0 else 0), int(last) - (1 if over < 0 else 0)


def grid_value(i: int, step: Decimal, zero: Decimal) -> Value:
    """Return the float nearest to zero + i * step, a whole one as an integer."""
    value = float(_EXACT.add(zero, _EXACT.multiply(step, Decimal(i))))
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


def single_rank(number: float, *, up: bool) -> int:
    """Return the rank of the 32-bit number nearest to a number that is not below (or not above) it; 0 is that of 0."""
    single = np.float32(number)
    if up and float(single) < number:
        single = np.nextafter(single, np.float32(np.inf))
    if not up and float(single) > number:
        single = np.nextafter(single, -np.float32(np.inf))
    rank = int(np.abs(single).view(np.int32))
    return rank if single >= 0 else -rank


def single_at(rank: int) -> float:
    """Return the 32-bit number of a rank."""
    size = float(np.array(abs(rank), dtype=np.int32).view(np.float32))
    return size if rank >= 0 else -size
