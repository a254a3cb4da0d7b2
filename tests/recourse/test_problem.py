"""What the search is given: cells, moves, limits and checks of the input."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recourse.errors import DataError, InputError, PolicyError, UnknownFeature
from recourse.models.additive import Additive
from recourse.models.base import Column, Model
from recourse.models.evaluate import evaluate
from recourse.models.trees import Trees
from recourse.policy import Feature, Policy
from recourse.population import Population, read_positions
from recourse.problem import Problem, build_problem
from recourse.problem import limits as _limits
from recourse.problem.encoding import _positions
from recourse.problem.joining import raw_thresholds
from recourse.problem.limits import TooFine, limits
from recourse.search.forest import Forest

NOBODY = Population(0, {})


# ------------------------------------------------------------------------------------------------------ models by hand


def model(core: Trees | Additive) -> Model:
    """A model that scores by the neutral core itself."""
    raw = (lambda x: evaluate(core, x)) if isinstance(core, Trees) else core.evaluate
    return Model("by hand", core, raw, raw, lambda r: r, "sha256:0")


def random_trees(
    rng: np.random.Generator, columns: tuple[Column, ...], *, n_trees: int = 4, single: bool = False, scale: float = 6.0
) -> Trees:
    """Trees of depth 3 with tests wherever; thresholds that float32 rounds, missing values either way."""
    feature, threshold, members, sets, missing, left, right, value, roots = [], [], [], [], [], [], [], [], []
    width = max([1, *(column.n_codes for column in columns)])

    def grow(depth: int) -> int:
        here = len(feature)
        for part, empty in ((feature, -1), (threshold, np.nan), (members, -1), (missing, False), (left, 0), (right, 0)):
            part.append(empty)
        value.append(float(rng.normal()))
        if depth == 0 or rng.random() < 0.1:
            return here
        c = int(rng.integers(len(columns)))
        feature[here], missing[here], value[here] = c, bool(rng.random() < 0.5), 0.0
        if columns[c].levels is None:
            threshold[here] = (
                -np.inf if rng.random() < 0.05 else float(rng.integers(-2, 2 + scale)) / rng.choice([1, 10])
            )
            if single and rng.random() < 0.5:
                threshold[here] = float(np.float32(threshold[here]))
        else:
            members[here] = len(sets)
            sets.append(np.arange(width) < columns[c].n_codes)
            sets[-1] &= rng.random(width) < 0.5
        left[here], right[here] = grow(depth - 1), grow(depth - 1)
        return here

    for _ in range(n_trees):
        roots.append(grow(3))
    return Trees(
        columns, np.array(feature, np.int32), np.array(threshold), np.array(members, np.int32),
        np.array(sets, np.bool_).reshape(-1, width), np.array(missing), np.array(left, np.int32),
        np.array(right, np.int32), np.array(value), np.array(roots, np.int32), 0.25, 2.0, single, single,
    )  # fmt: skip


def walk(forest: Forest, k: int, categorical: np.ndarray, cells: np.ndarray) -> float:
    """Return the raw score of a row of cells under model k, by definition."""
    kind: Any = np.float32 if forest.single[k] else np.float64
    total = kind(forest.base[k])
    for root in forest.root[forest.part[k] : forest.part[k + 1]]:
        node = int(root)
        while forest.node[node, 0] >= 0:
            j, cut, left, right, missing_left = forest.node[node].tolist()
            cell = int(cells[j])
            goes_left = missing_left if cell < 0 else forest.sets[cut, cell] if categorical[j] else cell < cut
            node = left if goes_left else right
        total = kind(total + kind(forest.value[node]))
    return float(total / kind(forest.divisor[k]))


def same_scores(problem: Problem, frame: pd.DataFrame) -> None:
    """Assert that cells lead every row through every model as the readers' own trees do."""
    encoded = problem.encode(frame)
    assert problem.forest is not None
    for k, one in enumerate(problem.models):
        assert isinstance(one.core, Trees)
        wanted = evaluate(one.core, encoded.matrices[k])
        found = [walk(problem.forest, k, problem.space.categorical, cells) for cells in encoded.rows.cell]
        np.testing.assert_array_equal(found, wanted)


# --------------------------------------------------------------------------------------------------------------- casts


@given(st.lists(st.floats(allow_nan=False, width=32) | st.floats(allow_nan=False), min_size=1, max_size=20))
def test_thresholds_take_casts_in(values: list[float]) -> None:
    """A double reaches the folded threshold exactly where its float32 reaches the threshold."""
    t = np.array(values)
    core = Trees(
        (Column("x"),), np.zeros(len(t), np.int32), t, np.full(len(t), -1, np.int32), np.zeros((0, 1), np.bool_),
        np.zeros(len(t), np.bool_), np.zeros(len(t), np.int32), np.zeros(len(t), np.int32), np.zeros(len(t)),
        np.zeros(1, np.int32), 0.0, cast_single=True,
    )  # fmt: skip
    folded = raw_thresholds(core)
    with np.errstate(over="ignore"):
        finite = np.isfinite(folded)
        assert np.all(folded[finite].astype(np.float32) >= t[finite])
        before = np.nextafter(folded[finite], -np.inf)
        assert not np.any(before.astype(np.float32) >= t[finite])
    assert np.all(folded[~finite] == t[~finite])


# -------------------------------------------------------------------------------------------------------------- limits


@st.composite
def numeric(draw: st.DrawFn) -> Feature:
    """A numeric feature with any grid, bounds and largest change."""
    decimals = st.decimals(-1000, 1000, places=2).map(float)
    low, high = sorted((draw(decimals), draw(decimals)))
    out: dict[str, Any] = {"kind": "number", "change": draw(st.sampled_from(["any", "up", "down"]))}
    if draw(st.booleans()):
        out["min"] = low
    if draw(st.booleans()) and high > low:
        out["max"] = high
    if draw(st.booleans()):
        out["step"] = draw(
            st.sampled_from([Decimal("1"), Decimal("0.1"), Decimal("0.25"), Decimal("500"), Decimal("1e-9")])
        )
        out["step_from"] = draw(st.sampled_from(["zero", "applicant"]))
    size = draw(st.sampled_from([None, 1.0, 0.3, 25.0, {"percent": 10}, {"percent": 33.3, "at_least": 0.5}]))
    if size is not None:
        out["max_change"] = size
    return Feature.model_validate(out)


STARTS = st.lists(
    st.integers(-2000, 2000).map(float)
    | st.decimals(-2000, 2000, places=3).map(float)
    | st.floats(-1e6, 1e6)
    | st.integers(-4000, 4000).map(lambda k: k / 80 + 1e-13)
    | st.integers(-4000, 4000).map(lambda k: k / 7)
    | st.sampled_from([1e15, 123456789012345.0, 0.1 + 0.2, -0.0]),
    min_size=1,
    max_size=12,
)


@given(numeric(), STARTS)
def test_limits_in_integers_are_those_in_decimals(feature: Feature, starts: list[float]) -> None:
    """What is counted for many applicants at once is what wide decimals give for each alone."""
    x = np.array(starts)
    try:
        found = limits(feature, x)
    except TooFine as error:
        with pytest.raises(TooFine):
            limits(feature, x[error.at : error.at + 1])
        return
    for k, start in enumerate(starts):
        alone = _limits._alike(feature, 1)
        _limits._one(feature, start, alone, 0)
        assert [part[k] for part in found] == [part[0] for part in alone]


def test_nothing_is_counted_from_a_missing_value() -> None:
    """Where there is no number to start from, the grid is counted from 0 and max_change says nothing."""
    feature = Feature(kind="integer", step=5, step_from="applicant", min=3, max=22, max_change=5)
    found = limits(feature, np.array([np.nan, 7.0]))
    assert found.first.tolist() == [1, 0]  # 5; 7
    assert found.last.tolist() == [4, 1]  # 20; 12
    assert found.outer_last.tolist() == [4, 3]  # 20; 22


# --------------------------------------------------------------------------------------------------------------- cells

LEVELS = ("rent", "own", "free", "other")
ROUTED = Policy.model_validate(
    {
        "decision": {"threshold": 0.5, "score": "decision_function"},
        "cost": {"unit": "raw"},
        "groups": {"one_hot": {"purpose": ["car", "home"]}, "thermometer": {"late": ["late_30", "late_60", "late_90"]}},
        "features": {
            "late": {"kind": "ordinal"},
            "income": {"kind": "number"},
            "housing": {"kind": "category", "levels": LEVELS},
            "rating": {"kind": "ordinal", "levels": [4, 2, 1]},
            "owner": {"kind": "flag", "levels": [False, True]},
            "region": {"kind": "integer", "role": "fixed"},
            "purpose": {"kind": "category", "levels": ["car", "home", "none"]},
        },
    }
)
NUMBERS = tuple(Column(n) for n in ("income", "rating", "car", "home", "late_30", "late_60", "late_90", "owner"))
COLUMNS = (
    (*NUMBERS, Column("housing", LEVELS), Column("region", (7, 3, 5))),
    (Column("housing", ("own", "rent"), unseen=True), *NUMBERS[::-1], Column("region", (5, 3, 7), unseen=True)),
    (
        Column("late_60", (1, 0)),
        Column("car", ("0", "1")),
        Column("owner", (False, True)),
        Column("housing", LEVELS[::-1]),
    ),
)


def routed_rows(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Rows of what `ROUTED` describes; values near thresholds, between float32 numbers, and missing ones."""
    x = rng.integers(-2, 9, n) / rng.choice([1, 10], n)
    near = np.where(rng.random(n) < 0.5, np.nextafter(x, np.inf), np.nextafter(x, -np.inf))
    x = np.where(rng.random(n) < 0.4, near, x)
    middle = (x.astype(np.float32).astype(float) + np.nextafter(x.astype(np.float32), np.float32(9)).astype(float)) / 2
    x = np.where(rng.random(n) < 0.3, middle, x)
    level, purpose = rng.integers(0, 4, n), rng.integers(0, 3, n)
    frame = pd.DataFrame({"income": np.where(rng.random(n) < 0.1, np.nan, x)})
    for i, name in enumerate(("late_30", "late_60", "late_90")):
        frame[name] = (level > i).astype(int)
    for i, name in enumerate(("car", "home")):
        frame[name] = (purpose == i).astype(int)
    frame["housing"] = pd.Series([LEVELS[i] for i in rng.integers(0, 4, n)], dtype=object)
    frame.loc[rng.random(n) < 0.1, "housing"] = None
    frame["rating"] = rng.choice([4.0, 2.0, 1.0, np.nan], n)
    frame["owner"] = rng.integers(0, 2, n)
    frame["region"] = rng.choice([3, 5, 7], n)
    return frame


@pytest.mark.parametrize(
    ("shape", "outer"),
    [
        ("point", [[4, 12], [0, 9], [20, 20]]),
        ("box", [[4, 15], [0, 9], [20, 20]]),
        ("orthant", [[4, 30], [0, 9], [20, 20]]),
    ],
)
def test_limits_reach_as_far_as_the_shape(shape: str, outer: list[list[int]]) -> None:
    """A box goes on some steps past what may be asked for, an orthant to the bounds; no one goes the other way."""
    table = {"kind": "integer", "min": 0, "max": 30}
    features = {
        "up": {**table, "change": "up", "max_change": 7},
        "down": {**table, "change": "down", "max_change": 3},
        "still": {**table, "max_change": 0.5},
    }
    cuts: dict[str, list[float]] = {"up": [9.0], "down": [9.0], "still": [9.0]}
    problem = build_problem(model(steps(**cuts)), policy(features), NOBODY, shape=shape, box_steps=3)
    rows = problem.encode(pd.DataFrame({"up": [5], "down": [7], "still": [20]})).rows
    assert rows.first[0].tolist() == [4, 4, 20]
    assert rows.last[0].tolist() == [12, 9, 20]
    found = np.stack([rows.outer_first, rows.outer_last], axis=-1)[0].tolist()
    assert found == [outer[0], [4 if shape == "point" else 1 if shape == "box" else 0, 9], outer[2]]


@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=3))
def test_cells_lead_where_the_readers_trees_lead(seed: int, which: list[int]) -> None:
    """Whatever columns, casts and spellings of levels models have, each scores cells as it scores its own columns."""
    rng = np.random.default_rng(seed)
    models = [
        model(random_trees(rng, COLUMNS[i], n_trees=6, single=bool(rng.random() < 0.5))) for i in which
    ]  # fmt: skip
    problem = build_problem(models, ROUTED, NOBODY)
    frame = routed_rows(rng, 24)
    frame["late_60"] = frame["late_60"].astype(object)
    same_scores(problem, frame)


@given(st.integers(0, 2**32 - 1))
def test_rows_after_changes_are_scored_as_they_are_encoded(seed: int) -> None:
    """Matrices of changed rows are those of the raw rows with the changes made, level by level and column by column."""
    rng = np.random.default_rng(seed)
    problem = build_problem([model(random_trees(rng, COLUMNS[i])) for i in (0, 1)], ROUTED, NOBODY)
    frame, other = routed_rows(rng, 12), routed_rows(rng, 12)
    here, there = problem.encode(frame), problem.encode(other)
    fixed = problem.names.index("region")
    values = there.rows.value.copy()
    values[:, fixed] = here.rows.value[:, fixed]
    other["region"] = frame["region"]
    wanted = problem.encode(other)
    for found, matrix in zip(problem.scored_matrices(here, np.arange(12), values), wanted.matrices, strict=True):
        np.testing.assert_array_equal(found, matrix)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["1", "2", None, "1"], dtype="string"),
        pd.Series([1, "2", 1.0, np.nan, None, pd.NA, "1", True], dtype=object),
        pd.Series([1, 2, 2]),
        pd.Series([1.0, np.nan, 2.0]),
        pd.Series([1, None, 2], dtype="Int64"),
        pd.Series(["2", None, "1"], dtype="category"),
        pd.Series([True, False, True]),
        pd.Series([], dtype=object),
    ],
    ids=lambda column: str(column.dtype),
)
def test_levels_are_read_alike_from_any_column(column: pd.Series) -> None:
    """Reading a column without making objects of it finds the same positions."""
    feature = Feature(kind="category", levels=[0, 2, 1])
    np.testing.assert_array_equal(_positions(column, "x", feature), read_positions(column, "x", feature))


def test_unknown_levels_are_refused_in_the_models_words() -> None:
    """A level that neither knows is named with the model's levels, one that the model does not know as well."""
    core = random_trees(np.random.default_rng(0), (Column("housing", ("own", "rent")),), n_trees=9)
    problem = build_problem(model(core), policy({"housing": {"kind": "category", "levels": LEVELS}}), NOBODY)
    for level in ("castle", "free"):
        with pytest.raises(DataError, match=rf"column 'housing', row 1: the model has never seen the level '{level}'"):
            problem.encode(pd.DataFrame({"housing": ["own", level]}))


@given(st.integers(0, 2**32 - 1))
def test_no_row_depends_on_those_beside_it(seed: int) -> None:
    """A row is encoded alone as it is in a chunk."""
    rng = np.random.default_rng(seed)
    problem = build_problem(model(random_trees(rng, COLUMNS[0])), ROUTED, NOBODY)
    frame = routed_rows(rng, 8)
    whole = problem.encode(frame)
    for r in range(len(frame)):
        alone = problem.encode(frame.iloc[[r]])
        for part, one in zip(whole.rows, alone.rows, strict=True):
            np.testing.assert_array_equal(part[r], one[0])


# -------------------------------------------------------------------------------------------------------------- groups


def grouped(**columns: list[Any]) -> pd.DataFrame:
    """Three rows that are right, but for the columns given."""
    rows: dict[str, list[Any]] = {"car": [1, 0, 0], "home": [0, 1, 0]}
    rows |= {"late_30": [0, 1, 1], "late_60": [0, 0, 1], "late_90": [0, 0, 0]}
    return pd.DataFrame({**rows, **columns}, index=["a", "b", "c"])


def test_groups_are_one_feature() -> None:
    """One-hot columns and ladders have one position, in the order of the levels; the last level is none of them."""
    columns = tuple(Column(n) for n in ("car", "home", "late_30", "late_60", "late_90"))
    problem = build_problem(model(random_trees(np.random.default_rng(0), columns, n_trees=20)), ROUTED, NOBODY)
    assert problem.names == ("late", "purpose")
    assert problem.encode(grouped()).rows.value.tolist() == [[0, 0], [1, 1], [2, 2]]
    changes, row = problem.after(
        {"car": 1, "home": 0, "late_30": 1, "late_60": 1, "late_90": 0}, np.array([2.0, 0.0]), np.array([1.0, 2.0])
    )
    assert [(c.feature, c.before, c.after) for c in changes] == [("late", 2, 1), ("purpose", "car", "none")]
    assert row == {"car": 0, "home": 0, "late_30": 1, "late_60": 0, "late_90": 0}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"car": [1, 1, 0]}, ["row b", "expected at most one 1", "'purpose'", "1, 1 in car, home"]),
        ({"late_30": [0, 1, 0]}, ["row c", "a 0 stands before a 1", "'late'", "0, 1, 0 in late_30, late_60, late_90"]),
        ({"late_60": [0, None, 1]}, ["'late_60'", "row b", "expected 0 or 1", "a missing value"]),
        ({"car": [1, "x", 0]}, ["'car'", "row b", "'x'"]),
        ({"home": [0, 2, 0]}, ["'home'", "row b", "got 2"]),
    ],
)
def test_columns_that_are_no_level_are_refused(columns: dict[str, list[Any]], words: list[str]) -> None:
    """Two ones of a category, a gap in a ladder and anything but 0 and 1 are errors that name group and row."""
    plain = tuple(Column(n) for n in ("home", "late_30", "late_90"))
    problem = build_problem(model(random_trees(np.random.default_rng(0), plain, n_trees=20)), ROUTED, NOBODY)
    with pytest.raises(DataError) as caught:
        problem.encode(grouped(**columns))
    for word in words:
        assert word in str(caught.value)


def test_a_group_lacks_no_column() -> None:
    """A column that no model takes still belongs to its group."""
    problem = build_problem(model(random_trees(np.random.default_rng(0), (Column("car"),), n_trees=9)), ROUTED, NOBODY)
    with pytest.raises(DataError, match=r"no column 'home' of the group 'purpose'. Did you mean 'hom'"):
        problem.encode(grouped().rename(columns={"home": "hom"}))


# --------------------------------------------------------------------------------------------------------------- moves


def entries(problem: Problem, name: str, place: int) -> list[tuple[float, float, int, int]]:
    """Return (value, until, cost, cell) of the moves away from a place."""
    space, j = problem.space, problem.names.index(name)
    at = int(space.level_start[j]) + place
    part = slice(int(space.list_start[at]), int(space.list_start[at + 1]))
    columns = (space.list_value, space.list_until, space.list_cost, space.list_cell)
    return list(zip(*(column[part].tolist() for column in columns), strict=True))


def steps(**thresholds: list[float]) -> Trees:
    """Stumps at the given thresholds, whose leaves all differ; missing goes left."""
    columns = tuple(Column(name) for name in thresholds)
    cuts = [(c, t) for c, part in enumerate(thresholds.values()) for t in part]
    feature = np.array([f for c, _ in cuts for f in (c, -1, -1)], np.int32)
    n = len(feature)
    first = 3 * np.repeat(np.arange(len(cuts)), 3)
    return Trees(
        columns, feature, np.array([v for _, t in cuts for v in (t, np.nan, np.nan)]), np.full(n, -1, np.int32),
        np.zeros((0, 1), np.bool_), feature >= 0, (first + 1).astype(np.int32), (first + 2).astype(np.int32),
        np.arange(n) / 10, np.arange(0, n, 3).astype(np.int32), 0.0,
    )  # fmt: skip


def policy(features: dict[str, Any], **rest: Any) -> Policy:
    """A policy with raw prices of 1 a step and 0.5 a change."""
    said = {"decision": {"threshold": 0.5, "score": "decision_function"}, "cost": {"unit": "raw", "per_change": 0.5}}
    return Policy.model_validate({**said, "features": features, **rest})


CODED = {
    "kind": "integer", "min": 0, "max": 40, "codes": {"-7": "none", "-8": "unusable", "-9": "no record"},
    "moves": {"-7": [12, 0, "-8"], "-8": [3]}, "move_cost": {"-7": {"12": 4.0, "-8": 0.25}}, "weight": 2.0,
}  # fmt: skip


def test_codes_lead_where_the_policy_says() -> None:
    """From a code its moves by rank, staying first; the first of each cell; a code without moves stays."""
    problem = build_problem(model(steps(months=[-7.5, 1.0, 5.0])), policy({"months": CODED}), NOBODY)
    assert entries(problem, "months", 0) == [(-7, -7, 0, 1), (-8, -8, 1_000_000, 0), (12, 12, 8_500_000, 3)]
    assert entries(problem, "months", 1) == [(-8, -8, 0, 0), (3, 3, 2_500_000, 2)]
    assert entries(problem, "months", 2) == [(-9, -9, 0, 0)]
    rows = problem.encode(pd.DataFrame({"months": [-7, -8, -9, 4, None]})).rows
    assert rows.movable[:, 0].tolist() == [1, 1, 0, 1, 0]
    assert rows.cell[:, 0].tolist() == [1, 0, 0, 2, -1]
    reach = np.stack([rows.first, rows.last, rows.outer_first, rows.outer_last], axis=-1)[:, 0]
    assert reach[[0, 1, 3]].tolist() == [[0, -1, 0, -1], [0, -1, 0, -1], [0, 40, 0, 40]]


def test_a_code_that_an_expression_reads_keeps_all_its_moves() -> None:
    """What a rule tells apart is no one cell."""
    rules = [{"require": "months != 0"}]
    problem = build_problem(model(steps(months=[-7.5, 1.0, 5.0])), policy({"months": CODED}, rules=rules), NOBODY)
    assert [value for value, *_ in entries(problem, "months", 0)] == [-7, -8, 0, 12]


@pytest.mark.parametrize("read", [False, True])
def test_missing_values_can_be_provided(read: bool) -> None:
    """Any value: one move that stands for all; at least so much: a move for each cell, or each value that is read."""
    table = {"kind": "integer", "min": 0, "max": 8, "step": 2, "codes": {"4": "unknown"}, "weight": 2.0}
    features = {
        "any": {**table, "provide": {"cost": 1.5}},
        "least": {**table, "provide": {"cost": 1.5, "mode": "if_at_least"}},
        "kept": table,
        "owner": {"kind": "flag", "provide": {"cost": 1}},
    }
    rules = [{"require": "least >= 0"}] if read else []
    cuts: dict[str, list[float]] = {"any": [3.0], "least": [3.0, 3.5, 7.0], "kept": [1.0], "owner": [0.5]}
    problem = build_problem(model(steps(**cuts)), policy(features, rules=rules), NOBODY)
    stays = (pytest.approx(np.nan, nan_ok=True), pytest.approx(np.nan, nan_ok=True), 0, -1)
    assert entries(problem, "any", 1) == [stays, (0, 8, 3_500_000, 0)]
    first = [(0, 8, 3_500_000, 0), (6, 8, 3_500_000, 2), (8, 8, 3_500_000, 3)]
    whole = [first[0], (2, 8, 3_500_000, 0), *first[1:]]
    assert entries(problem, "least", 1) == [stays, *(whole if read else first)]
    assert entries(problem, "owner", 2) == [stays, (0, 1, 1_500_000, 0)]
    rows = problem.encode(pd.DataFrame({name: [None, 1] for name in features}, dtype=float)).rows
    assert rows.movable.tolist() == [[1, 1, 0, 1], [1, 1, 1, 1]]
    changes = problem.changes(dict.fromkeys(features), rows.value[0], np.array([0.0, 6.0, np.nan, 0.0]))
    said = [(c.feature, c.before, c.after, c.condition) for c in changes]
    assert said == [("any", None, None, "any"), ("least", None, 6, "at least"), ("owner", None, None, "any")]


def test_levels_that_some_model_does_not_know_are_no_targets() -> None:
    """A plan never leads to a level that one of the models refuses."""
    rng = np.random.default_rng(1)
    one = random_trees(rng, (Column("housing", LEVELS),), n_trees=9)
    two = random_trees(rng, (Column("housing", ("own", "rent")),), n_trees=9)
    told = policy({"housing": {"kind": "category", "levels": LEVELS}})
    problem = build_problem([model(one), model(two)], told, NOBODY)
    assert [value for value, *_ in entries(problem, "housing", 0)] == [0, 1]
    assert [value for value, *_ in entries(build_problem(model(one), told, NOBODY), "housing", 0)] == [0, 1, 2, 3]


# --------------------------------------------------------------------------------------------------------- expressions

WHOLE = """
[decision]
threshold = "0.6 if start.age > 40 else 0.5"
[[decision.knockouts]]
name = "too much debt"
deny_when = "dti > 2"
[cost]
unit = "raw"
[time]
horizon = 12
cost_per_month = 0.05
[reapply]
after_months = 2
effects = { inquiries = "+1" }
[groups]
one_hot = { purpose = ["car", "home"] }
[features.income]
kind = "integer"
change = "up"
step = 500
max = 60000
[features.debt]
kind = "integer"
change = "down"
min = 0
[features.dti]
kind = "number"
role = "derived"
value = "12 * debt / income"
[features.burdened]
kind = "flag"
role = "derived"
value = "dti > 0.4 and purpose == 'home'"
[features.savings]
kind = "number"
effect = "start.savings + 0.2 * (income - start.income)"
[features.age]
kind = "integer"
role = "protected"
tick = 0.0833
[features.inquiries]
kind = "integer"
role = "fixed"
codes = { "-9" = "no record" }
[features.months]
kind = "integer"
min = 0
max = 100
step = 2
codes = { "-7" = "none" }
moves = { "-7" = [0] }
tick = 0.5
[features.region]
kind = "category"
levels = ["north", "south"]
role = "fixed"
[features.purpose]
kind = "category"
[[rules]]
require = "debt <= 2 * income"
[[rules]]
when = "income > start.income and region == 'north'"
then = "wait >= 3"
"""
SCORED = ("income", "dti", "burdened", "savings", "age", "inquiries", "months", "car", "home")


def applicants(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Rows of what `WHOLE` describes, without the derived columns."""
    home = rng.integers(0, 2, n)
    return pd.DataFrame(
        {
            "income": rng.integers(20, 100, n) * 500 + rng.integers(0, 2, n),
            "debt": rng.integers(0, 90, n) * 100,
            "savings": np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 100, n) / 10),
            "age": rng.integers(20, 70, n),
            "inquiries": rng.choice([-9, 0, 1, 2], n),
            "months": rng.choice([-7.0, 0.0, 1.0, 13.0, np.nan], n),
            "region": rng.choice(["north", "south"], n),
            "car": 1 - home,
            "home": home,
        }
    )


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain values."""
    return [
        {str(k): None if v != v else v for k, v in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]  # fmt: skip


@given(st.integers(0, 2**32 - 1))
def test_what_the_search_computes_is_what_the_policy_says(seed: int) -> None:
    """Changed rows under ticks, effects, formulas and groups are scored as plain Python derives them from the text."""
    rng = np.random.default_rng(seed)
    columns = tuple(Column(name) for name in SCORED)
    problem = build_problem(model(random_trees(rng, columns, n_trees=12)), Policy.from_text(WHOLE), NOBODY)
    frame = applicants(rng, 10)
    encoded = problem.encode(frame)
    values, at = encoded.rows.value.copy(), {name: j for j, name in enumerate(problem.names)}
    for r in range(len(frame)):
        for name, to in (("income", 60_000.0), ("debt", 0.0), ("months", 100.0), ("purpose", 0.0), ("wait", 7.0)):
            if rng.random() < 0.5 and name in at and encoded.rows.movable[r, at[name]]:
                values[r, at[name]] = to
    (matrix,) = problem.scored_matrices(encoded, np.arange(len(frame)), values)
    for r, record in enumerate(records(frame)):
        _, row = problem.after(record, encoded.rows.value[r], values[r])
        wanted = [np.nan if row[name] is None else float(row[name]) for name in SCORED]
        np.testing.assert_array_equal(matrix[r], wanted)


def test_expressions_bring_their_features_along() -> None:
    """What only rules or formulas read is in the search as well; `wait` stands last, and costs its months."""
    problem = build_problem(model(steps(dti=[0.4])), Policy.from_text(WHOLE), NOBODY)
    assert problem.names == ("income", "debt", "dti", "region", "wait")
    space, (income, debt, dti, region, wait) = problem.space, range(5)
    assert space.every.tolist() == [1, 1, 0, 1, 1]
    assert space.program[dti] >= 0
    assert np.all(space.program[[income, debt, region, wait]] == -1)
    assert len(space.rule) == 3
    assert (space.weight[wait], space.per_change[wait], space.unit[wait]) == (0.05, 0.0, 1.0)
    rows = problem.encode(applicants(np.random.default_rng(0), 3)).rows
    assert (rows.value[0, wait], rows.first[0, wait], rows.last[0, wait]) == (0, 0, 12)
    assert rows.movable[:, [income, debt, dti, region, wait]].tolist() == [[1, 1, 0, 0, 1]] * 3


def test_the_present_row_is_judged_by_the_policys_words() -> None:
    """Thresholds by expression, knock-outs of the row as it is, and derived columns that the data lack."""
    problem = build_problem(model(steps(dti=[0.4])), Policy.from_text(WHOLE), NOBODY)
    frame = applicants(np.random.default_rng(3), 40)
    encoded = problem.encode(frame)
    dti = 12 * frame.debt / frame.income
    assert encoded.matrix[:, 0].tolist() == dti.tolist()
    assert encoded.thresholds.tolist() == [0.6 if age > 40 else 0.5 for age in frame.age]
    assert encoded.knocked == [("too much debt",) if ratio > 2 else () for ratio in dti]
    assert {len(names) for names in encoded.knocked} == {0, 1}


def test_a_derived_column_must_be_what_its_formula_gives() -> None:
    """A recorded value that differs is an error with rows and remedy, or gives way if the policy says so."""
    frame = applicants(np.random.default_rng(3), 4)
    frame["dti"] = 12 * frame.debt / frame.income * (1 + 1e-12)
    strict = build_problem(model(steps(dti=[0.4])), Policy.from_text(WHOLE), NOBODY)
    assert strict.encode(frame).matrix[:, 0].tolist() == frame["dti"].tolist()
    frame.loc[[1, 3], "dti"] += 0.001
    with pytest.raises(
        DataError, match=r"column 'dti', rows 1, 3: recorded as .* '12 \* debt / income' gives .*recompute"
    ):
        strict.encode(frame)
    told = WHOLE.replace('value = "12 * debt', 'derived_mismatch = "recompute"\nvalue = "12 * debt')
    loose = build_problem(model(steps(dti=[0.4])), Policy.from_text(told), NOBODY)
    assert loose.encode(frame).matrix[:, 0].tolist() == (12 * frame.debt / frame.income).tolist()


@pytest.mark.parametrize(
    ("cell", "words"),
    [(None, "row 1: there is no threshold"), (1.0, "row 1: 1.0 is no threshold of a probability")],
)
def test_thresholds_by_column_are_checked(cell: float | None, words: str) -> None:
    """Each applicant's threshold is there, and one that a probability can reach."""
    told = Policy.model_validate(
        {"decision": {"threshold": "cut"}, "cost": {"unit": "raw"}, "features": {"x": {"kind": "integer"}}}
    )
    problem = build_problem(model(steps(x=[0.5])), told, NOBODY)
    frame = pd.DataFrame({"x": [0, 1], "cut": [0.25, 0.75]})
    assert problem.encode(frame).thresholds.tolist() == [0.25, 0.75]
    with pytest.raises(DataError, match=words):
        problem.encode(frame.assign(cut=[0.25, cell]))
    with pytest.raises(DataError, match=r"no column 'cut', which decision.threshold needs"):
        problem.encode(frame[["x"]])


def test_the_lenders_record_must_be_ours() -> None:
    """A recorded score or decision that differs is refused by row; rows without a record pass."""
    told = policy(
        {"x": {"kind": "integer"}},
        decision={"threshold": 0.5, "recorded_score": "score", "recorded_decision": "decision", "favourable": 1},
    )
    problem = build_problem(model(steps(x=[0.5])), told, NOBODY)
    frame = pd.DataFrame({"x": [0, 1, 1], "score": [0.1, 0.2, None], "decision": [0, 1, None]})
    scores, approved = np.array([0.1, 0.2, 0.2]), np.array([False, True, True])
    problem.check_recorded(frame, scores, approved)
    with pytest.raises(
        DataError, match=r"column 'score', row 1: the lender recorded the score 0.2, the model gives 0.3"
    ):
        problem.check_recorded(frame, scores + [0, 0.1, 0.1], approved)
    with pytest.raises(DataError, match=r"column 'decision', rows 0, 1: .* recorded 0, .* say approved"):
        problem.check_recorded(frame, scores, ~approved)


# -------------------------------------------------------------------------------------------------- what does not fit


def test_what_does_not_fit_is_named() -> None:
    """Columns without a table, categories taken for numbers, levels without numbers and unknown shapes are errors."""
    free = {"x": {"kind": "number"}}
    with pytest.raises(UnknownFeature, match=r"column 'y', which the policy does not describe.*\[features.y\]"):
        build_problem(model(steps(y=[1.0])), policy(free), NOBODY)
    category = random_trees(np.random.default_rng(0), (Column("x", ("a", "b")),))
    with pytest.raises(PolicyError, match=r"features.x: the model treats it as a category"):
        build_problem(model(category), policy(free), NOBODY)
    with pytest.raises(PolicyError, match=r"features.x: the model takes a number, but the policy's level 'a' is none"):
        build_problem(model(steps(x=[1.0])), policy({"x": {"kind": "category", "levels": ["a", "b"]}}), NOBODY)
    with pytest.raises(InputError, match="shape = 'cone' is none of 'point', 'box', 'orthant'"):
        build_problem(model(steps(x=[1.0])), policy(free), NOBODY, shape="cone")
    told = {"kind": "number", "min": 0, "max": 9, "provide": {"cost": 1}}
    with pytest.raises(PolicyError, match=r"features.x.provide: .* need a step"):
        build_problem(model(steps(x=[1.0])), policy({"x": told}), NOBODY)
