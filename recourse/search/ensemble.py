"""Best-first branch and bound for the cheapest approved point of a tree ensemble, with a certificate.

Boxes of classes are popped in the order (cost, number of changes, ranks) of their cheapest point, so the first approved
point is the one optimum. A box is dropped when the sum of its groups' best leaves stays below what is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .forest import Active, Forest, _grow, _grow2, activate, specialise
from .incumbent import approves, greedy, improve
from .jit import kernel
from .leaves import (
    Choice,
    Groups,
    Masks,
    build_masks,
    classify,
    collect,
    mask_box,
    mask_point,
    merge,
    nearest,
    refilter,
    split_box,
    upper_bound,
    upper_bound_of,
)
from .moves import COST_LIMIT, UNBOUNDED, Moves, Rows, Space, build_moves

FOUND, NONE_EXISTS, NONE_FOUND = 0, 1, 2
MERGE_LIMIT = 64
MERGE_TRIES = 4
MERGE_AFTER = 200


class Solution(NamedTuple):
    """The answer for one applicant; costs in micro-units."""

    status: int
    proven: bool
    cost: int  # of the plan held; -1 without one
    bound: int  # proven lower bound on the cost of any plan
    nodes: int
    point: np.ndarray  # int64[n], position of every feature of the space


@kernel
def _key_less(choice: Choice, cost: int, changes: int, point: np.ndarray, cost_b: int, changes_b: int, point_b: np.ndarray) -> bool:  # fmt: skip
    """Order of plans: cost, changes, ranks compared from the last policy feature to the first."""
    if cost != cost_b:
        return cost < cost_b
    if changes != changes_b:
        return changes < changes_b
    for a in choice.order:
        x, y = choice.rank[choice.row[a] + point[a]], choice.rank[choice.row[a] + point_b[a]]
        if x != y:
            return x < y
    return False


@kernel
def _box_less(choice: Choice, low: np.ndarray, high: np.ndarray, cost: np.ndarray, changes: np.ndarray, i: int, k: int) -> bool:  # fmt: skip
    """Order of boxes by their cheapest points; equal points by creation."""
    if cost[i] != cost[k]:
        return cost[i] < cost[k]
    if changes[i] != changes[k]:
        return changes[i] < changes[k]
    for a in choice.order:
        x = choice.rank[choice.row[a] + nearest(choice.start[a], low[i, a], high[i, a])]
        y = choice.rank[choice.row[a] + nearest(choice.start[a], low[k, a], high[k, a])]
        if x != y:
            return x < y
    return i < k


@kernel
def _trim(choice: Choice, low: np.ndarray, high: np.ndarray, budget: int, max_changes: int) -> tuple[int, int]:
    """Cut a box to what the budget and the number of changes leave; return cost and changes of its cheapest point.

    A cost above the budget comes back as it is: the caller drops the box.
    """
    n = len(low)
    total, changes = 0, 0
    for a in range(n):
        p = nearest(choice.start[a], low[a], high[a])
        total += choice.cost[choice.row[a] + p]
        changes += p != choice.start[a]
    if total > budget or changes > max_changes:
        return UNBOUNDED + 1, changes
    slack = budget - total
    for a in range(n):
        s, row = choice.start[a], choice.row[a]
        p = nearest(s, low[a], high[a])
        if p == s and changes == max_changes:
            low[a], high[a] = s, s
            continue
        most = choice.cost[row + p] + slack
        while choice.cost[row + low[a]] > most:
            low[a] += 1
        while choice.cost[row + high[a]] > most:
            high[a] -= 1
    return total, changes


@kernel
def _tighten(
    choice: Choice, groups: Groups, masks: Masks, mask: np.ndarray, low: np.ndarray, high: np.ndarray, need: float,
    probe: np.ndarray,
) -> tuple[bool, bool]:  # fmt: skip
    """Drop the cheapest classes that cannot be kept: without them no approval is possible in the box.

    `probe[a]` gets the bound when feature a keeps its cheapest class (inf where it has no other). Returns whether the
    box can still hold an approved point, and whether it was changed.
    """
    changed = False
    for a in range(len(low)):
        probe[a] = np.inf
        if low[a] == high[a]:
            continue
        row = choice.row[a]
        p = nearest(choice.start[a], low[a], high[a])
        upper = upper_bound_of(groups, masks, mask, masks.exactly[row + p])
        probe[a] = upper
        if upper >= need:
            continue
        if p == low[a] and a < choice.n_runs:
            c = p + 1
            while c < high[a] and upper_bound_of(groups, masks, mask, masks.at_most[row + c]) < need:
                c += 1
            low[a] = c
            changed = True
        elif p == high[a] and a < choice.n_runs:
            c = p - 1
            while c > low[a] and upper_bound_of(groups, masks, mask, masks.at_least[row + c]) < need:
                c -= 1
            high[a] = c
            changed = True
        elif a >= choice.n_runs:
            low[a] = p + 1
            changed = True
        else:
            below = upper_bound_of(groups, masks, mask, masks.at_most[row + p - 1]) >= need
            above = upper_bound_of(groups, masks, mask, masks.at_least[row + p + 1]) >= need
            if not below and not above:
                return False, True
            if not below:
                low[a] = p + 1
                changed = True
            elif not above:
                high[a] = p - 1
                changed = True
    return True, changed


@kernel
def _to_positions(choice: Choice, active: Active, point: np.ndarray, out: np.ndarray) -> None:
    for a in range(len(point)):
        out[a] = choice.position[choice.row[a] + point[a]]


@kernel
def solve(
    forest: Forest, space: Space, moves: Moves, max_changes: int, cut: float, eps: float, node_budget: int
) -> Solution:
    """Find the cheapest point whose native raw score is at least `cut`.

    Parameters
    ----------
    moves : Moves
        Of one applicant whose start is not approved.
    max_changes : int
        Largest number of changed features (at least the number of features when there is no limit).
    cut : float
        Smallest native raw score that is approved.
    eps : float
        Bound on the rounding of the native sum, in units of the sum (before the divisor).
    node_budget : int
        Boxes that may be bounded.
    """
    n = len(moves.start)
    result = moves.start.copy()
    need = cut * forest.divisor
    active = activate(space, moves)
    n_active = len(active.feature)
    max_changes = min(max_changes, n_active)
    if n_active == 0 or max_changes == 0 or not np.isfinite(need):
        return Solution(NONE_EXISTS, True, -1, 0, 0, result)
    residual = specialise(forest, space, moves, active)

    # a plan in hand
    place = np.zeros(n_active + 1, np.int64)
    for a in range(n_active):
        place[a + 1] = place[a] + active.size[a] + 1
    table, stack = np.empty(place[n_active], np.float64), np.empty((256, 4), np.int64)
    held = np.empty(n_active, np.int64)
    has, stack = greedy(
        forest, space, moves, active, residual, place, table, stack, held, max_changes, need, eps
    )  # fmt: skip
    budget, held_changes = UNBOUNDED, 0
    if has:
        stack = improve(
            forest, space, moves, active, residual, place, table, stack, held, max_changes, need, eps
        )  # fmt: skip
        budget = 0
        for a in range(n_active):
            budget += moves.cost[active.offset[a] + held[a]]
            held_changes += held[a] != active.start[a]

    first, last, groups = collect(residual, moves, active, budget, max_changes)
    choice = classify(moves, active, first, last, groups)
    masks = build_masks(choice, groups)
    held_class = np.zeros(n_active, np.int64)
    if has:
        for a in range(n_active):
            for c in range(choice.size[a]):
                if choice.position[choice.row[a] + c] == held[a]:
                    held_class[a] = c
    # held positions may be dearer members of their class: restate them by class
    if has:
        budget = 0
        for a in range(n_active):
            budget += choice.cost[choice.row[a] + held_class[a]]

    capacity = 256
    low, high = np.empty((capacity, n_active), np.int16), np.empty((capacity, n_active), np.int16)
    cost, changes = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    split_a, split_c = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    epoch = np.empty(capacity, np.int32)
    heap = np.empty(capacity, np.int64)
    n_boxes, n_heap, nodes, age = 0, 0, 0, 0
    mask, spare = np.empty(len(masks.valid), np.uint64), np.empty(len(masks.valid), np.uint64)
    point_mask = np.empty(len(masks.valid), np.uint64)
    weight = np.empty(choice.row[n_active], np.float64)
    probe = np.empty(n_active, np.float64)
    point = np.empty(n_active, np.int64)
    positions = np.empty(n_active, np.int64)
    new_low, new_high = np.empty(n_active, np.int16), np.empty(n_active, np.int16)
    box_low, box_high = np.empty(n_active, np.int16), np.empty(n_active, np.int16)

    # what waits to be bounded: the root, the halves of a popped box, or a popped box seen by older masks
    n_todo = 1
    todo_low, todo_high = np.zeros((2, n_active), np.int16), np.zeros((2, n_active), np.int16)
    for a in range(n_active):
        todo_low[0, a], todo_high[0, a] = 0, choice.size[a] - 1
    floor = 0
    exhausted = False
    merged_at = MERGE_AFTER
    while True:
        while n_todo > 0:
            n_todo -= 1
            new_low[:], new_high[:] = todo_low[n_todo], todo_high[n_todo]
            box_cost, box_changes = _trim(choice, new_low, new_high, budget, max_changes)
            if box_cost > budget:
                continue
            for a in range(n_active):
                point[a] = nearest(choice.start[a], new_low[a], new_high[a])
            if has and not _key_less(choice, box_cost, box_changes, point, budget, held_changes, held_class):
                continue
            nodes += 1
            possible = True
            while True:
                mask_box(choice, masks, new_low, new_high, mask, spare)
                if upper_bound(groups, masks, mask) < need - eps:
                    possible = False
                    break
                possible, again = _tighten(choice, groups, masks, mask, new_low, new_high, need - eps, probe)
                if not possible or not again:
                    break
                box_cost, box_changes = _trim(choice, new_low, new_high, budget, max_changes)
                if box_cost > budget:
                    possible = False
                    break
            if not possible:
                continue
            for a in range(n_active):
                point[a] = nearest(choice.start[a], new_low[a], new_high[a])
            if has and not _key_less(choice, box_cost, box_changes, point, budget, held_changes, held_class):
                continue
            mask_point(choice, masks, point, point_mask)
            total = upper_bound(groups, masks, point_mask)
            if total >= need - eps:
                _to_positions(choice, active, point, positions)
                if approves(forest, space, moves, active, positions, total, need, eps):
                    has, budget, held_changes = True, box_cost, box_changes
                    held_class[:] = point
                    continue
            a, c = split_box(choice, groups, masks, mask, point_mask, new_low, new_high, point, weight)
            if a < 0:
                continue
            if n_boxes == capacity:
                capacity *= 2
                low, high = _grow2(low), _grow2(high)
                cost, changes, epoch = _grow(cost), _grow(changes), _grow(epoch)
                split_a, split_c, heap = _grow(split_a), _grow(split_c), _grow(heap)
            low[n_boxes], high[n_boxes] = new_low, new_high
            cost[n_boxes], changes[n_boxes], epoch[n_boxes] = box_cost, box_changes, age
            split_a[n_boxes], split_c[n_boxes] = a, c
            k = n_heap
            n_heap += 1
            while k > 0:
                up = (k - 1) >> 1
                if not _box_less(choice, low, high, cost, changes, n_boxes, heap[up]):
                    break
                heap[k] = heap[up]
                k = up
            heap[k] = n_boxes
            n_boxes += 1
        if n_heap == 0:
            break
        if nodes >= node_budget:
            exhausted = True
            floor = cost[heap[0]]
            break
        top = heap[0]
        n_heap -= 1
        if n_heap > 0:
            moving, k = heap[n_heap], 0
            while True:
                child = 2 * k + 1
                if child >= n_heap:
                    break
                if child + 1 < n_heap and _box_less(choice, low, high, cost, changes, heap[child + 1], heap[child]):
                    child += 1
                if not _box_less(choice, low, high, cost, changes, heap[child], moving):
                    break
                heap[k] = heap[child]
                k = child
            heap[k] = moving
        if cost[top] > budget:
            break
        if nodes >= merged_at:
            merged_at = UNBOUNDED
            age += 1
            groups = merge(choice, refilter(choice, groups, budget, max_changes), budget, max_changes, MERGE_LIMIT, MERGE_TRIES)
            masks = build_masks(choice, groups)
            mask, spare = np.empty(len(masks.valid), np.uint64), np.empty(len(masks.valid), np.uint64)
            point_mask = np.empty(len(masks.valid), np.uint64)
        if epoch[top] < age:
            todo_low[0], todo_high[0] = low[top], high[top]
            n_todo = 1
            continue
        a, c = split_a[top], split_c[top]
        todo_low[0], todo_high[0] = low[top], high[top]
        todo_low[1], todo_high[1] = low[top], high[top]
        todo_low[1, a], todo_high[0, a] = c, c - 1
        n_todo = 2

    if not has:
        status = NONE_FOUND if exhausted else NONE_EXISTS
        return Solution(status, not exhausted, -1, floor if exhausted else 0, nodes, result)
    _to_positions(choice, active, held_class, positions)
    for a in range(n_active):
        result[active.feature[a]] = positions[a]
    bound = min(floor, budget) if exhausted else budget
    return Solution(FOUND, bound == budget and not exhausted, budget, bound, nodes, result)


@kernel
def solve_rows(
    forest: Forest,
    space: Space,
    rows: Rows,
    chosen: np.ndarray,
    cut: np.ndarray,
    max_changes: int,
    eps: float,
    node_budget: int,
    number: np.ndarray,
    value: np.ndarray,
) -> int:
    """Solve the chosen rows of a chunk one after the other.

    Parameters
    ----------
    chosen : int64[k]
        Rows that are not approved.
    cut : float64[k]
        Smallest approved raw score of each.
    number : int64[k, 5]
        Receives status, proven, cost, bound and nodes.
    value : float64[k, n]
        Receives the value (or level) of every feature under the plan.

    Returns
    -------
    int
        -1, or a feature for which some move costs more than the limit; then nothing after that row was solved.
    """
    for i in range(len(chosen)):
        moves = build_moves(space, rows, chosen[i])
        n = len(moves.start)
        for j in range(n):
            for k in range(moves.offset[j], moves.offset[j + 1]):
                if moves.cost[k] > COST_LIMIT:
                    return j
        found = solve(forest, space, moves, max_changes, cut[i], eps, node_budget)
        number[i, 0], number[i, 1], number[i, 2] = found.status, found.proven, found.cost
        number[i, 3], number[i, 4] = found.bound, found.nodes
        for j in range(n):
            value[i, j] = moves.value[moves.offset[j] + found.point[j]]
    return -1
