"""Regions around plans against a walk by definition: one step of the grid at a time, every row scored natively."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recourse import Finder
from recourse.errors import InputError
from recourse.plan import Plan
from tests import naive
from tests.agreement import same
from tests.naive_language import Applicant
from tests.strategies_language import World, frame_of, worlds

LARGEST = 4_000  # rows that the walk scores


@given(data=st.data())
@settings(max_examples=20)
def test_a_region_is_the_walk_by_definition(data: st.DataObject) -> None:
    """Every end is where the walk in rounds stops, so no side can go a step further, and no row inside is refused."""
    world = data.draw(worlds(), label="world")
    asked = world.asked
    finder = Finder(
        world.native.estimator,
        world.policy,
        world.population,
        shape=asked.shape,
        box_steps=asked.box_steps,
        also_approve=[other.estimator for other in asked.also_approve],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        outcomes = list(finder.find_many(frame_of(world.rows, world.native.levels), threads=1))
    for row, outcome in zip(world.rows, outcomes, strict=True):
        if outcome.plan is None:
            continue
        found = finder.region(row, outcome.plan)
        try:
            wanted = _walk(world, row, outcome.plan)
        except naive.TooLarge:
            continue
        assert set(found) == set(wanted)
        for name, (low, high) in wanted.items():
            assert _end(found[name][0], low, world, name, 0), (name, found, wanted)
            assert _end(found[name][1], high, world, name, 1), (name, found, wanted)


def test_a_plan_that_is_not_approved_has_no_region() -> None:
    """The plan's own row is looked at first."""
    import pandas as pd
    from sklearn.tree import DecisionTreeClassifier

    frame = pd.DataFrame({"income": [20, 30, 40, 50]})
    model = DecisionTreeClassifier().fit(frame, [0, 0, 1, 1])
    policy = {"decision": {"threshold": 0.5}, "features": {"income": {"kind": "integer", "change": "up"}}}
    finder = Finder(model, policy, frame)
    plan = finder.find({"income": 28}).plan
    assert plan is not None
    assert finder.region({"income": 28}, plan) == {"income": (36, None)}
    with pytest.raises(InputError, match="not approved"):
        finder.region({"income": 28}, plan, threshold=1.5)


def _end(found: Any, wanted: Any, world: World, name: str, side: int) -> bool:
    """Whether an end is the walk's; where nothing ends the feature, the walk ends where its twin's world does."""
    if found is not None or name == "wait":
        return same(found, wanted)
    feature = world.policy.features[name]
    return (feature.max if side else feature.min) is None


def _walk(world: World, row: dict[str, Any], plan: Plan) -> dict[str, tuple[Any, Any]]:
    policy, applicant = world.policy, Applicant(world.policy, row)
    chosen: dict[str, list[Any]] = {}
    paths: dict[str, tuple[list[list[Any]], list[list[Any]]]] = {}
    for change in plan.changes:
        name, after = change.feature, change.after
        if change.before is None and change.condition is not None:
            values = naive.admissible(policy.features[name])
            chosen[name] = values if change.condition == "any" else values[values.index(after) :]
            continue
        chosen[name] = [after]
        start = applicant.start_of(name)
        if name == "wait":
            values = list(range(policy.time.horizon + 1))
        else:
            feature = policy.features[name]
            if feature.listed or float(start) in {float(code) for code in feature.codes}:
                paths[name] = ([], [])
                continue
            if feature.step is None:
                raise naive.TooLarge(name)
            values = list(_grid(world, name, start))
        paths[name] = (_steps(values, after, start, 1), _steps(values, after, start, -1))
    ends = {name: [0, 0] for name in paths}  # steps made up and down
    closed: set[tuple[str, int]] = set()
    names = [n for n in [*policy.features, "wait"] if n in paths]
    while len(closed) < 2 * len(names):
        for name in names:
            for side in (0, 1):
                if (name, side) in closed:
                    continue
                path = paths[name][side]
                if ends[name][side] == len(path):
                    closed.add((name, side))
                    continue
                step = path[ends[name][side]]
                if _all_approved(world, applicant, {**chosen, name: step}):
                    ends[name][side] += 1
                    chosen[name] = [*chosen[name], *step]
                else:
                    closed.add((name, side))
    return {
        name: (min(chosen[name]), max(chosen[name])) if any(paths[name]) else (chosen[name][0],) * 2 for name in paths
    }


def _grid(world: World, name: str, start: Any) -> Iterator[Any]:
    feature = world.policy.features[name]
    low = world.spans[name][0] if feature.min is None else feature.min
    high = world.spans[name][1] if feature.max is None else feature.max
    zero = naive.exact(float(start)) if feature.step_from == "applicant" else naive.exact(0)
    for value in naive._grid(naive.exact(low), naive.exact(high), naive.exact(feature.step), zero, 100_000):
        wrong = (feature.change == "up" and value < start) or (feature.change == "down" and value > start)
        if not wrong and value not in {float(code) for code in feature.codes}:
            yield value


def _steps(values: list[Any], after: Any, start: Any, sign: int) -> list[list[Any]]:
    """What each step adds; a start beside the grid is passed with the next value, or ends the way."""
    found = [[v] for v in sorted(values, key=lambda v: v * sign) if (v - after) * sign > 0]
    if start not in values and (start - after) * sign > 0:
        beyond = next((step for step in found if (step[0] - start) * sign > 0), None)
        if beyond is None:
            found.append([start])
        else:
            beyond.append(start)
    return found


def _all_approved(world: World, applicant: Applicant, chosen: dict[str, list[Any]]) -> bool:
    size = int(np.prod([len(values) for values in chosen.values()]))
    if size > LARGEST:
        raise naive.TooLarge(f"{size} rows")
    rows = []
    for values in itertools.product(*chosen.values()):
        state = applicant.state(dict(zip(chosen, values, strict=True)))
        if applicant.broken(state):
            continue
        if applicant.fired(state):
            return False
        rows.append(applicant.raw(state))
    if not rows:
        return True
    bar = float(world.policy.decision.threshold) + world.policy.decision.margin
    natives = (world.native, *world.asked.also_approve)
    good = all((naive.scores(native, rows) >= bar).all() for native in natives)
    if world.asked.plausibility is not None:
        good &= bool((naive.scores(world.asked.plausibility, rows) >= 0.0).all())
    return good
