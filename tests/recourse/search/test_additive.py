"""The knapsack search finds the first plan in order, proves it, and can be asked to go on."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from recourse.search.additive import FOUND, NONE, PLAIN, UNKNOWN, Answer, Choices, furthest, solve

BUDGET = 1_000_000
Key = tuple[int, int, tuple[int, ...]]  # cost, changes, ranks
Verdict = Callable[[list[float]], bool]


class Move(NamedTuple):
    cost: int
    gain: float


def choices(features: list[list[Move]]) -> Choices:
    """Lay out moves by feature; "stay" comes first and costs follow in order."""
    ordered = [[Move(0, 0.0), *sorted(moves, key=lambda m: m.cost)] for moves in features]
    start = np.cumsum([0, *map(len, ordered)]).astype(np.int64)
    flat = [move for moves in ordered for move in moves]
    return Choices(start, np.array([m.cost for m in flat]), np.array([float(m.gain) for m in flat]))


def lists(problem: Choices) -> list[list[Move]]:
    cost, gain = problem.cost.tolist(), problem.gain.tolist()
    ends = problem.start.tolist()
    return [[Move(cost[p], gain[p]) for p in range(a, b)] for a, b in itertools.pairwise(ends)]


def gains(problem: Choices, ranks: tuple[int, ...]) -> list[float]:
    return [moves[r].gain for moves, r in zip(lists(problem), ranks, strict=True)]


def naive(problem: Choices, accept: Verdict, max_changes: int) -> Key | None:
    """Return (cost, changes, ranks) of the first acceptable plan in order, by looking at every one."""
    features = lists(problem)
    plans = []
    for ranks in itertools.product(*[range(len(moves)) for moves in features]):
        changes = sum(r > 0 for r in ranks)
        if 0 < changes and (max_changes < 0 or changes <= max_changes) and accept(gains(problem, ranks)):
            cost = sum(moves[r].cost for moves, r in zip(features, ranks, strict=True))
            plans.append((cost, changes, ranks[::-1]))
    if not plans:
        return None
    cost, changes, ranks = min(plans)
    return cost, changes, ranks[::-1]


def confirmed(
    problem: Choices, need: float, eps: float, accept: Verdict, max_changes: int, plain: int
) -> tuple[Answer, int]:
    """Ask again and again until a plan is confirmed, as the finder does; also return the number of refusals."""
    floor = np.zeros(len(problem.start) - 1, dtype=np.int64)
    for refusals in range(100_000):
        answer = solve(problem, need, eps, max_changes, floor, BUDGET, plain)
        assert answer.status in (FOUND, NONE)
        if answer.status == NONE or accept(gains(problem, tuple(answer.moves.tolist()))):
            return answer, refusals
        assert key(problem, answer.moves) > key(problem, floor)
        floor = answer.moves
    raise AssertionError("never confirmed")


def key(problem: Choices, moves: np.ndarray) -> Key:
    cost = int(sum(problem.cost[problem.start[:-1] + moves]))
    return cost, int(np.count_nonzero(moves)), tuple(moves.tolist()[::-1])


def agrees(problem: Choices, answer: Answer, expected: Key | None) -> None:
    if expected is None:
        assert answer.status == NONE
        return
    assert answer.status == FOUND
    assert (answer.cost, answer.changes, tuple(answer.moves.tolist())) == expected
    assert answer.proven
    assert answer.bound == answer.cost


# Small numbers, so that ties, useless moves and free moves are common.
COARSE = st.builds(Move, st.integers(0, 6), st.integers(-2, 5).map(float))
FINE = st.builds(Move, st.integers(0, 2_000_000), st.floats(-1, 1, width=32))
LIMIT = st.integers(-1, 4)
DESCENT = st.sampled_from([0, 3, PLAIN])  # when to decide first which features change


def features(move: st.SearchStrategy[Move]) -> st.SearchStrategy[list[list[Move]]]:
    return st.lists(st.lists(move, max_size=5), min_size=1, max_size=5)


@given(features(COARSE), st.integers(1, 20), LIMIT, DESCENT)
def test_the_first_plan_of_all_is_found(moves: list[list[Move]], need: int, limit: int, plain: int) -> None:
    """With exact sums and many ties, cost, number of changes and ranks are those of the enumeration."""
    problem = choices(moves)
    answer, _ = confirmed(problem, need, 0.0, lambda g: sum(g) >= need, limit, plain)
    agrees(problem, answer, naive(problem, lambda g: sum(g) >= need, limit))


@given(features(FINE), st.floats(0.001, 4), LIMIT, DESCENT)
def test_fractions_are_added_safely(moves: list[list[Move]], need: float, limit: int, plain: int) -> None:
    """With sums that round, the plan is the enumeration's under the sum from the first feature to the last."""
    problem = choices(moves)
    eps = 1e-13
    answer, _ = confirmed(problem, need, eps, lambda g: sum(g) >= need, limit, plain)
    agrees(problem, answer, naive(problem, lambda g: sum(g) >= need, limit))


@given(features(COARSE), st.integers(0, 12), LIMIT, st.sampled_from([0.5, 1.0, 2.0]), st.integers(), DESCENT)
def test_refused_plans_are_passed_over(
    moves: list[list[Move]], need: int, limit: int, eps: float, salt: int, plain: int
) -> None:
    """However the library decides within eps, going on after refusals ends at the first plan that it accepts."""

    def accept(g: list[float]) -> bool:
        noise = zlib.crc32(repr((salt, g)).encode()) / 2**32  # in [0, 1)
        return sum(g) + eps * (2 * noise - 1) >= need

    assume(not accept([0.0] * len(moves)))  # an applicant who stays was refused
    problem = choices(moves)
    answer, _ = confirmed(problem, need, eps, accept, limit, plain)
    agrees(problem, answer, naive(problem, accept, limit))


def test_every_tie_is_visited_in_order() -> None:
    """Equal plans come one after the other, compared from the last feature to the first, and then none is left."""
    problem = choices([[Move(1, 1.0)]] * 4)
    floor, seen = np.zeros(4, dtype=np.int64), []
    while (answer := solve(problem, 2.0, 0.0, 2, floor, BUDGET, PLAIN)).status == FOUND:
        floor = answer.moves
        seen.append(tuple(floor.tolist()))
    assert seen == sorted((r for r in itertools.product((0, 1), repeat=4) if sum(r) == 2), key=lambda r: r[::-1])


@given(st.integers(0, 10_000), st.integers(6, 12), st.sampled_from([-1, 2, 3, 4]), DESCENT)
def test_larger_problems_agree_with_integer_programming(seed: int, n: int, limit: int, plain: int) -> None:
    """On lists like those of applicants, fixed charges included, the cost is that of an independent solver."""
    from ortools.sat.python import cp_model

    rng = np.random.default_rng(seed)
    moves = []
    for _ in range(n):
        steps, charge, price = int(rng.integers(1, 40)), int(rng.integers(0, 3)) * 50_000, rng.uniform(1e3, 2e5)
        weight = int(rng.integers(-50, 200))
        moves.append([Move(round(charge + price * i), float(weight * i)) for i in range(1, steps + 1)])
    problem = choices(moves)
    need = float(round(rng.uniform(0.05, 0.9) * sum(max(0.0, *(m.gain for m in f)) for f in moves)))
    answer, _ = confirmed(problem, need, 0.0, lambda g: sum(g) >= need, limit, plain)
    model = cp_model.CpModel()
    used = [model.new_bool_var("") for _ in range(len(problem.cost))]
    ends = problem.start.tolist()
    for a, b in itertools.pairwise(ends):
        model.add_exactly_one(used[a:b])
    model.add(sum(int(g) * u for g, u in zip(problem.gain, used)) >= int(need))
    if limit >= 0:
        model.add(sum(u for p, u in enumerate(used) if p not in ends) <= limit)
    model.minimize(sum(int(c) * u for c, u in zip(problem.cost, used)))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        assert answer.status == NONE
        return
    assert status == cp_model.OPTIMAL
    assert (answer.status, answer.proven, answer.cost) == (FOUND, True, round(solver.objective_value))


@given(st.integers(0, 10_000), st.integers(0, 60), DESCENT)
def test_a_spent_budget_leaves_an_honest_bound(seed: int, budget: int, plain: int) -> None:
    """When nodes run out, the bound is below the optimum, and any plan in hand is valid and above it."""
    rng = np.random.default_rng(seed)
    moves = [[Move(int(rng.integers(1, 1000)), float(rng.integers(1, 1000))) for _ in range(12)] for _ in range(12)]
    problem = choices(moves)
    need = 4000.0
    floor = np.zeros(12, dtype=np.int64)
    full = solve(problem, need, 0.0, 6, floor, BUDGET, PLAIN)
    part = solve(problem, need, 0.0, 6, floor, budget, plain)
    assert full.proven
    assert part.nodes <= budget + 2
    assert part.status in (FOUND, UNKNOWN)
    assert part.bound <= full.cost
    if part.status == FOUND:
        assert part.cost >= full.cost
        assert sum(gains(problem, tuple(part.moves.tolist()))) >= need
        assert np.count_nonzero(part.moves) == part.changes <= 6
        assert not part.proven or part.cost == full.cost


@given(features(COARSE), LIMIT)
def test_the_furthest_plan_gains_most(moves: list[list[Move]], limit: int) -> None:
    """No plan within the limit gains more than the furthest, and none is needed beyond it."""
    problem = choices(moves)
    best, lead = furthest(problem, limit)
    top = sum(gains(problem, tuple(best.tolist())))
    assert limit < 0 or np.count_nonzero(best) <= limit
    assert naive(problem, lambda g: sum(g) > top, limit) is None
    if lead > 0.0:  # then every other plan gains less, up to moves that gain nothing
        useful = [g for g in gains(problem, tuple(best.tolist())) if g != 0.0]
        assert naive(problem, lambda g: sum(g) == top and [x for x in g if x != 0.0] != useful, limit) is None
    answer = solve(problem, top + 0.5, 0.0, limit, np.zeros(len(best), dtype=np.int64), BUDGET, PLAIN)
    assert answer.status == NONE


def test_an_infinite_need_is_refused_at_once() -> None:
    """Where no raw score is approved, that is the proof."""
    problem = choices([[Move(1, 1.0)]])
    assert solve(problem, np.inf, 0.0, -1, np.zeros(1, dtype=np.int64), BUDGET, PLAIN).status == NONE


def test_nothing_to_move_is_no_plan() -> None:
    """Without moves there is nothing to find, whatever is needed."""
    problem = choices([[], []])
    assert solve(problem, -1.0, 0.0, -1, np.zeros(2, dtype=np.int64), BUDGET, PLAIN).status == NONE
