"""An additive model under the whole language: its weights and curves as tables of what one applicant can reach.

Bins, levels and pairs are trees for all applicants alike. A weight (or a curve) tells every two numbers apart, so what
it adds is tabulated for each applicant by himself: over the values of the feature, or where the feature follows from
others (a formula, an effect, the months) over the values of those. The tables are trees again, and the search is that
for trees. Whether a plan within rounding of the threshold is approved is the library's to say: see `Alone.slack`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import PolicyError
from ..models.additive import Additive, Term
from ..search.forest import CUT, FEATURE, LEFT, MISSING_LEFT, RIGHT, Forest
from ..search.moves import MISSING, Rows, Space
from .stepped import Planter, is_smooth, stepped

if TYPE_CHECKING:
    from ..models.trees import Trees
    from . import Encoded, Problem
    from .layout import Slot, Wiring

MOST_VALUES = 4_096  # of one feature that one applicant can reach
MOST_POINTS = 65_536  # of all features that a column follows from, together


class Alone(NamedTuple):
    """One applicant's own problem; row 0 of `rows`."""

    forest: Forest
    space: Space
    rows: Rows
    slack: np.ndarray  # float64[n_models], bound on |our raw score - the library's|; 0 where ours is exact


class _Part(NamedTuple):
    """A smooth term of a model."""

    model: int
    term: Term
    slot: int


@dataclass(frozen=True, slots=True, eq=False)
class Tabulated:
    """What an additive model adds beyond the trees that all applicants share."""

    cores: tuple[Additive | None, ...]  # of each model; None for trees
    constant: tuple[_Part, ...]  # terms of what no plan changes
    tables: tuple[tuple[tuple[int, ...], tuple[_Part, ...]], ...]  # features that are chosen, what follows from them

    @property
    def smooth(self) -> frozenset[int]:
        """The features whose every value is told apart."""
        return frozenset(j for axes, _ in self.tables for j in axes)

    def shadowed(self, wiring: Wiring) -> list[int]:
        """Return those whose state is not what is chosen: trees see the one, and need the other as well."""
        return [j for j in sorted(self.smooth) if wiring.program[j] >= 0]


def divided(cores: Sequence[Trees | Additive], slots: Sequence[Slot], wiring: Wiring) -> tuple[list[Trees], Tabulated]:
    """Return the trees of each model that all applicants share, and the rest."""
    additive = tuple(core if isinstance(core, Additive) else None for core in cores)
    owner = {(s.model, s.column): j for j, slot in enumerate(slots) for s in slot.sources}
    trees: list[Trees] = []
    constant: list[_Part] = []
    tables: dict[tuple[int, tuple[int, ...]], list[_Part]] = {}
    for k, core in enumerate(cores):
        if not isinstance(core, Additive):
            trees.append(core)
            continue
        listed = {
            s.column: s.table for slot in slots for s in slot.sources if s.model == k and s.table is not None
        }  # fmt: skip
        trees.append(stepped(core, listed))
        for term in core.terms:
            if is_smooth(term) and term.column not in listed:
                j = owner[k, term.column]
                axes = _axes(j, slots, wiring)
                part = _Part(k, term, j)
                if axes:
                    tables.setdefault((k, axes), []).append(part)
                else:
                    constant.append(part)
    for axes in {axes for _, axes in tables}:
        for j in axes:
            _require_grid(slots[j])
    rest = Tabulated(additive, tuple(constant), tuple((axes, tuple(parts)) for (_, axes), parts in tables.items()))
    return trees, rest


def _axes(j: int, slots: Sequence[Slot], wiring: Wiring) -> tuple[int, ...]:
    """Return the features that are chosen and decide the state of feature j."""
    k = int(wiring.program[j])
    reads = [j] if k < 0 else wiring.dep[wiring.dep_start[k] : wiring.dep_start[k + 1]].tolist()
    return tuple(d for d in reads if slots[d].chosen)


def _require_grid(slot: Slot) -> None:
    if not slot.listed and slot.feature.step is None:
        raise PolicyError(
            f"features.{slot.name}: a linear model tells every two numbers apart, so the feature needs a step. "
            "Add for example `step = 1`."
        )


# ------------------------------------------------------------------------------------------------------------- one row


def alone(problem: Problem, encoded: Encoded, r: int) -> Alone:
    """Return row r's own problem: the shared trees, with its tables as further ones.

    Raises
    ------
    PolicyError
        If the row can reach too many values; names the feature and the remedy.
    """
    rest, old = problem.tabulated, problem.forest
    assert rest is not None
    assert old is not None
    start = encoded.rows.value[r]
    reach = {j: _reach(problem, encoded.rows, r, j) for j in sorted(rest.smooth)}
    shown = {slot.copies: j for j, slot in enumerate(problem.slots) if slot.copies >= 0}
    told = {shown.get(j, j): values for j, values in reach.items()}  # by the features that trees test
    space = _finer(problem, told)
    base, size = old.base.copy(), np.zeros(len(rest.cores))
    own = problem.scored_matrices(encoded, np.array([r]), start[None])
    for part in rest.constant:
        adds = float(part.term.at(own[part.model][:, part.term.column])[0])
        base[part.model] += adds
        size[part.model] += abs(adds)
    planted: list[tuple[int, Planter]] = []
    for axes, parts in rest.tables:
        table = _table(problem, encoded, r, axes, parts, reach)
        planter = Planter()
        tested = tuple(shown.get(j, j) for j in axes)
        planter.roots.append(_plant(planter, table, tested, [reach[j] for j in axes], problem.slots))
        planted.append((parts[0].model, planter))
    forest, slack = with_rounding(_grown(old, problem.space, space, base, planted), rest, size)
    rows = Rows(*(part[r : r + 1] for part in encoded.rows))
    cell = rows.cell.copy()
    for j in told:
        if not space.categorical[j]:
            cell[0, j] = _cell(space, j, float(rows.value[0, j]))
    return Alone(forest, space, rows._replace(cell=cell), slack)


def with_rounding(forest: Forest, rest: Tabulated, size: np.ndarray) -> tuple[Forest, np.ndarray]:
    """Return the forest with the additive models' rounding, and with what refused values add in place of NaN.

    `size` is float64[n_models], the sizes of what the base holds beside the intercept. What a model refuses adds so
    little that no row with it is approved. The second part is `Alone.slack`.
    """
    value, eps, slack = forest.value.copy(), forest.eps.copy(), np.zeros(len(forest.eps))
    for k, core in enumerate(rest.cores):
        if core is None:
            continue
        trees = [_leaves(forest, int(root)) for root in forest.root[forest.part[k] : forest.part[k + 1]]]
        total = abs(core.intercept) + core.scale + float(size[k])
        total += sum(float(np.nanmax(np.abs(value[leaves]), initial=0.0)) for leaves in trees)
        for leaves in trees:
            value[leaves[np.isnan(value[leaves])]] = -(4.0 * total + 1.0)
        slack[k] = 8.0 * (len(core.terms) + len(core.pairs) + 2) * core.unit * total
        eps[k] = 8.0 * slack[k]  # sums that hold refused values are larger
    return forest._replace(value=value, eps=eps), slack


def _leaves(forest: Forest, root: int) -> np.ndarray:
    found, stack = [], [root]
    while stack:
        node = stack.pop()
        if forest.node[node, FEATURE] < 0:
            found.append(node)
        else:
            stack += [int(forest.node[node, LEFT]), int(forest.node[node, RIGHT])]
    return np.array(found, np.int64)


def _reach(problem: Problem, rows: Rows, r: int, j: int) -> np.ndarray:
    """Return all values of feature j that row r can have, ascending; NaN, missing, at the end."""
    space, slot, start = problem.space, problem.slots[j], float(rows.value[r, j])
    found = [np.array([start])]
    if rows.movable[r, j]:
        place = _place(space, slot, j, start)
        if place is None:
            found.append(_grid(slot, rows, r, j, start))
        else:
            part = slice(int(space.list_start[place]), int(space.list_start[place + 1]))
            found.append(space.list_value[part])
            if np.any(space.list_until[part] > space.list_value[part]):  # any value may be provided
                some = np.arange(len(slot.levels), dtype=np.float64) if slot.levels is not None else None
                found.append(_grid(slot, rows, r, j, np.nan) if some is None else some)
    return np.unique(np.concatenate(found))


def _place(space: Space, slot: Slot, j: int, start: float) -> int | None:
    """Return the place of a level, a code or a missing value; None for a number of the grid."""
    first, end = int(space.level_start[j]), int(space.level_start[j + 1])
    if np.isnan(start):
        return end - 1
    if slot.listed:
        return first + int(start)
    codes = list(slot.feature.code_values)
    return first + codes.index(start) if start in codes else None


def _grid(slot: Slot, rows: Rows, r: int, j: int, start: float) -> np.ndarray:
    """Return the permitted values of the grid on the permitted side of a start (NaN: all)."""
    first, last = int(rows.outer_first[r, j]), int(rows.outer_last[r, j])
    origin, stride, scale = (int(part[r, j]) for part in (rows.origin, rows.stride, rows.scale))
    if not np.isnan(start) and slot.feature.change != "any":
        home = int(np.clip(np.floor((start * scale - origin) / stride), -(2.0**52), 2.0**52))
        first, last = (max(first, home - 1), last) if slot.feature.change == "up" else (first, min(last, home + 2))
    if last - first >= MOST_VALUES:
        raise PolicyError(
            f"features.{slot.name}: more than {MOST_VALUES:,} values of the grid are within reach of an applicant, and "
            "an additive model tells all of them apart. Give the feature bounds, a max_change or a coarser step."
        )
    x = (origin + np.arange(first, last + 1) * stride).astype(np.float64) / float(scale)
    x = x[~np.isin(x, np.array(slot.feature.code_values))]
    if np.isnan(start) or slot.feature.change == "any":
        return x
    return x[x > start] if slot.feature.change == "up" else x[x < start]


def _table(
    problem: Problem,
    encoded: Encoded,
    r: int,
    axes: tuple[int, ...],
    parts: Sequence[_Part],
    reach: dict[int, np.ndarray],
) -> np.ndarray:
    """Return what smooth terms add at every combination of the values of some features."""
    shape = tuple(len(reach[j]) for j in axes)
    points = int(np.prod([float(n) for n in shape]))
    if points > MOST_POINTS:
        names = " and ".join(problem.names[j] for j in axes)
        raise PolicyError(
            f"features.{problem.names[parts[0].slot]}: follows from {names}, of which an applicant can reach "
            f"{points:,} combinations, and the additive model tells all of them apart; at most {MOST_POINTS:,} "
            "can be searched. "
            "Use coarser steps or narrower bounds, or a model that bins the feature (a scorecard, trees)."
        )
    values = np.repeat(encoded.rows.value[r : r + 1], points, axis=0)
    for j, part in zip(axes, np.meshgrid(*(reach[j] for j in axes), indexing="ij"), strict=True):
        values[:, j] = part.ravel()
    matrix = problem.scored_matrices(encoded, np.full(points, r), values)[parts[0].model]
    total = np.zeros(points)
    for part in parts:
        total += part.term.at(matrix[:, part.term.column])
    return total.reshape(shape)


def _plant(
    planter: Planter, table: np.ndarray, axes: tuple[int, ...], values: Sequence[np.ndarray], slots: Sequence[Slot]
) -> int:
    """Write a table as a tree over features of the search, equal blocks as one leaf."""
    if np.all(table == table.flat[0]) or np.all(np.isnan(table)):
        return planter.leaf(float(table.flat[0]))
    a = int(np.argmax(table.shape))
    j, x = axes[a], values[a]

    def below(part: slice) -> int:
        inside = table[(slice(None),) * a + (part,)]
        return _plant(planter, inside, axes, [*values[:a], x[part], *values[a + 1 :]], slots)

    if np.isnan(x[-1]):  # a block of one value is split along the others
        return planter.missing_or(j, lambda: below(slice(len(x) - 1, None)), lambda: below(slice(0, len(x) - 1)))
    half = len(x) // 2
    levels = slots[j].levels
    if levels is None:
        return planter.split(j, float(x[half]), lambda: below(slice(0, half)), lambda: below(slice(half, None)))
    chosen = np.zeros(len(levels), np.bool_)
    chosen[x[:half].astype(np.int64)] = True
    return planter.choose(j, chosen, lambda: below(slice(0, half)), lambda: below(slice(half, None)))


def _finer(problem: Problem, reach: dict[int, np.ndarray]) -> Space:
    """Return the space with a cell for each value within reach."""
    space = problem.space
    bounds = zip(space.threshold_start[:-1], space.threshold_start[1:], strict=True)
    thresholds = [space.threshold[a:b] for a, b in bounds]
    for j, values in reach.items():
        if not space.categorical[j]:
            cuts = values[~np.isnan(values)]
            missing = [-np.inf] if len(cuts) < len(values) else []
            thresholds[j] = np.unique(np.concatenate([thresholds[j], missing, cuts[1:]]))
    starts = np.concatenate([[0], np.cumsum([len(part) for part in thresholds])]).astype(np.int64)
    finer = space._replace(threshold_start=starts, threshold=np.concatenate([np.empty(0), *thresholds]))
    cell = space.list_cell.copy()
    for j in reach:
        if not space.categorical[j] and not space.listed[j]:
            first, last = space.list_start[space.level_start[j]], space.list_start[space.level_start[j + 1]]
            for k in range(int(first), int(last)):
                cell[k] = _cell(finer, j, float(space.list_value[k]))
    return finer._replace(list_cell=cell)


def _cell(space: Space, j: int, x: float) -> int:
    if np.isnan(x):
        return MISSING
    thresholds = space.threshold[space.threshold_start[j] : space.threshold_start[j + 1]]
    return int(np.searchsorted(thresholds, x, side="right"))


def _grown(
    old: Forest, before: Space, after: Space, base: np.ndarray, planted: Sequence[tuple[int, Planter]]
) -> Forest:
    """Return a forest with further trees, its tests on the finer cells."""
    node = old.node.copy()
    for j in range(len(after.listed)):
        part = slice(int(before.threshold_start[j]), int(before.threshold_start[j + 1]))
        if (
            not after.categorical[j]
            and after.threshold_start[j + 1] - after.threshold_start[j] > part.stop - part.start
        ):
            mine = np.flatnonzero(node[:, FEATURE] == j)
            cuts = before.threshold[part][node[mine, CUT] - 1]
            node[mine, CUT] = _number(after, j, cuts)
    nodes, values, sets = [node], [old.value], list(old.sets)
    roots = [list(old.root[a:b]) for a, b in zip(old.part[:-1], old.part[1:], strict=True)]
    offset, width = len(old.value), max([old.sets.shape[1], *(len(s) for _, p in planted for s in p.sets)])
    for k, planter in planted:
        new = np.zeros((len(planter.feature), 5), np.int32)
        new[:, FEATURE], new[:, MISSING_LEFT] = planter.feature, planter.missing
        new[:, LEFT], new[:, RIGHT] = np.array(planter.left) + offset, np.array(planter.right) + offset
        threshold, members = np.array(planter.threshold), np.array(planter.members)
        new[members >= 0, CUT] = members[members >= 0] + len(sets)
        sets += planter.sets
        for j in np.unique(new[new[:, FEATURE] >= 0, FEATURE]).tolist():
            mine = np.flatnonzero((new[:, FEATURE] == j) & (members < 0))
            if after.categorical[j]:  # whether it is missing: a set of no level
                new[mine, CUT] = len(sets)
                sets.append(np.zeros(width, np.bool_))
            else:
                new[mine, CUT] = _number(after, j, threshold[mine])
        roots[k] += [root + offset for root in planter.roots]
        nodes.append(new)
        values.append(np.array(planter.value))
        offset += len(planter.value)
    table = np.zeros((len(sets), width), np.bool_)
    for i, row in enumerate(sets):
        table[i, : len(row)] = row
    return old._replace(
        node=np.concatenate(nodes), sets=table, value=np.concatenate(values), base=base,
        root=np.array([root for part in roots for root in part], np.int32),
        part=np.concatenate([[0], np.cumsum([len(part) for part in roots])]).astype(np.int64),
    )  # fmt: skip


def _number(space: Space, j: int, thresholds: np.ndarray) -> np.ndarray:
    """Return the cuts of tests for thresholds of feature j."""
    mine = space.threshold[space.threshold_start[j] : space.threshold_start[j + 1]]
    return np.searchsorted(mine, thresholds) + 1
