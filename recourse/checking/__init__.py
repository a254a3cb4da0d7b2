"""Whether a finished plan keeps to the policy, costs what it says and is approved: derived again from raw values.

Plain Python and decimal arithmetic; nothing here is shared with the encoder or the search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from .. import state
from ..errors import DataError
from ..state import WAIT
from ..values import Value, levels_of, plain, position_of
from .change import Changes
from .region import Region, first_provided, promised, shortfalls
from .scores import Scorer

if TYPE_CHECKING:
    from ..models.base import Model
    from ..plan import Certificate, Change, Outcome, Plan
    from ..policy import Policy
    from ..population import Population

REGION_ROWS = 20_000
_PLAIN = {int, float, str, bool, type(None)}
_AT_ONCE = 50_000  # most rows of regions scored in one call


def check(
    plan: Plan,
    row: Mapping[str, Any] | pd.Series,
    model: Model,
    policy: Policy,
    population: Population,
    *,
    threshold: float | None = None,
    also_approve: Sequence[Model] = (),
    plausibility: Model | None = None,
    shape: str = "point",
    box_steps: int = 5,
    region_rows: int = REGION_ROWS,
) -> tuple[str, ...]:
    """Return what is wrong with a plan, one sentence each; nothing when it holds.

    Everything is derived again from raw values: that each change is of a feature that may move, starts at the
    applicant's value and ends at an admissible one, the number of changes, the cost to the micro-unit, the row as it
    is scored (what follows from the changes and the months waited included), every rule and knock-out, the
    certificate's arithmetic, and the native models' scores of the row and of the region on which the plan holds.

    Parameters
    ----------
    plan : Plan
    row : mapping or Series
        The applicant's raw values, protected columns included.
    model, policy, population
        What the plan was found with.
    threshold : float, optional
        The applicant's own threshold; the policy's by default.
    also_approve : sequence of Model
        Further models that must approve, by the same threshold and margin.
    plausibility : Model, optional
        Must score the row at least 0.
    shape : {"point", "box", "orthant"}
        How far the region must reach. A region that a plan states holds whatever the shape.
    box_steps : int
        Steps of the grid that a box reaches beyond each stated value.
    region_rows : int
        A region of at most so many rows is scored row by row; of a larger one the corners and 2,000 of its rows (no
        more than `region_rows`) are.

    Returns
    -------
    tuple of str
    """
    return check_many(
        [plan],
        [row],
        model,
        policy,
        population,
        thresholds=None if threshold is None else [threshold],
        also_approve=also_approve,
        plausibility=plausibility,
        shape=shape,
        box_steps=box_steps,
        region_rows=region_rows,
    )[0]


def check_many(
    plans: Sequence[Plan],
    rows: Sequence[Mapping[str, Any] | pd.Series],
    model: Model,
    policy: Policy,
    population: Population,
    *,
    thresholds: Sequence[float] | None = None,
    also_approve: Sequence[Model] = (),
    plausibility: Model | None = None,
    shape: str = "point",
    box_steps: int = 5,
    region_rows: int = REGION_ROWS,
) -> list[tuple[str, ...]]:
    """Return the violations of each plan, as `check`, with one call of each native model for all.

    Parameters
    ----------
    plans, rows : sequences of equal length
        The i-th plan is for the i-th row.
    model, policy, population
        What the plans were found with.
    thresholds : sequence of float, optional
        One for each row; the policy's by default.
    also_approve, plausibility, shape, box_steps, region_rows
        As in `check`. Whoever checks every plan of a stream asks for few rows of each region.

    Returns
    -------
    list of tuple of str
    """
    changes = _changes(_Same(policy, population))
    bars = [_Bar(_scorer(_Same(model)), "the model", None)]
    bars += [_Bar(_scorer(_Same(m)), f"model {k} of also_approve", None) for k, m in enumerate(also_approve, start=1)]
    if plausibility is not None:
        bars.append(_Bar(_scorer(_Same(plausibility)), "the plausibility model", 0.0))
    if thresholds is None:
        thresholds = [state.threshold(policy, row) for row in rows]
    candidates = []
    required = frozenset(c.name for c in model.columns)
    for plan, raw, threshold in zip(plans, rows, thresholds, strict=True):
        candidate = _Candidate(plan, _plain_row(raw), float(threshold))
        _derive(candidate, changes, required, shape=shape, box_steps=box_steps, region_rows=region_rows)
        candidates.append(candidate)
    for bar in bars:
        _score(candidates, bar, policy.decision.margin, first=bar is bars[0])
    _score_regions(candidates, bars, changes)
    return [tuple(candidate.found) for candidate in candidates]


def check_outcomes(
    outcomes: Sequence[Outcome],
    rows: Sequence[Mapping[str, Any] | pd.Series],
    model: Model,
    policy: Policy,
    population: Population,
    *,
    also_approve: Sequence[Model] = (),
    plausibility: Model | None = None,
    box_steps: int = 5,
    region_rows: int = REGION_ROWS,
) -> list[tuple[str, ...]]:
    """Return the violations of each outcome: its decision, its status, its plans and its certificates.

    The applicant's score is the native model's; who reaches the threshold and no knock-out refuses is approved,
    everyone else was refused, at the stage that is named; a status agrees with the plans and the certificate that are
    held; every plan passes `check` with the outcome's shape; later plans cost no less and change other features.

    Parameters
    ----------
    outcomes, rows : sequences of equal length
        The i-th outcome is for the i-th row.
    model, policy, population
        What the outcomes were found with.
    also_approve, plausibility, box_steps, region_rows
        As in `check`.

    Returns
    -------
    list of tuple of str
    """
    found: list[list[str]] = [[] for _ in outcomes]
    plain_rows = [_plain_row(row) for row in rows]
    alone = not also_approve and plausibility is None
    for i, score in enumerate(_scorer(_Same(model)).scores([_as_scored(row, policy) for row in plain_rows])):
        outcome = outcomes[i]
        found[i] += _decision(outcome, score, policy, plain_rows[i])
        found[i] += _status(outcome, policy, alone=alone)
        found[i] += _several(outcome)
    for shape in dict.fromkeys(outcome.shape for outcome in outcomes):
        pairs = [(i, plan) for i, o in enumerate(outcomes) if o.shape == shape for plan in o.plans]
        checked = check_many(
            [plan for _, plan in pairs],
            [plain_rows[i] for i, _ in pairs],
            model,
            policy,
            population,
            thresholds=[outcomes[i].threshold for i, _ in pairs],
            also_approve=also_approve,
            plausibility=plausibility,
            shape=shape,
            box_steps=box_steps,
            region_rows=region_rows,
        )
        for (i, _), violations in zip(pairs, checked, strict=True):
            found[i] += violations
    return [tuple(violations) for violations in found]


def _as_scored(row: dict[str, Value], policy: Policy) -> dict[str, Value]:
    """Return the applicant's row as the models see it: with what a formula gives where that replaces the record."""
    if state.is_plain(policy):
        return row
    try:
        return state.columns(policy, state.present(policy, row), row)
    except DataError:  # what is wrong with the row is said where it is scored, or where a plan begins
        return row


# ----------------------------------------------------------------------------------------------- what is kept for later


class _Same:
    """Objects that are equal only to themselves: the key under which what was made of them is kept."""

    __slots__ = ("key", "parts")

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.key = tuple(id(part) for part in parts)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.key == other.key


@lru_cache(maxsize=8)
def _changes(key: _Same) -> Changes:
    return Changes(*key.parts)


@lru_cache(maxsize=32)
def _scorer(key: _Same) -> Scorer:
    return Scorer(*key.parts)


class _Bar(NamedTuple):
    """A model and what it is called; `least` is the score it asks for, None for the applicant's threshold."""

    scorer: Scorer
    name: str
    least: float | None


@dataclass(slots=True)
class _Candidate:
    """A plan on its way through the checks."""

    plan: Plan
    row: dict[str, Value]  # the applicant's, plain
    threshold: float
    found: list[str] = field(default_factory=list)
    now: Mapping[str, Value] = field(default_factory=dict)  # the present by feature
    chosen: dict[str, Value] = field(default_factory=dict)  # what the plan changes, wait included
    after: dict[str, Value] | None = None  # the row to score; None where there is none
    region: Region | None = None


# -------------------------------------------------------------------------------------------------- without the model


def _plain_row(raw: Mapping[str, Any] | pd.Series) -> dict[str, Value]:
    """Return a row with plain values; as it is, where it is plain already."""
    values = raw.values() if type(raw) is dict else ()
    if values and {type(value) for value in values} <= _PLAIN and not any(value != value for value in values):
        return raw  # type: ignore[return-value]
    return {str(name): plain(value) for name, value in raw.items()}


def _derive(
    candidate: _Candidate,
    changes: Changes,
    required: frozenset[str],
    *,
    shape: str,
    box_steps: int,
    region_rows: int,
) -> None:
    """Note all that can be said without a model, and what is to be scored."""
    plan, row, found, policy = candidate.plan, candidate.row, candidate.found, changes.policy
    plainly = changes.plainly
    try:
        candidate.now = row if plainly else state.present(policy, row)
    except DataError as error:
        found.append(f"the applicant's row cannot be read: {error}")
        return
    found += _counts(plan, policy)
    total: int | None = 0
    for change in plan.changes:
        before, after = plain(change.before), plain(change.after)
        verdict = changes.judge(change.feature, before, after, change.condition)
        problem = verdict.problem or _start(change.feature, before, candidate)
        if problem is not None:
            found.append(f"{change.feature}: {problem}")
            total = None
            continue
        unit = "months" if change.feature == WAIT else changes.features[change.feature].unit
        if change.unit is not None and change.unit != unit:
            found.append(f"{change.feature}: the plan speaks of {change.unit!r}, the policy of {unit!r}")
        total = None if total is None else total + verdict.micro
        candidate.chosen[change.feature] = _value(change, after, changes, plainly)
    if total is not None and plan.cost != total / 1e6:
        found.append(f"the changes cost {total / 1e6!r}, the plan says {plan.cost!r}")
    if plainly:
        candidate.after = {**row, **{change.feature: plain(change.after) for change in plan.changes}}
        candidate.after |= candidate.chosen
    else:
        reached = _reached(candidate.chosen, candidate, policy)
        found += [f"the rule {name!r} is broken" for name in state.broken_rules(policy, reached, candidate.now)]
        found += [f"the knock-out {name!r} fires" for name in state.knockouts(policy, reached, candidate.now)]
        candidate.after = state.columns(policy, reached, row)
    if not plan.changes and all(row.get(name) == value for name, value in candidate.after.items()):
        found.append("the plan changes nothing")  # else applying again changes something by itself
    found += _row(plan, candidate.after, required, changes)
    found += _certificate(plan.certificate, plan.cost)
    if shape != "point" or plan.region is not None:
        found += shortfalls(plan, candidate.now, changes, shape=shape, box_steps=box_steps)
    if total is not None:
        candidate.region = promised(plan, candidate.now, changes, shape=shape, most=region_rows)


def _reached(chosen: Mapping[str, Value], candidate: _Candidate, policy: Policy) -> dict[str, Value]:
    """Return the state that choices lead to."""
    months = chosen.get(WAIT, 0)
    rest = {name: value for name, value in chosen.items() if name != WAIT}
    return state.after(policy, candidate.row, rest, int(float(months or 0)), now=candidate.now)


def _counts(plan: Plan, policy: Policy) -> Iterator[str]:
    names = [change.feature for change in plan.changes]
    if len(set(names)) < len(names):
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{name}: changed more than once"
    limit = policy.cost.max_changes
    if limit is not None and len(names) > limit:
        yield f"{len(names)} features change, the policy allows {limit}"


def _start(name: str, before: Value, candidate: _Candidate) -> str | None:
    """Say how a change does not start where the applicant is, or None."""
    if name == WAIT:
        return None
    row, now = candidate.row, candidate.now
    if name not in row and name not in now:
        return "the applicant's row has no such column"
    here = row[name] if name in row else now[name]
    if before != here or isinstance(before, str) != isinstance(here, str):
        return f"the plan starts at {before!r}, the applicant at {here!r}"
    return None


def _value(change: Change, after: Value, changes: Changes, plainly: bool) -> Value:
    """Return what a feature becomes: a level as the policy spells it, for a provided value the first it may have."""
    if change.feature == WAIT or (plainly and after is not None):
        return after
    if after is None:
        return first_provided(change.feature, changes)
    feature = changes.features[change.feature]
    if not feature.listed:
        return after
    place = position_of(after, feature)
    return after if place is None else levels_of(feature)[place]


def _row(plan: Plan, after: dict[str, Value], required: frozenset[str], changes: Changes) -> Iterator[str]:
    """Yield where the plan's row differs from the applicant's row with the changes made."""
    protected, shown = changes.protected, plan.row
    try:
        same = shown == {name: after[name] for name in shown}
    except KeyError:
        same = False
    if not same or not protected.isdisjoint(shown):
        for name, value in shown.items():
            if name in protected:
                yield f"{name}: a protected column stands in the plan's row"
            elif name not in after:
                yield f"{name}: the plan's row has a column that the applicant's row lacks"
            elif plain(value) != after[name] or isinstance(value, str) != isinstance(after[name], str):
                yield f"{name}: the plan's row says {value!r}, the changes give {after[name]!r}"
    for name in sorted(required - protected - shown.keys()):
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


# ------------------------------------------------------------------------------------------------------ with the models


def _score(candidates: Sequence[_Candidate], bar: _Bar, margin: float, *, first: bool) -> None:
    """Note where a model does not approve what the plans lead to."""
    those = [c for c in candidates if c.after is not None]
    for candidate, score in zip(those, bar.scorer.scores([c.after or {} for c in those]), strict=True):
        found, plan = candidate.found, candidate.plan
        who = "" if first else f"{bar.name}: "
        if isinstance(score, str):
            found.append(f"{who}the changed row cannot be scored: {score}")
            candidate.region = None
            continue
        if first and score != plan.score:
            found.append(f"the model scores the changed row {score!r}, the plan says {plan.score!r}")
        if not score >= _least(bar, candidate, margin):
            found.append(f"{who}the changed row is not approved: {score!r} is below {_asked(bar, candidate, margin)}")


def _least(bar: _Bar, candidate: _Candidate, margin: float) -> float:
    return candidate.threshold + margin if bar.least is None else bar.least


def _asked(bar: _Bar, candidate: _Candidate, margin: float) -> str:
    if bar.least is not None:
        return repr(bar.least)
    return f"{candidate.threshold!r}" + (f" plus the margin {margin!r}" if margin else "")


def _score_regions(candidates: Sequence[_Candidate], bars: Sequence[_Bar], changes: Changes) -> None:
    """Note where a row on which a plan promises to hold is not approved; few large calls of the models."""
    waiting: list[tuple[_Candidate, _Part]] = []
    held = 0
    for candidate in candidates:
        if candidate.region is None:
            continue
        part = _part(candidate, candidate.region, bars, changes)
        if part is None:
            continue
        waiting.append((candidate, part))
        held += len(part.place)
        if held >= _AT_ONCE:
            _score_parts(waiting, bars, changes.policy.decision.margin)
            waiting, held = [], 0
    if waiting:
        _score_parts(waiting, bars, changes.policy.decision.margin)


class _Part(NamedTuple):
    """The rows of one plan's region that count, as each model's matrix."""

    place: np.ndarray  # int64[n], rows of the region
    matrices: list[np.ndarray]


def _part(candidate: _Candidate, region: Region, bars: Sequence[_Bar], changes: Changes) -> _Part | None:
    """Return the rows of a region that obey the rules; note a knock-out that fires on one."""
    assert candidate.after is not None
    policy, place = changes.policy, np.arange(len(region.choice))
    if not len(place):
        return None
    try:
        if changes.plainly:
            return _Part(place, [_tiled(bar.scorer, candidate.after, region) for bar in bars])
        rows, kept = [], []
        for i, values in enumerate(region.rows()):
            reached = _reached({**candidate.chosen, **values}, candidate, policy)
            if state.broken_rules(policy, reached, candidate.now):
                continue
            fired = state.knockouts(policy, reached, candidate.now)
            if fired:
                candidate.found.append(f"in the region the knock-out {fired[0]!r} fires: {region.words(i)}")
                return None
            rows.append(state.columns(policy, reached, candidate.row))
            kept.append(i)
        return _Part(place[kept], [bar.scorer.matrix(rows) for bar in bars]) if rows else None
    except DataError as error:
        candidate.found.append(f"the region cannot be scored: {error}")
        return None


def _tiled(scorer: Scorer, row: Mapping[str, Value], region: Region) -> np.ndarray:
    """Return a row's matrix, once for each row of the region, with the region's values in it."""
    out = np.repeat(scorer.matrix([row]), len(region.choice), axis=0)
    for k, axis in enumerate(region.axes):
        if axis.name in scorer.names:
            values, place = region.values(k)
            j = scorer.names.index(axis.name)
            out[:, j] = scorer.column(j, values)[place]
    return out


def _score_parts(parts: Sequence[tuple[_Candidate, _Part]], bars: Sequence[_Bar], margin: float) -> None:
    for b, bar in enumerate(bars):
        scores = bar.scorer.model.score(np.concatenate([part.matrices[b] for _, part in parts]))
        begin = 0
        for candidate, part in parts:
            mine = scores[begin : begin + len(part.place)]
            begin += len(part.place)
            wrong = np.flatnonzero(~(mine >= _least(bar, candidate, margin)))
            if len(wrong):
                assert candidate.region is not None
                where = candidate.region.words(int(part.place[wrong[0]]))
                who = "" if b == 0 else f"{bar.name}: "
                candidate.found.append(
                    f"{who}{len(wrong)} of {len(mine)} rows looked at in the region are not approved, such as {where}: "
                    f"{float(mine[wrong[0]])!r} is below {_asked(bar, candidate, margin)}"
                )


# ----------------------------------------------------------------------------------------------------------- outcomes


def _decision(outcome: Outcome, score: float | str, policy: Policy, row: Mapping[str, Value]) -> Iterator[str]:
    """Yield where the outcome's decision is not that of the native model and the knock-outs."""
    if isinstance(score, str):
        yield f"the applicant's row cannot be scored: {score}"
        return
    if score != outcome.score:
        yield f"the model scores the applicant {score!r}, the outcome says {outcome.score!r}"
    fired = []
    if policy.decision.knockouts:
        now = state.present(policy, row)
        fired = state.knockouts(policy, now, now)
    reaches = score >= outcome.threshold
    approved = reaches and not fired
    stage = None if approved else "score" if not fired else "knockout" if reaches else "combined"
    why = [f"{score!r} is below {outcome.threshold!r}"] if not reaches else []
    why += [f"the knock-out {name!r} fires" for name in fired]
    if outcome.status == "already_approved" and not approved:
        yield f"the status is 'already_approved', but {' and '.join(why)}"
    if outcome.status != "already_approved" and approved:
        yield f"the status is {outcome.status!r}, but the applicant's {score!r} reaches {outcome.threshold!r}"
    if outcome.stage != stage and approved == (outcome.status == "already_approved"):
        yield f"the stage is {outcome.stage!r}, the status {outcome.status!r} goes with {stage!r}"


def _status(outcome: Outcome, policy: Policy, *, alone: bool) -> Iterator[str]:
    """Yield where the outcome's status contradicts what it holds."""
    best = outcome.best_score
    if best is not None and outcome.status == "none_exists":
        least = outcome.threshold + policy.decision.margin
        provided = any(feature.provide is not None for feature in policy.features.values())
        one_row = alone and outcome.shape == "point" and not provided  # else a plan is more than its own row
        if best.value >= least and one_row:
            yield f"no plan is said to exist, but the best score {best.value!r} would be approved"
        if best.bound < best.value or (best.proven and best.bound != best.value):
            yield f"the best score {best.value!r} does not agree with its bound {best.bound!r}"
        stays = alone and state.is_plain(policy)  # whoever stays keeps the score
        if best.proven and stays and best.value < outcome.score - 1e-6:
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


def _several(outcome: Outcome) -> Iterator[str]:
    """Yield where later plans are cheaper than proven earlier ones, or change all that an earlier one changes."""
    for k, plan in enumerate(outcome.plans):
        names = {change.feature for change in plan.changes}
        for earlier in outcome.plans[:k]:
            if {change.feature for change in earlier.changes} <= names:
                yield f"plan {k + 1} changes all the features that an earlier plan changes: {', '.join(sorted(names))}"
            if earlier.certificate.proven and plan.cost < earlier.cost:
                yield f"plan {k + 1} costs {plan.cost!r}, less than an earlier one that is proven: {earlier.cost!r}"
