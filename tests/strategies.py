"""Hypothesis strategies: schemas, training frames, small models of every library, policies and rejected applicants.

What shapes a case (which columns, which limits, which threshold) is drawn; the numbers that fill the training frame
come from one drawn seed, so a failing case shrinks by its shape.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import reject
from hypothesis import strategies as st
from lightgbm import LGBMClassifier
from lightgbm.basic import LightGBMError
from sklearn import ensemble, linear_model, svm, tree
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier

from recourse.errors import PolicyError
from recourse.policy import Policy, check_costs
from recourse.population import Population
from tests import naive
from tests.native import Native

threadpool_limits(limits=1)  # small models gain nothing from threads, and would wait for one another

TREES = (
    "xgboost",
    "lightgbm",
    "random_forest",
    "extra_trees",
    "decision_tree",
    "gradient_boosting",
    "hist_gradient_boosting",
)
LINEAR = ("logistic_regression", "linear_svc")
CATEGORICAL = frozenset({"xgboost", "lightgbm", "hist_gradient_boosting"})  # with categories of their own
WITHOUT_MISSING = frozenset({"gradient_boosting", *LINEAR})


@dataclass(frozen=True)
class ColumnPlan:
    """How one column is filled and what the policy says of it."""

    name: str
    values: tuple[Any, ...]  # training values are drawn from these
    starts: tuple[Any, ...]  # applicants may also have these
    feature: Mapping[str, Any]  # the policy's words
    native_levels: tuple[Any, ...] | None = None  # set where the library treats it as a category
    span: tuple[float, float] | None = None  # where an open grid may end: beyond every threshold


@dataclass(frozen=True, eq=False)
class Case:
    """One small world in which the definitions can be enumerated."""

    library: str
    frame: pd.DataFrame
    target: np.ndarray
    native: Native
    policy: Policy
    population: Population
    rows: tuple[dict[str, Any], ...]
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return what is needed to read a failure."""
        return (
            f"Case({self.library}, {self.native.estimator!r},\n{self.policy.to_toml()}\n"
            f"rows={self.rows},\ntrain=\n{self.frame.head(3)})"
        )

    def solve(self, row: Mapping[str, Any], *, limit: int = 20_000) -> naive.Answer:
        """Return the answer by definition; linear models are scored row by row, so their domains are smaller."""
        limit = min(limit, 1_000) if self.library in LINEAR else limit
        return naive.solve(self.policy, self.population, self.native, row, limit=limit, reach=self.spans)


# --- columns --------------------------------------------------------------------------------------------------------


@st.composite
def _limits(draw: st.DrawFn, grid: Sequence[float], *, bounded: bool) -> dict[str, Any]:
    """Draw direction, bounds and the largest change for a column whose values lie about `grid`."""
    out: dict[str, Any] = {"change": draw(st.sampled_from(["any", "any", "up", "down"]))}
    if bounded or draw(st.booleans()):
        out["min"] = draw(st.sampled_from(grid[: max(1, len(grid) // 3)]))
        out["max"] = draw(st.sampled_from(grid[-max(1, len(grid) // 3) :]))
    size = grid[-1] - grid[0]
    kind = draw(st.sampled_from(["none", "none", "absolute", "percent"]))
    if kind == "absolute":
        share = draw(st.sampled_from([0.25, 0.3, 0.5]))
        out["max_change"] = float(f"{share * size:.3g}")
    if kind == "percent":
        out["max_change"] = {
            "percent": draw(st.sampled_from([10, 30, 33.3, 50])),
            "at_least": draw(st.sampled_from([0, 0.1, 1, 2])),
        }
    out["weight"] = draw(st.sampled_from([1.0, 1.0, 0.3, 2.5, 0.0]))
    return out


@st.composite
def _integers(draw: st.DrawFn, name: str, library: str) -> ColumnPlan:
    """Whole numbers; the policy's step may leave holes, codes and missing values may stand among them."""
    low = draw(st.sampled_from([0, 0, 1, -4, 100, 16_777_210]))
    width = draw(st.integers(3, 9))
    step = draw(st.sampled_from([None, None, 2, 3]))
    grid = [low + i for i in range(width * (step or 1))]
    feature = {"kind": "integer", **draw(_limits(grid, bounded=library in LINEAR or low > 1_000))}
    if step is not None:
        feature["step"] = step
        feature["step_from"] = draw(st.sampled_from(["zero", "applicant"]))
    values: list[Any] = list(grid)
    if draw(st.integers(0, 3)) == 0:
        codes = [-9, -8] if 0 <= low < 1_000 else [grid[2]]
        feature["codes"] = {str(code): "no record" for code in codes}
        values += codes * 2
    starts: list[Any] = [*values, grid[0] - 2, grid[-1] + 2]
    if library not in WITHOUT_MISSING:
        if draw(st.booleans()):
            values += [None, None]
        starts += [None]
    if draw(st.integers(0, 3)) == 0:
        feature["kind"] = "ordinal"
    return ColumnPlan(
        name,
        tuple(values),
        tuple(starts),
        feature,
        span=((low if low > 1_000 else min(-9, low)) - 10.0, grid[-1] + 10.0),
    )


@st.composite
def _decimals(draw: st.DrawFn, name: str, library: str) -> ColumnPlan:
    """Decimal fractions; training values lie on the grid and between its points."""
    unit = Decimal(draw(st.sampled_from(["0.1", "0.25", "0.05", "0.3", "1e-3", "2.5", "1e5"])))
    low = draw(st.sampled_from([0, 0, 1, -3]))
    width = draw(st.integers(3, 8))
    coarse = draw(st.sampled_from([1, 1, 2]))
    grid = [float(unit * (low + i)) for i in range(width * coarse)]
    feature = {"kind": "number", "step": unit * coarse, **draw(_limits(grid, bounded=library in LINEAR))}
    feature["step_from"] = draw(st.sampled_from(["zero", "zero", "applicant"]))
    half = [float(unit * (low + i) + unit / 2) for i in range(width)]
    values: list[Any] = grid + grid + half + [float(np.float32(v)) for v in grid[:2]]
    starts: list[Any] = [
        *values,
        float(unit * (low - 2)),
        math.nextafter(grid[1], math.inf),
        grid[-1] + float(unit) / 3,
    ]
    if feature["step_from"] == "applicant":  # counted from what prints with few digits only
        starts = [v for v in starts if len(repr(v)) < 12]
    if library not in WITHOUT_MISSING:
        if draw(st.booleans()):
            values += [None, None]
        starts += [None]
    pad = float(unit) * (3 * coarse + 2)
    return ColumnPlan(
        name, tuple(values), tuple(starts), feature, span=(min(starts_of(starts)) - pad, max(starts_of(starts)) + pad)
    )


def starts_of(starts: Sequence[Any]) -> list[float]:
    """Return the numbers among values."""
    return [float(v) for v in starts if v is not None]


@st.composite
def _singles(draw: st.DrawFn, name: str, library: str) -> ColumnPlan:
    """A number without a step in a window of a few float32 values; training values also lie between them."""
    at = np.float32(draw(st.sampled_from([1.0, 0.1, 16_777_216.0, 3e-3, -0.7])))
    window = [at]
    for _ in range(draw(st.integers(2, 7))):
        window.append(np.nextafter(window[-1], np.float32(np.inf)))
    exact = [float(v) for v in window]
    between = [(a + b) / 2 for a, b in pairwise(exact)]
    feature = {
        "kind": "number",
        "change": draw(st.sampled_from(["any", "up", "down"])),
        "min": draw(st.sampled_from([exact[0], between[0]])),
        "max": draw(st.sampled_from([exact[-1], between[-1]])),
        "weight": draw(st.sampled_from([1.0, 0.5])),
    }
    return ColumnPlan(name, tuple(exact + between), tuple(exact + between), feature)


@st.composite
def _ladders(draw: st.DrawFn, name: str, library: str) -> ColumnPlan:
    """An ordinal with levels: numbers that the model reads as numbers, or words where it has categories."""
    words = library in CATEGORICAL and draw(st.booleans())
    size = draw(st.integers(2, 5))
    levels: tuple[Any, ...] = ("none", "some", "half", "most", "full")[:size] if words else (1, 2, 5, 10, 40)[:size]
    if not words and draw(st.booleans()):
        levels = tuple(reversed(levels))  # later in the list is better, whatever the number
    feature: dict[str, Any] = {
        "kind": "ordinal",
        "levels": list(levels),
        "change": draw(st.sampled_from(["any", "up", "down"])),
    }
    if draw(st.booleans()):
        feature["max_change"] = draw(st.sampled_from([1, 2]))
    feature["weight"] = draw(st.sampled_from([1.0, 0.5]))
    values: list[Any] = list(levels)
    if library not in WITHOUT_MISSING and draw(st.integers(0, 2)) == 0:
        values.append(None)
    return ColumnPlan(name, tuple(values), tuple(values), feature, native_levels=levels if words else None)


@st.composite
def _categories(draw: st.DrawFn, name: str, library: str) -> ColumnPlan:
    """A category, by name or by number, with moves and prices of its own."""
    words = library in CATEGORICAL and draw(st.integers(0, 3)) > 0
    size = draw(st.integers(2, 5))
    levels: tuple[Any, ...] = ("rent", "own", "free", "kin", "tent")[:size] if words else (3, 1, 7, 4, 9)[:size]
    feature: dict[str, Any] = {"kind": "category", "levels": list(levels)}
    if draw(st.booleans()):
        feature["moves"] = {
            str(a): draw(st.lists(st.sampled_from([b for b in levels if b != a]), unique=True, max_size=3))
            for a in levels
            if draw(st.booleans())
        }
    if draw(st.booleans()):
        reached = {a: feature.get("moves", {}).get(str(a), [] if "moves" in feature else levels) for a in levels[:2]}
        feature["move_cost"] = {
            str(a): {str(b): draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])) for b in ends if b != a}
            for a, ends in reached.items()
        }
    feature["weight"] = draw(st.sampled_from([1.0, 0.2]))
    values: list[Any] = list(levels)
    if library not in WITHOUT_MISSING and draw(st.integers(0, 2)) == 0:
        values.append(None)
    return ColumnPlan(name, tuple(values), tuple(values), feature, native_levels=levels if words else None)


@st.composite
def _flags(draw: st.DrawFn, name: str, library: str) -> ColumnPlan:
    """A flag as 0 and 1."""
    feature = {
        "kind": "flag",
        "change": draw(st.sampled_from(["any", "any", "up", "down"])),
        "weight": draw(st.sampled_from([1.0, 0.4])),
    }
    return ColumnPlan(name, (0, 1), (0, 1), feature)


_MOVING = frozenset({"change", "max_change", "weight", "moves", "move_cost"})

KINDS = {
    "integer": _integers,
    "decimal": _decimals,
    "single": _singles,
    "ladder": _ladders,
    "category": _categories,
    "flag": _flags,
}


@st.composite
def schemas(draw: st.DrawFn, library: str) -> tuple[ColumnPlan, ...]:
    """Draw two to five columns; some are fixed or protected."""
    names = ("income", "debts", "housing", "age", "savings")
    out = []
    for name in names[: draw(st.sampled_from([2, 3, 3, 4, 4, 5]))]:
        kinds = [k for k in KINDS if k != "single" or library not in LINEAR]
        column = draw(KINDS[draw(st.sampled_from(kinds))](name, library))
        feature = {**column.feature, "role": draw(st.sampled_from(["action"] * 6 + ["fixed", "protected"]))}
        if feature["role"] == "protected":  # which says nothing of moves
            feature = {k: v for k, v in feature.items() if k not in _MOVING}
        out.append(replace(column, feature=feature))
    return tuple(out)


# --- models ---------------------------------------------------------------------------------------------------------


@st.composite
def settings_of(draw: st.DrawFn, library: str) -> dict[str, Any]:
    """Draw the settings of a small model."""
    n, depth = draw(st.sampled_from([1, 3, 5, 8])), draw(st.sampled_from([1, 2, 3, 4]))
    rate = draw(st.sampled_from([0.3, 1.0]))
    if library == "xgboost":
        extra = draw(st.sampled_from([{}, {"base_score": 0.3}, {"max_cat_to_onehot": 1}, {"subsample": 0.7}]))
        return {"n_estimators": n, "max_depth": depth, "learning_rate": rate, "min_child_weight": 0, **extra}
    if library == "lightgbm":
        extra = draw(
            st.sampled_from([{}, {}, {"zero_as_missing": True}, {"use_missing": False}, {"max_cat_to_onehot": 1}])
        )
        return {"n_estimators": n, "num_leaves": 2**depth, "learning_rate": rate, **extra}
    if library == "hist_gradient_boosting":
        return {"max_iter": n, "max_leaf_nodes": 2**depth, "learning_rate": rate}
    if library == "gradient_boosting":
        return {"n_estimators": n, "max_depth": depth, "learning_rate": rate}
    if library in ("random_forest", "extra_trees"):
        return {"n_estimators": n, "max_depth": draw(st.sampled_from([depth, None]))}
    return {"max_depth": depth} if library == "decision_tree" else {"C": draw(st.sampled_from([0.1, 1.0]))}


_LOOSE = {"min_child_samples": 1, "min_data_in_bin": 1, "min_data_per_group": 1, "cat_smooth": 0.0, "cat_l2": 0.0}
_ESTIMATORS: Mapping[str, Callable[..., Any]] = {
    "xgboost": partial(XGBClassifier, n_jobs=1, enable_categorical=True, random_state=0),
    "lightgbm": partial(LGBMClassifier, n_jobs=1, verbose=-1, random_state=0, min_child_weight=0.0, **_LOOSE),
    "random_forest": partial(ensemble.RandomForestClassifier, n_jobs=1, random_state=0),
    "extra_trees": partial(ensemble.ExtraTreesClassifier, n_jobs=1, random_state=0),
    "decision_tree": partial(tree.DecisionTreeClassifier, random_state=0),
    "gradient_boosting": partial(ensemble.GradientBoostingClassifier, random_state=0),
    "hist_gradient_boosting": partial(
        ensemble.HistGradientBoostingClassifier,
        min_samples_leaf=1,
        early_stopping=False,
        categorical_features="from_dtype",
        random_state=0,
    ),
    "logistic_regression": partial(linear_model.LogisticRegression, random_state=0, max_iter=200),
    "linear_svc": partial(svm.LinearSVC, random_state=0),
}


def fit(
    library: str, frame: pd.DataFrame, target: np.ndarray, levels: Mapping[str, tuple[Any, ...]], **settings: Any
) -> Any:
    """Fit a small model on raw rows; every library in one thread and repeatably."""
    native = Native(None, tuple(frame.columns), levels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence, of columns without information
        try:
            return _ESTIMATORS[library](**settings).fit(native.frame(frame), target)
        except LightGBMError:  # its trainer trips over its own rounding in some tiny frames: no model, no case
            reject()


def training(columns: Sequence[ColumnPlan], seed: int, n: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Fill a frame; every value of a column occurs, and the label follows some columns with noise."""
    rng = np.random.default_rng(seed)
    data, merit = {}, rng.normal(0.0, 0.6, n)
    for column in columns:
        pick = np.concatenate([np.arange(len(column.values)), rng.integers(0, len(column.values), n)])[:n]
        pick = rng.permutation(pick)
        worth = rng.normal(0.0, 1.0) * np.linspace(-1.0, 1.0, len(column.values)) + rng.normal(
            0.0, 0.4, len(column.values)
        )
        merit += worth[pick]
        words = any(isinstance(v, str) for v in column.values)
        data[column.name] = naive.column([column.values[i] for i in pick], number=not words)
    target = (merit > np.median(merit)).astype(int)
    if target.min() == target.max():
        target[0] = 1 - target[0]
    return pd.DataFrame(data), target


# --- cases ----------------------------------------------------------------------------------------------------------


@st.composite
def policies(draw: st.DrawFn, columns: Sequence[ColumnPlan], library: str) -> dict[str, Any]:
    """Draw the policy's words; the threshold is drawn later, when scores are known."""
    order = draw(st.permutations(range(len(columns))))
    open_ended = any(c.span is not None and "max" not in c.feature and c.feature["role"] == "action" for c in columns)
    units = ["mad", "std", "range", "raw", *([] if open_ended else ["percentile"])]
    return {
        "decision": {"favourable": 1, "threshold": 0.5},
        "cost": {
            "unit": draw(st.sampled_from(units)),
            "per_change": draw(st.sampled_from([0.1, 0.1, 0.0, 1.0])),
            **draw(st.sampled_from([{}, {}, {"max_changes": 1}, {"max_changes": 2}, {"max_changes": 3}])),
        },
        "features": {columns[j].name: dict(columns[j].feature) for j in order},
    }


@st.composite
def cases(draw: st.DrawFn, libraries: Sequence[str] = TREES, *, n_rows: int = 3, limit: int = 6_000) -> Case:
    """Draw a whole world: columns, a trained model, a policy with a telling threshold, a few applicants."""
    library = draw(st.sampled_from(list(libraries)))
    columns = draw(schemas(library))
    words = draw(policies(columns, library))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed + 1)
    frame, target = training(columns, seed, draw(st.sampled_from([40, 80])))
    levels = {c.name: c.native_levels for c in columns if c.native_levels is not None}
    settings = draw(settings_of(library))
    labels: tuple[Any, Any] = (0, 1)
    if library not in ("xgboost", "lightgbm") and draw(st.integers(0, 3)) == 0:
        labels = ("bad", "good")
    estimator = fit(library, frame, np.array(labels)[target], levels, **settings)
    favourable = labels[draw(st.sampled_from([1, 1, 0]))]
    margins = library in ("hist_gradient_boosting", "gradient_boosting", *LINEAR)
    score = (
        "decision_function" if library == "linear_svc" or (margins and draw(st.integers(0, 3)) == 0) else "probability"
    )
    native = Native(estimator, tuple(frame.columns), levels, favourable, score)
    words["decision"] |= {"favourable": favourable, "score": score}
    spans = {c.name: c.span for c in columns if c.span is not None and library not in LINEAR}
    policy = Policy.model_validate(words)
    population = Population.from_frame(frame, policy)
    try:
        check_costs(policy, population)
    except PolicyError:  # costs too large to add up, which is refused by name
        reject()
    pool = []
    for _ in range(4 * n_rows):
        row = {c.name: c.starts[int(rng.integers(len(c.starts)))] for c in columns}
        if library in WITHOUT_MISSING or rng.random() < 0.7:
            row = {c.name: c.values[0] if row[c.name] is None else row[c.name] for c in columns}
        pool.append(row)
    # of several people the lowest scores: whom a telling threshold refuses
    merit = native(pd.DataFrame({c.name: naive.column([row[c.name] for row in pool], number=False) for c in columns}))
    rows = [pool[i] for i in np.argsort(merit, kind="stable")[:n_rows]]
    words["decision"]["threshold"] = _telling(draw, policy, population, native, rows[0], spans, limit)
    room = 1.0 - words["decision"]["threshold"] if score == "probability" else 1.0
    if draw(st.integers(0, 3)) == 0:
        words["decision"]["margin"] = min(draw(st.sampled_from([0.01, 0.1])), room / 2)
    policy = Policy.model_validate(words)
    return Case(library, frame, target, native, policy, population, tuple(rows), spans)


def _telling(
    draw: st.DrawFn,
    policy: Policy,
    population: Population,
    native: Native,
    row: Mapping[str, Any],
    spans: Mapping[str, tuple[float, float]],
    limit: int,
) -> float:
    """Return a threshold at, just above or between scores of the applicant's own domain."""
    try:
        linear = hasattr(native.estimator, "coef_")
        here = naive.domain(policy, population, row, limit=1_000 if linear else limit, reach=spans)
    except naive.TooLarge:
        return 0.5
    all_scores = native(here.frame(row))
    scores = np.unique(all_scores)
    above = scores[scores > all_scores[np.flatnonzero(here.changes == 0)[0]]]  # so that the applicant is refused
    scores = above if len(above) else scores
    at = float(scores[draw(st.integers(0, len(scores) - 1))])
    how = draw(st.sampled_from(["at", "at", "at", "above", "best", "beyond"]))
    chosen = {
        "at": at,
        "above": math.nextafter(at, math.inf),
        "best": float(scores[-1]),
        "beyond": math.nextafter(float(scores[-1]), math.inf),
    }[how]
    if native.score == "probability":  # a policy's threshold is strictly between 0 and 1
        chosen = min(max(chosen, 1e-12), math.nextafter(1.0, 0.0))
    return unshaken(chosen, native)


def unshaken(threshold: float, native: Native) -> float:
    """Return a threshold beside which the last digit of a score does not matter, for a library that shakes it.

    scikit-learn's gradient boosting squashes rows side by side, and a row alone can differ from one among others.
    """
    shaky = type(native.estimator).__name__ == "GradientBoostingClassifier" and native.score == "probability"
    return threshold * (1.0 - 1e-14) if shaky else threshold
