"""The engine against enumeration by definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recourse import Finder
from tests import naive
from tests.agreement import disagreements, faults, raw_frame
from tests.strategies import LINEAR, TREES, Case, cases


@pytest.mark.parametrize("library", [*TREES, *LINEAR])
@given(data=st.data())
def test_the_plan_is_the_optimum_by_definition(library: str, data: st.DataObject) -> None:
    """Status, cost, changes, row and scores are those of the cheapest of all points, ties included."""
    case = data.draw(cases([library]), label="case")
    agree(case)


def agree(case: Case) -> None:
    """Hold every applicant of a case against the twin."""
    finder = Finder(case.native.estimator, case.policy, case.population)
    outcomes = list(finder.find_many(raw_frame(case.rows, case.native)))
    assert len(outcomes) == len(case.rows)
    for row, outcome in zip(case.rows, outcomes):
        try:
            answer = case.solve(row)
        except naive.TooLarge:
            assert outcome.status != "none_found"
        else:
            assert not list(disagreements(outcome, answer, row, case.native, case.policy)), row
        assert not faults(outcome, row, finder.model, case.policy, case.population)
