"""Drafts: whatever the data, a policy that can be read, that fits the data and that asks the right questions."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recourse.draft import draft_policy
from recourse.errors import DataError, UnknownFeature
from recourse.lint import lint_policy
from recourse.models import read_model
from recourse.policy import Policy, check_costs
from recourse.population import Population


def errors(policy: Policy, **against: Any) -> list[str]:
    """What a lint finds that makes a policy unusable."""
    return [str(finding) for finding in lint_policy(policy, **against) if finding.level == "error"]


wide = st.floats(-1e12, 1e12, allow_nan=False)
cells = {
    "integer": st.integers(-1000, 1000),
    "large": st.integers(0, 10**15),
    "float": wide,
    "extreme": st.floats(-1e100, 1e100, allow_nan=False),
    "decimal": st.decimals(-100, 100, places=2).map(float),
    "coded": st.integers(0, 99) | st.sampled_from([-7, -8, -9]),
    "bit": st.integers(0, 1),
    "bool": st.booleans(),
    "text": st.text(max_size=6),
    "yes": st.sampled_from(["yes", "no"]),
    "mixed": st.integers(-3, 3) | st.text(string.printable, max_size=3) | st.booleans() | st.floats(0, 1),
}


@st.composite
def columns(draw: st.DrawFn, n: int) -> pd.Series[Any]:
    """Draw a column of any kind that a file may hold."""
    kind = draw(st.sampled_from([*cells, "category", "ordered", "date", "empty"]))
    if kind == "empty":
        return pd.Series([None] * n, dtype=draw(st.sampled_from(["float64", "object"])))
    if kind == "date":
        return pd.Series(pd.date_range("2024-01-01", periods=n))
    missing = draw(st.lists(st.booleans(), min_size=n, max_size=n)) if draw(st.booleans()) else [False] * n
    if kind in ("category", "ordered"):
        levels = draw(st.lists(st.text(max_size=4) | st.integers(-5, 5), min_size=1, max_size=5, unique_by=str))
        values = [draw(st.sampled_from(levels)) for _ in range(n)]
        used = pd.Categorical(values, categories=levels, ordered=kind == "ordered")
        return pd.Series(used).where(~np.array(missing))
    values = [None if gone else draw(cells[kind]) for gone in missing]
    dtype = draw(st.sampled_from(["object", None])) if kind != "mixed" else "object"
    return pd.Series(values, dtype=dtype)


@st.composite
def any_frames(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a frame as someone might load it."""
    n = draw(st.integers(1, 30))
    known = st.sampled_from(
        ["sex", "customer_id", "age", "income", "target of all", "a.b", 'quo"te', "line\nbreak", ""]
    )
    names = draw(st.lists(known | st.text(max_size=5), min_size=1, max_size=5, unique=True))
    return pd.DataFrame({name: draw(columns(n)) for name in names})


@given(any_frames())
@settings(deadline=None)
def test_a_draft_is_a_policy_that_fits_its_data(frame: pd.DataFrame) -> None:
    """Whatever the frame, its draft is read without a problem and a lint against the frame finds no error."""
    try:
        text = draft_policy(frame)
    except DataError as error:
        assert "no column of the data" in str(error)  # noqa: PT017 - any other refusal is a failure
        return
    policy = Policy.from_text(text)
    assert errors(policy, frame=frame) == []
    assert errors(Policy.from_text(policy.to_toml()), frame=frame) == []
    check_costs(policy, Population.from_frame(frame, policy))


@given(st.integers(0, 2**16))
@settings(deadline=None, max_examples=15)
def test_a_draft_fits_its_model(seed: int) -> None:
    """With a model, the draft speaks of the model's columns alone, frees only those that it tests, and lints clean."""
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(seed)
    n = 60
    frame = pd.DataFrame(
        {
            "income": rng.integers(100, 900, n) * 100.0,
            "age": rng.integers(18, 80, n),
            "noise": np.zeros(n),
            "housing": pd.Categorical(rng.choice(["rent", "own", "free"], n), categories=["rent", "own", "free"]),
            "flag": rng.integers(0, 2, n),
        }
    )
    y = ((frame["income"] + rng.normal(0, 2e4, n) > 45000) ^ (frame["housing"] == "rent")).astype(int)
    trained = xgboost.XGBClassifier(n_estimators=3, max_depth=2, enable_categorical=True, n_jobs=1).fit(frame, y)
    model = read_model(trained)
    frame["customer_id"] = range(n)
    frame["good"] = y
    text = draft_policy(frame, target="good", model=model)
    policy = Policy.from_text(text)
    assert list(policy.features) == ["income", "age", "noise", "housing", "flag"]
    assert "# [features.customer_id] is left out: the model does not read it." in text
    assert policy.features["noise"].role == "fixed"
    assert policy.features["age"].role == "protected"
    used = set(trained.get_booster().get_score())
    assert set(policy.movable) == used - {"age"}
    assert policy.features["housing"].levels == ("rent", "own", "free")
    assert errors(policy, frame=frame, model=model) == []


def drafted(frame: pd.DataFrame, **options: Any) -> tuple[Policy, str]:
    """A draft as a policy and as text."""
    text = draft_policy(frame, **options)
    return Policy.from_text(text), text


def test_kinds_are_read_from_the_data() -> None:
    """Whole numbers, fractions, flags, ladders and categories are told apart, with levels as the data spells them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "debts": rng.integers(0, 40, 200),
            "rate": rng.integers(0, 100, 200) / 100,
            "guarantor": rng.integers(0, 2, 200),
            "phone": rng.integers(0, 2, 200) == 1,
            "owner": rng.choice(["yes", "no"], 200),
            "school": pd.Categorical(rng.choice(["low", "high"], 200), categories=["low", "high"], ordered=True),
            "housing": rng.choice(["rent", "own", "free"], 200),
        }
    )
    policy, _ = drafted(frame)
    kinds = {name: feature.kind for name, feature in policy.features.items()}
    assert kinds == {
        "debts": "integer",
        "rate": "number",
        "guarantor": "flag",
        "phone": "flag",
        "owner": "flag",
        "school": "ordinal",
        "housing": "category",
    }
    assert policy.features["phone"].levels == (False, True)
    assert policy.features["owner"].levels == ("no", "yes")
    assert policy.features["school"].levels == ("low", "high")
    assert policy.features["housing"].levels == ("free", "own", "rent")
    assert str(policy.features["rate"].step) == "0.01"
    assert (policy.features["debts"].min, policy.features["debts"].max) == (frame["debts"].min(), frame["debts"].max())


def test_steps_are_round() -> None:
    """A fine column gets a round grid that holds its range; a coarse one keeps the resolution that it has."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "income": rng.normal(50000, 15000, 500).round(2),
            "score": rng.integers(300, 850, 500),
            "loan": rng.integers(10, 400, 500) * 250,
            "ratio": rng.random(500),
        }
    )
    policy, _ = drafted(frame)
    steps = {name: str(feature.step) for name, feature in policy.features.items()}
    assert steps == {"income": "200", "score": "1", "loan": "250", "ratio": "0.002"}
    for name, feature in policy.features.items():
        assert feature.min is not None
        assert feature.max is not None
        assert feature.min <= frame[name].min() <= frame[name].max() <= feature.max


def test_names_that_sound_protected_are_protected() -> None:
    """Protected characteristics are recognised by name, however it is written; the age of a thing is not one."""
    names = ["Sex", "applicantRace", "ETHNICITY", "age_in_years", "marital-status", "foreign.worker", "Nationality"]
    others = ["income", "account_age", "AverageBalance", "stage", "vehicle_age"]
    policy, text = drafted(pd.DataFrame({name: [1, 2, 3] for name in names + others}))
    assert {name for name, feature in policy.features.items() if feature.role == "protected"} == set(names)
    assert text.count("# the name sounds protected") == len(names)


def test_identifiers_and_dates_are_left_out() -> None:
    """What names a person or a moment is no feature; the draft says so where the column would stand."""
    n = 40
    frame = pd.DataFrame(
        {
            "customer_id": range(n),
            "name": [f"person {i}" for i in range(n)],
            "since": pd.date_range("2020-01-01", periods=n),
            "notes": [[i] for i in range(n)],
            "street": [f"street {i % 60}" for i in range(n)],
            "income": range(n),
        }
    )
    frame = pd.concat([frame] * 2).assign(customer_id=range(2 * n), name=[f"person {i}" for i in range(2 * n)])
    frame["street"] = [f"street {i % 60}" for i in range(2 * n)]
    policy, text = drafted(frame)
    assert list(policy.features) == ["income"]
    assert "# [features.customer_id] is left out: looks like an identifier: its values all differ." in text
    assert "# [features.name] is left out: looks like an identifier: its values all differ." in text
    assert "# [features.since] is left out: a date" in text
    assert "# [features.notes] is left out: its values are neither numbers nor texts." in text
    assert "# [features.street] is left out: free text? It has 60 different values." in text


def test_special_values_are_proposed_as_codes() -> None:
    """-9 among counts is a code, with a comment; a column that is really negative is left alone."""
    frame = pd.DataFrame(
        {"months": [3, 14, -9, -7, 0], "balance": [-9, -3, 5, 8, 120], "level": [-999.0, 1.5, 2.5, 3, 4]}
    )
    policy, text = drafted(frame)
    assert policy.features["months"].code_values == (-7.0, -9.0)
    assert policy.features["level"].code_values == (-999.0,)
    assert policy.features["balance"].codes == {}
    assert (policy.features["months"].min, policy.features["months"].max) == (0.0, 14.0)
    assert text.count("# these look like codes: say what each means") == 2


def test_few_whole_numbers_raise_a_question() -> None:
    """Numbers that may be names of something are pointed out; the draft reads them as numbers."""
    policy, text = drafted(
        pd.DataFrame({"purpose": [1, 2, 31, 4], "debts": range(4)}).sample(40, replace=True, random_state=0)
    )
    assert policy.features["purpose"].kind == "integer"
    assert '# only 1, 2, 4, 31: if these are names rather than counts, use kind = "category" with levels' in text


def test_constant_and_empty_columns_are_fixed() -> None:
    """What never varies cannot be advised on."""
    policy, text = drafted(pd.DataFrame({"a": [5, 5], "b": [None, None], "c": ["x", "x"], "d": [1, 2]}))
    assert policy.movable == ("d",)
    assert "always 5 in the data" in text


def test_the_target_is_left_out_and_counted() -> None:
    """The target is no feature; the draft says how often the favourable class occurs, or that it never does."""
    frame = pd.DataFrame({"x": [1, 2, 3, 4], "class": ["good", "bad", "good", "good"]})
    policy, text = drafted(frame, target="class", favourable="good")
    assert list(policy.features) == ["x"]
    assert policy.decision.favourable == "good"
    assert "75 % of 'class'" in text
    assert "CHECK: 'class' has 'bad', 'good', but never this class" in draft_policy(frame, target="class")


def test_units_and_ranges_are_told() -> None:
    """Whoever edits the draft sees the range, the median, and how much is missing."""
    text = draft_policy(pd.DataFrame({"annual_income": [10.0, 20.0, 60.0, None]}))
    assert "# from 10 to 60, median 20" in text
    assert "# missing in 25 % of the rows" in text
    assert 'label = "annual income"' in text
    assert '# unit = "..."' in text


def test_what_cannot_be_drafted_is_refused() -> None:
    """A wrong target, a column that the model misses, an infinite value and an empty frame are errors with a remedy."""
    frame = pd.DataFrame({"income": [1.0, 2.0]})
    with pytest.raises(UnknownFeature, match=r"no column 'incme', the target\. Did you mean 'income'\?"):
        draft_policy(frame, target="incme")
    with pytest.raises(DataError, match="column 'income', row 1: the value is infinite"):
        draft_policy(pd.DataFrame({"income": [1.0, np.inf]}))
    with pytest.raises(DataError, match="no column of the data is one that a policy could speak of"):
        draft_policy(frame, target="income")
    with pytest.raises(DataError, match="no column of the data"):
        draft_policy(pd.DataFrame())


def test_columns_that_are_one_category_are_drafted_as_one() -> None:
    """Columns of 0 and 1 of which every row has exactly one become a group with one table; others stay flags."""
    frame = pd.DataFrame(
        {
            "purpose_car": [1, 0, 0, 1],
            "purpose_home": [0, 1, 1, 0],
            "late_30": [1, 0, 1, 1],
            "late_60": [1, 0, 0, 0],
            "income": [10.0, 20.0, 30.0, 50.0],
        }
    )
    policy = Policy.from_text(draft_policy(frame))
    assert policy.groups.columns == {"purpose": ("purpose_car", "purpose_home")}
    assert policy.levels["purpose"] == ("car", "home")
    assert set(policy.features) == {"purpose", "late_30", "late_60", "income"}
    check_costs(policy, Population.from_frame(frame, policy))
    assert "purpose" in Policy.from_text(draft_policy(frame, target="late_60")).features
    taken = Policy.from_text(draft_policy(frame.assign(purpose=[1.0, 2.0, 3.0, 4.0])))
    assert not taken.groups.columns


def test_a_draft_shows_what_else_can_be_said() -> None:
    """Codes and missing values come with the line that would let them move, as comments."""
    frame = pd.DataFrame({"months": [1.0, -7.0, -8.0, 40.0, 12.0], "value": [1.0, None, 3.0, 9.0, 4.0]})
    text = draft_policy(frame)
    assert '# moves = { "-7" = [0] }' in text
    assert "# provide = { cost = 1.0 }" in text
    assert "# [time]" in text
    Policy.from_text(text)
