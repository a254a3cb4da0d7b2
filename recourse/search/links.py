"""What pairs of features add to a plan beyond the gains of each alone, and how much of it a bound must grant."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .hull import Lists
from .jit import inner


class Links(NamedTuple):
    """What pairs of features add to their gains when both change; q pairs.

    With a and b the cells of two moves in a pair's table t, and 0 the cells of "stay", moving both adds
    ``t[a, b] - t[a, 0] - t[0, b] + t[0, 0]`` to the sum of their gains.
    """

    feature: np.ndarray  # int64[q, 2]
    cell_start: np.ndarray  # int64[q, 2], the cell of the move with rank i is cell[cell_start + i]
    cell: np.ndarray  # int64[...]
    table_start: np.ndarray  # int64[q]
    width: np.ndarray  # int64[q], cells of the second feature
    table: np.ndarray  # float64[...], row by row
    size: np.ndarray  # float64[q], largest absolute value of each table


def unlinked() -> Links:
    """Return the links of a model without pairs."""
    none = np.empty(0, np.int64)
    pairs = np.empty((0, 2), np.int64)
    return Links(pairs, pairs, none, none, none, np.empty(0), np.empty(0))


@inner
def joint(links: Links, k: int, first: int, second: int) -> float:
    """Return what the moves with these ranks add together in pair k."""
    if first == 0 or second == 0:
        return 0.0
    u, v = links.cell_start[k, 0], links.cell_start[k, 1]
    stay, row = links.table_start[k] + links.cell[u] * links.width[k], links.cell[u + first]
    line = links.table_start[k] + row * links.width[k]
    a, b = links.cell[v], links.cell[v + second]
    return (links.table[line + b] - links.table[line + a]) - (links.table[stay + b] - links.table[stay + a])


@inner
def among(links: Links, who: np.ndarray, d: int) -> Links:
    """Return the pairs whose features are both among `who`, by their places there."""
    place = np.full(d, -1, dtype=np.int64)
    for f in range(len(who)):
        place[who[f]] = f
    q = 0
    for k in range(len(links.width)):
        if place[links.feature[k, 0]] >= 0 and place[links.feature[k, 1]] >= 0:
            q += 1
    feature, cell_start = np.empty((q, 2), np.int64), np.empty((q, 2), np.int64)
    table_start, width, size = np.empty(q, np.int64), np.empty(q, np.int64), np.empty(q)
    q = 0
    for k in range(len(links.width)):
        a, b = place[links.feature[k, 0]], place[links.feature[k, 1]]
        if a >= 0 and b >= 0:
            feature[q, 0], feature[q, 1] = a, b
            cell_start[q, 0], cell_start[q, 1] = links.cell_start[k, 0], links.cell_start[k, 1]
            table_start[q], width[q], size[q] = links.table_start[k], links.width[k], links.size[k]
            q += 1
    return Links(feature, cell_start, links.cell, table_start, width, links.table, size)


@inner
def total_gain(lists: Lists, links: Links, at: np.ndarray) -> float:
    """Return a plan's gain, summed from the first feature to the last and then pair by pair: the sum that decides."""
    total = 0.0
    for f in range(len(at)):
        total += lists.own[at[f]]
    for k in range(len(links.width)):
        total += joint(links, k, lists.move[at[links.feature[k, 0]]], lists.move[at[links.feature[k, 1]]])
    return total


@inner
def change_of_gain(lists: Lists, links: Links, at: np.ndarray, f: int, p: int) -> float:
    """Return what a plan gains when feature f takes the move at p instead of its own."""
    change = lists.own[p] - lists.own[at[f]]
    for k in range(len(links.width)):
        a, b = links.feature[k, 0], links.feature[k, 1]
        if a == f:
            other = lists.move[at[b]]
            change += joint(links, k, lists.move[p], other) - joint(links, k, lists.move[at[f]], other)
        elif b == f:
            other = lists.move[at[a]]
            change += joint(links, k, other, lists.move[p]) - joint(links, k, other, lists.move[at[f]])
    return change


@inner
def raised(lists: Lists, links: Links) -> tuple[Lists, np.ndarray]:
    """Let gains hold half of the most that each change can add in any pair; return the lists and those halves.

    Two moves add at most ``min(c(a), c(b))`` together, with c the most of each over all moves of the other, hence at
    most half of their sum. The halves lie like `Links.cell`; what was granted too much is known when both are chosen.
    """
    share = np.zeros(len(links.cell))
    if len(links.width) == 0:
        return lists, share
    gain = lists.own.copy()
    for k in range(len(links.width)):
        for side in range(2):
            mine, other = links.feature[k, side], links.feature[k, 1 - side]
            u, v = links.cell_start[k, side], links.cell_start[k, 1 - side]
            ranks, n = _one_of_each_cell(lists, links, other, v)
            most = np.full(_cells(lists, links, mine, u), np.nan)
            for p in range(lists.start[mine], lists.start[mine + 1]):
                i = lists.move[p]
                if i == 0:
                    continue
                a = links.cell[u + i]
                if np.isnan(most[a]):
                    top = -np.inf
                    for m in range(n):
                        top = max(top, joint(links, k, i, ranks[m]) if side == 0 else joint(links, k, ranks[m], i))
                    most[a] = 0.5 * top
                share[u + i] = most[a]
                gain[p] += most[a]
    return Lists(lists.start, lists.move, lists.cost, gain, lists.own), share


@inner
def _cells(lists: Lists, links: Links, f: int, u: int) -> int:
    """Return one more than the largest cell of feature f's moves."""
    top = 0
    for p in range(lists.start[f], lists.start[f + 1]):
        top = max(top, links.cell[u + lists.move[p]])
    return top + 1


@inner
def _one_of_each_cell(lists: Lists, links: Links, f: int, u: int) -> tuple[np.ndarray, int]:
    """Return ranks of feature f's moves, one for each cell that they reach; "stay" stands for itself."""
    seen = np.zeros(_cells(lists, links, f, u), dtype=np.bool_)
    ranks = np.empty(lists.start[f + 1] - lists.start[f], dtype=np.int64)
    n = 0
    for p in range(lists.start[f], lists.start[f + 1]):
        i = lists.move[p]
        b = links.cell[u + i]
        if i == 0 or not seen[b]:
            seen[b] |= i > 0
            ranks[n] = i
            n += 1
    return ranks, n


@inner
def granted_too_much(links: Links, share: np.ndarray, k: int, first: int, second: int) -> float:
    """Return what pair k's halves grant to two moves beyond what they add."""
    halves = share[links.cell_start[k, 0] + first] + share[links.cell_start[k, 1] + second]
    return halves - joint(links, k, first, second)


@inner
def replaces(lists: Lists, links: Links, f: int, q: int, p: int, margin: float) -> bool:
    """Whether the move at q gains as much as that at p, or more by a margin, whatever all other features do."""
    lead = lists.own[q] - lists.own[p]
    for k in range(len(links.width)):
        if lead < margin:
            return False
        for side in range(2):
            if links.feature[k, side] != f:
                continue
            other = links.feature[k, 1 - side]
            u, v = links.cell_start[k, side], links.cell_start[k, 1 - side]
            i, j = lists.move[q], lists.move[p]
            if i > 0 and j > 0 and links.cell[u + i] == links.cell[u + j]:
                continue
            least = 0.0  # where the other stays
            for m in range(lists.start[other], lists.start[other + 1]):
                w = lists.move[m]
                if m > lists.start[other] and links.cell[v + w] == links.cell[v + lists.move[m - 1]]:
                    continue
                if side == 0:
                    least = min(least, joint(links, k, i, w) - joint(links, k, j, w))
                else:
                    least = min(least, joint(links, k, w, i) - joint(links, k, w, j))
            lead += least
    return lead >= margin
