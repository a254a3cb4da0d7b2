"""The four frozen instances: every status and every cost is the one that was proven before."""

from __future__ import annotations

from pathlib import Path

import pytest

from recourse import Finder
from recourse.finder import Budget
from tests import cpsat, frozen
from tests.agreement import faults
from tests.native import Native

# Applicants in the fast suite; the rest is for `-m deep`.
FEW = {"100x6-policy": 100, "100x6-free": 25, "500x6-policy": 20, "500x6-free": 6}


@pytest.mark.parametrize("name", frozen.NAMES)
def test_costs_are_the_proven_ones(name: str, instances: Path, data_dir) -> None:
    """The first applicants of each instance."""
    compare(frozen.read(name, instances, data_dir("heloc")), FEW[name])


@pytest.mark.deep
@pytest.mark.parametrize("name", frozen.NAMES)
def test_costs_of_all_applicants_are_the_proven_ones(name: str, instances: Path, data_dir) -> None:
    """All hundred applicants of each instance."""
    compare(frozen.read(name, instances, data_dir("heloc")), 100)


def compare(instance: frozen.Instance, n: int) -> None:
    """Solve the first applicants: what both prove is equal, and what one leaves open contradicts nothing."""
    finder = Finder(instance.model, instance.policy, instance.population, budget=Budget(nodes=400_000))
    frame, told = instance.frame.head(n), instance.told.head(n)
    outcomes = list(finder.find_many(frame))
    wrong, closed = [], 0
    for (_, row), outcome, known in zip(frame.iterrows(), outcomes, told.itertuples()):
        assert not faults(outcome, row, finder.model, instance.policy, instance.population)
        if known.status == "open" or outcome.status == "none_found":
            continue
        plan = outcome.plans[0] if outcome.plans else None
        if outcome.status != known.status:
            wrong.append((known, outcome))
        elif plan is not None:
            proven = plan.certificate.proven
            closed += proven
            lower, upper = plan.certificate.bound - 1e-5, plan.cost + 1e-5
            if not lower <= known.cost <= upper or (proven and abs(plan.cost - known.cost) > 1e-5):
                wrong.append((known, outcome))
        else:
            closed += 1
    assert not wrong, wrong[:3]
    assert closed >= 0.95 * n


@pytest.mark.deep
def test_cpsat_agrees_on_a_frozen_instance(instances: Path, data_dir) -> None:
    """The proven costs are CP-SAT's too, where applicants are bound by a policy."""
    from xgboost import XGBClassifier

    instance = frozen.read("100x6-policy", instances, data_dir("heloc"))
    estimator = XGBClassifier(n_jobs=1)
    estimator.load_model(instance.model)
    native = Native(estimator, tuple(instance.frame.columns))
    ensemble = cpsat.read(native, instance.frame)
    for (_, row), known in zip(instance.frame.head(20).iterrows(), instance.told.itertuples()):
        told = cpsat.solve(ensemble, instance.policy, instance.population, row.to_dict(), seconds=60)
        assert told.cost is None or told.cost >= known.cost * 1e6 - 10
        assert told.bound <= known.cost * 1e6 + 10
