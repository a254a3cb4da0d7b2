"""A good plan before the search begins: a climb by score per cost, then every change lowered as far as it goes.

It all rests on one table: the score of each point that differs from the present one in a single feature, filled in one
walk over the trees that leaves the present path at most once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arena import taller, zeros
from .coupling import Sight, follow, settle
from .forest import (
    ACTS,
    CUT,
    FEATURE,
    LEFT,
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
from .moves import UNBOUNDED, Moves, Space


class Goal(NamedTuple):
    """What a plan must reach, and within how many changes."""

    cut: np.ndarray  # float64[n_models], smallest raw scores that are approved
    need: np.ndarray  # float64[n_models], the cuts times the divisors: what our sums must reach, within eps
    eps: np.ndarray  # float64[n_models], bound on the difference between our sums and the native ones
    max_changes: int


class Climb(NamedTuple):
    """Scratch of the climb."""

    place: np.ndarray  # int64[n_active + 1], first element of feature a in `table`; one spare element a feature
    table: np.ndarray  # float64[n_models, ...], the sum of leaves when only feature a moves to p
    low: np.ndarray  # int64[n_active]
    high: np.ndarray  # int64[n_active]
    seen: np.ndarray  # int64[...], the last tree in which a position of a set has left the path
    here: np.ndarray  # float64[n_models], the sums at the point itself
    scale: np.ndarray  # float64[n_models], what a unit of each model's sum is worth
    other: np.ndarray  # int64[n_active], a point


class Case(NamedTuple):
    """One applicant, as the search sees them."""

    forest: Forest
    space: Space
    moves: Moves
    active: Active
    residual: Residual
    sight: Sight
    climb: Climb
    taboo: np.ndarray  # uint8[n_taboo, n_active], sets of features that may not all change
    regional: bool  # a plan's region is more than its point


@inner
def make_climb(active: Active, n_models: int) -> Climb:
    """Scratch for an applicant's active features."""
    n = len(active.table)
    place = zeros(n + 1)
    for a in range(n):
        place[a + 1] = place[a] + active.table[a, SIZE] + 1
    scale = np.empty(n_models, np.float64)
    for k in range(n_models):
        scale[k] = 1.0
    return Climb(
        place,
        np.empty((n_models, place[n]), np.float64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(place[n], np.int64),
        np.empty(n_models, np.float64),
        scale,
        np.empty(n, np.int64),
    )


@inner
def _deviations(
    residual: Residual, active: Active, climb: Climb, table: np.ndarray, k: int, position: np.ndarray
) -> float:
    """Fill a model's table of one-feature moves from a point; return the sum of leaves at the point itself.

    Ranges of positions are added as differences and summed up at the end.
    """
    n_active, n_runs = len(active.table), active.n_runs
    place, low, high, seen = climb.place, climb.low, climb.high, climb.seen
    for i in range(len(table)):
        table[i] = 0.0
        seen[i] = -1
    stack = np.empty((64, 4), np.int64)  # node, the feature that has moved, its first and last position
    here = residual.constant[k]
    for t in range(residual.part[k], residual.part[k + 1]):
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
def total_at(residual: Residual, active: Active, k: int, position: np.ndarray) -> float:
    """Sum of the leaves of model k at a point."""
    total = residual.constant[k]
    for t in range(residual.part[k], residual.part[k + 1]):
        node = residual.root[t]
        while residual.node[node, FEATURE] >= 0:
            a, cut = residual.node[node, FEATURE], residual.node[node, CUT]
            left = position[a] < cut if a < active.n_runs else has_bit(residual.sets, cut, 0, position[a])
            node = residual.node[node, LEFT] if left else residual.node[node, RIGHT]
        total += residual.value[node]
    return total


@inner
def deviations(case: Case, position: np.ndarray, exactly: bool) -> None:
    """Fill the tables of one-action moves from a point, and the sums at the point itself.

    Unless `exactly`, columns that follow from several actions are taken to stay.
    """
    climb, active = case.climb, case.active
    n_models = len(climb.here)
    for k in range(n_models):
        climb.here[k] = _deviations(case.residual, active, climb, climb.table[k], k, position)
    if exactly and len(case.sight.column) > 0:
        _follow_up(case, position)


@inner
def _follow_up(case: Case, position: np.ndarray) -> None:
    """Correct the tables where a column that follows from several actions moves too: those points are added up anew."""
    climb, active = case.climb, case.active
    n_active, n_models, other = len(active.table), len(climb.here), climb.other
    raw, last, total = np.empty(n_models, np.float64), np.empty(n_active, np.int64), np.empty(n_models, np.float64)
    for u in range(len(case.sight.reads)):
        a = case.sight.reads[u]
        if not case.sight.feeds[a]:
            continue
        for b in range(n_active):
            other[b], last[b] = position[b], -1
        for p in range(active.table[a, SIZE]):
            if case.moves.cost[active.table[a, OFFSET] + p] > UNBOUNDED:
                continue
            other[a] = p
            follow(case.space, case.moves, active, case.sight, other)
            moved, new = False, False
            for b in range(n_active):
                if active.table[b, ACTS] == 0:
                    moved |= other[b] != position[b]
                    new |= other[b] != last[b]
                    last[b] = other[b]
            i = climb.place[a] + p
            for k in range(n_models):
                new |= climb.table[k, i] != raw[k]
                raw[k] = climb.table[k, i]
                if moved:
                    if new:
                        total[k] = total_at(case.residual, active, k, other)
                    climb.table[k, i] = total[k]
                else:
                    new = True


@inner
def merit(climb: Climb, goal: Goal, i: int) -> float:
    """What entry i of the tables lacks (at most 0); of several models, the weighted sum. 0 is approved for sure."""
    lacking = 0.0
    for k in range(len(climb.here)):
        lacking += min(0.0, climb.table[k, i] - (goal.need[k] + goal.eps[k])) * climb.scale[k]
    return lacking


@inner
def merit_here(climb: Climb, goal: Goal) -> float:
    """What the present point lacks."""
    lacking = 0.0
    for k in range(len(climb.here)):
        lacking += min(0.0, climb.here[k] - (goal.need[k] + goal.eps[k])) * climb.scale[k]
    return lacking


@inner
def approves(case: Case, goal: Goal, position: np.ndarray, total: np.ndarray) -> bool:
    """Whether every model approves a point of these sums; sums within eps of a cut are added up natively."""
    close = len(case.sight.column) > 0  # bounds on such columns may be wider than a cell
    for k in range(len(total)):
        if total[k] < goal.need[k] - goal.eps[k]:
            return False
        close |= total[k] < goal.need[k] + goal.eps[k]
    return not close or natively_approved(case, goal, position)


@inner
def natively_approved(case: Case, goal: Goal, position: np.ndarray) -> bool:
    """Whether every model approves a point, added up as its library does."""
    cells = cells_at(case, position)
    for k in range(len(goal.cut)):
        if exact_score(case.forest, k, case.space.categorical, cells) < goal.cut[k]:
            return False
    return True


@inner
def cells_at(case: Case, position: np.ndarray) -> np.ndarray:
    """Return the cell of every column at a point."""
    moves, active = case.moves, case.active
    cells = np.empty(len(moves.owner), np.int64)
    for j in range(len(cells)):
        f = moves.owner[j]
        p = 0
        if f >= 0:
            a = active.number[f]
            p = position[a] if a >= 0 else moves.start[f]
        cells[j] = moves.cell[moves.cell_at[j] + p]
    return cells


@inner
def native_score(case: Case, k: int, position: np.ndarray) -> float:
    """Raw score at a point as the library of model k adds it up."""
    return exact_score(case.forest, k, case.space.categorical, cells_at(case, position))


@inner
def cost_at(moves: Moves, active: Active, a: int, p: int) -> int:
    """Micro-units of position p of active feature a."""
    return moves.cost[active.table[a, OFFSET] + p]


@inner
def _breaks_taboo(case: Case, position: np.ndarray) -> bool:
    """Whether a forbidden set of features changes as a whole."""
    for i in range(len(case.taboo)):
        whole = True
        for a in range(len(position)):
            if case.taboo[i, a] and position[a] == case.active.table[a, START]:
                whole = False
        if whole:
            return True
    return False


@inner
def allowed(case: Case, position: np.ndarray) -> bool:
    """Settle what follows from the actions; whether no rule is violated and no forbidden set changes."""
    return settle(case.space, case.moves, case.active, case.sight, position) and not _breaks_taboo(case, position)


@inner
def _allowed_at(case: Case, here: np.ndarray, a: int, p: int) -> bool:
    """Whether a point is allowed when feature a moves to p."""
    if not case.sight.live and len(case.taboo) == 0:
        return True
    other = case.climb.other
    for b in range(len(here)):
        other[b] = here[b]
    other[a] = p
    return allowed(case, other)


@inner
def _finishes_at(case: Case, goal: Goal, here: np.ndarray, a: int, p: int) -> bool:
    """Whether a point that the tables call approved is allowed, and approved indeed, when feature a moves to p."""
    if not _allowed_at(case, here, a, p):
        return False
    if len(case.sight.column) > 0:  # the tables may miss what a column that follows does to others
        for k in range(len(goal.need)):
            if total_at(case.residual, case.active, k, case.climb.other) < goal.need[k] + goal.eps[k]:
                return False
    return True


@inner
def climb_to(case: Case, goal: Goal, position: np.ndarray, best: int) -> bool:
    """Climb from a point to an approved one that costs less than `best`, in place; False without one.

    The climb takes the move with the most score per cost. At every point on the way the cheapest single move that
    finishes is a plan; the cheapest of these plans is kept, and the climb ends when it has become dearer than that.
    """
    moves, active, climb = case.moves, case.active, case.climb
    n_active = len(active.table)
    here_at = np.empty(n_active, np.int64)
    spent, changes = 0, 0
    done = False
    for a in range(n_active):
        here_at[a] = position[a]
        spent += cost_at(moves, active, a, here_at[a])
        changes += (here_at[a] != active.table[a, START]) * active.table[a, ACTS]
    lawful = allowed(case, here_at)
    for step in range(8 * n_active + 8):
        deviations(case, here_at, True)
        if step == 0 and len(climb.here) > 1:
            for k in range(len(climb.here)):
                climb.scale[k] = 1.0 / max(goal.need[k] - climb.here[k], goal.eps[k], 1e-3)
        here = merit_here(climb, goal)
        least = goal.eps[0] if len(climb.here) == 1 else 1e-9
        best_ratio = 0.0
        finish_a, finish_p, step_a, step_p = -1, -1, -1, -1
        for a in range(n_active):
            if active.table[a, ACTS] == 0 or (here_at[a] == active.table[a, START] and changes >= goal.max_changes):
                continue
            now = cost_at(moves, active, a, here_at[a])
            for p in range(active.table[a, SIZE]):
                price = cost_at(moves, active, a, p)
                if p == here_at[a] or price > UNBOUNDED:
                    continue
                score = merit(climb, goal, climb.place[a] + p)
                extra = price - now
                if score >= 0.0:
                    if spent + extra < best and _finishes_at(case, goal, here_at, a, p):
                        best, finish_a, finish_p = spent + extra, a, p
                elif score > here + least:
                    ratio = (score - here) / float(extra) if extra > 0 else 1e300
                    if ratio > best_ratio and (not lawful or _allowed_at(case, here_at, a, p)):
                        best_ratio, step_a, step_p = ratio, a, p
        if finish_a >= 0:
            done = True
            for a in range(n_active):
                position[a] = here_at[a]
            position[finish_a] = finish_p
            allowed(case, position)
        if step_a < 0:
            break
        start = active.table[step_a, START]
        spent += cost_at(moves, active, step_a, step_p) - cost_at(moves, active, step_a, here_at[step_a])
        changes += int(step_p != start) - int(here_at[step_a] != start)
        here_at[step_a] = step_p
        lawful = allowed(case, here_at)
        if spent >= best:
            break
    return done


@inner
def improve(case: Case, goal: Goal, position: np.ndarray) -> None:
    """Lower an approved point in place: single changes first, then one taken back for a cheaper one elsewhere."""
    moves, active, climb = case.moves, case.active, case.climb
    n_active = len(active.table)
    while True:
        changes = 0
        for a in range(n_active):
            changes += (position[a] != active.table[a, START]) * active.table[a, ACTS]
        # round -1 lowers one change; round a takes the change of feature a back and moves another
        saving, taken, best_a, best_p = 0, -1, -1, -1
        for back in range(-1, n_active):
            kept = 0
            freed = 0
            if back >= 0:
                if best_a >= 0 and taken < 0:
                    break
                kept = position[back]
                if kept == active.table[back, START] or active.table[back, ACTS] == 0:
                    continue
                freed = cost_at(moves, active, back, kept)
                position[back] = active.table[back, START]
                allowed(case, position)
            deviations(case, position, False)
            for b in range(n_active):
                if b == back or active.table[b, ACTS] == 0 or (back < 0 and position[b] == active.table[b, START]):
                    continue
                if position[b] == active.table[b, START] and changes - (back >= 0) >= goal.max_changes:
                    continue
                now = cost_at(moves, active, b, position[b])
                for q in range(active.table[b, SIZE]):
                    gain = freed + now - cost_at(moves, active, b, q)
                    if gain <= saving:
                        continue
                    if case.sight.feeds[b] or merit(climb, goal, climb.place[b] + q) >= 0.0:
                        if _finishes_at(case, goal, position, b, q):
                            saving, taken, best_a, best_p = gain, back, b, q
            if back >= 0:
                position[back] = kept
                allowed(case, position)
        if best_a < 0:
            return
        if taken >= 0:
            position[taken] = active.table[taken, START]
        position[best_a] = best_p
        allowed(case, position)


@inner
def ascend(case: Case, goal: Goal, position: np.ndarray) -> bool:
    """Move `position` to a point whose score no single action can raise (within the number of changes).

    Of several models, the first one's score. False where no point on the way is allowed.
    """
    active, climb = case.active, case.climb
    n_active = len(active.table)
    for a in range(n_active):
        position[a] = active.table[a, START]
    if not allowed(case, position):
        return False
    while True:
        deviations(case, position, True)
        best = climb.here[0] + goal.eps[0]
        changes, best_a, best_p = 0, -1, -1
        for a in range(n_active):
            changes += (position[a] != active.table[a, START]) * active.table[a, ACTS]
        for a in range(n_active):
            if active.table[a, ACTS] == 0 or (position[a] == active.table[a, START] and changes >= goal.max_changes):
                continue
            for p in range(active.table[a, SIZE]):
                if climb.table[0, climb.place[a] + p] > best and cost_at(case.moves, active, a, p) <= UNBOUNDED:
                    if _allowed_at(case, position, a, p):
                        best, best_a, best_p = climb.table[0, climb.place[a] + p], a, p
        if best_a < 0:
            return True
        position[best_a] = best_p
        allowed(case, position)
