"""The self-check passes what is exact and finds any single bit that is not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recourse.errors import SelfCheckFailed
from recourse.models import Column, encode_frame, read_model
from recourse.models.evaluate import evaluate, leaves
from recourse.models.selfcheck import Native, probes, self_check
from recourse.models.trees import Trees

COLUMNS = (Column("income"), Column("city", ("york", "bath", "ely", "hull")), Column("debts"), Column("flag", (0, 1)))
MUTATIONS = ("threshold up", "threshold down", "missing", "sides", "set", "value", "base", "divisor")


def forest(seed: int, *, single: bool, cast_single: bool, depth: int = 3) -> Trees:
    """Return random trees in which no path tests a column twice, so that every node can be reached."""
    rng = np.random.default_rng(seed)
    nodes: list[dict[str, Any]] = []
    sets: list[np.ndarray] = []

    def grow(free: list[int], left_to_grow: int) -> int:
        at = len(nodes)
        node = {"feature": -1, "threshold": math.nan, "members": -1, "missing": False, "left": -1, "right": -1}
        nodes.append(node | {"value": float(np.float32(rng.normal()))})
        if left_to_grow and free:
            j = int(rng.choice(free))
            rest = [k for k in free if k != j]
            node = nodes[at] = node | {"feature": j, "missing": bool(rng.integers(2)), "value": 0.0}
            if COLUMNS[j].levels is None:
                node["threshold"] = float(np.float32(rng.choice([0.0, rng.normal(), 1e-3 * rng.normal(), 1e6])))
            else:
                n = len(COLUMNS[j].levels or ())
                row = np.zeros(4, dtype=bool)
                row[rng.permutation(n)[: rng.integers(1, n)]] = True
                node["members"] = len(sets)
                sets.append(row)
            node["left"] = grow(rest, left_to_grow - int(rng.integers(1, 3)) if left_to_grow > 1 else 0)
            node["right"] = grow(rest, left_to_grow - 1)
        return at

    roots = [grow(list(range(4)), depth) for _ in range(int(rng.integers(1, 5)))]
    return Trees(
        COLUMNS,
        np.array([n["feature"] for n in nodes], dtype=np.int32),
        np.array([n["threshold"] for n in nodes]),
        np.array([n["members"] for n in nodes], dtype=np.int32),
        np.array(sets, dtype=bool).reshape(len(sets), 4),
        np.array([n["missing"] for n in nodes]),
        np.array([n["left"] for n in nodes], dtype=np.int32),
        np.array([n["right"] for n in nodes], dtype=np.int32),
        np.array([n["value"] for n in nodes]),
        np.array(roots, dtype=np.int32),
        base=0.25,
        divisor=1.0 if single else 3.0,
        single=single,
        cast_single=cast_single,
    )


def native_of(trees: Trees) -> Native:
    """Return a library that computes what these trees say."""
    return Native(
        raw=lambda matrix: evaluate(trees, matrix),
        score=lambda matrix: evaluate(trees, matrix),
        squash=lambda raw: raw,
        leaves=lambda matrix, first, last: leaves(trees, matrix, first, last),
        leaf_id=np.arange(len(trees.feature)),
        values=lambda matrix, tree: trees.value[leaves(trees, matrix, tree, tree + 1)[:, 0]],
    )


def by_definition(trees: Trees, row: list[float]) -> tuple[list[int], float]:
    """Walk one row through the trees as the docstring of Trees says: the leaves, and the raw score."""
    kind = np.float32 if trees.single else np.float64
    total = kind(trees.base)
    ends = []
    for root in trees.roots:
        at = int(root)
        while trees.feature[at] >= 0:
            x = row[trees.feature[at]]
            if math.isnan(x):
                left = bool(trees.missing_left[at])
            elif trees.members[at] >= 0:
                left = bool(trees.sets[trees.members[at], int(x)])
            else:
                left = (float(np.float32(x)) if trees.cast_single else x) < trees.threshold[at]
            at = int(trees.left[at] if left else trees.right[at])
        ends.append(at)
        total = kind(total + kind(trees.value[at]))
    return ends, float(kind(total / kind(trees.divisor)))


@given(seed=st.integers(0, 10**6), single=st.booleans(), cast_single=st.booleans())
def test_the_evaluator_is_the_definition(seed: int, single: bool, cast_single: bool) -> None:
    """The vectorised evaluator equals a walk node by node, on probes and their leaves."""
    trees = forest(seed, single=single, cast_single=cast_single)
    for first, last, rows in probes(trees, np.random.default_rng(seed)):
        ends, raw = leaves(trees, rows, first, last), evaluate(trees, rows)
        for i in range(0, len(rows), 5):
            nodes, total = by_definition(trees, rows[i].tolist())
            assert ends[i].tolist() == nodes[first:last]
            assert raw[i] == total


@given(seed=st.integers(0, 10**6), single=st.booleans(), cast_single=st.booleans(), missing=st.booleans())
def test_probes_reach_every_node(seed: int, single: bool, cast_single: bool, missing: bool) -> None:
    """Some probe ends in every leaf, and the probes are few: at most the levels and six for each split."""
    trees = forest(seed, single=single, cast_single=cast_single)
    reached: set[int] = set()
    count = 0
    for first, last, rows in probes(trees, np.random.default_rng(0), missing=missing):
        reached |= set(leaves(trees, rows, first, last).ravel().tolist())
        count += len(rows)
        assert missing or not np.isnan(rows).any()
    assert reached == set(np.flatnonzero(trees.feature < 0).tolist())
    assert count <= 6 * np.count_nonzero(trees.feature >= 0) + trees.n_trees


@given(seed=st.integers(0, 10**6), single=st.booleans(), cast_single=st.booleans())
def test_what_is_exact_passes(seed: int, single: bool, cast_single: bool) -> None:
    """A library that computes what the trees say is found equal, and the summary counts the probes."""
    trees = forest(seed, single=single, cast_single=cast_single)
    summary = self_check("model", trees, native_of(trees))
    assert summary.endswith(" probes equal (leaves, values, raw scores, scores)")
    assert int(summary.partition(" ")[0].replace(",", "")) >= trees.n_trees


def mutated(trees: Trees, mutation: str, pick: int) -> Trees | None:
    """Return the trees with one thing changed by as little as possible, or None where they have no such thing."""
    tests = np.flatnonzero(trees.feature >= 0)
    numeric = tests[trees.members[tests] < 0]
    ends = np.flatnonzero(trees.feature < 0)
    kind = np.float32 if trees.cast_single else np.float64
    if mutation.startswith("threshold") and len(numeric):
        threshold, at = trees.threshold.copy(), numeric[pick % len(numeric)]
        towards = kind(np.inf if mutation.endswith("up") else -np.inf)
        threshold[at] = np.nextafter(kind(threshold[at]), towards)
        return replace(trees, threshold=threshold)
    if mutation == "missing" and len(tests):
        flipped = trees.missing_left.copy()
        flipped[tests[pick % len(tests)]] ^= True
        return replace(trees, missing_left=flipped)
    if mutation == "sides" and len(tests):
        at = tests[pick % len(tests)]
        left, right = trees.left.copy(), trees.right.copy()
        left[at], right[at] = right[at], left[at]
        return replace(trees, left=left, right=right)
    if mutation == "set" and len(trees.sets):
        sets, row = trees.sets.copy(), pick % len(trees.sets)
        column = trees.columns[trees.feature[np.flatnonzero(trees.members == row)[0]]]
        sets[row, pick % len(column.levels or ())] ^= True
        return replace(trees, sets=sets)
    if mutation == "value":
        value, at = trees.value.copy(), ends[pick % len(ends)]
        value[at] = np.nextafter(np.float32(value[at]), np.float32(9)) if trees.single else np.nextafter(value[at], 9)
        return replace(trees, value=value)
    if mutation == "base":
        return replace(trees, base=trees.base + 1e-3)
    if mutation == "divisor":
        return replace(trees, divisor=trees.divisor + 1e-3)
    return None


@pytest.mark.parametrize("mutation", MUTATIONS)
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), single=st.booleans(), cast_single=st.booleans(), pick=st.integers(0, 10**6))
def test_any_single_change_is_found(mutation: str, seed: int, single: bool, cast_single: bool, pick: int) -> None:
    """One threshold by one representable number, one default, one level, one leaf by one bit: the check fails."""
    trees = forest(seed, single=single, cast_single=cast_single)
    wrong = mutated(trees, mutation, pick)
    assume(wrong is not None)
    assert wrong is not None
    with pytest.raises(SelfCheckFailed, match="Nothing is explained"):
        self_check("model", wrong, native_of(trees))


@pytest.mark.parametrize("mutation", ["threshold up", "threshold down", "missing", "sides", "set", "base"])
@pytest.mark.parametrize("pick", range(4))
def test_changes_show_in_raw_scores_alone(mutation: str, pick: int) -> None:
    """Where a library tells neither leaves nor values, the raw scores of the probes give a change away."""
    trees = forest(pick, single=True, cast_single=True)
    wrong = mutated(trees, mutation, pick)
    assert wrong is not None
    native = native_of(trees)
    with pytest.raises(SelfCheckFailed, match="raw score"):
        self_check("model", wrong, Native(native.raw, native.score, native.squash))


def test_a_falling_squash_is_found() -> None:
    """The search compares raw scores with a cut: a score that falls where the raw score rises is refused."""
    trees = forest(5, single=False, cast_single=False)
    native = Native(lambda m: evaluate(trees, m), lambda m: -evaluate(trees, m), lambda raw: -raw)
    with pytest.raises(SelfCheckFailed, match="falls"):
        self_check("model", trees, native)


def test_a_model_read_from_a_library_and_changed_is_found() -> None:
    """A threshold of a real model moved by one float32 is found by the scores of the library itself."""
    pytest.importorskip("xgboost")
    import pandas as pd
    import xgboost

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 3)).round(1), columns=list("abc"))
    classifier = xgboost.XGBClassifier(n_estimators=10, max_depth=3, n_jobs=1)
    model = read_model(classifier.fit(frame, (frame["a"] + frame["b"] > 0).astype(int)))
    core, native = model.core, Native(model.raw, model.score, model.squash)
    assert isinstance(core, Trees)
    assert "equal" in self_check(model.name, core, native)
    tests = np.flatnonzero(core.feature >= 0)
    for at in tests[::7]:
        threshold = core.threshold.copy()
        threshold[at] = np.nextafter(np.float32(threshold[at]), np.float32(np.inf))
        with pytest.raises(SelfCheckFailed, match="raw score"):
            self_check(model.name, replace(core, threshold=threshold), native)
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), classifier.predict_proba(frame)[:, 1])
