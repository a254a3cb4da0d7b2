"""Where a policy and a model do not fit each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._columns import number_text
from ._lint_finding import Finding, error, listed, warning
from ._policy_values import spelling
from .errors import did_you_mean
from .models.trees import Trees

if TYPE_CHECKING:
    from .models.base import Column, Model
    from .policy import Feature, Policy

_FEW_LEAVES = 32  # a forest with at most as many different leaf values votes; sums of votes tie


def used_columns(model: Model) -> frozenset[str]:
    """Return the names of the columns on which a model's score can depend."""
    if isinstance(model.core, Trees):
        used = np.unique(model.core.feature[model.core.feature >= 0])
    else:
        used = np.flatnonzero(model.core.weights)
    return frozenset(model.columns[int(j)].name for j in used)


def score_range(model: Model, matrix: np.ndarray | None = None) -> tuple[float, float] | None:
    """Return bounds between which every native score lies.

    A linear model has bounds over the ranges of a matrix's columns alone; None without one.
    """
    if isinstance(model.core, Trees):
        low, high = (
            (model.core.base + sum(_outermost(model.core, pick).tolist())) / model.core.divisor for pick in (min, max)
        )
        slack = model.core.eps / model.core.divisor
    else:
        if matrix is None or not len(matrix):
            return None
        known = np.where(np.isnan(matrix), 0.0, matrix)  # may widen the range, never narrows it
        ends = model.core.weights * np.stack([known.min(axis=0), known.max(axis=0)])
        low, high = (model.core.intercept + float(pick(ends, axis=0).sum()) for pick in (np.min, np.max))
        slack = model.core.eps(np.abs(known).max(axis=0))
    scores = model.squash(np.array([low - slack, high + slack], dtype=np.float64))
    return float(scores[0]), float(scores[1])


def _outermost(trees: Trees, pick: Any) -> np.ndarray:
    """The smallest or largest leaf below each root; children are met before parents in at most depth rounds."""
    better = np.minimum if pick is min else np.maximum
    inner = np.flatnonzero(trees.feature >= 0)
    best = np.where(trees.feature < 0, trees.value, math.inf if pick is min else -math.inf)
    while True:
        new = better(best[trees.left[inner]], best[trees.right[inner]])
        if np.array_equal(new, best[inner]):
            return best[trees.roots]
        best[inner] = new


def against_model(policy: Policy, model: Model, table: pd.DataFrame | None) -> Iterator[Finding]:
    columns = {column.name: column for column in model.columns}
    tested = used_columns(model)
    for name in columns:
        if name not in policy.features:
            guess = did_you_mean(name, [other for other in policy.features if other not in columns])
            yield error(
                name,
                f"the model's column {name!r} has no feature in the policy.{guess} "
                f'Add [features.{name}], with role = "fixed" if it cannot be changed.',
            )
    for name, feature in policy.features.items():
        if name not in columns:
            spare = [other for other in columns if other not in policy.features]
            guess = did_you_mean(name, spare)
            if table is not None and name not in table.columns:
                yield error(name, f"neither the data nor the model has a column {name!r}.{guess}")
            elif feature.movable:
                yield warning(name, f"not used by the model, so changing it never helps.{guess} Make it fixed.")
            continue
        if feature.role == "protected" and name in tested:
            yield warning(name, "protected, but the model uses it: the decision depends on it.")
        if feature.movable and name not in tested:
            yield warning(name, "an action, but the model never tests it, so changing it never helps. Make it fixed.")
        yield from _same_levels(name, feature, columns[name])
    helpful = [name for name in policy.movable if name in tested]
    if policy.movable and not helpful:
        yield warning(None, "nothing that is actionable changes the score: no applicant has a plan.")
    yield from _forest_ties(policy, model)


def _same_levels(name: str, feature: Feature, column: Column) -> Iterator[Finding]:
    """Say where policy and model do not agree on what the values of a column are."""
    if column.levels is None:
        if feature.levels is not None and not all(_reads_as_number(level) for level in feature.levels):
            yield error(name, "its levels are texts, but the model takes the column as a number.")
        return
    known = {spelling(level): level for level in column.levels}
    if feature.levels is None:
        if feature.movable:
            yield error(
                name,
                f'kind = "{feature.kind}", but the model takes the column as a category with the levels '
                f'{listed(list(column.levels))}. Use kind = "category" or "ordinal" with levels.',
            )
        return
    for level in feature.levels:
        if spelling(level) not in known:
            kind = error if feature.movable else warning
            guess = did_you_mean(str(level), map(str, column.levels))
            yield kind(name, f"the model has never seen the level {level!r}.{guess} Delete it from levels.")
    mine = {spelling(level) for level in feature.levels}
    absent = [level for text, level in known.items() if text not in mine]
    if absent:
        yield warning(
            name, f"{listed(absent)} is a level of the model, but not of the policy: nobody who has it is served."
        )


def _reads_as_number(level: Any) -> bool:
    return not isinstance(level, str)


def _forest_ties(policy: Policy, model: Model) -> Iterator[Finding]:
    """Warn where votes are so coarse that a score can equal the threshold exactly."""
    core = model.core
    if not isinstance(core, Trees) or core.divisor <= 1 or policy.decision.margin > 0:
        return
    leaves, counts = np.unique(core.value[core.feature < 0], return_counts=True)
    if len(leaves) > _FEW_LEAVES and np.sort(counts)[-2:].sum() < counts.sum() / 2:
        return
    votes = policy.decision.threshold * core.divisor
    if set(leaves.tolist()) <= {0.0, 1.0} and abs(votes - round(votes)) > 1e-9:
        return
    margin = number_text(float(f"{0.5 / core.divisor:.1g}"))
    yield warning(
        None,
        f"the {core.n_trees} trees of the forest vote with few different values, so a score can equal the threshold "
        f"exactly, where rounding decides. Set decision.margin = {margin} to stay clear of ties.",
    )


def with_bounds(policy: Policy, model: Model, matrix: np.ndarray) -> np.ndarray:
    """Append two rows that hold the bounds to which plans may move, so that column ranges include them."""
    extra = np.full((2, len(model.columns)), np.nan)
    for j, column in enumerate(model.columns):
        feature = policy.features.get(column.name)
        if feature is None or not feature.movable or column.levels is not None:
            continue
        if feature.levels is not None:
            numbers = [float(level) for level in feature.levels if _reads_as_number(level)]
            extra[:, j] = (min(numbers), max(numbers)) if numbers else np.nan
        else:
            extra[:, j] = [math.nan if end is None else end for end in (feature.min, feature.max)]
    return np.vstack([matrix, extra]) if len(matrix) else matrix
