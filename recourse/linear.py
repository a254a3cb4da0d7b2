"""Plans for linear models: list, solve, and ask the native library where rounding could decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .errors import PolicyError

if TYPE_CHECKING:
    from .finder import Batch, Budget, Solved
    from .models.additive import Additive
    from .problem import Encoded, Problem
    from .search.moves import Space

_STATUSES = ("found", "none_exists", "none_found")
_LIMIT = 2**40  # micro-units of one move


class LinearSearch:
    """Rows through the knapsack of a linear model; the first plan that the native library confirms is the optimum."""

    def __init__(self, problem: Problem, budget: Budget) -> None:
        from .search.listing import Line

        core = cast("Additive", problem.model.core)
        assert problem.weight is not None
        starts = np.cumsum([0, *map(len, problem.scale)]).astype(np.int64)
        number = np.concatenate([*problem.scale, np.empty(0)]).astype(np.float64)
        self._problem, self._budget, self._space = problem, budget, _every_level(problem)
        self._line = Line(np.ascontiguousarray(problem.weight), float(core.intercept), starts, number)

    def moves(self, encoded: Encoded) -> tuple[Any, ...]:
        """Return nothing: the moves of a linear model depend on what is needed, and are listed in `solve`."""
        return (None,) * len(encoded.matrix)

    def solve(self, batch: Batch, i: int, cut: float) -> Solved:
        """Search for row `i` of a batch alone."""
        from .finder import Solved

        number = np.zeros(5, np.int64)
        self._row(batch.encoded, i, cut, number, np.zeros(len(self._problem.names)))
        status, proven, cost, bound, nodes = number.tolist()
        return Solved(_STATUSES[status], bool(proven), cost, bound, nodes)  # type: ignore[arg-type]

    def run(self, encoded: Encoded, refused: np.ndarray, needed: np.ndarray, answers: Any, part: slice) -> None:
        """Solve a part of the refused rows, and write what was found where the finder reads it."""
        for k in range(*part.indices(len(refused))):
            r, cut = int(refused[k]), float(needed[k])
            best = self._row(encoded, r, cut, answers.number[k], answers.value[k])
            if best is not None:
                answers.best[k], answers.best_number[k] = best[:2], (best[2], 0)

    def _row(
        self, encoded: Encoded, r: int, cut: float, number: np.ndarray, value: np.ndarray
    ) -> tuple[float, float, bool] | None:
        """Solve row r, into `number` and `value`.

        Where no plan exists, return the best raw score, its bound and whether it is exact, and leave the plan that has
        it in `value`.
        """
        from .search.additive import FOUND, NONE, PLAIN, furthest, solve
        from .search.listing import list_choices

        p = self._problem
        listing = list_choices(self._line, self._space, encoded.rows, r, cut)
        self._refuse(listing)
        choices, start = listing.choices, listing.choices.start[:-1]
        need = cut - listing.score
        nodes = 0
        floor = np.zeros(len(start), dtype=np.int64)
        while True:
            left = max(0, self._budget.nodes - nodes)
            answer = solve(choices, need, listing.eps, p.max_changes, floor, left, PLAIN)
            nodes += int(answer.nodes)
            at = start + answer.moves
            value[:] = listing.value[at]
            if answer.status != FOUND:
                break
            sure = float(choices.gain[at].sum()) >= need + 2.0 * listing.eps
            if sure or self._native(encoded, r, answer.moves, value) >= cut:
                break
            floor = answer.moves
        cost = int(answer.cost) if answer.status == FOUND else -1
        number[:] = (answer.status, answer.proven, cost, answer.bound, nodes)
        if answer.status != NONE:
            return None
        best, lead = furthest(choices, p.max_changes)
        value[:] = listing.value[start + best]
        raw = self._native(encoded, r, best, value)
        exact = bool(lead > 2.0 * listing.eps)
        return raw, raw if exact else raw + 2.0 * listing.eps, exact

    def _native(self, encoded: Encoded, r: int, moves: np.ndarray, value: np.ndarray) -> float:
        """Return the library's raw score of row r after the moves."""
        p = self._problem
        row = encoded.matrix[r : r + 1].copy()
        for j in np.flatnonzero(moves):
            row[0, p.place[j]] = p.scale[j][int(value[j])] if p.features[j].listed else value[j]
        return float(p.model.raw(row)[0])

    def _refuse(self, listing: Any) -> None:
        """Refuse what cannot be priced or listed, by the feature's name."""
        from .search.listing import MOST

        if listing.overlong >= 0:
            raise PolicyError(
                f"features.{self._problem.names[listing.overlong]}: more than {MOST:,} values of the grid lie between "
                "an applicant and approval. Give the feature a coarser step, bounds or a max_change."
            )
        dear = np.flatnonzero(listing.choices.cost > _LIMIT)
        if len(dear):
            j = int(np.searchsorted(listing.choices.start, dear[0], side="right")) - 1
            raise PolicyError(
                f"features.{self._problem.names[j]}: a move costs more than 2^40 micro-units. "
                "Give the feature bounds or a max_change, or lower its weight."
            )


def _every_level(problem: Problem) -> Space:
    """Return the space with all levels told apart: there are no thresholds that would join them."""
    from .problem import _list_moves

    start, level, cost = [0], [], []
    for j, (feature, scale) in enumerate(zip(problem.features, problem.scale, strict=True)):
        for a in range(len(scale)):
            for target, micro in _list_moves(problem.space, j, feature, scale, np.arange(len(scale)), a):
                level.append(target)
                cost.append(micro)
            start.append(len(level))
    return problem.space._replace(
        list_start=np.array(start, np.int64),
        list_level=np.array(level, np.int64),
        list_cost=np.array(cost, np.int64),
        list_cell=np.zeros(len(level), np.int64),
    )
