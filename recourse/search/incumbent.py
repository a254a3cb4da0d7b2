"""A good plan before the search begins: a climb by score per cost, then every change lowered as far as it goes.

It all rests on one table: the score of each point that differs from the present one in a single feature, filled in one
walk over the trees that leaves the present path at most once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arena import taller
from .forest import (
    CUT,
    FEATURE,
    LEFT,
    OF,
    OFFSET,
    RIGHT,
    SIZE,
    START,
    Active,
    Forest,
    Residual,
    exact_score,
    has_bit,
)
from .jit import inner
from .moves import Moves, Space


class Goal(NamedTuple):
    """What a plan must reach, and within how many changes."""

    cut: float  # smallest raw score that is approved
    need: float  # the cut times the divisor: what our sums must reach, within eps
    eps: float  # bound on the difference between our sums and the native one
    max_changes: int


class Climb(NamedTuple):
    """Scratch of the climb."""

    place: np.ndarray  # int64[n_active + 1], first element of feature a in `table`; one spare element a feature
    table: np.ndarray  # float64[...], the sum of leaves when only feature a moves to p
    low: np.ndarray  # int64[n_active]
    high: np.ndarray  # int64[n_active]
    seen: np.ndarray  # int64[...], the last tree in which a position of a set has left the path


@inner
def make_climb(active: Active) -> Climb:
    """Scratch for an applicant's active features."""
    n = len(active.table)
    place = np.zeros(n + 1, np.int64)
    for a in range(n):
        place[a + 1] = place[a] + active.table[a, SIZE] + 1
    return Climb(
        place,
        np.empty(place[n], np.float64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(place[n], np.int64),
    )


@inner
def deviations(residual: Residual, active: Active, climb: Climb, position: np.ndarray) -> float:
    """Fill the table of one-feature moves from a point; return the sum of leaves at the point itself.

    Ranges of positions are added as differences and summed up at the end.
    """
    n_active, n_runs = len(active.table), active.n_runs
    table, place, low, high, seen = climb.table, climb.place, climb.low, climb.high, climb.seen
    for i in range(len(table)):
        table[i] = 0.0
        seen[i] = -1
    stack = np.empty((64, 4), np.int64)  # node, the feature that has moved, its first and last position
    here = residual.constant
    for t in range(len(residual.root)):
        for a in range(n_runs):
            low[a], high[a] = 0, active.table[a, SIZE] - 1
        n_stack = 0
        node = residual.root[t]
        while residual.node[node, FEATURE] >= 0:
            a, cut = residual.node[node, FEATURE], residual.node[node, CUT]
            p = position[a]
            left = p < cut if a < n_runs else has_bit(residual.sets, cut, 0, p)
            other = residual.node[node, RIGHT] if left else residual.node[node, LEFT]
            if a < n_runs:
                first, last = (max(cut, low[a]), high[a]) if left else (low[a], min(cut - 1, high[a]))
                if first <= last:
                    if n_stack == len(stack):
                        stack = taller(stack)
                    stack[n_stack, 0], stack[n_stack, 1], stack[n_stack, 2], stack[n_stack, 3] = other, a, first, last
                    n_stack += 1
                if left:
                    high[a] = min(high[a], cut - 1)
                else:
                    low[a] = max(low[a], cut)
            else:
                for q in range(active.table[a, SIZE]):
                    if seen[place[a] + q] != t and has_bit(residual.sets, cut, 0, q) != left:
                        seen[place[a] + q] = t
                        if n_stack == len(stack):
                            stack = taller(stack)
                        stack[n_stack, 0], stack[n_stack, 1], stack[n_stack, 2], stack[n_stack, 3] = other, a, q, q
                        n_stack += 1
            node = residual.node[node, LEFT] if left else residual.node[node, RIGHT]
        present = residual.value[node]
        here += present
        while n_stack > 0:
            n_stack -= 1
            node, moved = stack[n_stack, 0], stack[n_stack, 1]
            first, last = stack[n_stack, 2], stack[n_stack, 3]
            while residual.node[node, FEATURE] >= 0:
                a, cut = residual.node[node, FEATURE], residual.node[node, CUT]
                if a >= n_runs:
                    left = has_bit(residual.sets, cut, 0, first if a == moved else position[a])
                elif a != moved:
                    left = position[a] < cut
                else:
                    left = first < cut
                    if left and last >= cut:  # both sides: the right one waits
                        if n_stack == len(stack):
                            stack = taller(stack)
                        stack[n_stack, 0], stack[n_stack, 1] = residual.node[node, RIGHT], moved
                        stack[n_stack, 2], stack[n_stack, 3] = cut, last
                        n_stack += 1
                        last = cut - 1
                node = residual.node[node, LEFT] if left else residual.node[node, RIGHT]
            gain = residual.value[node] - present
            table[place[moved] + first] += gain
            table[place[moved] + last + 1] -= gain
    for a in range(n_active):
        running = here
        for p in range(active.table[a, SIZE]):
            running += table[place[a] + p]
            table[place[a] + p] = running
    return here


@inner
def approves(
    forest: Forest, space: Space, moves: Moves, active: Active, goal: Goal, position: np.ndarray, total: float
) -> bool:
    """Whether the native raw score at a point reaches the cut; sums within eps of it are added up natively."""
    if total >= goal.need + goal.eps:
        return True
    if total < goal.need - goal.eps:
        return False
    return native_score(forest, space, moves, active, position) >= goal.cut


@inner
def native_score(forest: Forest, space: Space, moves: Moves, active: Active, position: np.ndarray) -> float:
    """Raw score at a point as the native library adds it up."""
    n = len(moves.start)
    cells = np.empty(n, np.int64)
    for j in range(n):
        cells[j] = moves.cell[moves.offset[j] + moves.start[j]]
    for a in range(len(active.table)):
        cells[active.table[a, OF]] = moves.cell[active.table[a, OFFSET] + position[a]]
    return exact_score(forest, space.categorical, cells)


@inner
def cost_at(moves: Moves, active: Active, a: int, p: int) -> int:
    """Micro-units of position p of active feature a."""
    return moves.cost[active.table[a, OFFSET] + p]


@inner
def climb_to(
    moves: Moves, active: Active, residual: Residual, climb: Climb, goal: Goal, position: np.ndarray, best: int
) -> bool:
    """Climb from a point to an approved one that costs less than `best`, in place; False without one.

    The climb takes the move with the most score per cost. At every point on the way the cheapest single move that
    finishes is a plan; the cheapest of these plans is kept, and the climb ends when it has become dearer than that.
    """
    n_active = len(active.table)
    enough = goal.need + goal.eps
    here_at = np.empty(n_active, np.int64)
    spent, changes = 0, 0
    done = False
    for a in range(n_active):
        here_at[a] = position[a]
        spent += cost_at(moves, active, a, here_at[a])
        changes += here_at[a] != active.table[a, START]
    for _ in range(8 * n_active + 8):
        here = deviations(residual, active, climb, here_at)
        best_ratio = 0.0
        finish_a, finish_p, step_a, step_p = -1, -1, -1, -1
        for a in range(n_active):
            if here_at[a] == active.table[a, START] and changes >= goal.max_changes:
                continue
            now = cost_at(moves, active, a, here_at[a])
            for p in range(active.table[a, SIZE]):
                score = climb.table[climb.place[a] + p]
                extra = cost_at(moves, active, a, p) - now
                if score >= enough:
                    if spent + extra < best:
                        best, finish_a, finish_p = spent + extra, a, p
                elif score > here + goal.eps:
                    ratio = (score - here) / float(extra) if extra > 0 else 1e300
                    if ratio > best_ratio:
                        best_ratio, step_a, step_p = ratio, a, p
        if finish_a >= 0:
            done = True
            for a in range(n_active):
                position[a] = here_at[a]
            position[finish_a] = finish_p
        if step_a < 0:
            break
        start = active.table[step_a, START]
        spent += cost_at(moves, active, step_a, step_p) - cost_at(moves, active, step_a, here_at[step_a])
        changes += (step_p != start) - (here_at[step_a] != start)
        here_at[step_a] = step_p
        if spent >= best:
            break
    return done


@inner
def improve(moves: Moves, active: Active, residual: Residual, climb: Climb, goal: Goal, position: np.ndarray) -> None:
    """Lower an approved point in place: single changes first, then one taken back for a cheaper one elsewhere."""
    n_active = len(active.table)
    enough = goal.need + goal.eps
    while True:
        changes = 0
        for a in range(n_active):
            changes += position[a] != active.table[a, START]
        # round -1 lowers one change; round a takes the change of feature a back and moves another
        saving, taken, best_a, best_p = 0, -1, -1, -1
        for back in range(-1, n_active):
            kept = 0
            freed = 0
            if back >= 0:
                if best_a >= 0 and taken < 0:
                    break
                kept = position[back]
                if kept == active.table[back, START]:
                    continue
                freed = cost_at(moves, active, back, kept)
                position[back] = active.table[back, START]
            deviations(residual, active, climb, position)
            for b in range(n_active):
                if b == back or (back < 0 and position[b] == active.table[b, START]):
                    continue
                if position[b] == active.table[b, START] and changes - (back >= 0) >= goal.max_changes:
                    continue
                now = cost_at(moves, active, b, position[b])
                for q in range(active.table[b, SIZE]):
                    gain = freed + now - cost_at(moves, active, b, q)
                    if gain > saving and climb.table[climb.place[b] + q] >= enough:
                        saving, taken, best_a, best_p = gain, back, b, q
            if back >= 0:
                position[back] = kept
        if best_a < 0:
            return
        if taken >= 0:
            position[taken] = active.table[taken, START]
        position[best_a] = best_p


@inner
def ascend(active: Active, residual: Residual, climb: Climb, goal: Goal, position: np.ndarray) -> None:
    """Move `position` to a point whose score no single feature can raise (within the number of changes)."""
    n_active = len(active.table)
    for a in range(n_active):
        position[a] = active.table[a, START]
    while True:
        best = deviations(residual, active, climb, position) + goal.eps
        changes, best_a, best_p = 0, -1, -1
        for a in range(n_active):
            changes += position[a] != active.table[a, START]
        for a in range(n_active):
            if position[a] == active.table[a, START] and changes >= goal.max_changes:
                continue
            for p in range(active.table[a, SIZE]):
                if climb.table[climb.place[a] + p] > best:
                    best, best_a, best_p = climb.table[climb.place[a] + p], a, p
        if best_a < 0:
            return
        position[best_a] = best_p
