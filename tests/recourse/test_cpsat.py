"""CP-SAT as an independent witness of the optimum: first held against the twin by definition, then the engine."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from recourse import Finder
from tests import cpsat, naive, witness
from tests.agreement import raw_frame
from tests.strategies import TREES, Case, cases


@given(case=cases(TREES))
def test_the_witnesses_agree_with_one_another(case: Case) -> None:
    """Enumeration and CP-SAT, which share no cells and no search, give the same optimum and the same absence."""
    ensemble = cpsat.read(case.native, case.frame)
    for row in case.rows:
        try:
            answer = case.solve(row)
        except naive.TooLarge:
            continue
        if answer.status != "already_approved":
            told = cpsat.solve(ensemble, case.policy, case.population, row, seconds=20)
            assert (told.status, told.cost) == (answer.status, answer.cost), row


@given(case=cases(TREES, limit=200_000))
@settings(max_examples=20)
def test_costs_are_those_of_cpsat_where_domains_are_too_large_to_enumerate(case: Case) -> None:
    """The engine's cost and status are CP-SAT's."""
    finder = Finder(case.native.estimator, case.policy, case.population)
    ensemble = cpsat.read(case.native, case.frame)
    for row, outcome in zip(case.rows, finder.find_many(raw_frame(case.rows, case.native))):
        if outcome.status == "already_approved":
            continue
        told = cpsat.solve(ensemble, case.policy, case.population, row, seconds=20)
        assert told.status == outcome.status, row
        if outcome.plans:
            assert told.cost == round(outcome.plans[0].cost * 1e6), row


@pytest.mark.parametrize("library", witness.LIBRARIES)
@pytest.mark.parametrize("dataset", ["lender", "south_german_credit", "heloc"])
def test_costs_on_real_applicants_are_those_of_cpsat(
    library: str, dataset: str, request: pytest.FixtureRequest
) -> None:
    """A few refused applicants of every data set under a small model of every library."""
    if dataset != "lender":
        request.getfixturevalue("data_dir")(dataset)
    place = witness.world(library, dataset, "small", 4)
    found = list(witness.compare(place, seconds=20))
    assert len(found) == 4
    assert all(c.agree for c in found), found


@pytest.mark.deep
@pytest.mark.parametrize("library", witness.LIBRARIES)
def test_fifty_applicants_of_every_library(library: str, request: pytest.FixtureRequest) -> None:
    """Costs equal CP-SAT's on 50 applicants, all closed within two minutes; the summary is kept."""
    for dataset in ("heloc", "south_german_credit"):
        request.getfixturevalue("data_dir")(dataset)
    told = witness.report(library, 50)
    witness.write(told)
    assert told["agree"]
    assert all(part["closed_by_cpsat"] == part["applicants"] for part in told["parts"])


@pytest.mark.deep
@pytest.mark.parametrize("library", witness.LIBRARIES)
def test_larger_models_stay_within_the_bounds_of_cpsat(library: str, request: pytest.FixtureRequest) -> None:
    """Where CP-SAT need not close, the engine's cost lies between its bound and its plan."""
    for dataset in ("heloc", "south_german_credit"):
        request.getfixturevalue("data_dir")(dataset)
    told = witness.report(library, 6, size="large", seconds=60)
    witness.write(told)
    assert told["agree"]
