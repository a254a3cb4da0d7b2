"""The rows on which a plan promises to hold: all of them where they are few, else the corners and a sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..state import WAIT
from ..values import Value, levels_of, position_of
from .change import Changes, decimal, grid_ends, grid_value, single_at, single_rank

if TYPE_CHECKING:
    from ..plan import Plan

SAMPLED = 2_000  # rows of a region that is too large to enumerate
_LARGEST = float(np.finfo(np.float32).max)
_FARTHEST = 40  # an end that nothing limits is tried up to 2 ** 40 steps away


class Axis(NamedTuple):
    """The values of one feature in a region, by number; `size` is None where nothing ends them."""

    name: str
    size: int | None
    at: Callable[[int], Value]


class Region(NamedTuple):
    """Chosen rows of a region: for each, the number of a value on every axis."""

    axes: tuple[Axis, ...]
    choice: np.ndarray  # int64[n_rows, n_axes]
    whole: bool  # every row of the region is here

    def values(self, k: int) -> tuple[list[Value], np.ndarray]:
        """Return the values that occur on an axis, and for each row the place of its own among them."""
        numbers, place = np.unique(self.choice[:, k], return_inverse=True)
        return [self.axes[k].at(int(i)) for i in numbers], place.reshape(-1)

    def rows(self) -> Iterator[dict[str, Value]]:
        """Yield the chosen values of every row."""
        columns = [self.values(k) for k in range(len(self.axes))]
        for i in range(len(self.choice)):
            yield {axis.name: values[place[i]] for axis, (values, place) in zip(self.axes, columns, strict=True)}

    def words(self, i: int) -> str:
        """Return one row in words."""
        return ", ".join(f"{a.name} = {a.at(int(n))!r}" for a, n in zip(self.axes, self.choice[i], strict=True))


def promised(plan: Plan, start: Mapping[str, Value], changes: Changes, *, shape: str, most: int) -> Region | None:
    """Return the rows on which a plan promises to hold beside its own, at most `most`; None where there are none.

    The intervals of `Plan.region`, and every value that a provided one may turn out to have. For the shape "orthant"
    an end that the policy does not limit is none, whatever number is stated.
    """
    axes = []
    for change in plan.changes:
        feature = changes.features.get(change.feature)
        if change.before is None and feature is not None and feature.provide is not None:
            axes.append(_provided(change.feature, change.after, changes))
    told = {axis.name for axis in axes}
    directions = {c.feature: _direction(c.before, c.after) for c in plan.changes}
    for name, (low, high) in (plan.region or {}).items():
        if name in told or (name != WAIT and name not in changes.features):
            continue
        if shape == "orthant" and name != WAIT and not changes.features[name].listed:
            high = None if directions.get(name) == 1 and changes.features[name].max is None else high
            low = None if directions.get(name) == -1 and changes.features[name].min is None else low
        axes.append(_between(name, low, high, start.get(name), changes))
    axes = [axis for axis in axes if axis.size != 1]
    if not axes or any(axis.size == 0 for axis in axes):
        return None
    sizes = [axis.size for axis in axes]
    if None not in sizes and math.prod(s for s in sizes if s is not None) <= most:
        choice = np.indices([s for s in sizes if s is not None]).reshape(len(axes), -1).T
        return _without_codes(Region(tuple(axes), np.ascontiguousarray(choice, dtype=np.int64), True), changes)
    return _without_codes(Region(tuple(axes), _some(sizes, min(most, SAMPLED)), False), changes)


def shortfalls(
    plan: Plan, start: Mapping[str, Value], changes: Changes, *, shape: str, box_steps: int
) -> Iterator[str]:
    """Yield where the stated region is not one, or does not reach as far as the shape promises."""
    region = plan.region
    if region is None:
        if shape != "point":
            yield f"a plan of shape {shape!r} states the region on which it holds, this one states none"
        return
    stated = {change.feature: change.after for change in plan.changes}
    for name, (low, high) in region.items():
        if name != WAIT and name not in changes.features:
            yield f"{name}: the region speaks of a feature that the policy does not have"
            continue
        value = stated.get(name, start.get(name))
        if not _contains(name, low, high, value, changes):
            yield f"{name}: the region from {low!r} to {high!r} does not hold the plan's own value {value!r}"
    if shape == "point":
        return
    for change in plan.changes:
        sign = _direction(change.before, change.after)
        if not sign or not _on_a_grid(change.feature, change.before, changes):
            continue
        if change.feature not in region:
            yield f"{change.feature}: changes, but the region does not speak of it"
            continue
        far = region[change.feature][1 if sign > 0 else 0]
        wanted = _farthest(
            change.feature, change.after, sign, start, changes, None if shape == "orthant" else box_steps
        )
        if wanted is not None and far is not None and (_number(far) - wanted) * sign < 0:
            yield f"{change.feature}: the region ends at {far!r}, the shape {shape!r} reaches {float(wanted)!r}"


def first_provided(name: str, changes: Changes) -> Value:
    """Return the first of the values that a provided one may turn out to have."""
    return _provided(name, None, changes).at(0)


# ---------------------------------------------------------------------------------------------------------------- axes


def _provided(name: str, after: Value, changes: Changes) -> Axis:
    """Every value that a provided one may turn out to have: from a stated one on, or all."""
    feature = changes.features[name]
    if feature.listed:
        levels = levels_of(feature)
        first = 0 if after is None else position_of(after, feature) or 0
        return Axis(name, len(levels) - first, lambda i: levels[first + i])
    return _between(name, feature.min if after is None else after, feature.max, None, changes)


def _between(name: str, low: Value, high: Value, start: Value, changes: Changes) -> Axis:
    """The values from low to high; None is an end that nothing limits."""
    if name == WAIT:
        assert changes.policy.time is not None
        first, last = int(_number(low or 0)), int(_number(changes.policy.time.horizon if high is None else high))
        return Axis(name, max(0, last - first + 1), lambda i: first + i)
    feature = changes.features[name]
    if feature.listed:
        levels = levels_of(feature)
        ends = position_of(low, feature), position_of(high, feature)
        if ends[0] is None or ends[1] is None:
            return Axis(name, 0, lambda _: None)
        begin = ends[0]
        return Axis(name, max(0, ends[1] - begin + 1), lambda i: levels[begin + i])
    if isinstance(low, str) or isinstance(high, str):
        return Axis(name, 0, lambda _: None)
    step = changes.bounds(name).step
    if step is None:
        first = single_rank(-_LARGEST if low is None else float(low), up=True)
        last = single_rank(_LARGEST if high is None else float(high), up=False)
        return Axis(name, max(0, last - first + 1), lambda i: single_at(first + i))
    zero = decimal(start) if feature.step_from == "applicant" and isinstance(start, int | float) else Decimal(0)
    if low is None and high is None:
        return Axis(name, None, lambda i: grid_value(-(i // 2) - 1 if i % 2 else i // 2, step, zero))
    if low is None:
        end = grid_ends(decimal(high or 0), decimal(high or 0), step, zero)[1]
        return Axis(name, None, lambda i: grid_value(end - i, step, zero))
    if high is None:
        begin = grid_ends(decimal(low), decimal(low), step, zero)[0]
        return Axis(name, None, lambda i: grid_value(begin + i, step, zero))
    begin, end = grid_ends(decimal(low), decimal(high), step, zero)
    return Axis(name, max(0, end - begin + 1), lambda i: grid_value(begin + i, step, zero))


def _some(sizes: list[int | None], most: int) -> np.ndarray:
    """Return the corners, as many as fit, and a sample that is the same in every run; far ends are tried far away."""
    rng = np.random.default_rng(len(sizes))
    far = [2**_FARTHEST if size is None else size - 1 for size in sizes]
    corners = np.array(list(product(*[(0, end) for end in far]))[: max(2, most // 2)], dtype=np.int64)
    n = max(0, most - len(corners))
    columns = []
    for size in sizes:
        if size is None:  # near ones often, far ones too
            columns.append(np.floor(2.0 ** rng.uniform(0, _FARTHEST, n)).astype(np.int64) - 1)
        else:
            columns.append(rng.integers(0, size, n, dtype=np.int64))
    return np.unique(np.concatenate([corners, np.stack(columns, axis=1)]), axis=0)


def _without_codes(region: Region, changes: Changes) -> Region:
    """Leave out rows in which a number would be one of its column's codes."""
    kept = np.ones(len(region.choice), dtype=bool)
    for k, axis in enumerate(region.axes):
        codes = set() if axis.name == WAIT else set(changes.features[axis.name].code_values)
        if codes:
            values, place = region.values(k)
            kept &= np.array([value not in codes for value in values])[place]
    return region._replace(choice=region.choice[kept])


# --------------------------------------------------------------------------------------------------------------- reach


def _direction(before: Value, after: Value) -> int:
    """Return 1 for a number that goes up, -1 for one that goes down, 0 for all else."""
    if isinstance(before, str) or isinstance(after, str) or before is None or after is None:
        return 0
    return (after > before) - (after < before)


def _on_a_grid(name: str, before: Value, changes: Changes) -> bool:
    """Whether a change goes along a grid of numbers: no level, no code."""
    if name == WAIT:
        return True
    feature = changes.features.get(name)
    return feature is not None and not feature.listed and before not in changes.bounds(name).codes


def _farthest(
    name: str, after: Value, sign: int, start: Mapping[str, Value], changes: Changes, steps: int | None
) -> Decimal | None:
    """Return the last value that a region must hold; None where the policy sets no end (or no step to count by)."""
    here = _number(after)
    if name == WAIT:
        assert changes.policy.time is not None
        end: Decimal | None = Decimal(changes.policy.time.horizon)
        step: Decimal | None = Decimal(1)
        zero = Decimal(0)
    else:
        bounds = changes.bounds(name)
        step, end = bounds.step, bounds.maximum if sign > 0 else bounds.minimum
        origin = start.get(name)
        from_applicant = changes.features[name].step_from == "applicant"
        zero = decimal(origin) if from_applicant and isinstance(origin, int | float) else Decimal(0)
    if end is not None and step is not None:  # the last value of the grid that is not past the end
        first, last = grid_ends(end, end, step, zero)
        end = zero + step * (last if sign > 0 else first)
        end = end if (end - here) * sign > 0 else here
    if steps is None:
        return end
    if step is None:
        return None
    reached = here + sign * steps * step
    return reached if end is None or (end - reached) * sign > 0 else end


def _contains(name: str, low: Value, high: Value, value: Value, changes: Changes) -> bool:
    """Whether an interval holds a value; None is no limit on numbers."""
    if name != WAIT and changes.features[name].listed:
        feature = changes.features[name]
        places = [position_of(v, feature) for v in (low, value, high)]
        return None not in places and places == sorted(p for p in places if p is not None)
    if value is None:
        return True  # what is provided holds for what its condition says
    if isinstance(value, str) or isinstance(low, str) or isinstance(high, str):
        return False
    return (low is None or low <= value) and (high is None or value <= high)


def _number(value: Value) -> Decimal:
    assert value is not None
    assert not isinstance(value, str)
    return decimal(value)
