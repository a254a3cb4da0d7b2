"""The check finds whatever is wrong with a plan, and nothing wrong with one that is right."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier

from recourse.models import Model, encode_frame, read_model
from recourse.plan import (
    BestScore,
    Certificate,
    Change,
    Outcome,
    Plan,
    Provenance,
    Value,
    check,
    check_many,
    check_outcomes,
)
from recourse.policy import Policy
from recourse.population import Population

POLICY = """
[decision]
threshold = 0.5

[cost]
unit = "raw"
per_change = 0.1
max_changes = 3

[features.income]
kind = "number"
label = "annual income"
unit = "USD"
change = "up"
step = 500
max = 100000
max_change = 20000
weight = 0.0001

[features.dti]
kind = "number"
change = "down"
step = 0.1
min = 0.1
max_change = { percent = 50, at_least = 0.2 }

[features.inquiries]
kind = "integer"
codes = { "-7" = "no inquiry" }
min = 0

[features.ratio]
kind = "number"

[features.limit]
kind = "number"
step = 250
step_from = "applicant"

[features.school]
kind = "ordinal"
levels = ["none", "first", "second", "third"]
change = "up"
max_change = 2

[features.housing]
kind = "category"
levels = ["rent", "own", "free"]
moves = { rent = ["own"], own = ["free", "rent"] }
move_cost = { rent.own = 2.0 }

[features.guarantor]
kind = "flag"

[features.tenure]
kind = "integer"
role = "fixed"

[features.age]
kind = "integer"
role = "protected"
"""
ROW: dict[str, Value] = {
    "income": 30250,
    "dti": 0.7,
    "inquiries": 3,
    "ratio": 0.25,
    "limit": 1130,
    "school": "first",
    "housing": "rent",
    "guarantor": 0,
    "tenure": 4,
    "age": 41,
    "note": "not the model's business",
}
GOOD: dict[str, Value] = {"income": 45000, "housing": "own"}
GOOD_COST = 3.675  # 0.0001 * 14750 + 0.1 for the income, 2.0 + 0.1 for the house

Setting = tuple[Model, Policy, Population]


@pytest.fixture(scope="module")
def setting() -> Setting:
    """A model that likes income, owners and schooling, with its policy and population."""
    rng = np.random.default_rng(0)
    n = 600
    frame = pd.DataFrame(
        {
            "income": rng.integers(20, 160, n) * 500.0,
            "dti": rng.integers(1, 12, n) / 10,
            "inquiries": rng.integers(0, 8, n),
            "ratio": rng.random(n).astype(np.float32).astype(float),
            "limit": rng.integers(1, 40, n) * 250,
            "school": rng.choice(["none", "first", "second", "third"], n),
            "housing": rng.choice(["rent", "own", "free"], n),
            "guarantor": rng.integers(0, 2, n),
            "tenure": rng.integers(0, 20, n),
            "age": rng.integers(18, 70, n),
        }
    )
    liked = (frame["income"] / 40000 + (frame["housing"] == "own") - frame["dti"] + frame["guarantor"] / 2) > 1.2
    typed = frame.astype({"school": "category", "housing": "category"})
    forest = HistGradientBoostingClassifier(max_iter=20, categorical_features="from_dtype", random_state=0)
    policy = Policy.from_text(POLICY)
    model = read_model(forest.fit(typed, liked.astype(int)), levels=policy.levels)
    return model, policy, Population.from_frame(frame, policy)


def native(row: dict[str, Value], model: Model) -> float:
    names = [column.name for column in model.columns]
    return float(model.score(encode_frame(pd.DataFrame([{name: row[name] for name in names}]), model.columns))[0])


def plan_to(changes: dict[str, Value], cost: float, model: Model, row: dict[str, Value] = ROW) -> Plan:
    """Write a plan down without looking at what it may do."""
    after = {**row, **changes}
    certificate = Certificate(proven=True, cost=cost, bound=cost, gap=0.0, nodes=1, node_budget=10)
    listed = tuple(Change(name, row.get(name), value) for name, value in changes.items())
    shown = {name: value for name, value in after.items() if name not in ("age", "note")}
    return Plan(listed, cost, native(after, model), shown, certificate)


def test_a_right_plan_passes(setting: Setting) -> None:
    """Two permitted changes at their price, approved by the model: nothing to object to."""
    model, policy, population = setting
    assert native(ROW, model) < 0.5
    plan = plan_to(GOOD, GOOD_COST, model)
    assert check(plan, ROW, model, policy, population) == ()
    assert check(plan, pd.Series(ROW), model, policy, population) == ()


# What a single change may not do, and the words for it. Costs are not looked at where a change is not permitted.
FORBIDDEN: list[tuple[str, Value, Value, str]] = [
    ("income", 30250, 45100, "45100 is not on the grid of steps of 500 from 0"),
    ("income", 30250, 30000, "30000 is below 30250, the policy allows only increases"),
    ("income", 30250, 50500, "50500 is 20250 from 30250, the policy allows 20000"),
    ("income", 90000, 100500, "100500 is above the policy's max 100000.0"),
    ("income", None, 30000, "a missing value never changes"),
    ("income", 30250, None, "no plan may end at a missing value"),
    ("income", 30250, 30250, "the change from 30250 to 30250 is none"),
    ("income", 30250, "45000", "expected numbers, got 30250 and '45000'"),
    ("income", 30250, float("inf"), "expected finite numbers, got 30250 and inf"),
    ("dti", 0.7, 0.35, "0.35 is not on the grid of steps of 0.1 from 0"),
    ("dti", 0.7, 0.3, "0.3 is 0.4 from 0.7, the policy allows 0.35"),
    ("dti", 0.2, 0.0, "0.0 is below the policy's min 0.1"),
    ("inquiries", 3, 2.5, "2.5 is not on the grid of steps of 1 from 0"),
    ("inquiries", 3, -7, "-7 is a code, and a code is never a target"),
    ("inquiries", -7, 2, "-7 is a code, and a coded value never changes"),
    ("inquiries", 3, -1, "-1 is below the policy's min 0.0"),
    ("ratio", 0.25, 0.1, "0.1 is no 32-bit number, and the policy gives no step"),
    ("limit", 1130, 1250, "1250 is not on the grid of steps of 250 from 1130"),
    ("school", "first", "none", "'none' comes before 'first', the policy allows only later levels"),
    ("school", "none", "third", "3 levels from 'none' to 'third', the policy allows 2"),
    ("school", "first", "fourth", "'fourth' is not among the policy's levels"),
    ("housing", "rent", "free", "the policy's moves do not lead from 'rent' to 'free'"),
    ("housing", "free", "own", "the policy's moves do not lead from 'free' to 'own'"),
    ("tenure", 4, 5, "a feature with role 'fixed' never changes"),
    ("age", 41, 42, "a feature with role 'protected' never changes"),
    ("incme", 1, 2, "the policy has no such feature. Did you mean 'income'?"),
]


@pytest.mark.parametrize(("name", "before", "after", "message"), FORBIDDEN)
def test_a_change_that_may_not_be_made_is_found(
    setting: Setting, name: str, before: Value, after: Value, message: str
) -> None:
    """Every rule of the policy is derived again from the raw values."""
    model, policy, population = setting
    row = {**ROW, name: before}
    plan = replace(plan_to(GOOD, GOOD_COST, model), changes=(Change(name, before, after),))
    assert f"{name}: {message}" in check(plan, row, model, policy, population)


PERMITTED: list[tuple[str, Value, Value, float]] = [
    ("income", 30250, 50000, 0.0001 * 19750 + 0.1),
    ("income", 30000.0, 50000.0, 2.1),  # the whole of max_change, which is inclusive
    ("dti", 0.6, 0.3, 0.4),  # exactly 50 %, though 0.6 - 0.3 > 0.3 in binary
    ("dti", 0.3, 0.1, 0.3),  # at_least
    ("inquiries", 3, 0, 3.1),
    ("ratio", 0.25, 0.5, 0.35),
    ("limit", 1130, 880, 250.1),
    ("school", "none", "second", 2.1),
    ("school", "first", "second", 1.1),
    ("housing", "rent", "own", 2.1),
    ("housing", "own", "rent", 1.1),
    ("guarantor", 0, 1, 1.1),
    ("guarantor", "0", 1, 1.1),  # a level as a text file spells it
]


@pytest.mark.parametrize(("name", "before", "after", "cost"), PERMITTED)
def test_the_price_of_a_permitted_change_is_exact(
    setting: Setting, name: str, before: Value, after: Value, cost: float
) -> None:
    """One micro-unit more or less is found; the right price is not objected to."""
    model, policy, population = setting
    row = {**ROW, name: before}
    right = plan_to({name: after}, round(1e6 * cost) / 1e6, model, row)
    about_score = "the changed row is not approved"
    assert [v for v in check(right, row, model, policy, population) if about_score not in v] == []
    wrong = replace(right, cost=(round(1e6 * cost) + 1) / 1e6)
    assert any("the changes cost" in violation for violation in check(wrong, row, model, policy, population))


def test_a_price_in_percentiles_is_the_way_through_the_population(setting: Setting) -> None:
    """With unit = "percentile" the change of F is paid, by the stored knots."""
    model, _, _ = setting
    kept = POLICY.replace('unit = "raw"', 'unit = "percentile"').replace("step = 500", "step = 500\nmin = 0")
    fixed = ("inquiries]\nkind = ", "ratio]\nkind = ", "limit]\nkind = ")
    for head in fixed:
        kept = kept.replace(head, head.replace("kind", 'role = "fixed"\nkind'))
    policy = Policy.from_text(kept)
    population = Population.from_frame(pd.DataFrame({name: [value] for name, value in ROW.items()}), policy)
    summary = replace(population.columns["income"], knots=(0.0, 40000.0), shares=(0.0, 1.0))
    population = replace(population, columns={**population.columns, "income": summary})
    plan = plan_to({"income": 40000}, round(1e6 * (0.0001 * (1 - 30250 / 40000) + 0.1)) / 1e6, model)
    violations = check(plan, ROW, model, policy, population)
    assert not any("cost" in violation for violation in violations)


def rebuilt(plan: Plan, **fields: Any) -> Plan:
    return replace(plan, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"changes": ()}, "the plan changes nothing"),
        (
            {"changes": (Change("income", 30250, 45000), Change("income", 30250, 45000))},
            "income: changed more than once",
        ),
        (
            {"changes": tuple(Change(name, ROW[name], ROW[name]) for name in ("income", "dti", "ratio", "limit"))},
            "4 features change, the policy allows 3",
        ),
        ({"changes": (Change("income", 30000, 45000),)}, "income: the plan starts at 30000, the applicant at 30250"),
        ({"changes": (Change("income", 30250, 45000, unit="EUR"),)}, "the plan speaks of 'EUR', the policy of 'USD'"),
        ({"score": 0.999}, "the plan says 0.999"),
        ({"row": {**ROW, **GOOD}}, "age: a protected column stands in the plan's row"),
        ({"row": {}}, "income: the plan's row lacks this column of the model"),
        ({"row": {"tenure": 5}}, "tenure: the plan's row says 5, the changes give 4"),
        ({"row": {"wealth": 5}}, "wealth: the plan's row has a column that the applicant's row lacks"),
        (
            {"certificate": Certificate(True, GOOD_COST, GOOD_COST - 1, 0.0, 1, 10)},
            "the certificate says proven, but its bound",
        ),
        (
            {"certificate": Certificate(False, GOOD_COST, GOOD_COST + 1, 0.0, 1, 10)},
            "is above the plan's cost",
        ),
        ({"certificate": Certificate(True, GOOD_COST, GOOD_COST, 0.0, -1, 10)}, "the certificate counts -1 nodes"),
        ({"certificate": Certificate(False, 1.0, 1.0, 0.0, 1, 10)}, "the certificate is for a cost of 1.0"),
        (
            {"certificate": Certificate(False, GOOD_COST, GOOD_COST / 2, 0.1, 1, 10)},
            "the certificate's gap is 0.1, cost and bound give 0.5",
        ),
    ],
)
def test_a_plan_that_was_tampered_with_is_found(setting: Setting, fields: dict[str, Any], message: str) -> None:
    """Whichever part of a plan is altered, the check says which."""
    model, policy, population = setting
    plan = rebuilt(plan_to(GOOD, GOOD_COST, model), **fields)
    assert any(message in violation for violation in check(plan, ROW, model, policy, population))


def test_a_plan_that_the_model_refuses_is_found(setting: Setting) -> None:
    """The native score decides, against the applicant's own threshold and the policy's margin."""
    model, policy, population = setting
    plan = plan_to(GOOD, GOOD_COST, model)
    assert check(plan, ROW, model, policy, population, threshold=plan.score) == ()
    above = float(np.nextafter(plan.score, 1))
    (violation,) = check(plan, ROW, model, policy, population, threshold=above)
    assert violation == f"the changed row is not approved: {plan.score!r} is below {above!r}"
    strict = Policy.from_text(POLICY.replace("threshold = 0.5", "threshold = 0.5\nmargin = 0.4999"))
    (violation,) = check(plan, ROW, model, strict, population)
    assert "is below 0.5 plus the margin 0.4999" in violation


def test_one_unreadable_row_does_not_spoil_the_others(setting: Setting) -> None:
    """Plans are checked in one batch, and each gets its own verdict."""
    model, policy, population = setting
    good = plan_to(GOOD, GOOD_COST, model)
    bad_row: dict[str, Value] = {**ROW, "tenure": "long"}
    first, second, third = check_many([good, good, good], [ROW, bad_row, ROW], model, policy, population)
    assert first == third == ()
    assert any("the changed row cannot be scored: column 'tenure'" in violation for violation in second)


def outcome(status: Any, model: Model, **fields: Any) -> Outcome:
    provenance = Provenance("m", "p", "q", "fairpath 0.1.0", "equal")
    whole: dict[str, Any] = {
        "score": native(ROW, model),
        "plans": (),
        "certificate": None,
        "best_score": None,
        "stage": None if status == "already_approved" else "score",
        **fields,
    }
    return Outcome("1", status, shape="point", threshold=0.5, provenance=provenance, **whole)


def test_a_right_outcome_passes(setting: Setting) -> None:
    """A plan found, a proof that none exists, a search that ended: all three may stand."""
    model, policy, population = setting
    proof = Certificate(True, None, float("inf"), None, 3, 10)
    outcomes = [
        outcome("found", model, plans=(plan_to(GOOD, GOOD_COST, model),)),
        outcome("none_exists", model, certificate=proof, best_score=BestScore(0.4, 0.4, True, 1)),
        outcome("none_found", model, certificate=Certificate(False, None, 1.0, None, 10, 10)),
    ]
    assert check_outcomes(outcomes, [ROW] * 3, model, policy, population) == [(), (), ()]


@pytest.mark.parametrize(
    ("status", "fields", "message"),
    [
        ("found", {}, "the status is 'found', but no plan is held"),
        ("none_exists", {}, "the status is 'none_exists', but no proof is claimed"),
        (
            "none_found",
            {"certificate": Certificate(True, None, 1.0, None, 1, 1)},
            "the status is 'none_found', but the certificate says proven",
        ),
        ("none_exists", {"best_score": BestScore(0.9, 0.9, True, 1)}, "but the best score 0.9 would be approved"),
        ("none_exists", {"best_score": BestScore(0.4, 0.3, False, 1)}, "0.4 does not agree with its bound 0.3"),
        (
            "none_exists",
            {"best_score": BestScore(0.0, 0.0, True, 1)},
            "the best score 0.0 is below the applicant's own",
        ),
        ("found", {"stage": "knockout"}, "the stage is 'knockout', the status 'found' goes with 'score'"),
        ("already_approved", {}, "the status is 'already_approved', but"),
        ("none_found", {"score": 0.1}, "the outcome says 0.1"),
        ("perhaps", {}, "the status 'perhaps' is none that an outcome can have"),
    ],
)
def test_an_outcome_that_contradicts_itself_is_found(
    setting: Setting, status: str, fields: dict[str, Any], message: str
) -> None:
    """A status must agree with the model's decision, the plans and the certificate."""
    model, policy, population = setting
    (violations,) = check_outcomes([outcome(status, model, **fields)], [ROW], model, policy, population)
    assert any(message in violation for violation in violations)


def test_an_approved_applicant_needs_no_plan(setting: Setting) -> None:
    """Whoever reaches the threshold is 'already_approved', and nothing else."""
    model, policy, population = setting
    row: dict[str, Value] = {**ROW, **GOOD}
    right = outcome("already_approved", model, score=native(row, model))
    wrong = outcome("none_found", model, score=native(row, model))
    checked = check_outcomes([right, wrong], [row, row], model, policy, population)
    assert checked[0] == ()
    assert "but the applicant's" in checked[1][0]


@given(
    start=st.integers(-500, 500),
    move=st.integers(-60, 60).filter(bool),
    step=st.sampled_from(["0.1", "0.05", "0.3", "7"]),
    percent=st.sampled_from([10, 33.3, 50]),
    direction=st.sampled_from(["any", "up", "down"]),
)
def test_admissible_means_what_the_rationals_say(
    setting: Setting, start: int, move: int, step: str, percent: float, direction: str
) -> None:
    """Grid, direction and percentage agree with exact fractions of the decimals that were written."""
    model, _, population = setting
    text = POLICY.replace(
        'change = "down"\nstep = 0.1\nmin = 0.1\nmax_change = { percent = 50, at_least = 0.2 }',
        f'change = "{direction}"\nstep = {step}\nmax_change = {{ percent = {percent}, at_least = 0.25 }}',
    )
    policy = Policy.from_text(text)
    tenth = Decimal(start) / 10
    before, after = float(tenth), float(tenth + Decimal(move) / 20)
    exact = Fraction(repr(after)) - Fraction(repr(before))
    most = max(Fraction(repr(percent)) / 100 * abs(Fraction(repr(before))), Fraction("0.25"))
    permitted = (
        Fraction(repr(after)) % Fraction(step) == 0
        and abs(exact) <= most
        and not (direction == "up" and exact < 0)
        and not (direction == "down" and exact > 0)
    )
    row = {**ROW, "dti": before}
    plan = plan_to({"dti": after}, 1.0, model, row)
    violations = check(plan, row, model, policy, population)
    assert (not any(violation.startswith("dti:") for violation in violations)) == permitted
