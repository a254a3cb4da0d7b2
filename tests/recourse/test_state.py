"""States in plain Python: expressions as functions, and each step from a row to the row that is scored."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recourse import state
from recourse.errors import DataError
from recourse.expression import parse
from recourse.policy import Policy
from recourse.state.functions import function_of
from recourse.values import plain
from tests.expressions import FEATURES, conditions, numbers, rows

LOAN: dict[str, Any] = {
    "decision": {
        "threshold": 0.5,
        "knockouts": [{"name": "too many", "deny_when": "inquiries > 4"}],
    },
    "time": {"horizon": 12, "cost_per_month": 0.1},
    "reapply": {"after_months": 2, "effects": {"inquiries": "+1", "balance": "*0.5", "visits": "max(start.visits, 3)"}},
    "groups": {
        "one_hot": {"purpose": ["for_car", "for_home"]},
        "thermometer": {"late": ["late_30", "late_60"]},
    },
    "rules": [
        {"name": "degrees take time", "when": "school > start.school", "then": "wait >= 6"},
        {"name": "within limits", "require": "debt <= income"},
    ],
    "features": {
        "income": {"kind": "integer", "change": "up"},
        "debt": {"kind": "integer", "codes": {"-7": "none"}},
        "rate": {"kind": "number", "role": "derived", "value": "debt / income"},
        "strained": {"kind": "flag", "role": "derived", "value": "rate > 0.4"},
        "savings": {"kind": "number", "effect": "start.savings + 0.2 * (income - start.income)"},
        "months": {"kind": "integer", "role": "fixed", "tick": 1, "codes": {"-9": "no record"}},
        "age": {"kind": "integer", "role": "protected", "tick": Decimal("0.0833")},
        "tenure": {"kind": "number", "role": "fixed", "tick": Decimal("0.1")},
        "inquiries": {"kind": "integer", "role": "fixed"},
        "balance": {"kind": "number", "role": "fixed"},
        "visits": {"kind": "integer", "role": "fixed"},
        "school": {"kind": "ordinal", "levels": ["none", "some", "full"], "change": "up"},
        "purpose": {"kind": "category", "levels": ["car", "home", "other"]},
        "late": {"kind": "ordinal"},
    },
}
POLICY = Policy.model_validate(LOAN)
ROW: dict[str, Any] = {
    "income": 40,
    "debt": 10,
    "savings": 5.0,
    "months": 7,
    "age": 41,
    "tenure": 1.0,
    "inquiries": 1,
    "balance": 8.0,
    "visits": 1,
    "school": "some",
    "for_car": 0,
    "for_home": 1,
    "late_30": 1,
    "late_60": 0,
    "note": "kept",
}


@given(text=numbers() | conditions(), now=rows, start=rows)
def test_a_function_gives_what_the_expression_gives(text: str, now: dict[str, Any], start: dict[str, Any]) -> None:
    """Walked once or every time, an expression has the same value, to the last bit."""
    expression = parse(text, FEATURES)
    wanted = expression.evaluate(now, start)
    found = function_of(expression.node, FEATURES)(
        {name: plain(v) for name, v in now.items()}, {name: plain(v) for name, v in start.items()}
    )
    assert (found, type(found)) == (wanted, type(wanted))


def test_the_present_has_groups_and_formulas() -> None:
    """Columns that belong together are one feature, and a formula is computed where nothing is recorded."""
    now = state.present(POLICY, ROW)
    assert (now["purpose"], now["late"], now["rate"], now["strained"], now["wait"]) == ("home", 1, 0.25, 0, 0)
    assert list(now)[-1] == "wait"
    assert "for_car" not in now
    recorded = state.present(POLICY, {**ROW, "rate": 0.9})
    assert recorded["rate"] == 0.9


def test_each_step_is_taken_in_its_order() -> None:
    """Effects follow choices, months pass, applying again does its part, formulas come last."""
    then = state.after(POLICY, ROW, {"income": 50, "purpose": "car"}, 6)
    assert then["savings"] == 5.0 + 0.2 * 10
    assert then["rate"] == 0.2
    assert (then["months"], then["age"], then["tenure"]) == (13, 41, 1.6)  # 0.4998 years are none
    assert (then["inquiries"], then["balance"], then["visits"]) == (2, 4.0, 3)
    assert then["wait"] == 6
    scored = state.columns(POLICY, then, ROW)
    assert (scored["for_car"], scored["for_home"], scored["late_30"], scored["late_60"]) == (1, 0, 1, 0)
    assert scored["note"] == "kept"
    assert not {"wait", "purpose", "late"} & scored.keys()


def test_months_pass_by_themselves_before_the_next_application() -> None:
    """Without waiting, clocks run by `after_months`; waiting longer counts instead of, not on top of it."""
    assert state.after(POLICY, ROW, {})["months"] == 9
    assert state.after(POLICY, ROW, {}, 1)["months"] == 9
    assert state.after(POLICY, ROW, {}, 3)["months"] == 10


def test_codes_and_missing_values_stay() -> None:
    """Neither time nor applying again makes a number of what is none; a formula of it is missing."""
    row = {**ROW, "months": -9, "balance": None, "debt": -7}
    then = state.after(POLICY, row, {}, 6)
    assert (then["months"], then["balance"], then["rate"]) == (-9, None, None)
    assert then["strained"] is None


def test_a_tick_is_the_decimal_that_is_written() -> None:
    """Twelve times 0.0833 is less than one year, 13 times more; a hundred times 0.29 is 29, not 28.999."""
    assert [state.after(POLICY, ROW, {}, m)["age"] for m in (12, 13)] == [41, 42]
    words = {**LOAN, "time": {"horizon": 100, "cost_per_month": 0.0}}
    words["features"] = {**LOAN["features"], "age": {"kind": "integer", "role": "fixed", "tick": Decimal("0.29")}}
    assert state.after(Policy.model_validate(words), ROW, {}, 100)["age"] == 41 + 29


def test_rules_and_knockouts_are_broken_only_surely() -> None:
    """What cannot be told because a value is missing breaks nothing and denies nobody."""
    now = state.present(POLICY, ROW)
    hasty = state.after(POLICY, ROW, {"school": "full"}, 5)
    assert state.violations(POLICY, hasty, now) == ["degrees take time"]
    assert state.violations(POLICY, state.after(POLICY, ROW, {"school": "full"}, 6), now) == []
    poor = state.after(POLICY, ROW, {"debt": 41})
    assert state.broken_rules(POLICY, poor, now) == ["within limits"]
    assert state.broken_rules(POLICY, state.after(POLICY, {**ROW, "income": None}, {"debt": 41}), now) == []
    asked = state.after(POLICY, {**ROW, "inquiries": 4}, {})
    assert state.knockouts(POLICY, asked, now) == ["too many"]
    assert state.knockouts(POLICY, state.after(POLICY, {**ROW, "inquiries": None}, {}), now) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"for_car": 1}, "exactly one of its columns for_car, for_home, got 2"),
        ({"late_30": 0, "late_60": 1}, "the ladder 'late' has a 0 below a 1"),
        ({"for_home": 2}, "expected 0 or 1, got 2"),
    ],
)
def test_columns_that_are_no_level_are_refused(change: dict[str, Any], message: str) -> None:
    """A row whose columns contradict each other has no present."""
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        state.present(POLICY, {**ROW, **change})


def test_no_column_set_is_the_level_beyond_them() -> None:
    """A category with one level more than columns has that level where all are 0, and back."""
    row = {**ROW, "for_home": 0}
    now = state.present(POLICY, row)
    assert now["purpose"] == "other"
    scored = state.columns(POLICY, state.after(POLICY, ROW, {"purpose": "other"}), ROW)
    assert (scored["for_car"], scored["for_home"]) == (0, 0)


def test_a_column_that_an_expression_needs_is_named() -> None:
    """A row without it is refused, with the expression that reads it."""
    row = {name: value for name, value in ROW.items() if name != "debt"}
    with pytest.raises(DataError, match="no column 'debt', which the policy's expression 'debt / income' reads"):
        state.after(POLICY, row, {}, now=dict.fromkeys(("income", "rate")))


def test_thresholds_by_column_and_by_expression() -> None:
    """A threshold may be a column of the data, or computed from what no plan changes."""
    by_column = Policy.model_validate({**LOAN, "decision": {"threshold": "tier"}})
    assert state.threshold(by_column, {**ROW, "tier": 0.7}) == 0.7
    with pytest.raises(DataError, match="no column 'tier'"):
        state.threshold(by_column, ROW)
    with pytest.raises(DataError, match="is no number for this row"):
        state.threshold(by_column, {**ROW, "tier": None})
    features = {**LOAN["features"], "branch": {"kind": "integer", "role": "fixed"}}
    by_rule = {"threshold": "0.6 if branch > 3 else 0.4"}
    computed = Policy.model_validate({**LOAN, "features": features, "decision": by_rule})
    assert [state.threshold(computed, {**ROW, "branch": b}) for b in (2, 5)] == [0.4, 0.6]


@given(data=st.data())
def test_choosing_nothing_changes_nothing_in_a_plain_policy(data: st.DataObject) -> None:
    """Where the policy says nothing but features, a state is the row."""
    plainly = Policy.model_validate({"decision": {"threshold": 0.5}, "features": {"a": {"kind": "integer"}}})
    row = {"a": data.draw(st.integers(-5, 5)), "b": data.draw(st.text(max_size=3))}
    assert state.is_plain(plainly)
    assert state.columns(plainly, state.after(plainly, row, {}), row) == row
