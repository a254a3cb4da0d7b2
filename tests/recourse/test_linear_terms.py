"""Plans for models with bins, levels, curves and pairs are those of the enumeration."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recourse import Finder
from recourse.linear import LinearSearch
from recourse.models.additive import Additive, Axis, Pair, Term
from recourse.models.base import Column, Model

COLUMNS = (Column("a"), Column("b"), Column("c", ("x", "y", "z")), Column("d"))
VALUES: tuple[list[Any], ...] = (list(range(6)), list(range(6)), ["x", "y", "z"], list(range(6)))


def model(core: Additive) -> Model:
    """Return a core as its own native library."""
    return Model(
        name="additive", core=core, score=core.evaluate, raw=core.evaluate, squash=lambda r: r, sha256="sha256:0"
    )


def halves(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-3, 4, shape) / 2


def some_core(rng: np.random.Generator) -> Additive:
    """Return terms of every kind, alone and together, and pairs of any columns."""
    terms = [Term(2, levels=halves(rng, 3), missing=-1.0)]
    for j in (0, 1, 3):
        kind = rng.integers(0, 4)
        if kind > 0:
            edges = np.sort(rng.choice(np.arange(-1, 7), 3, replace=False)).astype(float)
            terms.append(Term(j, edges=edges, values=halves(rng, 4), missing=0.5))
        if kind in (0, 2):
            terms.append(Term(j, weight=float(halves(rng, 1)[0]), missing=0.0))
        if kind == 3:
            curve = [np.tanh, np.cbrt][int(rng.integers(2))]
            terms.append(Term(j, weight=float(halves(rng, 1)[0]), curve=curve, missing=0.0))
    pairs = []
    for first, second in itertools.combinations(range(4), 2):
        if rng.random() < 0.4:
            one, two = some_axis(rng, first), some_axis(rng, second)
            pairs.append(Pair(one, two, halves(rng, one.missing + 1, two.missing + 1)))
    return Additive(COLUMNS, 0.0, tuple(terms), tuple(pairs))


def some_axis(rng: np.random.Generator, j: int) -> Axis:
    if j == 2:
        return Axis(2, levels=rng.integers(0, 2, 3), missing=2)
    return Axis(j, edges=np.sort(rng.choice(np.arange(6), 2, replace=False)).astype(float), missing=3)


@given(st.integers(0, 2**31), st.integers(1, 3))
@settings(max_examples=60)
def test_plans_are_those_of_the_enumeration(seed: int, limit: int) -> None:
    """Cost, changes, ties and the best score of none are those of all 648 points, whatever the terms and pairs."""
    rng = np.random.default_rng(seed)
    core = some_core(rng)
    ways = {name: str(rng.choice(["any", "up", "down"])) for name in "abd"}
    grid = {name: {"kind": "integer", "min": 0, "max": 5, "change": way} for name, way in ways.items()}
    start = [VALUES[j][int(rng.integers(len(VALUES[j])))] for j in range(4)]
    row = np.array([float(VALUES[j].index(v)) for j, v in enumerate(start)])
    threshold = float(core.evaluate(row[None])[0]) + int(rng.integers(1, 8)) / 2
    policy = {
        "decision": {"threshold": threshold, "score": "decision_function"},
        "cost": {"unit": "raw", "per_change": 0.3, "max_changes": limit},
        "features": grid | {"c": {"kind": "category", "levels": ["x", "y", "z"]}},
    }
    policy["features"] = {name: policy["features"][name] for name in "abcd"}
    outcome = Finder(model(core), policy).find(dict(zip("abcd", start, strict=True)))
    plans, best = [], -np.inf
    for point in itertools.product(range(6), range(6), range(3), range(6)):
        moves = np.array(point) - row
        apart = {name: moves["abcd".index(name)] for name in "abd"}
        wrong = any(m * {"up": -1, "down": 1, "any": 0}[ways[name]] > 0 for name, m in apart.items())
        changes = int(np.count_nonzero(moves))
        if wrong or changes > limit:
            continue
        score = float(core.evaluate(np.array([point], dtype=float))[0])
        best = max(best, score)
        if score >= threshold:
            sizes = [1.0 if j == 2 and m else abs(m) for j, m in enumerate(moves)]
            cost = sum(round(1e6 * (size + 0.3)) for size in sizes if size)
            ranks = [2 * abs(m) - (m > 0) for m in moves]
            far = [t for t in range(3) if t != row[2]]  # levels by distance, up before down
            far.sort(key=lambda t: (abs(t - row[2]), t < row[2]))
            ranks[2] = 0 if moves[2] == 0 else far.index(point[2]) + 1
            plans.append((cost, changes, ranks[::-1], point))
    if not plans:
        assert outcome.status == "none_exists"
        assert outcome.best_score is not None
        assert outcome.best_score.value <= best + 1e-9
        assert outcome.best_score.bound >= best - 1e-9
        return
    cost, changes, _, point = min(plans)
    assert outcome.status == "found"
    (plan,) = outcome.plans
    assert plan.certificate.proven
    assert (round(plan.cost * 1e6), len(plan.changes)) == (cost, changes)
    assert [plan.row[name] for name in "abcd"] == [VALUES[j][p] for j, p in enumerate(point)]


def test_a_binned_number_without_a_step_takes_the_nearest_number_of_each_bin() -> None:
    """Without a grid the plan stops at the first float32 of a bin."""
    term = Term(0, edges=np.array([10.0, 20.5]), values=np.array([0.0, 1.0, 2.0]))
    policy = {
        "decision": {"threshold": 2.0, "score": "decision_function"},
        "cost": {"unit": "raw"},
        "features": {"a": {"kind": "number"}},
    }
    outcome = Finder(model(Additive((Column("a"),), 0.0, (term,))), policy).find({"a": 3.25})
    assert outcome.plans[0].row == {"a": 20.5}


def test_a_code_in_the_middle_of_numbers_is_a_bin_of_its_own() -> None:
    """A plan steps over a declared code that would score best, and a start at a code stays there."""
    edges = np.array([-9.0, np.nextafter(-9.0, 0.0), 5.0])
    core = Additive((Column("a"),), 0.0, (Term(0, edges=edges, values=np.array([0.0, 9.0, 1.0, 2.0])),))
    feature = {"kind": "integer", "codes": {"-9": "no record"}, "min": -20, "max": 20}
    policy = {
        "decision": {"threshold": 2.0, "score": "decision_function"},
        "cost": {"unit": "raw"},
        "features": {"a": feature},
    }
    finder = Finder(model(core), policy)
    assert finder.find({"a": -12}).plans[0].row == {"a": 5}
    assert finder.find({"a": -9}).status == "already_approved"


@pytest.mark.parametrize("far", [50.0, 1.5e5])
def test_a_curve_is_followed_as_far_as_needed(far: float) -> None:
    """With a wide grid the first value that suffices is found without looking at all of them."""
    core = Additive((Column("a"),), 0.0, (Term(0, weight=1.0, curve=np.cbrt),))
    policy = {
        "decision": {"threshold": float(np.cbrt(far)), "score": "decision_function"},
        "cost": {"unit": "raw"},
        "features": {"a": {"kind": "integer", "max": 1_000_000}},
    }
    outcome = Finder(model(core), policy).find({"a": 1})
    assert outcome.plans[0].row == {"a": int(far)}


def test_the_search_for_sums_is_the_one_used() -> None:
    """A plain policy with an additive model goes through the knapsack, not through trees."""
    core = Additive((Column("a"),), 0.0, (Term(0, edges=np.array([1.0]), values=np.array([0.0, 1.0])),))
    policy = {
        "decision": {"threshold": 1.0, "score": "decision_function"},
        "cost": {"unit": "raw"},
        "features": {"a": {"kind": "integer"}},
    }
    search = Finder(model(core), policy)._search
    assert isinstance(getattr(search, "_search", search), LinearSearch)


def test_levels_that_are_numbers_are_told_apart() -> None:
    """Without thresholds no two levels are the same to a linear model: a step up the ladder is a move."""
    policy = {
        "decision": {"threshold": 3.0, "score": "decision_function"},
        "cost": {"unit": "raw"},
        "features": {"a": {"kind": "ordinal", "levels": [0, 1, 3, 5]}},
    }
    core = Additive.linear((Column("a"),), np.array([1.0]), 0.0)
    assert Finder(model(core), policy).find({"a": 0}).plans[0].row == {"a": 3}
