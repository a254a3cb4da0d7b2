"""Whether a finished plan keeps to the policy, costs what it says and is approved: derived again from raw values.

Plain Python and decimal arithmetic; nothing here is shared with the encoder or the search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import DataError, did_you_mean
from .values import Value, format_value, levels_of, parse_value, plain, position_of

if TYPE_CHECKING:
    from .models.base import Model
    from .plan import Certificate, Outcome, Plan
    from .policy import Feature, Policy
    from .population import Population

# Wide enough that sums and remainders of any two floats' decimal texts are exact.
_EXACT = Context(prec=1500)


def check(
    plan: Plan,
    row: Mapping[str, Any] | pd.Series,
    model: Model,
    policy: Policy,
    population: Population,
    *,
    threshold: float | None = None,
) -> tuple[str, ...]:
    """Return what is wrong with a plan, one sentence each; nothing when it holds.

    Everything is derived again from raw values: that each change is of a feature that may move, starts at the
    applicant's value and ends at an admissible one, the number of changes, the cost to the micro-unit, the changed
    row, the certificate's arithmetic, and the native model's score of the changed row.

    Parameters
    ----------
    plan : Plan
    row : mapping or Series
        The applicant's raw values, protected columns included.
    model, policy, population
        What the plan was found with.
    threshold : float, optional
        The applicant's own threshold; the policy's by default.

    Returns
    -------
    tuple of str
    """
    return check_many([plan], [row], model, policy, population, thresholds=None if threshold is None else [threshold])[
        0
    ]


def check_many(
    plans: Sequence[Plan],
    rows: Sequence[Mapping[str, Any] | pd.Series],
    model: Model,
    policy: Policy,
    population: Population,
    *,
    thresholds: Sequence[float] | None = None,
) -> list[tuple[str, ...]]:
    """Return the violations of each plan, as `check`, with one call of the native model for all.

    Parameters
    ----------
    plans, rows : sequences of equal length
        The i-th plan is for the i-th row.
    model, policy, population
        What the plans were found with.
    thresholds : sequence of float, optional
        One for each row; the policy's by default.

    Returns
    -------
    list of tuple of str
    """
    rules = _Rules(model, policy, population)
    cuts = [policy.decision.threshold] * len(plans) if thresholds is None else [float(t) for t in thresholds]
    found: list[list[str]] = []
    changed: list[dict[str, Value]] = []
    for plan, raw in zip(plans, rows, strict=True):
        row = _plain_row(raw)
        after = dict(row)
        for change in plan.changes:
            after[change.feature] = plain(change.after)
        found.append(list(_violations(plan, row, after, rules)))
        changed.append(after)
    for i, score in enumerate(_scores(changed, model)):
        if isinstance(score, str):
            found[i].append(f"the changed row cannot be scored: {score}")
            continue
        if score != plans[i].score:
            found[i].append(f"the model scores the changed row {score!r}, the plan says {plans[i].score!r}")
        if not score >= cuts[i] + policy.decision.margin:
            margin = f" plus the margin {policy.decision.margin!r}" if policy.decision.margin else ""
            found[i].append(f"the changed row is not approved: {score!r} is below {cuts[i]!r}{margin}")
    return [tuple(violations) for violations in found]


def check_outcomes(
    outcomes: Sequence[Outcome],
    rows: Sequence[Mapping[str, Any] | pd.Series],
    model: Model,
    policy: Policy,
    population: Population,
) -> list[tuple[str, ...]]:
    """Return the violations of each outcome: its decision, its status, its plans and its certificates.

    The applicant's score is the native model's; who is already approved is approved, everyone else was refused;
    a status agrees with the plans and the certificate that are held; every plan passes `check`.

    Parameters
    ----------
    outcomes, rows : sequences of equal length
        The i-th outcome is for the i-th row.
    model, policy, population
        What the outcomes were found with.

    Returns
    -------
    list of tuple of str
    """
    found: list[list[str]] = [[] for _ in outcomes]
    for i, score in enumerate(_scores([_plain_row(row) for row in rows], model)):
        outcome = outcomes[i]
        found[i] += _decision(outcome, score)
        found[i] += _status(outcome, policy.decision.margin)
    pairs = [(i, plan) for i, outcome in enumerate(outcomes) for plan in outcome.plans]
    checked = check_many(
        [plan for _, plan in pairs],
        [rows[i] for i, _ in pairs],
        model,
        policy,
        population,
        thresholds=[outcomes[i].threshold for i, _ in pairs],
    )
    for (i, _), violations in zip(pairs, checked, strict=True):
        found[i] += violations
    return [tuple(violations) for violations in found]


@dataclass(slots=True)
class _Bounds:
    """A feature's numbers as decimals, read once."""

    step: Decimal | None
    minimum: Decimal | None
    maximum: Decimal | None
    most: Decimal | None  # largest absolute change
    percent: Decimal | None  # ... or this much of |start|, if that is larger than `most`
    codes: frozenset[float]


class _Rules:
    """The policy as checks need it, with what is looked up once for all plans."""

    def __init__(self, model: Model, policy: Policy, population: Population) -> None:
        self.policy = policy
        self.features: dict[str, Feature] = dict(policy.features)
        self.protected = {name for name, feature in self.features.items() if feature.role == "protected"}
        self.required = [c.name for c in model.columns if c.name not in self.protected]
        self._population = population
        self._bounds: dict[str, _Bounds] = {}
        self._units: dict[str, float] = {}
        self._knots: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def bounds(self, name: str) -> _Bounds:
        """Return the feature's step, bounds and codes as exact numbers."""
        if name not in self._bounds:
            feature = self.features[name]
            step = feature.step
            if step is None and feature.kind in ("integer", "ordinal"):
                step = Decimal(1)
            change = feature.max_change
            most: Decimal | None = None
            percent: Decimal | None = None
            if change is not None and isinstance(change, float | int):
                most = _decimal(change)
            elif change is not None:
                most, percent = _decimal(change.at_least), _decimal(change.percent)
            self._bounds[name] = _Bounds(
                step=step,
                minimum=None if feature.min is None else _decimal(feature.min),
                maximum=None if feature.max is None else _decimal(feature.max),
                most=most,
                percent=percent,
                codes=frozenset(feature.code_values),
            )
        return self._bounds[name]

    def distance(self, name: str, before: float, after: float) -> float:
        """Return the length of a numeric change in the policy's unit, weight included, as the cost defines it."""
        weight, unit = self.features[name].weight, self.policy.cost.unit
        if unit == "percentile":
            if name not in self._knots:
                self._knots[name] = self._population.knots(name)
            values, shares = self._knots[name]
            if not len(values):  # a column of nothing but missing values and codes: all places are one
                return 0.0
            return weight * abs(float(np.interp(after, values, shares)) - float(np.interp(before, values, shares)))
        if name not in self._units:
            self._units[name] = 1.0 if unit == "raw" else self._population.unit(name, unit)
        return weight * abs(after - before) / self._units[name]


def _decimal(number: float) -> Decimal:
    """Return the decimal that a number is written as: 0.1 is a tenth, not its nearest binary fraction."""
    return Decimal(repr(number))


def _digits(number: Decimal) -> str:
    """Return a decimal without an exponent and without idle zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _plain_row(row: Mapping[str, Any] | pd.Series) -> dict[str, Value]:
    return {str(name): plain(value) for name, value in row.items()}


def _violations(plan: Plan, row: dict[str, Value], after: dict[str, Value], rules: _Rules) -> Iterator[str]:
    """Yield all that can be said without the model."""
    if not plan.changes:
        yield "the plan changes nothing"
    names = [change.feature for change in plan.changes]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name}: changed more than once"
    limit = rules.policy.cost.max_changes
    if limit is not None and len(names) > limit:
        yield f"{len(names)} features change, the policy allows {limit}"
    total: int | None = 0
    for change in plan.changes:
        before, target = plain(change.before), plain(change.after)
        problem = _change(change.feature, before, target, row, rules)
        if problem is not None:
            yield f"{change.feature}: {problem}"
            total = None
            continue
        unit = rules.features[change.feature].unit
        if change.unit is not None and change.unit != unit:
            yield f"{change.feature}: the plan speaks of {change.unit!r}, the policy of {unit!r}"
        if total is not None:
            total += _cost(change.feature, before, target, rules)
    if total is not None and plan.cost != total / 1e6:
        yield f"the changes cost {total / 1e6!r}, the plan says {plan.cost!r}"
    yield from _row(plan, after, rules)
    yield from _certificate(plan.certificate, plan.cost)


def _change(name: str, before: Value, after: Value, row: dict[str, Value], rules: _Rules) -> str | None:
    """Say why one change may not be made, or None."""
    feature = rules.features.get(name)
    if feature is None:
        return f"the policy has no such feature.{did_you_mean(name, rules.features)}"
    if not feature.movable:
        return f"a feature with role {feature.role!r} never changes"
    if name not in row:
        return "the applicant's row has no such column"
    if before != row[name] or isinstance(before, str) != isinstance(row[name], str):
        return f"the plan starts at {before!r}, the applicant at {row[name]!r}"
    if before is None:
        return "a missing value never changes"
    if after is None:
        return "no plan may end at a missing value"
    if before == after:
        return f"the change from {before!r} to {after!r} is none"
    problem = (
        _listed(feature, before, after) if feature.listed else _numeric(feature, before, after, rules.bounds(name))
    )
    if problem is None and parse_value(format_value(after, feature), feature) != after:
        return f"{after!r} is not the same after it is written and read"
    return problem


def _listed(feature: Feature, before: Value, after: Value) -> str | None:
    """Say why a feature with levels may not go from one to the other, or None."""
    start, end = position_of(before, feature), position_of(after, feature)
    if start is None:
        return f"the applicant's value {before!r} is not among the policy's levels"
    if end is None:
        return f"{after!r} is not among the policy's levels"
    if start == end:
        return f"the change from {before!r} to {after!r} is none"
    if feature.change == "up" and end < start:
        return f"{after!r} comes before {before!r}, the policy allows only later levels"
    if feature.change == "down" and end > start:
        return f"{after!r} comes after {before!r}, the policy allows only earlier levels"
    levels = levels_of(feature)
    reachable = levels if feature.moves is None else feature.moves.get(str(levels[start]), ())
    if levels[end] not in reachable:
        return f"the policy's moves do not lead from {before!r} to {after!r}"
    if feature.kind == "ordinal" and feature.max_change is not None:
        change = feature.max_change
        if isinstance(change, float | int):
            most = _decimal(change)
        else:
            share = _EXACT.multiply(_decimal(change.percent), Decimal(start)).scaleb(-2)
            most = max(share, _decimal(change.at_least))
        if abs(end - start) > most:
            return f"{abs(end - start)} levels from {before!r} to {after!r}, the policy allows {_digits(most)}"
    return None


def _numeric(feature: Feature, before: Value, after: Value, bounds: _Bounds) -> str | None:
    """Say why a number may not go from one value to the other, or None."""
    if isinstance(before, str) or isinstance(after, str) or before is None or after is None:
        return f"expected numbers, got {before!r} and {after!r}"
    if not np.isfinite(float(after)) or not np.isfinite(float(before)):
        return f"expected finite numbers, got {before!r} and {after!r}"
    if before in bounds.codes:
        return f"{before!r} is a code, and a coded value never changes"
    if after in bounds.codes:
        return f"{after!r} is a code, and a code is never a target"
    start, end = _decimal(+before), _decimal(+after)
    move = _EXACT.subtract(end, start)
    if feature.change == "up" and move < 0:
        return f"{after!r} is below {before!r}, the policy allows only increases"
    if feature.change == "down" and move > 0:
        return f"{after!r} is above {before!r}, the policy allows only decreases"
    if bounds.minimum is not None and end < bounds.minimum:
        return f"{after!r} is below the policy's min {feature.min!r}"
    if bounds.maximum is not None and end > bounds.maximum:
        return f"{after!r} is above the policy's max {feature.max!r}"
    if bounds.most is not None:
        most = bounds.most
        if bounds.percent is not None:
            most = max(most, _EXACT.scaleb(_EXACT.multiply(bounds.percent, abs(start)), -2))
        if _EXACT.abs(move) > most:
            return f"{after!r} is {_digits(_EXACT.abs(move))} from {before!r}, the policy allows {_digits(most)}"
    if bounds.step is None:
        if float(np.float32(after)) != after:
            return f"{after!r} is no 32-bit number, and the policy gives no step"
    else:
        offset = end if feature.step_from == "zero" else move
        if _EXACT.remainder(offset, bounds.step) != 0:
            origin = "0" if feature.step_from == "zero" else repr(before)
            return f"{after!r} is not on the grid of steps of {bounds.step} from {origin}"
    return None


def _cost(name: str, before: Value, after: Value, rules: _Rules) -> int:
    """Return the price of one admissible change in micro-units."""
    feature, per_change = rules.features[name], rules.policy.cost.per_change
    if not feature.listed:
        start, end = float(before or 0), float(after or 0)
        return round(1e6 * (rules.distance(name, start, end) + per_change))
    first, last = position_of(before, feature) or 0, position_of(after, feature) or 0
    if feature.kind == "ordinal":
        return round(1e6 * (rules.distance(name, float(first), float(last)) + per_change))
    levels = levels_of(feature)
    price = (feature.move_cost or {}).get(str(levels[first]), {}).get(str(levels[last]), 1.0)
    return round(1e6 * (feature.weight * price + per_change))


def _row(plan: Plan, after: dict[str, Value], rules: _Rules) -> Iterator[str]:
    """Yield where the plan's row differs from the applicant's row with the changes made."""
    for name, value in plan.row.items():
        if name in rules.protected:
            yield f"{name}: a protected column stands in the plan's row"
        elif name not in after:
            yield f"{name}: the plan's row has a column that the applicant's row lacks"
        elif plain(value) != after[name] or isinstance(value, str) != isinstance(after[name], str):
            yield f"{name}: the plan's row says {value!r}, the changes give {after[name]!r}"
    for name in rules.required:
        if name not in plan.row:
            yield f"{name}: the plan's row lacks this column of the model"


def _certificate(certificate: Certificate, cost: float) -> Iterator[str]:
    """Yield where a plan's certificate contradicts itself or the plan."""
    if certificate.nodes < 0:
        yield f"the certificate counts {certificate.nodes} nodes"
    if certificate.cost != cost:
        yield f"the certificate is for a cost of {certificate.cost!r}, the plan costs {cost!r}"
    if certificate.bound > cost:
        yield f"the certificate's bound {certificate.bound!r} is above the plan's cost {cost!r}"
    if certificate.proven and certificate.bound != cost:
        yield f"the certificate says proven, but its bound {certificate.bound!r} is not the cost {cost!r}"
    gap = (cost - certificate.bound) / cost if cost else 0.0
    if certificate.gap is None or abs(certificate.gap - gap) > 1e-9:
        yield f"the certificate's gap is {certificate.gap!r}, cost and bound give {gap!r}"


def _decision(outcome: Outcome, score: float | str) -> Iterator[str]:
    """Yield where the outcome's decision is not the native model's."""
    if isinstance(score, str):
        yield f"the applicant's row cannot be scored: {score}"
        return
    if score != outcome.score:
        yield f"the model scores the applicant {score!r}, the outcome says {outcome.score!r}"
    approved = score >= outcome.threshold
    if outcome.status == "already_approved" and not approved:
        yield f"the status is 'already_approved', but {score!r} is below {outcome.threshold!r}"
    if outcome.status != "already_approved" and approved:
        yield f"the status is {outcome.status!r}, but the applicant's {score!r} reaches {outcome.threshold!r}"


def _status(outcome: Outcome, margin: float) -> Iterator[str]:
    """Yield where the outcome's status contradicts what it holds."""
    stage = None if outcome.status == "already_approved" else "score"
    if outcome.stage != stage:
        yield f"the stage is {outcome.stage!r}, the status {outcome.status!r} goes with {stage!r}"
    best = outcome.best_score
    if best is not None and outcome.status == "none_exists":
        if best.value >= outcome.threshold + margin:
            yield f"no plan is said to exist, but the best score {best.value!r} would be approved"
        if best.bound < best.value or (best.proven and best.bound != best.value):
            yield f"the best score {best.value!r} does not agree with its bound {best.bound!r}"
        if best.proven and best.value < outcome.score - 1e-6:  # whoever stays keeps the score
            yield f"the best score {best.value!r} is below the applicant's own {outcome.score!r}"
    status, plans, certificate = outcome.status, outcome.plans, outcome.certificate
    if status == "found" and not plans:
        yield "the status is 'found', but no plan is held"
    if status != "found" and plans:
        yield f"the status is {status!r}, but a plan is held"
    if status == "none_exists" and (certificate is None or not certificate.proven):
        yield "the status is 'none_exists', but no proof is claimed"
    if status == "none_found" and certificate is not None and certificate.proven:
        yield "the status is 'none_found', but the certificate says proven"
    if status not in ("already_approved", "found", "none_exists", "none_found"):
        yield f"the status {status!r} is none that an outcome can have"


def _scores(rows: Sequence[Mapping[str, Value]], model: Model) -> list[float | str]:
    """Return the native score of each raw row, or why it has none."""
    if not rows:
        return []
    try:
        return [float(score) for score in model.score(_matrix(rows, model))]
    except DataError as error:
        if len(rows) == 1:
            return [str(error)]
        return [_scores([row], model)[0] for row in rows]


def _matrix(rows: Sequence[Mapping[str, Value]], model: Model) -> np.ndarray:
    from .models import encode_frame

    columns = {}
    for column in model.columns:
        if not all(column.name in row for row in rows):
            raise DataError(f"the row has no column {column.name!r}, which the model needs")
        values = [row[column.name] for row in rows]
        if column.levels is None:
            values = [np.nan if value is None else value for value in values]
        columns[column.name] = values
    return encode_frame(pd.DataFrame(columns, columns=pd.Index(list(columns), dtype=object)), model.columns)
