"""Encoded applicants through the kernels: what the search alone says of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .errors import PolicyError
from .linear import LinearSearch

if TYPE_CHECKING:
    from .budget import Budget
    from .plan import Status
    from .problem import Encoded, Problem
    from .search.forest import Forest
    from .search.moves import Rows, Space

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


class _Part(NamedTuple):
    """Rows as the kernel takes them."""

    forest: Forest
    space: Space
    rows: Rows
    which: np.ndarray  # int64[k], the rows to solve
    slack: np.ndarray  # float64[n_models], bound on |our raw score - the library's|


def _view(answers: Answers, part: slice) -> Answers:
    """Return some of the answers, to be written to."""
    return Answers(
        number=answers.number[part],
        value=answers.value[part],
        best=answers.best[part],
        best_number=answers.best_number[part],
        done=answers.done[part],
        more=answers.more[part],
    )


class EnsembleSearch:
    """Rows through the kernels for trees."""

    def __init__(self, problem: Problem, budget: Budget, plans: int) -> None:
        assert problem.forest is not None
        self._problem, self._budget, self._plans = problem, budget, plans
        self._none = np.zeros((0, len(problem.names)), np.uint8)
        self._best_nodes = min(budget.nodes, _BEST_NODES)

    def run(self, encoded: Encoded, refused: np.ndarray, cuts: np.ndarray, answers: Answers, part: slice) -> None:
        """Solve a part of the refused rows, into the answers; `cuts` are float64[k, n_models]."""
        part = slice(*part.indices(len(refused)))
        if self._plans == 1 and self._problem.tabulated is None and not self._problem.slack.any():
            self._call(
                self._part(encoded, refused[part]), cuts[part], self._none, self._best_nodes, _view(answers, part)
            )  # fmt: skip
            return
        for k in range(part.start, part.stop):
            one = self._part(encoded, refused[k : k + 1])
            row = int(refused[k])
            self._one(encoded, row, one, cuts[k], self._none, self._best_nodes, _view(answers, slice(k, k + 1)))
            start = encoded.rows.value[row]
            number, value, taboo = answers.number[k], answers.value[k], self._none
            while number[0] == 0 and len(answers.more[k]) < self._plans - 1:
                changed = (value != start) & ~(np.isnan(value) & np.isnan(start))
                taboo = np.vstack([taboo, changed.astype(np.uint8)[None, :]])
                further = empty_answers(1, len(value))
                self._one(encoded, row, one, cuts[k], taboo, 0, further)
                number, value = further.number[0], further.value[0]
                if number[0] == 0:
                    answers.more[k].append((number, value))

    def _part(self, encoded: Encoded, rows: np.ndarray) -> _Part:
        """Return what the kernel takes for some rows of a chunk: their own trees where they have such."""
        p = self._problem
        assert p.forest is not None
        if p.tabulated is None:
            return _Part(p.forest, p.space, encoded.rows, rows, p.slack)
        alone = p.alone(encoded, int(rows[0]))
        return _Part(alone.forest, alone.space, alone.rows, np.zeros(1, np.int64), alone.slack)

    def _one(
        self, encoded: Encoded, row: int, part: _Part, cut: np.ndarray, taboo: np.ndarray, best_nodes: int, out: Answers
    ) -> None:
        """Solve one row; where our sums are not the library's to the last digit, it decides whether a plan is approved.

        No plan costs less than the cheapest that our sums, and as much as they may be wrong, approve. If the library
        refuses that one, or there are rows of a region that it may refuse, the cheapest is taken that our sums approve
        however wrong they are.
        """
        self._call(part, cut[None, :] - part.slack, taboo, best_nodes, out)
        if out.number[0, 0] != 0 or not part.slack.any():
            return
        p = self._problem
        if p.space.shape == 0:
            matrices = p.scored_matrices(encoded, np.array([row]), out.value[:1])
            raw = [float(model.raw(matrix)[0]) for model, matrix in zip(p.models, matrices, strict=True)]
            if all(score >= least for score, least in zip(raw, cut, strict=True)):
                return
        least, nodes = int(out.number[0, 3]), int(out.number[0, 4])
        self._call(part, cut[None, :] + part.slack, taboo, 0, out)
        status, _, cost, bound, more = out.number[0].tolist()
        bound = min(least, bound) if status == 0 else least
        out.number[0] = (
            (0, bound == cost, cost, bound, nodes + more) if status == 0 else (2, 0, -1, bound, nodes + more)
        )

    def _call(self, part: _Part, cuts: np.ndarray, taboo: np.ndarray, best_nodes: int, out: Answers) -> None:
        from .search.ensemble import solve_rows

        p, dear = self._problem, np.empty(len(part.which), np.int64)
        solve_rows(
            part.forest, part.space, part.rows, part.which, p.max_changes, cuts, taboo, self._budget.nodes, best_nodes,
            out.number, out.best, out.best_number, out.value, dear, out.done,
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

    def run(self, encoded: Encoded, refused: np.ndarray, cuts: np.ndarray, answers: Answers, part: slice) -> None:
        self._search.run(encoded, refused, cuts[:, 0], answers, part)


def search_for(problem: Problem, budget: Budget, plans: int) -> EnsembleSearch | _Linear:
    """Return the search for a problem."""
    return _Linear(problem, budget) if problem.forest is None else EnsembleSearch(problem, budget, plans)
