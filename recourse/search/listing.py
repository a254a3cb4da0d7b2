"""An applicant's moves under an additive model: the permitted values that it tells apart, with price and gain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .additive import TINY, Choices
from .jit import inner, kernel
from .links import Links
from .moves import Rows, Space, _first_index_reaching, _home_index, _is_code, grid_value, place_of, price


class Line(NamedTuple):
    """An additive model on the features of a `Space`; each value of a feature lies in one of its *states*.

    The states of a grid are the bins between its edges, those of a list its levels; the last one is "missing". A value
    adds what its state adds, and its number times the feature's weight. States of the same kind add the same, term by
    term, and lie in the same cells of all pairs.
    """

    weight: np.ndarray  # float64[n], 0 for lists
    edge_start: np.ndarray  # int64[n + 1]
    edge: np.ndarray  # float64[...], ascending per feature; bin = number of edges <= value
    state_start: np.ndarray  # int64[n + 1]
    add: np.ndarray  # float64[n_states]
    bulk: np.ndarray  # float64[n_states], the sizes of the terms that are added
    kind: np.ndarray  # int64[n_states]
    entry: np.ndarray  # float64[...], what curves add at the targets of `Space.list_value`
    curved: np.ndarray  # uint8[n]
    pairs: Links  # the cell of state s of the pair's feature is cell[cell_start + s]
    intercept: float
    scale: float  # of what the library adds and takes away again
    rounding: float  # bound on the relative error of a sum of all terms


class Bends(NamedTuple):
    """What curves add at the values of one applicant's grids (features without curves have none)."""

    home: np.ndarray  # float64[n], at the applicant's value
    first: np.ndarray  # int64[n], index of the first grid value
    start: np.ndarray  # int64[n + 1]
    value: np.ndarray  # float64[...]


class Listing(NamedTuple):
    """The moves of one applicant, in the order of `Choices`, and what the search needs beside them."""

    choices: Choices
    value: np.ndarray  # float64[n_moves], number or level index
    score: float  # the row's raw score by our sum
    eps: float  # bound on |native raw score of any listed plan - (score + gains)|
    overlong: int  # -1, or a feature with more than MOST useful values


class _Room(NamedTuple):
    """Growing room for the moves of one side of a start, nearest first, or for all that were listed."""

    cost: np.ndarray  # int64[...]
    gain: np.ndarray  # float64[...]
    value: np.ndarray  # float64[...]
    state: np.ndarray  # int64[...]


MOST = 200_000  # values of one feature


@kernel
def list_choices(line: Line, space: Space, rows: Rows, r: int, cut: float, bends: Bends) -> Listing:
    """List the useful moves of applicant r.

    Of the values of a bin the nearest is listed, and with a weight (or a curve) that rewards going on, all others. On
    either side the list ends with the first value that suffices alone: a plan that goes beyond it costs no less than
    that value does. So grids without an end are listed no further than needed.
    """
    n = len(space.listed)
    home = np.empty(n, np.int64)
    score, size = line.intercept, abs(line.intercept) + line.scale
    for j in range(n):
        x = rows.value[r, j]
        home[j] = _state(line, space, j, x)
        score += _adds(line, j, x, home[j], bends.home[j])
        size += _bulk(line, j, x, home[j], bends.home[j])
    for k in range(len(line.pairs.width)):
        score += _table(line, k, home[line.pairs.feature[k, 0]], home[line.pairs.feature[k, 1]])
        size += 6.0 * line.pairs.size[k]
    enough = 1.01 * (cut - score) + 1e-6 * size  # surely suffices, whatever the rounding
    overlong = -1
    start = np.zeros(n + 1, dtype=np.int64)
    out, up, down = _room(256 + 8 * n), _room(256), _room(256)
    at = 0
    for j in range(n):
        start[j] = at
        before = rows.value[r, j]
        if at == len(out.cost):
            out = _grown(out, at)
        out.cost[at], out.gain[at], out.value[at], out.state[at] = 0, 0.0, before, home[j]
        at += 1
        if not rows.movable[r, j] or not _matters(line, j):
            continue
        base = _adds(line, j, before, home[j], bends.home[j])
        place = place_of(space, j, before)
        largest = 0.0
        if place >= 0:
            for k in range(space.list_start[place] + 1, space.list_start[place + 1]):
                to = space.list_value[k]
                state = _state(line, space, j, to)
                if at == len(out.cost):
                    out = _grown(out, at)
                out.cost[at], out.value[at], out.state[at] = space.list_cost[k], to, state
                adds = _adds(line, j, to, state, line.entry[k])
                out.gain[at] = _alone(line, home, j, state, adds - base)
                largest = max(largest, _bulk(line, j, to, state, line.entry[k]))
                at += 1
        else:
            n_up, n_down = 0, 0
            if space.direction[j] >= 0:
                up, n_up = _walk(line, space, rows, r, j, home, base, 1, enough, bends, up)
            if space.direction[j] <= 0:
                down, n_down = _walk(line, space, rows, r, j, home, base, -1, enough, bends, down)
            if n_up > MOST or n_down > MOST:
                overlong = j
                n_up, n_down = min(n_up, MOST), min(n_down, MOST)
            if at + n_up + n_down > len(out.cost):
                out = _grown(out, at + n_up + n_down)
            largest = max(_largest(line, j, up, n_up), _largest(line, j, down, n_down))
            at = _merged(up, n_up, down, n_down, before, out, at)
        size += largest
    start[n] = at
    eps = line.rounding * (size + abs(cut if np.isfinite(cut) else 0.0))
    links = _links(line, start, out.state)
    choices = Choices(start, out.cost[:at], out.gain[:at], links)
    return Listing(choices, out.value[:at], score, eps, overlong)


@inner
def _matters(line: Line, j: int) -> bool:
    """Whether the model depends on feature j at all."""
    if line.weight[j] != 0.0 or line.curved[j]:
        return True
    for s in range(line.state_start[j] + 1, line.state_start[j + 1]):
        if line.kind[s] != line.kind[s - 1]:
            return True
    return False


@inner
def _state(line: Line, space: Space, j: int, x: float) -> int:
    """Return the state of a value of feature j."""
    if np.isnan(x):
        return line.state_start[j + 1] - 1
    if space.listed[j]:
        return line.state_start[j] + np.int64(x)
    low, high = line.edge_start[j], line.edge_start[j + 1]
    first = low
    while low < high:
        middle = (low + high) >> 1
        if line.edge[middle] <= x:
            low = middle + 1
        else:
            high = middle
    return line.state_start[j] + low - first


@inner
def _adds(line: Line, j: int, x: float, state: int, bend: float) -> float:
    """Return what a value adds to the raw score, pairs apart."""
    total = line.add[state]
    if line.weight[j] != 0.0 and not np.isnan(x):
        total += line.weight[j] * x
    return total + bend


@inner
def _bulk(line: Line, j: int, x: float, state: int, bend: float) -> float:
    """Return the size of what `_adds` adds up."""
    total = line.bulk[state] + abs(bend)
    if line.weight[j] != 0.0 and not np.isnan(x):
        total += abs(line.weight[j] * x)
    return total


@inner
def _largest(line: Line, j: int, room: _Room, n: int) -> float:
    """Return a bound on the sizes of what the first n values of one side add; they run away from the start."""
    if n == 0:
        return 0.0
    top = abs(line.weight[j]) * max(abs(room.value[0]), abs(room.value[n - 1]))
    if line.edge_start[j + 1] == line.edge_start[j] and not line.curved[j]:
        return top + line.bulk[line.state_start[j]]
    most = 0.0
    for k in range(n):
        most = max(most, line.bulk[room.state[k]] + abs(room.gain[k]))
    return top + most


@inner
def _table(line: Line, k: int, first: int, second: int) -> float:
    """Return what pair k adds in two states."""
    a, b = line.pairs.cell[line.pairs.cell_start[k, 0] + first], line.pairs.cell[line.pairs.cell_start[k, 1] + second]
    return line.pairs.table[line.pairs.table_start[k] + a * line.pairs.width[k] + b]


@inner
def _alone(line: Line, home: np.ndarray, j: int, state: int, gain: float) -> float:
    """Return the gain of a move of feature j while all others stay, never 0 where the move changes any term."""
    for k in range(len(line.pairs.width)):
        a, b = line.pairs.feature[k, 0], line.pairs.feature[k, 1]
        if a == j:
            gain += _table(line, k, state, home[b]) - _table(line, k, home[a], home[b])
        elif b == j:
            gain += _table(line, k, home[a], state) - _table(line, k, home[a], home[b])
    same = line.kind[state] == line.kind[home[j]] and line.weight[j] == 0.0 and not line.curved[j]
    return TINY if gain == 0.0 and not same else gain


@inner
def _walk(
    line: Line, space: Space, rows: Rows, r: int, j: int, home: np.ndarray, base: float, side: int, enough: float,
    bends: Bends, room: _Room,
) -> tuple[_Room, int]:  # fmt: skip
    """Write the useful values of grid feature j on one side of the start, nearest first; return how many."""
    if not space.has_grid[j]:
        return _leap(line, space, rows, r, j, home, base, side, enough, room)
    before = rows.value[r, j]
    first, last = rows.first[r, j], rows.last[r, j]
    every = line.weight[j] * side > 0.0 or line.curved[j]
    if line.curved[j]:
        first = max(first, bends.first[j])
        last = min(last, bends.first[j] + bends.start[j + 1] - bends.start[j] - 1)
    if first > last:
        return room, 0
    near = _home_index(rows, r, j)
    index = min(max(first, near - 1), last) if side > 0 else max(min(last, near + 2), first)
    lowest, n_edges = line.edge_start[j], line.edge_start[j + 1] - line.edge_start[j]
    plain = n_edges == 0 and not line.curved[j]
    cost, gain, value, states = room.cost, room.gain, room.value, room.state
    state = line.state_start[j]
    n = 0
    while first <= index <= last and n <= MOST:
        x = grid_value(rows, r, j, index)
        if (x <= before if side > 0 else x >= before) or _is_code(space, j, x):
            index += side
            continue
        if n == len(cost):
            more = _grown(_Room(cost, gain, value, states), n)
            cost, gain, value, states = more.cost, more.gain, more.value, more.state
        cost[n], value[n] = price(space, j, before, x), x
        if plain:
            gain[n] = line.weight[j] * (x - before)
        else:
            state = _state(line, space, j, x)
            bend = bends.value[bends.start[j] + index - bends.first[j]] if line.curved[j] else 0.0
            gain[n] = _alone(line, home, j, state, _adds(line, j, x, state, bend) - base)
        states[n] = state
        n += 1
        if gain[n - 1] > enough:
            break
        if every:
            index += side
            continue
        bin_ = state - line.state_start[j]
        if bin_ == (n_edges if side > 0 else 0):
            break
        if side > 0:
            index = _first_index_reaching(rows, r, j, line.edge[lowest + bin_], index, last)
        else:
            index = _first_index_reaching(rows, r, j, line.edge[lowest + bin_ - 1], first, index) - 1
    return _Room(cost, gain, value, states), n


@inner
def _leap(
    line: Line, space: Space, rows: Rows, r: int, j: int, home: np.ndarray, base: float, side: int, enough: float,
    room: _Room,
) -> tuple[_Room, int]:  # fmt: skip
    """Write the nearest float32 of each bin on one side of the start; a feature without a grid has bins alone."""
    before, lowest = rows.value[r, j], line.edge_start[j]
    outward = np.float32(np.inf) if side > 0 else np.float32(-np.inf)
    n_edges = line.edge_start[j + 1] - lowest
    bin_ = _state(line, space, j, before) - line.state_start[j] + side
    n = 0
    while 0 <= bin_ <= n_edges:
        limit = max(line.edge[lowest + bin_ - 1], rows.low[r, j]) if side > 0 else line.edge[lowest + bin_]
        limit = limit if side > 0 else min(limit, np.nextafter(rows.high[r, j], np.inf))
        x = np.float32(limit)
        while (float(x) < limit or float(x) <= before) if side > 0 else (float(x) >= limit or float(x) >= before):
            x = np.nextafter(x, outward)
        while _is_code(space, j, float(x)):
            x = np.nextafter(x, outward)
        if float(x) > rows.high[r, j] if side > 0 else float(x) < rows.low[r, j]:
            break
        state = _state(line, space, j, float(x))
        if state == line.state_start[j] + bin_:
            if n == len(room.cost):
                room = _grown(room, n)
            room.cost[n], room.value[n], room.state[n] = price(space, j, before, float(x)), float(x), state
            room.gain[n] = _alone(line, home, j, state, _adds(line, j, float(x), state, 0.0) - base)
            n += 1
            if room.gain[n - 1] > enough:
                break
        bin_ += side
    return room, n


@inner
def _merged(up: _Room, n_up: int, down: _Room, n_down: int, before: float, out: _Room, at: int) -> int:
    """Write both sides in the order of ties: by cost, then |change|, then up before down; return the next place."""
    u, d = 0, 0
    while u < n_up or d < n_down:
        take_up = d >= n_down
        if u < n_up and d < n_down:
            if up.cost[u] != down.cost[d]:
                take_up = up.cost[u] < down.cost[d]
            else:
                take_up = abs(up.value[u] - before) <= abs(down.value[d] - before)
        if take_up:
            out.cost[at], out.gain[at], out.value[at], out.state[at] = up.cost[u], up.gain[u], up.value[u], up.state[u]
            u += 1
        else:
            out.cost[at], out.gain[at] = down.cost[d], down.gain[d]
            out.value[at], out.state[at] = down.value[d], down.state[d]
            d += 1
        at += 1
    return at


@inner
def _room(n: int) -> _Room:
    return _Room(np.empty(n, np.int64), np.empty(n), np.empty(n), np.empty(n, np.int64))


@inner
def _grown(room: _Room, n: int) -> _Room:
    """Return room for n + 1 moves."""
    size = len(room.cost)
    if n < size:
        return room
    more = _room(max(2 * size, n + 1))
    more.cost[:size], more.gain[:size] = room.cost, room.gain
    more.value[:size], more.state[:size] = room.value, room.state
    return more


@inner
def _links(line: Line, start: np.ndarray, state: np.ndarray) -> Links:
    """Return the pairs whose features can both move, with the cell of each move."""
    q, total = 0, 0
    for k in range(len(line.pairs.width)):
        a, b = line.pairs.feature[k, 0], line.pairs.feature[k, 1]
        if start[a + 1] - start[a] > 1 and start[b + 1] - start[b] > 1:
            q += 1
            total += start[a + 1] - start[a] + start[b + 1] - start[b]
    feature, cell_start = np.empty((q, 2), np.int64), np.empty((q, 2), np.int64)
    table_start, width, size = np.empty(q, np.int64), np.empty(q, np.int64), np.empty(q)
    cell = np.empty(total, np.int64)
    q, total = 0, 0
    for k in range(len(line.pairs.width)):
        a, b = line.pairs.feature[k, 0], line.pairs.feature[k, 1]
        if start[a + 1] - start[a] <= 1 or start[b + 1] - start[b] <= 1:
            continue
        table_start[q], width[q], size[q] = line.pairs.table_start[k], line.pairs.width[k], line.pairs.size[k]
        for side in range(2):
            f = line.pairs.feature[k, side]
            feature[q, side], cell_start[q, side] = f, total
            for p in range(start[f], start[f + 1]):
                cell[total] = line.pairs.cell[line.pairs.cell_start[k, side] + state[p]]
                total += 1
        q += 1
    return Links(feature, cell_start, cell, table_start, width, line.pairs.table, size)
