"""Groups of several trees: their joint leaves within the budget, as long as these are few."""

from __future__ import annotations

import numpy as np

from .arena import longer, taller
from .forest import has_bit
from .jit import inner
from .leaves import COUNT, Choice, Groups, joins, select, sort_groups


@inner
def _restricts(choice: Choice, groups: Groups, g: int, a: int) -> bool:
    """Whether some leaf of a group does not admit every class of a feature."""
    for i in range(groups.first[g], groups.first[g + 1]):
        if a < choice.n_runs:
            if groups.box[i, 2 * a] > 0 or groups.box[i, 2 * a + 1] < choice.table[a, COUNT] - 1:
                return True
        else:
            for c in range(choice.table[a, COUNT]):
                if not has_bit(groups.member, i, (a - choice.n_runs) * choice.n_words, c):
                    return True
    return False


@inner
def merge(choice: Choice, groups: Groups, budget: int, max_changes: int, limit: int, tries: int) -> Groups:
    """Drop the leaves beyond the budget, then join groups greedily while at most `limit` joint leaves remain.

    One group grows at a time, smallest first: it takes the partner that brings the fewest new features (then the
    fewest leaves), and is closed after `tries` partners in a row did not fit.
    """
    n_groups, n_active = len(groups.first) - 1, len(choice.table)
    n = len(groups.value)
    size = 2 * n + 2 * limit + 64
    value = np.empty(size, np.float64)
    box, member = np.empty((size, groups.box.shape[1]), np.int16), np.empty((size, groups.member.shape[1]), np.uint64)
    for i in range(n):
        value[i] = groups.value[i]
        for k in range(box.shape[1]):
            box[i, k] = groups.box[i, k]
        for k in range(member.shape[1]):
            member[i, k] = groups.member[i, k]
    used = np.empty(n_active, np.int64)
    for a in range(n_active):
        used[a] = a
    # a group is count leaves from begin; state 0: open, 1: closed, 2: taken by another
    begin, count = np.empty(n_groups, np.int64), np.empty(n_groups, np.int64)
    state, tried = np.zeros(n_groups, np.int64), np.empty(n_groups, np.int64)
    uses = np.empty((n_groups, n_active), np.int64)
    for g in range(n_groups):
        for a in range(n_active):
            uses[g, a] = _restricts(choice, groups, g, a)
        begin[g] = n
        for i in range(groups.first[g], groups.first[g + 1]):
            if n + 1 >= len(value):
                value, box, member = longer(value), taller(box), taller(member)
            if joins(choice, box, member, i, i, used, n_active, budget, max_changes, n):
                value[n] = value[i]
                n += 1
        count[g] = n - begin[g]
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
        partner, fewest = -1, n_active + 1
        for g in range(n_groups):
            if g == grown or state[g] != 0 or tried[g]:
                continue
            new = 0
            for a in range(n_active):
                new += uses[g, a] > uses[grown, a]
            if new < fewest or (new == fewest and count[g] < count[partner]):
                partner, fewest = g, new
        if partner < 0:
            state[grown], grown = 1, -1
            continue
        n_used = 0
        for a in range(n_active):
            if uses[grown, a] or uses[partner, a]:
                used[n_used] = a
                n_used += 1
        while n + limit + 2 > len(value):
            value, box, member = longer(value), taller(box), taller(member)
        m = 0
        for i in range(begin[grown], begin[grown] + count[grown]):
            if m > limit:
                break
            for k in range(begin[partner], begin[partner] + count[partner]):
                if joins(choice, box, member, i, k, used, n_used, budget, max_changes, n + m):
                    value[n + m] = value[i] + value[k]
                    m += 1
                    if m > limit:
                        break
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
        begin[grown], count[grown] = n, m
        n += m
        state[partner] = 2
        failed = 0
    kept, n_left = 0, 0
    constant = groups.constant
    for g in range(n_groups):
        if state[g] == 1 and count[g] == 1:
            constant += value[begin[g]]
            state[g] = 2
        if state[g] == 1:
            kept += count[g]
            n_left += 1
    first, index = np.zeros(n_left + 1, np.int64), np.empty(kept, np.int64)
    at, n_left = 0, 0
    for g in range(n_groups):
        if state[g] == 1:
            for i in range(count[g]):
                index[at] = begin[g] + i
                at += 1
            n_left += 1
            first[n_left] = at
    work = Groups(first, value, box, member, constant)
    return sort_groups(select(work, first, index, constant))
