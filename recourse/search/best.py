"""The best raw score that an applicant's moves can reach: best-first branch and bound on the score itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .forest import Active, Forest, Residual, _grow, _grow2, activate, exact_score, specialise
from .incumbent import deviations
from .jit import kernel
from .leaves import build_masks, classify, collect, mask_box, mask_point, nearest, split_box, upper_bound
from .moves import UNBOUNDED, Moves, Rows, Space, build_moves


class Best(NamedTuple):
    """A point and a bound that no point exceeds, both as raw scores."""

    value: float
    bound: float
    proven: bool
    nodes: int
    point: np.ndarray  # int64[n], position of every feature of the space


@kernel
def _climb(
    moves: Moves, active: Active, residual: Residual, max_changes: int, eps: float
) -> tuple[float, np.ndarray]:
    """Coordinate ascent from the start; return the sum of leaves and the positions."""
    n_active = len(active.feature)
    place = np.zeros(n_active + 1, np.int64)
    for a in range(n_active):
        place[a + 1] = place[a] + active.size[a] + 1
    table, stack = np.empty(place[n_active], np.float64), np.empty((256, 4), np.int64)
    position = active.start.copy()
    while True:
        stack = deviations(residual, active, place, position, table, stack)
        here = table[position[0]]
        changes = 0
        for a in range(n_active):
            changes += position[a] != active.start[a]
        best, best_a, best_p = here + eps, -1, -1
        for a in range(n_active):
            if position[a] == active.start[a] and changes >= max_changes:
                continue
            for p in range(active.size[a]):
                if table[place[a] + p] > best:
                    best, best_a, best_p = table[place[a] + p], a, p
        if best_a < 0:
            return here, position
        position[best_a] = best_p


@kernel
def maximise(forest: Forest, space: Space, moves: Moves, max_changes: int, eps: float, node_budget: int) -> Best:
    """Find the best raw score within `max_changes` changes, or bound it when the node budget ends.

    The value is exact (added up as the native library does); the bound includes the native rounding.
    """
    n = len(moves.start)
    cells, point_out = np.empty(n, np.int64), moves.start.copy()
    active = activate(space, moves)
    n_active = len(active.feature)
    max_changes = min(max_changes, n_active)
    nodes = 0
    proven = True
    bound = -np.inf
    if n_active > 0 and max_changes > 0:
        residual = specialise(forest, space, moves, active)
        best, held = _climb(moves, active, residual, max_changes, eps)
        first, last, groups = collect(residual, moves, active, UNBOUNDED, max_changes)
        choice = classify(moves, active, first, last, groups)
        masks = build_masks(choice, groups)
        n_words = len(masks.valid)
        mask, spare, point_mask = np.empty(n_words, np.uint64), np.empty(n_words, np.uint64), np.empty(n_words, np.uint64)
        weight, point = np.empty(choice.row[n_active], np.float64), np.empty(n_active, np.int64)
        capacity = 256
        low, high = np.empty((capacity, n_active), np.int16), np.empty((capacity, n_active), np.int16)
        upper = np.empty(capacity, np.float64)
        heap = np.empty(capacity, np.int64)
        n_boxes, n_heap = 0, 0
        new_low, new_high = np.empty(n_active, np.int16), np.empty(n_active, np.int16)
        todo_low, todo_high = np.zeros((2, n_active), np.int16), np.zeros((2, n_active), np.int16)
        for a in range(n_active):
            todo_high[0, a] = choice.size[a] - 1
        n_todo = 1
        while True:
            while n_todo > 0:
                n_todo -= 1
                new_low[:], new_high[:] = todo_low[n_todo], todo_high[n_todo]
                changes = 0
                for a in range(n_active):
                    point[a] = nearest(choice.start[a], new_low[a], new_high[a])
                    changes += point[a] != choice.start[a]
                if changes > max_changes:
                    continue
                if changes == max_changes:
                    for a in range(n_active):
                        if point[a] == choice.start[a]:
                            new_low[a], new_high[a] = point[a], point[a]
                nodes += 1
                mask_box(choice, masks, new_low, new_high, mask, spare)
                top = upper_bound(groups, masks, mask)
                if top <= best + eps:
                    bound = max(bound, top)
                    continue
                mask_point(choice, masks, point, point_mask)
                here = upper_bound(groups, masks, point_mask)
                if here > best:
                    best = here
                    for a in range(n_active):
                        held[a] = choice.position[choice.row[a] + point[a]]
                a, c = split_box(choice, groups, masks, mask, point_mask, new_low, new_high, point, weight)
                if a < 0:
                    continue
                if n_boxes == capacity:
                    capacity *= 2
                    low, high = _grow2(low), _grow2(high)
                    upper, heap = _grow(upper), _grow(heap)
                low[n_boxes], high[n_boxes], upper[n_boxes] = new_low, new_high, top
                k = n_heap
                n_heap += 1
                while k > 0:
                    up = (k - 1) >> 1
                    if upper[heap[up]] >= top:
                        break
                    heap[k] = heap[up]
                    k = up
                heap[k] = n_boxes
                n_boxes += 1
            if n_heap == 0:
                break
            box = heap[0]
            if upper[box] <= best + eps:
                bound = max(bound, upper[box])
                break
            if nodes >= node_budget:
                bound, proven = max(bound, upper[box]), False
                break
            n_heap -= 1
            moving, k = heap[n_heap], 0
            while True:
                child = 2 * k + 1
                if child >= n_heap:
                    break
                if child + 1 < n_heap and upper[heap[child + 1]] > upper[heap[child]]:
                    child += 1
                if upper[moving] >= upper[heap[child]]:
                    break
                heap[k] = heap[child]
                k = child
            heap[k] = moving
            # the masks of the popped box again, to split it
            for a in range(n_active):
                point[a] = nearest(choice.start[a], low[box, a], high[box, a])
            mask_box(choice, masks, low[box], high[box], mask, spare)
            mask_point(choice, masks, point, point_mask)
            a, c = split_box(choice, groups, masks, mask, point_mask, low[box], high[box], point, weight)
            todo_low[0], todo_high[0] = low[box], high[box]
            todo_low[1], todo_high[1] = low[box], high[box]
            todo_low[1, a], todo_high[0, a] = c, c - 1
            n_todo = 2
        for a in range(n_active):
            point_out[active.feature[a]] = held[a]
        bound = max(bound, best)
    for j in range(n):
        cells[j] = moves.cell[moves.offset[j] + point_out[j]]
    value = exact_score(forest, space.categorical, cells)
    return Best(value, max(value, (bound + eps) / forest.divisor), proven, nodes, point_out)


@kernel
def maximise_rows(
    forest: Forest,
    space: Space,
    rows: Rows,
    chosen: np.ndarray,
    max_changes: int,
    eps: float,
    node_budget: int,
    score: np.ndarray,
    number: np.ndarray,
    value: np.ndarray,
) -> None:
    """Maximise the chosen rows: score[k, 2] gets value and bound, number[k, 2] proven and nodes, value[k, n] the row."""
    for i in range(len(chosen)):
        moves = build_moves(space, rows, chosen[i])
        best = maximise(forest, space, moves, max_changes, eps, node_budget)
        score[i, 0], score[i, 1] = best.value, best.bound
        number[i, 0], number[i, 1] = best.proven, best.nodes
        for j in range(len(moves.start)):
            value[i, j] = moves.value[moves.offset[j] + best.point[j]]
