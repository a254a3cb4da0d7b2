"""How far around a plan every row is approved, and the least score there: boxes of positions, proven and extended."""

from __future__ import annotations

import numpy as np

from .coupling import make_sight
from .forest import ACTS, OF, OFFSET, SIZE, Forest, activate, specialise
from .incumbent import Case, Goal, make_climb, native_score
from .jit import inner, kernel
from .moves import Moves, Space
from .region import FAILS, HOLDS, refute

NEVER = 1 << 62  # the round of a position that a box does not extend to


@kernel
def examine(
    forest: Forest, space: Space, moves: Moves, cut: np.ndarray, first: np.ndarray, last: np.ndarray, when: np.ndarray,
    which: int, least: np.ndarray,
) -> int:  # fmt: skip
    """Prove a box of one applicant's positions, extend it, or find the least score in it.

    Rows that violate a rule do not count.

    Parameters
    ----------
    cut : float64[n_models]
        Smallest native raw scores that are approved.
    first, last : int64[n]
        The box, by feature of the space; receives the extended one.
    when : int64[n_moves]
        The round in which the box is extended to a position; in one round features go in their order, up before down.
    which : int
        -1, or the model whose least raw score is wanted; then nothing is proven or extended.
    least : float64[1]
        Receives that score: a row of the box has it (inf where no row obeys the rules).

    Returns
    -------
    int
        HOLDS where all rows are approved (or the least score is proven), else FAILS or UNDECIDED.
    """
    active = activate(space, moves)
    n, n_models = len(active.table), len(cut)
    case = Case(
        forest, space, moves, active, specialise(forest, space, moves, active), make_sight(space, moves, active),
        make_climb(active, n_models), np.zeros((0, n), np.uint8), True,
    )  # fmt: skip
    low, high = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for a in range(n):
        if active.table[a, ACTS]:
            low[a], high[a] = first[active.table[a, OF]], last[active.table[a, OF]]
    if which >= 0:
        return _least(case, which, low, high, least)
    goal = Goal(cut, cut * forest.divisor, forest.eps, n)
    bad = np.empty(n, np.int64)
    state = refute(case, goal, low, high, bad)
    if state == HOLDS:
        _extend(case, goal, low, high, when)
        for a in range(n):
            if active.table[a, ACTS]:
                first[active.table[a, OF]], last[active.table[a, OF]] = low[a], high[a]
    return state


@inner
def _least(case: Case, which: int, low: np.ndarray, high: np.ndarray, least: np.ndarray) -> int:
    """Find the least raw score of a model in a box: ask for a lower one until there is provably none."""
    n_models, bad = len(case.forest.base), np.empty(len(low), np.int64)
    cut, need = np.full(n_models, -np.inf), np.full(n_models, -np.inf)
    cut[which], need[which] = np.inf, np.inf
    goal = Goal(cut, need, case.forest.eps, len(low))
    state = FAILS
    while state == FAILS:
        state = refute(case, goal, low, high, bad)
        if state == FAILS:
            cut[which] = native_score(case, which, bad)
            need[which] = cut[which] * case.forest.divisor[which]
    least[0] = cut[which]
    return state


@inner
def _extend(case: Case, goal: Goal, low: np.ndarray, high: np.ndarray, when: np.ndarray) -> None:
    """Extend a box that holds, position by position; a side that fails once fails from then on."""
    n = len(low)
    closed = np.zeros((n, 2), np.uint8)
    first, last, bad = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    while True:
        side_a, side, soonest = -1, 0, np.int64(NEVER)
        for a in range(n):
            at, size = case.active.table[a, OFFSET], case.active.table[a, SIZE]
            if not case.active.table[a, ACTS]:
                continue
            if not closed[a, 0] and high[a] + 1 < size and when[at + high[a] + 1] < soonest:
                side_a, side, soonest = a, 0, when[at + high[a] + 1]
            if not closed[a, 1] and low[a] > 0 and when[at + low[a] - 1] < soonest:
                side_a, side, soonest = a, 1, when[at + low[a] - 1]
        if side_a < 0:
            return
        p = high[side_a] + 1 if side == 0 else low[side_a] - 1
        for a in range(n):
            first[a], last[a] = low[a], high[a]
        first[side_a], last[side_a] = p, p  # only what is new
        if refute(case, goal, first, last, bad) != HOLDS:
            closed[side_a, side] = 1
        elif side == 0:
            high[side_a] = p
        else:
            low[side_a] = p
