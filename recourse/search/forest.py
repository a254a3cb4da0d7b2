"""An ensemble on cells, its exact score at a point, and what is left of it once an applicant's moves are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arena import longer, taller
from .bits import first_bit
from .jit import inner
from .moves import MISSING, Moves, Space

ONE = np.uint64(1)
NONE = np.uint64(0)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)

# columns of `Forest.node` and `Residual.node`
FEATURE, CUT, LEFT, RIGHT, MISSING_LEFT = 0, 1, 2, 3, 4


class Forest(NamedTuple):
    """The neutral trees with tests on cells of the features of a `Space`."""

    # int32[n_nodes, 5]: feature (-1 at a leaf), cut, left, right, whether missing goes left; a number goes right when
    # cell >= cut, a category left when sets[cut, cell]
    node: np.ndarray
    sets: np.ndarray  # bool[n_sets, n_levels]
    value: np.ndarray  # float64[n_nodes]
    root: np.ndarray  # int32[n_trees]
    base: float
    divisor: float
    single: bool


@inner
def goes_left(forest: Forest, categorical: np.ndarray, node: int, cell: int) -> bool:
    """Whether a value in this cell goes left."""
    if cell == MISSING:
        return forest.node[node, MISSING_LEFT] != 0
    if categorical[forest.node[node, FEATURE]]:
        return forest.sets[forest.node[node, CUT], cell]
    return cell < forest.node[node, CUT]


@inner
def exact_score(forest: Forest, categorical: np.ndarray, cells: np.ndarray) -> float:
    """Raw score of a row of cells, added up as the native library does."""
    total = forest.base
    for t in range(len(forest.root)):
        node = forest.root[t]
        while forest.node[node, FEATURE] >= 0:
            if goes_left(forest, categorical, node, cells[forest.node[node, FEATURE]]):
                node = forest.node[node, LEFT]
            else:
                node = forest.node[node, RIGHT]
        total += forest.value[node]
        if forest.single:
            total = float(np.float32(total))
    return total / forest.divisor


class Active(NamedTuple):
    """The features of one applicant that have a choice, numbered anew: first runs (grids), then sets (levels)."""

    n_runs: int
    n_words: int  # 64-bit words that hold the positions of any set
    table: np.ndarray  # int64[n_active, 4]: feature in the space, number of positions, start, first move in `Moves`
    order: np.ndarray  # int64[n_active], from the last policy feature to the first


# columns of `Active.table`
OF, SIZE, START, OFFSET = 0, 1, 2, 3


@inner
def activate(space: Space, moves: Moves) -> Active:
    """Number the features that have a choice."""
    n = len(moves.start)
    n_active = 0
    for j in range(n):
        n_active += moves.offset[j + 1] - moves.offset[j] > 1
    table, order = np.empty((n_active, 4), np.int64), np.empty(n_active, np.int64)
    k, n_runs, widest = 0, 0, 1
    for wanted in range(2):
        for j in range(n):
            size = moves.offset[j + 1] - moves.offset[j]
            if size > 1 and space.listed[j] == wanted:
                table[k, OF], table[k, SIZE] = j, size
                table[k, START], table[k, OFFSET] = moves.start[j], moves.offset[j]
                k += 1
                if wanted == 1:
                    widest = max(widest, size)
                else:
                    n_runs = k
    for a in range(n_active):
        place = 0
        for b in range(n_active):
            place += table[b, OF] > table[a, OF]
        order[place] = a
    return Active(n_runs, (widest + 63) // 64, table, order)


class Residual(NamedTuple):
    """The trees that the moves of one applicant can tell apart.

    Tests are on active features: a run goes right when position >= cut, a set left when its position is in sets[cut].
    """

    node: np.ndarray  # int64[n_nodes, 4]: active feature (-1 at a leaf), cut, left, right
    value: np.ndarray  # float64[n_nodes]
    root: np.ndarray  # int64[n_trees left]
    sets: np.ndarray  # uint64[n_sets, n_words], positions that go left
    constant: float  # what the other trees add


@inner
def fill_bits(words: np.ndarray, row: int, size: int) -> None:
    """Set the first `size` bits of a row of words."""
    for w in range(words.shape[1]):
        rest = size - 64 * w
        if rest >= 64:
            words[row, w] = ALL
        elif rest > 0:
            words[row, w] = (ONE << np.uint64(rest)) - ONE
        else:
            words[row, w] = NONE


@inner
def has_bit(words: np.ndarray, row: int, place: int, bit: int) -> bool:
    """Whether a bit is set in the words of a row from `place` on."""
    return (words[row, place + (bit >> 6)] >> np.uint64(bit & 63)) & ONE != NONE


@inner
def specialise(forest: Forest, space: Space, moves: Moves, active: Active) -> Residual:
    """Walk every tree with the applicant's moves: fixed features decide, tests that all positions pass vanish.

    A residual node is written for each test that still divides the positions which reach it, so shared subtrees of the
    forest are unfolded and no test repeats one above it.
    """
    n_active, n_runs, n_words = len(active.table), active.n_runs, active.n_words
    number = np.empty(len(moves.start), np.int64)
    for j in range(len(number)):
        number[j] = -1
    for a in range(n_active):
        number[active.table[a, OF]] = a
    # positions below each cut, looked up many times
    below_start = np.zeros(n_runs + 1, np.int64)
    for a in range(n_runs):
        j = active.table[a, OF]
        below_start[a + 1] = below_start[a] + space.threshold_start[j + 1] - space.threshold_start[j] + 2
    below = np.empty(below_start[n_runs], np.int64)
    for a in range(n_runs):
        p = 0
        for cut in range(below_start[a + 1] - below_start[a]):
            while p < active.table[a, SIZE] and moves.cell[active.table[a, OFFSET] + p] < cut:
                p += 1
            below[below_start[a] + cut] = p

    node_out, value = np.empty((512, 4), np.int64), np.empty(512, np.float64)
    root = np.empty(len(forest.root), np.int64)
    sets = np.empty((8, n_words), np.uint64)
    n_nodes, n_roots, n_sets = 0, 0, 0
    constant = forest.base

    # the box of positions that reach the present node, and how to get back to an earlier one
    low, high = np.empty(n_active, np.int64), np.empty(n_active, np.int64)
    member = np.empty((n_active, n_words), np.uint64)
    for a in range(n_active):
        low[a], high[a] = 0, active.table[a, SIZE] - 1
        fill_bits(member, a, active.table[a, SIZE])
    entry = np.empty((128, 4), np.int64)  # forest node, residual parent, side, mark on the trail
    trail, trail_words = np.empty((128, 3), np.int64), np.empty((128, n_words), np.uint64)
    n_trail = 0
    for t in range(len(forest.root)):
        n_entries = 1
        entry[0, 0], entry[0, 1], entry[0, 2], entry[0, 3] = forest.root[t], -1, 0, 0
        while n_entries > 0:
            n_entries -= 1
            node, parent, side = entry[n_entries, 0], entry[n_entries, 1], entry[n_entries, 2]
            while n_trail > entry[n_entries, 3]:
                n_trail -= 1
                a = trail[n_trail, 0]
                low[a], high[a] = trail[n_trail, 1], trail[n_trail, 2]
                for w in range(n_words):
                    member[a, w] = trail_words[n_trail, w]
            if parent >= 0:
                a, cut = node_out[parent, FEATURE], node_out[parent, CUT]
                if n_trail == len(trail):
                    trail, trail_words = taller(trail), taller(trail_words)
                trail[n_trail, 0], trail[n_trail, 1], trail[n_trail, 2] = a, low[a], high[a]
                for w in range(n_words):
                    trail_words[n_trail, w] = member[a, w]
                n_trail += 1
                if a >= n_runs:
                    for w in range(n_words):
                        member[a, w] &= sets[cut, w] if side == 0 else ~sets[cut, w]
                elif side == 0:
                    high[a] = cut - 1
                else:
                    low[a] = cut
            # follow the tests that do not divide
            a, cut = -1, 0
            while forest.node[node, FEATURE] >= 0:
                j = forest.node[node, FEATURE]
                a = number[j]
                side_taken = 0  # 1 left, 2 right, 3 both
                if a < 0:
                    cell = moves.cell[moves.offset[j]]
                    side_taken = 1 if goes_left(forest, space.categorical, node, cell) else 2
                elif a < n_runs:
                    cut = below[below_start[a] + forest.node[node, CUT]]
                    side_taken = 1 if cut > high[a] else (2 if cut <= low[a] else 3)
                else:
                    if n_sets == len(sets):
                        sets = taller(sets)
                    for w in range(n_words):
                        sets[n_sets, w] = NONE
                    for p in range(active.table[a, SIZE]):
                        if has_bit(member, a, 0, p):
                            if goes_left(forest, space.categorical, node, moves.cell[active.table[a, OFFSET] + p]):
                                sets[n_sets, p >> 6] |= ONE << np.uint64(p & 63)
                                side_taken |= 1
                            else:
                                side_taken |= 2
                if side_taken == 3:
                    break
                node = forest.node[node, LEFT] if side_taken == 1 else forest.node[node, RIGHT]
            leaf = forest.node[node, FEATURE] < 0
            if leaf and parent < 0:
                constant += forest.value[node]
                continue
            if n_nodes == len(value):
                node_out, value = taller(node_out), longer(value)
            if parent < 0:
                root[n_roots] = n_nodes
                n_roots += 1
            else:
                node_out[parent, LEFT if side == 0 else RIGHT] = n_nodes
            value[n_nodes] = forest.value[node]
            if leaf:
                node_out[n_nodes, FEATURE] = -1
                n_nodes += 1
                continue
            if a >= n_runs:
                cut = n_sets
                n_sets += 1
            node_out[n_nodes, FEATURE], node_out[n_nodes, CUT] = a, cut
            if n_entries + 2 > len(entry):
                entry = taller(entry)
            for side in range(2):
                entry[n_entries, 0] = forest.node[node, RIGHT if side == 0 else LEFT]
                entry[n_entries, 1], entry[n_entries, 2], entry[n_entries, 3] = n_nodes, 1 - side, n_trail
                n_entries += 1
            n_nodes += 1
        while n_trail > 0:
            n_trail -= 1
            a = trail[n_trail, 0]
            low[a], high[a] = trail[n_trail, 1], trail[n_trail, 2]
            for w in range(n_words):
                member[a, w] = trail_words[n_trail, w]
    return Residual(node_out, value, root[:n_roots], sets, constant)


@inner
def residual_leaf(residual: Residual, n_runs: int, tree: int, position: np.ndarray) -> int:
    """Leaf node of a residual tree at a point of active positions."""
    node = residual.root[tree]
    while residual.node[node, FEATURE] >= 0:
        a, cut = residual.node[node, FEATURE], residual.node[node, CUT]
        left = position[a] < cut if a < n_runs else has_bit(residual.sets, cut, 0, position[a])
        node = residual.node[node, LEFT] if left else residual.node[node, RIGHT]
    return node


@inner
def first_member(words: np.ndarray, row: int, place: int, n_words: int) -> int:
    """Lowest position in a set; -1 when it is empty."""
    for w in range(n_words):
        if words[row, place + w] != NONE:
            return 64 * w + first_bit(words[row, place + w])
    return -1
