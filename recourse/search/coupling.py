"""What follows from an applicant's actions: the cells of columns that read several of them, and the rules they obey."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arena import copied, flags
from .forest import APART, OF, OFFSET, Active
from .jit import inner
from .moves import MISSING, Moves, Space, cell_of, ranges, seen_value, span
from .operations import LOAD
from .programs import Programs, run_box, run_point
from .residual import reduce_programs

KEPT, OPEN, BROKEN = 0, 1, -1  # no rule is violated in a box; some point may violate one; every point violates one


class Sight(NamedTuple):
    """What expressions see of an applicant, with scratch."""

    programs: Programs  # reduced to what the applicant's moves leave open
    rule: np.ndarray  # int64[...], programs of the rules that some move may violate
    column: np.ndarray  # int64[...], the columns of `Moves.column` that have a choice
    live: bool  # whether there are any of these
    reads: np.ndarray  # int64[...], active features that they read
    feeds: np.ndarray  # uint8[n_active], whether a column follows from a feature
    x: np.ndarray  # float64[n], values at a point
    low: np.ndarray  # float64[n], ranges in a box
    high: np.ndarray  # float64[n]
    maybe: np.ndarray  # uint8[n], may be missing there
    stack: np.ndarray  # float64[depth, 3]
    out: np.ndarray  # float64[3]


@inner
def make_sight(space: Space, moves: Moves, active: Active) -> Sight:
    """Prepare an applicant's expressions; marks the features that open ones read as told apart."""
    n, n_active = len(space.listed), len(active.table)
    low, high, maybe = np.empty(n, np.float64), np.empty(n, np.float64), np.empty(n, np.uint8)
    ranges(space, moves.offset, moves.value, low, high, maybe)
    programs = space.programs
    if len(space.rule) > 0 or len(moves.column) > 0:
        programs = reduce_programs(space.programs, low, high, maybe, moves.value_start)
    stack, out = np.empty((max(1, space.programs.depth), 3), np.float64), np.empty(3, np.float64)
    rule, n_rules = np.empty(len(space.rule), np.int64), 0
    for i in range(len(space.rule)):
        run_box(programs, space.rule[i], low, high, maybe, moves.value_start, stack, out)
        if out[0] <= out[1] and out[0] == 0.0:
            rule[n_rules] = space.rule[i]
            n_rules += 1
    column, n_columns = np.empty(len(moves.column), np.int64), 0
    for c in range(len(moves.column)):
        if active.number[n + c] >= 0:
            column[n_columns] = c
            n_columns += 1
    used, feeds = flags(n_active), flags(n_active)
    for i in range(n_columns + n_rules):
        k = space.program[moves.column[column[i]]] if i < n_columns else rule[i - n_columns]
        for u in range(programs.start[k], programs.start[k + 1]):
            if programs.op[u] == LOAD:
                a = active.number[programs.arg[u]]
                if a >= 0:
                    used[a] = 1
                    feeds[a] |= np.uint8(i < n_columns)
    count = 0
    reads = np.empty(n_active, np.int64)
    for a in range(n_active):
        if used[a]:
            active.table[a, APART] = 1
            reads[count] = a
            count += 1
    for j in range(n):
        k = moves.offset[j] + moves.start[j]
        span(space, j, k, k, moves.value, low, high, maybe)
    return Sight(
        programs, rule[:n_rules], column[:n_columns], n_rules + n_columns > 0, reads[:count], feeds,
        copied(moves.value_start), low, high, maybe, stack, out,
    )  # fmt: skip


@inner
def _has_missing(moves: Moves, c: int) -> int:
    """1 if a column that follows several actions may be missing: then that is its first position."""
    return int(moves.cell[moves.cell_at[moves.column[c]]] == MISSING)


@inner
def _position(space: Space, moves: Moves, c: int, value: float) -> int:
    """Position of a value of the c-th column that follows several actions."""
    j = moves.column[c]
    missing = _has_missing(moves, c)
    if np.isnan(value):
        return 0
    lowest = moves.cell[moves.cell_at[j] + missing]
    return min(max(cell_of(space, j, value) - lowest, 0) + missing, moves.offset[len(space.listed) + c + 1]
               - moves.offset[len(space.listed) + c] - 1)  # fmt: skip


@inner
def follow(space: Space, moves: Moves, active: Active, sight: Sight, position: np.ndarray) -> None:
    """Write the positions that follow from those of the actions."""
    for u in range(len(sight.reads)):
        a = sight.reads[u]
        j = active.table[a, OF]
        sight.x[j] = seen_value(space, j, moves.value[active.table[a, OFFSET] + position[a]])
    for i in range(len(sight.column)):
        c = sight.column[i]
        k = space.program[moves.column[c]]
        value = run_point(sight.programs, k, sight.x, moves.value_start, sight.stack)
        position[active.number[len(space.listed) + c]] = _position(space, moves, c, value)


@inner
def settle(space: Space, moves: Moves, active: Active, sight: Sight, position: np.ndarray) -> bool:
    """Write the positions that follow from those of the actions; return whether no rule is violated."""
    if not sight.live:
        return True
    follow(space, moves, active, sight, position)
    for i in range(len(sight.rule)):
        if run_point(sight.programs, sight.rule[i], sight.x, moves.value_start, sight.stack) == 0.0:
            return False
    return True


@inner
def narrow(
    space: Space, moves: Moves, active: Active, sight: Sight, first: np.ndarray, last: np.ndarray, broken: np.ndarray
) -> int:
    """Write the positions that may follow from ranges of positions of the actions; return what becomes of the rules.

    ``first[a]:last[a]`` (inclusive) are positions of active feature a; `broken[0]` gets the program of the first rule
    that some point may violate, -1 without one.
    """
    broken[0] = -1
    if not sight.live:
        return KEPT
    for u in range(len(sight.reads)):
        a = sight.reads[u]
        j, at = active.table[a, OF], active.table[a, OFFSET]
        if a < active.n_runs:
            sight.low[j], sight.high[j], sight.maybe[j] = moves.value[at + first[a]], moves.value[at + last[a]], 0
        else:
            span(space, j, at + first[a], at + last[a], moves.value, sight.low, sight.high, sight.maybe)
    out = sight.out
    for i in range(len(sight.column)):
        c = sight.column[i]
        a = active.number[len(space.listed) + c]
        k = space.program[moves.column[c]]
        run_box(sight.programs, k, sight.low, sight.high, sight.maybe, moves.value_start, sight.stack, out)
        if out[0] > out[1]:
            first[a], last[a] = 0, 0
            continue
        first[a], last[a] = _position(space, moves, c, out[0]), _position(space, moves, c, out[1])
        if out[2] != 0.0:
            first[a] = 0
    state = KEPT
    for i in range(len(sight.rule)):
        k = sight.rule[i]
        run_box(sight.programs, k, sight.low, sight.high, sight.maybe, moves.value_start, sight.stack, out)
        if out[0] <= out[1] and out[0] == 0.0:
            if out[1] == 0.0 and out[2] == 0.0:
                broken[0] = k
                return BROKEN
            state = OPEN
            if broken[0] < 0:
                broken[0] = k
    return state


@inner
def parent_to_split(space: Space, active: Active, k: int, low: np.ndarray, high: np.ndarray) -> int:
    """Return the active feature that program k reads and that has most positions left in low..high; -1 without one."""
    best, most = -1, 0
    for u in range(space.dep_start[k], space.dep_start[k + 1]):
        a = active.number[space.dep[u]]
        if a >= 0 and high[a] - low[a] > most:
            best, most = a, high[a] - low[a]
    return best
