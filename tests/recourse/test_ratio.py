"""A model that looks at a ratio, and a rule about it: advice on the parts is advice on the whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from recourse import Finder, Policy
from recourse.datasets import load
from recourse.plan import Outcome, check_outcomes

LIMIT = 0.30


@pytest.fixture(scope="module")
def told() -> tuple[pd.DataFrame, list[Outcome]]:
    """Refused applicants of the lender, and their outcomes under a rule on the ratio that the model uses."""
    lender = load("lender")
    whole = lender.frame[["income", "monthly_debt", "utilisation", "dti"]].dropna()
    frame = whole.assign(dti=12.0 * whole["monthly_debt"] / whole["income"])
    model = HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(frame, lender.target[frame.index])
    given = Policy.from_toml(lender.policy).model_dump(exclude_unset=True)
    given["features"] = {name: given["features"][name] for name in frame}
    given["rules"] = [{"name": "debts", "require": f"dti <= {LIMIT}"}]
    rows = frame[model.predict_proba(frame)[:, 1] < 0.75].head(60)
    finder = Finder(model, Policy.model_validate(given), frame)
    return rows, list(finder.find_many(rows, threads=1, progress=False))


def test_the_ratio_follows_its_parts(told: tuple[pd.DataFrame, list[Outcome]]) -> None:
    """In every plan the ratio is that of the debts and the income that the plan asks for, and is no change itself."""
    _, outcomes = told
    plans = [plan for outcome in outcomes for plan in outcome.plans]
    assert len(plans) > 10
    for plan in plans:
        assert plan.row["dti"] == 12.0 * float(plan.row["monthly_debt"] or 0) / float(plan.row["income"] or 0)
        assert "dti" not in {change.feature for change in plan.changes}
        assert plan.certificate.proven


def test_the_rule_on_the_ratio_is_kept(told: tuple[pd.DataFrame, list[Outcome]]) -> None:
    """No plan leaves more debts than the rule allows, though some applicants begin with more."""
    rows, outcomes = told
    assert (rows["dti"] > LIMIT).any()
    reached = np.array([plan.row["dti"] for outcome in outcomes for plan in outcome.plans], dtype=np.float64)
    assert (reached <= LIMIT).all()


def test_what_a_formula_replaces_is_checked_by_the_formula() -> None:
    """Where the file rounds a ratio and the policy recomputes it, outcomes pass their check, approved ones included."""
    lender = load("lender")
    frame = lender.frame[["income", "monthly_debt", "utilisation", "dti"]].dropna()
    model = HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(frame, lender.target[frame.index])
    given = Policy.from_toml(lender.policy).model_dump(exclude_unset=True)
    given["features"] = {name: given["features"][name] for name in frame}
    finder, rows = Finder(model, Policy.model_validate(given), frame), frame.head(40)
    found = list(finder.find_many(rows, threads=1, progress=False))
    assert {outcome.status for outcome in found} >= {"found", "already_approved"}
    told = check_outcomes(found, rows.to_dict("records"), finder.model, finder.policy, finder.population)
    assert [problem for problems in told for problem in problems] == []
