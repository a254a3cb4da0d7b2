"""Best-first branch and bound for the cheapest approved point of a tree ensemble, with a certificate.

Boxes of classes are popped in the order (cost, number of changes, ranks) of their cheapest point, so the first approved
point is the one optimum. A box is dropped when its bound stays below what is needed; before that, the cheapest classes
that no approved point of the box can keep are dropped from it, which raises its cost.

Rules and columns that follow from several actions are evaluated on the ranges of a box, and exactly at its cheapest
point. Where a plan promises a region, a row of it that is refused rules out every plan whose region holds that row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arena import longer, taller
from .coupling import BROKEN, make_sight, narrow, parent_to_split, settle
from .forest import ACTS, OF, OFFSET, SIZE, START, Forest, activate, specialise
from .incumbent import (
    Case,
    Goal,
    allowed,
    approves,
    ascend,
    climb_to,
    improve,
    make_climb,
    native_score,
    natively_approved,
)
from .jit import inner, kernel
from .leaves import (
    BEGIN,
    COST,
    COUNT,
    COUNTS,
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
    probe,
    split_box,
    strike,
    tighten,
    upper_bound,
    weigh,
)
from .merging import merge
from .moves import COST_LIMIT, HIDDEN, UNBOUNDED, Moves, Rows, Space, list_moves
from .region import HOLDS, UNDECIDED, covers, holds

FOUND, NONE_EXISTS, NONE_FOUND = 0, 1, 2
MERGE_TRIES = 2
FEW_CHANGES = 5  # up to this limit, boxes are split on whether a feature changes before on where to
UNDECIDED_NODES = 2_000  # what it counts if a region could not be decided
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
    upper: float  # bound on the first model's raw score at any point (times the divisor, without eps)


@inner
def _class_of(choice: Choice, box: np.ndarray, a: int) -> int:
    """Cheapest class of a feature in a box."""
    return nearest(choice.table[a, HOME], np.int64(box[2 * a]), np.int64(box[2 * a + 1]))


@inner
def _class_with(choice: Choice, a: int, position: int) -> int:
    """Class that a position belongs to."""
    row = choice.table[a, ROW]
    low, high = 0, choice.table[a, COUNT] - 1
    while low < high:
        middle = (low + high + 1) >> 1
        if choice.item[row + middle, BEGIN] <= position:
            low = middle
        else:
            high = middle - 1
    return low


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
        changes += (c != choice.table[a, HOME]) * choice.table[a, COUNTS]
    if total > budget or changes > max_changes:
        return UNBOUNDED + 1, changes
    slack = budget - total
    for a in range(n_active):
        if choice.table[a, COUNTS] == 0:
            continue
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
def _heed_taboos(case: Case, choice: Choice, box: np.ndarray) -> bool:
    """Keep from changing the last open feature of a forbidden set; False where such a set must change as a whole."""
    for i in range(len(case.taboo)):
        last, n_open, none = -1, 0, False
        for a in range(len(choice.table)):
            if case.taboo[i, a]:
                home = choice.table[a, HOME]
                if box[2 * a] <= home <= box[2 * a + 1]:
                    none |= box[2 * a] == box[2 * a + 1]
                    n_open += 1
                    last = a
        if none:
            continue
        if n_open == 0:
            return False
        if n_open == 1:
            box[2 * last], box[2 * last + 1] = choice.table[last, HOME], choice.table[last, HOME]
    return True


@inner
def _heed_refused(case: Case, choice: Choice, box: np.ndarray, refused: np.ndarray, n_refused: int) -> int:
    """Cut a box where only one action can keep refused rows out of a plan's region.

    Returns -1 where none can (the box holds no plan), 1 if the box was cut, else 0.
    """
    table, moves = case.active.table, case.moves
    cut = 0
    for i in range(n_refused):
        only, n_ways, begin, end = -1, 0, 0, 0
        for a in range(len(choice.table)):
            if not table[a, ACTS]:
                continue
            low, high, row = np.int64(box[2 * a]), np.int64(box[2 * a + 1]), choice.table[a, ROW]
            q = refused[i, a]
            # classes whose region holds q, at an end of the box, are cut off if no other action can keep q out
            first_in, last_in, count = high + 1, low - 1, 0
            for c in range(low, high + 1):
                k = table[a, OFFSET] + choice.item[row + c, POSITION]
                if moves.region[k, 0] <= q <= moves.region[k, 1]:
                    first_in, last_in, count = min(first_in, c), max(last_in, c), count + 1
            if first_in > last_in:  # nothing of it holds q: this action keeps the row out by itself
                n_ways = 2
                break
            if count == high - low + 1:
                continue
            n_ways += 1
            if n_ways == 2:
                break
            only = a
            begin, end = low, high
            if count == last_in - first_in + 1:
                if first_in == low:
                    begin = last_in + 1
                elif last_in == high:
                    end = first_in - 1
        if n_ways == 0:
            return -1
        if n_ways == 1 and (begin > box[2 * only] or end < box[2 * only + 1]):
            box[2 * only], box[2 * only + 1] = begin, end
            cut = 1
    return cut


@inner
def _part_refused(case: Case, choice: Choice, box: np.ndarray, point: np.ndarray, q: np.ndarray) -> tuple[int, int]:
    """Return the (feature, class) to split at, so that one side can keep a refused row out of its regions.

    A class of -1 says: between changing and not changing.
    """
    table, moves = case.active.table, case.moves
    best_a, best_c, least = -1, -1, np.int64(0)
    for a in range(len(choice.table)):
        low, high, row = np.int64(box[2 * a]), np.int64(box[2 * a + 1]), choice.table[a, ROW]
        if not table[a, ACTS] or low == high:
            continue
        p = point[a]
        for step in range(2):  # the nearest classes on either side that keep the row out
            c = p
            while low <= c <= high:
                k = table[a, OFFSET] + choice.item[row + c, POSITION]
                if not moves.region[k, 0] <= q[a] <= moves.region[k, 1]:
                    break
                c += 1 if step == 0 else -1
            if low <= c <= high and c != p:
                extra = choice.item[row + c, COST] - choice.item[row + p, COST]
                if best_a < 0 or extra < least:
                    best_a, least = a, extra
                    best_c = c if step == 0 else c + 1
                    if p == choice.table[a, HOME]:
                        best_c = -1
    return best_a, best_c


@inner
def branch(
    case: Case, goal: Goal, held: np.ndarray, has: bool, any_plan: bool, node_budget: int
) -> Solution:  # fmt: skip
    """Search from a plan in hand (`held`, if `has`) to the optimum, or to any plan at all."""
    space, moves, active, residual = case.space, case.moves, case.active, case.residual
    n_active, n_models = len(active.table), len(goal.need)
    max_changes = goal.max_changes
    low_enough = np.empty(n_models, np.float64)
    for k in range(n_models):
        low_enough[k] = goal.need[k] - goal.eps[k]
    scale = case.climb.scale
    budget = UNBOUNDED
    if has:
        budget = 0
        for a in range(n_active):
            budget += moves.cost[active.table[a, OFFSET] + held[a]]
    reach = affordable(moves, active, budget)
    groups = collect(residual, moves, active, reach, budget, max_changes)
    choice = classify(moves, active, reach, groups)
    masks = build_masks(choice, groups)

    best_box = np.empty(2 * n_active, np.int16)  # the plan held, as a box of one point
    best_changes = 0
    if has:  # by class, whose cheapest member may undercut the position held
        budget, best_changes = _adopt(choice, held, best_box)

    boxes, arena = np.empty((64, 2 * n_active), np.int16), np.empty((64, 5), np.int64)
    heap = np.empty(64, np.int64)
    n_boxes, n_heap, nodes, age = 0, 0, 0, 0
    n_words = masks.row.shape[1]
    mask, spare = np.empty(n_words, np.uint64), np.empty(n_words, np.uint64)
    point_mask = np.empty(n_words, np.uint64)
    ladder = np.empty((2 * n_active + 2, n_words), np.uint64)  # of `probe`
    weight, gap = np.empty(len(choice.item), np.float64), np.empty((n_models, n_active), np.float64)
    top, total = np.empty(n_models, np.float64), np.empty(n_models, np.float64)
    forced, best_of = np.empty(1, np.int64), np.empty(len(groups.first), np.int64)
    point, position = np.empty(n_active, np.int64), np.empty(n_active, np.int64)
    first, last, broken = np.empty(n_active, np.int64), np.empty(n_active, np.int64), np.empty(1, np.int64)
    refused, n_refused = np.empty((8 if case.regional else 1, n_active), np.int64), 0
    todo, box = np.empty((3, 2 * n_active), np.int16), np.empty(2 * n_active, np.int16)
    for a in range(n_active):
        todo[0, 2 * a], todo[0, 2 * a + 1] = 0, choice.table[a, COUNT] - 1
    n_todo = 1
    limited = max_changes < len(active.order)
    exhausted, few = False, limited and max_changes <= FEW_CHANGES
    merge_at, merge_limit, climb_at = MERGE_WORK // (masks.row.shape[1] + 1), MERGE_LIMIT, CLIMB_AFTER
    floor = UNBOUNDED  # least cost of what was left undecided
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
                if len(case.taboo) > 0:
                    if not _heed_taboos(case, choice, box):
                        break
                if n_refused > 0:
                    cut = _heed_refused(case, choice, box, refused, n_refused)
                    if cut < 0:
                        break
                    if cut > 0:
                        continue
                if case.sight.live and not _narrow_box(case, choice, box, first, last, broken):
                    break
                mask_box(choice, masks, box, mask, spare)
                enough = upper_bound(groups, masks, mask, low_enough, top)
                if nodes == 1:
                    upper = max(upper, top[0])
                if not enough:
                    break
                lawful = True
                for a in range(n_active):
                    point[a] = _class_of(choice, box, a)
                if case.sight.live:
                    lawful = _settle_point(case, choice, point, position)
                if has and not strike(
                    choice, groups, masks, mask, box, point, budget - cost, max_changes - changes, low_enough, top
                ):  # fmt: skip
                    break
                if limited and changes == max_changes - 1:
                    if probe(choice, groups, masks, mask, box, point, low_enough, top, best_of, ladder):
                        continue
                mask_point(choice, masks, box, mask, point, point_mask)
                weigh(choice, groups, masks, mask, point_mask, box, point, scale, weight, gap, best_of, total)
                reaches = True
                for k in range(n_models):
                    reaches &= total[k] >= low_enough[k]
                culprit = -1
                if reaches and lawful:
                    for a in range(n_active):
                        position[a] = choice.item[choice.table[a, ROW] + point[a], POSITION]
                    settle(space, moves, active, case.sight, position)
                    if approves(case, goal, position, total):
                        sure = HOLDS
                        if case.regional and not any_plan:
                            for i in range(n_refused):
                                if covers(case, position, refused[i]):
                                    culprit = i
                                    break
                            if culprit < 0:
                                if n_refused == len(refused):
                                    refused = taller(refused)
                                sure = holds(case, goal, position, refused[n_refused])
                                if sure == UNDECIDED:
                                    floor, exhausted, nodes = min(floor, cost), True, nodes + UNDECIDED_NODES
                                elif sure != HOLDS:
                                    culprit = n_refused
                                    n_refused += 1
                        if culprit < 0 and sure == HOLDS:
                            has, budget, best_changes = True, cost, changes
                            for a in range(n_active):
                                best_box[2 * a], best_box[2 * a + 1] = point[a], point[a]
                            break
                if culprit >= 0:
                    split_a, split_c = _part_refused(case, choice, box, point, refused[culprit])
                    break
                cut = tighten(choice, groups, masks, mask, box, point, low_enough, top, gap, best_of, forced)
                if cut < 0:
                    break
                if cut == 0:
                    split_a, split_c = split_box(choice, box, point, weight, scale, gap)
                    if forced[0] >= 0:
                        split_a, split_c = forced[0], point[forced[0]] + 1
                    elif reaches and not lawful and broken[0] >= 0:
                        split_a, split_c = _halve(case, choice, broken[0], box, point)
                    elif split_c == -2:
                        column = moves.column[active.table[split_a, OF] - len(space.listed)]
                        split_a, split_c = _halve(case, choice, space.program[column], box, point)
                    elif few:  # decide first which features change at all
                        most = 0.0
                        for a in range(n_active):
                            home = choice.table[a, HOME]
                            if box[2 * a] < box[2 * a + 1] and point[a] == home and choice.table[a, COUNTS]:
                                lost = 0.0
                                for k in range(n_models):
                                    lost += gap[k, a] * scale[k]
                                if lost > most:
                                    most, split_a, split_c = lost, a, -1
                    if split_a < 0 or split_c == -2:  # nothing tells the box's points apart but the rules
                        split_a, split_c = _any_split(choice, box, point)
                    break
            if split_a < 0:
                continue
            if n_boxes == len(heap):
                boxes, arena, heap = taller(boxes), taller(arena), longer(heap)
            for k in range(2 * n_active):
                boxes[n_boxes, k] = box[k]
            arena[n_boxes, BOX_COST], arena[n_boxes, BOX_CHANGES], arena[n_boxes, AGE] = cost, changes, age
            arena[n_boxes, SPLIT_FEATURE], arena[n_boxes, SPLIT_CLASS] = split_a, split_c
            _push(choice, arena, boxes, heap, n_heap, n_boxes)
            n_heap += 1
            n_boxes += 1
        if n_heap == 0 or (any_plan and has):
            break
        top_box = heap[0]
        if arena[top_box, BOX_COST] > budget:
            break
        if nodes >= node_budget:
            exhausted, floor = True, min(floor, arena[top_box, BOX_COST])
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
            ladder = np.empty((2 * n_active + 2, n_words), np.uint64)
        if arena[top_box, AGE] < age:  # seen by older masks: bound it again
            n_todo = 1
            continue
        if nodes >= climb_at and not any_plan and not case.regional:
            climb_at = 2 * nodes
            for a in range(n_active):
                c = _class_of(choice, boxes[top_box], a)
                position[a] = choice.item[choice.table[a, ROW] + c, POSITION]
            if climb_to(case, goal, position, budget):
                improve(case, goal, position)
                has = True
                budget, best_changes = _adopt(choice, position, best_box)
        n_todo = _split(choice, boxes[top_box], arena[top_box, SPLIT_FEATURE], arena[top_box, SPLIT_CLASS], todo)

    result = np.empty(len(space.listed), np.int64)
    for j in range(len(result)):
        result[j] = moves.start[j]
    if not has:
        status = NONE_FOUND if exhausted else NONE_EXISTS
        return Solution(status, not exhausted, -1, floor if exhausted else 0, nodes, result, upper)
    for a in range(n_active):
        if active.table[a, ACTS]:
            result[active.table[a, OF]] = choice.item[choice.table[a, ROW] + best_box[2 * a], POSITION]
    bound = min(floor, budget) if exhausted else budget
    return Solution(FOUND, bound == budget, budget, bound, nodes, result, upper)


@inner
def _adopt(choice: Choice, position: np.ndarray, best_box: np.ndarray) -> tuple[int, int]:
    """Hold a plan, by class; return its cost and number of changes."""
    budget, changes = 0, 0
    for a in range(len(choice.table)):
        c = _class_with(choice, a, position[a])
        best_box[2 * a], best_box[2 * a + 1] = c, c
        budget += choice.item[choice.table[a, ROW] + c, COST]
        changes += (c != choice.table[a, HOME]) * choice.table[a, COUNTS]
    return budget, changes


@inner
def _split(choice: Choice, parent: np.ndarray, a: int, c: int, todo: np.ndarray) -> int:
    """Cut two copies of a box (a third where needed) in the rows of `todo` into its parts; return how many."""
    if c >= 0:
        todo[0, 2 * a + 1], todo[1, 2 * a] = c - 1, c
        return 2
    home = choice.table[a, HOME]
    todo[0, 2 * a], todo[0, 2 * a + 1] = home, home
    todo[1, 2 * a] = home + 1
    if parent[2 * a + 1] == home:
        todo[1, 2 * a], todo[1, 2 * a + 1] = parent[2 * a], home - 1
    elif parent[2 * a] < home:
        for k in range(len(parent)):
            todo[2, k] = parent[k]
        todo[2, 2 * a + 1] = home - 1
        return 3
    return 2


@inner
def _narrow_box(
    case: Case, choice: Choice, box: np.ndarray, first: np.ndarray, last: np.ndarray, broken: np.ndarray
) -> bool:
    """Cut what follows from several actions to what the box leaves; False where every point violates a rule."""
    for u in range(len(case.sight.reads)):
        a = case.sight.reads[u]
        row = choice.table[a, ROW]
        first[a] = choice.item[row + box[2 * a], BEGIN]
        last[a] = choice.item[row + box[2 * a + 1], BEGIN]
    if narrow(case.space, case.moves, case.active, case.sight, first, last, broken) == BROKEN:
        return False
    for c in range(len(case.moves.column)):
        a = case.active.number[len(case.space.listed) + c]
        if a >= 0:
            box[2 * a], box[2 * a + 1] = _class_with(choice, a, first[a]), _class_with(choice, a, last[a])
    return True


@inner
def _settle_point(case: Case, choice: Choice, point: np.ndarray, position: np.ndarray) -> bool:
    """Write the classes that follow from those of the actions; whether no rule is violated there."""
    n = len(point)
    for a in range(n):
        position[a] = choice.item[choice.table[a, ROW] + point[a], POSITION]
    lawful = settle(case.space, case.moves, case.active, case.sight, position)
    for a in range(n):
        if not choice.table[a, COUNTS]:
            point[a] = _class_with(choice, a, position[a])
    return lawful


@inner
def _halve(case: Case, choice: Choice, program: int, box: np.ndarray, point: np.ndarray) -> tuple[int, int]:
    """Return where to split the widest action that a program reads: away from its cheapest class by halves."""
    n = len(point)
    low, high = np.empty(n, np.int64), np.empty(n, np.int64)
    for a in range(n):
        low[a], high[a] = box[2 * a], box[2 * a + 1]
    a = parent_to_split(case.space, case.active, program, low, high)
    if a < 0:
        return -1, -1
    p = point[a]
    if p == low[a]:
        return a, (low[a] + high[a] + 1) // 2
    if p == high[a]:
        return a, (low[a] + high[a] + 1) // 2
    return a, p if p - low[a] > high[a] - p else p + 1


@inner
def _any_split(choice: Choice, box: np.ndarray, point: np.ndarray) -> tuple[int, int]:
    """Return a split of the first action that is still open; -1 when the box is one point."""
    for a in range(len(choice.table)):
        if box[2 * a + 1] > box[2 * a] and choice.table[a, COUNTS]:
            return a, point[a] + 1 if point[a] < box[2 * a + 1] else point[a]
    return -1, -1


@inner
def best_score(
    case: Case, goal: Goal, top: float, node_budget: int, score: np.ndarray, number: np.ndarray, position: np.ndarray
) -> None:
    """Find the first model's best raw score at any point that keeps the rules, whatever the other models say.

    Climb, then ask for more until there is provably no more. Writes value and bound to score[:2] (-inf without a
    point), proven and nodes to number[:2], the point to `position`.
    """
    active, forest = case.active, case.forest
    n_active = len(active.table)
    score[0] = native_score(case, 0, position) if ascend(case, goal, position) else -np.inf
    score[1] = max(score[0], (top + goal.eps[0]) / forest.divisor[0])
    number[0], number[1] = 0, 0
    cut, need = np.empty(len(goal.cut), np.float64), np.empty(len(goal.cut), np.float64)
    while number[1] < node_budget:
        more = np.nextafter(score[0], np.inf)
        if forest.single[0]:
            more = float(np.nextafter(np.float32(score[0]), np.float32(np.inf)))
        for k in range(len(cut)):
            cut[k], need[k] = -np.inf, -np.inf
        cut[0], need[0] = more, more * forest.divisor[0]
        asked = Goal(cut, need, goal.eps, goal.max_changes)
        found = branch(case, asked, position, False, True, node_budget - number[1])
        number[1] += found.nodes
        if found.status != FOUND:
            if found.status == NONE_EXISTS:
                number[0], score[1] = 1, score[0]
            return
        for a in range(n_active):
            if active.table[a, ACTS]:
                position[a] = found.point[active.table[a, OF]]
        settle(case.space, case.moves, active, case.sight, position)
        score[0] = native_score(case, 0, position)


@inner
def _secure(case: Case, goal: Goal, position: np.ndarray) -> bool:
    """Move an approved point outward until its region holds, then back as far as it still does; False on failure."""
    table, moves = case.active.table, case.moves
    n = len(position)
    bad, was = np.empty(n, np.int64), np.empty(n, np.int64)
    state = holds(case, goal, position, bad)
    for _ in range(4 * n + 32):
        if state == HOLDS or state == UNDECIDED:
            break
        best_a, best_p, least = -1, -1, np.int64(0)
        for a in range(n):
            if not table[a, ACTS] or position[a] == table[a, START]:
                continue
            for p in range(table[a, SIZE]):
                k = table[a, OFFSET] + p
                if moves.cost[k] > UNBOUNDED or p == position[a] or moves.region[k, 0] <= bad[a] <= moves.region[k, 1]:
                    continue
                extra = moves.cost[k] - moves.cost[table[a, OFFSET] + position[a]]
                if best_a < 0 or extra < least:
                    best_a, best_p, least = a, p, extra
        if best_a < 0:
            return False
        position[best_a] = best_p
        if not allowed(case, position) or not natively_approved(case, goal, position):
            return False
        state = holds(case, goal, position, bad)
    if state != HOLDS:
        return False
    for a in range(n):  # back towards the start, by halves
        if not table[a, ACTS] or a >= case.active.n_runs:
            continue
        step = abs(position[a] - table[a, START])
        while step > 0:
            for b in range(n):
                was[b] = position[b]
            position[a] += -step if position[a] > table[a, START] else step
            over = (position[a] - table[a, START]) * (was[a] - table[a, START]) < 0
            if over or not allowed(case, position) or not natively_approved(case, goal, position) or (
                holds(case, goal, position, bad) != HOLDS
            ):  # fmt: skip
                for b in range(n):
                    position[b] = was[b]
                step //= 2
            else:
                step = min(step, abs(position[a] - table[a, START]))
    return True


@inner
def _is_regional(moves: Moves) -> bool:
    """Whether some move promises more than its own value."""
    for k in range(len(moves.region)):
        if moves.region[k, 0] != moves.region[k, 1]:
            return True
    return False


@inner
def solve(
    forest: Forest, space: Space, moves: Moves, max_changes: int, cut: np.ndarray, taboo: np.ndarray, node_budget: int,
    best_budget: int, number: np.ndarray, score: np.ndarray, best: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Solve one applicant; returns the position of every feature. See `solve_rows`."""
    n_models = len(cut)
    active = activate(space, moves)
    n_active, n_actions = len(active.table), len(active.order)
    need = np.empty(n_models, np.float64)
    for k in range(n_models):
        need[k] = cut[k] * forest.divisor[k]
    goal = Goal(cut, need, forest.eps, min(max_changes, n_actions))
    residual = specialise(forest, space, moves, active)
    barred = np.empty((len(taboo), n_active), np.uint8)
    n_barred = 0
    for i in range(len(taboo)):  # a set with a feature that cannot change never changes as a whole
        possible = True
        for j in range(taboo.shape[1]):
            possible &= taboo[i, j] == 0 or active.number[j] >= 0
        if possible:
            for a in range(n_active):
                barred[n_barred, a] = active.table[a, ACTS] and taboo[i, active.table[a, OF]]
            n_barred += 1
    case = Case(
        forest, space, moves, active, residual, make_sight(space, moves, active), make_climb(active, n_models),
        barred[:n_barred], _is_regional(moves),
    )  # fmt: skip
    held = np.empty(n_active, np.int64)
    has = False
    finite = True
    for k in range(n_models):
        finite &= cut[k] < np.inf
    if finite and n_actions > 0:
        for a in range(n_active):
            held[a] = active.table[a, START]
        settle(space, moves, active, case.sight, held)
        has = climb_to(case, goal, held, UNBOUNDED)
        if has:
            improve(case, goal, held)
            if case.regional:
                has = _secure(case, goal, held)
    found = branch(case, goal, held, has, False, node_budget)
    number[0], number[1], number[2] = found.status, found.proven, found.cost
    number[3], number[4] = found.bound, found.nodes
    point = found.point
    if found.status == NONE_EXISTS and best_budget > 0:
        best_score(case, goal, found.upper, best_budget, score, best, held)
        for a in range(n_active):
            if active.table[a, ACTS]:
                point[active.table[a, OF]] = held[a]
    return point


@kernel
def solve_rows(
    forest: Forest, space: Space, rows: Rows, index: np.ndarray, max_changes: int, cut: np.ndarray, taboo: np.ndarray,
    node_budget: int, best_budget: int, number: np.ndarray, score: np.ndarray, best: np.ndarray, value: np.ndarray,
    dear: np.ndarray, done: np.ndarray,
) -> None:  # fmt: skip
    """Find for applicants of a chunk the cheapest point that every model approves, or the first model's best score.

    Parameters
    ----------
    index : int64[k]
        The rows to solve; what is found for the i-th of them goes to row i of what follows.
    max_changes : int
        Largest number of changed features (at least the number of features when there is no limit).
    cut : float64[k, n_models]
        Smallest native raw scores that are approved.
    taboo : uint8[n_taboo, n]
        Sets of features that may not all change.
    node_budget, best_budget : int
        Boxes that may be bounded in the search, and in the search for the best score.
    number : int64[k, 5]
        Receives status, proven, cost (-1 without a plan), bound, nodes.
    score : float64[k, 2]
        Receives value and bound of the best raw score where no plan exists.
    best : int64[k, 2]
        Receives whether that is proven, and its nodes.
    value : float64[k, n]
        Receives the value of every feature under the plan (or at the best score).
    dear : int64[k]
        Receives -1, or a feature with a move that costs more than COST_LIMIT: then nothing is solved.
    done : uint8[k]
        Becomes 1 while the next applicant is being solved, for those who look on.
    """
    for i in range(len(index)):
        moves = list_moves(space, rows, index[i])
        if i > 0:  # here, where what was written for it cannot be moved behind by the compiler
            done[i - 1] = 1
        dear[i] = -1
        for j in range(len(space.listed)):
            for k in range(moves.offset[j], moves.offset[j + 1]):
                if COST_LIMIT < moves.cost[k] < HIDDEN and dear[i] < 0:
                    dear[i] = j
        if dear[i] >= 0:
            continue
        point = solve(
            forest, space, moves, max_changes, cut[i], taboo, node_budget, best_budget, number[i], score[i], best[i]
        )  # fmt: skip
        for j in range(len(space.listed)):
            value[i, j] = moves.value[moves.offset[j] + point[j]]
