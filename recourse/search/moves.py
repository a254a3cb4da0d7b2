"""The moves of one applicant: per feature, the cheapest permitted value of each cell of the model, with its cost.

A *cell* is what the model can tell apart: an interval between two thresholds of a number, or one level of a category.
A *position* is a place in a feature's list of moves. Numbers are listed in the order of their cells, so their costs
fall towards the start and rise after it; levels are listed by rank, staying first. In both, the cheapest position of
an interval of positions is the one nearest to the start.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .jit import inner, kernel

MISSING = -1  # the cell of a missing value
COST_LIMIT = 1 << 40  # micro-units
UNBOUNDED = 1 << 60  # no budget


class Space(NamedTuple):
    """What all applicants share: the features that the model uses, in policy order."""

    threshold_start: np.ndarray  # int64[n + 1]
    threshold: np.ndarray  # float64[...], ascending per feature; cell = number of thresholds <= cast(value)
    cast_single: bool  # the library rounds inputs to float32 before it compares
    categorical: np.ndarray  # uint8[n], the model tests membership: the cell is the code
    listed: np.ndarray  # uint8[n], 1: levels, 0: a grid
    direction: np.ndarray  # int8[n], -1 down, 0 any, 1 up (grids; for levels it is in the table)
    has_grid: np.ndarray  # uint8[n], 0: any float32 value
    weight: np.ndarray  # float64[n]
    unit: np.ndarray  # float64[n]
    per_change: float
    knot_start: np.ndarray  # int64[n + 1], empty unless costs are percentiles
    knot_value: np.ndarray  # float64[...]
    knot_share: np.ndarray  # float64[...]
    code_start: np.ndarray  # int64[n + 1]
    code: np.ndarray  # float64[...], declared codes: never a target
    level_start: np.ndarray  # int64[n + 1], first level of feature j in `list_start`
    list_start: np.ndarray  # int64[n_levels + 1], the moves from one start level, staying first
    list_level: np.ndarray  # int64[...], target level
    list_cost: np.ndarray  # int64[...], micro-units
    list_cell: np.ndarray  # int64[...]


class Rows(NamedTuple):
    """One chunk of applicants on the features of a `Space`."""

    value: np.ndarray  # float64[rows, n], number or level index; NaN is missing
    cell: np.ndarray  # int64[rows, n]
    movable: np.ndarray  # uint8[rows, n]
    first: np.ndarray  # int64[rows, n], smallest permitted grid index (inclusive)
    last: np.ndarray  # int64[rows, n], largest
    origin: np.ndarray  # int64[rows, n], value number i of the grid is (origin + i * stride) / scale
    stride: np.ndarray  # int64[rows, n]
    scale: np.ndarray  # int64[rows, n]
    low: np.ndarray  # float64[rows, n], bounds of features without a grid
    high: np.ndarray  # float64[rows, n]


class Moves(NamedTuple):
    """The moves of one applicant; feature j has positions offset[j]:offset[j + 1]."""

    offset: np.ndarray  # int64[n + 1]
    start: np.ndarray  # int64[n], the position that stays
    cost: np.ndarray  # int64[n_moves]
    rank: np.ndarray  # int64[n_moves], order by (cost, stay first, |change|, up before down)
    cell: np.ndarray  # int64[n_moves]
    value: np.ndarray  # float64[n_moves], number or level index


@inner
def cast(value: float, single: bool) -> float:
    """Round as the library does before it compares."""
    return float(np.float32(value)) if single else value


@inner
def cell_of(space: Space, j: int, value: float) -> int:
    """Return the number of thresholds of feature j that are at most the value."""
    x = cast(value, space.cast_single)
    low, high = space.threshold_start[j], space.threshold_start[j + 1]
    first = low
    while low < high:
        middle = (low + high) >> 1
        if space.threshold[middle] <= x:
            low = middle + 1
        else:
            high = middle
    return low - first


@inner
def share_below(space: Space, j: int, value: float) -> float:
    """Piecewise-linear distribution function of feature j, flat beyond the outer knots."""
    low, high = space.knot_start[j], space.knot_start[j + 1]
    if high == low:
        return 0.0
    if value <= space.knot_value[low]:
        return space.knot_share[low]
    if value >= space.knot_value[high - 1]:
        return space.knot_share[high - 1]
    a, b = low, high - 1
    while b - a > 1:
        middle = (a + b) >> 1
        if space.knot_value[middle] <= value:
            a = middle
        else:
            b = middle
    slope = (space.knot_share[b] - space.knot_share[a]) / (space.knot_value[b] - space.knot_value[a])
    return slope * (value - space.knot_value[a]) + space.knot_share[a]


@inner
def price(space: Space, j: int, before: float, after: float) -> int:
    """Micro-units of moving feature j; the order of operations is part of the contract."""
    if space.knot_start[j + 1] > space.knot_start[j]:
        size = abs(share_below(space, j, after) - share_below(space, j, before))
        cost = 1e6 * (space.weight[j] * size + space.per_change)
    else:
        cost = 1e6 * (space.weight[j] * abs(after - before) / space.unit[j] + space.per_change)
    return int(np.rint(cost)) if cost < 4.0 * COST_LIMIT else 4 * COST_LIMIT


@inner
def grid_value(rows: Rows, r: int, j: int, index: int) -> float:
    """Value number `index` of a grid: the float64 nearest to its decimal, as both operands are exact."""
    return float(rows.origin[r, j] + index * rows.stride[r, j]) / float(rows.scale[r, j])


@inner
def _is_code(space: Space, j: int, value: float) -> bool:
    for k in range(space.code_start[j], space.code_start[j + 1]):
        if space.code[k] == value:
            return True
    return False


@inner
def _first_index_reaching(rows: Rows, r: int, j: int, single: bool, threshold: float, low: int, high: int) -> int:
    """Smallest grid index in low..high whose cast value is at least the threshold; high + 1 when none is.

    The cast value is non-decreasing in the index, so a guess by division is mended by bisection.
    """
    if cast(grid_value(rows, r, j, high), single) < threshold:
        return high + 1
    if cast(grid_value(rows, r, j, low), single) >= threshold:
        return low
    guess = np.int64(np.ceil((threshold * float(rows.scale[r, j]) - rows.origin[r, j]) / float(rows.stride[r, j])))
    below, reaching = low, high  # invariant: below < threshold <= reaching
    for nudge in range(-1, 2):
        g = guess + nudge
        if below < g < reaching:
            if cast(grid_value(rows, r, j, g), single) >= threshold:
                reaching = g
            else:
                below = g
    while reaching - below > 1:
        middle = below + ((reaching - below) >> 1)
        if cast(grid_value(rows, r, j, middle), single) >= threshold:
            reaching = middle
        else:
            below = middle
    return reaching


@inner
def _home_index(rows: Rows, r: int, j: int) -> int:
    """A grid index near the applicant's value, clipped to where indices are exact."""
    guess = (rows.value[r, j] * float(rows.scale[r, j]) - rows.origin[r, j]) / float(rows.stride[r, j])
    return int(np.floor(min(max(guess, -4.5e15), 4.5e15)))


@inner
def _add_up(space: Space, rows: Rows, r: int, j: int, cost: np.ndarray, cell: np.ndarray, value: np.ndarray) -> int:
    """Write the moves of grid feature j above the start, nearest first; return how many."""
    start, home = rows.value[r, j], rows.cell[r, j]
    base = space.threshold_start[j]
    n_cells = space.threshold_start[j + 1] - base + 1
    n = 0
    if not space.has_grid[j]:
        for k in range(home + 1, n_cells):
            x = np.float32(space.threshold[base + k - 1])
            while float(x) < space.threshold[base + k - 1] or float(x) <= start:
                x = np.nextafter(x, np.float32(np.inf))
            while _is_code(space, j, float(x)):
                x = np.nextafter(x, np.float32(np.inf))
            if float(x) > rows.high[r, j]:
                break
            if float(x) < rows.low[r, j]:
                x = np.float32(rows.low[r, j])
                while float(x) < rows.low[r, j] or _is_code(space, j, float(x)):
                    x = np.nextafter(x, np.float32(np.inf))
            if cell_of(space, j, float(x)) != k or float(x) > rows.high[r, j]:
                continue
            value[n], cell[n], cost[n] = float(x), k, price(space, j, start, float(x))
            n += 1
        return n
    index, last = rows.first[r, j], rows.last[r, j]
    if index > last:
        return 0
    index = max(index, min(_home_index(rows, r, j) - 1, last))
    while index <= last and grid_value(rows, r, j, index) <= start:
        index += 1
    k = home
    while index <= last:
        k += 1
        if k >= n_cells:
            break
        index = _first_index_reaching(rows, r, j, space.cast_single, space.threshold[base + k - 1], index, last)
        if index > last:
            break
        x = grid_value(rows, r, j, index)
        while _is_code(space, j, x):
            index += 1
            if index > last:
                break
            x = grid_value(rows, r, j, index)
        if index > last:
            break
        k = cell_of(space, j, x)
        value[n], cell[n], cost[n] = x, k, price(space, j, start, x)
        n += 1
    return n


@inner
def _add_down(space: Space, rows: Rows, r: int, j: int, cost: np.ndarray, cell: np.ndarray, value: np.ndarray) -> int:
    """Write the moves of grid feature j below the start, nearest first; return how many."""
    start, home = rows.value[r, j], rows.cell[r, j]
    base = space.threshold_start[j]
    n = 0
    if not space.has_grid[j]:
        for k in range(home - 1, -1, -1):
            x = np.float32(space.threshold[base + k])
            while float(x) >= space.threshold[base + k] or float(x) >= start:
                x = np.nextafter(x, np.float32(-np.inf))
            if float(x) > rows.high[r, j]:
                x = np.float32(rows.high[r, j])
                while float(x) > rows.high[r, j]:
                    x = np.nextafter(x, np.float32(-np.inf))
            while _is_code(space, j, float(x)):
                x = np.nextafter(x, np.float32(-np.inf))
            if float(x) < rows.low[r, j]:
                break
            if cell_of(space, j, float(x)) != k:
                continue
            value[n], cell[n], cost[n] = float(x), k, price(space, j, start, float(x))
            n += 1
        return n
    first, index = rows.first[r, j], rows.last[r, j]
    if index < first:
        return 0
    index = min(index, max(_home_index(rows, r, j) + 2, first))
    while index >= first and grid_value(rows, r, j, index) >= start:
        index -= 1
    k = home
    while index >= first:
        k -= 1
        if k < 0:
            break
        index = _first_index_reaching(rows, r, j, space.cast_single, space.threshold[base + k], first, index) - 1
        if index < first:
            break
        x = grid_value(rows, r, j, index)
        while _is_code(space, j, x):
            index -= 1
            if index < first:
                break
            x = grid_value(rows, r, j, index)
        if index < first:
            break
        k = cell_of(space, j, x)
        value[n], cell[n], cost[n] = x, k, price(space, j, start, x)
        n += 1
    return n


@inner
def count_moves(space: Space, rows: Rows, r: int) -> int:
    """Upper bound on the number of moves of one applicant."""
    total = 0
    for j in range(len(space.listed)):
        if not rows.movable[r, j]:
            total += 1
        elif space.listed[j]:
            level = space.level_start[j] + np.int64(rows.value[r, j])
            total += space.list_start[level + 1] - space.list_start[level]
        else:
            total += space.threshold_start[j + 1] - space.threshold_start[j] + 2
    return total


@kernel
def build_moves(space: Space, rows: Rows, r: int) -> Moves:
    """List the moves of applicant r. Costs above the limit are kept as they are: the caller refuses them by name."""
    n = len(space.listed)
    capacity = count_moves(space, rows, r)
    widest = 1
    for j in range(n):
        widest = max(widest, space.threshold_start[j + 1] - space.threshold_start[j] + 2)
    offset, start = np.empty(n + 1, np.int64), np.empty(n, np.int64)
    cost, rank = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    cell, value = np.empty(capacity, np.int64), np.empty(capacity, np.float64)
    up_cost, up_cell, up_value = np.empty(widest, np.int64), np.empty(widest, np.int64), np.empty(widest, np.float64)
    down_cost, down_cell = np.empty(widest, np.int64), np.empty(widest, np.int64)
    down_value = np.empty(widest, np.float64)
    at = 0
    for j in range(n):
        offset[j] = at
        if not rows.movable[r, j]:
            start[j], cost[at], rank[at], cell[at], value[at] = 0, 0, 0, rows.cell[r, j], rows.value[r, j]
            at += 1
            continue
        if space.listed[j]:
            level = space.level_start[j] + np.int64(rows.value[r, j])
            start[j] = 0
            for k in range(space.list_start[level], space.list_start[level + 1]):
                cost[at], rank[at] = space.list_cost[k], at - offset[j]
                cell[at], value[at] = space.list_cell[k], float(space.list_level[k])
                at += 1
            continue
        n_up = _add_up(space, rows, r, j, up_cost, up_cell, up_value) if space.direction[j] >= 0 else 0
        n_down = _add_down(space, rows, r, j, down_cost, down_cell, down_value) if space.direction[j] <= 0 else 0
        home = at + n_down
        start[j] = n_down
        cost[home], rank[home], cell[home], value[home] = 0, 0, rows.cell[r, j], rows.value[r, j]
        for k in range(n_down):
            cost[home - 1 - k], cell[home - 1 - k], value[home - 1 - k] = down_cost[k], down_cell[k], down_value[k]
        for k in range(n_up):
            cost[home + 1 + k], cell[home + 1 + k], value[home + 1 + k] = up_cost[k], up_cell[k], up_value[k]
        u, d, place = 0, 0, 1
        before = rows.value[r, j]
        while u < n_up or d < n_down:
            take_up = d >= n_down
            if u < n_up and d < n_down:
                if up_cost[u] != down_cost[d]:
                    take_up = up_cost[u] < down_cost[d]
                else:
                    take_up = abs(up_value[u] - before) <= abs(down_value[d] - before)
            if take_up:
                rank[home + 1 + u] = place
                u += 1
            else:
                rank[home - 1 - d] = place
                d += 1
            place += 1
        at = home + n_up + 1
    offset[n] = at
    return Moves(offset, start, cost[:at], rank[:at], cell[:at], value[:at])
