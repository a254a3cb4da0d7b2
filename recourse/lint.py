"""What looks wrong in a policy when it is held against data and a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ._columns import exact, likely_codes, number_text, on_grid, sounds_protected
from ._policy_values import plain, spelling
from .errors import InputError, did_you_mean
from .models.frames import encode_frame
from .models.trees import Trees
from .policy import check_costs
from .population import Population, as_pandas, read_numbers

if TYPE_CHECKING:
    from .models.base import Column, Model
    from .policy import Feature, Policy

_FEW_LEAVES = 32  # a forest with at most as many different leaf values votes; sums of votes tie
_NAMED = 5  # levels that a message lists


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that looks wrong: an error makes the policy unusable here, a warning wants a look."""

    level: Literal["error", "warning"]
    feature: str | None
    message: str

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.level}: {'' if self.feature is None else self.feature + ': '}{self.message}"


def lint_policy(policy: Policy, *, frame: Any = None, model: Model | None = None) -> list[Finding]:
    """Hold a policy against data and a model.

    Parameters
    ----------
    policy : Policy
    frame : pandas.DataFrame, polars.DataFrame or pyarrow.Table, optional
        Applicants.
    model : Model, optional
        As `recourse.models.read_model` returns it.

    Returns
    -------
    list of Finding
        Errors first, then warnings, each in the policy's order; empty when nothing looks wrong.

    Examples
    --------
    >>> import pandas as pd
    >>> from recourse.policy import Policy
    >>> policy = Policy.model_validate(
    ...     {"decision": {"threshold": 0.5}, "features": {"incme": {"kind": "number", "step": 500}}}
    ... )
    >>> for finding in lint_policy(policy, frame=pd.DataFrame({"income": [41000.0]})):
    ...     print(finding)
    error: incme: the data has no column 'incme'. Did you mean 'income'?
    """
    table = None if frame is None else as_pandas(frame)
    found = [*_policy_alone(policy)]
    if table is not None:
        found += _against_data(policy, table)
    if model is not None:
        found += _against_model(policy, model, table)
    if table is not None and not any(finding.level == "error" for finding in found):
        found += _as_a_whole(policy, table, model)
    order = {name: i for i, name in enumerate(policy.features)}
    found = list(dict.fromkeys(found))
    return sorted(found, key=lambda f: (f.level, -1 if f.feature is None else order.get(f.feature, len(order))))


def _warning(name: str | None, message: str) -> Finding:
    return Finding("warning", name, message)


def _error(name: str | None, message: str) -> Finding:
    return Finding("error", name, message)


# ----------------------------------------------------------------------------------------------------- the policy alone


def _policy_alone(policy: Policy) -> Iterator[Finding]:
    if not policy.movable:
        yield _warning(
            None,
            "nothing is actionable: no feature has the role action, so no applicant has a plan. Free at least one.",
        )
    for name in policy.movable:
        feature = policy.features[name]
        if sounds_protected(name):
            yield _warning(
                name, 'sounds like a protected characteristic, but is an action. Is role = "protected" meant?'
            )
        if feature.levels is not None:
            if not any(feature.targets(p) for p in range(len(feature.levels))):
                yield _warning(name, "its moves lead nowhere: no level reaches another. Add moves, or make it fixed.")
        elif feature.step is not None and feature.step_from == "zero" and _no_value(feature):
            low, high = number_text(feature.min or 0.0), number_text(feature.max or 0.0)
            yield _warning(name, f"no multiple of the step {feature.step} lies between min {low} and max {high}.")


def _no_value(feature: Feature) -> bool:
    if feature.min is None or feature.max is None or feature.step is None:
        return False
    step = Fraction(feature.step)
    return math.ceil(exact(feature.min) / step) > math.floor(exact(feature.max) / step)


# ----------------------------------------------------------------------------------------------------- against the data


def _against_data(policy: Policy, table: pd.DataFrame) -> Iterator[Finding]:
    for name, feature in policy.features.items():
        if name not in table.columns:
            yield _error(name, f"the data has no column {name!r}.{did_you_mean(name, table.columns)}")
        elif feature.listed:
            yield from _levels(name, feature, table[name])
        else:
            try:
                values = read_numbers(table[name], name)
            except InputError as error:
                yield _error(name, str(error))
            else:
                yield from _numbers(name, feature, values, table[name])


def _levels(name: str, feature: Feature, column: pd.Series[Any]) -> Iterator[Finding]:
    assert feature.levels is not None
    which, found = pd.factorize(column.astype(object), use_na_sentinel=True)
    places = [feature.position(value) for value in found]
    unknown = [i for i, place in enumerate(places) if place is None]
    for i in unknown[:_NAMED]:
        where = _rows(column, np.flatnonzero(which == i))
        guess = did_you_mean(str(found[i]), map(str, feature.levels))
        what = f"{plain(found[i])!r} is not among the policy's levels ({where}).{guess}"
        yield _error(name, f"{what} Add the level, or correct the data.")
    if len(unknown) > _NAMED:
        yield _error(name, f"{len(unknown) - _NAMED:,} more values are not among the policy's levels.")
    seen = set(places)
    never = [level for position, level in enumerate(feature.levels) if position not in seen]
    if never and len(column):
        yield _warning(name, f"{_list(never)} never occurs in the data.")


def _numbers(name: str, feature: Feature, values: np.ndarray, column: pd.Series[Any]) -> Iterator[Finding]:
    coded = np.isin(values, np.array(feature.code_values))
    real = ~np.isnan(values) & ~coded
    for code in likely_codes(values[real]) if feature.min is None or feature.min >= 0 else ():
        rows = np.flatnonzero(values == code)
        text = number_text(code)
        yield _warning(
            name,
            f"{text} looks like a code ({_rows(column, rows)}), but is read as a number. "
            f'If it is one, declare codes = {{ "{text}" = "its meaning" }}.',
        )
    if not feature.movable:
        return
    for side, wrong in (("min", values < _or(feature.min, -math.inf)), ("max", values > _or(feature.max, math.inf))):
        rows = np.flatnonzero(wrong & real)
        if len(rows):
            bound = number_text(float(getattr(feature, side)))
            where = "below" if side == "min" else "above"
            yield _warning(
                name,
                f"{where} {side} {bound}: {_rows(column, rows, values)}. Staying there is allowed.",
            )
    if feature.step is not None and feature.step_from == "zero":
        distinct = np.unique(values[real])
        off = distinct[[not on_grid(value, feature.step) for value in distinct.tolist()]] if len(distinct) else distinct
        rows = np.flatnonzero(np.isin(values, off) & real)
        if len(rows):
            yield _warning(
                name,
                f"off the grid of {number_text(feature.step)}: {_rows(column, rows, values)}. A change lands on the "
                'grid; with step_from = "applicant" it keeps the remainder.',
            )
    if real.any() and _stuck(feature, values[real]):
        yield _warning(name, "no applicant can move: all stand at the bound that change leads to.")


def _stuck(feature: Feature, values: np.ndarray) -> bool:
    if feature.change == "up":
        return feature.max is not None and bool(values.min() >= feature.max)
    return feature.change == "down" and feature.min is not None and bool(values.max() <= feature.min)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


# ---------------------------------------------------------------------------------------------------- against the model


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


def _against_model(policy: Policy, model: Model, table: pd.DataFrame | None) -> Iterator[Finding]:
    columns = {column.name: column for column in model.columns}
    tested = used_columns(model)
    for name in columns:
        if name not in policy.features:
            guess = did_you_mean(name, [other for other in policy.features if other not in columns])
            yield _error(
                name,
                f"the model's column {name!r} has no feature in the policy.{guess} "
                f'Add [features.{name}], with role = "fixed" if it cannot be changed.',
            )
    for name, feature in policy.features.items():
        if name not in columns:
            spare = [other for other in columns if other not in policy.features]
            guess = did_you_mean(name, spare)
            if table is not None and name not in table.columns:
                yield _error(name, f"neither the data nor the model has a column {name!r}.{guess}")
            elif feature.movable:
                yield _warning(name, f"not used by the model, so changing it never helps.{guess} Make it fixed.")
            continue
        if feature.role == "protected" and name in tested:
            yield _warning(name, "protected, but the model uses it: the decision depends on it.")
        if feature.movable and name not in tested:
            yield _warning(name, "an action, but the model never tests it, so changing it never helps. Make it fixed.")
        yield from _same_levels(name, feature, columns[name])
    helpful = [name for name in policy.movable if name in tested]
    if policy.movable and not helpful:
        yield _warning(None, "nothing that is actionable changes the score: no applicant has a plan.")
    yield from _forest_ties(policy, model)


def _same_levels(name: str, feature: Feature, column: Column) -> Iterator[Finding]:
    """Say where policy and model do not agree on what the values of a column are."""
    if column.levels is None:
        if feature.levels is not None and not all(_reads_as_number(level) for level in feature.levels):
            yield _error(name, "its levels are texts, but the model takes the column as a number.")
        return
    known = {spelling(level): level for level in column.levels}
    if feature.levels is None:
        if feature.movable:
            yield _error(
                name,
                f'kind = "{feature.kind}", but the model takes the column as a category with the levels '
                f'{_list(list(column.levels))}. Use kind = "category" or "ordinal" with levels.',
            )
        return
    for level in feature.levels:
        if spelling(level) not in known:
            kind = _error if feature.movable else _warning
            guess = did_you_mean(str(level), map(str, column.levels))
            yield kind(name, f"the model has never seen the level {level!r}.{guess} Delete it from levels.")
    mine = {spelling(level) for level in feature.levels}
    absent = [level for text, level in known.items() if text not in mine]
    if absent:
        yield _warning(
            name, f"{_list(absent)} is a level of the model, but not of the policy: nobody who has it is served."
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
    yield _warning(
        None,
        f"the {core.n_trees} trees of the forest vote with few different values, so a score can equal the threshold "
        f"exactly, where rounding decides. Set decision.margin = {margin} to stay clear of ties.",
    )


# ----------------------------------------------------------------------------------------------------------- as a whole


def _as_a_whole(policy: Policy, table: pd.DataFrame, model: Model | None) -> Iterator[Finding]:
    """What can only be said when every column is readable: prices, and whether the threshold can be met."""
    try:
        check_costs(policy, Population.from_frame(table, policy))
    except InputError as error:
        yield _error(None, str(error))
    if model is None:
        return
    try:
        matrix = encode_frame(table, model.columns)
    except InputError as error:
        yield _error(None, str(error))
        return
    ends = score_range(model, _with_bounds(policy, model, matrix))
    if ends is None:
        return
    low, high = ends
    wanted = policy.decision.threshold + policy.decision.margin
    if high < wanted:
        yield _error(
            None,
            f"no applicant can reach threshold + margin = {number_text(wanted)}: the model's scores end at {high:.4g}. "
            "Lower the threshold.",
        )
    elif low >= policy.decision.threshold:
        yield _warning(
            None,
            f"every applicant is approved: the model's scores begin at {low:.4g}, at or above the threshold "
            f"{number_text(policy.decision.threshold)}.",
        )


def _with_bounds(policy: Policy, model: Model, matrix: np.ndarray) -> np.ndarray:
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
            extra[:, j] = _or(feature.min, math.nan), _or(feature.max, math.nan)
    return np.vstack([matrix, extra]) if len(matrix) else matrix


def _rows(column: pd.Series[Any], rows: np.ndarray, values: np.ndarray | None = None) -> str:
    """Count rows out of all, with one as an example."""
    what = "" if values is None else f": {number_text(float(values[rows[0]]))}"
    return f"{len(rows):,} of {len(column):,} rows, such as row {column.index[int(rows[0])]}{what}"


def _list(levels: list[Any]) -> str:
    more = f" and {len(levels) - _NAMED:,} more" if len(levels) > _NAMED else ""
    return ", ".join(repr(level) for level in levels[:_NAMED]) + more
