"""The search of a black box: cheap plans that keep to the whole policy, within a budget of calls, never proven."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recourse import DataError, InputError, Policy, Population, check, state
from recourse.blackbox import Answer, BlackBoxSearch
from recourse.models.base import Model, Wanted
from recourse.models.blackbox import read
from recourse.plan import Certificate, Change, Plan
from recourse.values import Value, plain

RNG = np.random.default_rng(7)


def logistic(x: Any) -> np.ndarray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(x, dtype=np.float64))))


def search_of(
    policy: Policy, frame: pd.DataFrame, score: Callable[[pd.DataFrame], Any], **settings: Any
) -> tuple[BlackBoxSearch, Model, Population]:
    """Return a search for a scoring function over the frame's columns."""
    levels = {name: levels for name, levels in policy.levels.items() if name in frame}
    model = read(score, Wanted(columns=tuple(map(str, frame.columns)), levels=levels))
    population = Population.from_frame(frame, policy)
    return BlackBoxSearch(model, policy, population, **settings), model, population


def plan_of(answer: Answer, row: Mapping[str, Value], policy: Policy, model: Model) -> Plan:
    """Return an answer as the plan that the finder would make of it."""
    changes = []
    for name, after in answer.changes.items():
        feature = policy.features[name]
        before = row.get(name, state.present(policy, row)[name])
        condition = None
        if before is None and feature.provide is not None:
            condition = "any" if feature.provide.mode == "any" else "at least"
        changes.append(Change(name, before, after, feature.unit, condition=condition))  # type: ignore[arg-type]
    if answer.wait:
        changes.append(Change("wait", 0, answer.wait, "months"))
    stated = dict(answer.changes)
    for name, after in stated.items():
        if after is None:
            stated[name] = plain(policy.features[name].min)
    led = state.columns(policy, state.after(policy, row, stated, answer.wait), row)
    shown = {n: v for n, v in led.items() if n not in policy.features or policy.features[n].role != "protected"}
    cost = answer.cost_micro / 1e6
    certificate = Certificate(False, cost, 0.0, 1.0 if cost else 0.0, 0, 1)
    return Plan(tuple(changes), cost, answer.score, shown, certificate)


def records(frame: pd.DataFrame) -> list[dict[str, Value]]:
    return [{str(n): plain(v) for n, v in row.items()} for row in frame.to_dict("records")]


# ------------------------------------------------------------------------------------------------------- plain policies

PLAIN = Policy.model_validate(
    {
        "decision": {"threshold": 0.5},
        "cost": {"unit": "raw", "per_change": 0.2, "max_changes": 2},
        "features": {
            "a": {"kind": "integer", "min": 0, "max": 12},
            "b": {"kind": "integer", "change": "down", "min": 0},
            "c": {"kind": "category", "levels": ["x", "y", "z"], "moves": {"x": ["y"], "y": ["z"]}},
            "d": {"kind": "number", "step": 0.5, "max_change": 2.0},
            "e": {"kind": "integer", "role": "fixed"},
        },
    }
)


def people(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "a": RNG.integers(0, 8, n),
            "b": RNG.integers(0, 9, n),
            "c": RNG.choice(["x", "y", "z"], n),
            "d": RNG.integers(-6, 6, n) * 0.5,
            "e": RNG.integers(0, 5, n),
        }
    )


def smooth(frame: pd.DataFrame) -> np.ndarray:
    bonus = frame["c"].map({"x": 0.0, "y": 0.8, "z": 1.1}).astype(float)
    a, b, d, e = (frame[name].astype(float) for name in "abde")
    return logistic(0.4 * a - 0.5 * b + bonus + 0.7 * np.tanh(d) + 0.05 * a * d - 0.2 * e - 1.5)


def steps(frame: pd.DataFrame) -> np.ndarray:
    """A forest's kind of score: flat, with jumps."""
    points = 2.0 * (frame["a"] >= 6) + 1.5 * (frame["b"] <= 2) + 1.0 * (frame["c"] == "z") + 1.0 * (frame["d"] > 0)
    return np.asarray(points / 8.0)


def cheapest(row: Mapping[str, Value], score: Callable[[pd.DataFrame], Any], population: Population) -> int | None:
    """The optimum by trying everything that PLAIN lets an applicant do."""
    options: list[list[tuple[Value, int]]] = []
    for name in "abcd":
        now: Any = row[name]
        if name == "c":
            moves = [(t, round(1e6 * (1.0 + 0.2))) for t in {"x": ["y"], "y": ["z"]}.get(now, [])]
        else:
            span = {"a": np.arange(13), "b": np.arange(now + 1), "d": np.arange(now - 2, now + 2.25, 0.5)}[name]
            moves = [(v, round(1e6 * (abs(v - now) + 0.2))) for v in span.tolist() if v != now]
        options.append([(now, 0), *moves])
    candidates = [
        c for c in itertools.product(*options)
        if sum(v != row[n] for n, (v, _) in zip("abcd", c, strict=True)) <= 2
    ]  # fmt: skip
    frame = pd.DataFrame([[v for v, _ in c] for c in candidates], columns=list("abcd")).assign(e=row["e"])
    good = np.flatnonzero(np.asarray(score(frame)) >= 0.5)
    return min((sum(p for _, p in candidates[k]) for k in good), default=None)


@pytest.mark.parametrize("score", [smooth, steps])
def test_plans_hold_and_are_near_the_optimum(score: Callable[[pd.DataFrame], Any]) -> None:
    """Every plan passes `check`, none beats the optimum, and on average they come close to it."""
    frame = people(60)
    refused = frame[np.asarray(score(frame)) < 0.5]
    search, model, population = search_of(PLAIN, frame, score, budget_calls=80)
    answers = search.run(refused, np.full(len(refused), 0.5))
    ours, best = 0, 0
    for answer, row in zip(answers, records(refused), strict=True):
        optimum = cheapest(row, score, population)
        if answer.status == "none_found":
            assert answer.changes == {}
            continue
        assert check(plan_of(answer, row, PLAIN, model), row, model, PLAIN, population) == ()
        assert optimum is not None
        assert answer.cost_micro >= optimum
        ours, best = ours + answer.cost_micro, best + optimum
    missed = sum(a.status == "none_found" for a in answers) - sum(
        cheapest(row, score, population) is None for row in records(refused)
    )
    assert missed <= len(refused) // 10
    assert ours <= 1.15 * best


def test_no_applicant_costs_more_calls_than_the_budget() -> None:
    """`calls` counts the rows that the model scored for each applicant; no two rows are the same ones."""
    frame = people(40)
    refused = frame[smooth(frame) < 0.5]
    for budget in (2, 5, 33, 150):
        search, model, _ = search_of(PLAIN, frame, smooth, budget_calls=budget)
        answers = search.run(refused, np.full(len(refused), 0.5))
        assert max(a.calls for a in answers) <= budget
        assert sum(a.calls for a in answers) == model.core.calls.rows  # type: ignore[union-attr]


def test_rows_that_are_known_cost_nothing() -> None:
    """A second run asks the model nothing, and answers the same."""
    frame = people(30)
    refused = frame[smooth(frame) < 0.5]
    search, model, _ = search_of(PLAIN, frame, smooth, budget_calls=40, seed=3)
    first = search.run(refused, np.full(len(refused), 0.5))
    asked = model.core.calls  # type: ignore[union-attr]
    again = search.run(refused, np.full(len(refused), 0.5))
    assert [a._replace(calls=0) for a in first] == [a._replace(calls=0) for a in again]
    assert model.core.calls == asked  # type: ignore[union-attr]


def test_the_same_seed_gives_the_same_plans() -> None:
    """A run repeats bit for bit in a fresh model; another seed may answer otherwise, never invalidly."""
    frame = people(30)
    refused = frame[smooth(frame) < 0.5]
    runs = [
        search_of(PLAIN, frame, smooth, budget_calls=40, seed=seed)[0].run(refused, np.full(len(refused), 0.5))
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    for answer in runs[2]:
        assert answer.status == "none_found" or answer.score >= 0.5


def test_one_applicant_alone_is_served() -> None:
    """With nobody to learn from, more of the budget goes into looking around."""
    frame = people(40)
    refused = frame[smooth(frame) < 0.5]
    found = 0
    for i in range(8):
        search, _, population = search_of(PLAIN, frame, smooth, budget_calls=100)
        (answer,) = search.run(refused.iloc[[i]], [0.5])
        (row,) = records(refused.iloc[[i]])
        if answer.status == "found":
            found += 1
            optimum = cheapest(row, smooth, population)
            assert optimum is not None
            assert optimum <= answer.cost_micro <= 1.5 * optimum
    assert found >= 7


def test_thresholds_are_each_applicants_own_and_margins_are_added() -> None:
    """A plan's score reaches the row's threshold plus the policy's margin."""
    frame = people(30)
    refused = frame[smooth(frame) < 0.4]
    policy = PLAIN.model_copy(update={"decision": PLAIN.decision.model_copy(update={"margin": 0.05})})
    cuts = np.linspace(0.4, 0.6, len(refused))
    search, _, _ = search_of(policy, frame, smooth)
    answers = search.run(refused, cuts)
    found = [(a, cut) for a, cut in zip(answers, cuts, strict=True) if a.status == "found"]
    assert len(found) > len(refused) // 2
    assert all(a.score >= cut + 0.05 for a, cut in found)


def test_decision_functions_need_no_probabilities() -> None:
    """Scores on any scale are learned as they are."""
    frame = people(30)
    policy = Policy.model_validate(
        PLAIN.model_dump(exclude_defaults=True) | {"decision": {"threshold": 600, "score": "decision_function"}}
    )

    def points(rows: pd.DataFrame) -> Any:
        return 560 + 10 * rows["a"].astype(float) - 12 * rows["b"].astype(float)

    model = read(points, Wanted(columns=tuple(frame.columns), levels=policy.levels, score="decision_function"))
    population = Population.from_frame(frame, policy)
    refused = frame[points(frame) < 600]
    for answer, row in zip(
        BlackBoxSearch(model, policy, population).run(refused, np.full(len(refused), 600.0)),
        records(refused),
        strict=True,
    ):
        if answer.status == "found":
            assert check(plan_of(answer, row, policy, model), row, model, policy, population) == ()


def test_where_nothing_can_be_done_nothing_is_found() -> None:
    """No feature that moves, or no move that helps: none_found, with the best score seen, and no endless asking."""
    frame = people(5)
    fixed = Policy.model_validate(
        {
            "decision": {"threshold": 0.5},
            "cost": {"unit": "raw"},
            "features": {n: f.model_dump() | {"role": "fixed", "moves": None, "max_change": None, "change": "any"}
                         for n, f in PLAIN.features.items()},
        }
    )  # fmt: skip
    for policy in (fixed, PLAIN):
        search, _, _ = search_of(policy, frame, lambda rows: np.full(len(rows), 0.25), budget_calls=30)
        answers = search.run(frame, np.full(5, 0.5))
        assert [(a.status, a.score, a.changes) for a in answers] == [("none_found", 0.25, {})] * 5
        assert max(a.calls for a in answers) <= 30
    assert search_of(PLAIN, frame, smooth)[0].run(frame.iloc[:0], []) == []


def test_what_cannot_be_promised_is_refused() -> None:
    """Regions, budgets without a candidate, thresholds that are not one a row, data without a column."""
    frame = people(5)
    with pytest.raises(InputError, match=r"asked about rows but not about regions: shape = 'orthant'"):
        search_of(PLAIN, frame, smooth, shape="orthant")
    with pytest.raises(InputError, match="at least 2"):
        search_of(PLAIN, frame, smooth, budget_calls=1)
    search, _, _ = search_of(PLAIN, frame, smooth)
    with pytest.raises(InputError, match="a threshold for each of 5 rows"):
        search.run(frame, [0.5])
    with pytest.raises(DataError, match="no column 'a'"):
        search.run(frame.drop(columns="a"), np.full(5, 0.5))


# ------------------------------------------------------------------------------------------------------ whole language

LANGUAGE = """
[decision]
threshold = 0.5
[[decision.knockouts]]
name = "too many late"
deny_when = "late >= 3"

[cost]
unit = "raw"
per_change = 0.1
max_changes = 4

[features.income]
kind = "integer"
change = "up"
step = 5
max = 120
weight = 0.05

[features.debt]
kind = "integer"
change = "down"
min = 0
weight = 0.05

[features.ratio]
role = "derived"
kind = "number"
value = "debt / income"

[features.savings]
kind = "number"
role = "fixed"
effect = "start.savings + 0.2 * (income - start.income)"

[features.late]
kind = "integer"
change = "down"
min = 0
codes = { "-7" = "never" }

[features.months]
kind = "integer"
role = "fixed"
tick = 1
codes = { "-7" = "no inquiry" }

[features.score_b]
kind = "integer"
min = 0
max = 10
codes = { "-8" = "no record" }
moves = { "-8" = [5] }
move_cost = { "-8" = { 5 = 0.4 } }

[features.appraisal]
kind = "integer"
min = 0
max = 9
provide = { cost = 0.5, mode = "if_at_least" }

[features.deposit]
kind = "integer"
min = 1
max = 6
provide = { cost = 0.6, mode = "any" }

[features.purpose]
kind = "category"
weight = 0.4
[features.steps]
kind = "ordinal"
change = "up"
weight = 0.3

[time]
horizon = 12
cost_per_month = 0.05

[groups]
one_hot = { purpose = ["car", "home", "other"] }
thermometer = { steps = ["step_1", "step_2"] }

[[rules]]
name = "more income takes time"
when = "income > start.income + 10"
then = "wait >= 3"

[[rules]]
require = "ratio <= 0.9"

[[rules]]
name = "homes need a deposit"
when = "purpose == 'home'"
then = "deposit >= 2"

[reapply]
after_months = 2
effects = { late = "+0" }
"""


def households(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    income, debt = rng.integers(6, 20, n) * 5, rng.integers(5, 60, n)
    purpose, steps = rng.integers(0, 3, n), rng.integers(0, 3, n)
    return pd.DataFrame(
        {
            "income": income,
            "debt": debt,
            "ratio": debt / income,
            "savings": rng.integers(0, 30, n).astype(float),
            "late": rng.choice([-7, 0, 1, 2, 3, 4], n),
            "months": rng.choice([-7, 0, 3, 9, 20], n),
            "score_b": rng.choice([-8, 1, 4, 8], n),
            "appraisal": rng.choice([np.nan, 2.0, 5.0], n),
            "deposit": rng.choice([np.nan, 1.0, 3.0], n),
            "car": (purpose == 0).astype(int),
            "home": (purpose == 1).astype(int),
            "other": (purpose == 2).astype(int),
            "step_1": (steps >= 1).astype(int),
            "step_2": (steps >= 2).astype(int),
        }
    )


def lender(rows: pd.DataFrame) -> np.ndarray:
    late, months = rows["late"].clip(lower=0), rows["months"].clip(lower=0)
    worth = (
        -4.0 * rows["ratio"] + 0.03 * rows["savings"] - 0.7 * late + 0.06 * months + 0.15 * rows["score_b"]
        + 0.2 * rows["appraisal"].fillna(-4) + 0.25 * rows["deposit"].fillna(-3)
        + 0.6 * rows["home"] - 0.4 * rows["car"] + 0.5 * rows["step_1"] + 0.4 * rows["step_2"]
    )  # fmt: skip
    return logistic(worth - 0.3)


def test_the_whole_language_is_honoured() -> None:
    """Rules, knock-outs, derived values, effects, clocks, codes, groups, waiting and providing: no plan breaks any."""
    policy = Policy.from_text(LANGUAGE)
    frame = households(150)
    search, model, population = search_of(policy, frame, lender, budget_calls=150)
    refused = frame[lender(frame) < 0.5]
    answers = search.run(refused, np.full(len(refused), 0.5))
    used: set[str] = set()
    found = 0
    for answer, row in zip(answers, records(refused), strict=True):
        assert answer.calls <= 150
        if answer.status != "found":
            continue
        found += 1
        used |= set(answer.changes) | ({"wait"} if answer.wait else set())
        assert check(plan_of(answer, row, policy, model), row, model, policy, population) == ()
    assert found >= 0.8 * len(refused)
    assert {"debt", "purpose", "steps", "wait"} <= used
    assert used & {"appraisal", "deposit"}


def test_states_are_those_of_the_policys_text() -> None:
    """What is asked of the model equals what `state` computes in plain Python, and so do broken rules."""
    policy = Policy.from_text(LANGUAGE)
    frame = households(40)
    search, model, _ = search_of(policy, frame, lender)
    states, reach = search._states, search._reach
    start = states.start(frame)
    options = reach.options(start[:, states.actions])
    rng = np.random.default_rng(0)
    rows = records(frame)
    picks = [[int(rng.integers(len(each[i].value))) for each in options] for i in range(len(rows))]
    chosen = np.array(
        [[each[i].value[k] for each, k in zip(options, pick, strict=True)] for i, pick in enumerate(picks)]
    )
    led = states.after(start, chosen)
    matrix = states.matrix(led, states.own(frame, start))
    broken = states.broken(start, chosen)
    for i, row in enumerate(rows):
        now = state.present(policy, row)
        changes: dict[str, Value] = {}
        wait = 0
        for name, value, before in zip(reach.names, chosen[i], start[i, states.actions], strict=True):
            if name == "wait":
                wait = int(value)
            elif value != before and not np.isnan(value):
                feature = policy.features[name]
                changes[name] = plain(feature.levels[int(value)]) if feature.levels is not None else float(value)
        after = state.after(policy, row, changes, wait)
        asked = state.columns(policy, after, row)
        for c, column in enumerate(model.columns):
            want = asked[column.name]
            assert (want is None and np.isnan(matrix[i, c])) or matrix[i, c] == pytest.approx(want, rel=1e-12)
        assert bool(broken[i].any()) == bool(state.violations(policy, after, now))
