"""Every box's bound is at least the native score of every point in it: what all proofs rest on."""

from __future__ import annotations

from itertools import product
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recourse import Finder
from recourse.search.forest import OF, activate, specialise
from recourse.search.leaves import COST, COUNT, HOME, POSITION, ROW, affordable, classify, collect, nearest
from recourse.search.masks import build_masks, mask_box, mask_point, probe, strike, tighten, upper_bound, weigh
from recourse.search.merging import merge
from recourse.search.moves import UNBOUNDED, build_moves
from tests.agreement import raw_frame
from tests.strategies import TREES, cases


@numba.njit
def bounds(forest: Any, space: Any, moves: Any, max_changes: int, merged: bool, draw: np.ndarray) -> Any:
    """Bound boxes of classes: draw[i, a] says where in feature a the i-th box begins and how far it reaches."""
    active = activate(space, moves)
    n = len(active.table)
    residual = specialise(forest, space, moves, active)
    reach = affordable(moves, active, UNBOUNDED)
    groups = collect(residual, moves, active, reach, UNBOUNDED, min(max_changes, n))
    choice = classify(moves, active, reach, groups)
    masks = build_masks(choice, groups)
    if merged:
        groups = merge(choice, groups, masks, UNBOUNDED, min(max_changes, n), 64, 2)
        masks = build_masks(choice, groups)
    mask, spare = np.empty(masks.row.shape[1], np.uint64), np.empty(masks.row.shape[1], np.uint64)
    boxes, out = np.empty((len(draw), 2 * n), np.int16), np.empty(len(draw))
    low_enough, top = np.full(1, -np.inf), np.empty(1)
    for i in range(len(draw)):
        for a in range(n):
            low = int(draw[i, a, 0] * choice.table[a, COUNT])
            boxes[i, 2 * a] = low
            boxes[i, 2 * a + 1] = low + int(draw[i, a, 1] * (choice.table[a, COUNT] - low))
        mask_box(choice, masks, boxes[i], mask, spare)
        out[i] = -np.inf if not upper_bound(groups, masks, mask, low_enough, top) else top[0]
    return active.table, choice.table, choice.item, boxes, out


@numba.njit
def cut_boxes(forest: Any, space: Any, moves: Any, max_changes: int, boxes: np.ndarray, slack: int, need: float) -> Any:
    """Strike, probe and tighten boxes as the search does, for points that cost at most `slack` more than the least."""
    active = activate(space, moves)
    n = len(active.table)
    residual = specialise(forest, space, moves, active)
    reach = affordable(moves, active, UNBOUNDED)
    groups = collect(residual, moves, active, reach, UNBOUNDED, min(max_changes, n))
    choice = classify(moves, active, reach, groups)
    masks = build_masks(choice, groups)
    words = masks.row.shape[1]
    mask, spare, point_mask = np.empty(words, np.uint64), np.empty(words, np.uint64), np.empty(words, np.uint64)
    weight, gap = np.empty(len(choice.item)), np.empty((1, n))
    needed, anything, top, total = np.full(1, need), np.full(1, -np.inf), np.empty(1), np.empty(1)
    point, forced, best = np.empty(n, np.int64), np.empty(1, np.int64), np.empty(len(groups.first), np.int64)
    bound, verdict = np.empty(len(boxes)), np.zeros(len(boxes), np.int64)
    ladder = np.empty((2 * n + 2, words), np.uint64)
    for i in range(len(boxes)):
        changes = 0
        for a in range(n):
            point[a] = nearest(choice.table[a, HOME], np.int64(boxes[i, 2 * a]), np.int64(boxes[i, 2 * a + 1]))
            changes += point[a] != choice.table[a, HOME]
        mask_box(choice, masks, boxes[i], mask, spare)
        bound[i] = -np.inf
        if not upper_bound(groups, masks, mask, anything, top):
            continue
        left = max_changes - changes
        if not strike(choice, groups, masks, mask, boxes[i], point, slack, left, anything, top):
            continue
        bound[i] = top[0]
        if left == 1 and probe(choice, groups, masks, mask, boxes[i], point, needed, top, best, ladder):
            verdict[i] = 2
        elif changes <= max_changes:
            mask_point(choice, masks, boxes[i], mask, point, point_mask)
            weigh(choice, groups, masks, mask, point_mask, boxes[i], point, np.ones(1), weight, gap, best, total)
            verdict[i] = tighten(choice, groups, masks, mask, boxes[i], point, needed, top, gap, best, forced)
    return bound, verdict


@pytest.mark.parametrize("library", TREES)
@given(data=st.data())
def test_what_is_cut_from_a_box_holds_no_plan(library: str, data: st.DataObject) -> None:
    """Struck bounds hold for every point within the slack, and no such point that suffices is cut from its box."""
    case = data.draw(cases([library], n_rows=1), label="case")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16), label="seed"))
    finder = Finder(case.native.estimator, case.policy, case.population)
    problem, row = finder._problem, case.rows[0]
    moves = build_moves(problem.space, problem.encode(raw_frame([row], case.native)).rows, 0)
    draw = rng.random((12, len(problem.names), 2))
    draw[:8][rng.random((8, len(problem.names))) < 0.7] = (0.0, 0.999)  # most features open: what a probe is for
    draw[0] = (0.0, 0.999)
    limit = min(problem.max_changes, int(rng.integers(1, 4)))
    active, table, item, boxes, upper = bounds(problem.forest, problem.space, moves, limit, False, draw)
    wide = [[range(b[2 * a], b[2 * a + 1] + 1) for a in range(len(active))] for b in boxes]
    before = boxes.copy()
    slack = int(rng.choice([0, 1, 2])) * int(item[:, COST].max(initial=0)) // 2
    need = float(rng.choice(upper)) - 1e-3
    bound, verdict = cut_boxes(problem.forest, problem.space, moves, limit, boxes, slack, need)
    eps = problem.model.core.eps
    for i, ranges in enumerate(wide):
        if np.prod([float(len(r)) for r in ranges]) > 2_000:
            continue
        cost = {p: sum(int(item[table[a, ROW] + c, COST]) for a, c in enumerate(p)) for p in product(*ranges)}
        few = [p for p in cost if sum(c != table[a, HOME] for a, c in enumerate(p)) <= limit]
        points = [p for p in few if cost[p] - min(cost.values()) <= slack]
        if not points:
            continue
        changed = [dict(row) for _ in points]
        for a in range(len(active)):
            j = int(active[a, OF])
            name, feature = problem.names[j], problem.features[j]
            for point, after in zip(points, changed):
                if point[a] != table[a, HOME]:
                    value = moves.value[moves.offset[j] + item[table[a, ROW] + point[a], POSITION]]
                    after[name] = feature.levels[int(value)] if feature.listed else float(value)
        scores = case.native.raw(raw_frame(changed, case.native)) * problem.forest.divisor[0]
        assert scores.max() <= bound[i] + eps
        for point, score in zip(points, scores):
            if score >= need + eps:
                assert verdict[i] >= 0
                assert all(boxes[i, 2 * a] <= c <= boxes[i, 2 * a + 1] for a, c in enumerate(point)), before[i]


@pytest.mark.parametrize("library", TREES)
@given(data=st.data())
def test_no_point_of_a_box_scores_above_its_bound(library: str, data: st.DataObject) -> None:
    """Random boxes of an applicant's moves, merged or not, against all their points; the bound of a point is tight."""
    case = data.draw(cases([library], n_rows=1), label="case")
    merged = data.draw(st.booleans(), label="merged")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16), label="seed"))
    finder = Finder(case.native.estimator, case.policy, case.population)
    problem, row = finder._problem, case.rows[0]
    encoded = problem.encode(raw_frame([row], case.native))
    moves = build_moves(problem.space, encoded.rows, 0)
    draw = rng.random((12, len(problem.names), 2))
    draw[:3, :, 1] = 0.0  # some boxes are points
    draw[3] = (0.0, 0.999)  # and one is everything
    active, table, item, boxes, upper = bounds(problem.forest, problem.space, moves, problem.max_changes, merged, draw)
    eps, divisor = problem.model.core.eps, problem.forest.divisor[0]
    for box, bound in zip(boxes, upper):
        ranges = [range(box[2 * a], box[2 * a + 1] + 1) for a in range(len(active))]
        if np.prod([float(len(r)) for r in ranges]) > 3_000:
            continue
        points = [
            p for p in product(*ranges) if sum(c != table[a, HOME] for a, c in enumerate(p)) <= problem.max_changes
        ]
        if not points:
            continue
        changed = [dict(row) for _ in points]
        for a in range(len(active)):
            j = int(active[a, OF])
            name, feature = problem.names[j], problem.features[j]
            for point, after in zip(points, changed):
                if point[a] != table[a, HOME]:
                    value = moves.value[moves.offset[j] + item[table[a, ROW] + point[a], POSITION]]
                    after[name] = feature.levels[int(value)] if feature.listed else float(value)
        scores = case.native.raw(raw_frame(changed, case.native)) * divisor
        assert scores.max() <= bound + eps
        if len(ranges) == sum(len(r) == 1 for r in ranges):
            assert abs(scores[0] - bound) <= eps
