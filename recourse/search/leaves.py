"""The leaves that a plan within the budget can reach, as boxes of positions, in groups that are bounded by bit masks.

A group holds the joint leaves of one or more trees, best value first, one bit each: in a box of positions the first bit
that survives the conjunction of the features' masks is the most the group can add there. Chen et al. 2019 bound
ensembles by joint leaves; the filter by joint cost is ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .bits import first_bit
from .forest import ALL, NONE, ONE, Active, Residual, _fill, _grow, _grow2, first_member
from .jit import kernel
from .moves import Moves


class Choice(NamedTuple):
    """The positions that the remaining leaves can tell apart ("classes"), cheapest member each."""

    n_runs: int
    size: np.ndarray  # int64[n_active]
    start: np.ndarray  # int64[n_active], class of the start
    row: np.ndarray  # int64[n_active + 1], first class of feature a
    cost: np.ndarray  # int64[n_classes]
    rank: np.ndarray  # int64[n_classes]
    position: np.ndarray  # int64[n_classes], the member that stands for the class
    order: np.ndarray  # int64[n_active], from the last policy feature to the first
    n_words: int


class Groups(NamedTuple):
    """Joint leaves; group g has leaves first[g]:first[g + 1], best value first."""

    first: np.ndarray  # int64[n_groups + 1]
    value: np.ndarray  # float64[n_leaves]
    low: np.ndarray  # int16[n_leaves, n_runs]
    high: np.ndarray  # int16[n_leaves, n_runs]
    member: np.ndarray  # uint64[n_leaves, n_sets * n_words]
    constant: float


class Masks(NamedTuple):
    """Bit masks of a `Groups`; group g has words word[g]:word[g + 1]."""

    word: np.ndarray  # int64[n_groups + 1]
    valid: np.ndarray  # uint64[n_words]
    at_most: np.ndarray  # uint64[n_classes, n_words], leaves that some class <= c reaches (runs)
    at_least: np.ndarray  # uint64[n_classes, n_words]
    exactly: np.ndarray  # uint64[n_classes, n_words]


@kernel
def nearest(start: int, low: int, high: int) -> int:
    """Return the cheapest position of an interval."""
    return min(max(start, low), high)


@kernel
def collect(
    residual: Residual, moves: Moves, active: Active, budget: int, max_changes: int
) -> tuple[np.ndarray, np.ndarray, Groups]:
    """Leaves whose joint cost is at most the budget and whose joint changes are at most `max_changes`.

    Returns the affordable interval of positions of each feature (first, last) and one group a tree.
    """
    n_active, n_runs, n_words = len(active.feature), active.n_runs, active.n_words
    n_sets = n_active - n_runs
    first, last = np.zeros(n_active, np.int64), active.size - 1
    for a in range(n_active):
        while moves.cost[active.offset[a] + first[a]] > budget:
            first[a] += 1
        while moves.cost[active.offset[a] + last[a]] > budget:
            last[a] -= 1
    low, high = first.copy(), last.copy()
    member = np.empty((n_active, n_words), np.uint64)
    for a in range(n_runs, n_active):
        _fill(member[a], last[a] + 1)
    own = np.zeros(n_active, np.int64)  # least cost of each feature in the present box

    capacity = 512
    value = np.empty(capacity, np.float64)
    box_low, box_high = np.empty((capacity, n_runs), np.int16), np.empty((capacity, n_runs), np.int16)
    box_member = np.empty((capacity, n_sets * n_words), np.uint64)
    group = np.empty(len(residual.root) + 1, np.int64)
    group[0] = 0
    n_groups, n_leaves = 0, 0
    constant = residual.constant

    entry = np.empty((256, 4), np.int64)  # node, parent, side, trail mark
    trail = np.empty((256, 4), np.int64)  # feature, old low, old high, old own cost
    trail_words = np.empty((256, n_words), np.uint64)
    for t in range(len(residual.root)):
        begin = n_leaves
        total, changes = 0, 0
        n_trail = 0
        n_entries = 1
        entry[0, 0], entry[0, 1], entry[0, 2], entry[0, 3] = residual.root[t], -1, 0, 0
        while n_entries > 0:
            n_entries -= 1
            node, parent, side = entry[n_entries, 0], entry[n_entries, 1], entry[n_entries, 2]
            mark = entry[n_entries, 3]
            while n_trail > mark:
                n_trail -= 1
                a = trail[n_trail, 0]
                if a < n_runs:
                    low[a], high[a] = trail[n_trail, 1], trail[n_trail, 2]
                else:
                    member[a, :] = trail_words[n_trail, :]
                total += trail[n_trail, 3] - own[a]
                own[a] = trail[n_trail, 3]
            if parent >= 0:
                a = residual.feature[parent]
                if n_trail + 2 >= len(trail):
                    trail, trail_words = _grow2(trail), _grow2(trail_words)
                trail[n_trail, 0], trail[n_trail, 3] = a, own[a]
                cut = residual.cut[parent]
                if a < n_runs:
                    trail[n_trail, 1], trail[n_trail, 2] = low[a], high[a]
                    n_trail += 1
                    if side == 0:
                        high[a] = min(high[a], cut - 1)
                    else:
                        low[a] = max(low[a], cut)
                    if low[a] > high[a]:
                        continue
                    p = nearest(active.start[a], low[a], high[a])
                else:
                    trail[n_trail, 1], trail[n_trail, 2] = 0, 0
                    trail_words[n_trail, :] = member[a, :]
                    n_trail += 1
                    for w in range(n_words):
                        mask = residual.sets[cut, w]
                        member[a, w] &= mask if side == 0 else ~mask
                    p = first_member(member[a])
                    if p < 0:
                        continue
                cost = moves.cost[active.offset[a] + p]
                total += cost - own[a]
                own[a] = cost
                if total > budget:
                    continue
                if max_changes < n_active:
                    changes = 0
                    for b in range(n_runs):
                        changes += active.start[b] < low[b] or active.start[b] > high[b]
                    for b in range(n_runs, n_active):
                        changes += member[b, 0] & ONE == NONE
                    if changes > max_changes:
                        continue
            if residual.feature[node] >= 0:
                if n_entries + 2 >= len(entry):
                    entry = _grow2(entry)
                entry[n_entries, 0], entry[n_entries, 1] = residual.right[node], node
                entry[n_entries, 2], entry[n_entries, 3] = 1, n_trail
                entry[n_entries + 1, 0], entry[n_entries + 1, 1] = residual.left[node], node
                entry[n_entries + 1, 2], entry[n_entries + 1, 3] = 0, n_trail
                n_entries += 2
                continue
            if n_leaves == capacity:
                capacity *= 2
                value = _grow(value)
                box_low, box_high, box_member = _grow2(box_low), _grow2(box_high), _grow2(box_member)
            value[n_leaves] = residual.value[node]
            for a in range(n_runs):
                box_low[n_leaves, a], box_high[n_leaves, a] = low[a], high[a]
            for a in range(n_sets):
                for w in range(n_words):
                    box_member[n_leaves, a * n_words + w] = member[n_runs + a, w]
            n_leaves += 1
        while n_trail > 0:
            n_trail -= 1
            a = trail[n_trail, 0]
            if a < n_runs:
                low[a], high[a] = trail[n_trail, 1], trail[n_trail, 2]
            else:
                member[a, :] = trail_words[n_trail, :]
            own[a] = trail[n_trail, 3]
        if n_leaves == begin + 1:
            constant += value[begin]
            n_leaves = begin
        else:
            n_groups += 1
            group[n_groups] = n_leaves
    groups = Groups(
        group[: n_groups + 1].copy(),
        value[:n_leaves],
        box_low[:n_leaves],
        box_high[:n_leaves],
        box_member[:n_leaves],
        constant,
    )
    return first, last, sort_groups(groups)


@kernel
def sort_groups(groups: Groups) -> Groups:
    """Put the best value of each group first; equal values stay in the order they came."""
    n = len(groups.value)
    order = np.empty(n, np.int64)
    for g in range(len(groups.first) - 1):
        begin, end = groups.first[g], groups.first[g + 1]
        if end - begin <= 24:
            for i in range(begin, end):
                v, k = groups.value[i], i
                while k > begin and groups.value[order[k - 1]] < v:
                    order[k] = order[k - 1]
                    k -= 1
                order[k] = i
        else:
            order[begin:end] = begin + np.argsort(-groups.value[begin:end], kind="mergesort")
    value = np.empty(n, np.float64)
    low, high, member = np.empty_like(groups.low), np.empty_like(groups.high), np.empty_like(groups.member)
    for i in range(n):
        k = order[i]
        value[i] = groups.value[k]
        for a in range(low.shape[1]):
            low[i, a], high[i, a] = groups.low[k, a], groups.high[k, a]
        for a in range(member.shape[1]):
            member[i, a] = groups.member[k, a]
    return Groups(groups.first, value, low, high, member, groups.constant)


@kernel
def classify(moves: Moves, active: Active, first: np.ndarray, last: np.ndarray, groups: Groups) -> Choice:
    """Join the positions that no remaining leaf tells apart, and number the leaves' bounds by class, in place."""
    n_active, n_runs = len(active.feature), active.n_runs
    total = 0
    widest = 1
    for a in range(n_active):
        total += last[a] - first[a] + 1
        widest = max(widest, active.size[a] + 1)
    size, start, row = np.empty(n_active, np.int64), np.empty(n_active, np.int64), np.zeros(n_active + 1, np.int64)
    cost, rank = np.empty(total, np.int64), np.empty(total, np.int64)
    position = np.empty(total, np.int64)
    begins = np.empty(widest + 1, np.bool_)
    number = np.empty(widest + 1, np.int16)
    n_leaves = len(groups.value)
    at = 0
    for a in range(n_active):
        row[a] = at
        if a >= n_runs:
            for p in range(last[a] + 1):
                k = active.offset[a] + p
                cost[at], rank[at], position[at] = moves.cost[k], moves.rank[k], p
                at += 1
            size[a], start[a] = last[a] + 1, 0
            continue
        begins[: active.size[a] + 1] = False
        begins[first[a]] = True
        for i in range(n_leaves):
            begins[groups.low[i, a]] = True
            begins[groups.high[i, a] + 1] = True
        for p in range(first[a], last[a] + 1):
            if begins[p]:
                position[at] = p
                at += 1
            number[p] = at - 1 - row[a]
        number[last[a] + 1] = at - row[a]
        size[a], start[a] = at - row[a], number[active.start[a]]
        for c in range(size[a]):
            begin = position[row[a] + c]
            end = position[row[a] + c + 1] - 1 if c + 1 < size[a] else last[a]
            p = nearest(active.start[a], begin, end)
            k = active.offset[a] + p
            cost[row[a] + c], rank[row[a] + c], position[row[a] + c] = moves.cost[k], moves.rank[k], p
        for i in range(n_leaves):
            groups.low[i, a] = number[groups.low[i, a]]
            groups.high[i, a] = number[groups.high[i, a] + 1] - 1
    row[n_active] = at
    return Choice(n_runs, size, start, row, cost[:at], rank[:at], position[:at], active.order, active.n_words)


@kernel
def build_masks(choice: Choice, groups: Groups) -> Masks:
    """One bit a leaf; a row of words a class."""
    n_groups = len(groups.first) - 1
    word = np.empty(n_groups + 1, np.int64)
    word[0] = 0
    for g in range(n_groups):
        word[g + 1] = word[g] + (groups.first[g + 1] - groups.first[g] + 63) // 64
    n_words, n_classes = word[n_groups], choice.row[len(choice.size)]
    n_run_classes = choice.row[choice.n_runs]
    valid = np.zeros(n_words, np.uint64)
    at_most = np.zeros((n_run_classes, n_words), np.uint64)
    at_least = np.zeros((n_run_classes, n_words), np.uint64)
    exactly = np.zeros((n_classes, n_words), np.uint64)
    for g in range(n_groups):
        for i in range(groups.first[g], groups.first[g + 1]):
            k = i - groups.first[g]
            w, bit = word[g] + (k >> 6), ONE << np.uint64(k & 63)
            valid[w] |= bit
            for a in range(choice.n_runs):
                at_most[choice.row[a] + groups.low[i, a], w] |= bit
                at_least[choice.row[a] + groups.high[i, a], w] |= bit
            for a in range(choice.n_runs, len(choice.size)):
                for p in range(choice.size[a]):
                    m = groups.member[i, (a - choice.n_runs) * choice.n_words + (p >> 6)]
                    if m >> np.uint64(p & 63) & ONE:
                        exactly[choice.row[a] + p, w] |= bit
    for a in range(choice.n_runs):
        begin, end = choice.row[a], choice.row[a + 1]
        for c in range(begin + 1, end):
            for w in range(n_words):
                at_most[c, w] |= at_most[c - 1, w]
        for c in range(end - 2, begin - 1, -1):
            for w in range(n_words):
                at_least[c, w] |= at_least[c + 1, w]
        for c in range(begin, end):
            for w in range(n_words):
                exactly[c, w] = at_most[c, w] & at_least[c, w]
    return Masks(word, valid, at_most, at_least, exactly)


@kernel
def mask_box(choice: Choice, masks: Masks, low: np.ndarray, high: np.ndarray, out: np.ndarray, spare: np.ndarray) -> None:
    """Leaves that some point of the box reaches, each feature on its own."""
    n_words = len(masks.valid)
    for w in range(n_words):
        out[w] = masks.valid[w]
    for a in range(len(choice.size)):
        begin = choice.row[a]
        first, last = low[a], high[a]
        if first == last:
            for w in range(n_words):
                out[w] &= masks.exactly[begin + first, w]
        elif a < choice.n_runs:
            if last < choice.size[a] - 1:
                for w in range(n_words):
                    out[w] &= masks.at_most[begin + last, w]
            if first > 0:
                for w in range(n_words):
                    out[w] &= masks.at_least[begin + first, w]
        elif first > 0 or last < choice.size[a] - 1:
            for w in range(n_words):
                spare[w] = masks.exactly[begin + first, w]
            for c in range(begin + first + 1, begin + last + 1):
                for w in range(n_words):
                    spare[w] |= masks.exactly[c, w]
            for w in range(n_words):
                out[w] &= spare[w]


@kernel
def mask_point(choice: Choice, masks: Masks, point: np.ndarray, out: np.ndarray) -> None:
    """Leaves of one point: exactly one bit a group, if the point lies within the budget of the groups."""
    n_words = len(masks.valid)
    for w in range(n_words):
        out[w] = masks.valid[w]
    for a in range(len(choice.size)):
        begin = choice.row[a] + point[a]
        for w in range(n_words):
            out[w] &= masks.exactly[begin, w]


@kernel
def best_leaf(groups: Groups, masks: Masks, mask: np.ndarray, g: int) -> int:
    """First leaf of group g in the mask; -1 when none is left."""
    for w in range(masks.word[g], masks.word[g + 1]):
        if mask[w] != NONE:
            return groups.first[g] + 64 * (w - masks.word[g]) + first_bit(mask[w])
    return -1


@kernel
def _joins(
    choice: Choice, groups: Groups, i: int, k: int, used: np.ndarray, budget: int, max_changes: int, low: np.ndarray,
    high: np.ndarray, member: np.ndarray,
) -> bool:  # fmt: skip
    """Intersect two leaves on the `used` features; False when no point within budget and changes lies in both."""
    total, changes = 0, 0
    for a in used:
        if a < choice.n_runs:
            first = max(groups.low[i, a], groups.low[k, a])
            last = min(groups.high[i, a], groups.high[k, a])
            if first > last:
                return False
            low[a], high[a] = first, last
            s = choice.start[a]
            if first > s:
                total += choice.cost[choice.row[a] + first]
                changes += 1
            elif last < s:
                total += choice.cost[choice.row[a] + last]
                changes += 1
        else:
            found = -1
            base = (a - choice.n_runs) * choice.n_words
            for w in range(choice.n_words):
                member[base + w] = groups.member[i, base + w] & groups.member[k, base + w]
                if found < 0 and member[base + w] != NONE:
                    found = 64 * w + first_bit(member[base + w])
            if found < 0:
                return False
            if found > 0:
                total += choice.cost[choice.row[a] + found]
                changes += 1
    return total <= budget and changes <= max_changes


@kernel
def refilter(choice: Choice, groups: Groups, budget: int, max_changes: int) -> Groups:
    """Drop the leaves that a lower budget no longer reaches."""
    n_groups = len(groups.first) - 1
    first = np.zeros(n_groups + 1, np.int64)
    keep = np.empty(len(groups.value), np.int64)
    low, high = np.empty(choice.n_runs, np.int16), np.empty(choice.n_runs, np.int16)
    member = np.empty(groups.member.shape[1], np.uint64)
    n, n_kept = 0, 0
    constant = groups.constant
    used = np.arange(len(choice.size))
    for g in range(n_groups):
        begin = n
        for i in range(groups.first[g], groups.first[g + 1]):
            if _joins(choice, groups, i, i, used, budget, max_changes, low, high, member):
                keep[n] = i
                n += 1
        if n == begin + 1:
            constant += groups.value[keep[begin]]
            n = begin
        else:
            n_kept += 1
            first[n_kept] = n
    keep = keep[:n]
    return Groups(
        first[: n_kept + 1].copy(),
        groups.value[keep],
        groups.low[keep],
        groups.high[keep],
        groups.member[keep],
        constant,
    )


@kernel
def _uses(choice: Choice, groups: Groups, begin: int, end: int, out: np.ndarray) -> None:
    """Mark the features that some leaf of a group restricts."""
    for a in range(len(choice.size)):
        out[a] = False
        for i in range(begin, end):
            if a < choice.n_runs:
                if groups.low[i, a] > 0 or groups.high[i, a] < choice.size[a] - 1:
                    out[a] = True
                    break
            else:
                base = (a - choice.n_runs) * choice.n_words
                n = 0
                for p in range(choice.size[a]):
                    n += (groups.member[i, base + (p >> 6)] >> np.uint64(p & 63) & ONE) != NONE
                if n < choice.size[a]:
                    out[a] = True
                    break


@kernel
def merge(choice: Choice, groups: Groups, budget: int, max_changes: int, limit: int, tries: int) -> Groups:
    """Join groups greedily while the joint leaves within the budget are at most `limit`.

    One group grows at a time, smallest first: it takes the partner that brings the fewest new features (then the
    fewest leaves), and is closed after `tries` partners in a row did not fit.
    """
    n_groups, n_active = len(groups.first) - 1, len(choice.size)
    n_runs, n_sets = choice.n_runs, groups.member.shape[1]
    capacity = 2 * len(groups.value) + 4 * limit + 64
    value = np.empty(capacity, np.float64)
    low, high = np.empty((capacity, n_runs), np.int16), np.empty((capacity, n_runs), np.int16)
    member = np.empty((capacity, n_sets), np.uint64)
    n = len(groups.value)
    value[:n], low[:n], high[:n], member[:n] = groups.value, groups.low, groups.high, groups.member
    begin, count = groups.first[:-1].copy(), groups.first[1:] - groups.first[:-1]
    uses = np.empty((n_groups, n_active), np.bool_)
    for g in range(n_groups):
        _uses(choice, groups, groups.first[g], groups.first[g + 1], uses[g])
    alive, closed = np.ones(n_groups, np.bool_), np.zeros(n_groups, np.bool_)
    tried = np.full(n_groups, -1, np.int64)  # by which growing group, at which size
    used = np.empty(n_active, np.int64)
    a = -1
    failed = 0
    while True:
        if a < 0:
            for g in range(n_groups):
                if alive[g] and not closed[g] and (a < 0 or count[g] < count[a]):
                    a = g
            if a < 0:
                break
            failed = 0
            tried[:] = -1
        best, best_new, best_count = -1, n_active + 1, 0
        for g in range(n_groups):
            if g == a or not alive[g] or closed[g] or tried[g] >= 0:
                continue
            new = 0
            for f in range(n_active):
                new += uses[g, f] and not uses[a, f]
            if new < best_new or (new == best_new and count[g] < best_count):
                best, best_new, best_count = g, new, count[g]
        if best < 0:
            closed[a] = True
            a = -1
            continue
        n_used = 0
        for f in range(n_active):
            if uses[a, f] or uses[best, f]:
                used[n_used] = f
                n_used += 1
        if n + limit + 1 > len(value):
            value, low, high, member = _grow(value), _grow2(low), _grow2(high), _grow2(member)
        work = Groups(groups.first, value, low, high, member, groups.constant)
        m = 0
        for i in range(begin[a], begin[a] + count[a]):
            for k in range(begin[best], begin[best] + count[best]):
                if m > limit:
                    break
                if _joins(
                    choice, work, i, k, used[:n_used], budget, max_changes, low[n + m], high[n + m], member[n + m]
                ):
                    value[n + m] = value[i] + value[k]
                    m += 1
            if m > limit:
                break
        if m > limit:
            tried[best] = a
            failed += 1
            if failed >= tries:
                closed[a] = True
                a = -1
            continue
        for f in range(n_active):
            if not uses[a, f] and not uses[best, f]:
                for i in range(n, n + m):
                    if f < n_runs:
                        low[i, f], high[i, f] = 0, choice.size[f] - 1
                    else:
                        for w in range(choice.n_words):
                            at = (f - n_runs) * choice.n_words + w
                            member[i, at] = groups.member[groups.first[best], at]
            uses[a, f] = uses[a, f] or uses[best, f]
        begin[a], count[a] = n, m
        n += m
        alive[best] = False
        failed = 0
    kept = 0
    for g in range(n_groups):
        if alive[g]:
            kept += count[g]
    first = np.zeros(n_groups + 1, np.int64)
    index = np.empty(kept, np.int64)
    constant = groups.constant
    at, n_left = 0, 0
    for g in range(n_groups):
        if not alive[g]:
            continue
        if count[g] == 1:
            constant += value[begin[g]]
            continue
        for i in range(count[g]):
            index[at] = begin[g] + i
            at += 1
        n_left += 1
        first[n_left] = at
    index = index[:at]
    merged = Groups(first[: n_left + 1].copy(), value[index], low[index], high[index], member[index], constant)
    return sort_groups(merged)


@kernel
def split_box(
    choice: Choice, groups: Groups, masks: Masks, mask: np.ndarray, point_mask: np.ndarray, low: np.ndarray,
    high: np.ndarray, point: np.ndarray, weight: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Return the (feature, class) that separates most of the gap between the groups' best leaves and the point's.

    The box is split into classes below and from the returned class; -1 when nothing separates (no gap).
    """
    n_sets = choice.n_words
    for a in range(len(low)):
        for c in range(low[a], high[a] + 1):
            weight[choice.row[a] + c] = 0.0
    for g in range(len(groups.first) - 1):
        best = best_leaf(groups, masks, mask, g)
        mine = best_leaf(groups, masks, point_mask, g)
        if best == mine or best < 0:
            continue
        gap = groups.value[best] - (groups.value[mine] if mine >= 0 else groups.value[groups.first[g + 1] - 1])
        if gap <= 0.0:
            continue
        for a in range(choice.n_runs):
            if groups.low[best, a] > point[a]:
                weight[choice.row[a] + groups.low[best, a]] += gap
            elif groups.high[best, a] < point[a]:
                weight[choice.row[a] + groups.high[best, a] + 1] += gap
        for a in range(choice.n_runs, len(low)):
            base = (a - choice.n_runs) * n_sets
            if not groups.member[best, base + (point[a] >> 6)] >> np.uint64(point[a] & 63) & np.uint64(1):
                for c in range(low[a], high[a] + 1):
                    if groups.member[best, base + (c >> 6)] >> np.uint64(c & 63) & np.uint64(1):
                        # above the point's class both ways: the point is the lowest class of a set's interval
                        weight[choice.row[a] + max(c, low[a] + 1)] += gap
                        break
    best_a, best_c, most = -1, -1, 0.0
    for a in range(len(low)):
        for c in range(low[a] + 1, high[a] + 1):
            if weight[choice.row[a] + c] > most:
                most, best_a, best_c = weight[choice.row[a] + c], a, c
    if best_a < 0:
        for a in range(len(low)):
            if high[a] > low[a]:
                p = nearest(choice.start[a], low[a], high[a])
                return a, (p + 1 if p < high[a] else p)
    return best_a, best_c


@kernel
def upper_bound(groups: Groups, masks: Masks, mask: np.ndarray) -> float:
    """Sum of the best leaves; -inf when a group has none."""
    total = groups.constant
    for g in range(len(groups.first) - 1):
        leaf = best_leaf(groups, masks, mask, g)
        if leaf < 0:
            return -np.inf
        total += groups.value[leaf]
    return total


@kernel
def upper_bound_of(groups: Groups, masks: Masks, mask: np.ndarray, other: np.ndarray) -> float:
    """Sum of the best leaves in the conjunction of two masks; -inf when a group has none."""
    total = groups.constant
    for g in range(len(groups.first) - 1):
        found = False
        for w in range(masks.word[g], masks.word[g + 1]):
            both = mask[w] & other[w]
            if both != np.uint64(0):
                total += groups.value[groups.first[g] + 64 * (w - masks.word[g]) + first_bit(both)]
                found = True
                break
        if not found:
            return -np.inf
    return total
