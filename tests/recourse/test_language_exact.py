"""The engine under the whole language against enumeration by definition, and against plain Python on every state."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recourse import Finder, state
from recourse.checking import check_outcomes
from tests import naive
from tests.agreement import language_disagreements, same
from tests.naive_language import Applicant
from tests.strategies import TREES
from tests.strategies_language import World, frame_of, worlds


@pytest.mark.parametrize("library", TREES)
@given(data=st.data())
def test_the_plan_is_the_optimum_by_definition(library: str, data: st.DataObject) -> None:
    """Status, plans, costs, ties and rows are those of the cheapest choices whose every promised row is approved."""
    agree(data.draw(worlds([library]), label="world"))


@pytest.mark.parametrize("shape", ["box", "orthant"])
@given(data=st.data())
def test_a_plan_of_a_shape_is_the_cheapest_that_holds_everywhere(shape: str, data: st.DataObject) -> None:
    """Among all plans whose whole region is approved, the engine's costs least."""
    agree(data.draw(worlds(shapes=[shape]), label="world"))


@given(world=worlds(), data=st.data())
@settings(max_examples=100)
def test_states_are_what_the_policy_says(world: World, data: st.DataObject) -> None:
    """After any choice each feature, the row that is scored, and what is broken are as by definition."""
    row = data.draw(st.sampled_from(world.rows))
    applicant = Applicant(world.policy, row)
    now = state.present(world.policy, row)
    assert all(same(now[name], applicant.start_of(name)) for name in now), (now, applicant.start)
    chosen: dict[str, Any] = {}
    for name in [*world.policy.features, "wait"]:
        moves = naive.moves(world.policy, world.population, name, applicant.start_of(name), reach=(-20.0, 30.0))
        move = data.draw(st.sampled_from(moves), label=name)
        if not move.stays:
            chosen[name] = data.draw(st.sampled_from(move.promised or (move.value,)))
    wanted = applicant.state(chosen)
    wait = chosen.pop("wait", 0)
    found = state.after(world.policy, row, chosen, wait, now=now)
    assert set(found) == set(wanted)
    assert all(same(found[name], wanted[name]) for name in wanted), (found, wanted)
    assert state.broken_rules(world.policy, found, now) == applicant.broken(wanted)
    assert state.knockouts(world.policy, found, now) == applicant.fired(wanted)
    scored, raw = state.columns(world.policy, found, row), applicant.raw(wanted)
    assert all(same(scored[name], raw[name]) for name in world.native.columns)


def agree(world: World) -> None:
    """Hold every applicant of a world against the twin, and every outcome against the checks."""
    asked = world.asked
    finder = Finder(
        world.native.estimator,
        world.policy,
        world.population,
        shape=asked.shape,
        box_steps=asked.box_steps,
        plans=asked.plans,
        also_approve=[other.estimator for other in asked.also_approve],
        plausibility=None if asked.plausibility is None else asked.plausibility.estimator,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of columns that neither policy nor model has
        outcomes = list(finder.find_many(frame_of(world.rows, world.native.levels), threads=1))
    for row, outcome in zip(world.rows, outcomes, strict=True):
        try:
            answer = world.solve(row)
        except naive.TooLarge:
            continue
        assert not list(language_disagreements(outcome, answer, world, row)), row
    found = check_outcomes(
        outcomes,
        world.rows,
        finder.model,
        world.policy,
        world.population,
        also_approve=finder.also_approve,
        plausibility=finder.plausibility,
        box_steps=asked.box_steps,
    )
    assert not any(found), found
    assert np.all([outcome.status != "none_found" for outcome in outcomes])
