"""Bounds by bit masks: in a box of classes, the best that each group of leaves can add.

A group's leaves have one bit each, best value first. A box's mask is the conjunction of its features' masks, so the
first bit that is left bounds what the group adds there; Chen et al. 2019 bound ensembles by such joint leaves, and
QuickScorer scores by such masks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arena import zeros
from .bits import first_bit
from .forest import NONE, ONE, has_bit
from .jit import inner
from .leaves import COST, COUNT, COUNTS, HOME, ROW, Choice, Groups


class Masks(NamedTuple):
    """Bit masks of a `Groups`; group g has words word[g]:word[g + 1] of each row."""

    word: np.ndarray  # int64[n_groups + 1]
    # uint64[3 * n_classes + 1, n_words]: leaves that some class <= c admits, then some class >= c, then class c itself
    # (for sets only the last is filled), then all leaves
    row: np.ndarray
    n_classes: int
    touch_start: np.ndarray  # int64[n_leaves + 1]
    touch: np.ndarray  # int16[...], the features that each leaf restricts


@inner
def _touches(choice: Choice, groups: Groups, i: int, a: int) -> bool:
    """Whether a leaf does not admit every class of a feature."""
    if a < choice.n_runs:
        return groups.box[i, 2 * a] > 0 or groups.box[i, 2 * a + 1] < choice.table[a, COUNT] - 1
    for c in range(choice.table[a, COUNT]):
        if not has_bit(groups.member, i, (a - choice.n_runs) * choice.n_words, c):
            return True
    return False


@inner
def build_masks(choice: Choice, groups: Groups) -> Masks:
    """One bit a leaf, one row a class."""
    n_groups, n_active, n_classes = (
        len(groups.first) - 1,
        len(choice.table),
        len(choice.item),
    )
    word = zeros(n_groups + 1)
    for g in range(n_groups):
        word[g + 1] = word[g] + (groups.first[g + 1] - groups.first[g] + 63) // 64
    n_words = word[n_groups]
    row = np.zeros((3 * n_classes + 1, n_words), np.uint64)
    touch_start, touch = (
        zeros(len(groups.value) + 1),
        np.empty(len(groups.value) * n_active, np.int16),
    )
    n_touch = 0
    for g in range(n_groups):
        for i in range(groups.first[g], groups.first[g + 1]):
            k = i - groups.first[g]
            w, bit = word[g] + (k >> 6), ONE << np.uint64(k & 63)
            row[3 * n_classes, w] |= bit
            for a in range(n_active):
                begin = choice.table[a, ROW]
                if _touches(choice, groups, i, a):
                    touch[n_touch] = a
                    n_touch += 1
                if a < choice.n_runs:
                    row[begin + groups.box[i, 2 * a], w] |= bit
                    row[n_classes + begin + groups.box[i, 2 * a + 1], w] |= bit
                else:
                    for c in range(choice.table[a, COUNT]):
                        if has_bit(groups.member, i, (a - choice.n_runs) * choice.n_words, c):
                            row[2 * n_classes + begin + c, w] |= bit
            touch_start[i + 1] = n_touch
    for a in range(choice.n_runs):
        begin, end = choice.table[a, ROW], choice.table[a, ROW] + choice.table[a, COUNT]
        for c in range(begin + 1, end):
            for w in range(n_words):
                row[c, w] |= row[c - 1, w]
        for c in range(end - 2, begin - 1, -1):
            for w in range(n_words):
                row[n_classes + c, w] |= row[n_classes + c + 1, w]
        for c in range(begin, end):
            for w in range(n_words):
                row[2 * n_classes + c, w] = row[c, w] & row[n_classes + c, w]
    return Masks(word, row, n_classes, touch_start, touch)


@inner
def mask_box(choice: Choice, masks: Masks, box: np.ndarray, out: np.ndarray, spare: np.ndarray) -> None:
    """Leaves that some point of the box reaches, each feature on its own; `box` has low and high of each feature."""
    n_words, n_classes = masks.row.shape[1], masks.n_classes
    for w in range(n_words):
        out[w] = masks.row[3 * n_classes, w]
    for a in range(len(choice.table)):
        begin, low, high = choice.table[a, ROW], box[2 * a], box[2 * a + 1]
        if low == high:
            for w in range(n_words):
                out[w] &= masks.row[2 * n_classes + begin + low, w]
        elif a < choice.n_runs:
            if high < choice.table[a, COUNT] - 1:
                for w in range(n_words):
                    out[w] &= masks.row[begin + high, w]
            if low > 0:
                for w in range(n_words):
                    out[w] &= masks.row[n_classes + begin + low, w]
        elif low > 0 or high < choice.table[a, COUNT] - 1:
            for w in range(n_words):
                spare[w] = NONE
            for c in range(begin + low, begin + high + 1):
                for w in range(n_words):
                    spare[w] |= masks.row[2 * n_classes + c, w]
            for w in range(n_words):
                out[w] &= spare[w]


@inner
def mask_point(
    choice: Choice,
    masks: Masks,
    box: np.ndarray,
    mask: np.ndarray,
    point: np.ndarray,
    out: np.ndarray,
) -> None:
    """Leaves of one point of a box: exactly one bit a group, if the point lies within the budget of the groups."""
    n_words, n_classes = masks.row.shape[1], masks.n_classes
    for w in range(n_words):
        out[w] = mask[w]
    for a in range(len(choice.table)):
        if box[2 * a] < box[2 * a + 1]:
            r = 2 * n_classes + choice.table[a, ROW] + point[a]
            for w in range(n_words):
                out[w] &= masks.row[r, w]


@inner
def best_leaf(groups: Groups, masks: Masks, mask: np.ndarray, g: int) -> int:
    """First leaf of group g in the mask; -1 when none is left."""
    for w in range(masks.word[g], masks.word[g + 1]):
        if mask[w] != NONE:
            return groups.first[g] + 64 * (w - masks.word[g]) + first_bit(mask[w])
    return -1


@inner
def upper_bound(groups: Groups, masks: Masks, mask: np.ndarray, low: np.ndarray, top: np.ndarray) -> bool:
    """Write the sum of the best leaves of each model; False when one stays below `low`, or a group has no leaf."""
    for k in range(len(top)):
        top[k] = groups.constant[k]
        for g in range(groups.part[k], groups.part[k + 1]):
            leaf = best_leaf(groups, masks, mask, g)
            if leaf < 0:
                top[k] = -np.inf
                return False
            top[k] += groups.value[leaf]
        if top[k] < low[k]:
            return False
    return True


@inner
def strike(
    choice: Choice, groups: Groups, masks: Masks, mask: np.ndarray, box: np.ndarray, point: np.ndarray, slack: int,
    changes_left: int, low: np.ndarray, top: np.ndarray,
) -> bool:  # fmt: skip
    """Lower the bounds: strike the best leaves that no point of the box reaches within the budget.

    `slack` is what may be spent beyond the box's cheapest point. False as soon as a bound falls below `low`.
    """
    k = 0
    for g in range(len(groups.first) - 1):
        while groups.part[k + 1] <= g:
            k += 1
        before, struck, found = 0.0, False, False
        for w in range(masks.word[g], masks.word[g + 1]):
            while mask[w] != NONE:
                leaf = groups.first[g] + 64 * (w - masks.word[g]) + first_bit(mask[w])
                extra, more = 0, 0
                for u in range(masks.touch_start[leaf], masks.touch_start[leaf + 1]):
                    a = np.int64(masks.touch[u])
                    p = point[a]
                    if a < choice.n_runs:
                        c = min(
                            max(p, np.int64(groups.box[leaf, 2 * a])),
                            np.int64(groups.box[leaf, 2 * a + 1]),
                        )
                    else:
                        c = p
                        while c < box[2 * a + 1] and not has_bit(
                            groups.member, leaf, (a - choice.n_runs) * choice.n_words, c
                        ):
                            c += 1
                    if c != p:
                        row = choice.table[a, ROW]
                        extra += choice.item[row + c, COST] - choice.item[row + p, COST]
                        more += (p == choice.table[a, HOME]) * choice.table[a, COUNTS]
                if extra <= slack and more <= changes_left:
                    if struck:
                        top[k] += groups.value[leaf] - before
                    found = True
                    break
                if not struck:
                    before, struck = groups.value[leaf], True
                mask[w] &= mask[w] - ONE
            if found:
                break
        if not found or top[k] < low[k]:
            return False
    return True


@inner
def _suffices(
    groups: Groups, masks: Masks, mask: np.ndarray, row: np.ndarray, r: int, top: np.ndarray, low: np.ndarray,
    best: np.ndarray,
) -> bool:  # fmt: skip
    """Whether the bounds of a box still reach `low` in the conjunction of two masks within it, `mask` and row[r].

    `top` has the bounds of the box and best[g] its best leaf of group g: only groups whose best leaf is not in the
    conjunction lose, and the loss is added up until it is too much.
    """
    k, left = -1, 0.0
    for g in range(len(groups.first) - 1):
        while groups.part[k + 1] <= g:
            k += 1
            left = top[k] - low[k]
        leaf = best[g]
        place = leaf - groups.first[g]
        w = masks.word[g] + (place >> 6)
        if (mask[w] & row[r, w]) >> np.uint64(place & 63) & ONE != NONE:
            continue
        found = False
        while w < masks.word[g + 1] and not found:
            both = mask[w] & row[r, w]
            if both != NONE:
                left -= groups.value[leaf] - groups.value[groups.first[g] + 64 * (w - masks.word[g]) + first_bit(both)]
                found = True
            w += 1
        if not found or left < 0.0:
            return False
    return True


@inner
def probe(
    choice: Choice, groups: Groups, masks: Masks, mask: np.ndarray, box: np.ndarray, point: np.ndarray,
    low_enough: np.ndarray, top: np.ndarray, best: np.ndarray, ladder: np.ndarray,
) -> bool:  # fmt: skip
    """With one change left, keep the features at their start that no approved point changes; whether there are any.

    A point that changes one of the open features leaves all others at their start, so its leaves lie in the masks of
    these starts. `ladder`, uint64[2 * n_active + 2, n_words], receives from its first row on the mask with the first 0,
    1, ... open features at their start, from its last row back the mask with the last 0, 1, ... of them.
    """
    n, n_words, n_classes, end = len(choice.table), masks.row.shape[1], masks.n_classes, len(ladder) - 1
    for w in range(n_words):
        ladder[0, w] = mask[w]
        ladder[end, w] = mask[w]
    n_open = 0
    for a in range(n):
        if _opens(choice, box, point, a):
            r = 2 * n_classes + choice.table[a, ROW] + point[a]
            for w in range(n_words):
                ladder[n_open + 1, w] = ladder[n_open, w] & masks.row[r, w]
            n_open += 1
    if n_open < 2:
        return False
    for g in range(len(groups.first) - 1):
        best[g] = best_leaf(groups, masks, mask, g)
    found = False
    before, after = n_open, end
    for a in range(n - 1, -1, -1):
        if _opens(choice, box, point, a):
            before -= 1
            r = 2 * n_classes + choice.table[a, ROW] + point[a]
            for w in range(n_words):
                ladder[after - 1, w] = ladder[after, w] & masks.row[r, w]
            if not _suffices(groups, masks, ladder[before], ladder, after, top, low_enough, best):
                box[2 * a], box[2 * a + 1] = point[a], point[a]
                found = True
            after -= 1
    return found


@inner
def _opens(choice: Choice, box: np.ndarray, point: np.ndarray, a: int) -> bool:
    """Whether a box leaves open if a feature changes."""
    return box[2 * a] < box[2 * a + 1] and point[a] == choice.table[a, HOME] and choice.table[a, COUNTS] == 1


@inner
def tighten(
    choice: Choice, groups: Groups, masks: Masks, mask: np.ndarray, box: np.ndarray, point: np.ndarray,
    low_enough: np.ndarray, top: np.ndarray, gap: np.ndarray, best: np.ndarray, forced: np.ndarray,
) -> int:  # fmt: skip
    """Drop the cheapest classes of a box that cannot be kept: the bound falls short with them.

    `gap[k, a]` bounds by how much the bound `top[k]` falls if feature a keeps its cheapest class, so most features need
    no look. Returns 0 if the box stays as it is, 1 if it was cut, -1 if it holds no approved point; `forced[0]` names a
    feature that must leave its cheapest class upward or downward (-1 without one).
    """
    changed = 0
    forced[0] = -1
    n_classes, row = masks.n_classes, masks.row
    for a in range(len(choice.table)):
        low, high = np.int64(box[2 * a]), np.int64(box[2 * a + 1])
        if low == high or choice.table[a, COUNTS] == 0:
            continue
        enough = True
        for k in range(len(top)):
            enough &= top[k] - gap[k, a] >= low_enough[k]
        if enough:
            continue
        begin, p = choice.table[a, ROW], point[a]
        if _suffices(groups, masks, mask, row, 2 * n_classes + begin + p, top, low_enough, best):
            continue
        if a >= choice.n_runs:
            box[2 * a] = p + 1
            changed = 1
            continue
        if low < p < high:
            below = _suffices(groups, masks, mask, row, begin + p - 1, top, low_enough, best)
            above = _suffices(groups, masks, mask, row, n_classes + begin + p + 1, top, low_enough, best)
            if below and above:
                forced[0] = a
                continue
            if not below and not above:
                return -1
            box[2 * a] = p + 1 if above else low
            box[2 * a + 1] = high if above else p - 1
        elif p == low:
            c = p + 1
            while c < high and not _suffices(groups, masks, mask, row, begin + c, top, low_enough, best):
                c += 1
            box[2 * a] = c
        else:
            c = p - 1
            while c > low and not _suffices(groups, masks, mask, row, n_classes + begin + c, top, low_enough, best):
                c -= 1
            box[2 * a + 1] = c
        changed = 1
    return changed


@inner
def weigh(
    choice: Choice, groups: Groups, masks: Masks, mask: np.ndarray, point_mask: np.ndarray, box: np.ndarray,
    point: np.ndarray, scale: np.ndarray, weight: np.ndarray, gap: np.ndarray, best: np.ndarray, total: np.ndarray,
) -> None:  # fmt: skip
    """Spread the gap between the groups' best leaves and the point's over the tests that part them.

    `weight[row + c]` gets what is lost below (or from) class c, `gap[k, a]` what feature a has a part in, best[g] the
    best leaf of group g, total[k] the sum of the point's leaves under model k.
    """
    for a in range(len(choice.table)):
        for k in range(len(total)):
            gap[k, a] = 0.0
        for c in range(box[2 * a], box[2 * a + 1] + 1):
            weight[choice.table[a, ROW] + c] = 0.0
    for k in range(len(total)):
        total[k] = groups.constant[k]
    k = 0
    for g in range(len(groups.first) - 1):
        while groups.part[k + 1] <= g:
            k += 1
        mine = best_leaf(groups, masks, point_mask, g)
        leaf = best_leaf(groups, masks, mask, g)
        best[g] = leaf
        if mine < 0:  # the point is not within what the groups were made for
            total[k] = -np.inf
            mine = groups.first[g + 1] - 1
        total[k] += groups.value[mine]
        if leaf == mine:
            continue
        lost = groups.value[leaf] - groups.value[mine]
        share = lost * scale[k]
        for u in range(masks.touch_start[leaf], masks.touch_start[leaf + 1]):
            a = np.int64(masks.touch[u])
            row, p = choice.table[a, ROW], point[a]
            if a < choice.n_runs:
                low, high = np.int64(groups.box[leaf, 2 * a]), np.int64(groups.box[leaf, 2 * a + 1])
                if low > p:
                    weight[row + low] += share
                    gap[k, a] += lost
                elif high < p:
                    weight[row + high + 1] += share
                    gap[k, a] += lost
            elif not has_bit(groups.member, leaf, (a - choice.n_runs) * choice.n_words, p):
                gap[k, a] += lost
                for c in range(box[2 * a] + 1, box[2 * a + 1] + 1):
                    if has_bit(groups.member, leaf, (a - choice.n_runs) * choice.n_words, c):
                        weight[row + c] += share
                        break


@inner
def split_box(
    choice: Choice, box: np.ndarray, point: np.ndarray, weight: np.ndarray, scale: np.ndarray, gap: np.ndarray
) -> tuple[int, int]:
    """Return the (feature, class) of most weight; the box is split into the classes below and from it.

    A feature of -1 says that the box is one point. A class of -2 says that a column that follows from several actions
    has most weight: one of these is to be split.
    """
    best_a, best_c, most = -1, -1, 0.0
    for a in range(len(choice.table)):
        if choice.table[a, COUNTS] == 0:
            lost = 0.0
            for k in range(len(scale)):
                lost += gap[k, a] * scale[k]
            if lost > most:
                most, best_a, best_c = lost, a, -2
            continue
        for c in range(box[2 * a] + 1, box[2 * a + 1] + 1):
            if weight[choice.table[a, ROW] + c] > most:
                most, best_a, best_c = weight[choice.table[a, ROW] + c], a, c
    if best_a < 0:
        for a in range(len(choice.table)):
            if box[2 * a + 1] > box[2 * a] and choice.table[a, COUNTS] == 1:
                return a, point[a] + 1 if point[a] < box[2 * a + 1] else point[a]
    return best_a, best_c
