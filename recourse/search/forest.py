"""An ensemble on cells, its exact score at a point, and what is left of it once an applicant's moves are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .bits import first_bit
from .jit import kernel
from .moves import MISSING, Moves, Space

ONE = np.uint64(1)
NONE = np.uint64(0)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


class Forest(NamedTuple):
    """The neutral trees with tests on cells of the features of a `Space`."""

    feature: np.ndarray  # int32[n_nodes], -1 at a leaf
    cut: np.ndarray  # int32[n_nodes]; a number goes right when cell >= cut, a category left when sets[cut, cell]
    sets: np.ndarray  # bool[n_sets, n_levels]
    missing_left: np.ndarray  # bool[n_nodes]
    left: np.ndarray  # int32[n_nodes]
    right: np.ndarray  # int32[n_nodes]
    value: np.ndarray  # float64[n_nodes]
    root: np.ndarray  # int32[n_trees]
    base: float
    divisor: float
    single: bool


@kernel
def goes_left(forest: Forest, categorical: np.ndarray, node: int, cell: int) -> bool:
    """Whether a value in this cell goes left."""
    if cell == MISSING:
        return forest.missing_left[node]
    if categorical[forest.feature[node]]:
        return forest.sets[forest.cut[node], cell]
    return cell < forest.cut[node]


@kernel
def exact_score(forest: Forest, categorical: np.ndarray, cells: np.ndarray) -> float:
    """Raw score of a row of cells, added up as the native library does."""
    total = forest.base
    for t in range(len(forest.root)):
        node = forest.root[t]
        while forest.feature[node] >= 0:
            if goes_left(forest, categorical, node, cells[forest.feature[node]]):
                node = forest.left[node]
            else:
                node = forest.right[node]
        total += forest.value[node]
        if forest.single:
            total = float(np.float32(total))
    return total / forest.divisor


class Residual(NamedTuple):
    """The trees that the moves of one applicant can tell apart.

    Active features (more than one position) are numbered anew: first the runs, whose tests are "position >= cut",
    then the sets, whose tests are "position in sets[cut]".
    """

    feature: np.ndarray  # int32[n_nodes], active feature; -1 at a leaf
    cut: np.ndarray  # int32[n_nodes]
    left: np.ndarray  # int32[n_nodes]
    right: np.ndarray  # int32[n_nodes]
    value: np.ndarray  # float64[n_nodes]
    root: np.ndarray  # int32[n_trees left]
    sets: np.ndarray  # uint64[n_sets, n_words], positions that go left
    constant: float  # what the other trees add, times the divisor


class Active(NamedTuple):
    """The features of one applicant that have a choice; runs first."""

    feature: np.ndarray  # int64[n_active], index in the space
    n_runs: int
    size: np.ndarray  # int64[n_active], number of positions
    start: np.ndarray  # int64[n_active]
    offset: np.ndarray  # int64[n_active], of the first move in `Moves`
    order: np.ndarray  # int64[n_active], the active features from the last policy feature to the first
    n_words: int  # 64-bit words that hold the positions of any set


@kernel
def activate(space: Space, moves: Moves) -> Active:
    """Number the features that have a choice."""
    n = len(moves.start)
    feature = np.empty(n, np.int64)
    k, widest = 0, 1
    for wanted in range(2):
        for j in range(n):
            size = moves.offset[j + 1] - moves.offset[j]
            if size > 1 and space.listed[j] == wanted:
                feature[k] = j
                k += 1
                if wanted == 1:
                    widest = max(widest, size)
        if wanted == 0:
            n_runs = k
    feature = feature[:k]
    size, start, offset = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
    for a in range(k):
        j = feature[a]
        size[a], start[a], offset[a] = moves.offset[j + 1] - moves.offset[j], moves.start[j], moves.offset[j]
    order = np.argsort(feature)[::-1]
    return Active(feature, n_runs, size, start, offset, order, (widest + 63) // 64)


@kernel
def positions_below(moves: Moves, a_offset: int, size: int, cut: int) -> int:
    """Number of positions of a run whose cell is below the cut."""
    low, high = 0, size
    while low < high:
        middle = (low + high) >> 1
        if moves.cell[a_offset + middle] < cut:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _left_positions(
    forest: Forest, space: Space, moves: Moves, active: Active, a: int, node: int, words: np.ndarray
) -> None:
    """Write the positions of set a that go left at the node."""
    words[:] = NONE
    for p in range(active.size[a]):
        if goes_left(forest, space.categorical, node, moves.cell[active.offset[a] + p]):
            words[p >> 6] |= ONE << np.uint64(p & 63)


@kernel
def specialise(forest: Forest, space: Space, moves: Moves, active: Active) -> Residual:
    """Walk every tree with the applicant's moves: fixed features decide, tests that all positions pass vanish.

    A residual node is written for each test that still divides the positions which reach it, so shared subtrees of the
    forest are unfolded and no test repeats one above it.
    """
    n_active = len(active.feature)
    number = np.full(len(moves.start), -1, np.int32)
    for a in range(n_active):
        number[active.feature[a]] = a
    n_words = active.n_words
    # positions below each cut, looked up many times
    table_start = np.zeros(n_active + 1, np.int64)
    for a in range(active.n_runs):
        j = active.feature[a]
        table_start[a + 1] = table_start[a] + space.threshold_start[j + 1] - space.threshold_start[j] + 2
    table = np.empty(table_start[active.n_runs], np.int32)
    for a in range(active.n_runs):
        p = 0
        for cut in range(table_start[a + 1] - table_start[a]):
            while p < active.size[a] and moves.cell[active.offset[a] + p] < cut:
                p += 1
            table[table_start[a] + cut] = p

    capacity = 1024
    feature, cut_at = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    left, right = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    value = np.empty(capacity, np.float64)
    root = np.empty(len(forest.root), np.int32)
    set_capacity = 16 if n_active > active.n_runs else 1
    sets = np.empty((set_capacity, n_words), np.uint64)
    n_nodes, n_roots, n_sets = 0, 0, 0
    constant = forest.base

    low, high = np.zeros(n_active, np.int64), active.size - 1
    member = np.empty((n_active, n_words), np.uint64)
    for a in range(active.n_runs, n_active):
        _fill(member[a], active.size[a])
    words = np.empty(n_words, np.uint64)

    # a stack entry: forest node, residual parent and its side, the restriction to apply on entry, undo mark
    depth_capacity = 256
    entry = np.empty((depth_capacity, 5), np.int64)  # node, parent, side, trail mark, -
    trail = np.empty((depth_capacity, 3), np.int64)  # active feature, old low, old high
    trail_words = np.empty((depth_capacity, n_words), np.uint64)

    for t in range(len(forest.root)):
        n_entries, n_trail = 0, 0
        entry[0, 0], entry[0, 1], entry[0, 2], entry[0, 3] = forest.root[t], -1, 0, 0
        n_entries = 1
        while n_entries > 0:
            n_entries -= 1
            node, parent, side, mark = (
                entry[n_entries, 0],
                entry[n_entries, 1],
                entry[n_entries, 2],
                entry[n_entries, 3],
            )
            while n_trail > mark:
                n_trail -= 1
                a = trail[n_trail, 0]
                if a < active.n_runs:
                    low[a], high[a] = trail[n_trail, 1], trail[n_trail, 2]
                else:
                    member[a, :] = trail_words[n_trail, :]
            if parent >= 0:
                a = feature[parent]
                if n_trail + 2 >= len(trail):
                    trail = _grow2(trail)
                    trail_words = _grow2(trail_words)
                trail[n_trail, 0] = a
                if a < active.n_runs:
                    trail[n_trail, 1], trail[n_trail, 2] = low[a], high[a]
                    if side == 0:
                        high[a] = cut_at[parent] - 1
                    else:
                        low[a] = cut_at[parent]
                else:
                    trail_words[n_trail, :] = member[a, :]
                    for w in range(n_words):
                        mask = sets[cut_at[parent], w]
                        member[a, w] &= mask if side == 0 else ~mask
                n_trail += 1
            # follow the tests that do not divide
            while True:
                j = forest.feature[node]
                if j < 0:
                    break
                a = number[j]
                if a < 0:
                    go_left = goes_left(forest, space.categorical, node, moves.cell[moves.offset[j]])
                    node = forest.left[node] if go_left else forest.right[node]
                elif a < active.n_runs:
                    p = table[table_start[a] + forest.cut[node]]
                    if p > high[a]:
                        node = forest.left[node]
                    elif p <= low[a]:
                        node = forest.right[node]
                    else:
                        break
                else:
                    _left_positions(forest, space, moves, active, a, node, words)
                    some_left, some_right = False, False
                    for w in range(n_words):
                        some_left |= (member[a, w] & words[w]) != NONE
                        some_right |= (member[a, w] & ~words[w]) != NONE
                    if not some_right:
                        node = forest.left[node]
                    elif not some_left:
                        node = forest.right[node]
                    else:
                        break
            j = forest.feature[node]
            if j < 0 and parent < 0:
                constant += forest.value[node]
                continue
            if n_nodes == capacity:
                capacity *= 2
                feature, cut_at = _grow(feature), _grow(cut_at)
                left, right, value = _grow(left), _grow(right), _grow(value)
            me = n_nodes
            n_nodes += 1
            if parent < 0:
                root[n_roots] = me
                n_roots += 1
            elif side == 0:
                left[parent] = me
            else:
                right[parent] = me
            if j < 0:
                feature[me], value[me] = -1, forest.value[node]
                left[me], right[me] = -1, -1
                continue
            a = number[j]
            feature[me] = a
            value[me] = 0.0
            if a < active.n_runs:
                cut_at[me] = table[table_start[a] + forest.cut[node]]
            else:
                if n_sets == len(sets):
                    sets = _grow2(sets)
                sets[n_sets, :] = words
                cut_at[me] = n_sets
                n_sets += 1
            if n_entries + 2 >= len(entry):
                entry = _grow2(entry)
            entry[n_entries, 0], entry[n_entries, 1], entry[n_entries, 2] = forest.right[node], me, 1
            entry[n_entries, 3] = n_trail
            entry[n_entries + 1, 0], entry[n_entries + 1, 1], entry[n_entries + 1, 2] = forest.left[node], me, 0
            entry[n_entries + 1, 3] = n_trail
            n_entries += 2
        # undo what the last path left behind
        while n_trail > 0:
            n_trail -= 1
            a = trail[n_trail, 0]
            if a < active.n_runs:
                low[a], high[a] = trail[n_trail, 1], trail[n_trail, 2]
            else:
                member[a, :] = trail_words[n_trail, :]
    return Residual(
        feature[:n_nodes],
        cut_at[:n_nodes],
        left[:n_nodes],
        right[:n_nodes],
        value[:n_nodes],
        root[:n_roots],
        sets,
        constant,
    )


@kernel
def _fill(words: np.ndarray, size: int) -> None:
    """Set the first `size` bits."""
    for w in range(len(words)):
        rest = size - 64 * w
        if rest >= 64:
            words[w] = ALL
        elif rest > 0:
            words[w] = (ONE << np.uint64(rest)) - ONE
        else:
            words[w] = NONE


@kernel
def _grow(array: np.ndarray) -> np.ndarray:
    """Copy into an array of twice the length."""
    larger = np.empty(2 * len(array), array.dtype)
    larger[: len(array)] = array
    return larger


@kernel
def _grow2(array: np.ndarray) -> np.ndarray:
    """Copy into an array of twice as many rows."""
    larger = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    larger[: array.shape[0]] = array
    return larger


@kernel
def residual_leaf(residual: Residual, n_runs: int, tree: int, position: np.ndarray) -> int:
    """Leaf node of a residual tree at a point of active positions."""
    node = residual.root[tree]
    while residual.feature[node] >= 0:
        a = residual.feature[node]
        p = position[a]
        if a < n_runs:
            node = residual.left[node] if p < residual.cut[node] else residual.right[node]
        elif residual.sets[residual.cut[node], p >> 6] >> np.uint64(p & 63) & ONE:
            node = residual.left[node]
        else:
            node = residual.right[node]
    return node


@kernel
def first_member(words: np.ndarray) -> int:
    """Lowest position in a set; -1 when it is empty."""
    for w in range(len(words)):
        if words[w] != NONE:
            return 64 * w + first_bit(words[w])
    return -1
