"""Plans of linear models: what only they have, grids without an end and scores that rounding decides."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from recourse import Finder
from recourse.errors import PolicyError


def model(weights: list[float], intercept: float = 0.0) -> LogisticRegression:
    """Return a fitted classifier with these weights for columns a, b, c, ..."""
    names = list("abcdef"[: len(weights)])
    frame = pd.DataFrame(np.eye(len(weights) + 1)[:, : len(weights)], columns=names)
    fitted = LogisticRegression().fit(frame, np.arange(len(frame)) % 2)
    fitted.coef_, fitted.intercept_ = np.array([weights]), np.array([intercept])
    return fitted


def finder(fitted: LogisticRegression, threshold: float, *, limit: int | None = None, **features: Any) -> Finder:
    """Return a finder on raw units with a small charge for each change."""
    names = [str(name) for name in fitted.feature_names_in_]
    policy = {
        "decision": {"score": "decision_function", "threshold": threshold},
        "cost": {"unit": "raw", "per_change": 0.01} | ({} if limit is None else {"max_changes": limit}),
        "features": {name: {"kind": "number", "step": 1, **features.get(name, {})} for name in names},
    }
    return Finder(fitted, policy, pd.DataFrame({name: [0.0, 1.0] for name in names}))


def test_a_grid_without_an_end_is_followed_as_far_as_needed() -> None:
    """Without bounds the plan goes as far as it must, and no further."""
    outcome = finder(model([0.25, 0.1]), 100.0).find({"a": 3.0, "b": 0.0})
    assert outcome.status == "found"
    (plan,) = outcome.plans
    assert [(c.feature, c.after) for c in plan.changes] == [("a", 400.0)]
    assert plan.certificate.proven


def test_a_grid_too_fine_to_list_is_refused_by_name() -> None:
    """Millions of steps to approval are an error that names the feature and the remedy."""
    with pytest.raises(PolicyError, match=r"features\.a: .*coarser step"):
        finder(model([1e-7, 0.0]), 100.0).find({"a": 0.0, "b": 0.0})


def test_a_direction_that_helps_no_one_is_no_plan() -> None:
    """A feature that may only move away from approval stays, and the best score is the row's own."""
    outcome = finder(model([1.0]), 5.0, a={"change": "down"}).find({"a": 2.0})
    assert outcome.status == "none_exists"
    assert outcome.certificate is not None
    assert outcome.certificate.proven
    assert outcome.best_score is not None
    assert (outcome.best_score.value, outcome.best_score.proven) == (2.0, True)


@given(
    st.lists(st.integers(-3, 3), min_size=2, max_size=3),
    st.integers(1, 12),
    st.integers(1, 3),
    st.data(),
)
def test_scores_exactly_on_the_threshold_are_decided_by_the_library(
    tenths: list[int], far: int, limit: int, data: st.DataObject
) -> None:
    """With weights in tenths many plans lie on the threshold; the first that the library approves is found."""
    fitted = model([t / 10 for t in tenths])
    names = [str(name) for name in fitted.feature_names_in_]
    start = [float(data.draw(st.integers(0, 4))) for _ in names]
    at = float(fitted.decision_function(pd.DataFrame([start], columns=names))[0])
    threshold = at + far / 10
    search = finder(fitted, threshold, limit=limit, **{name: {"min": 0, "max": 4} for name in names})
    outcome = search.find(dict(zip(names, start, strict=True)))
    best = None
    for point in itertools.product(range(5), repeat=len(names)):
        moves = [abs(p - s) for p, s in zip(point, start, strict=True)]
        changes = sum(m > 0 for m in moves)
        if changes > limit:
            continue
        score = float(fitted.decision_function(pd.DataFrame([[float(p) for p in point]], columns=names))[0])
        if score >= threshold:
            # a feature's ranks: stay, one up, one down, two up, ...
            ranks = [2 * m - (p > s) for m, p, s in zip(moves, point, start, strict=True)]
            key = (round(1e6 * (sum(moves) + 0.01 * changes)), changes, ranks[::-1], point)
            best = key if best is None else min(best, key)
    if best is None:
        assert outcome.status == "none_exists"
        return
    assert outcome.status == "found"
    (plan,) = outcome.plans
    assert round(plan.cost * 1e6) == best[0]
    assert tuple(plan.row[name] for name in names) == best[3]


def test_threads_do_not_change_an_outcome() -> None:
    """Outcomes are the same on one thread and on two."""
    rng = np.random.default_rng(0)
    search = finder(model([0.3, -0.2, 0.15, 0.05]), 4.0, **{n: {"min": -20, "max": 20} for n in "abcd"})
    frame = pd.DataFrame(rng.integers(-10, 10, size=(80, 4)).astype(float), columns=list("abcd"))
    one = [o.to_dict() for o in search.find_many(frame, threads=1, progress=False)]
    two = [o.to_dict() for o in search.find_many(frame, threads=2, progress=False)]
    assert one == two
    assert {o["status"] for o in one} == {"found", "already_approved"}
