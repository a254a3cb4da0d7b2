"""CP-SAT as a witness of the whole language: held against the twin by definition, then the engine against it."""

from __future__ import annotations

import warnings

from hypothesis import assume, given, settings

from recourse import Finder
from tests import cpsat, cpsat_language, naive
from tests.strategies_language import World, frame_of, worlds


@given(world=worlds(shapes=["point"]))
@settings(max_examples=30)
def test_the_witnesses_agree_with_one_another(world: World) -> None:
    """Rules, formulas, clocks, codes, groups and several models: enumeration and CP-SAT find the same optimum."""
    assume(world.asked.plausibility is None)  # CP-SAT sums no path lengths
    ensembles = [cpsat.read(native, world.frame) for native in (world.native, *world.asked.also_approve)]
    for row in world.rows:
        try:
            answer = world.solve(row)
            if answer.status == "already_approved":
                continue
            told = cpsat_language.solve(ensembles, world.policy, world.population, row, reach=world.spans)
        except naive.TooLarge:
            continue
        assert (told.status, told.cost) == (answer.status, answer.cost), row


@given(world=worlds(shapes=["point"]))
@settings(max_examples=20)
def test_costs_are_those_of_cpsat(world: World) -> None:
    """The engine's cost and status are CP-SAT's, whatever the number of rows to look at."""
    assume(world.asked.plausibility is None)  # CP-SAT sums no path lengths
    ensembles = [cpsat.read(native, world.frame) for native in (world.native, *world.asked.also_approve)]
    others = [other.estimator for other in world.asked.also_approve]
    finder = Finder(world.native.estimator, world.policy, world.population, also_approve=others)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of columns that neither policy nor model has
        outcomes = list(finder.find_many(frame_of(world.rows, world.native.levels), threads=1))
    for row, outcome in zip(world.rows, outcomes, strict=True):
        if outcome.status == "already_approved":
            continue
        try:
            told = cpsat_language.solve(ensembles, world.policy, world.population, row, reach=world.spans)
        except naive.TooLarge:
            continue
        assert told.status == outcome.status, row
        if outcome.plans:
            assert told.cost == round(outcome.plans[0].cost * 1e6), row
