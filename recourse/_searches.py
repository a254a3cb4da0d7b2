"""Encoded applicants through the kernels: what the search alone says of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import PolicyError
from .linear import LinearSearch

if TYPE_CHECKING:
    from .budget import Budget
    from .plan import Status
    from .problem import Encoded, Problem

STATUSES: tuple[Status, ...] = ("found", "none_exists", "none_found")
_BEST_NODES = 20_000  # largest part of the budget for the best score where no plan exists


class Solved(NamedTuple):
    """What the search alone says of one applicant; costs in micro-units."""

    status: Status
    proven: bool
    cost_micro: int
    bound_micro: int
    nodes: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Encoded applicants, for timing the search alone (`Finder.solve`)."""

    encoded: Encoded
    moves: tuple[Any, ...]


class Answers(NamedTuple):
    """What the search says of the refused rows of a chunk."""

    number: np.ndarray  # int64[k, 5]: status, proven, cost, bound, nodes
    value: np.ndarray  # float64[k, n]
    best: np.ndarray  # float64[k, 2]: value and bound of the raw score, where no plan exists
    best_number: np.ndarray  # int64[k, 2]: proven, nodes
    done: np.ndarray  # uint8[k], 1 once a row is answered (or its task is done)
    more: list[list[tuple[np.ndarray, np.ndarray]]]  # for each row, `number` and `value` of its further plans


def empty_answers(k: int, n: int) -> Answers:
    """Return room for the answers to k rows of n features."""
    return Answers(
        number=np.zeros((k, 5), np.int64),
        value=np.zeros((k, n)),
        best=np.zeros((k, 2)),
        best_number=np.zeros((k, 2), np.int64),
        done=np.zeros(k, np.uint8),
        more=[[] for _ in range(k)],
    )


class EnsembleSearch:
    """Rows through the kernels for trees."""

    def __init__(self, problem: Problem, budget: Budget, plans: int) -> None:
        assert problem.forest is not None
        self._problem, self._budget, self._plans = problem, budget, plans
        self._none = np.zeros((0, len(problem.names)), np.uint8)

    def moves(self, encoded: Encoded) -> tuple[Any, ...]:
        """Return the moves of each row."""
        from .search.moves import build_moves

        return tuple(build_moves(self._problem.space, encoded.rows, i) for i in range(len(encoded.matrix)))

    def solve(self, batch: Batch, i: int, cuts: np.ndarray) -> Solved:
        """Search for row `i` of a batch alone."""
        from .search.ensemble import solve_moves

        p, nodes = self._problem, self._budget.nodes
        number, score, best = np.zeros(5, np.int64), np.zeros(2), np.zeros(2, np.int64)
        solve_moves(
            p.forest, p.space, batch.moves[i], p.max_changes, cuts, self._none, nodes, 0, number, score, best
        )  # fmt: skip
        status, proven, cost, bound, nodes = number.tolist()
        return Solved(STATUSES[status], bool(proven), cost, bound, nodes)

    def run(self, encoded: Encoded, refused: np.ndarray, cuts: np.ndarray, answers: Answers, part: slice) -> None:
        """Solve a part of the refused rows, into the answers; `cuts` are float64[k, n_models]."""
        part = slice(*part.indices(len(refused)))
        best_nodes = min(self._budget.nodes, _BEST_NODES)
        self._call(
            encoded, refused[part], cuts[part], self._none, best_nodes, answers.number[part], answers.best[part],
            answers.best_number[part], answers.value[part], answers.done[part] if self._plans == 1 else None,
        )  # fmt: skip
        if self._plans > 1:
            for k in range(part.start, part.stop):
                self._further(encoded, refused[k : k + 1], cuts[k : k + 1], answers, k)

    def _further(self, encoded: Encoded, row: np.ndarray, cut: np.ndarray, answers: Answers, k: int) -> None:
        """Solve row k again for plans that change none of the sets of features of those it has."""
        start = encoded.rows.value[row[0]]
        number, value = answers.number[k], answers.value[k]
        taboo = self._none
        while number[0] == 0 and len(answers.more[k]) < self._plans - 1:
            changed = (value != start) & ~(np.isnan(value) & np.isnan(start))
            taboo = np.vstack([taboo, changed.astype(np.uint8)[None, :]])
            numbers, values = np.zeros((1, 5), np.int64), np.zeros((1, len(value)))
            self._call(
                encoded, row, cut, taboo, 0, numbers, np.zeros((1, 2)), np.zeros((1, 2), np.int64), values
            )  # fmt: skip
            number, value = numbers[0], values[0]
            if number[0] == 0:
                answers.more[k].append((number, value))

    def _call(
        self, encoded: Encoded, rows: np.ndarray, cuts: np.ndarray, taboo: np.ndarray, best_nodes: int,
        number: np.ndarray, best: np.ndarray, best_number: np.ndarray, value: np.ndarray,
        done: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        from .search.ensemble import solve_rows

        p, dear = self._problem, np.empty(len(rows), np.int64)
        solve_rows(
            p.forest, p.space, encoded.rows, rows, p.max_changes, cuts, taboo, self._budget.nodes, best_nodes, number,
            best, best_number, value, dear, np.zeros(len(rows), np.uint8) if done is None else done,
        )  # fmt: skip
        worst = np.flatnonzero(dear >= 0)
        if len(worst):
            raise PolicyError(
                f"features.{p.names[int(dear[worst[0]])]}: a move costs more than 2^40 micro-units. "
                "Give the feature bounds or a max_change, or lower its weight."
            )


class _Linear:
    """A single additive model through its knapsack."""

    def __init__(self, problem: Problem, budget: Budget) -> None:
        self._search = LinearSearch(problem, budget)

    def moves(self, encoded: Encoded) -> tuple[Any, ...]:
        return self._search.moves(encoded)

    def solve(self, batch: Batch, i: int, cuts: np.ndarray) -> Solved:
        return self._search.solve(batch, i, float(cuts[0]))

    def run(self, encoded: Encoded, refused: np.ndarray, cuts: np.ndarray, answers: Answers, part: slice) -> None:
        self._search.run(encoded, refused, cuts[:, 0], answers, part)


def search_for(problem: Problem, budget: Budget, plans: int) -> EnsembleSearch | _Linear:
    """Return the search for a problem."""
    return _Linear(problem, budget) if problem.forest is None else EnsembleSearch(problem, budget, plans)
