"""The traps that exact search on trees falls into, one by one, each on models whose thresholds stand in the trap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recourse import Finder, Policy, Population
from recourse.plan import Outcome
from tests import naive
from tests.agreement import disagreements, faults, raw_frame
from tests.handmade import Stump, stumps
from tests.native import Native
from tests.strategies import fit

LIBRARIES = ("xgboost", "lightgbm", "hist_gradient_boosting", "random_forest")
SINGLE = ("xgboost", "random_forest")  # inputs are rounded to float32
BELOW = ("xgboost",)  # the test is x < threshold; all others have x <= threshold


def solve(
    native: Native,
    features: Mapping[str, Any],
    row: Mapping[str, Any],
    *,
    threshold: float = 0.6,
    margin: float = 0.0,
    reach: Mapping[str, tuple[float, float]] | None = None,
    **cost: Any,
) -> Outcome:
    """Return the engine's outcome, after it has been held against the definitions."""
    policy = Policy.model_validate(
        {
            "decision": {"threshold": threshold, "margin": margin, "favourable": native.favourable},
            "cost": {"unit": "raw", **cost},
            "features": dict(features),
        }
    )
    population = Population.from_frame(raw_frame([row], native), policy)
    finder = Finder(native.estimator, policy, population)
    outcome = next(finder.find_many(raw_frame([row], native)))
    answer = naive.solve(policy, population, native, row, reach=reach)
    assert not list(disagreements(outcome, answer, row, native, policy))
    assert not faults(outcome, row, finder.model, policy, population)
    return outcome


def after(outcome: Outcome) -> dict[str, Any]:
    """Return where the plan's changes lead."""
    return {change.feature: change.after for change in outcome.plans[0].changes}


# --- what the libraries do with a number ------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_value_on_the_threshold_goes_the_librarys_way(library: str) -> None:
    """XGBoost sends x = t up, the others down; the plan stops on the first value that turns the decision."""
    native = stumps(library, [Stump(0, 5.0, 0.1, 0.9)], ["a"])
    outcome = solve(native, {"a": {"kind": "integer", "min": 0, "max": 20}}, {"a": 2})
    assert after(outcome) == {"a": 5 if library in BELOW else 6}
    native = stumps(library, [Stump(0, 5.0, 0.9, 0.1)], ["a"])
    outcome = solve(native, {"a": {"kind": "integer", "min": 0, "max": 20}}, {"a": 9})
    assert after(outcome) == {"a": 4 if library in BELOW else 5}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 1.1, 2.3])
@pytest.mark.parametrize("up", [True, False])
def test_values_are_cast_as_the_library_casts_them(library: str, threshold: float, up: bool) -> None:
    """A float64 threshold on the grid: float32(0.1) lies above 0.1, float32(0.7) below; only some libraries see it."""
    leaves = (0.1, 0.9) if up else (0.9, 0.1)
    native = stumps(library, [Stump(0, threshold, *leaves)], ["a"])
    row = {"a": 0.0 if up else 5.0}
    outcome = solve(native, {"a": {"kind": "number", "step": 0.1, "min": 0, "max": 5}}, row)
    assert outcome.status == "found"


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_neighbour_one_ulp_away_is_found(library: str) -> None:
    """Without a step the plan stops at the threshold or on the first float32 beyond it."""
    at = float(np.float32(0.3))
    beyond = float(np.nextafter(np.float32(0.3), np.float32(1)))
    window = [
        float(np.nextafter(np.float32(0.3), np.float32(0))),
        float(np.nextafter(np.float32(beyond), np.float32(1))),
    ]
    native = stumps(library, [Stump(0, at, 0.1, 0.9)], ["a"])
    feature = {"kind": "number", "min": window[0], "max": window[1]}
    outcome = solve(native, {"a": feature}, {"a": window[0]})
    assert after(outcome) == {"a": at if library in BELOW else beyond}


@pytest.mark.parametrize("library", LIBRARIES)
def test_integers_beyond_float32_are_told_apart_only_where_the_library_can(library: str) -> None:
    """16,777,217 is 16,777,216 in float32: the next value that moves a float32 model is 16,777,218."""
    native = stumps(library, [Stump(0, 16_777_216.0, 0.1, 0.9)], ["a"])
    feature = {"kind": "integer", "min": 16_777_210, "max": 16_777_230}
    outcome = solve(native, {"a": feature}, {"a": 16_777_212})
    wanted = {"xgboost": 16_777_216, "random_forest": 16_777_218}.get(library, 16_777_217)
    assert after(outcome) == {"a": wanted}


def test_zero_is_missing_where_lightgbm_was_told_so() -> None:
    """With zero_as_missing, 0 and all within 1e-35 of it go the default way, between its neighbours going the other."""
    rng = np.random.default_rng(0)
    values = rng.integers(-5, 6, 400).astype(float)
    frame = pd.DataFrame({"a": values, "b": rng.normal(size=400)})
    target = (values == 0).astype(int)
    native = Native(fit("lightgbm", frame, target, {}, n_estimators=5, num_leaves=4, zero_as_missing=True), ("a", "b"))
    features = {"a": {"kind": "integer", "min": -5, "max": 5}, "b": {"kind": "number", "role": "fixed"}}
    for start in (-4, 3):
        outcome = solve(native, features, {"a": start, "b": 0.1}, threshold=0.5)
        assert after(outcome) == {"a": 0}
    tiny = float(np.float32(9e-36))
    window = {"kind": "number", "min": float(np.float32(8.99999e-36)), "max": float(np.float32(9.00001e-36))}
    outcome = solve(native, {**features, "a": window}, {"a": 1.0, "b": 0.1}, threshold=0.5)
    assert outcome.status == "found"
    assert abs(after(outcome)["a"] - tiny) < 1e-40


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "hist_gradient_boosting", "random_forest"])
def test_a_missing_value_goes_the_native_way_and_stays(library: str) -> None:
    """The missing value is scored as the library scores it, and no plan fills it in."""
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 10, 300).astype(float), rng.integers(0, 10, 300).astype(float)
    target = (np.where(a > 5, 2, 0) + (b > 4) + rng.normal(0, 0.3, 300) > 1.2).astype(int)
    a[rng.random(300) < 0.3] = np.nan
    frame = pd.DataFrame({"a": a, "b": b})
    size = {"hist_gradient_boosting": {"max_iter": 6}, "lightgbm": {"n_estimators": 6}}
    native = Native(
        fit(library, frame, target, {}, **size.get(library, {"n_estimators": 6, "max_depth": 3})), ("a", "b")
    )
    features = {n: {"kind": "integer", "min": 0, "max": 9} for n in ("a", "b")}
    for threshold in (0.3, 0.5, 0.7):
        outcome = solve(native, features, {"a": None, "b": 1}, threshold=threshold)
        assert outcome.status != "found" or set(after(outcome)) == {"b"}


def test_hist_gradient_boosting_puts_its_categories_first() -> None:
    """A category behind two numbers: the plan changes the column it names."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "income": rng.integers(0, 10, 400).astype(float),
            "debts": rng.integers(0, 10, 400).astype(float),
            "housing": np.array(["rent", "own", "free"], dtype=object)[rng.integers(0, 3, 400)],
        }
    )
    target = ((frame["housing"] == "own") & (frame["income"] > 2)).astype(int).to_numpy()
    levels = {"housing": ("rent", "own", "free")}
    native = Native(fit("hist_gradient_boosting", frame, target, levels, max_iter=5), tuple(frame.columns), levels)
    features = {
        "income": {"kind": "integer", "min": 0, "max": 9},
        "debts": {"kind": "integer", "min": 0, "max": 9},
        "housing": {"kind": "category", "levels": list(levels["housing"])},
    }
    outcome = solve(native, features, {"income": 6, "debts": 2, "housing": "rent"}, threshold=0.5)
    assert after(outcome) == {"housing": "own"}


# --- what the libraries do with scores --------------------------------------------------------------------------------


@pytest.mark.parametrize("base_score", [None, 0.2, 0.9])
def test_base_score_is_part_of_the_score(base_score: float | None) -> None:
    """XGBoost's base_score, stored as a list in a string, moves every plan."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.integers(0, 20, 300).astype(float)})
    target = (frame["a"] + rng.normal(0, 4, 300) > 10).astype(int).to_numpy()
    settings = {} if base_score is None else {"base_score": base_score}
    native = Native(fit("xgboost", frame, target, {}, n_estimators=4, max_depth=2, **settings), ("a",))
    for start in (0, 5, 9):
        solve(native, {"a": {"kind": "integer", "min": 0, "max": 19}}, {"a": start}, threshold=0.7)


def test_a_native_tie_of_votes_is_approved() -> None:
    """Two of four trees vote for the applicant: the score is 0.5 exactly, and 0.5 reaches a threshold of 0.5."""
    trees = [Stump(0, 1.0, 0.0, 1.0), Stump(0, 2.0, 0.0, 1.0), Stump(0, 3.0, 0.0, 1.0), Stump(0, 4.0, 0.0, 1.0)]
    native = stumps("random_forest", trees, ["a"])
    feature = {"a": {"kind": "integer", "min": 0, "max": 9}}
    assert after(solve(native, feature, {"a": 0}, threshold=0.5)) == {"a": 3}
    assert after(solve(native, feature, {"a": 0}, threshold=math.nextafter(0.5, 1.0))) == {"a": 4}
    assert after(solve(native, feature, {"a": 0}, threshold=0.5, margin=0.25)) == {"a": 4}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_threshold_equal_to_a_native_score_is_reached(library: str) -> None:
    """The applicant's best point has the threshold's very score; one ulp more and no plan exists."""
    trees = [Stump(0, 1.5, 0.1, 0.17), Stump(1, 2.5, 0.2, 0.31), Stump(0, 3.5, 0.3, 0.37), Stump(1, 3.5, 0.13, 0.11)]
    native = stumps(library, trees, ["a", "b"])
    features = {n: {"kind": "integer", "min": 0, "max": 5} for n in ("a", "b")}
    grid = pd.DataFrame([{"a": float(a), "b": float(b)} for a in range(6) for b in range(6)])
    best = float(native(grid).max())
    assert solve(native, features, {"a": 0, "b": 0}, threshold=best).status == "found"
    outcome = solve(native, features, {"a": 0, "b": 0}, threshold=math.nextafter(best, 1.0))
    assert outcome.status == "none_exists"
    assert outcome.best_score is not None
    assert outcome.best_score.value == best


@pytest.mark.parametrize("trees", [3, 5, 6, 7])
def test_a_score_one_ulp_below_the_threshold_is_not_reached(trees: int) -> None:
    """The mean over trees is compared with the threshold itself: (t * n) / n may be less than t."""
    for k in range(1, 30):
        native = stumps("random_forest", [Stump(0, 5.0, k / 60, 0.95)] * trees, ["a"])
        threshold = math.nextafter(float(native(pd.DataFrame({"a": [0.0]}))[0]), 1.0)
        if threshold * trees / trees != threshold:
            outcome = solve(native, {"a": {"kind": "integer", "min": 0, "max": 9}}, {"a": 0}, threshold=threshold)
            assert after(outcome) == {"a": 6}


@pytest.mark.parametrize("library", LIBRARIES)
def test_sums_that_round_apart_are_told_apart(library: str) -> None:
    """Many points share a real sum but not a native one; the threshold stands between them."""
    leaves = [(0.1, 0.2), (0.2, 0.3), (0.3, 0.1), (0.7, 0.6), (0.05, 0.15), (0.15, 0.05)]
    trees = [Stump(i % 3, 1.5, *pair) for i, pair in enumerate(leaves)]
    native = stumps(library, trees, ["a", "b", "c"])
    features = {n: {"kind": "integer", "min": 0, "max": 3} for n in ("a", "b", "c")}
    grid = pd.DataFrame([{"a": float(a), "b": float(b), "c": float(c)} for a in (0, 2) for b in (0, 2) for c in (0, 2)])
    for threshold in np.unique(native(grid)):
        for start in grid.to_dict("records"):
            solve(native, features, start, threshold=float(threshold))


# --- what a policy's grid does ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_interval_without_a_grid_value_is_no_place_to_go(library: str) -> None:
    """Approval lies between 11 and 19, the grid counts in tens: no plan exists, and none is invented."""
    native = stumps(library, [Stump(0, 11.0, 0.0, 0.5), Stump(0, 19.0, 0.5, 0.0)], ["a"])
    threshold = float(native(pd.DataFrame({"a": [15.0]}))[0])
    fine = {"a": {"kind": "integer", "min": 0, "max": 50}}
    assert solve(native, fine, {"a": 0}, threshold=threshold).status == "found"
    coarse = {"a": {"kind": "integer", "min": 0, "max": 50, "step": 10}}
    assert solve(native, coarse, {"a": 0}, threshold=threshold).status == "none_exists"
    shifted = {"a": {"kind": "integer", "min": 0, "max": 50, "step": 10, "step_from": "applicant"}}
    assert after(solve(native, shifted, {"a": 3}, threshold=threshold)) == {"a": 13}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_plan_behind_an_empty_interval_is_found(library: str) -> None:
    """The interval that follows has no grid value, the one after it has: none_exists would be false."""
    native = stumps(library, [Stump(0, 11.0, 0.2, 0.3), Stump(0, 12.0, 0.2, 0.3), Stump(0, 28.0, 0.2, 0.3)], ["a"])
    threshold = float(native(pd.DataFrame({"a": [99.0]}))[0])
    feature = {"a": {"kind": "integer", "min": 0, "max": 50, "step": 9}}
    assert after(solve(native, feature, {"a": 0}, threshold=threshold)) == {"a": 36}


def test_an_interval_that_only_a_code_fills_is_empty() -> None:
    """The one grid value of the approving interval is a declared code, which is never a target."""
    native = stumps("xgboost", [Stump(0, 5.0, -1.0, 1.0), Stump(0, 6.0, 1.0, -1.0)], ["a"])
    free = {"a": {"kind": "integer", "min": 0, "max": 9}}
    assert after(solve(native, free, {"a": 2}, threshold=0.8)) == {"a": 5}
    coded = {"a": {"kind": "integer", "min": 0, "max": 9, "codes": {"5": "no record"}}}
    assert solve(native, coded, {"a": 2}, threshold=0.8).status == "none_exists"
    fine = {"a": {"kind": "number", "step": 0.5, "min": 0, "max": 9, "codes": {"5": "no record"}}}
    assert after(solve(native, fine, {"a": 2}, threshold=0.8)) == {"a": 5.5}


def test_an_applicant_with_a_code_keeps_it() -> None:
    """A coded value never moves, however cheap it would be."""
    native = stumps("xgboost", [Stump(0, 5.0, -1.0, 1.0), Stump(1, 5.0, -1.0, 1.0)], ["a", "b"])
    features = {
        "a": {"kind": "integer", "min": 0, "max": 9, "weight": 0.01, "codes": {"-9": "no record"}},
        "b": {"kind": "integer", "min": 0, "max": 9},
    }
    assert after(solve(native, features, {"a": -9, "b": 0}, threshold=0.5)) == {"b": 5}
    assert solve(native, features, {"a": -9, "b": 0}, threshold=0.8).status == "none_exists"


@pytest.mark.parametrize("library", ["lightgbm", "hist_gradient_boosting"])
def test_three_steps_of_a_tenth_are_three_tenths(library: str) -> None:
    """0.1 * 3 is 0.30000000000000004 in floats, which is above a threshold of 0.3; the grid's value is 0.3."""
    native = stumps(library, [Stump(0, 0.3, 0.9, 0.1)], ["a"])
    outcome = solve(native, {"a": {"kind": "number", "step": 0.1, "min": 0, "max": 1}}, {"a": 0.9})
    assert after(outcome) == {"a": 0.3}
    outcome = solve(
        native, {"a": {"kind": "number", "step": 0.1, "step_from": "applicant", "min": 0, "max": 2}}, {"a": 0.9}
    )
    assert after(outcome) == {"a": 0.3}


def test_the_largest_change_is_inclusive_and_exact() -> None:
    """0.8 - 0.7 is more than 0.1 in floats; the policy means decimals."""
    native = stumps("lightgbm", [Stump(0, 0.75, 0.1, 0.9)], ["a"])
    feature = {"kind": "number", "step": 0.1, "max_change": 0.1}
    assert after(solve(native, {"a": feature}, {"a": 0.7})) == {"a": 0.8}
    short = {"kind": "number", "step": 0.1, "max_change": 0.09}
    assert solve(native, {"a": short}, {"a": 0.7}).status == "none_exists"


@pytest.mark.parametrize(
    ("start", "percent", "at_least", "step", "wanted"),
    [
        (41_000.0, 10.0, 0.0, 100, 45_100.0),  # to the cent
        (0.3, 10.0, 0.0, 0.03, 0.33),  # 0.33 - 0.3 > 0.03 in floats
        (-50.0, 10.0, 0.0, 1, -45.0),  # of |start|
        (0.0, 10.0, 5.0, 1, 5.0),  # from 0 only at_least applies
        (10.0, 10.0, 5.0, 1, 15.0),  # the larger of both
        (33.0, 33.3, 0.0, 1, 43.0),  # 10.989: rounded inward to the grid
    ],
)
def test_percentages_are_of_the_start_inclusive_and_inward(
    start: float, percent: float, at_least: float, step: float, wanted: float
) -> None:
    """The furthest value within the percentage is allowed, the next is not."""
    feature = {"kind": "number", "step": step, "max_change": {"percent": percent, "at_least": at_least}}
    native = stumps("hist_gradient_boosting", [Stump(0, math.nextafter(wanted, -math.inf), 0.1, 0.9)], ["a"])
    assert after(solve(native, {"a": feature}, {"a": start})) == {"a": wanted}
    native = stumps("hist_gradient_boosting", [Stump(0, wanted, 0.1, 0.9)], ["a"])
    assert solve(native, {"a": feature}, {"a": start}).status == "none_exists"


def test_a_value_off_the_grid_may_stay() -> None:
    """Staying is a move off the grid and out of bounds; leaving means going to the grid."""
    native = stumps("xgboost", [Stump(0, 40_000.0, -1.0, 1.0), Stump(1, 5.0, -1.0, 1.0)], ["a", "b"])
    features = {
        "a": {"kind": "number", "step": 500, "min": 0, "max": 30_000, "weight": 1e-6},
        "b": {"kind": "integer", "min": 0, "max": 9},
    }
    assert after(solve(native, features, {"a": 41_230, "b": 0}, threshold=0.8)) == {"b": 5}
    features["a"] = {"kind": "number", "step": 500, "min": 0, "max": 60_000, "weight": 1e-6}
    assert after(solve(native, features, {"a": 31_230, "b": 9}, threshold=0.8)) == {"a": 40_000}
    native = stumps("xgboost", [Stump(0, 31_231.0, -1.0, 1.0)], ["a"])
    assert after(solve(native, {"a": features["a"]}, {"a": 31_230})) == {"a": 31_500}


def test_ties_are_broken_by_changes_then_by_the_last_feature() -> None:
    """Equal costs: fewer changes first, then the last policy feature stays, then up before down."""
    native = stumps("lightgbm", [Stump(j, 1.5, 0.0, 1.0) for j in range(3)], ["a", "b", "c"])
    names = ("a", "b", "c")
    features = {n: {"kind": "integer", "min": 0, "max": 4} for n in names}
    threshold = float(native(pd.DataFrame({n: [9.0 if n == "a" else 0.0] for n in names}))[0])
    for order in (("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a")):
        outcome = solve(native, {n: features[n] for n in order}, dict.fromkeys(names, 0), threshold=threshold)
        assert set(after(outcome)) == {order[0]}
    native = stumps("lightgbm", [Stump(0, 2.5, 0.9, 0.1), Stump(0, 5.5, 0.1, 0.9)], ["a"])
    threshold = float(native(pd.DataFrame({"a": [2.0]}))[0])
    assert after(solve(native, {"a": features["a"] | {"max": 9}}, {"a": 4}, threshold=threshold)) == {"a": 6}


def test_a_free_change_is_still_a_change() -> None:
    """With weight 0 and no price per change a plan may cost nothing, yet names its change and nothing more."""
    native = stumps("lightgbm", [Stump(0, 1.5, 0.1, 0.9)], ["a", "b"])
    features = {n: {"kind": "integer", "min": 0, "max": 4, "weight": 0.0} for n in ("a", "b")}
    outcome = solve(native, features, {"a": 0, "b": 0}, per_change=0.0)
    assert outcome.plans[0].cost == 0.0
    assert after(outcome) == {"a": 2}


def test_a_category_code_is_not_a_level_position() -> None:
    """The library's codes follow its own order of levels, the policy lists them otherwise."""
    rng = np.random.default_rng(2)
    words = np.array(["tent", "rent", "own", "free"], dtype=object)[rng.integers(0, 4, 400)]
    frame = pd.DataFrame({"housing": words, "a": rng.normal(size=400)})
    target = (words == "own").astype(int)
    for library in ("xgboost", "lightgbm", "hist_gradient_boosting"):
        levels = {"housing": ("own", "tent", "free", "rent")}
        size = {"max_iter": 4} if library == "hist_gradient_boosting" else {"n_estimators": 4}
        native = Native(fit(library, frame, target, levels, **size), ("housing", "a"), levels)
        features = {
            "housing": {
                "kind": "category",
                "levels": ["rent", "free", "own", "tent"],
                "moves": {"rent": ["own", "tent"]},
            },
            "a": {"kind": "number", "role": "fixed"},
        }
        assert after(solve(native, features, {"housing": "rent", "a": 0.0}, threshold=0.5)) == {"housing": "own"}
        assert solve(native, features, {"housing": "free", "a": 0.0}, threshold=0.5).status == "none_exists"


def test_a_level_the_model_never_saw_is_no_target() -> None:
    """HistGradientBoosting knows only the levels of its training rows; a plan to another one could not be scored."""
    rng = np.random.default_rng(2)
    words = np.array(["rent", "own"], dtype=object)[rng.integers(0, 2, 200)]
    frame = pd.DataFrame({"housing": words})
    native = Native(
        fit("hist_gradient_boosting", frame, (words == "own").astype(int), {"housing": ("rent", "own")}, max_iter=2),
        ("housing",),
        {"housing": ("rent", "own")},
    )
    feature = {"housing": {"kind": "category", "levels": ["rent", "tent", "own"], "move_cost": {"rent": {"tent": 0.1}}}}
    policy = Policy.model_validate({"decision": {"threshold": 0.5}, "cost": {"unit": "raw"}, "features": feature})
    outcome = Finder(native.estimator, policy, frame).find({"housing": "rent"})
    assert after(outcome) == {"housing": "own"}
