"""An outcome survives its JSON, and a value its text."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recourse.errors import DataError
from recourse.plan import BestScore, Certificate, Change, Outcome, Plan, Provenance, format_value, parse_value
from recourse.policy import Feature
from recourse.values import plain

PROVENANCE = Provenance("sha256:m", "sha256:p", "sha256:q", "fairpath 0.1.0", "1,284 probes equal")
CERTIFICATE = Certificate(proven=True, cost=0.61, bound=0.61, gap=0.0, nodes=13, node_budget=200_000)


def found() -> Outcome:
    change = Change("income", 41000, 46500, unit="USD", label="annual income")
    plan = Plan((change,), 0.61, 0.52, {"income": 46500, "housing": "rent", "savings": None}, CERTIFICATE)
    return Outcome("17", "found", "score", "point", 0.31, 0.5, (plan,), None, None, PROVENANCE)


def none_exists() -> Outcome:
    proof = Certificate(proven=True, cost=None, bound=math.inf, gap=None, nodes=5, node_budget=200_000)
    best = BestScore(value=0.43, bound=0.43, proven=True, nodes=2)
    return Outcome("18", "none_exists", "score", "point", 0.31, 0.5, (), proof, best, PROVENANCE)


def test_the_json_of_an_outcome_is_the_documented_one() -> None:
    """The keys, their order and their spelling are a contract with those who read the file."""
    assert json.loads(found().to_json()) == {
        "schema": "fairpath.outcome/1",
        "id": "17",
        "status": "found",
        "stage": "score",
        "shape": "point",
        "score": 0.31,
        "threshold": 0.5,
        "plans": [
            {
                "changes": [{"feature": "income", "from": 41000, "to": 46500, "unit": "USD"}],
                "cost": 0.61,
                "score": 0.52,
                "row": {"income": 46500, "housing": "rent", "savings": None},
                "certificate": {
                    "proven": True,
                    "cost": 0.61,
                    "bound": 0.61,
                    "gap": 0.0,
                    "nodes": 13,
                    "node_budget": 200_000,
                },
            }
        ],
        "provenance": {
            "model": "sha256:m",
            "policy": "sha256:p",
            "population": "sha256:q",
            "engine": "fairpath 0.1.0",
            "self_check": "1,284 probes equal",
        },
        "interrupted": False,
    }
    assert list(found().to_dict())[:4] == ["schema", "id", "status", "stage"]


def test_a_proof_that_nothing_exists_has_no_cost_and_no_infinity_in_json() -> None:
    """An infinite bound is written as null, and the certificate has no cost."""
    data = json.loads(none_exists().to_json())
    assert data["certificate"] == {"proven": True, "bound": None, "gap": None, "nodes": 5, "node_budget": 200_000}
    assert data["best_score"] == {"value": 0.43, "bound": 0.43, "proven": True, "nodes": 2}
    assert data["plans"] == []


@pytest.mark.parametrize("outcome", [found(), none_exists()], ids=["found", "none_exists"])
def test_an_outcome_survives_its_json(outcome: Outcome) -> None:
    """Reading what was written gives an equal outcome."""
    assert Outcome.from_dict(json.loads(outcome.to_json())) == outcome


def test_a_best_score_that_no_row_holds_survives_its_json() -> None:
    """Minus infinity is null, and comes back."""
    best = BestScore(value=-math.inf, bound=math.inf, proven=False, nodes=0)
    assert best.to_dict()["value"] is None
    assert BestScore.from_dict(best.to_dict()) == best


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"schema": "other/1"}, "expected an outcome with schema 'fairpath.outcome/1', got 'other/1'"),
        ({"schema": "fairpath.outcome/1", "id": "7"}, "outcome '7' has no 'status'; was the file edited?"),
        ({**found().to_dict(), "plans": [3]}, "outcome '17' is malformed; was the file edited?"),
        ({**found().to_dict(), "score": "0.31"}, "outcome '17' is malformed; was the file edited?"),
        ({**found().to_dict(), "interrupted": "no"}, "outcome '17' is malformed; was the file edited?"),
        ({**found().to_dict(), "status": ["found"]}, "outcome '17' is malformed; was the file edited?"),
        ({**none_exists().to_dict(), "certificate": 5}, "outcome '18' is malformed; was the file edited?"),
    ],
)
def test_a_record_that_is_no_outcome_is_named(broken: dict[str, Any], message: str) -> None:
    """Whatever is wrong with a record, the error is ours and says what."""
    with pytest.raises(DataError) as error:
        Outcome.from_dict(broken)
    assert str(error.value) == message


def test_values_print_as_they_are_written() -> None:
    """A plan prints as its changes, one a line, in the words of the policy."""
    assert str(found().plans[0]) == "annual income: 41000 -> 46500 USD"
    assert str(Change("housing", "rent", "own")) == "housing: rent -> own"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("own"), "own"),
        (float("nan"), None),
        (np.float64("nan"), None),
        (None, None),
        (pd.NA, None),
        (pd.NaT, None),
    ],
)
def test_scalars_become_plain(raw: Any, value: Any) -> None:
    """NumPy's scalars become Python's, every spelling of missing becomes None."""
    assert plain(raw) == value
    assert type(plain(raw)) is type(value)


def test_what_no_row_can_hold_is_refused() -> None:
    """A list in a cell is an error that shows it."""
    with pytest.raises(DataError, match=r"expected text, a number or a truth value, got \[1\] of type list"):
        plain([1])


@given(st.integers(-(10**7), 10**7), st.sampled_from(["1", "0.1", "0.01", "0.25", "500", "0.0833", "1e-6"]))
def test_every_value_on_a_grid_survives_its_text(i: int, step: str) -> None:
    """parse(format(v)) == v, and text parses to the value that the decimal means."""
    feature = Feature(kind="number", step=Decimal(step))
    value = float(i * Decimal(step))
    text = format_value(value, feature)
    assert parse_value(text, feature) == value
    assert Decimal(text) == i * Decimal(step)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_every_number_without_a_grid_survives_its_text(value: float) -> None:
    """The shortest digits are exact."""
    feature = Feature(kind="number")
    assert parse_value(format_value(value, feature), feature) == value


@pytest.mark.parametrize(
    "levels", [["rent", "own"], [1, 2, 3], [0.5, 1.5], [True, False], ["1", "", "NA", "nan", "missing"]]
)
def test_every_level_survives_its_text(levels: list[Any]) -> None:
    """A level comes back as the policy has it, type included."""
    feature = Feature(kind="category", levels=levels)
    for level in levels:
        back = parse_value(format_value(level, feature), feature)
        assert back == level
        assert type(back) is type(level)


def test_a_missing_value_survives_its_text() -> None:
    """The empty text is the missing value, where no level is spelt so."""
    for feature in (Feature(kind="number"), Feature(kind="flag"), Feature(kind="category", levels=["a", "b"])):
        assert parse_value(format_value(None, feature), feature) is None


@pytest.mark.parametrize(
    ("feature", "text", "message"),
    [
        (Feature(kind="number"), "12 %", "expected a number, got '12 %'"),
        (Feature(kind="number"), "inf", "expected a finite number, got 'inf'"),
        (
            Feature(kind="category", levels=["rent", "own"]),
            "rnt",
            "expected one of the levels 'rent', 'own', got 'rnt'. Did you mean 'rent'?",
        ),
    ],
)
def test_a_text_that_stands_for_no_value_is_named(feature: Feature, text: str, message: str) -> None:
    """The error says what came and what was expected."""
    with pytest.raises(DataError) as error:
        parse_value(text, feature)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "place", [("certificate", "proven"), ("changes", 0, "feature"), ("changes", 0, "to"), ("row",)]
)
def test_a_malformed_plan_is_named(place: tuple[Any, ...]) -> None:
    """A record of the wrong types is no plan, wherever it is wrong."""
    record = json.loads(found().to_json())
    part = record["plans"][0]
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = ["no"]
    with pytest.raises(DataError, match=r"outcome '17' is malformed; was the file edited\?"):
        Outcome.from_dict(record)
