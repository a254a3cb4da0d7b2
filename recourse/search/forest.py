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

    node: np.ndarray  # int32[n_nodes, 4]: active feature (-1 at a leaf), cut, left, right
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
    """Copy what the applicant's moves can reach: fixed features decide, tests that all positions pass vanish.

    Shared subtrees of the forest are unfolded. A test may still repeat one above it: walks keep the box they are in.
    """
    n_runs, n_words = active.n_runs, active.n_words
    number = np.empty(len(moves.start), np.int64)
    for j in range(len(number)):
        number[j] = -1
    for a in range(len(active.table)):
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

    node_out, value = np.empty((1024, 4), np.int32), np.empty(1024, np.float64)
    root = np.empty(len(forest.root), np.int64)
    sets = np.empty((8, n_words), np.uint64)
    entry = np.empty((256, 3), np.int64)  # forest node, residual parent, side
    n_nodes, n_roots, n_sets = 0, 0, 0
    constant = forest.base
    for t in range(len(forest.root)):
        n_entries = 1
        entry[0, 0], entry[0, 1], entry[0, 2] = forest.root[t], -1, 0
        while n_entries > 0:
            n_entries -= 1
            node, parent, side = entry[n_entries, 0], entry[n_entries, 1], entry[n_entries, 2]
            a, cut, j = -1, 0, -1
            while True:
                j = forest.node[node, FEATURE]
                if j < 0:
                    break
                a = number[j]
                go = 0  # 1 left, 2 right, 3 both
                if a < 0:
                    go = 1 if goes_left(forest, space.categorical, node, moves.cell[moves.offset[j]]) else 2
                elif a < n_runs:
                    cut = below[below_start[a] + forest.node[node, CUT]]
                    go = 1 if cut >= active.table[a, SIZE] else (2 if cut == 0 else 3)
                else:
                    if n_sets == len(sets):
                        sets = taller(sets)
                    for w in range(n_words):
                        sets[n_sets, w] = NONE
                    for p in range(active.table[a, SIZE]):
                        if goes_left(forest, space.categorical, node, moves.cell[active.table[a, OFFSET] + p]):
                            sets[n_sets, p >> 6] |= ONE << np.uint64(p & 63)
                            go |= 1
                        else:
                            go |= 2
                if go == 3:
                    break
                node = forest.node[node, LEFT] if go == 1 else forest.node[node, RIGHT]
            if j < 0 and parent < 0:
                constant += forest.value[node]
                continue
            if n_nodes == len(value):
                node_out, value = taller(node_out), longer(value)
            if parent < 0:
                root[n_roots] = n_nodes
                n_roots += 1
            else:
                node_out[parent, LEFT + side] = n_nodes
            value[n_nodes] = forest.value[node]
            if j < 0:
                node_out[n_nodes, FEATURE] = -1
                n_nodes += 1
                continue
            if a >= n_runs:
                cut = n_sets
                n_sets += 1
            node_out[n_nodes, FEATURE], node_out[n_nodes, CUT] = a, cut
            if n_entries + 2 > len(entry):
                entry = taller(entry)
            entry[n_entries, 0], entry[n_entries, 1], entry[n_entries, 2] = forest.node[node, RIGHT], n_nodes, 1
            entry[n_entries + 1, 0], entry[n_entries + 1, 1] = forest.node[node, LEFT], n_nodes
            entry[n_entries + 1, 2] = 0
            n_entries += 2
            n_nodes += 1
    return Residual(node_out, value, root[:n_roots], sets, constant)


@inner
def first_member(words: np.ndarray, row: int, place: int, n_words: int) -> int:
    """Lowest position in a set; -1 when it is empty."""
    for w in range(n_words):
        if words[row, place + w] != NONE:
            return 64 * w + first_bit(words[row, place + w])
    return -1
