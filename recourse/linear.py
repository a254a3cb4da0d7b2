"""Plans for additive models: list, solve, and ask the native library where rounding could decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ._line import curve_values, line_of
from .errors import PolicyError
from .problem.layout import with_lists

if TYPE_CHECKING:
    from .budget import Budget
    from .models.additive import Additive
    from .problem import Problem
    from .problem.encoding import Encoded
    from .search.listing import Bends, Listing

_LIMIT = 2**40  # micro-units of one move
_TABLED = 4096  # grid values whose curves are computed without looking for the useful ones
_KEPT = 1024  # curves of grids that are remembered
_BEST_NODES = 20_000  # largest part of the budget for the best score where no plan exists


class LinearSearch:
    """Rows through the knapsack of an additive model; the first plan that the library confirms is the optimum."""

    def __init__(self, problem: Problem, budget: Budget) -> None:
        self._core = cast("Additive", problem.model.core)
        # there are no thresholds that would join levels
        self._problem, self._budget, self._space = problem, budget, with_lists(problem.space, problem.slots, apart=True)
        self._line = line_of(self._core, problem.slots, self._space)
        self._curved = np.flatnonzero(self._line.curved).tolist()
        self._bends: dict[tuple[int, ...], np.ndarray] = {}
        n = len(problem.slots)
        self._straight = _no_bends(n)

    def run(self, encoded: Encoded, refused: np.ndarray, needed: np.ndarray, answers: Any, part: slice) -> None:
        """Solve a part of the refused rows, and write what was found where the finder reads it."""
        from .search.additive import NONE

        for k in range(*part.indices(len(refused))):
            r, cut = int(refused[k]), float(needed[k])
            listing = self._row(encoded, r, cut, answers.number[k], answers.value[k])
            if answers.number[k, 0] == NONE:
                best = self._furthest(encoded, r, listing, answers.value[k])
                answers.best[k], answers.best_number[k] = best[:2], best[2:]

    def _row(self, encoded: Encoded, r: int, cut: float, number: np.ndarray, value: np.ndarray) -> Listing:
        """Solve row r, into `number` and `value`; return its moves."""
        from .search.additive import FOUND, PLAIN, plan_gain, solve
        from .search.listing import list_choices

        p = self._problem
        bends = self._straight if not self._curved else self._bend(encoded, r, cut)
        listing = list_choices(self._line, self._space, encoded.rows, r, cut, bends)
        self._refuse(listing)
        choices, start = listing.choices, listing.choices.start[:-1]
        need = cut - listing.score
        nodes = 0
        floor = np.zeros(len(start), dtype=np.int64)
        while True:
            left = max(0, self._budget.nodes - nodes)
            answer = solve(choices, need, listing.eps, p.max_changes, floor, left, PLAIN)
            nodes += int(answer.nodes)
            value[:] = listing.value[start + answer.moves]
            if answer.status != FOUND:
                break
            sure = plan_gain(choices, answer.moves) >= need + 2.0 * listing.eps
            if sure or self._native(encoded, r, value) >= cut:
                break
            floor = answer.moves
        cost = int(answer.cost) if answer.status == FOUND else -1
        number[:] = (answer.status, answer.proven, cost, answer.bound, nodes)
        return cast("Listing", listing)

    def _furthest(
        self, encoded: Encoded, r: int, listing: Listing, value: np.ndarray
    ) -> tuple[float, float, bool, int]:
        """Leave the plan with the best raw score in `value`; return the score, its bound, exactness and nodes."""
        from .search.additive import furthest

        choices, start = listing.choices, listing.choices.start[:-1]
        moves, lead = furthest(choices, self._problem.max_changes)
        nodes, above = 0, 0.0 if lead > 2.0 * listing.eps else 2.0 * listing.eps
        if len(choices.links.width):
            moves, above, nodes = self._furthest_of_pairs(listing, moves)
        value[:] = listing.value[start + moves]
        raw = self._native(encoded, r, value)
        return raw, raw + above, above == 0.0, nodes

    def _furthest_of_pairs(self, listing: Listing, moves: np.ndarray) -> tuple[np.ndarray, float, int]:
        """Return the plan that gains most, by how much any other may exceed it (0.0: none does), and the nodes.

        Plans that gain more are asked for until there is none; then whether another one comes within rounding.
        """
        from .search.additive import FOUND, NONE, PLAIN, gain_limit, plan_gain, solve

        choices, eps, limit = listing.choices, listing.eps, self._problem.max_changes
        most = min(self._budget.nodes, _BEST_NODES)
        best, nodes = plan_gain(choices, moves), 0
        stay = np.zeros(len(moves), np.int64)
        while True:
            answer = solve(choices, best + 2.0 * eps, eps, limit, stay, most - nodes, PLAIN)
            nodes += int(answer.nodes)
            if answer.status != FOUND:
                break
            moves = answer.moves
            best = plan_gain(choices, moves)
        if answer.status != NONE:
            return moves, max(0.0, gain_limit(choices, limit) - best) + 2.0 * eps, nodes
        others = 0
        floor = stay
        while others < 2:
            answer = solve(choices, best - eps, eps, limit, floor, most - nodes, PLAIN)
            nodes += int(answer.nodes)
            if answer.status != FOUND:
                break
            floor = answer.moves
            others += 1
        alone = answer.status == NONE and others <= 1 and best > 2.0 * eps
        return moves, 0.0 if alone else 3.0 * eps, nodes

    def _native(self, encoded: Encoded, r: int, value: np.ndarray) -> float:
        """Return the library's raw score of row r at these values."""
        p = self._problem
        row = p.scored_matrices(encoded, np.array([r]), value[None])[0]
        return float(p.model.raw(row)[0])

    # ---------------------------------------------------------------------------------------------------------- curves

    def _bend(self, encoded: Encoded, r: int, cut: float) -> Bends:
        """Return what curves add at row r's value and at the useful values of its grids."""
        from .search.listing import Bends

        p, rows = self._problem, encoded.rows
        n = len(p.slots)
        home, first = np.zeros(n), np.zeros(n, np.int64)
        parts = [np.empty(0)] * n
        need = cut - float(self._core.evaluate(encoded.matrix[r : r + 1])[0])
        for j in self._curved:
            home[j] = curve_values(self._core, p.slots[j], rows.value[r, j : j + 1])[0]
            if rows.movable[r, j]:
                grid = (rows.origin[r, j], rows.stride[r, j], rows.scale[r, j])
                low, high = self._useful(j, grid, int(rows.first[r, j]), int(rows.last[r, j]), rows.value[r, j], need)
                first[j], parts[j] = low, self._curve(j, grid, low, high)
        start = np.cumsum([0, *map(len, parts)])
        return Bends(home, first, start, np.concatenate([np.empty(0), *parts]))

    def _curve(self, j: int, grid: tuple[Any, ...], low: int, high: int) -> np.ndarray:
        """Return what feature j's curves add at the grid's values number low to high."""
        key = (j, *map(int, grid), low, high)
        if key not in self._bends:
            if len(self._bends) >= _KEPT:
                self._bends.clear()
            origin, stride, scale = grid
            x = (origin + np.arange(low, high + 1) * stride).astype(np.float64) / float(scale)
            self._bends[key] = curve_values(self._core, self._problem.slots[j], x)
        return self._bends[key]

    def _useful(self, j: int, grid: tuple[Any, ...], low: int, high: int, start: float, need: float) -> tuple[int, int]:
        """Return the range of a grid within which curves can gain what is needed, or still rise at all."""
        if high - low < _TABLED:
            return low, high
        origin, stride, scale = (int(part) for part in grid)
        home = min(max(int(np.floor((start * scale - origin) / stride)), low), high)
        if sum(t.curve is not None and t.column == self._problem.place[j] for t in self._core.terms) > 1:
            raise self._too_many(j)
        ends = []
        for end in (low, high):
            values = self._curve(j, grid, home, home)[0], self._curve(j, grid, end, end)[0]
            rising = values[1] >= values[0]
            target = min(values[1], values[0] + 1.01 * max(need, 0.0) + 1e-6) if rising else values[1]
            near, far = home, end  # the first value from home on that reaches the target (or is as low as the end)
            while abs(far - near) > 1:
                middle = (near + far) // 2
                at = self._curve(j, grid, middle, middle)[0]
                if at >= target if rising else at <= target:
                    far = middle
                else:
                    near = middle
            # a falling side is of no use, but one value is kept, as of any feature
            ends.append(far if rising else home)
        if ends[1] - ends[0] > _most():
            raise self._too_many(j)
        return max(low, ends[0] - 1), min(high, ends[1] + 1)

    # ---------------------------------------------------------------------------------------------------------- errors

    def _too_many(self, j: int) -> PolicyError:
        return PolicyError(
            f"features.{self._problem.names[j]}: more than {_most():,} values of the grid lie between "
            "an applicant and approval. Give the feature a coarser step, bounds or a max_change."
        )

    def _refuse(self, listing: Listing) -> None:
        """Refuse what cannot be priced or listed, by the feature's name."""
        if listing.overlong >= 0:
            raise self._too_many(int(listing.overlong))
        dear = np.flatnonzero(listing.choices.cost > _LIMIT)
        if len(dear):
            j = int(np.searchsorted(listing.choices.start, dear[0], side="right")) - 1
            raise PolicyError(
                f"features.{self._problem.names[j]}: a move costs more than 2^40 micro-units. "
                "Give the feature bounds or a max_change, or lower its weight."
            )


def _most() -> int:
    from .search.listing import MOST

    return MOST


def _no_bends(n: int) -> Bends:
    from .search.listing import Bends

    return Bends(np.zeros(n), np.zeros(n, np.int64), np.zeros(n + 1, np.int64), np.empty(0))
