"""Whether every row of a plan's region is approved: a search for one that is not.

A region is a product of ranges of positions. Its rows that violate no rule must all be approved, and no knock-out may
fire on one; the least leaf of each tree bounds the score from below, and the range whose trees are furthest apart is
split until the bound decides.
"""

from __future__ import annotations

import numpy as np

from .arena import copied, taller, zeros
from .coupling import BROKEN, KEPT, narrow, settle
from .forest import ACTS, CUT, FEATURE, LEFT, OFFSET, RIGHT, START, has_bit
from .incumbent import Case, Goal, approves, total_at
from .jit import inner
from .programs import run_box, run_point

HOLDS, FAILS, UNDECIDED = 0, 1, 2
MOST_BOXES = 20_000


@inner
def _least_leaf(
    case: Case, t: int, low: np.ndarray, high: np.ndarray, weight: np.ndarray, cut_of: np.ndarray, stack: np.ndarray,
    into: np.ndarray, spread: np.ndarray,
) -> float:  # fmt: skip
    """Least leaf of a tree in a box; notes how far its leaves are apart, and by that the first test that parts them."""
    residual, n_runs = case.residual, case.active.n_runs
    least, most = np.inf, -np.inf
    first_a, first_cut = -1, 0
    n_stack, node = 0, residual.root[t]
    while True:
        while residual.node[node, FEATURE] >= 0:
            a, cut = residual.node[node, FEATURE], residual.node[node, CUT]
            go = 0
            if a < n_runs:
                go = (1 if low[a] < cut else 0) | (2 if high[a] >= cut else 0)
            else:
                for p in range(low[a], high[a] + 1):
                    go |= 1 if has_bit(residual.sets, cut, 0, p) else 2
            if go == 3:
                if first_a < 0:
                    first_a, first_cut = a, cut
                stack[n_stack] = residual.node[node, RIGHT]
                n_stack += 1
            node = residual.node[node, RIGHT] if go == 2 else residual.node[node, LEFT]
        least, most = min(least, residual.value[node]), max(most, residual.value[node])
        if n_stack == 0:
            break
        n_stack -= 1
        node = np.int64(stack[n_stack])
    spread[0] = most - least
    if first_a >= 0 and most > least:
        weight[first_a] += most - least
        if most - least > into[first_a]:
            into[first_a], cut_of[first_a] = most - least, first_cut
    return least


@inner
def refute(case: Case, goal: Goal, first: np.ndarray, last: np.ndarray, bad: np.ndarray) -> int:
    """Look for a row of a box of positions that violates no rule and is not approved; write it to `bad`."""
    n = len(first)
    n_models = len(goal.need)
    boxes = np.empty((64, 2 * n), np.int64)
    weight, into, cut_of = np.empty(n, np.float64), np.empty(n, np.float64), np.empty(n, np.int64)
    stack, broken = np.empty(len(case.residual.node), np.int64), np.empty(1, np.int64)
    low, high, point = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    total = np.empty(n_models, np.float64)
    for a in range(n):
        boxes[0, 2 * a], boxes[0, 2 * a + 1] = first[a], last[a]
    n_boxes, done = 1, 0
    # trees that are the same in the whole region are added up once
    varying, part, spread = zeros(len(case.residual.root)), zeros(n_models + 1), np.empty(1, np.float64)
    base = copied(case.residual.constant)
    while n_boxes > 0:
        done += 1
        if done > MOST_BOXES:
            return UNDECIDED
        n_boxes -= 1
        for a in range(n):
            low[a], high[a] = boxes[n_boxes, 2 * a], boxes[n_boxes, 2 * a + 1]
            weight[a], into[a], cut_of[a] = 0.0, -1.0, -1
        state = narrow(case.space, case.moves, case.active, case.sight, low, high, broken)
        if state == BROKEN and (case.space.knockouts == 0 or _is_lawless(case)):
            continue
        clean = state == KEPT or _is_clear(case)
        for k in range(n_models):
            if done == 1:
                part[k + 1] = part[k]
                for t in range(case.residual.part[k], case.residual.part[k + 1]):
                    leaf = _least_leaf(case, t, low, high, weight, cut_of, stack, into, spread)
                    if spread[0] == 0.0:
                        base[k] += leaf
                    else:
                        varying[part[k + 1]] = t
                        part[k + 1] += 1
                for a in range(n):
                    weight[a], into[a], cut_of[a] = 0.0, -1.0, -1
            least = base[k]
            for i in range(part[k], part[k + 1]):
                least += _least_leaf(case, varying[i], low, high, weight, cut_of, stack, into, spread)
            clean &= least >= goal.need[k] + goal.eps[k]
        if clean:
            continue
        for corner in range(2):
            for a in range(n):
                point[a] = low[a] if corner == 0 else high[a]
            if _is_refused(case, goal, point, total):
                for a in range(n):
                    bad[a] = point[a]
                return FAILS
        split, most = -1, 0.0
        for a in range(n):
            if case.active.table[a, ACTS] and low[a] < high[a] and (split < 0 or weight[a] > most):
                split, most = a, weight[a]
        if split < 0:
            continue  # one row, and it was looked at
        cut = cut_of[split]
        if split >= case.active.n_runs or cut <= low[split] or cut > high[split]:
            cut = (low[split] + high[split] + 1) // 2
        if n_boxes + 2 > len(boxes):
            boxes = taller(boxes)
        for side in range(2):
            for a in range(n):
                boxes[n_boxes, 2 * a], boxes[n_boxes, 2 * a + 1] = low[a], high[a]
            if side == 0:
                boxes[n_boxes, 2 * split + 1] = cut - 1
            else:
                boxes[n_boxes, 2 * split] = cut
            n_boxes += 1
    return HOLDS


@inner
def _is_lawless(case: Case) -> bool:
    """Whether every row of the box that was narrowed last violates a rule; knock-outs, the last ones, are none here."""
    sight, space = case.sight, case.space
    for i in range(len(space.rule) - space.knockouts):
        run_box(space.programs, space.rule[i], sight.low, sight.high, sight.maybe, case.moves.value_start, sight.stack,
                sight.out)  # fmt: skip
        if sight.out[0] == 0.0 and sight.out[1] == 0.0 and sight.out[2] == 0.0:
            return True
    return False


@inner
def _is_clear(case: Case) -> bool:
    """Whether no knock-out fires in the box that was narrowed last."""
    sight, space = case.sight, case.space
    for i in range(len(space.rule) - space.knockouts, len(space.rule)):
        run_box(space.programs, space.rule[i], sight.low, sight.high, sight.maybe, case.moves.value_start, sight.stack,
                sight.out)  # fmt: skip
        if sight.out[0] <= sight.out[1] and sight.out[0] == 0.0:
            return False
    return True


@inner
def _is_refused(case: Case, goal: Goal, point: np.ndarray, total: np.ndarray) -> bool:
    """Whether a row violates no rule, and is not approved or knocked out."""
    space, sight = case.space, case.sight
    if not settle(space, case.moves, case.active, sight, point):
        for i in range(len(space.rule) - space.knockouts):
            if run_point(space.programs, space.rule[i], sight.x, case.moves.value_start, sight.stack) == 0.0:
                return False
        return True
    for k in range(len(total)):
        total[k] = total_at(case.residual, case.active, k, point)
    return not approves(case, goal, point, total)


@inner
def holds(case: Case, goal: Goal, position: np.ndarray, bad: np.ndarray) -> int:
    """Whether the region of a plan holds; a row in it that fails goes to `bad`, as far out as it still fails."""
    table, moves = case.active.table, case.moves
    n = len(position)
    first, last = np.empty(n, np.int64), np.empty(n, np.int64)
    single = True
    for a in range(n):
        k = table[a, OFFSET] + position[a]
        first[a], last[a] = position[a], position[a]
        if table[a, ACTS]:
            first[a], last[a] = moves.region[k, 0], moves.region[k, 1]
            single &= first[a] == last[a] == position[a]
    if single:
        return HOLDS
    found = refute(case, goal, first, last, bad)
    if found != FAILS:
        return found
    total = np.empty(len(goal.need), np.float64)
    for a in range(n):  # a row further out rules out more plans
        if not table[a, ACTS] or first[a] == last[a] or a >= case.active.n_runs:
            continue
        kept = bad[a]
        far = last[a] if position[a] > table[a, START] else first[a]
        while far != kept:
            bad[a] = far
            if _is_refused(case, goal, bad, total):
                break
            far = kept + (far - kept) // 2 if far > kept else kept - (kept - far) // 2
            bad[a] = kept
    settle(case.space, case.moves, case.active, case.sight, bad)
    return found


@inner
def covers(case: Case, position: np.ndarray, bad: np.ndarray) -> bool:
    """Whether a row lies in the region of a plan."""
    table = case.active.table
    for a in range(len(position)):
        k = table[a, OFFSET] + position[a]
        if table[a, ACTS] and not case.moves.region[k, 0] <= bad[a] <= case.moves.region[k, 1]:
            return False
    return True
