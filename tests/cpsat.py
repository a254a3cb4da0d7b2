"""The optimum once more, by CP-SAT: leaves as Booleans, scores as scaled integers, values as the libraries test them.

The trees are read here from each library's own dump, apart from the engine's readers. The score constraint is relaxed
by the rounding of the native sum, so CP-SAT's bound is a bound on the true optimum; a point that CP-SAT returns is
scored natively, and one that fails is cut off and the search goes on, so what remains is the optimum itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from ortools.sat.python import cp_model

from tests import naive
from tests.native import Native


@dataclass(frozen=True, eq=False)
class Split:
    """A test of one column; `left` takes the rows for which `goes_left(values)`."""

    column: int
    key: tuple[Any, ...]  # equal keys are equal tests
    goes_left: Callable[[np.ndarray], np.ndarray]
    left: Split | float
    right: Split | float
    threshold: float | None = None


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Trees as a library dumps them; the raw score is `base + sum of leaves`, within `slack`."""

    native: Native
    columns: tuple[str, ...]  # of `matrix`
    matrix: Callable[[pd.DataFrame], np.ndarray]  # raw rows -> what the tests see
    trees: tuple[Split | float, ...]
    base: float
    slack: float

    def raw(self, rows: pd.DataFrame) -> np.ndarray:
        """Return this reading's raw scores."""
        seen = self.matrix(rows)
        return self.base + sum((_walk(tree, seen) for tree in self.trees), np.zeros(len(seen)))


@dataclass(frozen=True)
class Witness:
    """What CP-SAT can swear to; costs are micro-units."""

    status: str  # found | none_exists | open
    cost: int | None
    bound: int
    row: dict[str, Any] | None
    cuts: int
    seconds: float

    @property
    def exact(self) -> bool:
        return self.status == "none_exists" or (self.status == "found" and self.cost == self.bound)


# --- the libraries' dumps -------------------------------------------------------------------------------------------


def read(native: Native, rows: pd.DataFrame) -> Ensemble:
    """Read the trees of a fitted classifier; its sums are compared with the native ones on `rows`."""
    kind = type(native.estimator).__name__
    columns, matrix, trees, single = _READERS[kind](native)
    bare = Ensemble(native, columns, matrix, trees, 0.0, 0.0)
    gap = native.raw(rows) - bare.raw(rows)
    reach = sum(max(abs(v) for v in _leaves(tree)) for tree in trees) + abs(float(gap[0]))
    slack = (4e-7 * (len(trees) + 2) if single else 1e-13 * (len(trees) + 2)) * (1.0 + reach)
    assert np.ptp(gap) <= slack, f"this reading of {kind} is wrong by {np.ptp(gap)}"
    return Ensemble(native, columns, matrix, trees, float(np.median(gap)), slack)


def _numeric(native: Native, dtype: type) -> Callable[[pd.DataFrame], np.ndarray]:
    """Numbers cast as the library casts them, categories as positions in their levels."""

    def matrix(rows: pd.DataFrame) -> np.ndarray:
        frame = native.frame(rows)
        out = np.empty((len(rows), len(native.columns)))
        for j, name in enumerate(native.columns):
            if name in native.levels:
                codes = frame[name].cat.codes.to_numpy().astype(np.float64)
                out[:, j] = np.where(codes < 0, np.nan, codes)
            else:
                out[:, j] = frame[name].to_numpy().astype(dtype).astype(np.float64)
        return out

    return matrix


def _xgboost(native: Native) -> Any:
    sign = 1.0 if native.side == 1 else -1.0
    booster = native.estimator.get_booster()
    dumped = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]
    best = getattr(native.estimator, "best_iteration", None) if native.estimator.early_stopping_rounds else None

    def build(tree: dict[str, Any]) -> Split | float:
        members = {
            node: set(tree["categories"][at : at + size])
            for node, at, size in zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"])
        }

        def node(i: int) -> Split | float:
            if tree["left_children"][i] == -1:
                return sign * float(np.float32(tree["split_conditions"][i]))
            column, default = tree["split_indices"][i], bool(tree["default_left"][i])
            left, right = node(tree["left_children"][i]), node(tree["right_children"][i])
            if tree["split_type"][i]:
                inside = frozenset(members[i])
                test = lambda v: np.where(np.isnan(v), default, ~np.isin(v, list(inside)))  # noqa: E731
                return Split(column, ("cat", inside, default), test, left, right)
            at = float(np.float32(tree["split_conditions"][i]))
            test = lambda v: np.where(np.isnan(v), default, v < at)  # noqa: E731
            return Split(column, ("lt", at, default), test, left, right, at)

        return node(0)

    kept = dumped if best is None else dumped[: best + 1]
    return native.columns, _numeric(native, np.float32), tuple(build(tree) for tree in kept), True


def _lightgbm(native: Native) -> Any:
    sign = 1.0 if native.side == 1 else -1.0

    def node(d: dict[str, Any]) -> Split | float:
        if "leaf_value" in d:
            return sign * float(d["leaf_value"])
        left, right, column = node(d["left_child"]), node(d["right_child"]), d["split_feature"]
        missing, default = d["missing_type"], bool(d["default_left"])
        if d["decision_type"] == "==":
            inside = frozenset(int(c) for c in str(d["threshold"]).split("||"))
            test = lambda v: np.where(np.isnan(v), False, np.isin(v, list(inside)))  # noqa: E731
            return Split(column, ("cat", inside), test, left, right)
        at = float(d["threshold"])

        def test(v: np.ndarray) -> np.ndarray:
            v = v if missing == "NaN" else np.where(np.isnan(v), 0.0, v)
            plain = v <= at
            if missing == "Zero":
                return np.where(np.abs(v) <= 1e-35, default, plain)
            return np.where(np.isnan(v), default, plain)

        return Split(column, ("le", at, missing, default), test, left, right, at)

    dumped = native.estimator.booster_.dump_model()["tree_info"]
    trees = tuple(node(tree["tree_structure"]) for tree in dumped)
    return native.columns, _numeric(native, np.float64), trees, False


def _hist(native: Native) -> Any:
    sign = 1.0 if native.side == 1 else -1.0
    estimator = native.estimator
    categories = [c for c in native.columns if c in native.levels]
    columns = (*categories, *(c for c in native.columns if c not in native.levels)) if categories else native.columns

    def build(predictor: Any) -> Split | float:
        nodes, bits = predictor.nodes, predictor.raw_left_cat_bitsets

        def node(i: int) -> Split | float:
            it = nodes[i]
            if it["is_leaf"]:
                return sign * float(it["value"])
            left, right, default = node(int(it["left"])), node(int(it["right"])), bool(it["missing_go_to_left"])
            if it["is_categorical"]:
                words = bits[int(it["bitset_idx"])]
                inside = frozenset(c for c in range(256) if (int(words[c // 32]) >> (c % 32)) & 1)
                test = lambda v: np.where(np.isnan(v), default, np.isin(v, list(inside)))  # noqa: E731
                return Split(int(it["feature_idx"]), ("cat", inside, default), test, left, right)
            at = float(it["num_threshold"])
            test = lambda v: np.where(np.isnan(v), default, v <= at)  # noqa: E731
            return Split(int(it["feature_idx"]), ("le", at, default), test, left, right, at)

        return node(0)

    def matrix(rows: pd.DataFrame) -> np.ndarray:
        frame = native.frame(rows)
        if not categories:
            return frame.to_numpy(dtype=np.float64)
        return np.asarray(estimator._preprocessor.transform(frame), dtype=np.float64)

    return columns, matrix, tuple(build(p[0]) for p in estimator._predictors), False


def _scikit(native: Native) -> Any:
    estimator = native.estimator
    kind = type(estimator).__name__

    def build(tree: Any, leaf: Callable[[np.ndarray], float]) -> Split | float:
        def node(i: int) -> Split | float:
            if tree.children_left[i] == -1:
                return leaf(tree.value[i, 0])
            at, default = float(tree.threshold[i]), bool(tree.missing_go_to_left[i])
            test = lambda v: np.where(np.isnan(v), default, v <= at)  # noqa: E731
            left, right = node(int(tree.children_left[i])), node(int(tree.children_right[i]))
            return Split(int(tree.feature[i]), ("le", at, default), test, left, right, at)

        return node(0)

    if kind == "GradientBoostingClassifier":
        sign = 1.0 if native.side == 1 else -1.0
        trees = [
            build(t.tree_, lambda v: sign * estimator.learning_rate * float(v[0])) for t in estimator.estimators_[:, 0]
        ]
    else:
        members = [estimator] if kind == "DecisionTreeClassifier" else estimator.estimators_
        trees = [build(t.tree_, lambda v: float(v[native.side] / v.sum()) / len(members)) for t in members]
    return native.columns, _numeric(native, np.float32), tuple(trees), False


_READERS: dict[str, Callable[[Native], Any]] = {
    "XGBClassifier": _xgboost,
    "LGBMClassifier": _lightgbm,
    "HistGradientBoostingClassifier": _hist,
    "GradientBoostingClassifier": _scikit,
    "RandomForestClassifier": _scikit,
    "ExtraTreesClassifier": _scikit,
    "DecisionTreeClassifier": _scikit,
}


def _walk(tree: Split | float, seen: np.ndarray) -> np.ndarray:
    if not isinstance(tree, Split):
        return np.full(len(seen), tree)
    left = np.asarray(tree.goes_left(seen[:, tree.column]), dtype=bool)
    out = np.empty(len(seen))
    out[left] = _walk(tree.left, seen[left])
    out[~left] = _walk(tree.right, seen[~left])
    return out


def _leaves(tree: Split | float) -> list[float]:
    return [tree] if not isinstance(tree, Split) else _leaves(tree.left) + _leaves(tree.right)


def _splits(tree: Split | float) -> list[Split]:
    return [] if not isinstance(tree, Split) else [tree, *_splits(tree.left), *_splits(tree.right)]


# --- the model ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Groups:
    """A feature's moves, one per pattern of outcomes of the ensemble's tests: the cheapest of each."""

    moves: tuple[naive.Move, ...]
    outcome: dict[tuple[Any, ...], np.ndarray]  # test -> bool[n_groups], goes left


def _reach(splits: list[Split], feature: Any, start: Any) -> tuple[tuple[float, float] | None, list[float] | None]:
    """Return where a grid may end, and the float32 values worth looking at where there is no grid."""
    if feature.listed or naive.is_missing(start):
        return None, None
    at = [float(start)] + [s.threshold for s in splits if s.threshold is not None and math.isfinite(s.threshold)]
    step = float(feature.step) if feature.step is not None else 1.0
    bounds = (min(at) - 3 * step, max(at) + 3 * step)
    near: set[float] = set()
    for value in [*at, *bounds, *(float(b) for b in (feature.min, feature.max) if b is not None)]:
        single = np.float32(value)
        near |= {
            float(v)
            for v in (single, np.nextafter(single, np.float32(np.inf)), np.nextafter(single, -np.float32(np.inf)))
        }
    cap = naive._cap(feature.max_change, naive.exact(float(start)))
    for value in [] if cap is None else [float(start) - float(cap), float(start) + float(cap)]:
        single = np.float32(value)
        near |= {
            float(v)
            for v in (single, np.nextafter(single, np.float32(np.inf)), np.nextafter(single, -np.float32(np.inf)))
        }
    single = np.float32(start)
    near |= {float(np.nextafter(single, np.float32(np.inf))), float(np.nextafter(single, -np.float32(np.inf)))}
    return bounds, sorted(near)


def groups(ensemble: Ensemble, policy: Any, population: Any, row: Mapping[str, Any]) -> dict[str, Groups]:
    """Group every feature's raw values by what the ensemble's tests say of them."""
    splits = [s for tree in ensemble.trees for s in _splits(tree)]
    out = {}
    for name in policy.features:
        mine = [s for s in splits if ensemble.columns[s.column] == name]
        reach, near = _reach(mine, policy.features[name], row[name])
        moves = naive.moves(policy, population, name, row[name], reach=reach, candidates=near)
        number = not isinstance(row[name], str | bool | type(None))
        rows = pd.DataFrame({n: naive.column([v] * len(moves), number=False) for n, v in row.items()})
        rows[name] = naive.column([m.value for m in moves], number=number)
        tests = {s.key: s for s in mine}
        if not tests:
            out[name] = Groups((moves[0],), {})
            continue
        values = ensemble.matrix(rows)[:, ensemble.columns.index(name)]
        table = np.column_stack([np.asarray(s.goes_left(values), dtype=bool) for s in tests.values()])
        _, first = np.unique(table, axis=0, return_index=True)  # moves are sorted: the first is the cheapest
        first = np.sort(first)
        out[name] = Groups(tuple(moves[i] for i in first), {key: table[first, t] for t, key in enumerate(tests)})
    return out


def solve(
    ensemble: Ensemble,
    policy: Any,
    population: Any,
    row: Mapping[str, Any],
    *,
    threshold: float | None = None,
    seconds: float = 120.0,
    workers: int = 1,
    most_cuts: int = 30,
) -> Witness:
    """Minimise the cost subject to the native score; `row` must be a rejected applicant."""
    native = ensemble.native
    bar = float(policy.decision.threshold if threshold is None else threshold) + policy.decision.margin
    target = _target(native, bar) - ensemble.base - ensemble.slack
    table = groups(ensemble, policy, population, row)
    model = cp_model.CpModel()
    pick = {name: [model.new_bool_var("") for _ in g.moves] for name, g in table.items()}
    for name in pick:
        model.add_exactly_one(pick[name])
    literal = {
        (name, key): _literal(model, pick[name], left) for name, g in table.items() for key, left in g.outcome.items()
    }
    total = sum(max(abs(v) for v in _leaves(tree)) for tree in ensemble.trees) + 1e-9
    bits = 50 - math.ceil(math.log2(total))
    terms: list[Any] = []
    constant = 0
    for tree in ensemble.trees:
        allowed = {name: np.ones(len(g.moves), dtype=bool) for name, g in table.items()}
        leaves = _place(model, ensemble, tree, table, literal, allowed)
        if len(leaves) == 1:
            constant += leaves[0][1]
            continue
        model.add_exactly_one([leaf for leaf, _ in leaves])
        terms += leaves
    # every leaf is rounded up and the bar down, so nothing that the native library approves is lost
    scaled = [(leaf, math.ceil(v * 2.0**bits)) for leaf, v in terms]
    if math.isfinite(target):
        model.add(sum(w * leaf for leaf, w in scaled) >= math.floor((target - constant) * 2.0**bits) - 2)
    elif target > 0:
        return Witness("none_exists", None, 0, None, 0, 0.0)
    price = [(v, m.cost) for name, g in table.items() for v, m in zip(pick[name], g.moves)]
    if policy.cost.max_changes is not None:
        model.add(
            sum(v for name, g in table.items() for v, m in zip(pick[name], g.moves) if not m.stays)
            <= policy.cost.max_changes
        )
    model.minimize(sum(c * v for v, c in price))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = workers
    solver.parameters.random_seed = 0
    spent, bound = 0.0, 0
    for cuts in range(most_cuts + 1):
        solver.parameters.max_time_in_seconds = max(1.0, seconds - spent)
        status = solver.solve(model)
        spent += solver.wall_time
        if status == cp_model.INFEASIBLE:
            return Witness("none_exists", None, 0, None, cuts, spent)
        bound = max(bound, math.ceil(solver.best_objective_bound - 1e-6))
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            break
        chosen = {name: next(i for i, v in enumerate(vs) if solver.value(v)) for name, vs in pick.items()}
        after = {**row, **{name: table[name].moves[i].value for name, i in chosen.items()}}
        one = pd.DataFrame({n: naive.column([v], number=False) for n, v in after.items()})
        if native(one)[0] >= bar:
            cost = sum(table[name].moves[i].cost for name, i in chosen.items())
            return Witness("found", cost, bound, after, cuts, spent)
        if status != cp_model.OPTIMAL:
            break
        model.add_bool_or([pick[name][i].negated() for name, i in chosen.items()])
    return Witness("open", None, bound, None, 0, spent)


def _target(native: Native, bar: float) -> float:
    """Return a raw score that no approved row is below."""
    if native.score == "decision_function":
        return bar
    kind = type(native.estimator).__name__
    if kind in ("RandomForestClassifier", "ExtraTreesClassifier", "DecisionTreeClassifier"):
        return bar - 1e-12
    lower = bar - (1e-7 if kind == "XGBClassifier" else 1e-15)
    if lower >= 1.0:
        return math.inf
    return math.log(lower / (1.0 - lower)) - 1e-12 if lower > 0.0 else -math.inf


def _literal(model: Any, pick: list[Any], left: np.ndarray) -> Any:
    """Return what is true when the chosen group goes left; True or False where all or none do."""
    if left.all() or not left.any():
        return bool(left.all())
    if left.sum() == 1:
        return pick[int(np.flatnonzero(left)[0])]
    if (~left).sum() == 1:
        return pick[int(np.flatnonzero(~left)[0])].negated()
    made = model.new_bool_var("")
    model.add(sum(v for v, inside in zip(pick, left) if inside) == made)
    return made


def _place(
    model: Any,
    ensemble: Ensemble,
    tree: Split | float,
    table: dict[str, Groups],
    literal: dict[Any, Any],
    allowed: dict[str, np.ndarray],
) -> list[tuple[Any, float]]:
    """Make a Boolean for every leaf that some choice reaches, and tie it to the tests above it."""
    if not isinstance(tree, Split):
        return [(model.new_bool_var(""), tree)]
    name = ensemble.columns[tree.column]
    left = table[name].outcome[tree.key]
    sides = []
    for side, subtree in ((left, tree.left), (~left, tree.right)):
        kept = allowed[name] & side
        sides.append(_place(model, ensemble, subtree, table, literal, {**allowed, name: kept}) if kept.any() else [])
    test = literal[name, tree.key]
    if sides[0] and sides[1] and not isinstance(test, bool):
        model.add_at_most_one([*(leaf for leaf, _ in sides[0]), test.negated()])
        model.add_at_most_one([*(leaf for leaf, _ in sides[1]), test])
    return sides[0] + sides[1]
