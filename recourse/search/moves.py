"""The moves of one applicant: per feature, the permitted values that the model or a rule can tell apart, with costs.

A *cell* is what the model can tell apart: an interval between two thresholds of a number, or one level of a category.
A *position* is a place in a feature's list of moves. Numbers are listed in the order of their values ("runs"), so their
costs fall towards the start and rise after it; levels, and what leads away from a code or a missing value, are listed
by rank, staying first ("sets"). In both, the cheapest position of an interval of positions is the one nearest to the
start. A feature that no expression reads keeps the cheapest value of each cell; one that is read keeps every value.

A column of the model whose value follows from other features is *linked* to them (see `linked`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arena import flags, write, zeros
from .jit import inner, kernel
from .programs import Programs, run_box, run_point

MISSING = -1  # the cell of a missing value
COST_LIMIT = 1 << 40  # micro-units
UNBOUNDED = 1 << 60  # no budget
HIDDEN = UNBOUNDED + 1  # the cost of a value that a plan's region may hold but no plan may ask for
POINT, BOX, ORTHANT = 0, 1, 2  # shapes of plans


class Space(NamedTuple):
    """What all applicants share: the features that models or expressions use, in policy order, `wait` last."""

    threshold_start: np.ndarray  # int64[n + 1]
    threshold: np.ndarray  # float64[...], ascending per feature; cell = number of thresholds <= value
    categorical: np.ndarray  # uint8[n], the models test membership: the cell is the position of the level
    listed: np.ndarray  # uint8[n], 1: levels, 0: a grid
    direction: np.ndarray  # int8[n], -1 down, 0 any, 1 up (grids; for levels it is in the table)
    has_grid: np.ndarray  # uint8[n], 0: any float32 value
    every: np.ndarray  # uint8[n], an expression reads it: every permitted value of the grid is a move
    weight: np.ndarray  # float64[n]
    unit: np.ndarray  # float64[n]
    per_change: np.ndarray  # float64[n]
    knot_start: np.ndarray  # int64[n + 1], empty unless costs are percentiles
    knot_value: np.ndarray  # float64[...]
    knot_share: np.ndarray  # float64[...]
    code_start: np.ndarray  # int64[n + 1]
    code: np.ndarray  # float64[...], declared codes: no values of the grid
    level_start: np.ndarray  # int64[n + 1], places of feature j: its levels, or its codes; then "missing" if provided
    level_value: np.ndarray  # float64[n_places], what expressions see there
    list_start: np.ndarray  # int64[n_places + 1], the moves from one place, staying first
    list_value: np.ndarray  # float64[...], the target: position of a level, or number
    list_until: np.ndarray  # float64[...], the target stands for all permitted values up to this one
    list_cost: np.ndarray  # int64[...], micro-units
    list_cell: np.ndarray  # int64[...]
    program: np.ndarray  # int64[n], what computes the feature's state; -1: its own value is its state
    dep_start: np.ndarray  # int64[n_programs + 1]
    dep: np.ndarray  # int64[...], features whose values a program reads
    rule: np.ndarray  # int64[n_rules], programs; a rule is violated where its program is 0
    knockouts: int  # the last so many rules: no region may hold a row that violates one of these
    programs: Programs
    shape: int  # POINT, BOX or ORTHANT
    box_steps: int


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
    outer_first: np.ndarray  # int64[rows, n], as first, without the limit on the size of a change
    outer_last: np.ndarray  # int64[rows, n]
    outer_low: np.ndarray  # float64[rows, n]
    outer_high: np.ndarray  # float64[rows, n]


class Moves(NamedTuple):
    """The moves of one applicant; feature j has positions offset[j]:offset[j + 1].

    After the n features of the space come those of its columns whose state follows from two or more features that can
    move: their positions are the cells that they can reach, at no cost.
    """

    offset: np.ndarray  # int64[n + m + 1]
    start: np.ndarray  # int64[n + m], the position that stays
    listed: np.ndarray  # uint8[n + m], 1: a set, 0: a run
    cost: np.ndarray  # int64[n_moves]
    rank: np.ndarray  # int64[n_moves], order by (cost, stay first, |change|, up before down)
    value: np.ndarray  # float64[n_moves], number or level index; the cell of a linked column
    region: np.ndarray  # int64[n_moves, 2], the positions that the plan's shape covers, first and last
    column: np.ndarray  # int64[m], the columns whose state is linked to several features
    owner: np.ndarray  # int64[n], whose position decides the cell of a column; -1: it is fixed
    cell_at: np.ndarray  # int64[n], the cell of column j at its owner's position p is cell[cell_at[j] + p]
    cell: np.ndarray  # int64[...]
    value_start: np.ndarray  # float64[n], what expressions see of the applicant's present values


@inner
def cell_of(space: Space, j: int, value: float) -> int:
    """Return the number of thresholds of feature j that are at most the value."""
    if np.isnan(value):
        return MISSING
    low, high = space.threshold_start[j], space.threshold_start[j + 1]
    first = low
    while low < high:
        middle = (low + high) >> 1
        if space.threshold[middle] <= value:
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
        cost = 1e6 * (space.weight[j] * size + space.per_change[j])
    else:
        cost = 1e6 * (space.weight[j] * abs(after - before) / space.unit[j] + space.per_change[j])
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
def _first_index_reaching(rows: Rows, r: int, j: int, threshold: float, low: int, high: int) -> int:
    """Smallest grid index in low..high whose value is at least the threshold; high + 1 when none is.

    The value is non-decreasing in the index, so a guess by division is mended by bisection.
    """
    if grid_value(rows, r, j, high) < threshold:
        return high + 1
    if grid_value(rows, r, j, low) >= threshold:
        return low
    guess = np.int64(np.ceil((threshold * float(rows.scale[r, j]) - rows.origin[r, j]) / float(rows.stride[r, j])))
    below, reaching = low, high  # invariant: below < threshold <= reaching
    for nudge in range(-1, 2):
        g = guess + nudge
        if below < g < reaching:
            if grid_value(rows, r, j, g) >= threshold:
                reaching = g
            else:
                below = g
    while reaching - below > 1:
        middle = below + ((reaching - below) >> 1)
        if grid_value(rows, r, j, middle) >= threshold:
            reaching = middle
        else:
            below = middle
    return reaching


@inner
def _home_index(rows: Rows, r: int, j: int) -> int:
    """A grid index near the applicant's value, clipped to where indices are exact."""
    guess = (rows.value[r, j] * float(rows.scale[r, j]) - rows.origin[r, j]) / float(rows.stride[r, j])
    return int(np.floor(min(max(guess, -4.5e15), 4.5e15)))


class _Side(NamedTuple):
    """Room for the moves on one side of the start, nearest first."""

    cost: np.ndarray  # int64[...]
    cell: np.ndarray  # int64[...]
    value: np.ndarray  # float64[...]


@inner
def _note(space: Space, side: _Side, n: int, j: int, start: float, x: float, cell: int, permitted: bool) -> int:
    side.value[n], side.cell[n] = x, cell
    side.cost[n] = price(space, j, start, x) if permitted else HIDDEN
    return n + 1


@inner
def _add_up(space: Space, rows: Rows, r: int, j: int, side: _Side) -> int:
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
            if float(x) > rows.outer_high[r, j]:
                break
            if float(x) < rows.low[r, j]:
                x = np.float32(rows.low[r, j])
                while float(x) < rows.low[r, j] or _is_code(space, j, float(x)):
                    x = np.nextafter(x, np.float32(np.inf))
            if cell_of(space, j, float(x)) != k or float(x) > rows.outer_high[r, j]:
                continue
            n = _note(space, side, n, j, start, float(x), k, float(x) <= rows.high[r, j])
        return n
    index, last = rows.outer_first[r, j], rows.outer_last[r, j]
    if index > last:
        return 0
    index = max(index, min(_home_index(rows, r, j) - 1, last))
    while index <= last and grid_value(rows, r, j, index) <= start:
        index += 1
    k = home
    while index <= last:
        if not space.every[j]:
            k += 1
            if k >= n_cells:
                break
            index = _first_index_reaching(rows, r, j, space.threshold[base + k - 1], index, last)
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
        n = _note(space, side, n, j, start, x, k, index <= rows.last[r, j])
        index += int(space.every[j])
    return n


@inner
def _add_down(space: Space, rows: Rows, r: int, j: int, side: _Side) -> int:
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
            if float(x) < rows.outer_low[r, j]:
                break
            if cell_of(space, j, float(x)) != k:
                continue
            n = _note(space, side, n, j, start, float(x), k, float(x) >= rows.low[r, j])
        return n
    first, index = rows.outer_first[r, j], rows.outer_last[r, j]
    if index < first:
        return 0
    index = min(index, max(_home_index(rows, r, j) + 2, first))
    while index >= first and grid_value(rows, r, j, index) >= start:
        index -= 1
    k = home
    while index >= first:
        if not space.every[j]:
            k -= 1
            if k < 0:
                break
            index = _first_index_reaching(rows, r, j, space.threshold[base + k], first, index) - 1
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
        n = _note(space, side, n, j, start, x, k, index >= rows.first[r, j])
        index -= int(space.every[j])
    return n


@inner
def place_of(space: Space, j: int, value: float) -> int:
    """Place of a level, a code or a missing value in the table of moves; -1 for a number of the grid."""
    first, end = space.level_start[j], space.level_start[j + 1]
    if np.isnan(value):
        return end - 1
    if space.listed[j]:
        return first + np.int64(value)
    for k in range(space.code_start[j], space.code_start[j + 1]):
        if space.code[k] == value:
            return first + k - space.code_start[j]
    return -1


@inner
def seen_value(space: Space, j: int, value: float) -> float:
    """What expressions see of a value of feature j."""
    if space.listed[j] and not np.isnan(value):
        return space.level_value[space.level_start[j] + np.int64(value)]
    return value


@inner
def _widest(space: Space, rows: Rows, r: int, j: int) -> int:
    """Upper bound on the number of values of grid feature j."""
    if space.every[j] and space.has_grid[j]:
        first, last = rows.outer_first[r, j], rows.outer_last[r, j]
        if place_of(space, j, rows.value[r, j]) < 0:  # moves from a number lie on one side
            home = _home_index(rows, r, j)
            first = max(first, home - 1) if space.direction[j] > 0 else first
            last = min(last, home + 2) if space.direction[j] < 0 else last
        return max(0, last - first + 1) + 2
    return space.threshold_start[j + 1] - space.threshold_start[j] + 2


@inner
def _count_moves(space: Space, rows: Rows, r: int) -> int:
    """Upper bound on the number of moves of one applicant."""
    total = 0
    for j in range(len(space.listed)):
        total += 1
        if not rows.movable[r, j]:
            continue
        place = place_of(space, j, rows.value[r, j])
        if place < 0:
            total += _widest(space, rows, r, j)
            continue
        for k in range(space.list_start[place], space.list_start[place + 1]):
            total += 1
            if space.list_until[k] != space.list_value[k]:
                total += (
                    space.level_start[j + 1] - space.level_start[j] if space.listed[j] else _widest(space, rows, r, j)
                )
    return total


@inner
def _add_values(space: Space, rows: Rows, r: int, j: int, side: _Side) -> int:
    """Write all values that a missing feature could turn out to have, ascending; return how many."""
    if space.listed[j]:
        n = space.level_start[j + 1] - space.level_start[j] - 1
        for k in range(n):
            side.value[k] = float(k)
            side.cell[k] = k if space.categorical[j] else cell_of(space, j, seen_value(space, j, float(k)))
        return n
    n, last = 0, -2
    if not space.has_grid[j]:
        return 0
    index = rows.outer_first[r, j]
    while index <= rows.outer_last[r, j]:
        x = grid_value(rows, r, j, index)
        cell = cell_of(space, j, x)
        if not _is_code(space, j, x) and (space.every[j] or cell != last):
            side.value[n], side.cell[n], last = x, cell, cell
            n += 1
        index += 1
        if not space.every[j] and cell < space.threshold_start[j + 1] - space.threshold_start[j]:
            if index <= rows.outer_last[r, j] and cell == last:
                t = space.threshold[space.threshold_start[j] + cell]
                index = _first_index_reaching(rows, r, j, t, index, rows.outer_last[r, j])
        elif not space.every[j] and cell == last:
            break
    return n


@kernel
def build_moves(space: Space, rows: Rows, r: int) -> Moves:
    """List the moves of applicant r. Costs above the limit are kept as they are: the caller refuses them by name."""
    return list_moves(space, rows, r)


@inner
def list_moves(space: Space, rows: Rows, r: int) -> Moves:
    """List the moves of applicant r, and link the columns whose state follows from other features."""
    n = len(space.listed)
    capacity = _count_moves(space, rows, r)
    widest = 1
    for j in range(n):
        if rows.movable[r, j]:
            widest = max(widest, _widest(space, rows, r, j), space.level_start[j + 1] - space.level_start[j])
    offset, start, listed = zeros(n + 1), zeros(n), flags(n)
    cost, rank = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    cell, value = np.empty(capacity, np.int64), np.empty(capacity, np.float64)
    region = np.empty((capacity, 2), np.int64)
    up = _Side(np.empty(widest, np.int64), np.empty(widest, np.int64), np.empty(widest, np.float64))
    down = _Side(np.empty(widest, np.int64), np.empty(widest, np.int64), np.empty(widest, np.float64))
    at = 0
    for j in range(n):
        offset[j], start[j] = at, 0
        place = place_of(space, j, rows.value[r, j]) if rows.movable[r, j] else 0
        if not rows.movable[r, j]:
            cost[at], rank[at], cell[at], value[at] = 0, 0, rows.cell[r, j], rows.value[r, j]
            at += 1
        elif place >= 0:
            at = _write_set(space, rows, r, j, place, at, up, cost, rank, cell, value, region)
            listed[j] = 1
            continue
        else:
            n_up = _add_up(space, rows, r, j, up) if space.direction[j] >= 0 else 0
            n_down = _add_down(space, rows, r, j, down) if space.direction[j] <= 0 else 0
            start[j] = n_down
            at = _write_run(rows, r, j, n_up, n_down, at, up, down, cost, rank, cell, value)
        for k in range(offset[j], at):
            region[k, 0], region[k, 1] = k - offset[j], k - offset[j]
        if space.shape != POINT:
            _cover(space, rows, r, j, offset[j], at, start[j], value, region)
    offset[n] = at
    return linked(space, rows, r, offset, start, listed, cost[:at], rank[:at], value[:at], region[:at], cell[:at])


@inner
def _write_set(
    space: Space, rows: Rows, r: int, j: int, place: int, at: int, side: _Side, cost: np.ndarray, rank: np.ndarray,
    cell: np.ndarray, value: np.ndarray, region: np.ndarray,
) -> int:  # fmt: skip
    """Write the moves away from a place: a level, a code or a missing value; return the next free position."""
    begin = at
    whole = False
    for k in range(space.list_start[place], space.list_start[place + 1]):
        cost[at], rank[at] = space.list_cost[k], at - begin
        cell[at], value[at] = space.list_cell[k], space.list_value[k]
        region[at, 0], region[at, 1] = at - begin, at - begin
        whole |= at > begin and space.list_until[k] != space.list_value[k]
        at += 1
    value[begin], cell[begin] = rows.value[r, j], rows.cell[r, j]
    if not whole:
        return at
    first, n = at, _add_values(space, rows, r, j, side)
    for i in range(n):
        cost[at], rank[at], cell[at], value[at] = HIDDEN, at - begin, side.cell[i], side.value[i]
        region[at, 0], region[at, 1] = at - begin, at - begin
        at += 1
    k = space.list_start[place]
    for p in range(begin, first):
        if p > begin and space.list_until[k] != space.list_value[k]:  # staying is of one value, though it be missing
            low, high = first, at - 1
            while low < high and value[low] < space.list_value[k]:
                low += 1
            while high > low and value[high] > space.list_until[k]:
                high -= 1
            region[p, 0], region[p, 1] = low - begin, high - begin
        k += 1
    return at


@inner
def _write_run(
    rows: Rows, r: int, j: int, n_up: int, n_down: int, at: int, up: _Side, down: _Side, cost: np.ndarray,
    rank: np.ndarray, cell: np.ndarray, value: np.ndarray,
) -> int:  # fmt: skip
    """Write the moves of a number in ascending order, ranked; return the next free position."""
    home = at + n_down
    cost[home], rank[home], cell[home], value[home] = 0, 0, rows.cell[r, j], rows.value[r, j]
    for k in range(n_down):
        cost[home - 1 - k], cell[home - 1 - k], value[home - 1 - k] = down.cost[k], down.cell[k], down.value[k]
    for k in range(n_up):
        cost[home + 1 + k], cell[home + 1 + k], value[home + 1 + k] = up.cost[k], up.cell[k], up.value[k]
    u, d, place = 0, 0, 1
    before = rows.value[r, j]
    while u < n_up or d < n_down:
        take_up = d >= n_down
        if u < n_up and d < n_down:
            if up.cost[u] != down.cost[d]:
                take_up = up.cost[u] < down.cost[d]
            else:
                take_up = abs(up.value[u] - before) <= abs(down.value[d] - before)
        if take_up:
            rank[home + 1 + u] = place
            u += 1
        else:
            rank[home - 1 - d] = place
            d += 1
        place += 1
    return home + n_up + 1


@inner
def _cover(
    space: Space, rows: Rows, r: int, j: int, begin: int, end: int, start: int, value: np.ndarray, region: np.ndarray
) -> None:
    """Widen what each position of a run covers to its shape: outward to the last, or by some steps."""
    home = begin + start
    reach = float(space.box_steps) * float(rows.stride[r, j]) / float(rows.scale[r, j])
    for p in range(home + 1, end):
        q = end - 1
        while space.shape == BOX and q > p and value[q] > value[p] + reach * (1.0 + 1e-12):
            q -= 1
        region[p, 1] = q - begin
    for p in range(begin, home):
        q = begin
        while space.shape == BOX and q < p and value[q] < value[p] - reach * (1.0 + 1e-12):
            q += 1
        region[p, 0] = q - begin


@inner
def linked(
    space: Space, rows: Rows, r: int, offset: np.ndarray, start: np.ndarray, listed: np.ndarray, cost: np.ndarray,
    rank: np.ndarray, value: np.ndarray, region: np.ndarray, cell: np.ndarray,
) -> Moves:  # fmt: skip
    """Give each column the feature whose position decides its cell.

    A column with a program follows the features that it reads: none that moves, and it is fixed; one, and its cells
    are listed by that one's positions; more, and it becomes a feature of its own whose positions are cells.
    """
    n = len(space.listed)
    value_start, x = np.empty(n, np.float64), np.empty(n, np.float64)
    low, high, maybe = np.empty(n, np.float64), np.empty(n, np.float64), np.empty(n, np.uint8)
    for j in range(n):
        value_start[j] = seen_value(space, j, rows.value[r, j])
        x[j] = value_start[j]
    stack, out = np.empty((max(1, space.programs.depth), 3), np.float64), np.empty(3, np.float64)
    owner, cell_at = np.empty(n, np.int64), np.empty(n, np.int64)
    extra, m = len(cell), 0  # cells to add, features to add
    reach = np.empty((n, 3), np.int64)  # lowest and highest cell of a column that follows several, may be missing
    for j in range(n):
        owner[j], cell_at[j] = j, offset[j]
        k = space.program[j]
        if k < 0:
            continue
        free, parent = 0, -1
        for u in range(space.dep_start[k], space.dep_start[k + 1]):
            d = space.dep[u]
            if offset[d + 1] - offset[d] > 1:
                free, parent = free + 1, d
        owner[j], cell_at[j] = -1, extra
        if free <= 1:
            if parent >= 0:
                owner[j] = parent
                extra += offset[parent + 1] - offset[parent]
            else:
                extra += 1
            continue
        ranges(space, offset, value, low, high, maybe)
        run_box(space.programs, k, low, high, maybe, value_start, stack, out)
        reach[j, 2] = 1 if out[2] != 0.0 else 0
        if out[0] <= out[1]:
            reach[j, 0], reach[j, 1] = cell_of(space, j, out[0]), cell_of(space, j, out[1])
            if space.categorical[j]:
                reach[j, 0], reach[j, 1] = np.int64(out[0]), np.int64(out[1])
        else:
            reach[j, 0], reach[j, 1], reach[j, 2] = 0, 0, 1
        owner[j] = -2
        m += 1
        extra += reach[j, 1] - reach[j, 0] + 1 + reach[j, 2]
    if m == 0 and extra == len(cell):
        return Moves(
            offset, start, listed, cost, rank, value, region, np.empty(0, np.int64), owner, cell_at, cell, value_start
        )  # fmt: skip
    cells = np.empty(extra, np.int64)
    write(cells, cell)
    total = len(cost)
    for j in range(n):
        if owner[j] == -2:
            total += reach[j, 1] - reach[j, 0] + 1 + reach[j, 2]
    offset_all, start_all, listed_all = zeros(n + m + 1), zeros(n + m), flags(n + m)
    write(offset_all, offset)
    write(start_all, start)
    write(listed_all, listed)
    known = len(cost)
    cost_all, rank_all = zeros(total), zeros(total)
    value_all, region_all = np.empty(total, np.float64), np.empty((total, 2), np.int64)
    write(cost_all, cost)
    write(rank_all, rank)
    write(value_all, value)
    for k in range(known):
        region_all[k, 0], region_all[k, 1] = region[k, 0], region[k, 1]
    column = np.empty(m, np.int64)
    at, m = known, 0
    for j in range(n):
        k = space.program[j]
        if k < 0:
            continue
        if owner[j] == -2:
            owner[j], column[m] = n + m, j
            for p in range(reach[j, 1] - reach[j, 0] + 1 + reach[j, 2]):
                cells[cell_at[j] + p] = reach[j, 0] + p - reach[j, 2] if p >= reach[j, 2] else MISSING
                value_all[at], region_all[at, 0], region_all[at, 1] = float(cells[cell_at[j] + p]), p, p
                at += 1
            m += 1
            offset_all[n + m] = at
            continue
        parent = max(owner[j], 0)
        for p in range(offset[parent + 1] - offset[parent] if owner[j] >= 0 else 1):
            if owner[j] >= 0:
                x[parent] = seen_value(space, parent, value[offset[parent] + p])
            result = run_point(space.programs, k, x, value_start, stack)
            cells[cell_at[j] + p] = cell_of(space, j, result)
            if space.categorical[j] and not np.isnan(result):
                cells[cell_at[j] + p] = np.int64(result)
        x[parent] = value_start[parent]
    return Moves(
        offset_all, start_all, listed_all, cost_all, rank_all, value_all, region_all, column, owner, cell_at, cells,
        value_start,
    )  # fmt: skip


@inner
def ranges(
    space: Space, offset: np.ndarray, value: np.ndarray, low: np.ndarray, high: np.ndarray, maybe: np.ndarray
) -> None:
    """Write the range of each feature over all of its moves."""
    for j in range(len(space.listed)):
        span(space, j, offset[j], offset[j + 1] - 1, value, low, high, maybe)


@inner
def span(
    space: Space, j: int, first: int, last: int, value: np.ndarray, low: np.ndarray, high: np.ndarray,
    maybe: np.ndarray,
) -> None:  # fmt: skip
    """Write the range of feature j over its moves first..last, and whether one of them is missing or a code."""
    low[j], high[j], maybe[j] = np.inf, -np.inf, 0
    for k in range(first, last + 1):
        x = seen_value(space, j, value[k])
        if np.isnan(x):
            maybe[j] = 1
            continue
        if first < last and not space.listed[j] and _is_code(space, j, x):
            maybe[j] = 1
        low[j], high[j] = min(low[j], x), max(high[j], x)
