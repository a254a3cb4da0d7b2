"""The leaves that a plan within the budget can reach, as boxes of positions, one group a tree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arena import copied, longer, taller, zeros
from .bits import first_bit
from .forest import (
    ACTS,
    APART,
    CUT,
    FEATURE,
    LEFT,
    NONE,
    OFFSET,
    ONE,
    SIZE,
    START,
    Active,
    Residual,
    fill_bits,
    first_member,
)
from .jit import inner
from .moves import Moves

# columns of `Choice.table` and `Choice.item`
COUNT, HOME, ROW, COUNTS = 0, 1, 2, 3
COST, RANK, POSITION, BEGIN = 0, 1, 2, 3


class Choice(NamedTuple):
    """The positions that the remaining leaves can tell apart ("classes"), each with its cheapest member."""

    n_runs: int
    n_words: int
    # int64[n_active, 4]: number of classes, class of the start, first item, whether leaving the start is a change
    table: np.ndarray
    item: np.ndarray  # int64[n_classes, 4]: cost, rank and position of the cheapest member, first position
    order: np.ndarray  # int64[n_actions], from the last policy feature to the first


class Groups(NamedTuple):
    """Joint leaves of one or more trees of a model; group g has leaves first[g]:first[g + 1], best value first."""

    first: np.ndarray  # int64[n_groups + 1]
    part: np.ndarray  # int64[n_models + 1], model k has groups part[k]:part[k + 1]
    value: np.ndarray  # float64[n_leaves]
    box: np.ndarray  # int16[n_leaves, 2 * n_runs], lowest and highest class of each run
    member: np.ndarray  # uint64[n_leaves, n_sets * n_words], classes of each set
    constant: np.ndarray  # float64[n_models]


@inner
def nearest(start: int, low: int, high: int) -> int:
    """Return the cheapest position of an interval."""
    return min(max(start, low), high)


@inner
def affordable(moves: Moves, active: Active, budget: int) -> np.ndarray:
    """First and last position of each feature that the budget pays for; int64[n_active, 2]."""
    n_active = len(active.table)
    reach = np.empty((n_active, 2), np.int64)
    for a in range(n_active):
        reach[a, 0], reach[a, 1] = 0, active.table[a, SIZE] - 1
        while moves.cost[active.table[a, OFFSET] + reach[a, 0]] > budget:
            reach[a, 0] += 1
        while moves.cost[active.table[a, OFFSET] + reach[a, 1]] > budget:
            reach[a, 1] -= 1
    return reach


@inner
def collect(
    residual: Residual, moves: Moves, active: Active, reach: np.ndarray, budget: int, max_changes: int
) -> Groups:
    """Leaves whose joint cost is at most the budget and whose joint changes are at most `max_changes`.

    Boxes are of positions (see `classify`); a tree with one leaf left goes into the constant.
    """
    n_active, n_runs, n_words = len(active.table), active.n_runs, active.n_words
    low, high, own = zeros(n_active), zeros(n_active), zeros(n_active)
    member = np.empty((n_active, n_words), np.uint64)
    for a in range(n_active):
        low[a], high[a] = reach[a, 0], reach[a, 1]
        fill_bits(member, a, reach[a, 1] + 1)
    value, box = np.empty(256, np.float64), np.empty((256, 2 * n_runs), np.int16)
    sets = np.empty((256, (n_active - n_runs) * n_words), np.uint64)
    n_models = len(residual.constant)
    first, part = zeros(len(residual.root) + 1), zeros(n_models + 1)
    n_groups, n_leaves, model = 0, 0, 0
    constant = copied(residual.constant)
    entry = np.empty((128, 3), np.int64)  # node, side, mark on the trail
    trail = np.empty((128, 4), np.int64)  # feature, its low, high and cost before
    trail_words = np.empty((128, n_words), np.uint64)
    total = 0
    changes = 0
    for t in range(len(residual.root)):
        while residual.part[model + 1] <= t:
            model += 1
            part[model] = n_groups
        begin = n_leaves
        n_entries, n_trail, node = 0, 0, residual.root[t]
        while True:
            if residual.node[node, FEATURE] < 0:
                if n_leaves == len(value):
                    value, box, sets = longer(value), taller(box), taller(sets)
                value[n_leaves] = residual.value[node]
                for a in range(n_runs):
                    box[n_leaves, 2 * a], box[n_leaves, 2 * a + 1] = low[a], high[a]
                for a in range(n_runs, n_active):
                    for w in range(n_words):
                        sets[n_leaves, (a - n_runs) * n_words + w] = member[a, w]
                n_leaves += 1
            else:
                if n_entries + 2 > len(entry):
                    entry = taller(entry)
                entry[n_entries, 0], entry[n_entries, 1], entry[n_entries, 2] = node, 1, n_trail
                entry[n_entries + 1, 0], entry[n_entries + 1, 1], entry[n_entries + 1, 2] = node, 0, n_trail
                n_entries += 2
            # the next side of a test that some plan within the budget can take
            found = False
            while n_entries > 0 and not found:
                n_entries -= 1
                parent, side = entry[n_entries, 0], entry[n_entries, 1]
                while n_trail > entry[n_entries, 2]:
                    n_trail -= 1
                    total += _undo(trail, trail_words, n_trail, n_runs, low, high, own, member)
                a, cut = np.int64(residual.node[parent, FEATURE]), np.int64(residual.node[parent, CUT])
                if a < n_runs:
                    begin_p, end_p = (low[a], min(high[a], cut - 1)) if side == 0 else (max(low[a], cut), high[a])
                    if begin_p > end_p:
                        continue
                    p = nearest(active.table[a, START], begin_p, end_p)
                else:
                    begin_p, end_p, p = 0, 0, -1
                    for w in range(n_words):
                        rest = member[a, w] & (residual.sets[cut, w] if side == 0 else ~residual.sets[cut, w])
                        if p < 0 and rest != NONE:
                            p = 64 * w + first_bit(rest)
                    if p < 0:
                        continue
                cost = moves.cost[active.table[a, OFFSET] + p]
                if total + cost - own[a] > budget:
                    continue
                if n_trail == len(trail):
                    trail, trail_words = taller(trail), taller(trail_words)
                trail[n_trail, 0], trail[n_trail, 1], trail[n_trail, 2], trail[n_trail, 3] = a, low[a], high[a], own[a]
                if a < n_runs:
                    low[a], high[a] = begin_p, end_p
                else:
                    for w in range(n_words):
                        trail_words[n_trail, w] = member[a, w]
                        member[a, w] &= residual.sets[cut, w] if side == 0 else ~residual.sets[cut, w]
                n_trail += 1
                total += cost - own[a]
                own[a] = cost
                if max_changes < n_active:
                    changes = 0
                    for b in range(n_active):
                        s = active.table[b, START]
                        if active.table[b, ACTS]:
                            changes += (s < low[b] or s > high[b]) if b < n_runs else (member[b, 0] & ONE == NONE)
                    if changes > max_changes:
                        continue
                node = np.int64(residual.node[parent, LEFT + side])
                found = True
            if not found:
                break
        while n_trail > 0:
            n_trail -= 1
            total += _undo(trail, trail_words, n_trail, n_runs, low, high, own, member)
        if n_leaves == begin + 1:
            constant[model] += value[begin]
            n_leaves = begin
        else:
            n_groups += 1
            first[n_groups] = n_leaves
    while model < n_models:
        model += 1
        part[model] = n_groups
    return sort_groups(Groups(first[: n_groups + 1], part, value, box, sets, constant))


@inner
def _undo(
    trail: np.ndarray, words: np.ndarray, k: int, n_runs: int, low: np.ndarray, high: np.ndarray, own: np.ndarray,
    member: np.ndarray,
) -> int:  # fmt: skip
    """Take back step k of the trail; return by how much the cost changes."""
    a = trail[k, 0]
    change = trail[k, 3] - own[a]
    low[a], high[a], own[a] = trail[k, 1], trail[k, 2], trail[k, 3]
    if a >= n_runs:
        for w in range(words.shape[1]):
            member[a, w] = words[k, w]
    return change


@inner
def sort_groups(groups: Groups) -> Groups:
    """Copy the groups with the best value of each first; equal values stay in the order they came (merge sort)."""
    n_groups = len(groups.first) - 1
    n = groups.first[n_groups]
    order, spare = np.empty(n, np.int64), np.empty(n, np.int64)
    for i in range(n):
        order[i] = i
    for g in range(n_groups):
        begin, end = groups.first[g], groups.first[g + 1]
        width = 1
        while width < end - begin:
            for left in range(begin, end, 2 * width):
                middle, right = min(left + width, end), min(left + 2 * width, end)
                i, k = left, middle
                for at in range(left, right):
                    take = k >= right or (i < middle and groups.value[order[i]] >= groups.value[order[k]])
                    if take:
                        spare[at] = order[i]
                        i += 1
                    else:
                        spare[at] = order[k]
                        k += 1
                for at in range(left, right):
                    order[at] = spare[at]
            width *= 2
    return select(groups, groups.first, groups.part, order, groups.constant)


@inner
def select(groups: Groups, first: np.ndarray, part: np.ndarray, index: np.ndarray, constant: np.ndarray) -> Groups:
    """Copy the leaves `index` into groups that begin at `first`."""
    n = len(index)
    value = np.empty(n, np.float64)
    box, member = np.empty((n, groups.box.shape[1]), np.int16), np.empty((n, groups.member.shape[1]), np.uint64)
    for i in range(n):
        value[i] = groups.value[index[i]]
        for k in range(box.shape[1]):
            box[i, k] = groups.box[index[i], k]
        for k in range(member.shape[1]):
            member[i, k] = groups.member[index[i], k]
    return Groups(first, part, value, box, member, constant)


@inner
def classify(moves: Moves, active: Active, reach: np.ndarray, groups: Groups) -> Choice:
    """Join the positions that no remaining leaf tells apart, and renumber the leaves' boxes by class, in place."""
    n_active, n_runs = len(active.table), active.n_runs
    n_leaves = len(groups.value)
    total, widest = 0, 1
    for a in range(n_active):
        total += reach[a, 1] - reach[a, 0] + 1
        widest = max(widest, active.table[a, SIZE] + 1)
    table, item = np.empty((n_active, 4), np.int64), np.empty((total, 4), np.int64)
    begins, number = np.empty(widest, np.int64), np.empty(widest, np.int64)
    at = 0
    for a in range(n_active):
        first, last = reach[a, 0], reach[a, 1]
        for p in range(first, last + 2):
            begins[p] = a >= n_runs or p == first or active.table[a, APART] == 1
        if a < n_runs:
            for i in range(n_leaves):
                begins[groups.box[i, 2 * a]] = 1
                begins[groups.box[i, 2 * a + 1] + 1] = 1
        row = at
        begin = first
        for p in range(first, last + 1):
            number[p] = at - row
            if p == last or begins[p + 1]:
                q = nearest(active.table[a, START], begin, p)
                k = active.table[a, OFFSET] + q
                item[at, COST], item[at, RANK], item[at, POSITION] = moves.cost[k], moves.rank[k], q
                item[at, BEGIN] = begin
                at += 1
                begin = p + 1
        table[a, COUNT], table[a, HOME], table[a, ROW] = at - row, number[active.table[a, START]], row
        table[a, COUNTS] = active.table[a, ACTS]
        if a < n_runs:
            for i in range(n_leaves):
                groups.box[i, 2 * a] = number[groups.box[i, 2 * a]]
                groups.box[i, 2 * a + 1] = number[groups.box[i, 2 * a + 1]]
    return Choice(n_runs, active.n_words, table, item[:at], active.order)


@inner
def joins(
    choice: Choice, box: np.ndarray, member: np.ndarray, i: int, k: int, used: np.ndarray, n_used: int, budget: int,
    max_changes: int, out: int,
) -> bool:  # fmt: skip
    """Write to row `out` what two leaves share on the used features; False when budget or changes do not reach it."""
    total, changes = 0, 0
    for u in range(n_used):
        a = used[u]
        row, s = choice.table[a, ROW], choice.table[a, HOME]
        if a < choice.n_runs:
            first, last = max(box[i, 2 * a], box[k, 2 * a]), min(box[i, 2 * a + 1], box[k, 2 * a + 1])
            if first > last:
                return False
            box[out, 2 * a], box[out, 2 * a + 1] = first, last
            c = nearest(s, first, last)
        else:
            base = (a - choice.n_runs) * choice.n_words
            for w in range(choice.n_words):
                member[out, base + w] = member[i, base + w] & member[k, base + w]
            c = first_member(member, out, base, choice.n_words)
            if c < 0:
                return False
        if c != s:
            total += choice.item[row + c, COST]
            changes += choice.table[a, COUNTS]
    return total <= budget and changes <= max_changes
