"""Policies: what is read, what is refused and in which words."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recourse.errors import DataError, PolicyError, UnknownFeature
from recourse.policy import LARGEST_COST, Cost, Decision, Feature, Percent, Policy, check_costs
from recourse.population import Population
from tests.strategies_policy import policies, policy_dicts

DESIGN = """
[decision]
favourable = 1            # class whose probability is the score
score      = "probability"
threshold  = 0.5
margin     = 0.0
[cost]
unit        = "mad"
per_change  = 0.1
max_changes = 4
[features.income]
kind = "number"
label = "annual income"
unit = "USD"
change = "up"
step = 500
min = 0
max = 250000
max_change = 20000
weight = 1.0
[features.savings]
kind = "number"
step = 0.10
max_change = { percent = 25, at_least = 500 }
[features.housing]
kind = "category"
levels = ["rent", "own", "free"]
moves = { rent = ["own"], free = ["own"] }
move_cost = { rent.own = 2.0 }
[features.age]
kind = "integer"
role = "protected"
[features.MSinceMostRecentInq]
kind = "integer"
codes = { "-7" = "no inquiry", "-8" = "no usable inquiry", "-9" = "no record" }
[features.guarantor]
kind = "flag"
[features.education]
kind = "ordinal"
levels = ["none", "school", "degree"]
change = "up"
[features.rating]
kind = "ordinal"
"""


def policy_of(feature: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """A policy around one feature."""
    return {"decision": {"threshold": 0.5}, "features": {"x": feature}, **rest}


def refusal(data: dict[str, Any]) -> str:
    """What is said when a policy is refused."""
    with pytest.raises(PolicyError) as caught:
        Policy.model_validate(data)
    return str(caught.value)


def test_the_example_of_the_design_is_read() -> None:
    """The file format is the documented one, and everything said is found again."""
    policy = Policy.from_text(DESIGN)
    assert policy.decision == Decision(threshold=0.5)
    assert policy.cost == Cost(max_changes=4)
    income = policy.features["income"]
    assert (income.step, income.min, income.max, income.max_change) == (Decimal(500), 0.0, 250000.0, 20000.0)
    assert policy.features["savings"].max_change == Percent(percent=25, at_least=500)
    assert policy.features["housing"].move_cost == {"rent": {"own": 2.0}}
    assert policy.features["MSinceMostRecentInq"].code_values == (-7.0, -8.0, -9.0)
    assert policy.movable == tuple(name for name in policy.features if name != "age")
    assert [name for name, feature in policy.features.items() if feature.listed] == [
        "housing",
        "guarantor",
        "education",
    ]
    assert policy.levels["guarantor"] == (0, 1)
    assert policy.label("income") == "annual income"
    assert policy.label("MSinceMostRecentInq") == "MSinceMostRecentInq"


def test_a_step_is_the_decimal_that_was_written() -> None:
    """0.1 is a tenth, not the nearest binary fraction; from a dict the shortest text of the float counts."""
    policy = Policy.from_text(DESIGN)
    assert policy.features["savings"].step == Decimal("0.1")
    assert Feature(kind="number", step=0.1).step == Decimal("0.1")
    assert Feature(kind="number", step=Decimal("0.30")).step == Decimal("0.3")


def test_whole_numbers_have_step_one() -> None:
    """Integers and ordinals without levels lie on the whole numbers unless a step is given; the others on no grid."""
    assert Feature(kind="integer").step == Decimal(1)
    assert Feature(kind="ordinal").step == Decimal(1)
    assert Feature(kind="integer", step=5).step == Decimal(5)
    assert Feature(kind="number").step is None
    assert Feature(kind="ordinal", levels=["a", "b"]).step is None


@given(policies())
def test_a_policy_survives_being_written(policy: Policy) -> None:
    """Reading what to_toml writes gives an equal policy with the same hash, whatever the names and levels."""
    again = Policy.from_text(policy.to_toml())
    assert again == policy
    assert again.sha256 == policy.sha256
    assert again.to_toml() == policy.to_toml()


@given(policy_dicts(max_features=3), st.randoms(use_true_random=False))
def test_the_hash_knows_meaning_not_writing(data: dict[str, Any], random: Any) -> None:
    """The order of keys does not matter for the hash; the order of features does."""

    def shuffled(value: Any, *, keep: bool = False) -> Any:
        if not isinstance(value, dict):
            return value
        keys = list(value)
        if not keep:
            random.shuffle(keys)
        return {key: shuffled(value[key], keep=key == "features") for key in keys}

    policy = Policy.model_validate(data)
    assert Policy.model_validate(shuffled(data)).sha256 == policy.sha256
    turned = Policy.model_validate({**data, "features": dict(reversed(data["features"].items()))})
    assert (turned.sha256 == policy.sha256) == (len(data["features"]) == 1)


def test_written_defaults_do_not_change_the_hash() -> None:
    """A default that is written out, an integer's step and an equal decimal are the same content."""
    plain = Policy.model_validate(policy_of({"kind": "integer"}))
    wordy = {"kind": "integer", "role": "action", "step": Decimal("1.0"), "weight": 1, "change": "any", "codes": {}}
    assert Policy.model_validate(policy_of(wordy)).sha256 == plain.sha256
    assert Policy.model_validate(policy_of({"kind": "integer", "weight": 2})).sha256 != plain.sha256
    flag = Policy.model_validate(policy_of({"kind": "flag"}))
    assert Policy.model_validate(policy_of({"kind": "flag", "levels": [0, 1]})).sha256 == flag.sha256
    assert Policy.model_validate(policy_of({"kind": "flag", "levels": [False, True]})).sha256 != flag.sha256


def test_the_hash_is_stable() -> None:
    """The hash is part of what was told to applicants, so it must not drift between versions."""
    policy = Policy.model_validate(policy_of({"kind": "number", "step": 0.5}))
    assert policy.sha256 == "sha256:d04776ffd801a62c9d0a77b0367607f964b558b2fe37d35d20fbe3ed80b1e604"


def test_a_policy_is_frozen_and_can_be_sent() -> None:
    """Nobody changes a policy under a running search; worker processes get an equal one."""
    policy = Policy.from_text(DESIGN)
    with pytest.raises(ValidationError, match="frozen"):
        policy.cost = Cost()  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(policy)) == policy


REFUSED = {
    "unknown key": (
        policy_of({"kind": "number", "stepp": 5}),
        "features.x.stepp: unknown key. Did you mean 'step'?",
    ),
    "unknown key without a neighbour": (
        policy_of({"kind": "number"}, zzz=1),
        "zzz: unknown key. Expected one of decision, cost, features, time, groups, rules, reapply.",
    ),
    "unknown key in a limit": (
        policy_of({"kind": "number", "max_change": {"percent": 3, "atleast": 5}}),
        "features.x.max_change.atleast: unknown key. Did you mean 'at_least'?",
    ),
    "unknown word": (
        policy_of({"kind": "number", "change": "upp"}),
        "features.x.change: 'upp' is not allowed. Expected 'any', 'up' or 'down'. Did you mean 'up'?",
    ),
    "quoted number": (
        policy_of({"kind": "number", "min": "3"}),
        "features.x.min: expected a number, got '3'. Delete the quotes.",
    ),
    "no number": (policy_of({"kind": "number", "weight": True}), "features.x.weight: expected a number, got true."),
    "not finite": (policy_of({"kind": "number", "max": float("inf")}), "expected a finite number, got inf."),
    "too large": (policy_of({"kind": "number", "max": 10**400}), "features.x.max: expected a finite number"),
    "negative weight": (policy_of({"kind": "number", "weight": -1}), "features.x.weight: must not be below 0, got -1."),
    "negative fixed price": (
        policy_of({"kind": "number"}, cost={"per_change": -0.1}),
        "cost.per_change: must not be below 0, got -0.1.",
    ),
    "no changes at all": (
        policy_of({"kind": "number"}, cost={"max_changes": 0}),
        "cost.max_changes: must not be below 1",
    ),
    "half a change": (policy_of({"kind": "number"}, cost={"max_changes": 1.5}), "expected a whole number, got 1.5."),
    "step of nothing": (
        policy_of({"kind": "number", "step": 0}),
        "features.x.step: a step must be greater than 0, got 0.",
    ),
    "negative step": (policy_of({"kind": "number", "step": -2}), "features.x.step: a step must be greater than 0"),
    "fractional step of whole numbers": (
        policy_of({"kind": "integer", "step": 0.5}),
        "features.x.step: whole numbers need a whole step, got 0.5.",
    ),
    "bounds crossed": (
        policy_of({"kind": "number", "min": 5, "max": 3}),
        "features.x.min: min 5 is above max 3. Swap them?",
    ),
    "limit of nothing": (
        policy_of({"kind": "number", "max_change": 0}),
        "features.x.max_change: allows no change at all",
    ),
    "per cent of nothing": (
        policy_of({"kind": "number", "max_change": {"percent": 0}}),
        "features.x.max_change: allows no change at all.",
    ),
    "grid without step": (
        policy_of({"kind": "number", "step_from": "applicant"}),
        "features.x.step_from: needs a step.",
    ),
    "category without levels": (policy_of({"kind": "category"}), "features.x.levels: a category needs its levels"),
    "levels as text": (policy_of({"kind": "category", "levels": "ab"}), "features.x.levels: expected a list"),
    "no levels": (policy_of({"kind": "category", "levels": []}), "features.x.levels: expected at least one level."),
    "level twice": (
        policy_of({"kind": "category", "levels": ["a", "b", "a"]}),
        "features.x.levels: 'a' is listed twice",
    ),
    "level twice as text": (
        policy_of({"kind": "category", "levels": [1, "1"]}),
        "features.x.levels: '1' is listed twice",
    ),
    "one and true": (policy_of({"kind": "category", "levels": [1, True]}), "features.x.levels: true is listed twice"),
    "a list as level": (
        policy_of({"kind": "category", "levels": [["a"]]}),
        "a level is a text, a number, true or false",
    ),
    "flag of three": (
        policy_of({"kind": "flag", "levels": [1, 2, 3]}),
        "features.x.levels: a flag has two levels, got 3.",
    ),
    "levels of a number": (
        policy_of({"kind": "number", "levels": [1, 2]}),
        "features.x.levels: means nothing for a feature of kind number.",
    ),
    "step of a category": (
        policy_of({"kind": "category", "levels": ["a"], "step": 1}),
        "features.x.step: means nothing for a category.",
    ),
    "direction of a category": (
        policy_of({"kind": "category", "levels": ["a", "b"], "change": "up"}),
        "features.x.change: means nothing for a category.",
    ),
    "moves of a ladder": (
        policy_of({"kind": "ordinal", "levels": ["a", "b"], "moves": {"a": ["b"]}}),
        "features.x.moves: means nothing for an ordinal with levels.",
    ),
    "per cent of a ladder": (
        policy_of({"kind": "ordinal", "levels": ["a", "b"], "max_change": {"percent": 5}}),
        "features.x.max_change: levels have no per cent.",
    ),
    "half a level": (
        policy_of({"kind": "ordinal", "levels": ["a", "b"], "max_change": 0.5}),
        "features.x.max_change: allows no change at all (got 0.5).",
    ),
    "move to an unknown level": (
        policy_of({"kind": "category", "levels": ["rent", "own"], "moves": {"rent": ["onw"]}}),
        "features.x.moves.rent: 'onw' is not among the levels. Did you mean 'own'?",
    ),
    "move from an unknown level": (
        policy_of({"kind": "category", "levels": ["rent", "own"], "moves": {"rnt": ["own"]}}),
        "features.x.moves.rnt: 'rnt' is not among the levels. Did you mean 'rent'?",
    ),
    "move to itself": (
        policy_of({"kind": "category", "levels": ["rent", "own"], "moves": {"rent": ["rent"]}}),
        "features.x.moves.rent: staying is free",
    ),
    "move twice": (
        policy_of({"kind": "category", "levels": ["rent", "own"], "moves": {"rent": ["own", "own"]}}),
        "features.x.moves.rent: 'own' is listed twice.",
    ),
    "one level, two keys": (
        policy_of({"kind": "flag", "levels": [False, True], "moves": {"true": [False], "True": [False]}}),
        "features.x.moves: two keys name the same level.",
    ),
    "price of an unknown move": (
        policy_of({"kind": "category", "levels": ["rent", "own"], "move_cost": {"rent": {"onw": 2}}}),
        "features.x.move_cost.rent.onw: 'onw' is not among the levels. Did you mean 'own'?",
    ),
    "price of a move that is ruled out": (
        policy_of({"kind": "category", "levels": ["a", "b"], "moves": {"a": ["b"]}, "move_cost": {"b": {"a": 2}}}),
        "features.x.move_cost.b.a: is the price of a move that moves rules out.",
    ),
    "negative price": (
        policy_of({"kind": "category", "levels": ["a", "b"], "move_cost": {"a": {"b": -2}}}),
        "features.x.move_cost.a.b: must not be below 0, got -2.",
    ),
    "code that is no number": (
        policy_of({"kind": "number", "codes": {"none": "no record"}}),
        'features.x.codes.none: a code is a number in quotes, such as "-9".',
    ),
    "code twice": (
        policy_of({"kind": "number", "codes": {"-9": "a", "-9.0": "b"}}),
        "features.x.codes.\"-9.0\": the same number as '-9'.",
    ),
    "protected that moves": (
        policy_of({"kind": "integer", "role": "protected", "change": "up"}),
        "features.x.change: a protected feature never moves.",
    ),
    "protected with moves": (
        policy_of({"kind": "category", "levels": ["a", "b"], "role": "protected", "moves": {"a": ["b"]}}),
        "features.x.moves: a protected feature never moves.",
    ),
    "probability of one": (
        policy_of({"kind": "number"}, decision={"threshold": 1.0}),
        "decision.threshold: a probability lies strictly between 0 and 1, got 1.",
    ),
    "probability of nothing": (
        policy_of({"kind": "number"}, decision={"threshold": 0}),
        "decision.threshold: a probability",
    ),
    "threshold and margin above one": (
        policy_of({"kind": "number"}, decision={"threshold": 0.9, "margin": 0.2}),
        "decision.margin: threshold + margin is above 1",
    ),
    "negative margin": (
        policy_of({"kind": "number"}, decision={"threshold": 0.5, "margin": -1}),
        "decision.margin: must not",
    ),
    "fraction as class": (
        policy_of({"kind": "number"}, decision={"threshold": 0.5, "favourable": 0.5}),
        "decision.favourable: a class is a text, a whole number, true or false, got 0.5.",
    ),
    "no threshold": (policy_of({"kind": "number"}, decision={}), "decision.threshold: is missing."),
    "no decision": ({"features": {"x": {"kind": "number"}}}, "decision: is missing."),
    "no kind": (policy_of({"step": 1}), "features.x.kind: is missing."),
    "no features": ({"decision": {"threshold": 0.5}, "features": {}}, "features: expected at least one feature"),
    "feature that is no table": (
        {"decision": {"threshold": 0.5}, "features": {"x": 1}},
        "features.x: expected a table, got 1.",
    ),
    "percentile without bounds": (
        policy_of({"kind": "number", "min": 0}, cost={"unit": "percentile"}),
        'features.x.max: needed with cost.unit = "percentile"',
    ),
    "names that need quotes": (
        {"decision": {"threshold": 0.5}, "features": {"my x": {"kind": "nmber"}}},
        "features.\"my x\".kind: 'nmber' is not allowed.",
    ),
}


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_mistake_is_named_with_place_and_remedy(data: dict[str, Any], words: str) -> None:
    """Every contradiction is refused in one line that names where it stands."""
    message = refusal(data)
    assert words in message
    assert "\n" not in message


def test_the_shape_of_plans_is_no_part_of_the_policy() -> None:
    """Whoever writes a shape into the file is told where to ask for it."""
    assert "shape: is no part of the policy: ask for it with the plans" in refusal(
        policy_of({"kind": "number"}, shape="orthant")
    )


def test_all_problems_are_listed_at_once() -> None:
    """A file with several mistakes gives one message with a line for each."""
    data = {
        "decison": {},
        "decision": {"threshold": 2},
        "features": {"a": {"kind": "number", "stp": 1, "min": "0"}, "b": {"kind": "integer", "min": 3, "max": 2}},
    }
    lines = refusal(data).splitlines()
    assert lines[0] == "5 problems in the policy:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "decision.threshold",
        "features.a.min",
        "features.a.stp",
        "features.b.min",
        "decison",
    ]


def test_a_part_built_in_python_is_refused_as_readably() -> None:
    """Building a Feature by hand raises our error, not a library's."""
    with pytest.raises(PolicyError, match=r"^stp: unknown key\. Did you mean 'step'\?$"):
        Feature(kind="number", stp=1)  # type: ignore[call-arg]


def test_parts_and_json_build_the_same_policy() -> None:
    """Parts built in Python, a dict and JSON give equal policies; broken JSON is our error."""
    data = policy_of({"kind": "number", "step": 0.1})
    policy = Policy.model_validate(data)
    assert Policy(decision=Decision(threshold=0.5), features={"x": Feature(kind="number", step=0.1)}) == policy
    assert Policy.model_validate({"decision": policy.decision, "features": policy.features}) == policy
    assert Policy.model_validate_json(json.dumps(data)) == policy
    with pytest.raises(PolicyError, match="the policy: is not valid JSON"):
        Policy.model_validate_json("{")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    """What is no TOML, no text or not there is a PolicyError that names the file."""
    path = tmp_path / "policy.toml"
    with pytest.raises(PolicyError, match=r"policy\.toml: cannot read the policy: No such file"):
        Policy.from_toml(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match=r"policy\.toml: the policy is not UTF-8 text"):
        Policy.from_toml(path)
    path.write_text("[decision\n")
    with pytest.raises(PolicyError, match=r"policy\.toml: the policy is not valid TOML: .*line 1"):
        Policy.from_toml(path)
    path.write_bytes(b"\xef\xbb\xbf" + DESIGN.replace("\n", "\r\n").encode())
    assert Policy.from_toml(path) == Policy.from_text(DESIGN)


def test_two_features_of_one_name_are_refused() -> None:
    """A name that is declared twice is named with the line of the second."""
    text = "[decision]\nthreshold = 0.5\n[features.a]\nkind = 'flag'\n[features.a]\nkind = 'flag'\n"
    with pytest.raises(PolicyError, match=r"features\.a: declared twice\. The second \[features\.a\] is in line 5\."):
        Policy.from_text(text)


def test_an_unknown_feature_is_guessed() -> None:
    """Asking for a feature that is not there names the nearest one."""
    with pytest.raises(UnknownFeature, match=r"no feature named 'incme' in the policy\. Did you mean 'income'\?"):
        Policy.from_text(DESIGN).feature("incme")


def test_levels_are_found_as_a_file_spells_them() -> None:
    """1, 1.0 and "1" meet, true and True meet in keys; what is missing is no level."""
    flag = Feature(kind="flag", levels=[False, True], moves={"false": ["true"]}, move_cost={"false": {"True": 3}})
    assert flag.moves == {"False": (True,)}
    assert flag.move_price(0, 1) == 3.0
    assert flag.move_price(1, 0) == 1.0
    assert [flag.position(v) for v in (True, "True", 1, "x", None, float("nan"), pd.NA)] == [
        1,
        1,
        1,
        None,
        None,
        None,
        None,
    ]
    grade = Feature(kind="category", levels=[1, 2], moves={"1": ["2"]})
    assert grade.moves == {"1": (2,)}
    assert [grade.position(v) for v in ("2", 2.0, 2)] == [1, 1, 1]
    named = Feature(kind="category", levels=["None", "nan"])
    assert named.position(None) is None
    assert named.position(float("nan")) is None
    assert named.position("None") == 0


def test_targets_obey_moves_direction_and_reach() -> None:
    """From a level, a plan reaches what moves, change and max_change allow, and never the level itself."""
    free = Feature(kind="category", levels=["a", "b", "c"])
    assert free.targets(1) == (0, 2)
    some = Feature(kind="category", levels=["a", "b", "c"], moves={"a": ["c", "b"]})
    assert some.targets(0) == (1, 2)
    assert some.targets(2) == ()
    ladder = Feature(kind="ordinal", levels=["a", "b", "c", "d"], change="up", max_change=2)
    assert ladder.targets(0) == (1, 2)
    assert ladder.targets(3) == ()
    assert Feature(kind="flag", change="down").targets(0) == ()


def test_the_schema_describes_every_field() -> None:
    """Whoever edits a policy with a schema-aware editor reads what each key means."""
    schema = Policy.json_schema()
    json.dumps(schema)
    tables = [schema, *schema["$defs"].values()]
    fields = {key: field for table in tables for key, field in table["properties"].items()}
    assert {key for key, field in fields.items() if not (field.get("description") or "$ref" in field)} == set()
    assert all(table["additionalProperties"] is False for table in tables)
    assert set(schema["$defs"]["Feature"]["properties"]) == set(Feature.model_fields)
    assert fields["step"]["type"] == "number"
    assert '"null"' not in json.dumps(schema)


def test_costs_that_cannot_be_added_are_refused() -> None:
    """A plan that could cost more than 2**40 micro-units is refused, and the feature that makes it so is named."""
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [0.0, 1e9, 0.0, 1e9]})
    people = Population.from_frame(frame)
    both = {"x": {"kind": "number"}, "y": {"kind": "number"}}
    raw = Policy.model_validate({"decision": {"threshold": 0.5}, "cost": {"unit": "raw"}, "features": both})
    with pytest.raises(PolicyError, match=r"features\.y: the largest cost of a plan is 1e\+09 units"):
        check_costs(raw, people)
    check_costs(Policy.model_validate({"decision": {"threshold": 0.5}, "features": both}), people)
    for limit in (
        {"max_change": 5},
        {"weight": 0.001},
        {"change": "up", "max": 10},
        {"max": 10, "min": 0, "role": "fixed"},
    ):
        kind = {**both, "y": {"kind": "number", **limit}}
        check_costs(
            Policy.model_validate({"decision": {"threshold": 0.5}, "cost": {"unit": "raw"}, "features": kind}), people
        )


def test_the_largest_cost_respects_max_changes() -> None:
    """Only as many features count as a plan may change."""
    at = LARGEST_COST / 1e6
    data: dict[str, Any] = {
        "decision": {"threshold": 0.5},
        "cost": {"per_change": 0.6 * at, "unit": "raw", "max_changes": 1},
        "features": {"a": {"kind": "flag", "weight": 0}, "b": {"kind": "flag", "weight": 0}},
    }
    check_costs(Policy.model_validate(data))
    del data["cost"]["max_changes"]
    with pytest.raises(PolicyError, match="largest cost"):
        check_costs(Policy.model_validate(data))


def test_a_population_of_another_policy_is_refused() -> None:
    """Units made without the policy's codes or levels, or without the column, are not used in silence."""
    frame = pd.DataFrame({"x": [-9.0, 1.0, 2.0]})
    coded = Policy.model_validate(policy_of({"kind": "number", "codes": {"-9": "none"}}))
    with pytest.raises(DataError, match="summarised with other codes of 'x'"):
        check_costs(coded, Population.from_frame(frame))
    check_costs(coded, Population.from_frame(frame, coded))
    with pytest.raises(UnknownFeature, match="the population has no column 'x'"):
        check_costs(coded, Population.from_frame(pd.DataFrame({"z": [1.0]})))
    with pytest.raises(DataError, match="needs a population"):
        check_costs(coded)
    ladder = Policy.model_validate(policy_of({"kind": "ordinal", "levels": [1, 2, -9]}))
    with pytest.raises(DataError, match="summarised with other levels of 'x'"):
        check_costs(ladder, Population.from_frame(frame))
    check_costs(ladder, Population.from_frame(frame, ladder))
