"""Trees on what a pipeline computes, rewritten as trees on its raw columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .base import Column
from .trees import Trees

_CHUNK = 1 << 22  # cells of (test, piece) that are decided together


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What one raw column gives: an output's value for each piece or code, and last for a missing value.

    `borders` is where the pieces of a column of numbers begin, but for the first; None for levels. `value` is what the
    output is at the first number of each piece, `last` at the last one.
    """

    column: int  # place among the raw columns of the model
    borders: np.ndarray | None
    value: np.ndarray  # float64[n_pieces or n_codes, plus 1]
    last: np.ndarray | None = None  # float64[n_pieces]

    @property
    def stepped(self) -> bool:
        """Whether the output is constant on each piece."""
        return self.last is None or np.array_equal(self.value[:-1], self.last, equal_nan=True)


@dataclass(slots=True, eq=False)
class _Tests:
    """The distinct tests of an ensemble, and what becomes of each; arrays over tests."""

    feature: np.ndarray  # the output that is tested
    threshold: np.ndarray
    members: np.ndarray
    missing_left: np.ndarray  # of NaN among the outputs
    kind: np.ndarray  # what the node becomes: GONE, MISSING, BORDER, CHAIN or SET
    swap: np.ndarray  # bool, children change places
    number: np.ndarray  # float64, the border
    row: np.ndarray  # int64, the set or the chain
    left: np.ndarray  # bool, GONE and MISSING: whether what is not missing goes left
    missing: np.ndarray  # bool, whether a missing raw value goes left (before children change places)


GONE, MISSING, BORDER, CHAIN, SET = range(5)


def rewrite(trees: Trees, tables: Mapping[int, Table], columns: Sequence[Column]) -> tuple[Trees, np.ndarray]:
    """Return the trees with tests on raw columns, and the node of the old trees that each new one stands for.

    A test becomes one on the raw column that its output is computed from: a threshold where its outcome changes once
    along the pieces, a chain of thresholds where it changes more often, a set where the column has levels. Missing
    values go where the value that they are replaced by goes. A test whose outcome never changes falls away.

    Parameters
    ----------
    trees : Trees
        On the outputs.
    tables : mapping
        Output to its table, on whose pieces every test has one outcome.
    columns : sequence of Column
        The raw columns.
    """
    tests, which = _distinct(trees)
    sets: dict[bytes, int] = {}
    rows: list[np.ndarray] = []
    chains: list[tuple[np.ndarray, np.ndarray, bool]] = []
    width = max([1, *(column.n_codes for column in columns)])
    for c in np.unique(tests.feature).tolist():
        mine = np.flatnonzero(tests.feature == c)
        table = tables[c]
        step = max(1, _CHUNK // len(table.value))
        for begin in range(0, len(mine), step):
            part = mine[begin : begin + step]
            left = _left(trees, tests, part, table.value)
            tests.missing[part] = left[:, -1]
            if table.borders is None:
                _as_sets(tests, part, left[:, :-1], sets, rows, width)
            else:
                _as_borders(tests, part, left[:, :-1], table.borders, chains)
    return _rebuilt(trees, tests, which, tables, chains, np.array(rows, dtype=bool).reshape(len(rows), width), columns)


def _distinct(trees: Trees) -> tuple[_Tests, np.ndarray]:
    """The distinct tests, and for each node its own (-1 at leaves)."""
    at = np.flatnonzero(trees.feature >= 0)
    bits = np.where(trees.members[at] >= 0, 0.0, trees.threshold[at]).view(np.int64)
    key = np.stack([trees.feature[at], trees.members[at], bits, trees.missing_left[at]], axis=1).astype(np.int64)
    found, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    which = np.full(len(trees.feature), -1, dtype=np.int64)
    which[at] = inverse.reshape(-1)
    n, node = len(found), at[first]
    tests = _Tests(
        trees.feature[node], trees.threshold[node], trees.members[node], trees.missing_left[node],
        np.full(n, GONE), np.zeros(n, bool), np.full(n, np.nan), np.full(n, -1), np.zeros(n, bool), np.zeros(n, bool),
    )  # fmt: skip
    return tests, which


def _left(trees: Trees, tests: _Tests, part: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Whether each value goes left in each of the tests: bool[n_tests, n_values]."""
    out = np.empty((len(part), len(value)), dtype=bool)
    listed = tests.members[part] >= 0
    with np.errstate(over="ignore", invalid="ignore"):
        seen = value.astype(np.float32).astype(np.float64) if trees.cast_single else value
        out[~listed] = ~(seen[None, :] >= tests.threshold[part[~listed], None])
    if listed.any():
        known = (value >= 0) & (value < trees.sets.shape[1])
        code = np.where(known, value, 0).astype(np.int64)
        out[listed] = trees.sets[tests.members[part[listed]]][:, code] & known
    missing = np.isnan(value)
    out[:, missing] = tests.missing_left[part, None]
    return out


def _as_sets(
    tests: _Tests, part: np.ndarray, left: np.ndarray, sets: dict[bytes, int], rows: list[np.ndarray], width: int
) -> None:
    constant = (left == left[:, :1]).all(axis=1) if left.shape[1] else np.ones(len(part), dtype=bool)
    for i, k in enumerate(part):
        if constant[i] and (not left.shape[1] or left[i, 0] == tests.missing[k]):
            tests.kind[k], tests.left[k] = GONE, tests.missing[k]
            continue
        row = np.zeros(width, dtype=bool)
        row[: left.shape[1]] = left[i]
        tests.kind[k], tests.row[k] = SET, sets.setdefault(row.tobytes(), len(rows))
        if tests.row[k] == len(rows):
            rows.append(row)


def _as_borders(
    tests: _Tests,
    part: np.ndarray,
    left: np.ndarray,
    borders: np.ndarray,
    chains: list[tuple[np.ndarray, np.ndarray, bool]],
) -> None:
    change = left[:, 1:] != left[:, :-1]
    times = change.sum(axis=1)
    first = left[:, 0]
    tests.left[part] = first
    tests.kind[part] = np.where(times == 0, np.where(first == tests.missing[part], GONE, MISSING), BORDER)
    once = part[times == 1]
    tests.number[once] = borders[np.argmax(change[times == 1], axis=1)]
    tests.swap[once] = ~first[times == 1]  # small numbers go right
    for i in np.flatnonzero(times > 1):
        tests.kind[part[i]], tests.row[part[i]] = CHAIN, len(chains)
        at = np.flatnonzero(change[i])
        chains.append((borders[at], left[i, np.append(at, at[-1] + 1)], bool(tests.missing[part[i]])))


def _rebuilt(
    trees: Trees,
    tests: _Tests,
    which: np.ndarray,
    tables: Mapping[int, Table],
    chains: Sequence[tuple[np.ndarray, np.ndarray, bool]],
    sets: np.ndarray,
    columns: Sequence[Column],
) -> tuple[Trees, np.ndarray]:
    n = len(trees.feature)
    inner = which >= 0
    column = np.array([tables[c].column for c in tests.feature.tolist()], dtype=np.int32)
    kind = np.where(inner, tests.kind[which], -1) if len(tests.kind) else np.full(n, -1)
    nodes = _Nodes(
        feature=np.where(inner, _of(column, which), -1).astype(np.int64),
        threshold=np.full(n, np.nan),
        members=np.full(n, -1),
        missing_left=np.zeros(n, bool),
        left=trees.left.astype(np.int64),
        right=trees.right.astype(np.int64),
        value=trees.value.copy(),
        origin=np.arange(n),
    )
    swap = inner & _of(tests.swap, which)
    # what is missing only: numbers pass the threshold and go right
    lonely = kind == MISSING
    swap |= lonely & _of(tests.left, which)
    nodes.left[swap], nodes.right[swap] = trees.right[swap], trees.left[swap]
    nodes.missing_left[inner] = (_of(tests.missing, which) ^ swap)[inner]
    nodes.threshold[kind == BORDER] = _of(tests.number, which)[kind == BORDER]
    nodes.threshold[lonely] = -np.inf
    nodes.members[kind == SET] = _of(tests.row, which)[kind == SET]
    for at in np.flatnonzero(kind == CHAIN).tolist():
        borders, left, missing = chains[int(tests.row[which[at]])]
        nodes.chain(at, borders, left, missing)
    nodes.append()
    instead = np.arange(len(nodes.feature))
    gone = np.flatnonzero(kind == GONE)
    instead[gone] = np.where(tests.left[which[gone]], trees.left[gone], trees.right[gone])
    while True:
        further = instead[instead]
        if np.array_equal(further, instead):
            break
        instead = further
    roots = instead[trees.roots.astype(np.int64)]
    ends = nodes.feature < 0
    nodes.left = np.where(ends, -1, instead[np.maximum(nodes.left, 0)])
    nodes.right = np.where(ends, -1, instead[np.maximum(nodes.right, 0)])
    kept, place = nodes.reached(roots)
    core = replace(
        trees,
        columns=tuple(columns),
        feature=nodes.feature[kept].astype(np.int32),
        threshold=nodes.threshold[kept],
        members=nodes.members[kept].astype(np.int32),
        sets=sets,
        missing_left=nodes.missing_left[kept],
        left=np.where(ends[kept], -1, place[np.maximum(nodes.left[kept], 0)]).astype(np.int32),
        right=np.where(ends[kept], -1, place[np.maximum(nodes.right[kept], 0)]).astype(np.int32),
        value=nodes.value[kept],
        roots=place[roots].astype(np.int32),
        cast_single=False,
    )
    return core, nodes.origin[kept]


def _of(values: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Each node's entry in an array over tests; anything at leaves."""
    return values[which] if len(values) else np.zeros(len(which), dtype=values.dtype)


@dataclass(slots=True, eq=False)
class _Nodes:
    """Arrays of nodes, and what is to be appended to them."""

    feature: np.ndarray
    threshold: np.ndarray
    members: np.ndarray
    missing_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    origin: np.ndarray
    more: list[list[float]] = field(default_factory=list)  # feature, threshold, missing_left, left, right, origin

    def chain(self, at: int, borders: np.ndarray, left: np.ndarray, missing: bool) -> None:
        """Replace a node by a balanced tree of thresholds; sides alternate from piece to piece."""
        ends = (int(self.right[at]), int(self.left[at]))

        def grow(low: int, high: int, own: int | None) -> int:
            """Return the node of pieces low..high; `own` is its number if it has one already."""
            if low == high:
                return ends[int(left[low])]
            number = own
            if number is None:
                number = len(self.feature) + len(self.more)
                self.more.append([])
            middle = (low + high + 1) // 2
            a, b = grow(low, middle - 1, None), grow(middle, high, None)
            # both sides occur in any two neighbouring pieces: a missing value finds its own below, or here
            to_left = low < middle - 1 or bool(left[low]) == missing
            border = float(borders[middle - 1])
            if own is None:
                self.more[number - len(self.feature)] = [self.feature[at], border, to_left, a, b, self.origin[at]]
            else:
                self.threshold[at], self.missing_left[at], self.left[at], self.right[at] = border, to_left, a, b
            return number

        grow(0, len(left) - 1, at)

    def append(self) -> None:
        """Put what is to be appended at the end."""
        if not self.more:
            return
        more, n = np.array(self.more), len(self.more)
        self.feature = np.append(self.feature, more[:, 0].astype(np.int64))
        self.threshold = np.append(self.threshold, more[:, 1])
        self.members = np.append(self.members, np.full(n, -1))
        self.missing_left = np.append(self.missing_left, more[:, 2] > 0)
        self.left = np.append(self.left, more[:, 3].astype(np.int64))
        self.right = np.append(self.right, more[:, 4].astype(np.int64))
        self.value = np.append(self.value, np.zeros(n))
        self.origin = np.append(self.origin, more[:, 5].astype(np.int64))
        self.more = []

    def reached(self, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The nodes that are still in a tree, tree by tree, and the new place of each."""
        tree = np.full(len(self.feature), -1, dtype=np.int64)
        level, label = roots, np.arange(len(roots))
        while len(level):
            tree[level] = label
            inner = self.feature[level] >= 0
            level, label = level[inner], label[inner]
            level = np.concatenate([self.left[level], self.right[level]])
            level, first = np.unique(level, return_index=True)
            label = np.concatenate([label, label])[first]
        # a root stands before the rest of its tree
        rank = np.ones(len(tree), dtype=np.int64)
        rank[roots] = 0
        order = np.lexsort((np.arange(len(tree)), rank, tree))
        kept = order[tree[order] >= 0]
        place = np.full(len(tree), -1, dtype=np.int64)
        place[kept] = np.arange(len(kept))
        return kept, place
