"""Several tree ensembles as one forest whose tests are on cells of the features of the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..models.trees import Trees
from ..search.forest import Forest

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A column of a model that a feature fills."""

    model: int
    column: int
    table: np.ndarray | None  # float64[n_levels], the model's number of each level, NaN: unknown; None: as it is

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Return what the model's matrix holds for values of the search (numbers or positions; NaN missing)."""
        if self.table is None:
            return values
        known = ~np.isnan(values)
        out = np.full(len(values), np.nan)
        out[known] = self.table[values[known].astype(np.int64)]
        return out


def raw_thresholds(trees: Trees) -> np.ndarray:
    """Return each node's threshold for raw doubles: ``x >= it`` is what the library decides after its own rounding.

    Of a threshold on ``float32(x)`` it is the smallest double that rounds to at least the threshold: the middle
    between the threshold and the float32 before, which rounds to the one whose last bit is 0.

    Examples
    --------
    >>> from recourse.models.base import Column
    >>> one = np.array([1.0])
    >>> stump = Trees((Column("x"),), np.array([0]), one, np.array([-1]), np.zeros((0, 1), bool), np.array([False]),
    ...     np.array([0]), np.array([0]), one, np.array([0]), 0.0, cast_single=True)
    >>> float(raw_thresholds(stump)[0]) == 1.0 - 2.0**-25, float(np.float32(1.0 - 2.0**-25))
    (True, 1.0)
    """
    t = trees.threshold
    if not trees.cast_single:
        return t
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        upper = t.astype(np.float32)
        short = upper.astype(np.float64) < t
        upper[short] = np.nextafter(upper[short], np.float32(np.inf))
        below = np.nextafter(upper, np.float32(-np.inf))
        # beyond the largest float32 the next one would be 2^128
        high = np.where(np.isposinf(upper), 2.0**128, upper.astype(np.float64))
        low = np.where(np.isneginf(below), -(2.0**128), below.astype(np.float64))
        middle = low / 2 + high / 2
        reaches = middle.astype(np.float32) >= upper
    out = np.where(reaches, middle, np.nextafter(middle, np.inf))
    return np.where(np.isfinite(t) | np.isposinf(t), out, t)


def thresholds_of(trees: Sequence[Trees], sources: Sequence[Source]) -> np.ndarray:
    """Return the ascending thresholds on raw doubles that models put on one feature."""
    parts = [np.empty(0)]
    for source in sources:
        core = trees[source.model]
        mine = (core.feature == source.column) & (core.members < 0)
        parts.append(raw_thresholds(core)[mine])
    return np.unique(np.concatenate(parts))


def join(
    trees: Sequence[Trees],
    sources: Sequence[Sequence[Source]],
    thresholds: Sequence[np.ndarray],
    categorical: np.ndarray,
) -> Forest:
    """Return the models' trees, in order, with tests on cells.

    Parameters
    ----------
    trees : sequence of Trees
    sources : sequence of sequences of Source
        For each feature of the search, the columns that it fills; every column that a tree tests is in one.
    thresholds : sequence of float64[...]
        For each feature that is not categorical, its cells.
    categorical : uint8[n_features]
        Features whose cells are positions of levels: all tests on them become sets.
    """
    width = max([1, *(len(s.table) for part in sources for s in part if s.table is not None)])
    sets = _Sets(width)
    nodes, values, roots, part, offset = [], [], [], [0], 0
    owners: list[dict[int, tuple[int, Source]]] = [{} for _ in trees]
    for j, group in enumerate(sources):
        for source in group:
            owners[source.model][source.column] = (j, source)
    for core, owner in zip(trees, owners, strict=True):
        feature, cut = _tests(core, owner, thresholds, categorical, sets)
        left, right = core.left.astype(np.int64) + offset, core.right.astype(np.int64) + offset
        nodes.append(np.stack([feature, cut, left, right, core.missing_left], axis=1).astype(np.int32))
        values.append(core.value)
        roots.append(core.roots.astype(np.int64) + offset)
        part.append(part[-1] + core.n_trees)
        offset += len(core.value)
    return Forest(
        node=np.ascontiguousarray(np.concatenate(nodes), dtype=np.int32),
        sets=sets.array(),
        value=np.ascontiguousarray(np.concatenate(values), dtype=np.float64),
        root=np.ascontiguousarray(np.concatenate(roots), dtype=np.int32),
        part=np.array(part, np.int64),
        base=np.array([t.base for t in trees], np.float64),
        divisor=np.array([t.divisor for t in trees], np.float64),
        eps=np.array([t.eps for t in trees], np.float64),
        single=np.array([t.single for t in trees], np.uint8),
    )


def _tests(
    core: Trees,
    owner: Mapping[int, tuple[int, Source]],
    thresholds: Sequence[np.ndarray],
    categorical: np.ndarray,
    sets: _Sets,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the feature and the cut (or set) of each node."""
    feature, cut = np.full(len(core.feature), -1, np.int64), np.zeros(len(core.feature), np.int64)
    raw = raw_thresholds(core)
    for column in np.unique(core.feature[core.feature >= 0]).tolist():
        j, source = owner[column]
        mine = np.flatnonzero(core.feature == column)
        feature[mine] = j
        if categorical[j]:
            cut[mine] = sets.add(_goes_left(core, raw, mine, source))
        else:
            cut[mine] = np.searchsorted(thresholds[j], raw[mine]) + 1
    return feature, cut


def _goes_left(core: Trees, raw: np.ndarray, mine: np.ndarray, source: Source) -> np.ndarray:
    """Return bool[n_nodes, n_levels], which levels go left; one that the model does not know is in no set."""
    assert source.table is not None
    known = ~np.isnan(source.table)
    out = np.zeros((len(mine), len(known)), np.bool_)
    listed = core.members[mine] >= 0
    numbers = source.table[known]
    if listed.any():
        code = numbers.astype(np.int64)
        inside = (numbers >= 0) & (numbers < core.sets.shape[1])
        chosen = core.sets[core.members[mine[listed]]][:, np.where(inside, code, 0)] & inside
        out[np.ix_(listed, known)] = chosen
    out[np.ix_(~listed, known)] = ~(numbers[None, :] >= raw[mine[~listed], None])
    return out


class _Sets:
    """Sets of levels, each kept once."""

    def __init__(self, width: int) -> None:
        self._width, self._number, self._rows = width, dict[bytes, int](), list[np.ndarray]()

    def add(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of each row."""
        wide = np.zeros((len(rows), self._width), np.bool_)
        wide[:, : rows.shape[1]] = rows
        out = np.empty(len(rows), np.int64)
        for i, row in enumerate(wide):
            key = row.tobytes()
            if key not in self._number:
                self._number[key] = len(self._rows)
                self._rows.append(row)
            out[i] = self._number[key]
        return out

    def array(self) -> np.ndarray:
        return np.array(self._rows, dtype=np.bool_).reshape(len(self._rows), self._width)
