"""A plain prover: splits the box of all choices until each part is closed for a reason that `follow` can verify.

The leaves of each model's trees, cut down to the applicant, lie in numpy arrays; in a box, one comparison with all of
them gives the best leaf of each tree that is within reach for less than the cost in question.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checking.change import decimal, grid_ends, grid_value
from ..errors import CheckFailed
from ..values import Value
from .axes import Listed, Numbers
from .boxes import LIST, NUMBER, WAIT, Asked, Bar, Box, Case, Part, Tree
from .follow import SCHEMA, goals, models_and_cuts, promised

if TYPE_CHECKING:
    from ..models.base import Model
    from ..plan import Outcome
    from ..policy import Policy
    from ..population import Population

MOST_BOXES = 20_000
_FAR = 1 << 62
_TRIED = 2_000  # rows of a region that are looked at for one that is refused
_SPREAD = 12  # values along a side of it, beside those at which the models' trees part


def prove(
    outcome: Outcome,
    row: Mapping[str, Any],
    model: Model,
    policy: Policy,
    population: Population,
    *,
    also_approve: Sequence[Model] = (),
    plausibility: Model | None = None,
    box_steps: int = 5,
    most_boxes: int = MOST_BOXES,
) -> dict[str, Any]:
    """Return a proof of an outcome, as JSON-ready values.

    Parameters
    ----------
    outcome : Outcome
        Found, or proven to have no plan. Each plan that is called minimal gets a part of its own.
    row : mapping
        The applicant's raw values.
    model, policy, population, also_approve, plausibility, box_steps
        As in `check`.
    most_boxes : int
        Where more would be needed, the proof says that it is unfinished, and how many boxes are open.

    Raises
    ------
    InputError
        If a model is no tree ensemble.
    CheckFailed
        If a cheaper plan turns up.
    """
    cuts = models_and_cuts((model, also_approve, plausibility), policy, outcome.threshold)
    case = Case(cuts, policy, population, row, Asked(outcome.threshold, outcome.shape, box_steps))
    prover = _Prover(case, most_boxes)
    parts = [prover.part(below, taboo) for below, taboo in goals(outcome)]
    n_open = sum(node.get("closed") == "open" for part in parts for node in part["nodes"])
    return {
        "schema": SCHEMA,
        "id": outcome.id,
        "status": outcome.status,
        "shape": outcome.shape,
        "provenance": outcome.provenance.to_dict(),
        "finished": n_open == 0,
        "open": n_open,
        "choices": {axis.name: _said(axis) for axis in case.axes if not _is_protected(policy, axis.name)},
        "parts": parts,
    }


def _is_protected(policy: Policy, name: str) -> bool:
    return name in policy.features and policy.features[name].role == "protected"


def _said(axis: Numbers | Listed) -> dict[str, Any]:
    """Return an axis for a reader; `follow` does not look at it."""
    if isinstance(axis, Numbers):
        return {"start": axis.start, "from": axis.value(axis.first), "to": axis.value(axis.last)}
    return {"start": axis.value(0), "choices": [choice.value for choice in axis.choices[1:]]}


@dataclass(frozen=True, eq=False)
class _Leaves:
    """All leaves of a model, tree after tree."""

    value: np.ndarray  # float64[n]
    tree: np.ndarray  # int64[n_trees], where each tree begins
    low: np.ndarray  # int64[n, n_axes], of numbers: the first position that reaches the leaf
    high: np.ndarray  # int64[n, n_axes]
    price: np.ndarray  # int64[n, n_axes], least micro-units of a number within
    moved: np.ndarray  # bool[n, n_axes], a number must change
    lists: dict[int, np.ndarray]  # of lists: bool[n, n_choices]
    at_least: np.ndarray  # float64[n, n_ranges], of columns that follow from several choices
    below: np.ndarray
    missing: np.ndarray  # bool[n, n_ranges], whether a missing one passes


class _Prover:
    def __init__(self, case: Case, most: int) -> None:
        self.case, self.most = case, most
        self.leaves = [_leaves(case, bar) for bar in case.bars]
        provided = any(choice.until for axis in case.axes if isinstance(axis, Listed) for choice in axis.choices)
        self.regional = case.asked.shape != "point" or provided
        self.witnesses: list[dict[str, Value]] = []

    def part(self, below: float, taboo: tuple[frozenset[str], ...]) -> dict[str, Any]:
        """Return the tree of splits that shows that nothing costs less than `below`."""
        nodes: list[dict[str, Any]] = [{}]
        waiting: list[tuple[int, Box]] = [(0, self.case.whole)]
        while waiting:
            i, box = waiting.pop()
            if len(nodes) > 2 * self.most:
                nodes[i] = {"closed": "open"}
                continue
            reason, split = self._closed(box, below, taboo)
            if reason is not None:
                nodes[i] = reason
                continue
            assert split is not None
            a, by = split
            sides = self._sides(box[a], by)
            children = []
            for side in sides:
                children.append(len(nodes))
                nodes.append({})
                waiting.append((children[-1], (*box[:a], side, *box[a + 1 :])))
            nodes[i] = {**self._said(a, by), "in": children[0], "out": children[1]}
        return {
            "below_micro": None if math.isinf(below) else int(below),
            "taboo": [sorted(names) for names in taboo],
            "nodes": nodes,
        }

    def _said(self, a: int, by: int | frozenset[int]) -> dict[str, Any]:
        axis = self.case.axes[a]
        if isinstance(by, frozenset):
            return {"split": axis.name, "of": [axis.value(p) for p in sorted(by)]}
        return {"split": axis.name, "below": axis.value(by)}

    def _sides(self, part: Part, by: int | frozenset[int]) -> tuple[Part, Part]:
        if isinstance(part, frozenset):
            assert isinstance(by, frozenset)
            return part & by, part - by
        assert isinstance(by, int)
        return (part[0], by - 1), (by, part[1])

    # ------------------------------------------------------------------------------------------------------- one box

    def _closed(
        self, box: Box, below: float, taboo: tuple[frozenset[str], ...]
    ) -> tuple[dict[str, Any] | None, tuple[int, int | frozenset[int]] | None]:
        """Return why a box is closed, or where to split it."""
        case = self.case
        if case.cost(box) >= below:
            return {"closed": "cost"}, None
        forced = case.forced(box)
        if sum(forced) > case.max_changes:
            return {"closed": "changes"}, None
        names = {axis.name for axis, moved in zip(case.axes, forced, strict=True) if moved}
        if any(part <= names for part in taboo):
            return {"closed": "taboo"}, None
        for rule in case.rules:
            if case.breaks(rule, box):
                return {"closed": "rule", "rule": rule}, None
        trimmed = case.trimmed(box, below)
        assert trimmed is not None
        point = [case.cheapest(i, part) for i, part in enumerate(box)]
        weight: dict[tuple[int, int | frozenset[int]], float] = {}
        for k, bar in enumerate(case.bars):
            top = self._bound(k, trimmed, below, point, weight)
            if top < bar.low_enough - 1e-12 * (1.0 + abs(top)):
                return {"closed": "bound", "model": k}, None
        chosen = case.chosen(box)
        if chosen is not None:
            reached = case.state_of(chosen)
            if not case.obeys(reached) or case.refused_by(reached) is not None:
                return {"closed": "score"}, None
        if self.regional:
            found = self._region(box, point)
            if found is not None:
                return found
        if chosen is not None:
            if self.regional:
                return {"closed": "open"}, None  # no row was found that is refused
            raise CheckFailed(f"a plan that is cheaper than the one in hand exists: {chosen}")
        return None, self._split(box, point, weight)

    def _bound(
        self, k: int, box: Box, below: float, point: list[int], weight: dict[tuple[int, int | frozenset[int]], float]
    ) -> float:
        """Return the bound of a model in a trimmed box; note where the best leaves part from the cheapest point."""
        case, leaves = self.case, self.leaves[k]
        n = len(leaves.value)
        within, at_point = np.ones(n, bool), np.ones(n, bool)
        cost, changes = np.zeros(n), np.zeros(n, np.int64)
        for a, (axis, part) in enumerate(zip(case.axes, box, strict=True)):
            p = point[a]
            if isinstance(part, frozenset):
                prices = np.array([axis.price(i) if i in part else math.inf for i in range(axis.last + 1)])
                if a in leaves.lists:
                    able = np.where(leaves.lists[a], prices, math.inf)
                    least = able.min(axis=1)
                    within &= np.isfinite(least)
                    at_point &= leaves.lists[a][:, p]
                    stays = leaves.lists[a][:, 0] & (0 in part)
                    cost += least
                    changes += ~stays
                else:
                    cost += float(prices.min())
                    changes += 0 not in part
                continue
            low, high = leaves.low[:, a], leaves.high[:, a]
            within &= (low <= part[1]) & (high >= part[0])
            at_point &= (low <= p) & (p <= high)
            cost += np.maximum(leaves.price[:, a], axis.price(p))
            changes += leaves.moved[:, a] | (p != 0)
        for r, cell in enumerate(case.following(k, box)):
            within &= _overlaps(leaves, r, cell, case.bars[k])
        within &= (cost < below) & (changes <= case.max_changes)
        top = np.where(within, leaves.value, -math.inf)
        best = np.maximum.reduceat(top, leaves.tree)
        if np.isneginf(best).any():
            return -math.inf
        here = np.maximum.reduceat(np.where(at_point, leaves.value, -math.inf), leaves.tree)
        size = np.diff(np.append(leaves.tree, n))
        first = np.flatnonzero(top == np.repeat(best, size))
        first = first[np.searchsorted(first, leaves.tree)]
        gap = np.where(np.isfinite(here), best - here, 0.0)
        for t in np.flatnonzero(gap > 0).tolist():
            leaf = int(first[t])
            for a, part in enumerate(box):
                key: tuple[int, int | frozenset[int]] | None = None
                if isinstance(part, frozenset):
                    if a in leaves.lists and not leaves.lists[a][leaf, point[a]]:
                        key = (a, frozenset(np.flatnonzero(leaves.lists[a][leaf]).tolist()) & part)
                elif leaves.low[leaf, a] > point[a]:
                    key = (a, int(leaves.low[leaf, a]))
                elif leaves.high[leaf, a] < point[a]:
                    key = (a, int(leaves.high[leaf, a]) + 1)
                if key is not None:
                    weight[key] = weight.get(key, 0.0) + float(gap[t])
        return math.fsum([case.bars[k].trees.base, *best.tolist()])

    def _split(
        self, box: Box, point: list[int], weight: Mapping[tuple[int, int | frozenset[int]], float]
    ) -> tuple[int, int | frozenset[int]]:
        """Return the split that carries most of the gap; without any, halve the widest axis."""
        for key in sorted(weight, key=lambda key: -weight[key]):
            a, by = key
            part = box[a]
            if isinstance(part, frozenset):
                assert isinstance(by, frozenset)
                if part & by and part - by:
                    return a, part & by
            elif isinstance(by, int) and part[0] < by <= part[1]:
                return a, by
        widths = [len(part) - 1 if isinstance(part, frozenset) else part[1] - part[0] for part in box]
        a = int(np.argmax(widths))
        part = box[a]
        if isinstance(part, frozenset):
            return a, frozenset({point[a]})
        return a, (part[0] + part[1] + 1) // 2

    # ------------------------------------------------------------------------------------------------------- regions

    def _region(
        self, box: Box, point: list[int]
    ) -> tuple[dict[str, Any] | None, tuple[int, int | frozenset[int]] | None] | None:
        """Return a row that is refused in every region of the box, or where to split for one; None without any."""
        case = self.case
        own: Box = tuple(
            frozenset({p}) if isinstance(part, frozenset) else (p, p) for p, part in zip(point, box, strict=True)
        )
        row = next((w for w in self.witnesses if self._covers(w, own)), None)
        if row is None:
            reached = case.state_of(case.chosen(own) or {})
            if not case.obeys(reached) or case.refused_by(reached) is not None:
                return None  # the point itself is refused: split as ever
            row = self._witness(own)
            if row is None:
                return None
            self.witnesses.append(row)
        if self._covers(row, box):
            said = {name: value for name, value in row.items() if value != case.axes[case.place[name]].value(0)}
            return {"closed": "region", "row": said}, None
        for a, (axis, part) in enumerate(zip(case.axes, box, strict=True)):
            value = row[axis.name]
            if promised(case, axis, part, value):
                continue
            if isinstance(part, frozenset):
                return None, (a, frozenset({point[a]}))
            assert isinstance(axis, Numbers)
            p = point[a]
            if p > 0:
                far = axis.first_with(lambda v, value=value: v > value)  # type: ignore[misc]
                return None, (a, far if part[0] < far <= part[1] else p + 1)
            if p < 0:
                near = axis.first_with(lambda v, value=value: v >= value)  # type: ignore[misc]
                return None, (a, near if part[0] < near <= part[1] else p)
            return None, (a, 1 if part[1] > 0 else 0)
        return None

    def _covers(self, row: Mapping[str, Value], box: Box) -> bool:
        return all(
            promised(self.case, axis, part, row[axis.name]) for axis, part in zip(self.case.axes, box, strict=True)
        )

    def _witness(self, own: Box) -> dict[str, Value] | None:
        """Return a row of a plan's region that obeys the rules and is refused, if one is found."""
        case = self.case
        lines = [list(self._along(axis, part)) for axis, part in zip(case.axes, own, strict=True)]
        order = sorted(range(len(lines)), key=lambda i: len(lines[i]))
        rows = itertools.product(*(lines[i][::-1] for i in order))  # far ends first
        for values in itertools.islice(rows, _TRIED):
            row = {case.axes[i].name: value for i, value in zip(order, values, strict=True)}
            reached = case.state_of({n: v for n, v in row.items() if v != case.axes[case.place[n]].value(0)})
            if case.obeys(reached) and case.refused_by(reached) is not None:
                return row
        return None

    def _along(self, axis: Numbers | Listed, part: Part) -> Iterator[Value]:
        """Yield values of a choice's region on one axis, nearest first."""
        case = self.case
        if isinstance(part, frozenset):
            assert isinstance(axis, Listed)
            choice = axis.choices[next(iter(part))]
            yield from choice.until[:: max(1, len(choice.until) // _SPREAD)] or (choice.value,)
            return
        assert isinstance(axis, Numbers)
        p = part[0]
        here = axis.value(p)
        if p == 0 or case.asked.shape == "point":
            yield here
            return
        found = [v for v in self._outward(axis, p, decimal(here or 0)) if promised(case, axis, part, v)]  # type: ignore[arg-type]
        yield from dict.fromkeys([here, *found])

    def _outward(self, axis: Numbers, p: int, here: Decimal) -> list[Value]:
        """Return values beyond one that models or rules may tell apart."""
        case, sign = self.case, 1 if p > 0 else -1
        if axis.name == WAIT:
            horizon = axis.last
            return list(range(p, horizon + 1))
        bounds = case.changes.bounds(axis.name)
        zero = decimal(axis.start) if case.policy.features[axis.name].step_from == "applicant" else Decimal(0)  # type: ignore[arg-type]
        end = bounds.maximum if sign > 0 else bounds.minimum
        if case.asked.shape == "box" and bounds.step is not None:
            return [_at(here + sign * i * bounds.step, bounds.step, zero) for i in range(case.asked.box_steps + 1)]
        parts = sorted({float(t) for bar in case.bars for t in _thresholds(bar, axis.name)})
        beyond = [decimal(t) for t in parts if (decimal(t) - here) * sign >= 0 and abs(t) < 1e30]
        last = end if end is not None else (max(beyond) if sign > 0 else min(beyond)) if beyond else here
        spread = [here + (last - here) * i / _SPREAD for i in range(_SPREAD + 1)]
        some = sorted({*beyond, *spread, last}, key=lambda v: (v - here) * sign)
        if bounds.step is None:
            return [float(np.float32(float(v))) for v in some]
        values = [_at(v + d * bounds.step, bounds.step, zero) for v in some for d in (-1, 0, 1)]
        return sorted(set(values), key=lambda v: sign * float(v or 0))


def _at(value: Decimal, step: Decimal, zero: Decimal) -> Value:
    """Return the grid's value at or before a number."""
    return grid_value(grid_ends(value, value, step, zero)[1], step, zero)


def _thresholds(bar: Bar, name: str) -> np.ndarray:
    trees = bar.trees
    mine = [c for c, column in enumerate(trees.columns) if column.name == name]
    return np.unique(trees.threshold[np.isin(trees.feature, mine) & (trees.members < 0)])


# --------------------------------------------------------------------------------------------------------- the leaves


def _leaves(case: Case, bar: Bar) -> _Leaves:
    """Write the leaves of a model's trees, cut down to the applicant, into arrays."""
    n_axes, n_ranges = len(case.axes), len(bar.columns)
    values: list[float] = []
    low: list[list[int]] = []
    high: list[list[int]] = []
    sets: list[dict[int, frozenset[int]]] = []
    ranges: list[list[tuple[float, float, bool]]] = []
    begins: list[int] = []
    for tree in bar.small:
        begins.append(len(values))
        waiting: list[tuple[Tree, tuple[Part | None, ...], tuple[tuple[float, float, bool], ...]]] = [
            (tree, (None,) * n_axes, ((-math.inf, math.inf, True),) * n_ranges)
        ]
        while waiting:
            node, parts, cells = waiting.pop()
            if len(node) == 1:
                values.append(node[0])
                low.append([part[0] if isinstance(part, tuple) else -_FAR for part in parts])
                high.append([part[1] if isinstance(part, tuple) else _FAR for part in parts])
                sets.append({a: part for a, part in enumerate(parts) if isinstance(part, frozenset)})
                ranges.append(list(cells))
                continue
            what, which, by, left, right = node
            for side, down in ((True, left), (False, right)):
                kept, cut = parts, cells
                if what in (NUMBER, LIST):
                    part = parts[which]
                    if what == NUMBER:
                        first, last = part if isinstance(part, tuple) else (-_FAR, _FAR)
                        new: Part = (first, min(last, by - 1)) if side else (max(first, by), last)
                    else:
                        whole = part if isinstance(part, frozenset) else frozenset(range(case.axes[which].last + 1))
                        new = whole & by if side else whole - by
                    kept = (*parts[:which], new, *parts[which + 1 :])
                else:
                    cut = (*cells[:which], _tested(bar, by, cells[which], side), *cells[which + 1 :])
                waiting.append((down, kept, cut))
    lows, highs = np.array(low, np.int64).reshape(len(low), n_axes), np.array(high, np.int64).reshape(len(high), n_axes)
    price = np.zeros(lows.shape)
    for a, axis in enumerate(case.axes):
        if isinstance(axis, Numbers):
            for ends, far in ((lows[:, a], 1), (highs[:, a], -1)):
                for at in np.unique(ends[ends * far > 0]).tolist():
                    price[ends == at, a] = axis.price(at) if axis.first <= at <= axis.last else math.inf
    lists = {}
    for a, axis in enumerate(case.axes):
        if isinstance(axis, Listed) and any(a in one for one in sets):
            mask = np.ones((len(values), axis.last + 1), bool)
            for i, one in enumerate(sets):
                if a in one:
                    mask[i] = False
                    mask[i, list(one[a])] = True
            lists[a] = mask
    cells_ = np.array(ranges, np.float64).reshape(len(values), n_ranges, 3)
    return _Leaves(
        value=np.array(values),
        tree=np.array(begins, np.int64),
        low=lows,
        high=highs,
        price=price,
        moved=(lows > 0) | (highs < 0),
        lists=lists,
        at_least=cells_[:, :, 0],
        below=cells_[:, :, 1],
        missing=cells_[:, :, 2] != 0,
    )


def _tested(bar: Bar, node: int, cell: tuple[float, float, bool], left: bool) -> tuple[float, float, bool]:
    """Return the interval of numbers that pass one more test; tests of membership let all pass here."""
    low, high, missing = cell
    trees = bar.trees
    missing = missing and bool(trees.missing_left[node]) == left
    if int(trees.members[node]) >= 0:
        return low, high, missing
    threshold = float(trees.threshold[node])
    return (low, min(high, threshold), missing) if left else (max(low, threshold), high, missing)


def _overlaps(leaves: _Leaves, r: int, cell: Any, bar: Bar) -> np.ndarray:
    """Return which leaves a column can reach that follows from several choices."""
    low, high, missing = leaves.at_least[:, r], leaves.below[:, r], leaves.missing[:, r]
    if isinstance(cell, list):
        return np.asarray(((low <= cell[1]) & (high > cell[0]) & (cell[0] <= cell[1])) | (missing & cell[2]))
    out = np.zeros(len(low), bool)
    for x in cell:
        if math.isnan(x):
            out |= missing
        else:
            with np.errstate(over="ignore"):
                number = float(np.float32(x)) if bar.trees.cast_single else x
            out |= (low <= number) & (number < high)
    return out
