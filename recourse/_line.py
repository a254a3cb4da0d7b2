"""An additive model on the features of a search: what each value of each feature adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .models.additive import Additive, Axis, Pair, Term
from .search.links import Links, unlinked

if TYPE_CHECKING:
    from .problem.layout import Slot
    from .search.listing import Line
    from .search.moves import Space


@dataclass(frozen=True, slots=True, eq=False)
class _States:
    """The values of one feature, as far as a model's terms and pairs tell them apart; the last state is missing."""

    edges: np.ndarray  # float64[k] of a grid; empty for levels
    parts: np.ndarray  # float64[n_states, n_terms], what each term adds
    cells: np.ndarray  # int64[n_states, n_axes], the cell in each pair's table


def line_of(core: Additive, slots: Sequence[Slot], space: Space) -> Line:
    """Return the model's terms by feature: weights, bins and levels; pairs of columns as pairs of features.

    A pair whose columns belong to one feature (a group) is a term of that feature.
    """
    from .search.listing import Line

    owner = {s.column: j for j, slot in enumerate(slots) for s in slot.sources if s.model == 0}
    crossing = [p for p in core.pairs if owner[p.first.column] != owner[p.second.column]]
    axes: list[list[tuple[int, int, Axis]]] = [[] for _ in slots]  # (pair, side, axis) by feature
    for k, pair in enumerate(crossing):
        for side, axis in enumerate((pair.first, pair.second)):
            axes[owner[axis.column]].append((k, side, axis))
    states = [_states(core, slot, [axis for _, _, axis in axes[j]]) for j, slot in enumerate(slots)]
    start = np.cumsum([0, *(len(s.parts) for s in states)])
    weight, entry = np.zeros(len(slots)), np.zeros(len(space.list_value))
    curved = np.zeros(len(slots), np.uint8)
    for j, slot in enumerate(slots):
        if slot.listed:
            continue
        for term in _terms(core, slot):
            if term.curve is not None:
                curved[j] = 1
            elif term.weight is not None:
                weight[j] += term.weight
        places = slice(int(space.list_start[space.level_start[j]]), int(space.list_start[space.level_start[j + 1]]))
        entry[places] = curve_values(core, slot, space.list_value[places])
    kinds = [_kinds(np.column_stack([s.parts, s.cells])) for s in states]
    return Line(
        weight=weight,
        edge_start=np.cumsum([0, *(len(s.edges) for s in states)]),
        edge=np.concatenate([np.empty(0), *(s.edges for s in states)]),
        state_start=start,
        add=np.concatenate([s.parts.sum(axis=1) for s in states]),
        bulk=np.concatenate([np.abs(s.parts).sum(axis=1) for s in states]),
        kind=np.concatenate(kinds),
        entry=entry,
        curved=curved,
        pairs=_pairs(crossing, owner, axes, states, start),
        intercept=float(core.intercept),
        scale=float(core.scale),
        rounding=8.0 * (len(core.terms) + 6 * len(core.pairs) + 2) * core.unit,
    )


def curve_values(core: Additive, slot: Slot, x: np.ndarray) -> np.ndarray:
    """Return what a feature's curves add at numbers of its grid (NaN, missing: nothing)."""
    total = np.zeros(len(x))
    known = ~np.isnan(x)
    for term in _terms(core, slot):
        if term.curve is not None and term.weight is not None and not slot.listed and known.any():
            total[known] += term.weight * term.curve(x[known])
    return total


def _terms(core: Additive, slot: Slot) -> list[Term]:
    columns = {s.column for s in slot.sources if s.model == 0}
    return [term for term in core.terms if term.column in columns]


def _states(core: Additive, slot: Slot, axes: Sequence[Axis]) -> _States:
    """Return the states of a feature: its levels, or the bins between all edges of its terms and pairs."""
    sources = {s.column: s for s in slot.sources if s.model == 0}
    terms = _terms(core, slot)
    inside = [p for p in core.pairs if p.first.column in sources and p.second.column in sources]
    if slot.levels is not None:
        positions = np.append(np.arange(len(slot.levels), dtype=np.float64), np.nan)
        x = {c: s.numbers(positions) for c, s in sources.items()}
        parts = [term.at(x[term.column]) for term in terms]
        for pair in inside:
            a, b = pair.first.at(x[pair.first.column]), pair.second.at(x[pair.second.column])
            parts.append(np.where((a < 0) | (b < 0), np.nan, pair.values[a, b]))
        cells = [axis.at(x[axis.column]) for axis in axes]
        return _States(np.empty(0), _columns(parts, len(positions)), _columns(cells, len(positions)).astype(np.int64))
    cuts = [part.edges for part in terms if part.edges is not None]
    cuts += [axis.edges for axis in axes if axis.edges is not None]
    edges = np.unique(np.concatenate([np.empty(0), *cuts]))
    low = np.append(np.nextafter(edges[0], -np.inf), edges) if len(edges) else np.zeros(1)
    x_grid = np.append(low, np.nan)
    parts = []
    for term in terms:
        if term.values is not None:
            parts.append(term.at(x_grid))
        else:  # the number itself is added elsewhere
            parts.append(np.where(np.isnan(x_grid), term.missing, 0.0))
    cells = [axis.at(x_grid) for axis in axes]
    whole = _columns(parts, len(x_grid))
    crossed = _columns(cells, len(x_grid)).astype(np.int64)
    told = np.any(np.diff(whole[:-1], axis=0) != 0, axis=1) | np.any(np.diff(crossed[:-1], axis=0) != 0, axis=1)
    kept = np.concatenate([[True], told, [True]])
    return _States(edges[told], whole[kept], crossed[kept])


def _columns(parts: Sequence[np.ndarray], n: int) -> np.ndarray:
    return np.column_stack(parts).astype(np.float64) if parts else np.zeros((n, 0))


def _kinds(rows: np.ndarray) -> np.ndarray:
    """Number rows so that equal ones have the same number: int64[n]."""
    known = np.unique(np.nan_to_num(rows, nan=np.inf), axis=0, return_inverse=True)[1] if rows.shape[1] else None
    return np.zeros(len(rows), np.int64) if known is None else np.asarray(known, np.int64).reshape(-1)


def _pairs(
    pairs: Sequence[Pair],
    owner: dict[int, int],
    axes: Sequence[Sequence[tuple[int, int, Axis]]],
    states: Sequence[_States],
    start: np.ndarray,
) -> Links:
    """Return the pairs by feature; a state's cell lies at its number in all states, so that no offset is needed."""
    if not pairs:
        return unlinked()
    cell_start = np.zeros((len(pairs), 2), np.int64)
    feature = np.array([[owner[p.first.column], owner[p.second.column]] for p in pairs], np.int64)
    cells, total = [], 0
    for j, mine in enumerate(axes):
        for i, (k, side, _) in enumerate(mine):
            cell_start[k, side] = total - int(start[j])
            cells.append(np.maximum(states[j].cells[:, i], 0))  # what may not be missing is refused by the model
            total += len(cells[-1])
    tables = [np.ascontiguousarray(p.values, dtype=np.float64) for p in pairs]
    return Links(
        feature=feature,
        cell_start=cell_start,
        cell=np.concatenate(cells),
        table_start=np.cumsum([0, *(t.size for t in tables[:-1])]),
        width=np.array([t.shape[1] for t in tables], np.int64),
        table=np.concatenate([t.ravel() for t in tables]),
        size=np.array([float(np.abs(t).max()) for t in tables]),
    )
