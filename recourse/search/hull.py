"""The linear relaxation of a multiple-choice knapsack: what a gain costs at least, for any tail of the features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .jit import inner


class Lists(NamedTuple):
    """Moves worth considering; those of feature f are start[f]:start[f + 1], by rank, so that costs never fall."""

    start: np.ndarray  # int64[n + 1]
    move: np.ndarray  # int64[m], rank in the caller's list; 0 is "stay"
    cost: np.ndarray  # int64[m]
    gain: np.ndarray  # float64[m], no less than the move adds in any plan; what bounds add up
    own: np.ndarray  # float64[m], what the move adds alone


class Tails(NamedTuple):
    """Least cost of a gain from the features order[t:], if moves could be mixed: one convex line for every t.

    Table 0 has the costs as they are, table 1 (where `fee` is positive) with the fee added to every change. A line
    starts at the gain and cost of every feature's cheapest move; segment i leads from point i to point i + 1.
    """

    fee: float
    count: np.ndarray  # int64[2, n + 1], segments of the line
    line: np.ndarray  # float64[2, n + 1, s + 1, 3]: gain, cost, and the slope (cost per gain) from here on, rising
    end: np.ndarray  # int64[2, n + 1, s], the move (a position in the lists) to which a segment leads


@inner
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


@inner
def _above(cost: np.ndarray, gain: np.ndarray, a: int, b: int, c: int, extra: float) -> bool:
    """Whether b lies on or above the line from a to c, when a is `extra` cheaper."""
    return (cost[b] - cost[a] + extra) * (gain[c] - gain[b]) >= (cost[c] - cost[b]) * (gain[b] - gain[a])


@inner
def tails(lists: Lists, flag: np.ndarray, order: np.ndarray, fee: float) -> Tails:
    """Build the lines of all tails of an order, from the flagged corners."""
    n = len(order)
    room = 1
    for p in range(len(flag)):
        if flag[p]:
            room += 1
    count = np.zeros((2, n + 1), dtype=np.int64)
    line = np.zeros((2, n + 1, room + 1, 3))
    end = np.zeros((2, n + 1, room), dtype=np.int64)
    chain = np.empty(room + 1, dtype=np.int64)
    cost, gain = lists.cost, lists.gain
    for v in range(2 if fee > 0.0 else 1):
        for t in range(n - 1, -1, -1):
            f = order[t]
            base = lists.start[f]
            extra = fee * v if lists.move[base] == 0 else 0.0  # what a change costs more than the base does
            chain[0], k = base, 1
            for p in range(base + 1, lists.start[f + 1]):
                if not flag[p] or gain[p] <= gain[chain[k - 1]]:
                    continue
                while k >= 2 and _above(cost, gain, chain[k - 2], chain[k - 1], p, extra if k == 2 else 0.0):
                    k -= 1
                chain[k] = p
                k += 1
            line[v, t, 0, 0] = line[v, t + 1, 0, 0] + gain[base]
            line[v, t, 0, 1] = line[v, t + 1, 0, 1] + cost[base] + (fee * v - extra)
            i, j, m = 0, 1, 0  # merge the rising slopes of the tail below with the feature's own
            while i < count[v, t + 1] or j < k:
                dg, dc, slope = 0.0, 0.0, np.inf
                if j < k:
                    dg = gain[chain[j]] - gain[chain[j - 1]]
                    dc = cost[chain[j]] - cost[chain[j - 1]] + (extra if j == 1 else 0.0)
                    slope = dc / dg
                if i < count[v, t + 1] and line[v, t + 1, i, 2] <= slope:
                    dg = line[v, t + 1, i + 1, 0] - line[v, t + 1, i, 0]
                    dc = line[v, t + 1, i + 1, 1] - line[v, t + 1, i, 1]
                    slope = line[v, t + 1, i, 2]
                    end[v, t, m] = end[v, t + 1, i]
                    i += 1
                else:
                    end[v, t, m] = chain[j]
                    j += 1
                line[v, t, m, 2] = slope
                line[v, t, m + 1, 0] = line[v, t, m, 0] + dg
                line[v, t, m + 1, 1] = line[v, t, m, 1] + dc
                m += 1
            count[v, t] = m
    return Tails(fee, count, line, end)


@inner
def segment(table: Tails, v: int, t: int, gain: float) -> int:
    """Return the segment on which a gain is reached; -1 where the line starts with it, `count` beyond the line."""
    line = table.line[v, t]
    if gain <= line[0, 0]:
        return -1
    low, high = 0, table.count[v, t]
    while low < high:
        middle = (low + high) // 2
        if line[middle + 1, 0] < gain:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def least_cost(table: Tails, v: int, t: int, gain: float) -> float:
    """Return what table v asks for a gain from the features order[t:]; inf when it is out of reach."""
    i = segment(table, v, t, gain)
    if i < 0:
        return table.line[v, t, 0, 1]
    if i == table.count[v, t]:
        return np.inf
    return table.line[v, t, i, 1] + (gain - table.line[v, t, i, 0]) * table.line[v, t, i, 2]


@inner
def tail_bound(table: Tails, t: int, gain: float, left: int) -> float:
    """Return a lower bound on the cost of a gain from the features order[t:] in at most `left` changes."""
    bound = least_cost(table, 0, t, gain)
    if table.fee > 0.0:
        bound = max(bound, least_cost(table, 1, t, gain) - table.fee * left)
    return bound
