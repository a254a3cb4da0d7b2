"""What blocks a plan: minimal, verified by search, in the policy's words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

from recourse import Finder, Policy
from recourse.errors import InputError
from recourse.obstacles import Relaxations, blocking, relaxed

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({name: RNG.integers(0, top, 600) for name, top in (("income", 101), ("debt", 21), ("tenure", 11))})
FRAME["age"] = RNG.integers(20, 70, 600)
TARGET = ((FRAME["income"] >= 35) & (FRAME["debt"] <= 5) & (FRAME["tenure"] >= 5)).astype(int)


def finder(depth: int | None = None, **said: Any) -> Finder:
    """Three columns decide; each has constraints of its own."""
    features: dict[str, Any] = {
        "income": {"kind": "integer", "change": "up", "min": 0, "max": 100},
        "debt": {"kind": "integer", "change": "down", "min": 0, "max": 20},
        "tenure": {"kind": "integer", "role": "fixed"},
        "age": {"kind": "integer", "role": "protected"},
    }
    for name, part in said.pop("features", {}).items():
        features[name] = {**features[name], **part}
    policy = {"decision": {"threshold": 0.5}, "cost": {"unit": "raw"}, "features": features, **said}
    return Finder(DecisionTreeClassifier(max_depth=depth, random_state=0).fit(FRAME, TARGET), policy, FRAME)


def test_the_only_constraint_in_the_way_is_named_with_its_price() -> None:
    """One constraint blocks: it alone is named, and the plan without it costs what is said."""
    one = finder()
    row = {"income": 20, "debt": 3, "tenure": 2, "age": 40}
    assert one.find(row).status == "none_exists"
    found = blocking(one, row)
    assert [(c.kind, c.name) for c in found.constraints] == [("role", "tenure")]
    assert found.proven
    assert found.cheapest is not None
    assert found.cost == found.cheapest.cost
    free = Finder(one.model, relaxed(one.policy, found.constraints, one.population), one.population)
    plan = free.find(row).plan
    assert plan is not None
    assert plan.cost == found.cost


def test_several_constraints_are_minimal() -> None:
    """Where no single one is enough, with all of them dropped a plan exists, and with any one kept none does."""
    one = finder(features={"income": {"max": 30}})
    row = {"income": 20, "debt": 3, "tenure": 2, "age": 40}
    found = blocking(one, row)
    assert found.cheapest is None
    assert {(c.kind, c.name) for c in found.constraints} == {("role", "tenure"), ("max", "income")}
    for kept in found.constraints:
        rest = [c for c in found.constraints if c is not kept]
        policy = relaxed(one.policy, rest, one.population)
        assert Finder(one.model, policy, one.population).find(row).status == "none_exists"


def test_the_model_itself_may_block() -> None:
    """Where nothing at all is approved, no constraint is blamed."""
    one = finder(depth=1, decision={"threshold": 0.9})
    found = blocking(one, {"income": 20, "debt": 3, "tenure": 2, "age": 40})
    assert found.to_dict() == {"model": True, "proven": True}


def test_rules_changes_and_knockouts_are_constraints() -> None:
    """A rule, a limit on the number of changes and a knock-out are named as the policy writes them."""
    row = {"income": 20, "debt": 9, "tenure": 8, "age": 40}
    ruled = finder(rules=[{"require": "income <= start.income + 5"}])
    assert [c.to_dict() for c in blocking(ruled, row).constraints] == [
        {"constraint": "rule", "of": "income <= start.income + 5", "says": "income <= start.income + 5"}
    ]
    few = finder(cost={"unit": "raw", "max_changes": 1})
    assert str(blocking(few, row)) == "at most 1 changes"
    denied = finder(decision={"threshold": 0.5, "knockouts": [{"name": "thin", "deny_when": "tenure >= 7"}]})
    assert "thin: denied when tenure >= 7" in {str(c) for c in blocking(denied, row).constraints}


def test_a_protected_feature_is_neither_freed_nor_named() -> None:
    """What reads a protected feature is spoken of without its name, and its value never changes."""
    row = {"income": 20, "debt": 3, "tenure": 8, "age": 40}
    one = finder(rules=[{"name": "about age", "when": "age > 30", "then": "income < 30"}])
    found = blocking(one, row)
    text = f"{found} {found.to_dict()} {found!r}"
    assert "age" not in text.replace("a rule about a protected feature", "")
    assert [c.says for c in found.constraints] == ["a rule about a protected feature"]


def test_who_has_a_plan_is_blocked_by_nothing() -> None:
    """Asking for what blocks an applicant with a plan is the caller's mistake."""
    with pytest.raises(InputError, match="a plan exists"):
        blocking(finder(), {"income": 20, "debt": 3, "tenure": 8, "age": 40})


def test_relaxing_everything_is_a_policy() -> None:
    """Every constraint that is offered can be dropped, alone and together."""
    one = finder(rules=[{"require": "debt <= income"}], cost={"unit": "raw", "max_changes": 2})
    relaxations = Relaxations(one)
    assert len(relaxations._able) == len(relaxations._constraints)
    assert isinstance(relaxed(one.policy, relaxations._constraints, one.population, ended=True), Policy)
