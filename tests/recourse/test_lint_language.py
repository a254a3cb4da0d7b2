"""Lints of rules, formulas, effects, clocks, codes, groups and thresholds: what is found, and silence elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

from recourse.errors import PolicyError
from recourse.lint import lint_policy
from recourse.models import read_model
from recourse.policy import Policy, check_costs

NUMBER = {"kind": "integer", "min": 0, "max": 100}
FIXED = {"kind": "integer", "role": "fixed"}
WEEKS = {"horizon": 12, "cost_per_month": 0.1}


def policy_of(rest: dict[str, Any] | None = None, **features: dict[str, Any]) -> Policy:
    """A policy around features."""
    return Policy.model_validate({"decision": {"threshold": 0.5}, "features": features, **(rest or {})})


def lines(policy: Policy, **against: Any) -> list[str]:
    """The findings as they are printed."""
    return [str(finding) for finding in lint_policy(policy, **against)]


RATIO = {"kind": "number", "role": "derived", "value": "debt / income"}
GOOD = policy_of(
    {
        "time": WEEKS,
        "rules": [{"when": "debt > start.debt", "then": "income > start.income"}],
        "reapply": {"effects": {"inquiries": "+1"}},
    },
    income={**NUMBER, "step": 1},
    debt=NUMBER,
    dti=RATIO,
    months={"kind": "integer", "role": "fixed", "tick": 1},
    inquiries=FIXED,
)
PEOPLE = pd.DataFrame(
    {"income": [10, 20, 40], "debt": [5, 5, 10], "dti": [0.5, 0.25, 0.25], "months": [1, 2, 3], "inquiries": [0, 1, 2]}
)


def test_a_fitting_policy_has_no_findings() -> None:
    """Silence means that nothing looked wrong: expressions were tried on the rows."""
    assert lines(GOOD) == []
    assert lines(GOOD, frame=PEOPLE) == []
    assert lines(GOOD, frame=PEOPLE.drop(columns="dti")) == []  # a formula needs no column


ALONE: dict[str, tuple[Policy, str]] = {
    "ticks without time": (
        policy_of(x=NUMBER, age={**FIXED, "tick": 1}),
        "warning: age: ticks, but no time passes. Add [time], or [reapply] with after_months.",
    ),
    "wait without time": (
        policy_of({"rules": [{"require": "wait < x"}]}, x=NUMBER),
        "warning: rules.#1.require reads wait, which is always 0 without [time].",
    ),
    "time without use": (
        policy_of({"time": WEEKS}, x=NUMBER),
        "warning: waiting changes nothing: no feature ticks and no expression reads wait. Delete [time].",
    ),
    "reapply of nothing": (policy_of({"reapply": {}}, x=NUMBER), "warning: [reapply] says nothing"),
    "a year that is none": (
        policy_of({"time": WEEKS}, x=NUMBER, age={**FIXED, "tick": 0.0833}),
        "warning: age: tick 0.0833 makes 0.9996 of a year, which counts as 0. Write 0.08334 for 1 in twelve months.",
    ),
    "a rule of what stays": (
        policy_of({"rules": [{"name": "r", "require": "y > 0"}]}, x=NUMBER, y=FIXED),
        "warning: the rule 'r' reads nothing that a plan can change",
    ),
    "an effect of what stays": (
        policy_of(x=NUMBER, y=FIXED, z={"kind": "number", "effect": "start.z + y - start.y"}),
        "warning: z: its effect reads nothing that a plan can change, so it never moves. Make it fixed.",
    ),
    "a protected feature that advice reads": (
        policy_of({"rules": [{"require": "x > age"}]}, x=NUMBER, age={"kind": "integer", "role": "protected"}),
        "warning: age: protected, but rules.#1.require reads it: advice depends on it.",
    ),
    "manipulable with a direction": (
        policy_of(x=NUMBER, phone={"kind": "flag", "manipulable": True, "change": "up"}),
        "warning: phone: manipulable and hence never advised, so change says nothing.",
    ),
}


@pytest.mark.parametrize(("policy", "words"), ALONE.values(), ids=ALONE.keys())
def test_what_the_language_leaves_idle_is_warned_of(policy: Policy, words: str) -> None:
    """What can be read off the policy alone is found without data, as one line."""
    (line,) = lines(policy)
    assert line.startswith(words)


DATA: dict[str, tuple[Policy, dict[str, list[Any]], str]] = {
    "a formula that disagrees": (
        policy_of(debt=NUMBER, income=NUMBER, dti=RATIO),
        {"debt": [5, 5], "income": [10, 20], "dti": [0.5, 0.3]},
        "error: dti: recorded otherwise than its formula gives: 1 of 2 rows, such as row 1: 0.3 against 0.25. Correct",
    ),
    "a formula that is used": (
        policy_of(debt=NUMBER, income=NUMBER, dti={**RATIO, "derived_mismatch": "recompute"}),
        {"debt": [5, 5], "income": [10, 0], "dti": [0.5, 0.3]},
        "warning: dti: recorded otherwise than its formula gives: 1 of 2 rows, such as row 1: 0.3 against missing. The",
    ),
    "an effect that moves at once": (
        policy_of(x=NUMBER, y={"kind": "integer", "effect": "x + 1"}),
        {"x": [1, 2], "y": [2, 9]},
        "warning: y: its effect is not the present value where nothing has changed: 1 of 2 rows, such as row 1: 9 agai",
    ),
    "a rule that is broken": (
        policy_of({"rules": [{"name": "r", "require": "x <= y"}]}, x=NUMBER, y=NUMBER),
        {"x": [1, 5, None], "y": [2, 3, 1]},
        "warning: the rule 'r' is broken by applicants who change nothing: 1 of 3 rows, such as row 1. A plan for them",
    ),
    "a rule that applying again breaks": (
        policy_of({"rules": [{"name": "r", "require": "x < 3"}], "reapply": {"effects": {"x": "+1"}}}, x=NUMBER),
        {"x": [1, 2]},
        "warning: the rule 'r' is broken by applicants who change nothing: 1 of 2 rows, such as row 1. A plan for them",
    ),
    "a knock-out of everyone": (
        Policy.model_validate(
            {
                "decision": {"threshold": 0.5, "knockouts": [{"name": "k", "deny_when": "x >= 0"}]},
                "features": {"x": NUMBER},
            }
        ),
        {"x": [1, 2]},
        "warning: the knock-out 'k' denies every applicant in the data.",
    ),
    "a code that never occurs": (
        policy_of(x={**NUMBER, "codes": {"-8": "none", "-9": "no record"}}),
        {"x": [1, -8]},
        "warning: x: the code -9 never occurs in the data.",
    ),
    "a value that is always there": (
        policy_of(x={**NUMBER, "provide": {"cost": 1}}),
        {"x": [1, 2]},
        "warning: x: can be provided, but is never missing in the data.",
    ),
    "a group without a column": (
        policy_of({"groups": {"one_hot": {"g": ["car", "home"]}}}, g={"kind": "category"}, x=NUMBER),
        {"car": [1, 0], "hom": [0, 1], "x": [1, 2]},
        "error: g: the data has no column 'home', which the group has. Did you mean 'hom'?",
    ),
    "a group that is no level": (
        policy_of({"groups": {"one_hot": {"g": ["car", "home"]}}}, g={"kind": "category"}, x=NUMBER),
        {"car": [1, 0], "home": [1, 1], "x": [1, 2]},
        "error: g: row 0: expected exactly one 1 in the group 'g', got 1, 1 in car, home.",
    ),
    "a rung that nobody reaches": (
        policy_of({"groups": {"thermometer": {"g": ["r", "s"]}}}, g={"kind": "ordinal"}, x=NUMBER),
        {"r": [1, 0], "s": [0, 0], "x": [1, 2]},
        "warning: g: 2 never occurs in the data.",
    ),
    "a threshold that is not there": (
        Policy.model_validate({"decision": {"threshold": "cut"}, "features": {"x": NUMBER}}),
        {"x": [1], "cuts": [0.5]},
        "error: the data has no column 'cut' for the threshold. Did you mean 'cuts'?",
    ),
    "a threshold that is no probability": (
        Policy.model_validate({"decision": {"threshold": "cut"}, "features": {"x": NUMBER}}),
        {"x": [1, 2], "cut": [0.5, 1.5]},
        "error: the threshold in 'cut' cannot be used: 1 of 2 rows, such as row 1: 1.5.",
    ),
    "a threshold that gives nothing": (
        Policy.model_validate({"decision": {"threshold": "1 / tier"}, "features": {"x": NUMBER, "tier": FIXED}}),
        {"x": [1, 2], "tier": [2, 0]},
        "error: decision.threshold gives nothing for 1 of 2 rows, such as row 1.",
    ),
    "a recorded decision that never approves": (
        Policy.model_validate({"decision": {"threshold": 0.5, "recorded_decision": "said"}, "features": {"x": NUMBER}}),
        {"x": [1, 2], "said": ["yes", "no"]},
        "warning: 'said' never holds 1, the favourable class.",
    ),
    "a recorded score that is not there": (
        Policy.model_validate({"decision": {"threshold": 0.5, "recorded_score": "score"}, "features": {"x": NUMBER}}),
        {"x": [1, 2]},
        "warning: decision.recorded_score: the data has no column 'score', so nothing is compared.",
    ),
}


@pytest.mark.parametrize(("policy", "data", "words"), DATA.values(), ids=DATA.keys())
def test_applicants_that_do_not_fit_the_language_are_found(
    policy: Policy, data: dict[str, list[Any]], words: str
) -> None:
    """Each kind of misfit between expressions and data is one finding, with counts and an example."""
    (line,) = lines(policy, frame=pd.DataFrame(data))
    assert line.startswith(words)


def test_a_code_that_many_features_share_is_named_once() -> None:
    """A file whose codes are declared everywhere does not bury the other findings."""
    coded = {**NUMBER, "codes": {"-9": "no record"}}
    frame = pd.DataFrame({name: [1, 2] for name in "abc"})
    assert lines(policy_of(a=coded, b=coded, c=coded), frame=frame) == [
        "warning: the code -9 of 3 features never occurs in the data."
    ]


def model_of(frame: pd.DataFrame, *names: str) -> Any:
    """A small model that tests the first of the named columns alone."""
    inputs = frame[list(names)]
    y = (inputs.iloc[:, 0] > inputs.iloc[:, 0].median()).to_numpy(dtype=int)
    return read_model(DecisionTreeClassifier(max_depth=1, random_state=0).fit(inputs, y))


def test_an_action_counts_by_way_of_what_follows() -> None:
    """A feature that the model never tests still matters if a formula, an effect or a rule reads it."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.integers(1, 90, 40) for name in ("income", "debt", "idle", "phone")})
    frame["dti"] = frame["debt"] / frame["income"]
    policy = policy_of(
        income=NUMBER, debt=NUMBER, dti=RATIO, idle=NUMBER, phone={"kind": "integer", "manipulable": True}
    )
    assert lines(policy, frame=frame, model=model_of(frame, "dti", "idle")) == [
        "warning: idle: an action, but the model never tests it, so changing it never helps. Make it fixed."
    ]
    gamed = "warning: phone: manipulable, and the model uses it: whoever changes it moves the score, but not the risk."
    assert gamed in lines(policy, frame=frame, model=model_of(frame, "phone", "dti"))


def test_groups_that_nothing_reads_are_named() -> None:
    """A group is the model's by its columns: one that has none of them, or some, is named."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.integers(0, 9, 40), "a": [0, 1] * 20, "b": [1, 0] * 20})
    policy = policy_of({"groups": {"one_hot": {"g": ["a", "b"]}}}, x=NUMBER, g={"kind": "category"})
    assert lines(policy, frame=frame, model=model_of(frame, "a", "b", "x"))[-1:] == [
        "warning: x: an action, but the model never tests it, so changing it never helps. Make it fixed."
    ]
    (idle,) = lines(policy, frame=frame, model=model_of(frame, "x"))
    assert idle.startswith("warning: g: none of its columns is the model's, and no expression reads it.")
    assert any(
        line.startswith("warning: g: 'b' is a column of the group, but not of the model.")
        for line in lines(policy, frame=frame, model=model_of(frame, "a", "x"))
    )


def test_waiting_that_nothing_reads_is_named() -> None:
    """A clock that no score and no rule reads makes waiting idle."""
    frame = pd.DataFrame({"x": range(20), "age": range(20)})
    policy = policy_of({"time": WEEKS}, x=NUMBER, age={**FIXED, "tick": 1})
    assert "warning: waiting changes nothing that the model or a rule reads. Delete [time]." in lines(
        policy, frame=frame, model=model_of(frame, "x")
    )
    assert lines(policy, frame=frame, model=model_of(frame, "age")) == [
        "warning: x: not used by the model, so changing it never helps. Make it fixed."
    ]


def test_a_feature_that_expressions_read_needs_an_end() -> None:
    """Values that an expression tells apart are listed one by one, so there must be finitely many."""
    rule = {"cost": {"unit": "raw"}, "rules": [{"require": "x > 0"}]}
    with pytest.raises(PolicyError, match=r"^features\.x\.max: is missing: rules\.#1\.require reads the feature"):
        check_costs(policy_of(rule, x={"kind": "integer", "min": 0}))
    for end in ({"max": 9, "min": 0}, {"max_change": 5}, {"change": "up", "max": 3}, {"change": "down", "min": 3}):
        check_costs(policy_of(rule, x={"kind": "integer", "max": 9, **end}))
