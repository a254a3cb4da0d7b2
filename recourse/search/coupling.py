"""What follows from an applicant's actions: the cells of columns that read several of them, and the rules they obey."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .forest import OF, OFFSET, START, Active
from .jit import inner
from .moves import MISSING, Moves, Space, cell_of, seen_value, span
from .programs import run_box, run_point

KEPT, OPEN, BROKEN = 0, 1, -1  # no rule is violated in a box; some point may violate one; every point violates one


class Sight(NamedTuple):
    """What expressions see of an applicant, with scratch."""

    live: bool  # whether any column follows from several actions, or there is a rule
    reads: np.ndarray  # int64[...], active features that live programs read
    x: np.ndarray  # float64[n], values at a point
    low: np.ndarray  # float64[n], ranges in a box
    high: np.ndarray  # float64[n]
    maybe: np.ndarray  # uint8[n], may be missing there
    stack: np.ndarray  # float64[depth, 3]
    out: np.ndarray  # float64[3]


@inner
def make_sight(space: Space, moves: Moves, active: Active) -> Sight:
    """Prepare an applicant's expressions."""
    n = len(space.listed)
    used = np.zeros(len(active.table), np.uint8)
    count = 0
    for i in range(len(moves.column) + len(space.rule)):
        k = space.program[moves.column[i]] if i < len(moves.column) else space.rule[i - len(moves.column)]
        for u in range(space.dep_start[k], space.dep_start[k + 1]):
            a = active.number[space.dep[u]]
            if a >= 0 and not used[a]:
                used[a] = 1
                count += 1
    reads = np.empty(count, np.int64)
    count = 0
    for a in range(len(used)):
        if used[a]:
            reads[count] = a
            count += 1
    low, high, maybe = np.empty(n, np.float64), np.empty(n, np.float64), np.empty(n, np.uint8)
    for j in range(n):
        k = moves.offset[j] + moves.start[j]
        span(space, j, k, k, moves.value, low, high, maybe)
    stack, out = np.empty((max(1, space.programs.depth), 3), np.float64), np.empty(3, np.float64)
    live = len(moves.column) > 0 or len(space.rule) > 0
    return Sight(live, reads, moves.value_start.copy(), low, high, maybe, stack, out)


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
def settle(space: Space, moves: Moves, active: Active, sight: Sight, position: np.ndarray) -> bool:
    """Write the positions that follow from those of the actions; return whether no rule is violated."""
    if not sight.live:
        return True
    for u in range(len(sight.reads)):
        a = sight.reads[u]
        j = active.table[a, OF]
        sight.x[j] = seen_value(space, j, moves.value[active.table[a, OFFSET] + position[a]])
    for c in range(len(moves.column)):
        a = active.number[len(space.listed) + c]
        if a >= 0:
            value = run_point(space.programs, space.program[moves.column[c]], sight.x, moves.value_start, sight.stack)
            position[a] = _position(space, moves, c, value)
    for i in range(len(space.rule)):
        if run_point(space.programs, space.rule[i], sight.x, moves.value_start, sight.stack) == 0.0:
            return False
    return True


@inner
def narrow(
    space: Space, moves: Moves, active: Active, sight: Sight, first: np.ndarray, last: np.ndarray, broken: np.ndarray
) -> int:
    """Write the positions that may follow from ranges of positions of the actions; return what becomes of the rules.

    ``first[a]:last[a]`` (inclusive) are positions of active feature a; `broken[0]` gets the first rule that some point
    may violate, -1 without one.
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
    for c in range(len(moves.column)):
        a = active.number[len(space.listed) + c]
        if a < 0:
            continue
        k = space.program[moves.column[c]]
        run_box(space.programs, k, sight.low, sight.high, sight.maybe, moves.value_start, sight.stack, out)
        if out[0] > out[1]:
            first[a], last[a] = 0, 0
            continue
        first[a], last[a] = _position(space, moves, c, out[0]), _position(space, moves, c, out[1])
        if out[2] != 0.0:
            first[a] = 0
    state = KEPT
    for i in range(len(space.rule)):
        k = space.rule[i]
        run_box(space.programs, k, sight.low, sight.high, sight.maybe, moves.value_start, sight.stack, out)
        if out[0] <= out[1] and out[0] == 0.0:
            if out[1] == 0.0 and out[2] == 0.0:
                broken[0] = i
                return BROKEN
            state = OPEN
            if broken[0] < 0:
                broken[0] = i
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


@inner
def present(active: Active, space: Space, moves: Moves, sight: Sight, position: np.ndarray) -> bool:
    """Write the applicant's own position; return whether no rule is violated there."""
    for a in range(len(active.table)):
        position[a] = active.table[a, START]
    return settle(space, moves, active, sight, position)
