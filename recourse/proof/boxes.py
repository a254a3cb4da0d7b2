"""What can be said of a box of choices: least cost, rules, and a bound on each model's score. Plain Python, exact.

A box holds for each axis a range of positions (numbers) or a set of them (lists). The trees are cut down once to what
the applicant's choices can reach; in a box, each tree adds the best leaf that is still within reach for less than the
budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import state
from ..checking.change import Changes
from ..checking.scores import Scorer
from ..errors import InputError
from ..expression import dependents, names_in, rule_nodes
from ..models.evaluate import evaluate
from ..models.trees import Trees
from ..values import Value, plain
from .axes import Axis, Listed, Numbers, axes_of
from .ranges import Between, Range, Ranges, Some

if TYPE_CHECKING:
    from ..expression import Node
    from ..models.base import Column, Model
    from ..policy import Policy
    from ..population import Population

Part = tuple[int, int] | frozenset[int]  # of one axis: first and last position, or some positions
Box = tuple[Part, ...]
WAIT = state.WAIT
_KEPT_APART = 8  # values of a number that an expression sees one by one

# a tree: (value,) at a leaf; else (what, which, by, left, right)
NUMBER, LIST, RANGE = 0, 1, 2
Tree = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a proof is about, beside models, policy and row."""

    threshold: float
    shape: str = "point"
    box_steps: int = 5


@dataclass(frozen=True, eq=False)
class Bar:
    """A model that must approve: its trees as they are, and cut down to what the applicant can reach."""

    model: Model
    trees: Trees
    cut: float
    small: tuple[Tree, ...]
    columns: tuple[tuple[str, Column], ...]  # of RANGE tests: the feature whose state they look at, the column
    low_enough: float  # a sum of leaves (with the base) below this is surely refused


class Case:
    """One applicant under a policy and models: choices, and what is known of boxes of them.

    Raises
    ------
    InputError
        If a model is no tree ensemble, or the choices are too many to be written down.
    """

    def __init__(
        self,
        models: Sequence[tuple[Model, float]],
        policy: Policy,
        population: Population,
        row: Mapping[str, Any],
        asked: Asked,
    ) -> None:
        for model, _ in models:
            if not isinstance(model.core, Trees):
                raise InputError(f"{model.name}: proofs are written for tree ensembles, this is none")
        self.policy, self.asked = policy, asked
        self.row: dict[str, Value] = {str(name): plain(value) for name, value in row.items()}
        self.start = state.present(policy, self.row)
        self.changes = Changes(policy, population)
        self._owner = {c: group for group, columns in policy.groups.columns.items() for c in columns}
        self._nodes: dict[str, Node] = dict(dependents(policy))
        self.axes: tuple[Axis, ...] = axes_of(self.changes, self.start, self._thresholds([m for m, _ in models]))
        self.place = {axis.name: i for i, axis in enumerate(self.axes)}
        self.rules: dict[str, Node] = dict(rule_nodes(policy))
        self.ranges = Ranges(policy.features, self.start, frozenset(self.place))
        self._seen: tuple[Box, dict[str, Range]] = ((), {})
        limit = policy.cost.max_changes
        self.max_changes = len(self.axes) if limit is None else limit
        self.bars = tuple(self._bar(model, cut) for model, cut in models)

    @property
    def whole(self) -> Box:
        """The box of all choices."""
        return tuple(
            (axis.first, axis.last) if isinstance(axis, Numbers) else frozenset(range(len(axis.choices)))
            for axis in self.axes
        )

    # ------------------------------------------------------------------------------------------------------- a box

    def cheapest(self, i: int, part: Part) -> int:
        """Return the cheapest position of a part of an axis, the first of these."""
        if isinstance(part, frozenset):
            return min(part, key=lambda p: (self.axes[i].price(p), p))
        return min(max(0, part[0]), part[1])

    def cost(self, box: Box) -> int:
        """Return the least micro-units of a box."""
        return sum(self.axes[i].price(self.cheapest(i, part)) for i, part in enumerate(box))

    def forced(self, box: Box) -> list[bool]:
        """Return of each axis whether it changes at every point of a box."""
        return [not (0 in part if isinstance(part, frozenset) else part[0] <= 0 <= part[1]) for part in box]

    def trimmed(self, box: Box, below: float) -> Box | None:
        """Return a box without what costs `below` or more, or changes too much; None where nothing is left."""
        cost, forced = self.cost(box), self.forced(box)
        if cost >= below or sum(forced) > self.max_changes:
            return None
        full = sum(forced) == self.max_changes
        out: list[Part] = []
        for i, (axis, part) in enumerate(zip(self.axes, box, strict=True)):
            if full and not forced[i]:
                out.append(frozenset({0}) if isinstance(part, frozenset) else (0, 0))
                continue
            slack = below - cost + axis.price(self.cheapest(i, part))  # an axis alone must cost less than this
            if isinstance(part, frozenset):
                out.append(frozenset(p for p in part if axis.price(p) < slack))
            elif math.isinf(slack):
                out.append(part)
            else:
                out.append((self._nearest(axis, part[0], slack, -1), self._nearest(axis, part[1], slack, 1)))
        return tuple(out)

    def _nearest(self, axis: Axis, end: int, slack: float, sign: int) -> int:
        """Return the position nearest to an end that is affordable; prices rise with the distance from 0."""
        if end * sign <= 0 or axis.price(end) < slack:
            return end
        low, high = 0, abs(end)
        while high - low > 1:
            middle = (low + high) // 2
            if axis.price(sign * middle) < slack:
                low = middle
            else:
                high = middle
        return sign * low

    def seen(self, box: Box) -> dict[str, Range]:
        """Return what expressions see of the choices of a box."""
        if self._seen[0] == box:
            return self._seen[1]
        out: dict[str, Range] = {}
        for axis, part in zip(self.axes, box, strict=True):
            if isinstance(part, frozenset):
                out[axis.name] = Some(frozenset(axis.value(p) for p in part))
            elif part[1] - part[0] < _KEPT_APART:
                out[axis.name] = Some(frozenset(axis.value(p) for p in range(part[0], part[1] + 1)))
            else:
                low, high = axis.value(part[0]), axis.value(part[1])
                out[axis.name] = Between(float(low or 0), float(high or 0), False)
        self._seen = (box, out)
        return out

    def breaks(self, rule: str, box: Box) -> bool:
        """Whether every point of a box breaks a rule (or a knock-out fires on it)."""
        return self.ranges.of(self.rules[rule], self.seen(box)) == Some(frozenset({False}))

    def following(self, k: int, box: Box) -> list[Any]:
        """Return what the columns of a model that follow from several choices can be, as their tests see it."""
        seen, bar = self.seen(box), self.bars[k]
        return [self._numbers_of(bar, name, column, seen) for name, column in bar.columns]

    def bound(self, k: int, box: Box, below: float) -> float:
        """Return the largest sum of leaves that a model can reach in a box for less than a cost.

        ``box`` is trimmed. -inf where some tree has no leaf within reach.
        """
        parts, cells = list(box), self.following(k, box)
        bar = self.bars[k]
        cost, changes = self.cost(box), sum(self.forced(box))
        best = [self._best(bar, tree, parts, cells, cost, changes, below) for tree in bar.small]
        return -math.inf if -math.inf in best else math.fsum([bar.trees.base, *best])

    def _best(
        self, bar: Bar, tree: Tree, parts: list[Part], cells: list[Any], cost: int, changes: int, below: float
    ) -> float:
        """Return the best leaf of a tree within reach; parts and cells are put back as they were."""
        if len(tree) == 1:
            return float(tree[0])
        what, which, by, left, right = tree
        best = -math.inf
        if what == RANGE:
            was = cells[which]
            for side, down in ((True, left), (False, right)):
                kept = _narrowed(bar.trees, by, was, side)
                if kept is not None:
                    cells[which] = kept
                    best = max(best, self._best(bar, down, parts, cells, cost, changes, below))
            cells[which] = was
            return best
        part = parts[which]
        axis = self.axes[which]
        p = self.cheapest(which, part)
        for side, down in ((True, left), (False, right)):
            kept = _side(what, part, by, side)
            if kept is None:
                continue
            if kept == part:
                best = max(best, self._best(bar, down, parts, cells, cost, changes, below))
                continue
            q = self.cheapest(which, kept)
            more = cost + axis.price(q) - axis.price(p)
            moved = changes + int(_changes(kept)) - int(_changes(part))
            if more < below and moved <= self.max_changes:
                parts[which] = kept
                best = max(best, self._best(bar, down, parts, cells, more, moved, below))
        parts[which] = part
        return best

    # ------------------------------------------------------------------------------------------------------- a point

    def state_of(self, chosen: Mapping[str, Value]) -> dict[str, Value]:
        """Return the state after choices, wait among them, by the policy's text."""
        rest = {name: value for name, value in chosen.items() if name != WAIT}
        wait = int(float(chosen.get(WAIT, 0) or 0))
        return state.after(self.policy, self.row, rest, wait, now=self.start)

    def obeys(self, reached: Mapping[str, Value]) -> bool:
        """Whether a state breaks no rule."""
        return not state.broken_rules(self.policy, reached, self.start)

    def refused_by(self, reached: Mapping[str, Value]) -> int | None:
        """Return the first model that refuses a state, -1 for a knock-out, None where all approve."""
        if state.knockouts(self.policy, reached, self.start):
            return -1
        row = state.columns(self.policy, reached, self.row)
        for k, bar in enumerate(self.bars):
            if float(evaluate(bar.trees, Scorer(bar.model).matrix([row]))[0]) < bar.cut:
                return k
        return None

    def chosen(self, box: Box) -> dict[str, Value] | None:
        """Return the choices of a box of one point, but for what stays; None where a box has several."""
        out: dict[str, Value] = {}
        for axis, part in zip(self.axes, box, strict=True):
            first, last = (min(part), max(part)) if isinstance(part, frozenset) else part
            if first != last:
                return None
            if first != 0:
                out[axis.name] = axis.value(first)
        return out

    # ------------------------------------------------------------------------------------------------------- the trees

    def _thresholds(self, models: Sequence[Model]) -> dict[str, list[float]]:
        out: dict[str, list[float]] = {}
        for model in models:
            core = model.core
            assert isinstance(core, Trees)
            for c, column in enumerate(core.columns):
                mine = core.threshold[(core.feature == c) & (core.members < 0)]
                out.setdefault(self._owner.get(column.name, column.name), []).extend(mine.tolist())
        return out

    def _bar(self, model: Model, cut: float) -> Bar:
        trees = model.core
        assert isinstance(trees, Trees)
        own = Scorer(model).matrix([state.columns(self.policy, self.state_of({}), self.row)])[0]
        ranges: list[tuple[str, Column]] = []
        drivers: list[tuple[int, Any]] = []  # of each column: NUMBER or LIST with its axis, RANGE, or -1: it stays
        for c, column in enumerate(trees.columns):
            name = self._owner.get(column.name, column.name)
            node = self._nodes.get(name)
            if node is not None and names_in(node) & set(self.place):
                drivers.append((RANGE, len(ranges)))
                ranges.append((name, column))
            elif node is None and name in self.place:
                axis = self.axes[self.place[name]]
                drivers.append((NUMBER if isinstance(axis, Numbers) else LIST, self.place[name]))
            else:
                drivers.append((-1, own[c]))
        builder = _Builder(self, trees, drivers)
        small = tuple(builder.built(int(root)) for root in trees.roots)
        return Bar(model, trees, cut, small, tuple(ranges), cut * trees.divisor - trees.eps)

    def number(self, name: str, column: Column, value: Value) -> float | None:
        """Return a model's number for a value of a feature; None for a level that the model does not take."""
        if name != column.name:  # one of a group's columns
            members = self.policy.groups.columns[name]
            position = self.policy.features[name].position(value)
            assert position is not None
            ladder = name in self.policy.groups.thermometer
            i = members.index(column.name)
            value = int(i < position if ladder else i == position)
        if value is None:
            return math.nan
        if column.levels is None:
            return float(value)
        code = column.code(value)
        return None if code is None else float(code)

    def _numbers_of(self, bar: Bar, name: str, column: Column, seen: Mapping[str, Range]) -> Any:
        """Return what a column that follows can be: a tuple of numbers, or (low, high, maybe missing) in a list."""
        found = self.ranges.of(self._nodes[name], seen)
        feature = self.policy.features[name]
        if isinstance(found, Some):
            values: list[float] = []
            for value in found.values:
                level: Value = value
                if feature.levels is not None and value is not None:
                    position = feature.position(value)
                    level = None if position is None else plain(feature.levels[position])
                number = self.number(name, column, level)
                values.append(math.nan if number is None else number)
            return tuple(values)
        if column.levels is not None or name != column.name:
            codes = [self.number(name, column, plain(level)) for level in feature.levels or ()]
            return (*(code for code in codes if code is not None), math.nan)
        low, high = found.low, found.high
        if bar.trees.cast_single:
            with np.errstate(over="ignore"):
                low, high = float(np.float32(low)), float(np.float32(high))
        return [low, high, found.maybe]


class _Builder:
    """Cuts trees down to what the choices of an applicant can reach."""

    def __init__(self, case: Case, trees: Trees, drivers: Sequence[tuple[int, Any]]) -> None:
        self.case, self.trees, self.drivers = case, trees, drivers
        self._cuts: dict[tuple[int, float], int] = {}
        self._sets: dict[int, frozenset[int]] = {}

    def built(self, node: int, parts: Mapping[int, Part] | None = None) -> Tree:
        """Return the tree below a node; `parts` are what the tests above leave of axes."""
        parts = parts or {}
        trees = self.trees
        while trees.feature[node] >= 0:
            what, which = self.drivers[int(trees.feature[node])]
            if what >= 0:
                break
            node = int(trees.left[node] if goes_left(trees, node, which) else trees.right[node])
        if trees.feature[node] < 0:
            return (float(trees.value[node]),)
        left, right = int(trees.left[node]), int(trees.right[node])
        if what == RANGE:
            return (RANGE, which, node, self.built(left, parts), self.built(right, parts))
        by = self._cut(which, node) if what == NUMBER else self._set(which, node)
        part = parts[which] if which in parts else self.case.whole[which]
        sides = [_side(what, part, by, side) for side in (True, False)]
        for side, other in ((0, right), (1, left)):
            if sides[side] is None:
                return self.built(other, parts)
        downs = [self.built(n, {**parts, which: side}) for n, side in ((left, sides[0]), (right, sides[1]))]  # type: ignore[dict-item]
        return (what, which, by, *downs)

    def _cut(self, which: int, node: int) -> int:
        """First position that goes right."""
        threshold = float(self.trees.threshold[node])
        key = (which, threshold)
        if key not in self._cuts:
            axis = self.case.axes[which]
            assert isinstance(axis, Numbers)
            self._cuts[key] = axis.first_with(lambda v: _cast(self.trees, v) >= threshold)
        return self._cuts[key]

    def _set(self, which: int, node: int) -> frozenset[int]:
        """Positions of a list that go left."""
        if node not in self._sets:
            axis = self.case.axes[which]
            assert isinstance(axis, Listed)
            column = self.trees.columns[int(self.trees.feature[node])]
            left = set()
            for p in range(len(axis.choices)):
                number = self.case.number(axis.name, column, axis.value(p))
                if number is None or goes_left(self.trees, node, number):
                    left.add(p)
            self._sets[node] = frozenset(left)
        return self._sets[node]


def goes_left(trees: Trees, node: int, x: float) -> bool:
    """Whether a number goes left at a test, as `Trees` says."""
    if math.isnan(x):
        return bool(trees.missing_left[node])
    group = int(trees.members[node])
    if group >= 0:
        return 0 <= x < trees.sets.shape[1] and bool(trees.sets[group, int(x)])
    return not _cast(trees, x) >= float(trees.threshold[node])


def _cast(trees: Trees, x: float) -> float:
    if not trees.cast_single:
        return x
    with np.errstate(over="ignore"):
        return float(np.float32(x))


def _changes(part: Part) -> bool:
    return not (0 in part if isinstance(part, frozenset) else part[0] <= 0 <= part[1])


def _side(what: int, part: Part, by: Any, left: bool) -> Part | None:
    """Return what a test lets through of a part of an axis; None for nothing."""
    if isinstance(part, frozenset):
        kept = part & by if left else part - by
        return kept or None
    first, last = part
    first, last = (first, min(last, by - 1)) if left else (max(first, by), last)
    return (first, last) if first <= last else None


def _narrowed(trees: Trees, node: int, cell: Any, left: bool) -> Any:
    """Return what a test lets through of what a column can be; None for nothing."""
    if isinstance(cell, tuple):
        kept = tuple(x for x in cell if goes_left(trees, node, x) == left)
        return kept or None
    low, high, maybe = cell
    threshold = float(trees.threshold[node])
    maybe = maybe and bool(trees.missing_left[node]) == left
    if left:
        high = min(high, math.nextafter(threshold, -math.inf))
    else:
        low = max(low, threshold)
    return [low, high, maybe] if low <= high or maybe else None
