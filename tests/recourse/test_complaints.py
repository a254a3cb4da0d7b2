"""What users of other systems complain of, and what happens here: one test for each of the ten loudest complaints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from recourse import Budget, Finder, Policy, blocking
from recourse.plan import Outcome, check_outcomes

HOUSING = ["rent", "own", "free"]


def people(n: int = 600) -> pd.DataFrame:
    """Return applicants whose approval depends on a ratio, on housing and on past arrears."""
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "income": rng.integers(12, 90, n) * 500,
            "debt": rng.integers(0, 50, n) * 250,
            "open_accounts": rng.integers(0, 9, n),
            "total_accounts": rng.integers(9, 20, n),
            "arrears": rng.integers(0, 4, n),
            "age": rng.integers(18, 80, n),
            "housing": rng.choice(HOUSING, n),
        }
    )


def repaid(frame: pd.DataFrame) -> np.ndarray:
    """Return who paid back."""
    score = frame["income"] / 9000 - frame["debt"] / 5000 - frame["arrears"] + 0.8 * (frame["housing"] == "own")
    return np.asarray((score > 1.2).astype(int))


PEOPLE = people()
NUMBERS = [name for name in PEOPLE if name != "housing"]


@pytest.fixture(scope="module")
def model() -> Any:
    spread = ColumnTransformer([("housing", OneHotEncoder(), ["housing"])], remainder="passthrough")
    return make_pipeline(spread, GradientBoostingClassifier(n_estimators=25, random_state=0)).fit(
        PEOPLE, repaid(PEOPLE)
    )


def policy(**changes: Any) -> dict[str, Any]:
    """Return a lender's rules, with some tables replaced."""
    return {
        "decision": {"threshold": 0.5},
        "cost": {"unit": "std", "per_change": 0.1},
        "features": {
            "income": {"kind": "integer", "change": "up", "step": 500, "min": 0, "max": 60_000, "max_change": 15_000},
            "debt": {"kind": "integer", "change": "down", "step": 250, "min": 0, "max": 15_000},
            "open_accounts": {"kind": "integer", "min": 0, "max": 20},
            "total_accounts": {"kind": "integer", "role": "fixed"},
            "arrears": {"kind": "integer", "role": "fixed"},
            "age": {"kind": "integer", "role": "protected"},
            "housing": {"kind": "category", "levels": HOUSING, "moves": {"rent": ["own"], "free": ["own"]}},
        }
        | changes.pop("features", {}),
    } | changes


def refused(model: Any, n: int = 12) -> pd.DataFrame:
    return PEOPLE[model.predict_proba(PEOPLE)[:, 1] < 0.5].head(n)


def answers(model: Any, rules: dict[str, Any], rows: pd.DataFrame, **given: Any) -> list[Outcome]:
    """Return the outcomes, each checked from raw values."""
    finder = Finder(model, rules, PEOPLE, **given)
    found = list(finder.find_many(rows, threads=1, progress=False))
    told = check_outcomes(found, rows.to_dict("records"), finder.model, finder.policy, finder.population)
    assert [problem for problems in told for problem in problems] == []
    return found


def test_work_is_bounded_and_said(model: Any) -> None:
    """An answer comes within its budget of nodes, with the gap that is left; peers take a day for ten rows.

    DiCE #258, #218, #150, #259; mlxtend #1029; charmlab/mace #7; alibi #584.
    """
    free = {name: {"kind": "integer", "min": 0} for name in NUMBERS if name not in ("age", "income", "debt")}
    wide = policy(features=free)
    wide["features"]["debt"].pop("change")
    for outcome in answers(model, wide, refused(model), budget=Budget(nodes=3)):
        told = outcome.plan.certificate if outcome.plan else outcome.certificate
        assert told is not None
        assert told.nodes <= 3 + 2  # the boxes of one split
        if outcome.plan and not told.proven:
            assert told.gap is not None
            assert 0 < told.gap <= 1


def test_the_impossible_is_said_at_once(model: Any) -> None:
    """Where nothing can be done the answer is a proof of that, with the best score within reach; peers hang.

    DiCE #226, #168, #165.
    """
    stuck = {name: {"kind": "integer", "role": "fixed"} for name in ("income", "debt")}
    rules = policy(features=stuck)
    rules["features"]["housing"]["role"] = "fixed"
    statuses = set()
    for outcome in answers(model, rules, refused(model)):
        statuses.add(outcome.status)
        if outcome.status == "none_exists":
            assert outcome.certificate is not None
            assert outcome.certificate.proven
            assert outcome.best_score is not None
            assert outcome.best_score.proven
            assert outcome.best_score.value < 0.5
    assert "none_exists" in statuses


def test_no_answer_comes_without_its_reason(model: Any) -> None:
    """An answer is never None: where no plan exists, it can be asked what is in the way; peers return nothing.

    OmniXAI #108; alibi #186; responsible-ai-toolbox #938, #614.
    """
    rules = policy(features={name: {"kind": "integer", "role": "fixed"} for name in ("income", "debt")})
    finder = Finder(model, rules, PEOPLE)
    rows = refused(model, 40)
    for row, outcome in zip(rows.to_dict("records"), finder.find_many(rows, threads=1, progress=False), strict=True):
        assert outcome.status in ("found", "none_exists")
        if outcome.status == "none_exists":
            told = blocking(finder, row)
            assert told.model or told.constraints
            return
    pytest.fail("every applicant had a plan")


def test_ranges_are_kept(model: Any) -> None:
    """No value leaves its range, grid, direction or largest change; peers return values well outside.

    DiCE #284, #426, #106.
    """
    rows = refused(model, 40)
    for outcome in answers(model, policy(), rows):
        for plan in outcome.plans:
            row, before = plan.row, rows.loc[int(outcome.id)]
            assert before["income"] <= row["income"] <= min(60_000, before["income"] + 15_000)  # type: ignore[operator]
            assert 0 <= row["debt"] <= before["debt"]  # type: ignore[operator]
            assert row["income"] % 500 == row["debt"] % 250 == 0  # type: ignore[operator]


def test_what_is_fixed_stays(model: Any) -> None:
    """Fixed and protected features never change, and a protected one is not even printed; peers vary them.

    DiCE #441, #260; alibi #1022; CARLA #155, #184.
    """
    for outcome in answers(model, policy(), refused(model, 40)):
        for plan in outcome.plans:
            assert {change.feature for change in plan.changes} <= {"income", "debt", "open_accounts", "housing"}
            assert "age" not in plan.row


def test_rules_of_the_real_world_are_kept(model: Any) -> None:
    """Inequalities between features, transitions, consequences and limits on changes are part of the search.

    CARLA #201; OmniXAI #113; alibi #175; DiCE #426 (a <= b), #186 (at most one feature), #166 (causes), #193 (forbidden
    transitions), #133 (groups of features).
    """
    rules = policy(
        cost={"unit": "std", "max_changes": 2},
        features={
            "open_accounts": {"kind": "integer", "effect": "start.open_accounts + floor((start.debt - debt) / -2500)"}
        },
        rules=[
            {"require": "open_accounts <= total_accounts"},
            {"name": "owners earn", "when": "housing == 'own' and start.housing != 'own'", "then": "income >= 20000"},
        ],
    )  # fmt: skip
    rows = refused(model, 40)
    for outcome in answers(model, rules, rows):
        before = rows.loc[int(outcome.id)]
        for plan in outcome.plans:
            row = plan.row
            assert len(plan.changes) <= 2
            assert row["open_accounts"] <= row["total_accounts"]  # type: ignore[operator]
            assert row["housing"] in (before["housing"], "own")
            assert row["housing"] == before["housing"] or row["income"] >= 20_000  # type: ignore[operator]
            steps = np.floor((before["debt"] - row["debt"]) / -2500)  # type: ignore[operator]
            assert row["open_accounts"] == before["open_accounts"] + steps


def test_one_hot_columns_are_one_category() -> None:
    """Exactly one column of a group is 1, before and after; peers make green and blue both 1.

    actionable-recourse #14; DiCE #186; ofurman/counterfactuals #67; alibi #366.
    """
    spread = pd.get_dummies(PEOPLE, columns=["housing"], dtype=int)
    members = [f"housing_{level}" for level in HOUSING]
    forest = RandomForestClassifier(15, max_depth=5, random_state=0).fit(spread, repaid(PEOPLE))
    rules = policy(groups={"one_hot": {"housing": members}})
    rules["features"]["housing"] = {"kind": "category"}
    rows = spread[forest.predict_proba(spread)[:, 1] < 0.5].head(30)
    finder = Finder(forest, rules, spread)
    moved = 0
    for outcome in finder.find_many(rows, threads=1, progress=False):
        for plan in outcome.plans:
            assert sorted(plan.row[name] for name in members) == [0, 0, 1]  # type: ignore[type-var]
            moved += any(change.feature == "housing" for change in plan.changes)
    assert moved


def test_a_plan_turns_the_native_decision(model: Any) -> None:
    """The library itself approves every plan's row, to the last digit; peers return rows that do not flip.

    vidalt/OCEAN #30, #29, #38; DiCE #102.
    """
    rows = refused(model, 40)
    found = [outcome for outcome in answers(model, policy(), rows) if outcome.plan]
    assert found
    for outcome in found:
        assert outcome.plan is not None
        turned = pd.DataFrame([outcome.plan.row | {"age": rows.loc[int(outcome.id), "age"]}])[list(PEOPLE)]
        assert model.predict_proba(turned)[0, 1] == outcome.plan.score >= 0.5


@pytest.mark.parametrize("dress", ["int32", "float32", "object", "category", "polars", "Int64"])
def test_columns_of_any_type_are_read_alike(model: Any, dress: str) -> None:
    """The same values in another type of column give the same plans; peers ask for types the columns have.

    DiCE #290, #407, #222, #349, #168.
    """
    rows = refused(model)
    worn: Any = rows
    if dress == "polars":
        worn = pl.from_pandas(rows)
    elif dress == "object":
        worn = rows.astype(object)
    elif dress == "category":
        worn = rows.astype({"housing": "category"})
    else:
        worn = rows.astype(dict.fromkeys(NUMBERS, dress))
    finder = Finder(model, policy(), PEOPLE)
    ids = list(rows.index)
    plain = [str(o.plan) for o in finder.find_many(rows, ids=ids, threads=1, progress=False)]
    assert [str(o.plan) for o in finder.find_many(worn, ids=ids, threads=1, progress=False)] == plain


def test_a_model_of_categories_alone_is_explained() -> None:
    """Not one number among the columns is needed.

    DiCE #349, #168.
    """
    frame = pd.DataFrame({"housing": HOUSING * 20, "job": ["none", "some"] * 30})
    told = (frame["housing"] == "own") & (frame["job"] == "some")
    forest = make_pipeline(OneHotEncoder(), RandomForestClassifier(5, bootstrap=False, random_state=0)).fit(frame, told)
    rules = {
        "decision": {"threshold": 0.5, "favourable": True},
        "features": {
            "housing": {"kind": "category", "levels": HOUSING},
            "job": {"kind": "category", "levels": ["none", "some"]},
        },
    }
    outcome = Finder(forest, rules, frame).find({"housing": "rent", "job": "none"})
    assert outcome.plan is not None
    assert outcome.plan.row == {"housing": "own", "job": "some"}


def test_an_applicant_may_lie_outside_the_data(model: Any) -> None:
    """Values that the population never had are answered, and are no reason to refuse.

    DiCE #122, #165, #185, #424.
    """
    beyond = refused(model, 3).assign(income=1_000, debt=14_750, age=103)
    assert beyond["income"].max() < PEOPLE["income"].min()
    assert all(outcome.status != "none_found" for outcome in answers(model, policy(), beyond))


def test_the_policy_is_one_that_the_lint_knows() -> None:
    """The rules of these tests are a policy as any other."""
    assert Policy.model_validate(policy()).movable == ("income", "debt", "open_accounts", "housing")
