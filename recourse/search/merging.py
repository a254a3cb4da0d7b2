"""Groups of several trees: their joint leaves within the budget, as long as these are few."""

from __future__ import annotations

import numpy as np

from .arena import copied, longer, taller, zeros
from .bits import count_bits, first_bit
from .forest import NONE, ONE, has_bit
from .jit import inner
from .leaves import COUNT, ROW, Choice, Groups, joins, select, sort_groups
from .masks import Masks


@inner
def _joint_leaves(
    choice: Choice, masks: Masks, groups: Groups, partner: int, alive: np.ndarray, begin: int, end: int,
    used: np.ndarray, n_used: int, shared: np.ndarray, n_shared: int, budget: int, max_changes: int, limit: int,
    n: int, value: np.ndarray, box: np.ndarray, member: np.ndarray,
) -> int:  # fmt: skip
    """Write the joint leaves of rows begin:end and a group from row n on; return how many (more than limit: too many).

    The partner's masks name its leaves that agree with a leaf on the features that both restrict.
    """
    m = 0
    n_classes, first = masks.n_classes, groups.first[partner]
    for i in range(begin, end):
        for w in range(masks.word[partner], masks.word[partner + 1]):
            left = alive[w]
            for u in range(n_shared):
                a = shared[u]
                row = choice.table[a, ROW]
                if a < choice.n_runs:
                    left &= masks.row[row + box[i, 2 * a + 1], w] & masks.row[n_classes + row + box[i, 2 * a], w]
                else:
                    some = NONE
                    for c in range(choice.table[a, COUNT]):
                        if has_bit(member, i, (a - choice.n_runs) * choice.n_words, c):
                            some |= masks.row[2 * n_classes + row + c, w]
                    left &= some
            while left != NONE:
                k = first + 64 * (w - masks.word[partner]) + first_bit(left)
                left &= left - ONE
                if joins(choice, box, member, i, k, used, n_used, budget, max_changes, n + m):
                    value[n + m] = value[i] + value[k]
                    m += 1
                    if m > limit:
                        return m
    return m


@inner
def merge(
    choice: Choice, groups: Groups, masks: Masks, budget: int, max_changes: int, limit: int, tries: int
) -> Groups:
    """Drop the leaves beyond the budget, then join groups of a model greedily while at most `limit` leaves remain.

    One group grows at a time, smallest first: it takes the partner that brings the fewest new features (then the
    fewest leaves), and is closed after `tries` partners in a row did not fit.
    """
    n_groups, n_active = len(groups.first) - 1, len(choice.table)
    n = len(groups.value)
    size = 4 * n + 2 * limit + 64
    value = np.empty(size, np.float64)
    box, member = np.empty((size, groups.box.shape[1]), np.int16), np.empty((size, groups.member.shape[1]), np.uint64)
    for i in range(n):
        value[i] = groups.value[i]
        for k in range(box.shape[1]):
            box[i, k] = groups.box[i, k]
        for k in range(member.shape[1]):
            member[i, k] = groups.member[i, k]
    used, shared = np.empty(n_active, np.int64), np.empty(n_active, np.int64)
    for a in range(n_active):
        used[a] = a
    # a group is count leaves from begin; state 0: open, 1: closed, 2: taken by another
    begin, count = np.empty(n_groups, np.int64), np.empty(n_groups, np.int64)
    state, tried = zeros(n_groups), zeros(n_groups)
    uses, sketch = np.zeros((n_groups, n_active), np.int64), np.zeros(n_groups, np.uint64)
    alive = np.zeros(masks.row.shape[1], np.uint64)
    for g in range(n_groups):
        for u in range(masks.touch_start[groups.first[g]], masks.touch_start[groups.first[g + 1]]):
            a = np.int64(masks.touch[u])
            uses[g, a] = 1
            sketch[g] |= ONE << np.uint64(a & 63)
        begin[g] = n
        for i in range(groups.first[g], groups.first[g + 1]):
            if n + 1 >= len(value):
                value, box, member = longer(value), taller(box), taller(member)
            if joins(choice, box, member, i, i, used, n_active, budget, max_changes, n):
                value[n] = value[i]
                n += 1
                k = i - groups.first[g]
                alive[masks.word[g] + (k >> 6)] |= ONE << np.uint64(k & 63)
        count[g] = n - begin[g]
    n_models = len(groups.constant)
    model = np.empty(n_groups, np.int64)
    for k in range(n_models):
        for g in range(groups.part[k], groups.part[k + 1]):
            model[g] = k
    grown, failed = -1, 0
    while True:
        if grown < 0:
            for g in range(n_groups):
                if state[g] == 0 and (grown < 0 or count[g] < count[grown]):
                    grown = g
            if grown < 0:
                break
            failed = 0
            for g in range(n_groups):
                tried[g] = 0
        partner, fewest = -1, 0
        for g in range(n_groups):
            if g != grown and state[g] == 0 and tried[g] == 0 and model[g] == model[grown]:
                new = 65536 * count_bits(sketch[g] & ~sketch[grown]) + count[g]
                if partner < 0 or new < fewest:
                    partner, fewest = g, new
        if partner < 0:
            state[grown], grown = 1, -1
            continue
        n_used, n_shared = 0, 0
        for a in range(n_active):
            if uses[grown, a] or uses[partner, a]:
                used[n_used] = a
                n_used += 1
            if uses[grown, a] and uses[partner, a]:
                shared[n_shared] = a
                n_shared += 1
        while n + limit + 2 > len(value):
            value, box, member = longer(value), taller(box), taller(member)
        m = _joint_leaves(
            choice, masks, groups, partner, alive, begin[grown], begin[grown] + count[grown], used, n_used, shared,
            n_shared, budget, max_changes, limit, n, value, box, member,
        )  # fmt: skip
        if m > limit:
            tried[partner] = 1
            failed += 1
            if failed >= tries:
                state[grown], grown = 1, -1
            continue
        for i in range(n, n + m):  # the features that neither restricts admit every class
            for a in range(n_active):
                if not uses[grown, a] and not uses[partner, a]:
                    if a < choice.n_runs:
                        box[i, 2 * a], box[i, 2 * a + 1] = 0, choice.table[a, COUNT] - 1
                    else:
                        for w in range(choice.n_words):
                            at = (a - choice.n_runs) * choice.n_words + w
                            member[i, at] = groups.member[groups.first[partner], at]
        for a in range(n_active):
            uses[grown, a] |= uses[partner, a]
        sketch[grown] |= sketch[partner]
        begin[grown], count[grown] = n, m
        n += m
        state[partner] = 2
        failed = 0
    kept, n_left = 0, 0
    constant = copied(groups.constant)
    for g in range(n_groups):
        if state[g] == 1 and count[g] == 1:
            constant[model[g]] += value[begin[g]]
            state[g] = 2
        if state[g] == 1:
            kept += count[g]
            n_left += 1
    first, index = zeros(n_left + 1), zeros(kept)
    part = zeros(n_models + 1)
    at, n_left = 0, 0
    for g in range(n_groups):
        if state[g] == 1:
            part[model[g] + 1] += 1
            for i in range(count[g]):
                index[at] = begin[g] + i
                at += 1
            n_left += 1
            first[n_left] = at
    for k in range(n_models):
        part[k + 1] += part[k]
    work = Groups(first, part, value, box, member, constant)
    return sort_groups(select(work, first, part, index, constant))
