"""An applicant's moves under a linear model: every permitted value with its price and its gain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .additive import Choices
from .jit import inner, kernel
from .moves import Rows, Space, _home_index, _is_code, grid_value, price


class Line(NamedTuple):
    """A linear model on the features of a `Space`."""

    weight: np.ndarray  # float64[n]
    intercept: float
    number_start: np.ndarray  # int64[n + 1], first level of feature j in `number`
    number: np.ndarray  # float64[n_levels], the model's number of each level


class Listing(NamedTuple):
    """The moves of one applicant, in the order of `Choices`, and what the search needs beside them."""

    choices: Choices
    value: np.ndarray  # float64[n_moves], number or level index
    score: float  # the row's raw score by our sum
    eps: float  # bound on |native raw score of any listed plan - (score + gains)|
    overlong: int  # -1, or a feature with more than MOST useful values


MOST = 200_000  # values of one feature


@kernel
def list_choices(line: Line, space: Space, rows: Rows, r: int, cut: float) -> Listing:
    """List the useful moves of applicant r: those towards approval, up to the first that suffices alone.

    A move away from approval never helps, and one that goes beyond what suffices alone costs no less than that; so
    grids without an end are listed no further than that.
    """
    n = len(space.listed)
    score = line.intercept
    size = abs(line.intercept)
    for j in range(n):
        x = _number(line, space, j, rows.value[r, j])
        score += line.weight[j] * x
        size += abs(line.weight[j] * x)
    enough = 1.01 * (cut - score) + 1e-6 * size  # surely suffices, whatever the rounding
    capacity = n
    overlong = -1
    steps = np.zeros(n, dtype=np.int64)
    start = np.zeros(n + 1, dtype=np.int64)
    for j in range(n):
        if rows.movable[r, j] and line.weight[j] != 0.0:
            if space.listed[j]:
                level = space.level_start[j] + np.int64(rows.value[r, j])
                steps[j] = space.list_start[level + 1] - space.list_start[level]
            else:
                steps[j] = _steps(line, space, rows, r, j, enough)
                if steps[j] > MOST:
                    overlong = j
                    steps[j] = 0
        capacity += steps[j]
    cost, gain, value = np.zeros(capacity, np.int64), np.zeros(capacity), np.zeros(capacity)
    at = 0
    for j in range(n):
        start[j] = at
        before = rows.value[r, j]
        value[at] = before
        at += 1
        number, largest = _number(line, space, j, before), 0.0
        if steps[j] > 0 and space.listed[j]:
            level = space.level_start[j] + np.int64(before)
            for k in range(space.list_start[level], space.list_start[level + 1]):
                to = float(space.list_level[k])
                if to != before:
                    after = _number(line, space, j, to)
                    cost[at], gain[at], value[at] = space.list_cost[k], line.weight[j] * (after - number), to
                    largest = max(largest, abs(after))
                    at += 1
        elif steps[j] > 0:
            upward = line.weight[j] > 0.0
            index = _nearest(rows, r, j, upward)
            for _ in range(steps[j]):
                to = grid_value(rows, r, j, index)
                index += 1 if upward else -1
                if (to <= before if upward else to >= before) or _is_code(space, j, to):
                    continue
                cost[at], gain[at], value[at] = price(space, j, before, to), line.weight[j] * (to - number), to
                largest = max(largest, abs(to))
                at += 1
                if gain[at - 1] > enough:
                    break
        size += abs(line.weight[j]) * largest
    start[n] = at
    eps = 8.0 * (n + 2) * 2.0**-53 * (size + abs(cut if np.isfinite(cut) else 0.0))
    return Listing(Choices(start, cost[:at], gain[:at]), value[:at], score, eps, overlong)


@inner
def _number(line: Line, space: Space, j: int, value: float) -> float:
    """Return what the model sees for a value of the search."""
    if space.listed[j] and not np.isnan(value):
        return line.number[line.number_start[j] + np.int64(value)]
    return value


@inner
def _nearest(rows: Rows, r: int, j: int, upward: bool) -> int:
    """Return a permitted grid index at or just before the first on that side of the applicant's value."""
    home = _home_index(rows, r, j)
    if upward:
        return max(rows.first[r, j], home - 1)
    return min(rows.last[r, j], home + 2)


@inner
def _steps(line: Line, space: Space, rows: Rows, r: int, j: int, enough: float) -> int:
    """Return an upper bound on the useful grid values of feature j."""
    upward = line.weight[j] > 0.0
    if space.direction[j] == (-1 if upward else 1):
        return 0
    first = _nearest(rows, r, j, upward)
    ahead = rows.last[r, j] - first + 1 if upward else first - rows.first[r, j] + 1
    step = abs(line.weight[j]) * float(rows.stride[r, j]) / float(rows.scale[r, j])
    idle = 8 + space.code_start[j + 1] - space.code_start[j]  # steps that may be codes, or lie behind the start
    return max(0, min(ahead, np.int64(min(max(enough, 0.0) / step, 4e15)) + idle))
