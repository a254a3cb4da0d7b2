"""An ensemble on cells, its exact score at a point, and what is left of it once an applicant's moves are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .arena import copied, longer, taller, zeros
from .bits import first_bit
from .jit import inner
from .moves import MISSING, POINT, Moves, Space

ONE = np.uint64(1)
NONE = np.uint64(0)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)

# columns of `Forest.node` and `Residual.node`
FEATURE, CUT, LEFT, RIGHT, MISSING_LEFT = 0, 1, 2, 3, 4


class Forest(NamedTuple):
    """The trees of one or more models, with tests on cells of the features of a `Space`."""

    # int32[n_nodes, 5]: feature (-1 at a leaf), cut, left, right, whether missing goes left; a number goes right when
    # cell >= cut, a category left when sets[cut, cell]
    node: np.ndarray
    sets: np.ndarray  # bool[n_sets, n_levels]
    value: np.ndarray  # float64[n_nodes]
    root: np.ndarray  # int32[n_trees]
    part: np.ndarray  # int64[n_models + 1], model k has trees part[k]:part[k + 1]
    base: np.ndarray  # float64[n_models]
    divisor: np.ndarray  # float64[n_models]
    eps: np.ndarray  # float64[n_models], bound on |our sum - the library's|, before the divisor
    single: np.ndarray  # uint8[n_models], partial sums are rounded to float32


@inner
def goes_left(forest: Forest, categorical: np.ndarray, node: int, cell: int) -> bool:
    """Whether a value in this cell goes left."""
    if cell == MISSING:
        return forest.node[node, MISSING_LEFT] != 0
    if categorical[forest.node[node, FEATURE]]:
        return forest.sets[forest.node[node, CUT], cell]
    return cell < forest.node[node, CUT]


@inner
def exact_score(forest: Forest, k: int, categorical: np.ndarray, cells: np.ndarray) -> float:
    """Raw score of a row of cells under model k, added up as its library does."""
    total = forest.base[k]
    for t in range(forest.part[k], forest.part[k + 1]):
        node = forest.root[t]
        while forest.node[node, FEATURE] >= 0:
            if goes_left(forest, categorical, node, cells[forest.node[node, FEATURE]]):
                node = forest.node[node, LEFT]
            else:
                node = forest.node[node, RIGHT]
        total += forest.value[node]
        if forest.single[k]:
            total = float(np.float32(total))
    return total / forest.divisor[k]


class Active(NamedTuple):
    """The features of one applicant that have a choice, numbered anew: first runs (grids), then sets (levels)."""

    n_runs: int
    n_words: int  # 64-bit words that hold the positions of any set
    # int64[n_active, 6]: feature in `Moves`, number of positions, start, first move, whether the applicant acts on it
    # (else its positions are cells that follow from others), whether each of its positions is told apart
    table: np.ndarray
    order: np.ndarray  # int64[n_actions], those the applicant acts on, from the last policy feature to the first
    number: np.ndarray  # int64[n + m], feature in `Moves` -> its number here, -1 without a choice


# columns of `Active.table`
OF, SIZE, START, OFFSET, ACTS, APART = 0, 1, 2, 3, 4, 5


@inner
def activate(space: Space, moves: Moves) -> Active:
    """Number the features that have a choice."""
    n, n_all = len(space.listed), len(moves.start)
    n_active, n_actions = 0, 0
    for j in range(n_all):
        if moves.offset[j + 1] - moves.offset[j] > 1:
            n_active += 1
            n_actions += j < n
    table, order = np.empty((n_active, 6), np.int64), np.empty(n_actions, np.int64)
    number = np.empty(n_all, np.int64)
    k, n_runs, widest = 0, 0, 1
    for j in range(n_all):
        number[j] = -1
    for wanted in range(2):
        for j in range(n_all):
            size = moves.offset[j + 1] - moves.offset[j]
            if size > 1 and moves.listed[j] == wanted:
                table[k, OF], table[k, SIZE] = j, size
                table[k, START], table[k, OFFSET] = moves.start[j], moves.offset[j]
                table[k, ACTS], table[k, APART] = j < n, j < n and space.shape != POINT
                number[j] = k
                k += 1
                if wanted == 1:
                    widest = max(widest, size)
                else:
                    n_runs = k
    at = 0
    for j in range(n - 1, -1, -1):
        if number[j] >= 0:
            order[at] = number[j]
            at += 1
    return Active(n_runs, (widest + 63) // 64, table, order, number)


class Residual(NamedTuple):
    """The trees that the moves of one applicant can tell apart.

    Tests are on active features: a run goes right when position >= cut, a set left when its position is in sets[cut].
    """

    node: np.ndarray  # int32[n_nodes, 4]: active feature (-1 at a leaf), cut, left, right
    value: np.ndarray  # float64[n_nodes]
    root: np.ndarray  # int64[n_trees left]
    part: np.ndarray  # int64[n_models + 1], model k has trees part[k]:part[k + 1]
    sets: np.ndarray  # uint64[n_sets, n_words], positions that go left
    constant: np.ndarray  # float64[n_models], what the other trees add


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


ASCENDING, DESCENDING, MIXED = 0, 1, 2  # how the cells of a column lie along its owner's positions


@inner
def _slope(moves: Moves, j: int, size: int) -> int:
    """How the cells of column j lie along the positions of its owner."""
    at = moves.cell_at[j]
    up, down = moves.cell[at] != MISSING, moves.cell[at] != MISSING
    for p in range(1, size):
        up &= moves.cell[at + p] >= moves.cell[at + p - 1]
        down &= moves.cell[at + p] <= moves.cell[at + p - 1] and moves.cell[at + p] != MISSING
    return ASCENDING if up else (DESCENDING if down else MIXED)


@inner
def specialise(forest: Forest, space: Space, moves: Moves, active: Active) -> Residual:
    """Copy what the applicant's moves can reach: fixed features decide, tests that all positions pass vanish.

    Shared subtrees of the forest are unfolded. A test may still repeat one above it: walks keep the box they are in.
    A test whose sides alternate along a run becomes a chain of tests.
    """
    n_runs, n_words, n_models = active.n_runs, active.n_words, len(forest.base)
    n = len(space.listed)
    number, slope, below_start = zeros(n), zeros(n), zeros(n + 1)
    for j in range(n):
        number[j] = active.number[moves.owner[j]] if moves.owner[j] >= 0 else -1
        below_start[j + 1] = below_start[j]
        if 0 <= number[j] < n_runs:
            slope[j] = MIXED if space.categorical[j] else _slope(moves, j, active.table[number[j], SIZE])
            if slope[j] != MIXED:
                below_start[j + 1] += space.threshold_start[j + 1] - space.threshold_start[j] + 2
    # positions before the cell changes sides at each cut, looked up many times
    below = np.empty(below_start[n], np.int64)
    for j in range(n):
        p = 0
        n_cuts = below_start[j + 1] - below_start[j]
        for i in range(n_cuts):
            cut = i if slope[j] == ASCENDING else n_cuts - 1 - i
            while p < active.table[number[j], SIZE]:
                cell = moves.cell[moves.cell_at[j] + p]
                if cell >= cut if slope[j] == ASCENDING else cell < cut:
                    break
                p += 1
            below[below_start[j] + cut] = p

    node_out, value = np.empty((1024, 4), np.int32), np.empty(1024, np.float64)
    root, part = zeros(len(forest.root)), zeros(n_models + 1)
    sets = np.empty((8, n_words), np.uint64)
    entry = np.empty((256, 3), np.int64)  # forest node, residual parent, side
    n_nodes, n_roots, n_sets = 0, 0, 0
    constant = copied(forest.base)
    for model in range(n_models):
        for t in range(forest.part[model], forest.part[model + 1]):
            n_entries = 1
            entry[0, 0], entry[0, 1], entry[0, 2] = forest.root[t], -1, 0
            while n_entries > 0:
                n_entries -= 1
                node, parent, side = entry[n_entries, 0], entry[n_entries, 1], entry[n_entries, 2]
                a, cut, j, first_left = -1, 0, -1, True
                while True:
                    j = forest.node[node, FEATURE]
                    if j < 0:
                        break
                    a = number[j]
                    go = 0  # 1 left, 2 right, 3 both
                    if a < 0:
                        at = moves.cell_at[j]
                        if moves.owner[j] >= 0:
                            at += moves.start[moves.owner[j]]
                        go = 1 if goes_left(forest, space.categorical, node, moves.cell[at]) else 2
                    elif a < n_runs and slope[j] != MIXED:
                        first_left = slope[j] == ASCENDING
                        cut = below[below_start[j] + forest.node[node, CUT]]
                        go = (1 if first_left else 2) if cut >= active.table[a, SIZE] else 3
                        if cut == 0:
                            go = 2 if first_left else 1
                    else:
                        if n_sets == len(sets):
                            sets = taller(sets)
                        for w in range(n_words):
                            sets[n_sets, w] = NONE
                        cut = -1
                        for p in range(active.table[a, SIZE]):
                            left = goes_left(forest, space.categorical, node, moves.cell[moves.cell_at[j] + p])
                            go |= 1 if left else 2
                            if a >= n_runs:
                                if left:
                                    sets[n_sets, p >> 6] |= ONE << np.uint64(p & 63)
                            elif p == 0:
                                first_left = left
                    if go == 3:
                        break
                    node = forest.node[node, LEFT] if go == 1 else forest.node[node, RIGHT]
                if j < 0 and parent < 0:
                    constant[model] += forest.value[node]
                    continue
                if parent < 0:
                    root[n_roots] = n_nodes
                    n_roots += 1
                else:
                    node_out[parent, LEFT + side] = n_nodes
                if j >= 0 and a < n_runs and slope[j] == MIXED:  # one test wherever the sides change
                    p, left = 1, first_left
                    while p < active.table[a, SIZE]:
                        here = goes_left(forest, space.categorical, node, moves.cell[moves.cell_at[j] + p])
                        if here != left:
                            if n_nodes == len(value):
                                node_out, value = taller(node_out), longer(value)
                            if n_entries + 2 > len(entry):
                                entry = taller(entry)
                            node_out[n_nodes, FEATURE], node_out[n_nodes, CUT] = a, p
                            entry[n_entries, 0] = forest.node[node, LEFT] if left else forest.node[node, RIGHT]
                            entry[n_entries, 1], entry[n_entries, 2] = n_nodes, 0
                            n_entries += 1
                            n_nodes += 1
                            node_out[n_nodes - 1, RIGHT] = n_nodes  # the next of the chain, unless this is the last
                            left = here
                        p += 1
                    entry[n_entries, 0] = forest.node[node, LEFT] if left else forest.node[node, RIGHT]
                    entry[n_entries, 1], entry[n_entries, 2] = n_nodes - 1, 1
                    n_entries += 1
                    continue
                if n_nodes == len(value):
                    node_out, value = taller(node_out), longer(value)
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
                swap = not first_left and a < n_runs
                entry[n_entries, 0] = forest.node[node, LEFT] if swap else forest.node[node, RIGHT]
                entry[n_entries, 1], entry[n_entries, 2] = n_nodes, 1
                entry[n_entries + 1, 0] = forest.node[node, RIGHT] if swap else forest.node[node, LEFT]
                entry[n_entries + 1, 1], entry[n_entries + 1, 2] = n_nodes, 0
                n_entries += 2
                n_nodes += 1
        part[model + 1] = n_roots
    return Residual(node_out, value, root[:n_roots], part, sets, constant)


@inner
def first_member(words: np.ndarray, row: int, place: int, n_words: int) -> int:
    """Lowest position in a set; -1 when it is empty."""
    for w in range(n_words):
        if words[row, place + w] != NONE:
            return 64 * w + first_bit(words[row, place + w])
    return -1
