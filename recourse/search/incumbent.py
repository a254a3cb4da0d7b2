"""A good plan before the search begins: greedy by score gained per cost, then every change lowered as far as it goes.

It all rests on one table: the score of each point that differs from the present one in a single feature, filled in one
walk over the trees that leaves the present path at most once.
"""

from __future__ import annotations

import numpy as np

from .forest import NONE, ONE, Active, Forest, Residual, _grow2, exact_score, residual_leaf
from .jit import kernel
from .moves import UNBOUNDED, Moves, Space


@kernel
def deviations(
    residual: Residual, active: Active, place: np.ndarray, position: np.ndarray, table: np.ndarray, stack: np.ndarray
) -> np.ndarray:
    """Fill table[place[a] + p] with the sum of leaves when only active feature a moves to p; return the stack.

    `table` has one spare element a feature (place[a + 1] - place[a] = size[a] + 1): ranges are added as differences and
    summed up at the end.
    """
    n_active = len(active.feature)
    table[:] = 0.0
    low, high = np.zeros(n_active, np.int64), active.size - 1
    seen = np.full(place[n_active], -1, np.int64)
    here = residual.constant
    for t in range(len(residual.root)):
        for a in range(n_active):
            low[a], high[a] = 0, active.size[a] - 1
        n_stack = 0
        node = residual.root[t]
        while residual.feature[node] >= 0:
            if n_stack + 70 >= len(stack):
                stack = _grow2(stack)
            a = residual.feature[node]
            p, cut = position[a], residual.cut[node]
            if a < active.n_runs:
                if p < cut:
                    if max(cut, low[a]) <= high[a]:
                        stack[n_stack, 0], stack[n_stack, 1] = residual.right[node], a
                        stack[n_stack, 2], stack[n_stack, 3] = max(cut, low[a]), high[a]
                        n_stack += 1
                    high[a] = min(high[a], cut - 1)
                    node = residual.left[node]
                else:
                    if low[a] <= min(cut - 1, high[a]):
                        stack[n_stack, 0], stack[n_stack, 1] = residual.left[node], a
                        stack[n_stack, 2], stack[n_stack, 3] = low[a], min(cut - 1, high[a])
                        n_stack += 1
                    low[a] = max(low[a], cut)
                    node = residual.right[node]
            else:
                mine = residual.sets[cut, p >> 6] >> np.uint64(p & 63) & ONE
                other = residual.right[node] if mine else residual.left[node]
                for q in range(active.size[a]):
                    if seen[place[a] + q] != t and residual.sets[cut, q >> 6] >> np.uint64(q & 63) & ONE != mine:
                        if n_stack + 2 >= len(stack):
                            stack = _grow2(stack)
                        seen[place[a] + q] = t
                        stack[n_stack, 0], stack[n_stack, 1], stack[n_stack, 2], stack[n_stack, 3] = other, a, q, q
                        n_stack += 1
                node = residual.left[node] if mine else residual.right[node]
        present = residual.value[node]
        here += present
        while n_stack > 0:
            n_stack -= 1
            node, moved = stack[n_stack, 0], stack[n_stack, 1]
            first, last = stack[n_stack, 2], stack[n_stack, 3]
            while residual.feature[node] >= 0:
                a, cut = residual.feature[node], residual.cut[node]
                if a < active.n_runs:
                    if a != moved:
                        node = residual.left[node] if position[a] < cut else residual.right[node]
                    elif last < cut:
                        node = residual.left[node]
                    elif first >= cut:
                        node = residual.right[node]
                    else:
                        if n_stack + 2 >= len(stack):
                            stack = _grow2(stack)
                        stack[n_stack, 0], stack[n_stack, 1] = residual.right[node], moved
                        stack[n_stack, 2], stack[n_stack, 3] = cut, last
                        n_stack += 1
                        last = cut - 1
                        node = residual.left[node]
                else:
                    p = first if a == moved else position[a]
                    inside = residual.sets[cut, p >> 6] >> np.uint64(p & 63) & ONE
                    node = residual.left[node] if inside != NONE else residual.right[node]
            gain = residual.value[node] - present
            table[place[moved] + first] += gain
            table[place[moved] + last + 1] -= gain
    for a in range(n_active):
        running = here
        for p in range(active.size[a]):
            running += table[place[a] + p]
            table[place[a] + p] = running
    return stack


@kernel
def point_sum(residual: Residual, n_runs: int, position: np.ndarray) -> float:
    """Sum of the leaves at a point, in float64."""
    total = residual.constant
    for t in range(len(residual.root)):
        total += residual.value[residual_leaf(residual, n_runs, t, position)]
    return total


@kernel
def approves(
    forest: Forest, space: Space, moves: Moves, active: Active, position: np.ndarray, total: float, need: float, eps: float
) -> bool:
    """Whether the native raw score at a point reaches the cut; sums within eps of it are added up natively.

    `need` is the cut times the divisor, `eps` bounds the difference between our sum and the native one.
    """
    if total >= need + eps:
        return True
    if total < need - eps:
        return False
    n = len(moves.start)
    cells = np.empty(n, np.int64)
    for j in range(n):
        cells[j] = moves.cell[moves.offset[j] + moves.start[j]]
    for a in range(len(active.feature)):
        cells[active.feature[a]] = moves.cell[active.offset[a] + position[a]]
    return exact_score(forest, space.categorical, cells) >= need / forest.divisor


@kernel
def _cost(moves: Moves, active: Active, a: int, p: int) -> int:
    return moves.cost[active.offset[a] + p]


@kernel
def improve(
    forest: Forest,
    space: Space,
    moves: Moves,
    active: Active,
    residual: Residual,
    place: np.ndarray,
    table: np.ndarray,
    stack: np.ndarray,
    position: np.ndarray,
    max_changes: int,
    need: float,
    eps: float,
) -> np.ndarray:
    """Lower an approved plan in place: first each change on its own, then one change taken back for a cheaper one."""
    n_active = len(active.feature)
    trial = np.empty(n_active, np.int64)
    moved = True
    while moved:
        moved = False
        # one change lowered, the largest saving first
        stack = deviations(residual, active, place, position, table, stack)
        saving, best_a, best_p = 0, -1, -1
        changes = 0
        for a in range(n_active):
            if position[a] != active.start[a]:
                changes += 1
                here = _cost(moves, active, a, position[a])
                for p in range(active.size[a]):
                    if here - _cost(moves, active, a, p) > saving and table[place[a] + p] >= need + eps:
                        saving, best_a, best_p = here - _cost(moves, active, a, p), a, p
        if best_a >= 0:
            position[best_a] = best_p
            moved = True
            continue
        # one change taken back (or made smaller), another feature moved instead
        saving = 0
        swap_a, swap_p, swap_b, swap_q = -1, -1, -1, -1
        for a in range(n_active):
            if position[a] == active.start[a]:
                continue
            here = _cost(moves, active, a, position[a])
            trial[:] = position
            trial[a] = active.start[a]
            stack = deviations(residual, active, place, trial, table, stack)
            for b in range(n_active):
                if b == a:
                    continue
                fresh = position[b] == active.start[b]
                if fresh and changes - 1 + 1 > max_changes:
                    continue
                there = _cost(moves, active, b, position[b])
                for q in range(active.size[b]):
                    gain = here + there - _cost(moves, active, b, q)
                    if gain > saving and table[place[b] + q] >= need + eps:
                        saving = gain
                        swap_a, swap_p, swap_b, swap_q = a, active.start[a], b, q
        if swap_a >= 0:
            position[swap_a] = swap_p
            position[swap_b] = swap_q
            moved = True
    return stack


@kernel
def greedy(
    forest: Forest,
    space: Space,
    moves: Moves,
    active: Active,
    residual: Residual,
    place: np.ndarray,
    table: np.ndarray,
    stack: np.ndarray,
    position: np.ndarray,
    max_changes: int,
    need: float,
    eps: float,
) -> tuple[bool, np.ndarray]:
    """Move `position` from the start to an approved point; False when the climb never gets to one.

    The climb takes the move with the most score per cost (score beyond what is needed counts for nothing). At every
    point on the way the cheapest single move that finishes is a plan; the cheapest of these plans is kept, and the
    climb ends when it has become dearer than that.
    """
    n_active = len(active.feature)
    climb = active.start.copy()
    best = UNBOUNDED
    spent, changes = 0, 0
    for _ in range(8 * n_active + 8):
        stack = deviations(residual, active, place, climb, table, stack)
        here = table[climb[0]]
        best_ratio = 0.0
        finish_a, finish_p, step_a, step_p = -1, -1, -1, -1
        for a in range(n_active):
            fresh = climb[a] == active.start[a]
            if fresh and changes >= max_changes:
                continue
            now = _cost(moves, active, a, climb[a])
            for p in range(active.size[a]):
                score = table[place[a] + p]
                extra = _cost(moves, active, a, p) - now
                if score >= need + eps:
                    if spent + extra < best:
                        best, finish_a, finish_p = spent + extra, a, p
                elif score > here + eps:
                    ratio = (score - here) / float(extra) if extra > 0 else np.inf
                    if ratio > best_ratio:
                        best_ratio, step_a, step_p = ratio, a, p
        if finish_a >= 0:
            position[:] = climb
            position[finish_a] = finish_p
        if step_a < 0:
            break
        spent += _cost(moves, active, step_a, step_p) - _cost(moves, active, step_a, climb[step_a])
        changes += (step_p != active.start[step_a]) - (climb[step_a] != active.start[step_a])
        climb[step_a] = step_p
        if spent >= best:
            break
    return best < UNBOUNDED, stack
