"""What must hold of outcomes whatever the model: order, threads, metric bounds, monotony, honest budgets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recourse import Finder, Policy, Population
from recourse.finder import Budget
from tests import naive
from tests.agreement import raw_frame
from tests.native import Native
from tests.strategies import LINEAR, TREES, Case, cases, fit


@given(case=cases((*TREES, *LINEAR), n_rows=6), data=st.data())
@settings(max_examples=30)
def test_neither_order_nor_threads_change_an_outcome(case: Case, data: st.DataObject) -> None:
    """Shuffled rows and columns, one row alone, one thread or three: the same outcome, nodes included."""
    finder = Finder(case.native.estimator, case.policy, case.population)
    frame = raw_frame(case.rows, case.native)
    told = [o.to_dict() for o in finder.find_many(frame, threads=1)]
    assert [o.to_dict() for o in finder.find_many(frame, threads=3)] == told
    rows = data.draw(st.permutations(range(len(frame))))
    names = data.draw(st.permutations(list(frame.columns)))
    shuffled = {o.id: o.to_dict() for o in finder.find_many(frame.iloc[list(rows)][list(names)], threads=2)}
    assert [shuffled[o["id"]] for o in told] == told
    assert finder.find(case.rows[0]).to_dict() | {"id": "0"} == told[0]


@given(case=cases((*TREES, *LINEAR)), data=st.data())
@settings(max_examples=30)
def test_the_order_of_policy_features_decides_only_between_equals(case: Case, data: st.DataObject) -> None:
    """A permuted policy gives the same statuses and costs."""
    names = data.draw(st.permutations(list(case.policy.features)))
    words = case.policy.model_dump(exclude_none=True)
    permuted = Policy.model_validate(words | {"features": {n: words["features"][n] for n in names}})
    frame = raw_frame(case.rows, case.native)
    one = list(Finder(case.native.estimator, case.policy, case.population).find_many(frame))
    two = list(Finder(case.native.estimator, permuted, case.population).find_many(frame))
    assert [(o.status, o.plans and o.plans[0].cost) for o in one] == [
        (o.status, o.plans and o.plans[0].cost) for o in two
    ]


@given(case=cases(TREES), nodes=st.sampled_from([1, 2, 3, 5, 10, 30]))
def test_a_small_budget_is_honest(case: Case, nodes: int) -> None:
    """Whatever the budget: bound <= optimum <= cost, and nothing is called proven that is not so."""
    finder = Finder(case.native.estimator, case.policy, case.population, budget=Budget(nodes=nodes))
    for row, outcome in zip(case.rows, finder.find_many(raw_frame(case.rows, case.native))):
        try:
            answer = case.solve(row)
        except naive.TooLarge:
            continue
        if outcome.status in ("already_approved", "none_exists"):
            assert outcome.status == answer.status
        if outcome.status == "none_exists":
            assert outcome.best_score is None or outcome.best_score.value <= answer.best <= outcome.best_score.bound
        if outcome.status == "none_found":
            assert outcome.certificate is not None
            assert answer.cost is None or outcome.certificate.bound <= answer.cost / 1e6
        if outcome.status == "found":
            certificate = outcome.plans[0].certificate
            assert answer.cost is not None
            assert certificate.bound <= answer.cost / 1e6 <= certificate.cost
            assert not certificate.proven or certificate.cost == answer.cost / 1e6


@given(case=cases((*TREES, *LINEAR)), data=st.data())
@settings(max_examples=30)
def test_asking_for_more_never_costs_less(case: Case, data: st.DataObject) -> None:
    """A higher threshold or fewer changes never make the optimum cheaper, or possible."""
    words = case.policy.model_dump(exclude_none=True)
    tighter = {**words, "cost": {**words["cost"], "max_changes": 1}}
    frame = raw_frame(case.rows, case.native)
    finder = Finder(case.native.estimator, case.policy, case.population)
    base = case.policy.decision.threshold
    higher = min(
        base + data.draw(st.sampled_from([0.0, 0.01, 0.1])), 0.999 if case.native.score == "probability" else 1e9
    )
    plain = [_cost(o) for o in finder.find_many(frame)]
    for other in (
        [_cost(o) for o in finder.find_many(frame, thresholds=np.full(len(frame), max(base, higher)))],
        [
            _cost(o)
            for o in Finder(case.native.estimator, Policy.model_validate(tighter), case.population).find_many(frame)
        ],
    ):
        assert all(a <= b for a, b in zip(plain, other)), (plain, other)


def _cost(outcome) -> float:
    if outcome.status == "already_approved":
        return 0.0
    return outcome.plans[0].cost if outcome.plans else float("inf")


@pytest.mark.parametrize("library", TREES)
@given(seed=st.integers(0, 2**16), per_change=st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=8)
def test_the_minimal_cost_is_lipschitz_on_a_shared_grid(library: str, seed: int, per_change: float) -> None:
    """Where all may go anywhere at symmetric prices, two applicants' costs differ by no more than their distance."""
    rng = np.random.default_rng(seed)
    names = ["a", "b", "c", "d"]
    frame = pd.DataFrame({n: rng.integers(0, 12, 200).astype(float) for n in names})
    merit = frame.to_numpy() @ rng.normal(size=4) + rng.normal(0, 3, 200)
    size = {"hist_gradient_boosting": {"max_iter": 12, "max_leaf_nodes": 8}, "decision_tree": {"max_depth": 6}}
    model = fit(
        library, frame, (merit > np.quantile(merit, 0.7)).astype(int), {}, **size.get(library, {"n_estimators": 12})
    )
    native = Native(model, tuple(names))
    weights = dict(zip(names, rng.uniform(0.2, 3.0, 4).round(3).tolist()))
    policy = Policy.model_validate(
        {
            "decision": {"threshold": 0.6},
            "cost": {"unit": "mad", "per_change": per_change},
            "features": {n: {"kind": "integer", "min": 0, "max": 11, "weight": weights[n]} for n in names},
        }
    )
    population = Population.from_frame(frame, policy)
    people = frame.iloc[:30]
    outcomes = list(Finder(native.estimator, policy, population).find_many(people))
    assert all(o.status == "already_approved" or not o.plans or o.plans[0].certificate.proven for o in outcomes)
    costs = np.array([_cost(o) for o in outcomes])
    assert np.isfinite(costs).all() or np.isinf(costs).all()
    if np.isfinite(costs).all():
        values = people.to_numpy()
        scale = np.array([weights[n] / population.unit(n, "mad") for n in names])
        apart = np.abs(values[:, None] - values[None])
        distance = (apart * scale).sum(-1) + per_change * (apart > 0).sum(-1)
        # prices are whole micro-units: each of four features is rounded on either side and along the way
        assert (np.abs(costs[:, None] - costs[None]) <= distance + 4 * 1.5e-6).all()
