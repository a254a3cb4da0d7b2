"""The knapsack search finds the first plan in order, proves it, and can be asked to go on."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from recourse.search.additive import (
    FOUND,
    NONE,
    PLAIN,
    TINY,
    UNKNOWN,
    Answer,
    Choices,
    furthest,
    gain_limit,
    plan_gain,
    solve,
)  # fmt: skip
from recourse.search.links import Links, unlinked

BUDGET = 1_000_000
Key = tuple[int, int, tuple[int, ...]]  # cost, changes, ranks
Verdict = Callable[[list[float]], bool]


class Move(NamedTuple):
    cost: int
    gain: float


class Table(NamedTuple):
    """What two features add together: `value[cell of the first's move][cell of the second's]`."""

    first: int
    second: int
    cells: tuple[list[int], list[int]]  # by rank
    value: list[list[float]]

    def adds(self, ranks: tuple[int, ...]) -> float:
        """Return what both moves add to their gains alone."""
        (a0, a), (b0, b) = ((c[0], c[ranks[f]]) for c, f in zip(self.cells, (self.first, self.second)))
        t = self.value
        return 0.0 if 0 in (ranks[self.first], ranks[self.second]) else t[a][b] - t[a][b0] - (t[a0][b] - t[a0][b0])


def choices(features: list[list[Move]], tables: tuple[Table, ...] = ()) -> Choices:
    """Lay out moves by feature; "stay" comes first and costs follow in order."""
    ordered = [[Move(0, 0.0), *sorted(moves, key=lambda m: m.cost)] for moves in features]
    start = np.cumsum([0, *map(len, ordered)]).astype(np.int64)
    flat = [move for moves in ordered for move in moves]
    links = unlinked()
    if tables:
        sizes = [len(cells) for t in tables for cells in t.cells]
        values = [np.array(t.value) for t in tables]
        links = Links(
            feature=np.array([[t.first, t.second] for t in tables]),
            cell_start=np.cumsum([0, *sizes[:-1]]).reshape(-1, 2),
            cell=np.concatenate([cells for t in tables for cells in t.cells]),
            table_start=np.cumsum([0, *(v.size for v in values[:-1])]),
            width=np.array([v.shape[1] for v in values]),
            table=np.concatenate([v.ravel() for v in values]).astype(np.float64),
            size=np.array([float(np.abs(v).max()) for v in values]),
        )
    return Choices(start, np.array([m.cost for m in flat]), np.array([float(m.gain) for m in flat]), links)


def lists(problem: Choices) -> list[list[Move]]:
    cost, gain = problem.cost.tolist(), problem.gain.tolist()
    ends = problem.start.tolist()
    return [[Move(cost[p], gain[p]) for p in range(a, b)] for a, b in itertools.pairwise(ends)]


def gains(problem: Choices, ranks: tuple[int, ...]) -> list[float]:
    return [moves[r].gain for moves, r in zip(lists(problem), ranks, strict=True)]


def naive(problem: Choices, accept: Verdict, max_changes: int, tables: tuple[Table, ...] = ()) -> Key | None:
    """Return (cost, changes, ranks) of the first acceptable plan in order, by looking at every one.

    `accept` is given the plan's gains, those of pairs after those of features.
    """
    features = lists(problem)
    plans = []
    for ranks in itertools.product(*[range(len(moves)) for moves in features]):
        changes = sum(r > 0 for r in ranks)
        added = gains(problem, ranks) + [t.adds(ranks) for t in tables]
        if 0 < changes and (max_changes < 0 or changes <= max_changes) and accept(added):
            cost = sum(moves[r].cost for moves, r in zip(features, ranks, strict=True))
            plans.append((cost, changes, ranks[::-1]))
    if not plans:
        return None
    cost, changes, ranks = min(plans)
    return cost, changes, ranks[::-1]


def confirmed(
    problem: Choices,
    need: float,
    eps: float,
    accept: Verdict,
    max_changes: int,
    plain: int,
    tables: tuple[Table, ...] = (),
) -> tuple[Answer, int]:
    """Ask again and again until a plan is confirmed, as the finder does; also return the number of refusals."""
    floor = np.zeros(len(problem.start) - 1, dtype=np.int64)
    for refusals in range(100_000):
        answer = solve(problem, need, eps, max_changes, floor, BUDGET, plain)
        assert answer.status in (FOUND, NONE)
        ranks = tuple(answer.moves.tolist())
        if answer.status == NONE or accept(gains(problem, ranks) + [t.adds(ranks) for t in tables]):
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


@st.composite
def paired(draw: st.DrawFn, move: st.SearchStrategy[Move], value: st.SearchStrategy[float]) -> tuple[Choices, tuple]:
    """Features with pairs among them; no move is without effect unless its gain is 0 and so are its cells."""
    moves = draw(st.lists(st.lists(move, max_size=4), min_size=2, max_size=5))
    couples = draw(
        st.lists(st.sampled_from(list(itertools.combinations(range(len(moves)), 2))), max_size=5, unique=True)
    )
    tables = []
    for first, second in couples:
        shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        cells = tuple(
            draw(st.lists(st.integers(0, m - 1), min_size=len(moves[f]) + 1, max_size=len(moves[f]) + 1))
            for f, m in zip((first, second), shape)
        )
        row = st.lists(value, min_size=shape[1], max_size=shape[1])
        tables.append(Table(first, second, cells, draw(st.lists(row, min_size=shape[0], max_size=shape[0]))))
    problem = choices(moves, tuple(tables))
    stays = problem.start[:-1]
    for k, t in enumerate(tables):
        for side, f in enumerate((t.first, t.second)):
            for rank in range(1, len(moves[f]) + 1):
                if t.cells[side][rank] != t.cells[side][0] and problem.gain[stays[f] + rank] == 0.0:
                    problem.gain[stays[f] + rank] = TINY  # as the listing marks what changes a term by nothing
        assert problem.links.feature[k].tolist() == [t.first, t.second]
    return problem, tuple(tables)


WHOLE = st.integers(-3, 3).map(float)


@given(paired(COARSE, WHOLE), st.integers(1, 14), LIMIT, DESCENT)
def test_pairs_are_decided_exactly(case: tuple[Choices, tuple], need: int, limit: int, plain: int) -> None:
    """With pairs that add or take away, the plan found is the first of the enumeration."""
    problem, tables = case
    answer, _ = confirmed(problem, need, 0.0, lambda g: sum(g) >= need, limit, plain, tables)
    agrees(problem, answer, naive(problem, lambda g: sum(g) >= need, limit, tables))


@given(paired(COARSE, WHOLE), st.integers(0, 12), LIMIT, st.sampled_from([0.5, 1.0, 2.0]), st.integers(), DESCENT)
def test_pairs_refused_are_passed_over(
    case: tuple[Choices, tuple], need: int, limit: int, eps: float, salt: int, plain: int
) -> None:
    """However the library decides within eps, with pairs too the first plan that it accepts is found."""
    problem, tables = case

    def accept(g: list[float]) -> bool:
        g = [x for x in g if abs(x) > TINY]
        noise = zlib.crc32(repr((salt, g)).encode()) / 2**32
        return sum(g) + eps * (2 * noise - 1) >= need

    assume(not accept([0.0]))
    answer, _ = confirmed(problem, need, eps, accept, limit, plain, tables)
    agrees(problem, answer, naive(problem, accept, limit, tables))


@given(paired(FINE, st.floats(-1, 1, width=32)), LIMIT)
def test_no_plan_with_pairs_gains_more_than_the_limit(case: tuple[Choices, tuple], limit: int) -> None:
    """The stated limit of gains holds for every plan, and a plan's gain is that of features and pairs."""
    problem, tables = case
    top = gain_limit(problem, limit)
    for ranks in itertools.product(*[range(len(moves)) for moves in lists(problem)]):
        if limit >= 0 and sum(r > 0 for r in ranks) > limit:
            continue
        gain = sum(gains(problem, ranks)) + sum(t.adds(ranks) for t in tables)
        assert abs(plan_gain(problem, np.array(ranks)) - gain) <= 1e-12
        assert gain <= top + 1e-12


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
