"""What one applicant may set each feature to: admissible, priced, and all of it where the grid is short."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from recourse import DataError, Policy, PolicyError, Population, check
from recourse._reach import Reach
from recourse._states import States
from recourse.models.base import Wanted
from recourse.models.blackbox import read
from recourse.plan import Certificate, Change, Plan
from recourse.values import format_value, parse_value, plain
from tests import strategies_policy


def reach_of(feature: dict[str, Any], start: list[float], people: list[float] | None = None, **cost: Any) -> Any:
    policy = Policy.model_validate(
        {"decision": {"threshold": 0.5}, "cost": {"unit": "raw", **cost}, "features": {"x": feature}}
    )
    frame = pd.DataFrame({"x": start if people is None else people})
    reach = Reach(policy, Population.from_frame(frame, policy))
    return reach.options(np.array(start, dtype=np.float64)[:, None])[0]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_option_is_admissible_and_priced(data: st.DataObject) -> None:
    """A plan of one option passes `check` but for the model's own opinion."""
    policy = data.draw(strategies_policy.policies())
    frame = data.draw(strategies_policy.frames(policy))
    assume(policy.movable)
    model = read(lambda rows: np.zeros(len(rows)), Wanted(columns=tuple(frame.columns), levels=policy.levels))
    population = Population.from_frame(frame, policy)
    reach = Reach(policy, population)
    try:
        states = States(policy, model.columns, reach.names)
        options = reach.options(states.start(frame)[:, states.actions])
    except (DataError, PolicyError):
        assume(False)
    protected = {name for name, feature in policy.features.items() if feature.role == "protected"}
    for i, row in enumerate(frame.to_dict("records")[:4]):
        now = {str(name): plain(value) for name, value in row.items()}
        for name, each in zip(reach.names, options, strict=True):
            feature = policy.features[name]
            assert each[i].cost[0] == 0
            some = range(1, len(each[i].value), max(1, len(each[i].value) // 12))
            for k in some:
                value, cost = float(each[i].value[k]), each[i].cost[k] / 1e6
                to = plain(feature.levels[int(value)]) if feature.levels is not None else value
                to = parse_value(format_value(to, feature), feature)
                after = {n: v for n, v in (now | {name: to}).items() if n not in protected}
                gap = 1.0 if cost else 0.0
                plan = Plan((Change(name, now[name], to, feature.unit),), cost, 0.0, after,
                            Certificate(False, cost, 0.0, gap, 0, 1))  # fmt: skip
                wrong = check(plan, now, model, policy, population)
                assert [w for w in wrong if "not approved" not in w] == []


def test_a_short_grid_is_there_in_full() -> None:
    """Every grid value within bounds, direction and `max_change`, codes left out; staying first, if off the grid."""
    (options,) = reach_of(
        {"kind": "number", "step": 0.5, "change": "down", "min": -1, "max_change": 2.0, "codes": {"0": "none"}}, [1.2]
    )
    assert options.value.tolist() == [1.2, -0.5, 0.5, 1.0]
    assert options.cost.tolist() == [0, 1_800_000, 800_000, 300_000]


def test_a_long_grid_is_thinned_away_from_the_applicant() -> None:
    """All steps nearby, fewer and fewer beyond, both ends."""
    (options,) = reach_of({"kind": "integer", "min": 0, "max": 1_000_000}, [500_000.0])
    value = set(options.value.tolist())
    assert {499_990.0, 500_001.0, 500_090.0, 0.0, 1_000_000.0} <= value
    assert len(value) < 700


def test_an_open_side_ends_beyond_the_population() -> None:
    """Without a bound, half the population's range beyond its largest value; with one, the bound."""
    people = [0.0, 10.0, 20.0]
    open_, shut = (
        reach_of({"kind": "integer", "change": "up", **bound}, [15.0], people)[0].value.max()
        for bound in ({}, {"max": 400})
    )
    assert open_ == 30.0
    assert shut == 400.0


def test_codes_and_missing_values_lead_where_the_policy_says() -> None:
    """A code stays or goes where `moves` lead; a missing value stays, or is provided."""
    feature = {"kind": "integer", "min": 0, "max": 3, "codes": {"-8": "none", "-7": "never"},
               "moves": {"-8": ["-7", 2]}, "move_cost": {"-8": {"2": 0.5}}}  # fmt: skip
    coded, stuck, missing = reach_of(feature, [-8.0, -7.0, np.nan])
    assert (coded.value.tolist(), coded.cost.tolist()) == ([-8.0, -7.0, 2.0], [0, 1_100_000, 600_000])
    assert stuck.value.tolist() == [-7.0]
    assert len(missing.value) == 1
    for mode, first in (("any", [0.0]), ("if_at_least", [0.0, 1.0, 2.0, 3.0])):
        (options,) = reach_of({**feature, "provide": {"cost": 0.7, "mode": mode}}, [np.nan], [1.0, 2.0])
        assert options.value[1:].tolist() == first
        assert set(options.until[1:].tolist()) == {3.0}
        assert set(options.cost[1:].tolist()) == {800_000}


def test_a_move_that_costs_too_much_is_named() -> None:
    """Costs stay where they add up exactly."""
    with pytest.raises(PolicyError, match=r"features.x: a move costs more than 2\^40"):
        reach_of({"kind": "integer", "min": 0, "max": 10_000_000}, [0.0])
