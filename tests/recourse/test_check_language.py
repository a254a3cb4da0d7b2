"""The check under the whole language: what a plan may not do, and every row that it promises."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.tree import DecisionTreeClassifier

from recourse import state
from recourse.checking import check, check_outcomes
from recourse.models import Model, read_model
from recourse.plan import Certificate, Change, Outcome, Plan, Provenance, Value
from recourse.policy import Policy
from recourse.population import Population

WORDS: dict[str, Any] = {
    "decision": {"threshold": 0.5, "knockouts": [{"name": "too many inquiries", "deny_when": "inquiries > 6"}]},
    "cost": {"unit": "raw", "per_change": 0.1, "max_changes": 3},
    "time": {"horizon": 12, "cost_per_month": 0.05},
    "reapply": {"after_months": 2, "effects": {"inquiries": "+1"}},
    "groups": {"one_hot": {"purpose": ["for_car", "for_home"]}},
    "rules": [
        {"name": "within the income", "require": "debts <= income"},
        {"name": "a home takes time", "when": 'purpose != "car"', "then": "wait >= 3"},
    ],
    "features": {
        "income": {"kind": "integer", "change": "up", "min": 0, "max": 20},
        "debts": {"kind": "integer", "min": 0, "max": 12},
        "rate": {"kind": "number", "role": "derived", "value": "debts / income"},
        "months": {
            "kind": "integer",
            "tick": 1,
            "min": 0,
            "max": 30,
            "codes": {"-7": "none", "-9": "no record"},
            "moves": {"-7": ["-9", 4]},
            "move_cost": {"-7": {"4": 2.0}},
            "weight": 0.5,
        },
        "inquiries": {"kind": "integer", "role": "fixed"},
        "savings": {"kind": "number", "effect": "start.savings + 0.5 * (income - start.income)"},
        "tricks": {"kind": "flag", "manipulable": True},
        "value": {"kind": "integer", "min": 1, "max": 4, "provide": {"cost": 1.5, "mode": "any"}},
        "size": {"kind": "integer", "min": 1, "max": 4, "provide": {"cost": 1.0, "mode": "if_at_least"}},
        "purpose": {"kind": "category", "levels": ["car", "home"]},
    },
}
POLICY = Policy.model_validate(WORDS)
ROW: dict[str, Any] = {
    "income": 10,
    "debts": 8,
    "months": 3,
    "inquiries": 1,
    "savings": 1.0,
    "tricks": 0,
    "value": None,
    "size": None,
    "for_car": 1,
    "for_home": 0,
}
Setting = tuple[Model, Population]


@pytest.fixture(scope="module")
def setting() -> Setting:
    """A model that likes low rates and old records, over all columns."""
    rng = np.random.default_rng(0)
    n = 600
    frame = pd.DataFrame(
        {
            "income": rng.integers(1, 21, n),
            "debts": rng.integers(0, 13, n),
            "months": rng.choice([-7, -9, *range(12)], n),
            "inquiries": rng.integers(0, 8, n),
            "savings": rng.uniform(0, 10, n).round(1),
            "value": rng.choice([1.0, 2.0, 3.0, 4.0, np.nan], n),
            "size": rng.choice([1.0, 2.0, 3.0, 4.0, np.nan], n),
            "for_car": rng.integers(0, 2, n),
        }
    )
    frame["for_home"] = 1 - frame["for_car"]
    frame["rate"] = frame["debts"] / frame["income"]
    good = frame["rate"] + rng.normal(0, 0.1, n) < 0.45
    model = HistGradientBoostingClassifier(max_iter=15, random_state=0).fit(frame, good.astype(int))
    return read_model(model), Population.from_frame(frame.assign(tricks=0), POLICY)


def plan_of(
    changes: tuple[Change, ...],
    cost: float,
    model: Model,
    *,
    row: dict[str, Any] = ROW,
    policy: Policy = POLICY,
    provided: dict[str, Value] | None = None,
    **more: Any,
) -> Plan:
    """Write a plan down as the policy's text says it ends, without looking at what it may do."""
    chosen = {c.feature: c.after for c in changes if c.feature != "wait"} | (provided or {})
    wait = next((c.after for c in changes if c.feature == "wait"), 0)
    scored = state.columns(policy, state.after(policy, row, chosen, int(wait or 0)), row)
    matrix = np.array([[np.nan if scored[c.name] is None else float(scored[c.name]) for c in model.columns]])  # type: ignore[arg-type]
    certificate = Certificate(True, cost, cost, 0.0, 1, 10)
    return Plan(changes, cost, float(model.score(matrix)[0]), scored, certificate, **more)


GOOD = (Change("debts", 8, 2),)


def test_a_right_plan_passes(setting: Setting) -> None:
    """What follows from the change, and from applying again, is in the row that is checked."""
    model, population = setting
    plan = plan_of(GOOD, 6.1, model)
    assert (plan.row["rate"], plan.row["inquiries"], plan.row["months"]) == (0.2, 2, 5)
    assert check(plan, ROW, model, POLICY, population) == ()
    stale = replace(plan, row={**plan.row, "rate": 0.8})
    assert "rate: the plan's row says 0.8, the changes give 0.2" in check(stale, ROW, model, POLICY, population)


@pytest.mark.parametrize(
    ("change", "cost", "about"),
    [
        (Change("wait", 0, 3, "months"), 0.15, {}),
        (Change("wait", 0, 12), 0.6, {}),
        (Change("months", -7, -9), 0.6, {"months": -7}),
        (Change("months", -7, 4), 1.1, {"months": -7}),
        (Change("months", 3, 9), 3.1, {}),
        (Change("value", None, None, condition="any"), 1.6, {}),
        (Change("size", None, 3, condition="at least"), 1.1, {}),
    ],
)
def test_the_price_of_every_kind_of_change_is_exact(
    setting: Setting, change: Change, cost: float, about: dict[str, Any]
) -> None:
    """Waiting, codes and what is provided have prices of their own; one micro-unit more is found."""
    model, population = setting
    row = {**ROW, **about}
    provided = {"value": 1} if change.feature == "value" else None
    plan = plan_of((*GOOD, change), round(1e6 * (6.1 + cost)) / 1e6, model, row=row, provided=provided)
    assert not [v for v in check(plan, row, model, POLICY, population) if "approved" not in v]
    dearer = replace(plan, cost=plan.cost + 1e-6, certificate=replace(plan.certificate, cost=plan.cost + 1e-6))
    assert any("the changes cost" in v for v in check(dearer, row, model, POLICY, population))


@pytest.mark.parametrize(
    ("change", "about", "message"),
    [
        (Change("wait", 0, 13), {}, "wait: 13 months, the policy allows 1 to 12"),
        (Change("wait", 0, 0), {}, "wait: 0 months, the policy allows 1 to 12"),
        (Change("wait", 0, 2.5), {}, "wait: expected whole months, got 2.5"),
        (Change("wait", 1, 2), {}, "wait: waiting starts at 0 months, not 1"),
        (Change("wait", 0, 3, "years"), {}, "wait: the plan speaks of 'years', the policy of 'months'"),
        (Change("months", -7, 5), {"months": -7}, "months: the policy's moves do not lead from the code -7 to 5"),
        (Change("months", -9, 5), {"months": -9}, "months: -9 is a code, and a coded value never changes"),
        (Change("months", 3, -9), {}, "months: -9 is a code, and a code is never a target"),
        (Change("rate", 0.8, 0.2), {"rate": 0.8}, "rate: a feature with role 'derived' never changes"),
        (Change("savings", 1.0, 2.0), {}, "savings: the feature follows from others and is never changed itself"),
        (Change("tricks", 0, 1), {}, "tricks: the policy calls it manipulable, and such a change is never advised"),
        (Change("for_car", 1, 0), {}, "for_car: the column is part of the group 'purpose', which changes as one"),
        (Change("purpose", "home", "car"), {}, "purpose: the plan starts at 'home', the applicant at 'car'"),
        (Change("income", None, 12), {"income": None}, "income: a missing value never changes"),
        (Change("value", None, 3), {}, "value: the policy lets the missing value be provided, whatever it is"),
        (Change("size", None, None, condition="any"), {}, "size: the policy lets the missing value be provided if"),
        (Change("size", None, 5, condition="at least"), {}, "size: 5 is above the policy's max 4.0"),
        (Change("debts", 8, 3, condition="any"), {}, "debts: only a missing value can be provided, whatever it is"),
    ],
)
def test_a_change_that_may_not_be_made_is_found(
    setting: Setting, change: Change, about: dict[str, Any], message: str
) -> None:
    """Each is named with the policy's reason."""
    model, population = setting
    row = {**ROW, **about}
    plan = replace(plan_of(GOOD, 6.1, model), changes=(change,))
    assert any(v.startswith(message) for v in check(plan, row, model, POLICY, population))


def test_a_broken_rule_is_named(setting: Setting) -> None:
    """Rules about several features and about waiting hold of the state that is scored."""
    model, population = setting
    over = plan_of((Change("debts", 8, 11),), 3.1, model)
    assert "the rule 'within the income' is broken" in check(over, ROW, model, POLICY, population)
    home = plan_of((Change("purpose", "car", "home"), Change("wait", 0, 2)), 1.2, model)
    assert "the rule 'a home takes time' is broken" in check(home, ROW, model, POLICY, population)
    later = plan_of((Change("purpose", "car", "home"), Change("wait", 0, 3)), 1.25, model)
    assert not any("rule" in v for v in check(later, ROW, model, POLICY, population))


def test_a_knockout_that_fires_on_the_next_application_is_named(setting: Setting) -> None:
    """The inquiry of this application counts against the next one."""
    model, population = setting
    row = {**ROW, "inquiries": 6}
    plan = plan_of(GOOD, 6.1, model, row=row)
    assert "the knock-out 'too many inquiries' fires" in check(plan, row, model, POLICY, population)


def test_nothing_may_be_asked_where_applying_again_changes_something(setting: Setting) -> None:
    """A plan without changes stands only where the row that is scored is another one."""
    model, population = setting
    row = {**ROW, "debts": 1}
    assert check(plan_of((), 0.0, model, row=row), row, model, POLICY, population) == ()
    still = Policy.model_validate({k: v for k, v in WORDS.items() if k not in ("reapply", "time", "rules")})
    plan = plan_of((), 0.0, model, row=row, policy=still)
    assert "the plan changes nothing" in check(plan, {**row, "rate": 0.1}, model, still, population)


# --- regions --------------------------------------------------------------------------------------------------------

LOW = {"low": {"kind": "integer", "change": "down", "min": 0, "max": 40}}
WIDE = {"high": {"kind": "integer", "change": "up", "min": 0, "max": 30}}


def stairs(approved: Any) -> tuple[Model, Policy, Population]:
    """A model that approves what a function of (low, high) says, on a grid, and a policy of both."""
    grid = np.array([(low, high) for low in range(41) for high in range(31)])
    target = np.array([int(approved(low, high)) for low, high in grid])
    frame = pd.DataFrame(grid, columns=["low", "high"])
    model = read_model(DecisionTreeClassifier(random_state=0).fit(frame, target))
    words = {"decision": {"threshold": 0.5}, "cost": {"unit": "raw", "per_change": 0.0}, "features": {**LOW, **WIDE}}
    policy = Policy.model_validate(words)
    return model, policy, Population.from_frame(frame, policy)


def wide_plan(region: dict[str, tuple[Value, Value]] | None, model: Model, policy: Policy) -> Plan:
    changes = (Change("low", 30, 20), Change("high", 5, 10))
    return plan_of(changes, 15.0, model, row={"low": 30, "high": 5}, policy=policy, region=region)


def test_every_row_of_a_small_region_is_scored() -> None:
    """One refused row among many is found, and named."""
    model, policy, population = stairs(lambda low, high: low <= 20 and high >= 10 and (low, high) != (17, 23))
    row = {"low": 30, "high": 5}
    whole: dict[str, tuple[Value, Value]] = {"low": (0, 20), "high": (10, 30)}
    plan = wide_plan(whole, model, policy)
    (violation,) = check(plan, row, model, policy, population, shape="orthant")
    assert violation.startswith("1 of 441 rows looked at in the region are not approved, such as low = 17, high = 23")
    around: dict[str, tuple[Value, Value]] = {"low": (18, 20), "high": (10, 30)}
    assert check(wide_plan(around, model, policy), row, model, policy, population) == ()


def test_corners_and_a_sample_stand_for_a_large_region() -> None:
    """Where rows are too many to look at, a refused corner is still found."""
    model, policy, population = stairs(lambda low, high: low <= 20 and high >= 10 and (low, high) != (0, 30))
    row = {"low": 30, "high": 5}
    plan = wide_plan({"low": (0, 20), "high": (10, 30)}, model, policy)
    (violation,) = check(plan, row, model, policy, population, region_rows=20)
    assert "low = 0, high = 30" in violation


@pytest.mark.parametrize(
    ("shape", "region", "message"),
    [
        ("box", None, "a plan of shape 'box' states the region on which it holds, this one states none"),
        ("box", {"low": (16, 20), "high": (10, 15)}, "low: the region ends at 16, the shape 'box' reaches 15.0"),
        ("box", {"low": (15, 20)}, "high: changes, but the region does not speak of it"),
        (
            "orthant",
            {"low": (0, 20), "high": (10, 29)},
            "high: the region ends at 29, the shape 'orthant' reaches 30.0",
        ),
        ("point", {"low": (0, 19)}, "low: the region from 0 to 19 does not hold the plan's own value 20"),
        ("point", {"lwo": (0, 20)}, "lwo: the region speaks of a feature that the policy does not have"),
    ],
)
def test_a_region_that_falls_short_of_its_shape_is_found(
    shape: str, region: dict[str, tuple[Value, Value]] | None, message: str
) -> None:
    """A box reaches five steps, an orthant the policy's bound, and both hold the plan itself."""
    model, policy, population = stairs(lambda low, high: low <= 20 and high >= 10)
    plan = wide_plan(region, model, policy)
    found = check(plan, {"low": 30, "high": 5}, model, policy, population, shape=shape)
    assert found == (message,)


def test_rows_that_break_a_rule_are_no_part_of_a_region() -> None:
    """A refused row that the rules rule out does no harm; one on which a knock-out fires does."""
    model, policy, population = stairs(lambda low, high: low <= 20 and high >= 10 and high < 25)
    row = {"low": 30, "high": 5}
    region: dict[str, tuple[Value, Value]] = {"low": (0, 20), "high": (10, 30)}
    words = policy.model_dump(exclude_defaults=True)
    ruled = Policy.model_validate({**words, "rules": [{"require": "high < 25"}]})
    assert check(wide_plan(region, model, ruled), row, model, ruled, population, shape="orthant") == ()
    assert check(wide_plan(region, model, policy), row, model, policy, population, shape="orthant") != ()
    decision = {**words["decision"], "knockouts": [{"name": "too high", "deny_when": "high >= 25"}]}
    knocked = Policy.model_validate({**words, "decision": decision})
    (violation,) = check(wide_plan(region, model, knocked), row, model, knocked, population, shape="orthant")
    assert violation.startswith("in the region the knock-out 'too high' fires")


def test_whatever_is_provided_must_be_approved() -> None:
    """A provided value may be any that the policy admits, also for a plan of a point."""
    frame = pd.DataFrame({"value": [1.0, 2.0, 3.0, 4.0, np.nan] * 20})
    words: dict[str, Any] = {
        "decision": {"threshold": 0.5},
        "cost": {"unit": "raw", "per_change": 0.0},
        "features": {"value": {"kind": "integer", "min": 2, "max": 4, "provide": {"cost": 1.0}}},
    }
    liked = frame["value"] >= 2
    model = read_model(DecisionTreeClassifier(random_state=0).fit(frame, liked))
    row = {"value": None}
    for low, right in ((2, True), (1, False)):
        words["features"]["value"]["min"] = low
        policy = Policy.model_validate(words)
        plan = plan_of(
            (Change("value", None, None, condition="any"),), 1.0, model, row=row, policy=policy, provided={"value": low}
        )
        assert (check(plan, row, model, policy, Population.from_frame(frame, policy)) == ()) == right
    words["features"]["value"]["provide"]["mode"] = "if_at_least"
    policy = Policy.model_validate(words)
    population = Population.from_frame(frame, policy)
    for least, right in ((2, True), (1, False)):
        plan = plan_of(
            (Change("value", None, least, condition="at least"),), 1.0, model, row=row, policy=policy
        )  # fmt: skip
        assert (check(plan, row, model, policy, population) == ()) == right


def test_all_models_must_approve() -> None:
    """A challenger and a plausibility model are asked as well, each by its name."""
    model, policy, population = stairs(lambda low, high: low <= 20)
    strict, *_ = stairs(lambda low, high: low <= 10)
    row = {"low": 30, "high": 5}
    plan = plan_of((Change("low", 30, 20),), 10.0, model, row=row, policy=policy)
    assert check(plan, row, model, policy, population, also_approve=[model]) == ()
    (violation,) = check(plan, row, model, policy, population, also_approve=[model, strict])
    assert violation == "model 2 of also_approve: the changed row is not approved: 0.0 is below 0.5"
    assert check(plan, row, model, policy, population, plausibility=strict) == ()  # 0.0 is not below 0


# --- outcomes -------------------------------------------------------------------------------------------------------


def outcome(status: str, stage: str | None, score: float, plans: tuple[Plan, ...] = ()) -> Outcome:
    proof = Certificate(True, None, float("inf"), None, 1, 10)
    certificate = proof if status == "none_exists" else None
    provenance = Provenance("m", "p", "q", "e", "s")
    return Outcome("1", status, stage, "point", score, 0.5, plans, certificate, None, provenance)  # type: ignore[arg-type]


def test_the_stage_says_what_refused() -> None:
    """A knock-out, the score, or both; who passes both is approved."""
    model, policy, population = stairs(lambda low, high: low <= 20)
    words = policy.model_dump(exclude_defaults=True)
    words["decision"]["knockouts"] = [{"name": "too high", "deny_when": "high > 20"}]
    policy = Policy.model_validate(words)
    for row, score, stage in (
        ({"low": 10, "high": 25}, 1.0, "knockout"),
        ({"low": 30, "high": 5}, 0.0, "score"),
        ({"low": 30, "high": 25}, 0.0, "combined"),
    ):
        for said in ("knockout", "score", "combined"):
            (found,) = check_outcomes([outcome("none_exists", said, score)], [row], model, policy, population)
            assert (found == ()) == (said == stage)
        (found,) = check_outcomes([outcome("already_approved", None, score)], [row], model, policy, population)
        assert any("the status is 'already_approved', but" in v for v in found)
    passing = {"low": 10, "high": 5}
    assert check_outcomes([outcome("already_approved", None, 1.0)], [passing], model, policy, population) == [()]


def test_several_plans_differ_and_get_dearer() -> None:
    """A later plan changes something that an earlier one leaves alone, and is no cheaper."""
    model, policy, population = stairs(lambda low, high: low <= 20 or high >= 10)
    row = {"low": 30, "high": 5}
    first = plan_of((Change("high", 5, 10),), 5.0, model, row=row, policy=policy)
    second = plan_of((Change("low", 30, 20),), 10.0, model, row=row, policy=policy)
    (found,) = check_outcomes([outcome("found", "score", 0.0, (first, second))], [row], model, policy, population)
    assert found == ()
    (found,) = check_outcomes([outcome("found", "score", 0.0, (second, first))], [row], model, policy, population)
    assert found == ("plan 2 costs 5.0, less than an earlier one that is proven: 10.0",)
    (found,) = check_outcomes([outcome("found", "score", 0.0, (first, first))], [row], model, policy, population)
    assert found == ("plan 2 changes all the features that an earlier plan changes: high",)


def test_steps_of_a_tenth_reach_their_bound_exactly() -> None:
    """Regions are counted in decimals: 0.7 and three steps of 0.1 are 1.0, not 0.9999."""
    frame = pd.DataFrame({"x": np.arange(0, 21) / 10})
    model = read_model(DecisionTreeClassifier(random_state=0).fit(frame, frame["x"] >= 0.7))
    policy = Policy.model_validate(
        {
            "decision": {"threshold": 0.5},
            "cost": {"unit": "raw", "per_change": 0.0},
            "features": {"x": {"kind": "number", "step": Decimal("0.1"), "change": "up", "max": 2}},
        }
    )
    row = {"x": 0.3}
    for end, right in ((1.0, True), (0.9, False), (None, True)):
        changes = (Change("x", 0.3, 0.7),)
        plan = plan_of(changes, 0.4, model, row=row, policy=policy, region={"x": (0.7, end)})
        found = check(plan, row, model, policy, Population.from_frame(frame, policy), shape="box", box_steps=3)
        assert (found == ()) == right, found
