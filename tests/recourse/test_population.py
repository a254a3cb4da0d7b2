"""Populations: units by definition, the stored distribution, and what is refused."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recourse.errors import DataError, UnknownFeature
from recourse.policy import Policy
from recourse.population import MOST_KNOTS, Population
from tests.strategies_policy import frames, policies

finite = st.floats(-1e9, 1e9, allow_nan=False, allow_subnormal=False)
repeated = st.lists(st.one_of(st.integers(-5, 5).map(float), finite), min_size=1, max_size=40)


def policy_of(**features: dict[str, Any]) -> Policy:
    """A policy around features."""
    return Policy.model_validate({"decision": {"threshold": 0.5}, "features": features})


def close(a: float, b: float) -> bool:
    """Equal but for the order in which a standard deviation is summed."""
    return a == pytest.approx(b, rel=1e-9, abs=1e-12)


@given(repeated, st.lists(st.sampled_from([-9.0, -8.0, np.nan]), max_size=5))
def test_units_are_what_their_names_say(numbers: list[float], others: list[float]) -> None:
    """mad, std and range equal their textbook definitions over the numbers alone: no codes, no missing values."""
    policy = policy_of(x={"kind": "number", "codes": {"-9": "none", "-8": "unusable"}})
    numbers = [x for x in numbers if x not in (-9.0, -8.0)] or [1.0]
    people = Population.from_frame(pd.DataFrame({"x": numbers + others}), policy)
    median = statistics.median(numbers)
    mad = statistics.median(abs(x - median) for x in numbers)
    std = float(pd.Series(numbers).std(ddof=1)) if len(set(numbers)) > 1 else 0.0
    width = max(numbers) - min(numbers)
    assert close(people.unit("x", "mad"), mad or std or 1.0)
    assert close(people.unit("x", "std"), std or 1.0)
    assert close(people.unit("x", "range"), width or 1.0)
    assert people.unit("x", "raw") == 1.0
    summary = people.summary("x")
    assert close(summary.median or 0.0, median)
    assert (summary.n, summary.n_missing) == (len(numbers), int(np.isnan(others).sum()))
    assert summary.codes == {-9.0: others.count(-9.0), -8.0: others.count(-8.0)}


@given(repeated, st.lists(finite, max_size=5))
def test_percentiles_are_shares_of_the_population(numbers: list[float], points: list[float]) -> None:
    """At a value that occurs, F is the share at or below it; between two, it lies between theirs on a straight line."""
    people = Population.from_frame(pd.DataFrame({"x": numbers}))
    knots, shares = people.knots("x")
    assert knots.tolist() == sorted(set(numbers))
    assert shares.tolist() == [sum(x <= v for x in numbers) / len(numbers) for v in knots]
    for point in points:
        below = max((i for i in range(len(knots)) if knots[i] <= point), default=None)
        got = float(people.percentile("x", point))
        if below is None:
            assert got == shares[0]
        elif below == len(knots) - 1:
            assert got == 1.0
        else:
            part = (point - knots[below]) / (knots[below + 1] - knots[below])
            assert got == pytest.approx(shares[below] + part * (shares[below + 1] - shares[below]), abs=1e-9)


@given(st.integers(0, 2**16), st.integers(1002, 6000), st.sampled_from(["normal", "ties", "heavy"]))
def test_a_long_column_keeps_a_thousand_knots(seed: int, n: int, how: str) -> None:
    """At most 1,001 knots, the extremes among them, each exact; nowhere is F off by more than a thousandth."""
    rng = np.random.default_rng(seed)
    x = {"normal": rng.normal(size=n), "heavy": rng.standard_cauchy(size=n), "ties": rng.integers(0, 1500, n) / 4}[how]
    people = Population.from_frame(pd.DataFrame({"x": x}))
    knots, shares = people.knots("x")
    assert 1 < len(knots) <= MOST_KNOTS
    assert (knots[0], knots[-1], shares[-1]) == (x.min(), x.max(), 1.0)
    assert np.all(np.diff(knots) > 0)
    assert np.all(np.diff(shares) > 0)
    ordered = np.sort(x)
    assert shares.tolist() == (np.searchsorted(ordered, knots, side="right") / n).tolist()
    true = np.searchsorted(ordered, x, side="right") / n
    largest_tie = np.unique(x, return_counts=True)[1].max() / n
    assert np.max(np.abs(people.percentile("x", x) - true)) <= 1e-3 + largest_tie


@given(repeated)
def test_quantiles_occur(numbers: list[float]) -> None:
    """A quantile is the smallest value at or below which that share lies."""
    summary = Population.from_frame(pd.DataFrame({"x": numbers})).summary("x")
    for q in (0.0, 0.25, 0.5, 0.9, 1.0):
        by_hand = min(v for v in numbers if sum(x <= v for x in numbers) >= q * len(numbers) - 1e-9)
        assert summary.quantile(q) == by_hand


@given(st.data())
def test_a_population_survives_being_saved(data: st.DataObject) -> None:
    """What is written as JSON is read back equal, with the same hash; no protected column is in it."""
    policy = data.draw(policies(max_features=4))
    frame = data.draw(frames(policy))
    people = Population.from_frame(frame, policy)
    again = Population.from_dict(json.loads(json.dumps(people.to_dict(), allow_nan=False)))
    assert again == people
    assert again.sha256 == people.sha256
    protected = {name for name, feature in policy.features.items() if feature.role == "protected"}
    assert set(people.columns) == set(policy.features) - protected


@given(st.data())
def test_the_order_of_rows_does_not_matter(data: st.DataObject) -> None:
    """A summary knows no rows, so shuffling them changes nothing but the last bits of a sum."""
    policy = data.draw(policies(max_features=3))
    frame = data.draw(frames(policy, min_rows=2))
    order = data.draw(st.permutations(range(len(frame))))
    one, two = Population.from_frame(frame, policy), Population.from_frame(frame.iloc[list(order)], policy)
    for name in one.columns:
        assert one.knots(name)[0].tolist() == two.knots(name)[0].tolist()
        assert one.unit(name, "mad") == pytest.approx(two.unit(name, "mad"))
        assert one.summary(name).levels == two.summary(name).levels


def test_ladders_are_measured_in_positions() -> None:
    """An ordinal with levels is summarised by positions in the policy's order, a category by counts alone."""
    policy = policy_of(
        education={"kind": "ordinal", "levels": ["none", "school", "degree", "doctor"]},
        housing={"kind": "category", "levels": ["rent", "own"]},
        flag={"kind": "flag"},
    )
    frame = pd.DataFrame(
        {
            "education": pd.Categorical(["none", "degree", "degree", "doctor", None]),
            "housing": ["own", "rent", "own", None, "castle"],
            "flag": [True, False, True, True, True],
        }
    )
    people = Population.from_frame(frame, policy)
    assert people.knots("education")[0].tolist() == [0.0, 2.0, 3.0]
    assert people.unit("education", "mad") == 0.5
    assert people.summary("housing").levels == {"rent": 1, "own": 2}
    assert people.summary("housing").knots == ()
    assert people.summary("flag").levels == {"0": 1, "1": 4}


def test_an_empty_column_has_a_unit() -> None:
    """A column of missing values and codes alone is measured in ones and knows no percentiles."""
    policy = policy_of(x={"kind": "number", "codes": {"-9": "none"}})
    people = Population.from_frame(pd.DataFrame({"x": [-9.0, None, -9.0]}), policy)
    assert [people.unit("x", kind) for kind in ("mad", "std", "range", "raw")] == [1.0] * 4
    assert people.percentile("x", [1.0, 2.0]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("library", ["polars", "pyarrow", "nullable"])
def test_frames_of_other_libraries_are_read(library: str) -> None:
    """The same rows in another library's frame give the same summary."""
    data = {"x": [1.5, None, 4.0], "n": [1, 2, None], "c": ["a", None, "b"]}
    policy = policy_of(x={"kind": "number"}, n={"kind": "integer"}, c={"kind": "category", "levels": ["a", "b"]})
    frame: Any = pd.DataFrame(data)
    if library == "polars":
        frame = pytest.importorskip("polars").DataFrame(data)
    elif library == "pyarrow":
        frame = pytest.importorskip("pyarrow").table(data)
    else:
        frame = frame.convert_dtypes()
    assert Population.from_frame(frame, policy) == Population.from_frame(pd.DataFrame(data), policy)


def test_without_a_policy_texts_are_kept_only_where_few() -> None:
    """Names and free texts of applicants do not enter a summary."""
    n = 200
    frame = pd.DataFrame(
        {"x": np.arange(n), "c": ["a", "b"] * (n // 2), "name": [f"person {i}" for i in range(n)]},
    )
    frame["when"] = pd.Timestamp("2024-01-01")
    people = Population.from_frame(frame)
    assert list(people.columns) == ["x", "c"]
    assert people.summary("c").levels == {"a": 100, "b": 100}


BAD = {
    "text": ([1.0, "n/a"], "column 'x', row r1: expected a number, got 'n/a'. Correct the row"),
    "quoted number": ([1.0, "2"], "column 'x', row r1: expected a number, got '2'."),
    "infinite": ([1.0, float("-inf")], "column 'x', row r1: the value is infinite. Correct it"),
    "infinite among objects": ([None, 10**400], "column 'x', row r1: the value is infinite."),
    "too large": ([1.0, 1e200], "column 'x', row r1: the value is too large (1e+200)."),
    "dates": (pd.to_datetime(["2024-01-01", "2024-01-02"]).tolist(), "column 'x' holds dates"),
    "a list": ([1.0, [2.0]], "column 'x', row r1: expected a number, got [2.0]."),
}


@pytest.mark.parametrize(("values", "words"), BAD.values(), ids=BAD.keys())
def test_a_value_that_is_no_number_is_named(values: list[Any], words: str) -> None:
    """A bad value is an error that names column, row and remedy."""
    frame = pd.DataFrame({"x": pd.Series(values, index=["r0", "r1"])})
    with pytest.raises(DataError) as caught:
        Population.from_frame(frame, policy_of(x={"kind": "number"}))
    assert words in str(caught.value)


def test_columns_that_do_not_fit_are_named() -> None:
    """A missing column, one that is there twice, an unseen level and no frame at all are errors with a remedy."""
    policy = policy_of(income={"kind": "number"})
    with pytest.raises(UnknownFeature, match=r"no column 'income', which .*\. Did you mean 'incme'\?"):
        Population.from_frame(pd.DataFrame({"incme": [1.0]}), policy)
    with pytest.raises(DataError, match="column 'income' is there twice"):
        Population.from_frame(pd.DataFrame([[1.0, 2.0]], columns=["income", "income"]), policy)
    with pytest.raises(DataError, match=r"cannot read a list as rows\. Expected a pandas, polars or pyarrow frame"):
        Population.from_frame([1, 2], policy)
    ladder = policy_of(x={"kind": "ordinal", "levels": ["low", "high"]})
    with pytest.raises(DataError, match=r"column 'x', row 1: 'hihg' is not among .*\. Did you mean 'high'\?"):
        Population.from_frame(pd.DataFrame({"x": ["low", "hihg"]}), ladder)
    with pytest.raises(UnknownFeature, match=r"no column 'incom'\. Did you mean 'income'\?"):
        Population.from_frame(pd.DataFrame({"income": [1.0]}), policy).unit("incom", "mad")


def test_a_saved_population_is_read_or_refused(tmp_path: Path) -> None:
    """A file that is no summary, or a damaged one, is an error that names the file or the damage."""
    people = Population.from_frame(pd.DataFrame({"x": [1.0, 2.0]}))
    path = tmp_path / "people.json"
    people.save(path)
    assert Population.load(path) == people
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match=r"none\.json: cannot read the population: No such file"):
        Population.load(tmp_path / "none.json")
    path.write_text("{")
    with pytest.raises(DataError, match="expected a JSON file"):
        Population.load(path)
    path.write_text("[]")
    with pytest.raises(DataError, match=r"expected a JSON object with schema 'fairpath\.population/1'"):
        Population.load(path)
    for spoil in ({"knots": [2.0, 1.0]}, {"shares": [1.0]}, {"n": "many"}, {"codes": 3}):
        data = people.to_dict()
        data["columns"]["x"] |= spoil
        with pytest.raises(DataError, match="the saved population is damaged"):
            Population.from_dict(data)
