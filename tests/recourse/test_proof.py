"""Proofs: those that are written are followed to the end, and none that was tampered with is believed."""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from recourse import Finder
from recourse.plan import Outcome
from recourse.proof import follow, prove
from tests.strategies_language import World, frame_of, worlds

POLICY: dict[str, Any] = {
    "decision": {"threshold": 0.5},
    "cost": {"unit": "raw", "per_change": 0.1, "max_changes": 3},
    "time": {"horizon": 6, "cost_per_month": 0.5},
    "features": {
        "income": {"kind": "integer", "change": "up", "min": 0, "max": 100, "weight": 0.1},
        "debt": {"kind": "integer", "change": "down", "min": 0, "max": 30, "weight": 0.2},
        "ratio": {"kind": "number", "role": "derived", "value": "debt / income"},
        "months": {"kind": "integer", "role": "fixed", "tick": 1},
        "housing": {"kind": "category", "levels": ["rent", "own", "free"], "moves": {"rent": ["own"]}},
        "age": {"kind": "integer", "role": "protected"},
    },
    "rules": [{"require": "income <= start.income + 4 * wait + 30"}],
}


def data(n: int = 400) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows in which several columns decide together."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "income": rng.integers(5, 101, n),
            "debt": rng.integers(0, 31, n),
            "months": rng.integers(0, 25, n),
            "housing": pd.Categorical(rng.choice(["rent", "own", "free"], n), categories=["rent", "own", "free"]),
            "age": rng.integers(20, 70, n),
        }
    )
    frame.insert(2, "ratio", frame["debt"] / frame["income"])
    merit = frame["income"] / 30 - 2 * frame["ratio"] + frame["months"] / 12 + (frame["housing"] == "own")
    return frame, (merit + rng.logistic(0, 0.3, n) > 3.2).to_numpy().astype(int)


@pytest.fixture(scope="module")
def desk() -> tuple[Finder, pd.DataFrame]:
    """A boosted model, and its refused applicants."""
    from xgboost import XGBClassifier

    frame, target = data()
    model = XGBClassifier(n_estimators=12, max_depth=3, enable_categorical=True, n_jobs=1, random_state=0)
    model.fit(frame, target)
    finder = Finder(model, POLICY, frame)
    refused = frame[model.predict_proba(frame)[:, 1] < 0.5]
    return finder, refused.iloc[:12]


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(frame.columns, values, strict=True)) for values in frame.itertuples(index=False, name=None)]


def followed(finder: Finder, row: dict[str, Any], outcome: Outcome, proof: dict[str, Any]) -> tuple[str, ...]:
    return follow(
        json.loads(json.dumps(proof)),
        outcome,
        row,
        finder.model,
        finder.policy,
        finder.population,
        also_approve=finder.also_approve,
        plausibility=finder.plausibility,
        box_steps=finder.box_steps,
    )


def proven(finder: Finder, row: dict[str, Any], outcome: Outcome, most_boxes: int = 20_000) -> dict[str, Any]:
    return prove(
        outcome,
        row,
        finder.model,
        finder.policy,
        finder.population,
        also_approve=finder.also_approve,
        plausibility=finder.plausibility,
        box_steps=finder.box_steps,
        most_boxes=most_boxes,
    )


def test_every_outcome_has_a_proof_that_holds(desk: tuple[Finder, pd.DataFrame]) -> None:
    """Plans and their absence, under rules, a ratio, a clock and waiting, are proven and followed."""
    finder, refused = desk
    kinds = set()
    for row, outcome in zip(rows(refused), finder.find_many(refused, threads=1), strict=True):
        proof = proven(finder, row, outcome)
        assert proof["finished"]
        assert followed(finder, row, outcome, proof) == ()
        kinds |= {node["closed"] for part in proof["parts"] for node in part["nodes"] if "closed" in node}
    assert {"cost", "bound"} <= kinds


@pytest.mark.parametrize("shape", ["box", "orthant"])
def test_plans_of_a_shape_are_proven_by_rows_that_are_refused(shape: str) -> None:
    """Cheaper points whose region holds a refused row are closed by that row."""
    from xgboost import XGBClassifier

    frame, target = data()
    model = XGBClassifier(n_estimators=6, max_depth=3, enable_categorical=True, n_jobs=1, random_state=0)
    model.fit(frame, target)
    finder = Finder(model, POLICY, frame, shape=shape, box_steps=3)
    refused = frame[model.predict_proba(frame)[:, 1] < 0.5].iloc[:6]
    for row, outcome in zip(rows(refused), finder.find_many(refused, threads=1), strict=True):
        proof = proven(finder, row, outcome)
        assert followed(finder, row, outcome, proof) in ((), (f"unfinished: {proof['open']:,} boxes were left open",))
        assert proof["finished"]


@given(world=worlds())
@settings(max_examples=15)
def test_worlds_are_proven(world: World) -> None:
    """Whatever the policy says, a proof is written that holds (or says that it is unfinished)."""
    asked = world.asked
    finder = Finder(
        world.native.estimator,
        world.policy,
        world.population,
        shape=asked.shape,
        box_steps=asked.box_steps,
        plans=asked.plans,
        also_approve=[other.estimator for other in asked.also_approve],
    )
    frame = frame_of(world.rows, world.native.levels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        outcomes = list(finder.find_many(frame, threads=1))
    for row, outcome in zip(world.rows, outcomes, strict=True):
        if outcome.status == "already_approved":
            continue
        proof = proven(finder, row, outcome, most_boxes=2_000)
        faults = followed(finder, row, outcome, proof)
        assert all("unfinished" in fault for fault in faults), faults


def test_a_proof_that_was_tampered_with_is_refused(desk: tuple[Finder, pd.DataFrame]) -> None:
    """A dropped leaf, another reason, a hidden cheaper plan, another applicant or another split is found."""
    finder, refused = desk
    pairs = zip(rows(refused), finder.find_many(refused, threads=1), strict=True)
    row, outcome = next((r, o) for r, o in pairs if o.plan is not None and len(o.plan.changes) > 1)
    proof = proven(finder, row, outcome)
    nodes = proof["parts"][0]["nodes"]
    assert followed(finder, row, outcome, proof) == ()

    def changed(**said: Any) -> tuple[str, ...]:
        altered = copy.deepcopy(proof)
        for i, node in said.get("nodes", {}).items():
            altered["parts"][0]["nodes"][i] = node
        altered |= {k: v for k, v in said.items() if k != "nodes"}
        return followed(finder, row, outcome, altered)

    bound = next(i for i, node in enumerate(nodes) if node.get("closed") == "bound")
    split = next(i for i, node in enumerate(nodes) if "split" in node)
    for reason in ("cost", "changes", "taboo", "score", "nothing"):
        assert changed(nodes={bound: {"closed": reason}}), reason
    assert changed(nodes={bound: {"closed": "rule", "rule": finder.policy.rules[0].name}})
    assert changed(nodes={split: {**nodes[split], "out": nodes[split]["in"]}})
    assert "do not cover" in changed(nodes={split: {**nodes[split], "out": None}})[0]
    assert "do not cover" in changed(nodes={split: {**nodes[split], "out": 10**6}})[0]
    assert changed(nodes={split: {"closed": "bound", "model": 0}})
    assert changed(id="someone else")
    assert "unfinished" in changed(nodes={bound: {"closed": "open"}})[0]

    # a dearer plan in place of the optimum: its proof cannot be the optimum's, nor can a new one be written
    dear = replace(outcome.plans[0], cost=outcome.plans[0].cost + 1.0)
    lie = replace(outcome, plans=(dear,))
    assert "is about plans below" in followed(finder, row, lie, proof)[0]
    forged = copy.deepcopy(proof)
    forged["parts"][0]["below_micro"] += 1_000_000
    assert followed(finder, row, lie, forged)
    with pytest.raises(Exception, match="cheaper"):
        proven(finder, row, lie)
    none = replace(outcome, plans=(), status="none_exists")
    assert followed(finder, row, none, proof)


def test_a_limit_that_is_reached_is_said(desk: tuple[Finder, pd.DataFrame]) -> None:
    """A proof with too few boxes says that it is unfinished, and following it says so too."""
    finder, refused = desk
    for row, outcome in zip(rows(refused), finder.find_many(refused, threads=1), strict=True):
        if len(proven(finder, row, outcome)["parts"][0]["nodes"]) > 20:
            proof = proven(finder, row, outcome, most_boxes=3)
            assert not proof["finished"]
            assert followed(finder, row, outcome, proof) == (f"unfinished: {proof['open']:,} boxes were left open",)
            return
    pytest.fail("all proofs are small")


def test_nothing_protected_stands_in_a_proof(desk: tuple[Finder, pd.DataFrame]) -> None:
    """Neither the name nor a value of a protected feature."""
    finder, refused = desk
    row, outcome = rows(refused)[0], next(finder.find_many(refused.iloc[:1], threads=1))
    assert '"age"' not in json.dumps(proven(finder, row, outcome))
