"""What all applicants share of a policy: the places of features, the moves between them, and their prices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import PolicyError
from ..search.moves import BOX, MISSING, ORTHANT, POINT, Space
from .joining import Source
from .limits import limits

if TYPE_CHECKING:
    from ..policy import Feature, Policy
    from ..population import Population
    from ..search.programs import Programs
    from .grouping import Group

SHAPES = {"point": POINT, "box": BOX, "orthant": ORTHANT}
WAIT = "wait"


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One feature of the search."""

    name: str
    feature: Feature  # the policy's; of `wait` one that says the same
    group: Group | None  # the columns that spell it
    sources: tuple[Source, ...]  # the models' columns that it fills; none where only expressions read it
    levels: tuple[str | int | float | bool, ...] | None  # the policy's, else those of a model's category
    per_change: float
    copies: int = -1  # the feature whose chosen value this one shows to trees, where that one's own state is another

    @property
    def listed(self) -> bool:
        """Whether values are positions in `levels`."""
        return self.levels is not None

    @property
    def chosen(self) -> bool:
        """Whether a plan chooses its value."""
        return self.feature.movable or self.name == WAIT

    @property
    def known(self) -> np.ndarray:
        """bool[n_levels], levels that every model knows."""
        out = np.ones(len(self.levels or ()), np.bool_)
        for source in self.sources:
            if source.table is not None:
                out &= ~np.isnan(source.table)
        return out


class Wiring(NamedTuple):
    """What expressions compute of features of the search."""

    program: np.ndarray  # int64[n]
    dep_start: np.ndarray  # int64[n_programs + 1]
    dep: np.ndarray
    rule: np.ndarray
    every: np.ndarray  # uint8[n]
    programs: Programs


def level_numbers(levels: Sequence[str | int | float | bool]) -> np.ndarray:
    """Return what expressions see of each level: its number where all are numbers, else its position.

    Examples
    --------
    >>> level_numbers((10, 20)).tolist(), level_numbers(("rent", "own")).tolist()
    ([10.0, 20.0], [0.0, 1.0])
    """
    if any(isinstance(level, str) for level in levels):
        return np.arange(len(levels), dtype=np.float64)
    return np.array([float(level) for level in levels])


def cells_of(thresholds: np.ndarray, categorical: bool, x: np.ndarray) -> np.ndarray:
    """Return the cells of a model's numbers, or of positions where it is categorical; int64[k]."""
    missing = np.isnan(x)
    if categorical:
        return np.where(missing, MISSING, np.nan_to_num(x)).astype(np.int64)
    return np.where(missing, MISSING, np.searchsorted(thresholds, x, side="right")).astype(np.int64)


def lay_out(
    slots: Sequence[Slot],
    thresholds: Sequence[np.ndarray],
    categorical: np.ndarray,
    wiring: Wiring,
    policy: Policy,
    population: Population,
    *,
    shape: str,
    box_steps: int,
) -> Space:
    """Return the arrays that all applicants share."""
    n, cost = len(slots), policy.cost
    weight, unit = np.zeros(n), np.ones(n)
    knots: list[tuple[np.ndarray, np.ndarray]] = []
    for j, slot in enumerate(slots):
        feature = slot.feature
        weight[j] = feature.weight
        knots.append((np.empty(0), np.empty(0)))
        if slot.name == WAIT or not feature.movable or (feature.listed and feature.kind != "ordinal"):
            continue
        if cost.unit == "percentile":
            knots[j] = population.knots(slot.name)
            if not len(knots[j][0]):
                weight[j] = 0.0
        else:
            unit[j] = population.unit(slot.name, cost.unit)
    codes = [np.array([] if s.listed else s.feature.code_values, dtype=np.float64) for s in slots]
    base = Space(
        threshold_start=_starts(thresholds),
        threshold=_joined(thresholds),
        categorical=categorical,
        listed=np.array([s.listed for s in slots], np.uint8),
        direction=np.array([{"any": 0, "up": 1, "down": -1}[s.feature.change] for s in slots], np.int8),
        has_grid=np.array([s.feature.step is not None for s in slots], np.uint8),
        every=wiring.every,
        weight=weight,
        unit=unit,
        per_change=np.array([s.per_change for s in slots], np.float64),
        knot_start=_starts([k[0] for k in knots]),
        knot_value=_joined([k[0] for k in knots]),
        knot_share=_joined([k[1] for k in knots]),
        code_start=_starts(codes),
        code=_joined(codes),
        level_start=np.zeros(n + 1, np.int64),
        level_value=np.empty(0),
        list_start=np.zeros(1, np.int64),
        list_value=np.empty(0),
        list_until=np.empty(0),
        list_cost=np.empty(0, np.int64),
        list_cell=np.empty(0, np.int64),
        program=wiring.program,
        dep_start=wiring.dep_start,
        dep=wiring.dep,
        rule=wiring.rule,
        knockouts=len(policy.decision.knockouts),
        programs=wiring.programs,
        shape=SHAPES[shape],
        box_steps=box_steps,
    )
    return with_lists(base, slots)


class _Entry(NamedTuple):
    """A move in a list; sorted as ties are broken."""

    cost: int
    size: float
    down: bool
    value: float
    until: float
    cell: int


def with_lists(space: Space, slots: Sequence[Slot], *, apart: bool = False) -> Space:
    """Return the space with the moves that are listed; with `apart`, levels in one cell are told apart as well."""
    level_start, level_value = [0], list[float]()
    list_start, entries = [0], list[_Entry]()
    for j, slot in enumerate(slots):
        places: list[tuple[float, Iterator[_Entry]]] = []
        thresholds = space.threshold[space.threshold_start[j] : space.threshold_start[j + 1]]
        if slot.levels is not None:
            cells = level_cells(slot, thresholds, bool(space.categorical[j]))
            seen = level_numbers(slot.levels)
            places += [
                (float(seen[a]), _level_moves(space, j, slot, cells, a)) for a in range(len(slot.levels))
            ]  # fmt: skip
        else:
            places += [(code, _code_moves(slot, thresholds, code)) for code in slot.feature.code_values]
        if slot.feature.movable and slot.feature.provide is not None:
            places.append((np.nan, _provided(space, j, slot, thresholds)))
        keep_all = apart or bool(space.every[j])
        for value, moves in places:
            level_value.append(value)
            entries += _kept(sorted(moves), keep_all)
            list_start.append(len(entries))
        level_start.append(len(level_value))
    return space._replace(
        level_start=np.array(level_start, np.int64),
        level_value=np.array(level_value, np.float64),
        list_start=np.array(list_start, np.int64),
        list_value=np.array([e.value for e in entries], np.float64),
        list_until=np.array([e.until for e in entries], np.float64),
        list_cost=np.array([e.cost for e in entries], np.int64),
        list_cell=np.array([e.cell for e in entries], np.int64),
    )


def level_cells(slot: Slot, thresholds: np.ndarray, categorical: bool) -> np.ndarray:
    """Return the cell of each level: int64[n_levels]."""
    assert slot.levels is not None
    position = np.arange(len(slot.levels), dtype=np.float64)
    if categorical or not slot.sources:
        return cells_of(thresholds, True, position)
    return cells_of(thresholds, False, slot.sources[0].numbers(position))


def _kept(entries: list[_Entry], keep_all: bool) -> list[_Entry]:
    """Return staying, then the first by rank of each cell that a plan can go to."""
    out, cells = entries[:1], {entries[0].cell}
    for entry in entries[1:]:
        if keep_all or entry.until != entry.value or entry.cell not in cells:
            cells.add(entry.cell)
            out.append(entry)
    return out


def _level_moves(space: Space, j: int, slot: Slot, cells: np.ndarray, start: int) -> Iterator[_Entry]:
    yield _Entry(0, -1.0, False, float(start), float(start), int(cells[start]))
    feature = slot.feature
    if not feature.movable:
        return
    known = slot.known
    for target in feature.targets(start):
        if not known[target]:
            continue
        if feature.kind == "ordinal":
            if space.knot_start[j + 1] > space.knot_start[j]:
                values = space.knot_value[space.knot_start[j] : space.knot_start[j + 1]]
                shares = space.knot_share[space.knot_start[j] : space.knot_start[j + 1]]
                size = abs(float(np.interp(target, values, shares)) - float(np.interp(start, values, shares)))
                amount = float(space.weight[j]) * size
            else:
                amount = float(space.weight[j]) * abs(float(target) - float(start)) / float(space.unit[j])
        else:
            amount = float(space.weight[j]) * feature.move_price(start, target)
        micro = round(1e6 * (amount + float(space.per_change[j])))
        yield _Entry(
            micro, float(abs(target - start)), target < start, float(target), float(target), int(cells[target])
        )


def _code_moves(slot: Slot, thresholds: np.ndarray, code: float) -> Iterator[_Entry]:
    feature = slot.feature
    yield _Entry(0, -1.0, False, code, code, int(cells_of(thresholds, False, np.array([code]))[0]))
    if not feature.movable:
        return
    for target, price in feature.code_moves(code):
        micro = round(1e6 * (feature.weight * price + slot.per_change))
        cell = int(cells_of(thresholds, False, np.array([target]))[0])
        yield _Entry(micro, abs(target - code), target < code, target, target, cell)


def _provided(space: Space, j: int, slot: Slot, thresholds: np.ndarray) -> Iterator[_Entry]:
    """Yield staying without a value, then what providing one can be asked to show: any value, or at least so much."""
    feature = slot.feature
    assert feature.provide is not None
    yield _Entry(0, -1.0, False, np.nan, np.nan, MISSING)
    micro = round(1e6 * (feature.weight * feature.provide.cost + slot.per_change))
    values, cells = _admissible(space, j, slot, thresholds)
    if not len(values):
        return
    last = float(values[-1])
    if feature.provide.mode == "any":
        yield _Entry(micro, 0.0, False, float(values[0]), last, int(cells[0]))
        return
    before = None
    for rank, (value, cell) in enumerate(zip(values.tolist(), cells.tolist(), strict=True)):
        if space.every[j] or cell != before:
            yield _Entry(micro, float(rank), False, value, last, cell)
        before = cell


_MOST = 4096  # values that "at least" can be said of, where an expression tells all of them apart


def _admissible(space: Space, j: int, slot: Slot, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that a missing one may turn out to be, ascending, and their cells; the first of each cell.

    The last one is always among them.
    """
    if slot.levels is not None:
        cells = level_cells(slot, thresholds, bool(space.categorical[j]))
        known = np.flatnonzero(slot.known)
        return known.astype(np.float64), cells[known]
    feature = slot.feature
    if feature.step is None:
        raise PolicyError(
            f"features.{slot.name}.provide: the values that the missing one may turn out to be need a step. "
            "Add for example `step = 1`."
        )
    grid = limits(feature, np.array([np.nan]))
    first, last, stride, scale = (int(a[0]) for a in (grid.outer_first, grid.outer_last, grid.stride, grid.scale))
    if first > last:
        return np.empty(0), np.empty(0, np.int64)
    if space.every[j]:
        if last - first >= _MOST:
            raise PolicyError(
                f"features.{slot.name}: {last - first + 1:,} values lie between min and max, and an expression tells "
                f"all of them apart; providing a missing one takes at most {_MOST:,}. Use a coarser step."
            )
        index = np.arange(first, last + 1)
    else:  # the first of each cell: just at a threshold, or one step later
        near = np.ceil(np.clip(thresholds * scale / stride, first, last)).astype(np.int64)
        index = np.unique(np.clip(np.concatenate([[first, last], near - 1, near, near + 1]), first, last))
    values = (index * stride).astype(np.float64) / float(scale)
    own = ~np.isin(values, np.array(feature.code_values))
    values = values[own]
    return values, cells_of(thresholds, False, values)


def _starts(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *parts]).astype(np.float64)
