"""The linear relaxation of a multiple-choice knapsack: what a gain costs at least, for any tail of the features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .jit import kernel


class Lists(NamedTuple):
    """Moves worth considering; those of feature f are start[f]:start[f + 1], by rank, so that costs never fall."""

    start: np.ndarray  # int64[n + 1]
    move: np.ndarray  # int64[m], rank in the caller's list; 0 is "stay"
    cost: np.ndarray  # int64[m]
    gain: np.ndarray  # float64[m]


class Tails(NamedTuple):
    """Least cost of a gain from the features order[t:], if moves could be mixed; row t is one convex function.

    Segment i of row t leads from (gain[t, i], cost[t, i]) upward at `slope` (cost per gain), slopes rising, after the
    `base_gain` and `base_cost` of every feature's cheapest move.
    """

    count: np.ndarray  # int64[n + 1], segments in the row
    slope: np.ndarray  # float64[n + 1, s]
    gain: np.ndarray  # float64[n + 1, s + 1], cumulative
    cost: np.ndarray  # float64[n + 1, s + 1], cumulative
    end: np.ndarray  # int64[n + 1, s], the move (a position in the lists) at which a segment ends
    owner: np.ndarray  # int64[n + 1, s], its feature
    base_gain: np.ndarray  # float64[n + 1]
    base_cost: np.ndarray  # float64[n + 1]


@kernel
def corners(lists: Lists) -> np.ndarray:
    """Return flags of the moves that can be a corner of a feature's hull whatever is added to all but "stay"."""
    flag = np.zeros(len(lists.cost), dtype=np.bool_)
    chain = np.empty(len(lists.cost) + 1, dtype=np.int64)
    cost, gain = lists.cost, lists.gain
    for f in range(len(lists.start) - 1):
        first, k = lists.start[f], 0
        if lists.move[first] == 0:
            flag[first] = True
            first += 1
        for p in range(first, lists.start[f + 1]):
            if k > 0 and gain[p] <= gain[chain[k - 1]]:
                continue
            while k >= 2 and _above(cost, gain, chain[k - 2], chain[k - 1], p, 0.0):
                k -= 1
            chain[k] = p
            k += 1
        for i in range(k):
            flag[chain[i]] = True
    return flag


@kernel
def _above(cost: np.ndarray, gain: np.ndarray, a: int, b: int, c: int, extra: float) -> bool:
    """Whether b lies on or above the line from a to c, when a is `extra` cheaper."""
    return (cost[b] - cost[a] + extra) * (gain[c] - gain[b]) >= (cost[c] - cost[b]) * (gain[b] - gain[a])


@kernel
def tails(lists: Lists, flag: np.ndarray, order: np.ndarray, fee: float) -> Tails:
    """Build the table of all tails, with `fee` added to the cost of every change."""
    n = len(order)
    room = 1
    for p in range(len(flag)):
        if flag[p]:
            room += 1
    slope = np.empty((n + 1, room))
    step_gain = np.empty((n + 1, room))
    step_cost = np.empty((n + 1, room))
    end = np.empty((n + 1, room), dtype=np.int64)
    owner = np.empty((n + 1, room), dtype=np.int64)
    count = np.zeros(n + 1, dtype=np.int64)
    base_gain, base_cost = np.zeros(n + 1), np.zeros(n + 1)
    chain = np.empty(room + 1, dtype=np.int64)
    cost, gain, move = lists.cost, lists.gain, lists.move
    for t in range(n - 1, -1, -1):
        f = order[t]
        base = lists.start[f]
        chain[0], k = base, 1
        extra = fee if move[base] == 0 else 0.0  # what a change costs more than the base does
        for p in range(base + 1, lists.start[f + 1]):
            if not flag[p] or gain[p] <= gain[chain[k - 1]]:
                continue
            while k >= 2 and _above(cost, gain, chain[k - 2], chain[k - 1], p, extra if k == 2 else 0.0):
                k -= 1
            chain[k] = p
            k += 1
        base_gain[t] = base_gain[t + 1] + gain[base]
        base_cost[t] = base_cost[t + 1] + cost[base] + (fee - extra)
        i, j, m = 0, 1, 0  # merge the rising slopes of the row below with the feature's own
        while i < count[t + 1] or j < k:
            if j < k:
                dg = gain[chain[j]] - gain[chain[j - 1]]
                dc = cost[chain[j]] - cost[chain[j - 1]] + (extra if j == 1 else 0.0)
            if j >= k or (i < count[t + 1] and slope[t + 1, i] <= dc / dg):
                slope[t, m], step_gain[t, m], step_cost[t, m] = (
                    slope[t + 1, i],
                    step_gain[t + 1, i],
                    step_cost[t + 1, i],
                )
                end[t, m], owner[t, m] = end[t + 1, i], owner[t + 1, i]
                i += 1
            else:
                slope[t, m], step_gain[t, m], step_cost[t, m] = dc / dg, dg, dc
                end[t, m], owner[t, m] = chain[j], f
                j += 1
            m += 1
        count[t] = m
    total_gain, total_cost = np.zeros((n + 1, room + 1)), np.zeros((n + 1, room + 1))
    for t in range(n):
        for i in range(count[t]):
            total_gain[t, i + 1] = total_gain[t, i] + step_gain[t, i]
            total_cost[t, i + 1] = total_cost[t, i] + step_cost[t, i]
    return Tails(count, slope, total_gain, total_cost, end, owner, base_gain, base_cost)


@kernel
def segment(table: Tails, t: int, gain: float) -> int:
    """Return the segment of row t on which a gain (base included) is reached; -1 within the base, `count` beyond."""
    rest = gain - table.base_gain[t]
    if rest <= 0.0:
        return -1
    low, high = 0, table.count[t]
    while low < high:
        middle = (low + high) // 2
        if table.gain[t, middle + 1] < rest:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def least_cost(table: Tails, t: int, gain: float) -> float:
    """Return a lower bound on the cost of a gain from the features order[t:]; inf when it is out of reach."""
    i = segment(table, t, gain)
    if i < 0:
        return table.base_cost[t]
    if i == table.count[t]:
        return np.inf
    rest = gain - table.base_gain[t] - table.gain[t, i]
    return table.base_cost[t] + table.cost[t, i] + rest * table.slope[t, i]
