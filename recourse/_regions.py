"""Boxes of positions around plans: from an applicant's values to what `search.widening` proves, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import InputError
from .models.additive import Additive
from .models.trees import Trees
from .problem import build_problem
from .problem.limits import LARGEST
from .values import Value, parse_value

if TYPE_CHECKING:
    from .models.base import Model
    from .plan import Change, Plan
    from .policy import Policy
    from .population import Population
    from .problem import Problem
    from .search.forest import Forest
    from .search.moves import Moves, Rows, Space

NEVER = 1 << 62
_STEPS = float(2**53)


class Ground:
    """Models and a policy, ready to look at boxes around any applicant's plans."""

    def __init__(self, models: Sequence[Model], policy: Policy, population: Population) -> None:
        for model in models:
            if not isinstance(model.core, Trees | Additive):
                raise InputError(
                    f"{model.name} can only be asked row by row, and this needs a model whose inside is known: trees "
                    "or a sum. Use shape = 'point', or ask for fewer values."
                )
        # the shape that reaches to the policy's bounds: every value that a region may hold has a position
        self.problem: Problem = build_problem(models, policy, population, shape="orthant", as_trees=True)

    def view(self, row: Mapping[str, Any]) -> View:
        """Return the positions of one applicant."""
        from .search.moves import build_moves

        encoded = self.problem.encode(pd.DataFrame({str(name): [value] for name, value in row.items()}))
        assert self.problem.forest is not None
        forest, space, rows, slack = self.problem.forest, self.problem.space, encoded.rows, self.problem.slack
        if self.problem.tabulated is not None:
            forest, space, rows, slack = self.problem.alone(encoded, 0)
        return View(self.problem, forest, space, rows, build_moves(space, rows, 0), slack)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The positions of one applicant; those of feature j are ``moves.offset[j]:moves.offset[j + 1]``."""

    problem: Problem
    forest: Forest
    space: Space
    rows: Rows
    moves: Moves
    slack: np.ndarray

    def values(self, j: int) -> np.ndarray:
        """Return the values of a feature's positions."""
        return np.asarray(self.moves.value[self.moves.offset[j] : self.moves.offset[j + 1]])

    def box(self, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
        """Return the box of a plan's own row: first and last position of each feature, as `examine` takes them.

        A value that is to be provided may turn out to be any that the plan promises to hold for.
        """
        n = len(self.problem.names)
        first = np.array(self.moves.start[:n], np.int64)
        last = first.copy()
        for change in plan.changes:
            j = self.place(change.feature)
            p = self._position(j, change)
            if change.condition == "any" or (change.before is None and change.condition == "at least"):
                first[j], last[j] = self.moves.region[self.moves.offset[j] + p]
            else:
                first[j] = last[j] = p
        return first, last

    def over(self, plan: Plan, intervals: Mapping[str, tuple[Value, Value]]) -> tuple[np.ndarray, np.ndarray]:
        """Return the box of a plan's row over intervals of numbers; an end that is None is the last there is."""
        first, last = self.box(plan)
        for name, (low, high) in intervals.items():
            j = self.place(name)
            if first[j] != last[j] or not self.is_run(j):
                continue
            first[j] = 0 if low is None else self._nearest(j, float(low))
            last[j] = len(self.values(j)) - 1 if high is None else self._nearest(j, float(high))
        return first, last

    def place(self, name: str) -> int:
        """Return the number of a feature of the search."""
        if name not in self.problem.names:
            raise InputError(f"the plan changes {name!r}, which neither the model nor a rule reads")
        return self.problem.names.index(name)

    def is_run(self, j: int) -> bool:
        """Whether a feature's positions are numbers in order (not levels, nor what leads away from a code)."""
        return not self.moves.listed[j] and not self.problem.slots[j].listed

    def _position(self, j: int, change: Change) -> int:
        slot, values = self.problem.slots[j], self.values(j)
        if change.condition == "any":
            return 1
        if slot.listed:
            wanted = slot.feature.position(change.after) if slot.feature.levels is not None else None
            found = np.flatnonzero(values == wanted) if wanted is not None else np.empty(0, np.int64)
        elif self.is_run(j):
            return self._nearest(j, float(change.after or 0))
        else:
            found = np.flatnonzero(values == float(change.after or 0))
        if not len(found):
            raise InputError(f"{change.feature}: no move leads from {change.before!r} to {change.after!r}")
        return int(found[0])

    def _nearest(self, j: int, value: float) -> int:
        """Return the position that stands for a number: the next one towards the start."""
        values, start = self.values(j), int(self.moves.start[j])
        if value >= values[start]:
            return max(start, int(np.searchsorted(values, value, side="right")) - 1)
        return min(start, int(np.searchsorted(values, value, side="left")))

    # ------------------------------------------------------------------------------------------------- steps and ends

    def rounds(self, plan: Plan) -> np.ndarray:
        """Return in which round a box is extended to each position, one step of the grid a round: int64[n_moves].

        Only numbers that the plan changes are extended, from the stated value on. Without a grid, from one value that
        the models tell apart to the next is a step.
        """
        when = np.full(len(self.moves.value), NEVER, np.int64)
        for change in plan.changes:
            j = self.place(change.feature)
            if not self.is_run(j) or change.after is None:
                continue
            values, own, p = self.values(j), float(change.after), self._nearest(j, float(change.after))
            at = int(self.moves.offset[j])
            for q in range(len(values)):
                if q == p:
                    continue
                if not self.space.has_grid[j]:
                    when[at + q] = abs(q - p)
                    continue
                # the first value of a position that lies further from the start, the last of one that lies nearer:
                # one step beyond the position before it
                outward = (q > p) == (q > int(self.moves.start[j])) and q != int(self.moves.start[j])
                near = values[q] if outward else values[q + 1] if q < p else values[q - 1]
                steps = abs(self._index(j, float(near)) - self._index(j, own)) + (0 if outward else 1)
                when[at + q] = max(1, steps)
        return when

    def ends(self, j: int, first: int, last: int) -> tuple[Value, Value]:
        """Return the least and the largest value that positions first..last stand for; None where nothing ends them."""
        slot, values, start = self.problem.slots[j], self.values(j), int(self.moves.start[j])
        up, down = slot.feature.change != "down", slot.feature.change != "up"
        low: float | None
        high: float | None
        if first > start:
            low = float(values[first])
        elif not down:
            low = float(values[start])
        elif first > 0:
            low = self._next(j, float(values[first - 1]), 1)
        else:
            low = self._bound(j, -1)
        if last < start:
            high = float(values[last])
        elif not up:
            high = float(values[start])
        elif last + 1 < len(values):
            high = self._next(j, float(values[last + 1]), -1)
        else:
            high = self._bound(j, 1)
        if first <= start <= last:  # the start may lie beyond bounds that hold for targets only
            low = low if low is None else min(low, float(values[start]))
            high = high if high is None else max(high, float(values[start]))
        return self._said(j, low), self._said(j, high)

    def _bound(self, j: int, sign: int) -> float | None:
        limit = self.problem.slots[j].feature.max if sign > 0 else self.problem.slots[j].feature.min
        if limit is None:
            return None
        if self.space.has_grid[j]:
            index = self.rows.outer_last[0, j] if sign > 0 else self.rows.outer_first[0, j]
            return self._value(j, int(index))
        edge = float(self.rows.outer_high[0, j] if sign > 0 else self.rows.outer_low[0, j])
        single = np.float32(edge)
        while float(single) * sign > edge * sign:
            single = np.nextafter(single, np.float32(-sign * np.inf))
        return float(single) if abs(edge) < LARGEST else None

    def _next(self, j: int, value: float, sign: int) -> float:
        if self.space.has_grid[j]:
            return self._value(j, self._index(j, value) + sign)
        return float(np.nextafter(np.float32(value), np.float32(sign * np.inf)))

    def _index(self, j: int, value: float) -> int:
        """Return the number of the grid's value nearest to a number."""
        origin, stride, scale = (int(part[0, j]) for part in (self.rows.origin, self.rows.stride, self.rows.scale))
        at = (value * scale - origin) / stride
        return round(min(max(at, -_STEPS), _STEPS))

    def _value(self, j: int, index: int) -> float:
        origin, stride, scale = (int(part[0, j]) for part in (self.rows.origin, self.rows.stride, self.rows.scale))
        return float(origin + index * stride) / float(scale)

    def _said(self, j: int, value: float | None) -> Value:
        if value is None:
            return None
        slot = self.problem.slots[j]
        return int(value) if slot.name == "wait" else parse_value(repr(value), slot.feature)


def examine(view: View, cuts: np.ndarray, first: np.ndarray, last: np.ndarray, when: np.ndarray | None = None) -> bool:
    """Prove that all rows of a box that obey the rules are approved; then extend it, in place. False: not proven."""
    from .search.region import HOLDS
    from .search.widening import examine as run

    rounds = np.full(len(view.moves.value), NEVER, np.int64) if when is None else when
    state = run(view.forest, view.space, view.moves, cuts + view.slack, first, last, rounds, -1, np.zeros(1))
    return bool(state == HOLDS)


def least(view: View, which: int, first: np.ndarray, last: np.ndarray) -> float | None:
    """Return the least raw score of a model over a box's rows that obey the rules; None where it is not proven."""
    from .search.region import HOLDS
    from .search.widening import examine as run

    low, n = np.zeros(1), len(view.forest.base)
    none = np.full(len(view.moves.value), NEVER, np.int64)
    state = run(view.forest, view.space, view.moves, np.zeros(n), first, last, none, which, low)
    return float(low[0]) - float(view.slack[which]) if state == HOLDS else None
