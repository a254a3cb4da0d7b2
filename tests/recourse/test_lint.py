"""Lints: what looks wrong in a policy beside data and a model, and silence where nothing does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from recourse.lint import Finding, lint_policy, score_range, used_columns
from recourse.models import encode_frame, read_model
from recourse.policy import Policy
from tests.strategies_policy import frames, policies


def policy_of(*, threshold: float = 0.5, cost: dict[str, Any] | None = None, **features: dict[str, Any]) -> Policy:
    """A policy around features."""
    return Policy.model_validate({"decision": {"threshold": threshold}, "cost": cost or {}, "features": features})


def lines(policy: Policy, **against: Any) -> list[str]:
    """The findings as they are printed."""
    return [str(finding) for finding in lint_policy(policy, **against)]


def people(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Applicants with a few columns."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "income": rng.integers(2, 90, n) * 500.0,
            "debts": rng.integers(0, 9, n),
            "age": rng.integers(18, 80, n),
            "quiet": np.zeros(n),
        }
    )


def label(frame: pd.DataFrame) -> np.ndarray:
    """Who repays."""
    return (frame["income"] / 5000 - frame["debts"] + frame["age"] / 40 > 2).to_numpy(dtype=int)


INCOME = {"kind": "number", "step": 500, "min": 0, "max": 45000}
GOOD = policy_of(
    income=INCOME,
    debts={"kind": "integer", "change": "down", "min": 0},
    age={"kind": "integer", "role": "fixed"},
    quiet={"kind": "number", "role": "fixed"},
)


def tree(frame: pd.DataFrame, **settings: Any) -> Any:
    """A small model of the applicants."""
    return DecisionTreeClassifier(max_depth=4, random_state=0, **settings).fit(frame, label(frame))


def test_a_fitting_policy_has_no_findings() -> None:
    """Silence means that nothing looked wrong."""
    frame = people()
    assert lines(GOOD) == []
    assert lines(GOOD, frame=frame) == []
    assert lines(GOOD, frame=frame, model=read_model(tree(frame))) == []


@given(st.data())
def test_rows_that_fit_a_policy_are_no_errors(data: st.DataObject) -> None:
    """Whatever the policy, applicants drawn from its own values give warnings at most, or a price too high."""
    policy = data.draw(policies(max_features=4))
    frame = data.draw(frames(policy))
    wrong = [f for f in lint_policy(policy, frame=frame) if f.level == "error"]
    assert all("the largest cost of a plan" in f.message for f in wrong)


def test_findings_stand_in_order() -> None:
    """Errors come before warnings, each in the order of the policy."""
    policy = policy_of(b={"kind": "integer", "max": 1}, a={"kind": "integer"}, c={"kind": "number"})
    found = lint_policy(policy, frame=pd.DataFrame({"b": [5], "c": ["x"]}))
    assert [(f.level, f.feature) for f in found] == [("error", "a"), ("error", "c"), ("warning", "b")]
    assert found[2] == Finding("warning", "b", found[2].message)


ALONE = {
    "nothing actionable": (policy_of(x={"kind": "number", "role": "fixed"}), "nothing is actionable"),
    "sounds protected": (policy_of(gender={"kind": "flag"}), "gender: sounds like a protected characteristic"),
    "no moves": (
        policy_of(x={"kind": "category", "levels": ["a", "b"], "moves": {"a": []}}),
        "x: its moves lead nowhere",
    ),
    "one level": (policy_of(x={"kind": "category", "levels": ["a"]}), "x: its moves lead nowhere"),
    "empty grid": (
        policy_of(x={"kind": "number", "step": 10, "min": 1, "max": 9}),
        "x: no multiple of the step 10 lies between min 1 and max 9.",
    ),
}


@pytest.mark.parametrize(("policy", "words"), ALONE.values(), ids=ALONE.keys())
def test_a_policy_without_effect_is_warned_of(policy: Policy, words: str) -> None:
    """What can be read off the policy alone is found without data."""
    (line,) = lines(policy)
    assert line.startswith("warning: ")
    assert words in line


DATA: dict[str, tuple[Policy, dict[str, list[Any]], str]] = {
    "unknown column": (
        policy_of(incme={"kind": "number"}),
        {"income": [1.0]},
        "error: incme: the data has no column 'incme'. Did you mean 'income'?",
    ),
    "off the grid": (
        policy_of(x={"kind": "number", "step": 0.1}),
        {"x": [0.3, 0.35, 0.1, 0.75]},
        "warning: x: off the grid of 0.1: 2 of 4 rows, such as row 1: 0.35.",
    ),
    "fractions of whole numbers": (
        policy_of(x={"kind": "integer"}),
        {"x": [1.0, 2.5]},
        "warning: x: off the grid of 1: 1 of 2 rows, such as row 1: 2.5.",
    ),
    "below the bounds": (
        policy_of(x={"kind": "integer", "min": 0}),
        {"x": [3, -4, 5]},
        "warning: x: below min 0: 1 of 3 rows, such as row 1: -4.",
    ),
    "above the bounds": (
        policy_of(x={"kind": "number", "max": 10}),
        {"x": [3.0, 11.5]},
        "warning: x: above max 10: 1 of 2 rows, such as row 1: 11.5.",
    ),
    "nobody can move": (
        policy_of(x={"kind": "integer", "change": "up", "max": 3}),
        {"x": [3, 3]},
        "warning: x: no applicant can move",
    ),
    "level never seen": (
        policy_of(x={"kind": "category", "levels": ["rent", "own", "free"]}),
        {"x": ["rent", "own"]},
        "warning: x: 'free' never occurs in the data.",
    ),
    "level not in the policy": (
        policy_of(x={"kind": "category", "levels": ["rent", "own"]}),
        {"x": ["rent", "own", "Own", None, "Own"]},
        "error: x: 'Own' is not among the policy's levels (2 of 5 rows, such as row 2). Did you mean 'own'?",
    ),
    "text among numbers": (
        policy_of(x={"kind": "number"}),
        {"x": [1.0, "n/a"]},
        "error: x: column 'x', row 1: expected a number, got 'n/a'.",
    ),
    "infinite": (
        policy_of(x={"kind": "number", "role": "fixed"}, y={"kind": "flag"}),
        {"x": [1.0, np.inf], "y": [0, 1]},
        "error: x: column 'x', row 1: the value is infinite.",
    ),
    "undeclared code": (
        policy_of(x={"kind": "integer"}),
        {"x": [4, -9, 12]},
        "warning: x: -9 looks like a code (1 of 3 rows, such as row 1), but is read as a number.",
    ),
    "cost too large": (
        policy_of(x={"kind": "number"}, cost={"unit": "raw"}),
        {"x": [0.0, 1e9]},
        "error: features.x: the largest cost of a plan is 1e+09 units",
    ),
}


@pytest.mark.parametrize(("policy", "data", "words"), DATA.values(), ids=DATA.keys())
def test_data_that_does_not_fit_is_found(policy: Policy, data: dict[str, list[Any]], words: str) -> None:
    """Each kind of misfit between policy and data is one finding, with counts and an example."""
    (line,) = lines(policy, frame=pd.DataFrame(data))
    assert line.startswith(words)


def test_codes_and_missing_values_are_on_no_grid() -> None:
    """Declared codes and missing values are neither off the grid nor out of bounds."""
    policy = policy_of(x={"kind": "number", "step": 5, "min": 0, "codes": {"-7": "none"}})
    assert lines(policy, frame=pd.DataFrame({"x": [-7, None, 10]})) == []


def test_many_unknown_levels_are_summed_up() -> None:
    """A column of another meaning does not bury the other findings."""
    policy = policy_of(x={"kind": "category", "levels": ["a", "b"]})
    found = lines(policy, frame=pd.DataFrame({"x": [f"level {i}" for i in range(40)] + ["a", "b"]}))
    assert len(found) == 6
    assert found[-1] == "error: x: 35 more values are not among the policy's levels."


def test_columns_of_the_model_are_compared() -> None:
    """A column that the model needs, one that it does not have, and one that it never tests are named."""
    frame = people()
    model = read_model(tree(frame))
    assert used_columns(model) == {"income", "debts", "age"}
    typo = policy_of(
        incme=INCOME, debts={"kind": "integer"}, age={"kind": "integer", "role": "protected"}, quiet=INCOME
    )
    found = lines(typo, model=model)
    assert found == [
        "error: income: the model's column 'income' has no feature in the policy. Did you mean 'incme'? "
        'Add [features.income], with role = "fixed" if it cannot be changed.',
        "warning: incme: not used by the model, so changing it never helps. Did you mean 'income'? Make it fixed.",
        "warning: age: protected, but the model uses it: the decision depends on it.",
        "warning: quiet: an action, but the model never tests it, so changing it never helps. Make it fixed.",
    ]
    assert "error: incme: the data has no column 'incme'. Did you mean 'income'?" in lines(
        typo, model=model, frame=frame
    )


def test_actions_that_cannot_help_are_warned_of() -> None:
    """When nothing that can be changed enters the score, nobody has a plan, and the lint says so."""
    frame = people()
    fixed = {"kind": "number", "role": "fixed"}
    policy = policy_of(income=fixed, debts=fixed, age=fixed, quiet={"kind": "number", "step": 1})
    found = lines(policy, model=read_model(tree(frame)))
    assert "warning: nothing that is actionable changes the score: no applicant has a plan." in found


def test_levels_of_the_model_are_compared() -> None:
    """A level that the model has never seen, one that the policy lacks, and numbers where it has levels are named."""
    rng = np.random.default_rng(0)
    homes = pd.Categorical(rng.choice(["rent", "own", "free"], 60), categories=["rent", "own", "free"])
    frame = pd.DataFrame({"housing": homes, "income": rng.integers(0, 50, 60)})
    y = (frame["housing"] == "own").to_numpy(dtype=int) | (frame["income"] > 40)
    trained = HistGradientBoostingClassifier(
        max_iter=3, min_samples_leaf=2, early_stopping=False, categorical_features="from_dtype"
    ).fit(frame, y)
    model = read_model(trained)
    income = {"kind": "integer"}
    levels = {"kind": "category", "levels": ["rent", "own", "free"]}
    assert lines(policy_of(housing=levels, income=income), frame=frame, model=model) == []
    typo = policy_of(housing={"kind": "category", "levels": ["rent", "own", "fre"]}, income=income)
    assert lines(typo, model=model) == [
        "error: housing: the model has never seen the level 'fre'. Did you mean 'free'? Delete it from levels.",
        "warning: housing: 'free' is a level of the model, but not of the policy: nobody who has it is served.",
    ]
    number = policy_of(housing={"kind": "number"}, income={"kind": "category", "levels": ["low", "high"]})
    found = lines(number, model=model)
    assert found[0].startswith('error: housing: kind = "number", but the model takes the column as a category')
    assert found[1] == "error: income: its levels are texts, but the model takes the column as a number."


def test_thresholds_out_of_reach_are_errors() -> None:
    """A threshold that no applicant can reach is an error, one that everyone reaches a warning."""
    frame = people()
    features = {name: feature.model_dump(exclude_defaults=True) for name, feature in GOOD.features.items()}
    undecided = DecisionTreeClassifier(max_depth=2, min_samples_leaf=12).fit(frame, np.arange(len(frame)) % 2)
    model = read_model(undecided)
    low, high = score_range(model) or (0.0, 1.0)
    scores = undecided.predict_proba(frame)[:, 1]
    assert 0.0 < low <= scores.min() <= scores.max() <= high < 1.0
    (line,) = lines(policy_of(threshold=0.999, **features), frame=frame, model=model)[:1]
    assert line.startswith("error: no applicant can reach threshold + margin = 0.999: the model's scores end at")
    found = lines(policy_of(threshold=low / 2, **features), frame=frame, model=model)
    assert found[0].startswith("warning: every applicant is approved: the model's scores begin at")


def test_a_linear_model_is_bounded_by_the_policy() -> None:
    """The range of a linear model's scores reaches as far as the data and the policy's bounds."""
    frame = people()[["income", "debts"]] / [1000, 1]
    linear = LogisticRegression().fit(frame, label(people()))
    model = read_model(linear)
    low, high = score_range(model, encode_frame(frame, model.columns)) or (0.0, 0.0)
    scores = linear.predict_proba(frame)[:, 1]
    assert low <= scores.min() <= scores.max() <= high
    assert score_range(model) is None
    tight = {"debts": {"kind": "integer", "role": "fixed"}, "income": {"kind": "number", "max": 45}}
    beyond = 1 - (1 - high) / 10
    assert "no applicant can reach" in lines(policy_of(threshold=beyond, **tight), frame=frame, model=model)[0]
    wide = {**tight, "income": {"kind": "number", "max": 1e6}}
    assert lines(policy_of(threshold=beyond, **wide), frame=frame, model=model) == []


def test_ties_of_a_forest_are_warned_of() -> None:
    """A forest of pure leaves votes; where a vote can equal the threshold a margin of half a vote is suggested."""
    frame = people()
    features = {name: feature.model_dump(exclude_defaults=True) for name, feature in GOOD.features.items()}
    model = read_model(RandomForestClassifier(n_estimators=20, random_state=0, n_jobs=1).fit(frame, label(frame)))
    (line,) = lines(policy_of(threshold=0.5, **features), frame=frame, model=model)
    assert "the 20 trees of the forest vote with few different values" in line
    assert "Set decision.margin = 0.03" in line
    assert lines(policy_of(threshold=0.51, **features), frame=frame, model=model) == []
    safe = Policy.model_validate({"decision": {"threshold": 0.5, "margin": 0.03}, "features": features})
    assert lines(safe, frame=frame, model=model) == []


def test_rows_that_the_model_cannot_read_are_errors() -> None:
    """A frame that fits the policy but not the model is found before the first outcome."""
    frame = people()
    model = read_model(tree(frame))
    rest = {
        name: feature.model_dump(exclude_defaults=True) for name, feature in GOOD.features.items() if name != "quiet"
    }
    policy = policy_of(**rest, quiet={"kind": "category", "levels": [0, 1, "x"], "role": "fixed"})
    found = lines(policy, frame=frame, model=model)
    assert "error: quiet: its levels are texts, but the model takes the column as a number." in found
