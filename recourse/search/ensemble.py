"""Best-first branch and bound for the cheapest approved point of a tree ensemble, with a certificate.

Boxes of classes are popped in the order (cost, number of changes, ranks) of their cheapest point, so the first approved
point is the one optimum. A box is dropped when its bound stays below what is needed; before that, the cheapest classes
that no approved point of the box can keep are dropped from it, which raises its cost.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arena import longer, taller
from .forest import OF, OFFSET, START, Active, Forest, Residual, activate, specialise
from .incumbent import (
    Climb,
    Goal,
    approves,
    ascend,
    climb_to,
    improve,
    make_climb,
    native_score,
)
from .jit import inner, kernel
from .leaves import (
    COST,
    COUNT,
    HOME,
    POSITION,
    RANK,
    ROW,
    Choice,
    affordable,
    classify,
    collect,
    nearest,
)
from .masks import (
    build_masks,
    mask_box,
    mask_point,
    split_box,
    strike,
    tighten,
    upper_bound,
    weigh,
)
from .merging import merge
from .moves import UNBOUNDED, Moves, Space

FOUND, NONE_EXISTS, NONE_FOUND = 0, 1, 2
MERGE_TRIES = 2
FEW_CHANGES = 5  # up to this limit, boxes are split on whether a feature changes before on where to
CLIMB_AFTER = 200  # nodes after which a climb from the present box is tried, and again after each doubling
MERGE_WORK = 12_000  # words of masks bounded before merging pays; then STRETCH times as many nodes, WIDER groups
MERGE_LIMIT = 64  # joint leaves of a merged group: one word at first
MERGE_STRETCH = 16
MERGE_WIDER = 4
MERGE_WIDEST = 256

# columns of the arena of boxes
BOX_COST, BOX_CHANGES, SPLIT_FEATURE, SPLIT_CLASS, AGE = 0, 1, 2, 3, 4


class Solution(NamedTuple):
    """The answer for one applicant; costs in micro-units."""

    status: int
    proven: bool
    cost: int  # of the plan held; -1 without one
    bound: int  # proven lower bound on the cost of any plan
    nodes: int
    point: np.ndarray  # int64[n], position of every feature of the space
    upper: float  # bound on the raw score of any point (times the divisor, without eps); only without a plan


@inner
def _class_of(choice: Choice, box: np.ndarray, a: int) -> int:
    """Cheapest class of a feature in a box."""
    return nearest(choice.table[a, HOME], np.int64(box[2 * a]), np.int64(box[2 * a + 1]))


@inner
def _class_with(choice: Choice, a: int, position: int) -> int:
    """Class that a position belongs to; its members lie from its cheapest one away from the start."""
    c, row = choice.table[a, HOME], choice.table[a, ROW]
    if position >= choice.item[row + c, POSITION]:
        while c + 1 < choice.table[a, COUNT] and choice.item[row + c + 1, POSITION] <= position:
            c += 1
    else:
        while c > 0 and choice.item[row + c, POSITION] > position:
            c -= 1
    return c


@inner
def _before(
    choice: Choice,
    cost: int,
    changes: int,
    box: np.ndarray,
    cost_b: int,
    changes_b: int,
    box_b: np.ndarray,
) -> int:
    """Compare the cheapest points of two boxes: -1, 0 or 1 by cost, changes, ranks from the last policy feature on."""
    if cost != cost_b:
        return -1 if cost < cost_b else 1
    if changes != changes_b:
        return -1 if changes < changes_b else 1
    for u in range(len(choice.order)):
        a = choice.order[u]
        row = choice.table[a, ROW]
        x = choice.item[row + _class_of(choice, box, a), RANK]
        y = choice.item[row + _class_of(choice, box_b, a), RANK]
        if x != y:
            return -1 if x < y else 1
    return 0


@inner
def _precedes(choice: Choice, arena: np.ndarray, boxes: np.ndarray, i: int, k: int) -> bool:
    """Whether box i is popped before box k; boxes of one point by creation."""
    order = _before(
        choice,
        arena[i, BOX_COST],
        arena[i, BOX_CHANGES],
        boxes[i],
        arena[k, BOX_COST],
        arena[k, BOX_CHANGES],
        boxes[k],
    )
    return order < 0 or (order == 0 and i < k)


@inner
def _trim(choice: Choice, box: np.ndarray, budget: int, max_changes: int) -> tuple[int, int]:
    """Cut a box to what budget and number of changes leave; return cost and changes of its cheapest point.

    A cost of more than UNBOUNDED says that the box holds nothing.
    """
    total, changes = 0, 0
    n_active = len(choice.table)
    for a in range(n_active):
        c = _class_of(choice, box, a)
        total += choice.item[choice.table[a, ROW] + c, COST]
        changes += c != choice.table[a, HOME]
    if total > budget or changes > max_changes:
        return UNBOUNDED + 1, changes
    slack = budget - total
    for a in range(n_active):
        home, row = choice.table[a, HOME], choice.table[a, ROW]
        c = _class_of(choice, box, a)
        if c == home and changes == max_changes:
            box[2 * a], box[2 * a + 1] = home, home
            continue
        most = choice.item[row + c, COST] + slack
        while choice.item[row + box[2 * a], COST] > most:
            box[2 * a] += 1
        while choice.item[row + box[2 * a + 1], COST] > most:
            box[2 * a + 1] -= 1
    return total, changes


@inner
def _push(
    choice: Choice,
    arena: np.ndarray,
    boxes: np.ndarray,
    heap: np.ndarray,
    n_heap: int,
    new: int,
) -> None:
    """Add a box to the heap."""
    k = n_heap
    while k > 0:
        up = (k - 1) >> 1
        if not _precedes(choice, arena, boxes, new, heap[up]):
            break
        heap[k] = heap[up]
        k = up
    heap[k] = new


@inner
def _pop(choice: Choice, arena: np.ndarray, boxes: np.ndarray, heap: np.ndarray, n_heap: int) -> None:
    """Remove the first box of a heap that had n_heap + 1."""
    moving, k = heap[n_heap], 0
    while True:
        child = 2 * k + 1
        if child >= n_heap:
            break
        if child + 1 < n_heap and _precedes(choice, arena, boxes, heap[child + 1], heap[child]):
            child += 1
        if not _precedes(choice, arena, boxes, heap[child], moving):
            break
        heap[k] = heap[child]
        k = child
    heap[k] = moving


@inner
def branch(
    forest: Forest, space: Space, moves: Moves, active: Active, residual: Residual, climb: Climb, goal: Goal,
    held: np.ndarray, has: bool, any_plan: bool, node_budget: int,
) -> Solution:  # fmt: skip
    """Search from a plan in hand (`held`, if `has`) to the optimum, or to any plan at all."""
    n_active = len(active.table)
    max_changes = goal.max_changes
    low_enough = goal.need - goal.eps
    budget = UNBOUNDED
    if has:
        budget = 0
        for a in range(n_active):
            budget += moves.cost[active.table[a, OFFSET] + held[a]]
    reach = affordable(moves, active, budget)
    groups = collect(residual, moves, active, reach, budget, max_changes)
    choice = classify(moves, active, reach, groups)
    masks = build_masks(choice, groups)

    best_box = np.zeros(2 * n_active, np.int16)  # the plan held, as a box of one point
    best_changes = 0
    if has:  # by class, whose cheapest member may undercut the position held
        budget = 0
        for a in range(n_active):
            c = _class_with(choice, a, held[a])
            best_box[2 * a], best_box[2 * a + 1] = c, c
            budget += choice.item[choice.table[a, ROW] + c, COST]
            best_changes += c != choice.table[a, HOME]

    boxes, arena = np.empty((64, 2 * n_active), np.int16), np.empty((64, 5), np.int64)
    heap = np.empty(64, np.int64)
    n_boxes, n_heap, nodes, age = 0, 0, 0, 0
    n_words = masks.row.shape[1]
    mask, spare = np.empty(n_words, np.uint64), np.empty(n_words, np.uint64)
    point_mask = np.empty(n_words, np.uint64)
    weight, gap = np.empty(len(choice.item), np.float64), np.empty(n_active, np.float64)
    forced, best_of = np.empty(1, np.int64), np.empty(len(groups.first), np.int64)
    point, position = np.empty(n_active, np.int64), np.empty(n_active, np.int64)
    todo, box = np.empty((3, 2 * n_active), np.int16), np.empty(2 * n_active, np.int16)
    for a in range(n_active):
        todo[0, 2 * a], todo[0, 2 * a + 1] = 0, choice.table[a, COUNT] - 1
    n_todo = 1
    exhausted, few = False, max_changes <= FEW_CHANGES and max_changes < n_active
    merge_at, merge_limit, climb_at = (
        MERGE_WORK // (masks.row.shape[1] + 1),
        MERGE_LIMIT,
        CLIMB_AFTER,
    )
    floor = 0
    upper = -np.inf
    while True:
        while n_todo > 0:
            n_todo -= 1
            for k in range(2 * n_active):
                box[k] = todo[n_todo, k]
            nodes += 1
            cost, changes, split_a, split_c = 0, 0, -1, -1
            while True:  # until nothing more can be cut from the box; a split feature of -1 drops it
                cost, changes = _trim(choice, box, budget, max_changes)
                if cost > budget or (has and _before(choice, cost, changes, box, budget, best_changes, best_box) >= 0):
                    break
                mask_box(choice, masks, box, mask, spare)
                top = upper_bound(groups, masks, mask)
                if nodes == 1:
                    upper = max(upper, top)
                if top < low_enough:
                    break
                for a in range(n_active):
                    point[a] = _class_of(choice, box, a)
                if has:
                    top = strike(
                        choice, groups, masks, mask, box, point, budget - cost, max_changes - changes, low_enough, top
                    )  # fmt: skip
                    if top < low_enough:
                        break
                mask_point(choice, masks, box, mask, point, point_mask)
                total = weigh(
                    choice,
                    groups,
                    masks,
                    mask,
                    point_mask,
                    box,
                    point,
                    weight,
                    gap,
                    best_of,
                )
                if total >= low_enough:
                    for a in range(n_active):
                        position[a] = choice.item[choice.table[a, ROW] + point[a], POSITION]
                    if approves(forest, space, moves, active, goal, position, total):
                        has, budget, best_changes = True, cost, changes
                        for a in range(n_active):
                            best_box[2 * a], best_box[2 * a + 1] = point[a], point[a]
                        break
                cut = tighten(
                    choice,
                    groups,
                    masks,
                    mask,
                    box,
                    point,
                    low_enough,
                    top,
                    gap,
                    best_of,
                    forced,
                )
                if cut < 0:
                    break
                if cut == 0:
                    split_a, split_c = split_box(choice, box, point, weight)
                    if forced[0] >= 0:
                        split_a, split_c = forced[0], point[forced[0]] + 1
                    elif few:  # decide first which features change at all
                        most = 0.0
                        for a in range(n_active):
                            if box[2 * a] < box[2 * a + 1] and point[a] == choice.table[a, HOME] and gap[a] > most:
                                most, split_a, split_c = gap[a], a, -1
                    break
            if split_a < 0:
                continue
            if n_boxes == len(heap):
                boxes, arena, heap = taller(boxes), taller(arena), longer(heap)
            for k in range(2 * n_active):
                boxes[n_boxes, k] = box[k]
            (
                arena[n_boxes, BOX_COST],
                arena[n_boxes, BOX_CHANGES],
                arena[n_boxes, AGE],
            ) = cost, changes, age
            arena[n_boxes, SPLIT_FEATURE], arena[n_boxes, SPLIT_CLASS] = (
                split_a,
                split_c,
            )
            _push(choice, arena, boxes, heap, n_heap, n_boxes)
            n_heap += 1
            n_boxes += 1
        if n_heap == 0 or (any_plan and has):
            break
        top_box = heap[0]
        if arena[top_box, BOX_COST] > budget:
            break
        if nodes >= node_budget:
            exhausted, floor = True, arena[top_box, BOX_COST]
            break
        n_heap -= 1
        _pop(choice, arena, boxes, heap, n_heap)
        for k in range(2 * n_active):
            todo[0, k] = boxes[top_box, k]
            todo[1, k] = boxes[top_box, k]
        if nodes >= merge_at and merge_limit <= MERGE_WIDEST and len(groups.first) > 2:
            age += 1
            groups = merge(choice, groups, masks, budget, max_changes, merge_limit, MERGE_TRIES)
            merge_at, merge_limit = MERGE_STRETCH * merge_at, MERGE_WIDER * merge_limit
            masks = build_masks(choice, groups)
            n_words = masks.row.shape[1]
            mask, spare = np.empty(n_words, np.uint64), np.empty(n_words, np.uint64)
            point_mask = np.empty(n_words, np.uint64)
        if arena[top_box, AGE] < age:  # seen by older masks: bound it again
            n_todo = 1
            continue
        if nodes >= climb_at and not any_plan:
            climb_at = 2 * nodes
            for a in range(n_active):
                c = _class_of(choice, boxes[top_box], a)
                position[a] = choice.item[choice.table[a, ROW] + c, POSITION]
            if climb_to(moves, active, residual, climb, goal, position, budget):
                improve(moves, active, residual, climb, goal, position)
                has, budget, best_changes = True, 0, 0
                for a in range(n_active):
                    c = _class_with(choice, a, position[a])
                    best_box[2 * a], best_box[2 * a + 1] = c, c
                    budget += choice.item[choice.table[a, ROW] + c, COST]
                    best_changes += c != choice.table[a, HOME]
        a, c = arena[top_box, SPLIT_FEATURE], arena[top_box, SPLIT_CLASS]
        n_todo = 2
        if c >= 0:
            todo[0, 2 * a + 1], todo[1, 2 * a] = c - 1, c
            continue
        home = choice.table[a, HOME]
        todo[0, 2 * a], todo[0, 2 * a + 1] = home, home
        todo[1, 2 * a] = home + 1
        if boxes[top_box, 2 * a + 1] == home:
            todo[1, 2 * a], todo[1, 2 * a + 1] = boxes[top_box, 2 * a], home - 1
        elif boxes[top_box, 2 * a] < home:
            for k in range(2 * n_active):
                todo[2, k] = boxes[top_box, k]
            todo[2, 2 * a + 1] = home - 1
            n_todo = 3

    result = np.empty(len(moves.start), np.int64)
    for j in range(len(result)):
        result[j] = moves.start[j]
    if not has:
        status = NONE_FOUND if exhausted else NONE_EXISTS
        return Solution(status, not exhausted, -1, floor, nodes, result, upper)
    for a in range(n_active):
        result[active.table[a, OF]] = choice.item[choice.table[a, ROW] + best_box[2 * a], POSITION]
    bound = min(floor, budget) if exhausted else budget
    return Solution(FOUND, bound == budget, budget, bound, nodes, result, upper)


@inner
def best_score(
    forest: Forest, space: Space, moves: Moves, active: Active, residual: Residual, climb: Climb, goal: Goal,
    top: float, node_budget: int, score: np.ndarray, number: np.ndarray, position: np.ndarray,
) -> None:  # fmt: skip
    """Find the best raw score of any point: climb, then ask for more until there is provably no more.

    Writes value and bound to score[:2], proven and nodes to number[:2], the point to `position`.
    """
    n_active = len(active.table)
    ascend(active, residual, climb, goal, position)
    score[0] = native_score(forest, space, moves, active, position)
    score[1] = max(score[0], (top + goal.eps) / forest.divisor)
    number[0], number[1] = 0, 0
    while number[1] < node_budget:
        more = np.nextafter(score[0], np.inf)
        if forest.single:
            more = float(np.nextafter(np.float32(score[0]), np.float32(np.inf)))
        asked = Goal(more, more * forest.divisor, goal.eps, goal.max_changes)
        found = branch(
            forest, space, moves, active, residual, climb, asked, position, False, True, node_budget - number[1]
        )  # fmt: skip
        number[1] += found.nodes
        if found.status != FOUND:
            if found.status == NONE_EXISTS:
                number[0], score[1] = 1, score[0]
            return
        for a in range(n_active):
            position[a] = found.point[active.table[a, OF]]
        score[0] = native_score(forest, space, moves, active, position)


@kernel
def solve_moves(
    forest: Forest, space: Space, moves: Moves, max_changes: int, cut: float, eps: float, node_budget: int,
    best_budget: int, number: np.ndarray, score: np.ndarray, best: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Find the cheapest point whose native raw score is at least `cut`; without one, the best score there is.

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
    node_budget, best_budget : int
        Boxes that may be bounded in the search, and in the search for the best score.
    number : int64[5]
        Receives status, proven, cost (-1 without a plan), bound, nodes.
    score : float64[2]
        Receives value and bound of the best raw score where no plan exists.
    best : int64[2]
        Receives whether that is proven, and its nodes.

    Returns
    -------
    int64[n]
        Position of every feature under the plan (or at the best score).
    """
    goal = Goal(cut, cut * forest.divisor, eps, max_changes)
    active = activate(space, moves)
    n_active = len(active.table)
    if max_changes > n_active:
        goal = Goal(cut, goal.need, eps, n_active)
    residual = specialise(forest, space, moves, active)
    climb = make_climb(active)
    held = np.empty(n_active, np.int64)
    has = False
    if np.isfinite(goal.need) and n_active > 0:
        for a in range(n_active):
            held[a] = active.table[a, START]
        has = climb_to(moves, active, residual, climb, goal, held, UNBOUNDED)
        if has:
            improve(moves, active, residual, climb, goal, held)
    found = branch(
        forest,
        space,
        moves,
        active,
        residual,
        climb,
        goal,
        held,
        has,
        False,
        node_budget,
    )
    number[0], number[1], number[2] = found.status, found.proven, found.cost
    number[3], number[4] = found.bound, found.nodes
    point = found.point
    if found.status == NONE_EXISTS:
        best_score(
            forest, space, moves, active, residual, climb, goal, found.upper, best_budget, score, best, held
        )  # fmt: skip
        for a in range(n_active):
            point[active.table[a, OF]] = held[a]
    return point
