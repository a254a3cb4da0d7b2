"""Where a policy and a model do not fit each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._columns import number_text
from ..errors import did_you_mean
from ..models.additive import Additive
from ..models.trees import Trees
from ..policy.values import spelling
from .finding import Finding, error, listed, warning
from .language import reach

if TYPE_CHECKING:
    from ..models.base import Column, Model
    from ..policy import Feature, Policy

_FEW_LEAVES = 32  # a forest with at most as many different leaf values votes; sums of votes tie


def used_columns(model: Model) -> frozenset[str]:
    """Return the names of the columns on which a model's score can depend."""
    core = model.core
    if isinstance(core, Trees):
        used = np.unique(core.feature[core.feature >= 0])
    elif isinstance(core, Additive):
        used = np.flatnonzero(core.used)
    else:  # a black box shows nothing of what it reads
        return frozenset(column.name for column in model.columns)
    return frozenset(model.columns[int(j)].name for j in used)


def score_range(model: Model, matrix: np.ndarray | None = None) -> tuple[float, float] | None:
    """Return bounds between which every native score lies; None where nothing is known.

    An additive model has bounds over the ranges of a matrix's columns alone, and a black box has none.
    """
    core = model.core
    if isinstance(core, Trees):
        low, high = ((core.base + sum(_outermost(core, pick).tolist())) / core.divisor for pick in (min, max))
        slack = core.eps / core.divisor
    elif isinstance(core, Additive):
        if matrix is None or not len(matrix):
            return None
        known = np.where(np.isnan(matrix), 0.0, matrix)  # may widen the range, never narrows it
        low, high = core.range(known.min(axis=0), known.max(axis=0))
        slack = core.eps(np.abs(known).max(axis=0))
    else:
        return None
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
    """Yield where policy and model differ, and what the model makes of the policy's features."""
    columns = {column.name: column for column in model.columns}
    members = {column: name for name, group in policy.groups.columns.items() for column in group}
    used = used_columns(model)
    for name in columns:
        if name not in policy.features and name not in members:
            guess = did_you_mean(name, [other for other in policy.features if other not in columns])
            yield error(
                name,
                f"the model's column {name!r} has no feature in the policy.{guess} "
                f'Add [features.{name}], with role = "fixed" if it cannot be changed.',
            )
    tested = {name for name in policy.features if name in used or used & set(policy.groups.columns.get(name, ()))}
    matters = reach(policy, tested)
    for name, feature in policy.features.items():
        if name in policy.groups.columns:
            yield from _group(policy, name, columns, matters)
            continue
        if name not in columns:
            spare = [other for other in columns if other not in policy.features and other not in members]
            guess = did_you_mean(name, spare)
            if feature.role != "derived" and table is not None and name not in table.columns:
                yield error(name, f"neither the data nor the model has a column {name!r}.{guess}")
            elif feature.movable and name not in matters:
                yield warning(name, f"not used by the model, so changing it never helps.{guess} Make it fixed.")
            continue
        if feature.role == "protected" and name in tested:
            yield warning(name, "protected, but the model uses it: the decision depends on it.")
        if feature.movable and name not in matters:
            yield warning(name, "an action, but the model never tests it, so changing it never helps. Make it fixed.")
        if feature.manipulable and name in tested:
            yield warning(
                name, "manipulable, and the model uses it: whoever changes it moves the score, but not the risk."
            )
        yield from _same_levels(name, feature, columns[name])
    if policy.movable and not any(name in matters for name in policy.movable) and "wait" not in matters:
        yield warning(None, "nothing that is actionable changes the score: no applicant has a plan.")
    if policy.time is not None and "wait" not in matters:
        yield warning(None, "waiting changes nothing that the model or a rule reads. Delete [time].")
    yield from _forest_ties(policy, model)


def _group(policy: Policy, name: str, columns: Mapping[str, Column], matters: frozenset[str]) -> Iterator[Finding]:
    """Say of a group that the model reads it in part, or that nothing does."""
    members = policy.groups.columns[name]
    read = [column for column in members if column in columns]
    if not read and name not in matters:
        what = "none of its columns is the model's, and no expression reads it."
        yield warning(name, f"{what} Delete the group and its table.")
    elif read and len(read) < len(members):
        absent = [column for column in members if column not in columns]
        yield warning(name, f"{listed(absent)} is a column of the group, but not of the model.")
    elif policy.features[name].movable and name not in matters:
        yield warning(name, "an action, but the model never tests it, so changing it never helps. Make it fixed.")
    if policy.features[name].role == "protected" and name in matters and read:
        yield warning(name, "protected, but the model uses it: the decision depends on it.")


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
    if not isinstance(policy.decision.threshold, float):
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
        if any(column.name in members for members in policy.groups.columns.values()):
            extra[:, j] = (0.0, 1.0)
        if feature is None or not feature.movable or column.levels is not None:
            continue
        if feature.levels is not None:
            numbers = [float(level) for level in feature.levels if _reads_as_number(level)]
            extra[:, j] = (min(numbers), max(numbers)) if numbers else np.nan
        else:
            extra[:, j] = [math.nan if end is None else end for end in (feature.min, feature.max)]
    return np.vstack([matrix, extra]) if len(matrix) else matrix
