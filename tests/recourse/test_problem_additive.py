"""Additive models under the whole language: searched as trees that say what the terms say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recourse.errors import PolicyError
from recourse.models.additive import Additive, Axis, Pair, Term
from recourse.models.base import Column
from recourse.policy import Policy
from recourse.population import Population
from recourse.problem import Encoded, Problem, build_problem
from recourse.search.forest import Forest
from recourse.search.moves import Rows, Space
from recourse.search.states import run_rows
from tests.recourse.test_problem import WHOLE, applicants, model, policy, random_trees, walk

NOBODY = Population(0, {})
NAMES = ("income", "dti", "burdened", "savings", "age", "inquiries", "months", "car", "home", "region")
COLUMNS = tuple(Column(name, ("south", "north") if name == "region" else None) for name in NAMES)
SMALL = WHOLE.replace("step = 500\nmax = 60000", "step = 5000\nmax = 60000").replace(
    'change = "down"\nmin = 0', 'change = "down"\nmin = 0\nstep = 500'
)


def random_line(rng: np.random.Generator) -> Additive:
    """Terms of every kind on every column, and pairs."""
    terms: list[Term] = []
    for c, column in enumerate(COLUMNS):
        kind = rng.integers(0, 4)
        missing = float(rng.normal())
        if column.levels is not None:
            terms.append(Term(c, levels=rng.normal(size=2), missing=missing))
        elif kind == 0:
            terms.append(Term(c, weight=float(rng.normal()) / 1000, missing=missing))
        elif kind == 1:
            terms.append(Term(c, weight=float(rng.normal()), missing=missing, curve=lambda x: np.arctan(x / 100)))
        elif kind == 2:
            edges = np.unique(rng.choice([-8.0, 0.5, 1.0, 2.0, 12.0, 30.0, 20_000.0, 35_000.0], 4))
            terms.append(Term(c, edges=edges, values=rng.normal(size=len(edges) + 1), missing=missing))
    pairs = []
    for _ in range(2):
        first, second = rng.choice([0, 1, 4, 6, 9], 2, replace=False)
        axes = []
        for c in (int(first), int(second)):
            if COLUMNS[c].levels is None:
                axes.append(Axis(c, edges=np.array([0.4, 10.0, 30_000.0]), missing=4))
            else:
                axes.append(Axis(c, levels=np.array([1, 0]), missing=4))
        pairs.append(Pair(axes[0], axes[1], rng.normal(size=(5, 5))))
    return Additive(COLUMNS, float(rng.normal()), tuple(terms), tuple(pairs))


def cells_at(problem: Problem, space: Space, start: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the cells of a row whose chosen values these are."""
    state = problem.seen(values[None])[0]
    for j in np.flatnonzero(space.program >= 0):
        state[j] = run_rows(space.programs, space.program[[j]], problem.seen(values[None]), problem.seen(start[None]))[
            0, 0
        ]
    out = np.empty(len(values), np.int64)
    for j, x in enumerate(state):
        if problem.slots[j].copies >= 0:
            values[j] = values[problem.slots[j].copies]
        if np.isnan(x):
            out[j] = -1
        elif space.categorical[j]:
            out[j] = int(values[j]) if space.program[j] < 0 else int(x)
        else:
            thresholds = space.threshold[space.threshold_start[j] : space.threshold_start[j + 1]]
            out[j] = np.searchsorted(thresholds, x, side="right")
    return out


def own_problem(problem: Problem, encoded: Encoded, r: int) -> tuple[Forest, Space, Rows, np.ndarray, int]:
    """Return what row r is searched with, and its number there."""
    if problem.tabulated is not None:
        return (*problem.alone(encoded, r), 0)
    assert problem.forest is not None
    return problem.forest, problem.space, encoded.rows, problem.slack, r


def agree(problem: Problem, frame: pd.DataFrame, rng: np.random.Generator, chosen: dict[str, list[float]]) -> None:
    """Assert that for any reachable values the trees add up to what the terms do, within the slack."""
    encoded = problem.encode(frame)
    for r in range(len(frame)):
        forest, space, rows, slack, i = own_problem(problem, encoded, r)
        start = encoded.rows.value[r]
        np.testing.assert_array_equal(
            rows.cell[i][space.program < 0], cells_at(problem, space, start, start)[space.program < 0]
        )
        for _ in range(6):
            values = start.copy()
            for j, name in enumerate(problem.names):
                if name in chosen and encoded.rows.movable[r, j] and rng.random() < 0.7:
                    options = [
                        x for x in chosen[name] if name not in ("income", "debt") or (x - start[j]) * _SIGN[name] > 0
                    ]
                    if name == "months" and start[j] == -7:
                        options = [0.0]
                    values[j] = rng.choice([start[j], *options])
            matrices = problem.scored_matrices(encoded, np.array([r]), values[None])
            cells = cells_at(problem, space, start, values)
            for k, one in enumerate(problem.models):
                found, wanted = walk(forest, k, space.categorical, cells), float(one.raw(matrices[k])[0])
                assert abs(found - wanted) <= slack[k]
                assert slack[k] <= 1e-9
                assert forest.eps[k] >= slack[k]


_SIGN = {"income": 1, "debt": -1}
CHOSEN = {
    "income": [5000.0 * k for k in range(13)],
    "debt": [500.0 * k for k in range(20)],
    "months": [2.0 * k for k in range(51)],
    "purpose": [0.0, 1.0],
    "wait": [float(k) for k in range(13)],
}


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_an_additive_model_is_its_trees(seed: int, beside: bool) -> None:
    """Formulas, effects, months, codes and groups under weights, curves, bins, levels and pairs; beside trees too."""
    rng = np.random.default_rng(seed)
    models = [model(random_line(rng))] + ([model(random_trees(rng, COLUMNS[:7]))] if beside else [])
    problem = build_problem(models, Policy.from_text(SMALL), NOBODY)
    agree(problem, applicants(rng, 2), rng, CHOSEN)


@pytest.mark.parametrize("shape", ["box", "orthant"])
def test_a_plain_policy_asks_for_trees_where_regions_are_wanted(shape: str) -> None:
    """A line has no regions; a table has."""
    core = Additive.linear((Column("x"), Column("y")), np.array([0.5, -0.25]), 0.1)
    table = {"kind": "integer", "min": 0, "max": 9}
    told = policy({"x": table, "y": {**table, "role": "fixed"}})
    line = build_problem(model(core), told, NOBODY)
    assert line.forest is None
    assert line.weight is not None
    assert line.weight.tolist() == [0.5, -0.25]
    problem = build_problem(model(core), told, NOBODY, shape=shape)
    agree(problem, pd.DataFrame({"x": [3, 11], "y": [2, 0.5]}), np.random.default_rng(0), {"x": [0.0, 4.0, 9.0]})
    assert build_problem(model(core), told, NOBODY, as_trees=True).forest is not None


def test_bins_and_levels_are_shared_by_all() -> None:
    """Without weights and curves there is one forest for everybody."""
    terms = (Term(0, edges=np.array([1.0, 2.0]), values=np.array([0.0, 1.0, 3.0]), missing=0.5), Term(1, weight=2.0))
    told = policy({"x": {"kind": "number"}, "owner": {"kind": "flag"}})
    problem = build_problem(model(Additive((Column("x"), Column("owner")), 0.25, terms)), told, NOBODY, shape="orthant")
    assert problem.tabulated is None
    agree(problem, pd.DataFrame({"x": [0.5, None], "owner": [0, 1]}), np.random.default_rng(0), {"owner": [0.0, 1.0]})


def test_what_a_model_refuses_is_never_approved() -> None:
    """A formula that has no value (a division by 0) adds so little that no threshold is reached."""
    core = Additive((Column("ratio"), Column("x")), 0.5, (Term(0, weight=-1.0), Term(1, weight=3.0)))
    number = {"kind": "integer", "min": 0, "max": 4, "change": "down"}
    formula = {"kind": "number", "role": "derived", "value": "x / debt"}
    problem = build_problem(model(core), policy({"debt": number, "x": number, "ratio": formula}), NOBODY)
    encoded = problem.encode(pd.DataFrame({"debt": [2], "x": [4]}))
    forest, space, _, _, _ = own_problem(problem, encoded, 0)
    scores = {}
    for debt in (0.0, 1.0, 2.0):
        values = encoded.rows.value[0].copy()
        values[0] = debt
        scores[debt] = walk(forest, 0, space.categorical, cells_at(problem, space, encoded.rows.value[0], values))
    assert scores[2.0] == 0.5 - 2.0 + 12.0
    assert scores[1.0] == 0.5 - 4.0 + 12.0
    assert scores[0.0] < 0.5 - 4.0 - 12.0


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"kind": "integer"}, r"features.x: .* can reach no end of values; .* Give the feature min and max"),
        ({"kind": "integer", "min": 0, "max": 9_999}, r"features.x: more than 4,096 values .* Give the feature bounds"),
        ({"kind": "number", "min": 0, "max": 9}, r"features.x.*step"),
        ({"kind": "integer", "min": 0, "max": 400}, r"features.sum: follows from x and y, .* 160,801 combinations"),
    ],
)
def test_too_many_values_are_refused_with_a_remedy(table: dict[str, Any], words: str) -> None:
    """What cannot be tabulated is named, with the feature."""
    features = {"x": table, "y": table, "sum": {"kind": "number", "role": "derived", "value": "start.x + 0"}}
    if table.get("max") == 400:
        features["sum"]["value"] = "x + y"
    core = Additive.linear((Column("x"), Column("sum")), np.array([0.5, -0.25]), 0.1)

    def search() -> None:
        problem = build_problem(model(core), policy(features), NOBODY, shape="box")
        problem.alone(problem.encode(pd.DataFrame({"x": [3], "y": [1]})), 0)

    with pytest.raises(PolicyError, match=words):
        search()
