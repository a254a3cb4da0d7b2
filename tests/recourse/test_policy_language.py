"""Policies that use the whole language: what is read, what is refused and in which words."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given

from recourse.errors import PolicyError
from recourse.policy import Feature, Groups, Knockout, Policy, Provide, Reapply, Rule, Time, check_costs
from recourse.population import Population
from tests.strategies_policy import language_dicts

DESIGN = """
[decision]
favourable = 1
score      = "probability"
threshold  = "tier_threshold"
margin     = 0.0
recorded_score = "score"
recorded_decision = "decision"
[[decision.knockouts]]
name = "open bankruptcy"
deny_when = "bankruptcies > 0"
reason = "BKR"
[features.income]
kind = "number"
change = "up"
step = 500
[features.monthly_debt]
kind = "number"
change = "down"
step = 10
min = 0
[features.bankruptcies]
kind = "integer"
role = "fixed"
[features.age]
kind = "integer"
role = "protected"
tick = 0.0833
[features.dti]
kind = "number"
role = "derived"
value = "12 * monthly_debt / income"
[features.MSinceMostRecentInq]
kind = "integer"
codes = { "-7" = "no inquiry", "-8" = "no usable inquiry", "-9" = "no record" }
tick = 1
moves = { "-8" = ["-7", 0] }
move_cost = { "-8" = { "0" = 2 } }
[features.NumInqLast6M]
kind = "integer"
role = "fixed"
[features.savings]
kind = "number"
effect = "start.savings + 0.2 * (income - start.income)"
[features.recent_mover]
kind = "flag"
manipulable = true
[features.education]
kind = "ordinal"
levels = ["none", "school", "degree"]
change = "up"
[features.open_accounts]
kind = "integer"
provide = { cost = 0.5, mode = "if_at_least" }
min = 0
max = 30
[features.total_accounts]
kind = "integer"
[features.purpose]
kind = "category"
[features.overdue]
kind = "ordinal"
change = "down"
[time]
horizon = 36
cost_per_month = 0.05
[groups]
one_hot     = { purpose = ["purpose_car", "purpose_home", "purpose_other"] }
thermometer = { overdue = ["overdue_30", "overdue_60", "overdue_90"] }
[[rules]]
name = "a degree takes two years"
when = "education > start.education"
then = "wait >= 24"
[[rules]]
require = "open_accounts <= total_accounts"
[reapply]
after_months = 6
effects = { NumInqLast6M = "+1" }
"""


def around(rest: dict[str, Any] | None = None, **features: dict[str, Any]) -> dict[str, Any]:
    """A policy around features."""
    return {"decision": {"threshold": 0.5}, "features": features, **(rest or {})}


def refusal(data: dict[str, Any]) -> str:
    """What is said when a policy is refused."""
    with pytest.raises(PolicyError) as caught:
        Policy.model_validate(data)
    return str(caught.value)


WHOLE: dict[str, Any] = {"kind": "integer"}
NUMBER: dict[str, Any] = {"kind": "number"}
CODED: dict[str, Any] = {"kind": "integer", "codes": {"-7": "none", "-8": "unusable"}}


def test_the_whole_language_of_the_design_is_read() -> None:
    """Every key of the documented format is understood, and what is said is found again."""
    policy = Policy.from_text(DESIGN)
    decision = policy.decision
    assert decision.knockouts == (Knockout(name="open bankruptcy", deny_when="bankruptcies > 0", reason="BKR"),)
    assert (decision.threshold, policy.threshold_column) == ("tier_threshold", "tier_threshold")
    assert (decision.recorded_score, decision.recorded_decision) == ("score", "decision")
    assert policy.time == Time(horizon=36, cost_per_month=0.05)
    assert policy.reapply == Reapply(after_months=6, effects={"NumInqLast6M": "+1"})
    assert policy.after_months == 6
    assert policy.groups == Groups(
        one_hot={"purpose": ("purpose_car", "purpose_home", "purpose_other")},
        thermometer={"overdue": ("overdue_30", "overdue_60", "overdue_90")},
    )
    assert policy.levels["purpose"] == ("purpose_car", "purpose_home", "purpose_other")
    assert policy.levels["overdue"] == (0, 1, 2, 3)
    assert policy.rules[0] == Rule(
        name="a degree takes two years", when="education > start.education", then="wait >= 24"
    )
    assert policy.rules[1].name == "open_accounts <= total_accounts"
    assert policy.features["age"].tick == Decimal("0.0833")
    assert policy.features["open_accounts"].provide == Provide(cost=0.5, mode="if_at_least")
    assert policy.other_columns[-3:] == ("tier_threshold", "score", "decision")


def test_who_moves_and_who_follows() -> None:
    """Derived, effect and manipulable features are never chosen; what may change by way of others is known."""
    policy = Policy.from_text(DESIGN)
    assert not {"dti", "savings", "recent_mover", "age", "bankruptcies"} & set(policy.movable)
    assert policy.features["recent_mover"].role == "action"
    assert policy.changing >= {"dti", "savings", "age", "NumInqLast6M", "wait", "income"}
    assert not policy.changing & {"bankruptcies", "recent_mover"}
    timeless = DESIGN.replace("[time]\nhorizon = 36\ncost_per_month = 0.05\n", "").replace("after_months = 6\n", "")
    still = Policy.from_text(timeless)
    assert not still.changing & {"age", "wait"}


def test_expressions_are_read_once_and_kept_in_place() -> None:
    """Every expression has its place, and an effect such as "+1" is an operator with what follows."""
    read = Policy.from_text(DESIGN).expressions
    assert read.threshold is None
    assert [place for place, _ in read.parts()] == [
        "decision.knockouts.#1.deny_when",
        "features.dti.value",
        "features.savings.effect",
        "rules.#1.when",
        "rules.#1.then",
        "rules.#2.require",
        "reapply.effects.NumInqLast6M",
    ]
    assert read.reapply["NumInqLast6M"].operator == "+"
    assert read.reapply["NumInqLast6M"].expression.evaluate({}, {}) == 1.0
    policy = Policy.from_text(DESIGN)
    assert policy.expressions is policy.expressions


def test_the_whole_language_survives_being_written() -> None:
    """TOML, pickle and JSON give back an equal policy with the same hash."""
    policy = Policy.from_text(DESIGN)
    again = Policy.from_text(policy.to_toml())
    assert (again, again.sha256, again.to_toml()) == (policy, policy.sha256, policy.to_toml())
    assert pickle.loads(pickle.dumps(policy)) == policy
    plain = json.loads(policy.model_dump_json(exclude_defaults=True))
    assert Policy.model_validate(plain).sha256 == policy.sha256


@given(language_dicts())
def test_any_policy_survives_being_written(data: dict[str, Any]) -> None:
    """Whatever a policy says: reading what to_toml writes gives an equal policy with the same hash."""
    policy = Policy.model_validate(data)
    again = Policy.from_text(policy.to_toml())
    assert again == policy
    assert again.sha256 == policy.sha256
    assert again.to_toml() == policy.to_toml()


@pytest.mark.parametrize(
    "more",
    [
        {"time": {"horizon": 3, "cost_per_month": 0.1}},
        {"rules": [{"require": "x > 0"}]},
        {"reapply": {"after_months": 1}},
        {"reapply": {"effects": {"x": "+1"}}},
    ],
    ids=["time", "rules", "months", "effects"],
)
def test_what_is_said_beside_the_features_counts_for_the_hash(more: dict[str, Any]) -> None:
    """Two policies that ask for different things never share a hash; tables that say nothing change none."""
    plain = Policy.model_validate(around(x=WHOLE))
    assert Policy.model_validate(around(more, x=WHOLE)).sha256 != plain.sha256
    empty = {"groups": {}, "rules": [], "time": None, "reapply": None}
    assert Policy.model_validate(around(empty, x=WHOLE)).sha256 == plain.sha256


@pytest.mark.parametrize(
    "key", [{"tick": 1}, {"moves": {"-7": [3]}}, {"provide": {"cost": 1}, "min": 0, "max": 9}, {"manipulable": True}]
)
def test_what_is_said_of_a_feature_counts_for_the_hash(key: dict[str, Any]) -> None:
    """Each new key of a feature is part of the content."""
    plain = Policy.model_validate(around(x=CODED))
    assert Policy.model_validate(around(x={**CODED, **key})).sha256 != plain.sha256


def test_equal_numbers_written_otherwise_have_one_hash() -> None:
    """A tick of 1.0 is 1, and a code's moves are the same however the numbers are spelt."""
    one = around(x={**CODED, "tick": 1, "moves": {"-8": ["-7", 0]}, "move_cost": {"-8": {"0": 2}}})
    same = around(x={**CODED, "tick": Decimal("1.0"), "moves": {"-8.0": [0.0, -7]}, "move_cost": {"-8": {"0.0": 2.0}}})
    assert Policy.model_validate(one).sha256 == Policy.model_validate(same).sha256


def test_moves_of_codes() -> None:
    """A code leads to codes and numbers, each at its price; a number of the data is no code and moves by the grid."""
    feature = Policy.from_text(DESIGN).features["MSinceMostRecentInq"]
    assert feature.code_moves(-8.0) == ((-7.0, 1.0), (0.0, 2.0))
    assert feature.code_moves(-7.0) == feature.code_moves(5.0) == ()
    assert feature.moves == {"-8": ("-7", 0.0)}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "derived without value": (
        around(x={"kind": "number", "role": "derived"}),
        "features.x.value: a derived feature needs its formula",
    ),
    "value of an action": (
        around(x={"kind": "number", "value": "1"}),
        'features.x.value: is for a derived feature. Add role = "derived", or delete this line.',
    ),
    "mismatch of an action": (
        around(x={"kind": "number", "derived_mismatch": "recompute"}),
        "features.x.derived_mismatch: is for a derived feature.",
    ),
    "bounds of a derived feature": (
        around(x={"kind": "number", "role": "derived", "value": "1", "max": 3}),
        "features.x.max: means nothing for a derived feature",
    ),
    "tick of a derived feature": (
        around(x={"kind": "number", "role": "derived", "value": "1", "tick": 1}),
        "features.x.tick: means nothing for a derived feature",
    ),
    "choice beside an effect": (
        around(x={"kind": "number", "effect": "start.x", "change": "up"}),
        "features.x.change: means nothing beside effect",
    ),
    "protected with an effect": (
        around(x={"kind": "number", "role": "protected", "effect": "start.x"}),
        "features.x.effect: a protected feature never moves.",
    ),
    "tick of levels": (
        around(x={"kind": "category", "levels": ["a", "b"], "tick": 1}),
        "features.x.tick: means nothing for a category.",
    ),
    "tick of a rank": (
        around(x={"kind": "ordinal", "tick": 1}),
        "features.x.tick: means nothing for a feature of kind",
    ),
    "tick backwards": (around(x={"kind": "integer", "tick": -1}), "features.x.tick: a step must be greater than 0"),
    "provide without bounds": (
        around(x={"kind": "integer", "provide": {"cost": 1}, "min": 0}),
        "features.x.max: needed beside provide: the value may be anything between min and max.",
    ),
    "provide of a fixed feature": (
        around(x={"kind": "integer", "role": "fixed", "provide": {"cost": 1}, "min": 0, "max": 2}),
        "features.x.provide: providing a value is an action.",
    ),
    "at least a category": (
        around(x={"kind": "category", "levels": ["a", "b"], "provide": {"cost": 1, "mode": "if_at_least"}}),
        "features.x.provide: levels of a category have no order",
    ),
    "unknown way to provide": (
        around(x={"kind": "integer", "provide": {"cost": 1, "mode": "atleast"}, "min": 0, "max": 2}),
        "features.x.provide.mode: 'atleast' is not allowed. Expected 'any' or 'if_at_least'. Did you mean",
    ),
    "moves of a number without codes": (
        around(x={"kind": "integer", "moves": {"3": [4]}}),
        "features.x.moves: means nothing for a feature of kind integer.",
    ),
    "moves from a number": (
        around(x={**CODED, "moves": {"-6": [0]}}),
        "features.x.moves.-6: '-6' is not among the codes. Numbers need no moves.",
    ),
    "moves to no code": (
        around(x={**CODED, "moves": {"-8": ["-6"]}}),
        "features.x.moves.-8: '-6' is not among the codes. Delete the quotes, if the number is meant.",
    ),
    "moves off the grid": (
        around(x={**CODED, "step": 5, "moves": {"-8": [12]}}),
        "features.x.moves.-8: 12 is no multiple of the step 5.",
    ),
    "moves out of bounds": (
        around(x={**CODED, "min": 1, "moves": {"-8": [0]}}),
        "features.x.moves.-8: 0 is below min 1.",
    ),
    "moves to itself": (
        around(x={**CODED, "moves": {"-8": ["-8"]}}),
        "features.x.moves.-8: '-8' is the code itself: staying is free.",
    ),
    "price of no move of a code": (
        around(x={**CODED, "moves": {"-8": ["-7"]}, "move_cost": {"-8": {"0": 2}}}),
        "features.x.move_cost.-8.0: is the price of a move that moves does not have.",
    ),
    "price without moves of a code": (
        around(x={**CODED, "move_cost": {"-8": {"0": 2}}}),
        "features.x.move_cost: needs moves, which say where the codes lead.",
    ),
    "rule of nothing": (
        around({"rules": [{"name": "nothing"}]}, x=WHOLE),
        "rules.#1.require: is missing: say what must hold",
    ),
    "rule without then": (around({"rules": [{"when": "x > 0"}]}, x=WHOLE), "rules.#1.then: is missing beside when."),
    "rule of both forms": (
        around({"rules": [{"require": "x > 0", "when": "x > 1"}]}, x=WHOLE),
        "rules.#1.when: a rule has either require, or when and then.",
    ),
    "unknown key of a rule": (
        around({"rules": [{"requires": "x > 0"}]}, x=WHOLE),
        "rules.#1.requires: unknown key. Did you mean 'require'?",
    ),
    "two rules of one name": (
        around({"rules": [{"name": "a", "require": "x > 0"}, {"name": "a", "require": "x > 1"}]}, x=WHOLE),
        "rules.#2: another one is called 'a' too.",
    ),
    "rule that is a number": (
        around({"rules": [{"require": "x + 1"}]}, x=WHOLE),
        "rules.#1.require: expected true or false, but 'x + 1' gives a number. Compare it with something.",
    ),
    "rules that are no list": (
        around({"rules": {"require": "x > 0"}}, x=WHOLE),
        "rules: expected a list of tables, each under [[double brackets]], got a table.",
    ),
    "unknown name in a rule": (
        around({"rules": [{"require": "incme > 0"}]}, income=WHOLE),
        "rules.#1.require: 'incme > 0', column 1: no feature named 'incme'. Did you mean 'income'?",
    ),
    "unknown name in a formula": (
        around(income=WHOLE, dti={"kind": "number", "role": "derived", "value": "debt / income"}),
        "features.dti.value: 'debt / income', column 1: no feature named 'debt'",
    ),
    "formula that is a condition": (
        around(x=WHOLE, y={"kind": "number", "role": "derived", "value": "x > 1"}),
        "features.y.value: expected a number, but 'x > 1' gives true or false. Write 1 if ... else 0.",
    ),
    "formula that gives no level": (
        around(
            x=WHOLE, y={"kind": "category", "levels": ["low"], "role": "derived", "value": '"low" if x < 1 else "hi"'}
        ),
        "features.y.value: can give 'hi', which is not among the levels.",
    ),
    "formula of itself": (
        around(x={"kind": "number", "role": "derived", "value": "x + 1"}),
        "features.x.value: follows from itself: x -> x. For the present value write start.x.",
    ),
    "formulas in a circle": (
        around(
            a={"kind": "number", "role": "derived", "value": "b + 1"},
            b={"kind": "number", "effect": "start.b + a"},
        ),
        "features.b.effect: follows from itself: a -> b -> a.",
    ),
    "effect of applying again on itself": (
        around({"reapply": {"effects": {"x": "x + 1"}}}, x=WHOLE),
        "reapply.effects.x: follows from itself: x -> x. For the present value write start.x.",
    ),
    "effect on nothing": (
        around({"reapply": {"effects": {"xx": "+1"}}}, x=WHOLE),
        "reapply.effects.xx: no feature has this name. Did you mean 'x'?",
    ),
    "effect on a derived feature": (
        around({"reapply": {"effects": {"y": "+1"}}}, x=WHOLE, y={"kind": "number", "role": "derived", "value": "x"}),
        "reapply.effects.y: a derived feature follows from its formula.",
    ),
    "effect of two operations": (
        around({"reapply": {"effects": {"x": "*2 + 1"}}}, x=WHOLE),
        "reapply.effects.x: '*2 + 1' is more than one operation. Put what follows the first * in brackets.",
    ),
    "effect that counts levels": (
        around({"reapply": {"effects": {"x": "+1"}}}, x={"kind": "category", "levels": ["a"]}),
        "reapply.effects.x: '+1' counts, but the feature has levels.",
    ),
    "effect as a number": (
        around({"reapply": {"effects": {"x": 1}}}, x=WHOLE),
        "reapply.effects.x: expected a text in quotes",
    ),
    "number without a grid in a rule": (
        around({"rules": [{"require": "x > 0"}]}, x=NUMBER),
        "features.x.step: is missing: rules.#1.require reads it, so its values must lie on a grid.",
    ),
    "number without a grid that ticks": (
        around(x={"kind": "number", "tick": 1}),
        "features.x.step: is missing: time changes it",
    ),
    "number without a grid when applying again": (
        around({"reapply": {"effects": {"x": "*2"}}}, x=NUMBER),
        "features.x.step: is missing: applying again changes it",
    ),
    "a feature called wait": (around(wait=WHOLE), "features.wait: is the name of waiting"),
    "no horizon": (around({"time": {"horizon": 0, "cost_per_month": 1}}, x=WHOLE), "time.horizon: must not be below 1"),
    "no price of time": (
        around({"time": {"horizon": 9}}, x=WHOLE),
        "time.cost_per_month: is missing. Expected: the price",
    ),
    "negative months": (
        around({"reapply": {"after_months": -1}}, x=WHOLE),
        "reapply.after_months: must not be below 0",
    ),
    "quoted threshold": (
        {"decision": {"threshold": "0.5"}, "features": {"x": WHOLE}},
        "decision.threshold: expected a number, got '0.5'. Delete the quotes.",
    ),
    "threshold that a plan moves": (
        {"decision": {"threshold": "x / 10"}, "features": {"x": WHOLE}},
        "decision.threshold: a plan can change 'x'. For the present value write start.x.",
    ),
    "threshold that is a condition": (
        {"decision": {"threshold": "start.x > 1"}, "features": {"x": WHOLE}},
        "decision.threshold: expected a number, but 'start.x > 1' gives true or false.",
    ),
    "knock-out that is a number": (
        {"decision": {"threshold": 0.5, "knockouts": [{"name": "k", "deny_when": "x"}]}, "features": {"x": WHOLE}},
        "decision.knockouts.#1.deny_when: expected true or false",
    ),
    "knock-out without a name": (
        {"decision": {"threshold": 0.5, "knockouts": [{"deny_when": "x > 1"}]}, "features": {"x": WHOLE}},
        "decision.knockouts.#1.name: is missing.",
    ),
    "group without a table": (
        around({"groups": {"one_hot": {"purpose": ["a", "b"]}}}, purposes={"kind": "category", "levels": ["x", "y"]}),
        "groups.one_hot.purpose: has no table [features.purpose]. Did you mean 'purposes'? Add one",
    ),
    "group whose columns have tables": (
        around({"groups": {"one_hot": {"g": ["a", "b"]}}}, g={"kind": "category"}, a={"kind": "flag"}),
        "features.a: is a column of the group 'g', whose table says everything. Delete this one.",
    ),
    "column of two groups": (
        around(
            {"groups": {"one_hot": {"g": ["a", "b"], "h": ["b", "c"]}}}, g={"kind": "category"}, h={"kind": "category"}
        ),
        "groups.one_hot.h: 'b' is a column of 'g' as well.",
    ),
    "column twice": (
        around({"groups": {"one_hot": {"g": ["a", "a"]}}}, g={"kind": "category", "levels": ["x", "y"]}),
        "groups.one_hot.g: 'a' is listed twice.",
    ),
    "group of one": (
        around({"groups": {"one_hot": {"g": ["a"]}}}, g={"kind": "category"}),
        "groups.one_hot.g: has 1 columns. Expected at least 2.",
    ),
    "group of the wrong kind": (
        around({"groups": {"thermometer": {"g": ["a", "b"]}}}, g={"kind": "integer"}),
        "features.g.kind: 'integer' does not fit the columns of a thermometer. Use kind = \"ordinal\".",
    ),
    "ladder of other levels": (
        around({"groups": {"thermometer": {"g": ["a", "b"]}}}, g={"kind": "ordinal", "levels": ["x", "y", "z"]}),
        "features.g.levels: expected 0, 1, ..., 2: how many of the columns are 1. Delete this line.",
    ),
    "levels that do not fit the columns": (
        around({"groups": {"one_hot": {"g": ["a", "b"]}}}, g={"kind": "category", "levels": ["x"]}),
        "features.g.levels: expected 2 levels in the order of the columns",
    ),
    "levels in another order": (
        around({"groups": {"one_hot": {"g": ["a", "b"]}}}, g={"kind": "category", "levels": ["b", "a"]}),
        "features.g.levels: 'b' stands in another place than among the columns.",
    ),
    "group that is provided": (
        around({"groups": {"one_hot": {"g": ["a", "b"]}}}, g={"kind": "category", "provide": {"cost": 1}}),
        "features.g.provide: columns that are one feature are not missing.",
    ),
}


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_mistake_is_named_with_place_and_remedy(data: dict[str, Any], words: str) -> None:
    """Every contradiction, unknown name, wrong kind and circle is named with its place."""
    assert words in refusal(data)


def test_every_wrong_expression_is_listed_at_once() -> None:
    """A policy with several wrong expressions gives one message with a line for each, in the order of the file."""
    data = around(
        {"rules": [{"require": "y > 0"}, {"when": "x > 0", "then": "x +"}], "reapply": {"effects": {"z": "+1"}}},
        x=NUMBER,
        r={"kind": "number", "role": "derived", "value": "q / x"},
    )
    lines = refusal(data).splitlines()
    assert lines[0] == "5 problems in the policy:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "features.r.value",
        "rules.#1.require",
        "rules.#2.then",
        "reapply.effects.z",
        "features.x.step",
    ]


def test_a_feature_named_like_a_key_is_a_feature() -> None:
    """Names of features may be words of the format: what is below them is still a feature's table."""
    data = around(max_change={"kind": "number", "stp": 1}, provide={"kind": "nmber"})
    assert "features.max_change.stp: unknown key. Did you mean 'step'?" in refusal(data)
    assert "features.provide.kind: 'nmber' is not allowed." in refusal(data)


@pytest.mark.parametrize(
    ("threshold", "column"),
    [("cut", "cut"), ("`my cut`", "my cut"), ("fixed", None), ("0.4 + fixed / 100", None), ("start.x / 100", None)],
)
def test_a_threshold_is_a_column_or_an_expression(threshold: str, column: str | None) -> None:
    """A name that no feature has is a column of the data; anything else is reckoned from what no plan can change."""
    data = {"decision": {"threshold": threshold}, "features": {"x": WHOLE, "fixed": {**WHOLE, "role": "fixed"}}}
    policy = Policy.model_validate(data)
    assert policy.threshold_column == column
    assert (policy.expressions.threshold is None) == (column is not None)


def test_a_derived_feature_may_be_a_level_and_a_flag() -> None:
    """Formulas give numbers, yes or no, and levels."""
    policy = Policy.model_validate(
        around(
            x=WHOLE,
            band={
                "kind": "ordinal",
                "levels": ["low", "high"],
                "role": "derived",
                "value": '"low" if x < 3 else "high"',
            },
            large={"kind": "flag", "role": "derived", "value": "x > 10"},
        )
    )
    assert set(policy.expressions.values) == {"band", "large"}
    assert {"band", "large"} <= policy.changing


def test_a_known_value_may_stay_where_a_missing_one_is_provided() -> None:
    """A change of nothing is allowed where codes lead on or a missing value can be provided, and only there."""
    provided = {"kind": "integer", "max_change": 0, "provide": {"cost": 1}, "min": 0, "max": 9}
    assert Policy.model_validate(around(x=provided)).movable == ("x",)
    assert Policy.model_validate(around(x={**CODED, "max_change": 0, "moves": {"-8": ["-7"]}})).movable == ("x",)
    assert "features.x.max_change: allows no change at all" in refusal(around(x={**CODED, "max_change": 0}))


def test_levels_of_groups_may_have_names_of_their_own() -> None:
    """The levels of a one-hot group stand in the order of its columns; one more stands for none of them."""
    named = {"kind": "category", "levels": ["car", "home", "none"]}
    policy = Policy.model_validate(around({"groups": {"one_hot": {"g": ["a", "b"]}}}, g=named))
    assert policy.levels["g"] == ("car", "home", "none")
    built = Policy.model_validate(
        around({"groups": {"thermometer": {"g": ["a", "b"]}}}, g=Feature(kind="ordinal", change="down"))  # type: ignore[arg-type]
    )
    assert built.levels["g"] == (0, 1, 2)
    assert built.features["g"].step is None


def test_prices_of_waiting_codes_and_documents_are_added_up() -> None:
    """The largest cost counts the months, the dearest move from a code and the dearest document."""
    people = Population.from_frame(pd.DataFrame({"x": [1, 2, -7]}), Policy.model_validate(around(x=CODED)))
    dear = 2.0**41 / 1e6

    def price(rest: dict[str, Any], **keys: Any) -> None:
        check_costs(Policy.model_validate(around(rest, x={**CODED, "max": 5, "min": 0, **keys})), people)

    price({})
    with pytest.raises(
        PolicyError, match=r"^time\.cost_per_month: the largest cost of a plan .* smaller price or horizon"
    ):
        price({"time": {"horizon": 10, "cost_per_month": dear / 10}})
    with pytest.raises(PolicyError, match=r"^features\.x: the largest cost of a plan"):
        price({}, moves={"-7": [0]}, move_cost={"-7": {"0": dear}})
    with pytest.raises(PolicyError, match=r"^features\.x: the largest cost of a plan"):
        price({}, provide={"cost": dear})


def test_a_population_summarises_groups_by_their_level() -> None:
    """Units of a ladder come from its columns, and a group whose columns are no level is named."""
    policy = Policy.model_validate(
        around(
            {"groups": {"one_hot": {"g": ["a", "b"]}, "thermometer": {"t": ["r", "s"]}}},
            g={"kind": "category"},
            t={"kind": "ordinal", "change": "down"},
        )
    )
    frame = pd.DataFrame({"a": [1, 0, 0], "b": [0, 1, 1], "r": [0, 1, 1], "s": [0, 0, 1]})
    people = Population.from_frame(frame, policy)
    assert people.summary("g").levels == {"a": 1, "b": 2}
    assert people.unit("t", "range") == 2.0
    check_costs(policy, people)


def test_the_schema_knows_the_whole_language() -> None:
    """An editor that reads the schema offers every key, and says what a threshold may be."""
    schema = Policy.json_schema()
    assert set(schema["properties"]) == set(Policy.model_fields)
    assert set(schema["$defs"]) == {
        "Cost", "Decision", "Feature", "Groups", "Knockout", "Percent", "Provide", "Reapply", "Rule", "Time"
    }  # fmt: skip
    threshold = schema["$defs"]["Decision"]["properties"]["threshold"]
    assert {kind["type"] for kind in threshold["anyOf"]} == {"number", "string"}
    assert "name" not in schema["$defs"]["Rule"].get("required", [])
