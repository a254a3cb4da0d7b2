"""From what a search says of a chunk of applicants to outcomes: decoded, scored natively and checked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ._searches import STATUSES, Answers
from .checking import check_many
from .errors import CheckFailed
from .plan import BestScore, Certificate, Change, Condition, Outcome, Plan, Provenance, Stage
from .state import is_plain
from .values import Value, parse_value, plain

if TYPE_CHECKING:
    import pandas as pd

    from .budget import Budget
    from .models.base import Model
    from .policy import Feature, Policy
    from .population import Population
    from .problem import Encoded, Problem

_LOOK = 0.02  # seconds between looks at rows that are searched with others
_CHECKED_ROWS = 200  # rows of a plan's region that are scored natively before it leaves


class Setting(NamedTuple):
    """What all outcomes of a finder have in common."""

    problem: Problem
    policy: Policy
    population: Population
    also_approve: tuple[Model, ...]
    plausibility: Model | None
    shape: str
    box_steps: int
    budget: Budget
    provenance: Provenance
    shown: frozenset[str]  # the columns of a plan's row


class Chunk(NamedTuple):
    """Rows on their way through the search."""

    ids: list[str]
    records: list[dict[str, Value]]  # raw values
    encoded: Encoded
    scores: np.ndarray
    thresholds: np.ndarray
    refused: np.ndarray  # int64[k], the rows that are searched
    place: dict[int, int]  # row -> its place among the refused
    answers: Answers
    tasks: list[Future[None]]  # each of `stride` refused rows
    stride: int

    def wait_for(self, row: int, until: float | None) -> bool:
        """Wait until a row is searched; False where that has not come about at a time of the monotonic clock."""
        if row not in self.place:
            return True
        i = self.place[row]
        task = self.tasks[i // self.stride]
        while not self.answers.done[i]:
            left = _LOOK if until is None else min(_LOOK, until - time.monotonic())
            try:
                task.result(max(0.0, left))
            except TimeoutError:
                if until is not None and time.monotonic() >= until:
                    return False
            else:
                return True
        return True


class _Found(NamedTuple):
    """One plan as the search tells it."""

    i: int  # place among the refused
    number: np.ndarray
    value: np.ndarray


def outcomes(chunk: Chunk, rows: range, setting: Setting) -> Iterator[Outcome]:
    """Yield the outcomes of some rows of a chunk."""
    answers = chunk.answers
    searched = [chunk.place[r] for r in rows if r in chunk.place]
    found: list[_Found] = []
    for i in searched:
        if STATUSES[answers.number[i, 0]] != "none_found":
            found.append(_Found(i, answers.number[i], answers.value[i]))
            found += [_Found(i, number, value) for number, value in answers.more[i]]
    reached = _native(chunk, found, setting)
    plans: dict[int, list[Plan]] = {i: [] for i in searched}
    best: dict[int, float] = {}
    for one, score in zip(found, reached, strict=True):
        if STATUSES[one.number[0]] == "found":
            plans[one.i].append(_plan(chunk, one, score, setting))
        else:
            best[one.i] = score
    _check(chunk, plans, setting)
    for r in rows:
        name, score, threshold = chunk.ids[r], float(chunk.scores[r]), float(chunk.thresholds[r])
        if r not in chunk.place:
            yield Outcome(
                name, "already_approved", None, setting.shape, score, threshold, (), None, None, setting.provenance
            )
            continue
        i = chunk.place[r]
        kind = STATUSES[answers.number[i, 0]]
        yield Outcome(
            id=name,
            status=kind,
            stage=stage_of(score >= threshold, bool(chunk.encoded.knocked[r])),
            shape=setting.shape,
            score=score,
            threshold=threshold,
            plans=tuple(plans[i]),
            certificate=None if plans[i] else _certificate(answers.number[i], setting.budget.nodes),
            best_score=_best_score(answers, i, best[i], setting.problem) if kind == "none_exists" else None,
            provenance=setting.provenance,
        )


def stage_of(by_score: bool, knocked: bool) -> Stage:
    """Return what refused an applicant, whose score may be enough."""
    if knocked:
        return "knockout" if by_score else "combined"
    return "score"


def _native(chunk: Chunk, found: list[_Found], setting: Setting) -> list[float]:
    """Return the champion's scores of the rows after their changes; `check_many` scores the raw values again."""
    if not found:
        return []
    rows = chunk.refused[[one.i for one in found]]
    matrix = setting.problem.scored_matrices(chunk.encoded, rows, np.array([one.value for one in found]))[0]
    return [float(score) for score in setting.problem.model.score(matrix)]


def _plan(chunk: Chunk, one: _Found, score: float, setting: Setting) -> Plan:
    problem, policy = setting.problem, setting.policy
    r = int(chunk.refused[one.i])
    record, start = chunk.records[r], chunk.encoded.rows.value[r]
    if is_plain(policy):
        decoded = problem.changes(record, start, one.value)
        after = record | {change.feature: change.after for change in decoded}
    else:
        decoded, after = problem.after(record, start, one.value)
    changes, region = [], dict[str, tuple[Value, Value]]()
    for change in decoded:
        feature = problem.features[problem.names.index(change.feature)]
        condition: Condition | None = change.condition  # type: ignore[assignment]
        low = high = change.after
        if condition is None and setting.shape != "point" and _is_number(change.before, change.after, feature):
            up = change.after > change.before  # type: ignore[operator]
            end = _end(change.after, feature, up, setting)
            low, high = (low, end) if up else (end, high)
            if setting.shape == "orthant" and low != high:
                condition = "at least" if up else "at most"
        if change.condition is None:
            region[change.feature] = (low, high)
        wait = change.feature == "wait"
        changes.append(
            Change(
                change.feature,
                change.before,
                change.after,
                "months" if wait else feature.unit,
                feature.label,
                condition,
            )
        )
    certificate = _certificate(one.number, setting.budget.nodes)
    assert certificate.cost is not None
    return Plan(
        tuple(changes),
        certificate.cost,
        score,
        {name: value for name, value in after.items() if name in setting.shown},
        certificate,
        region=None if setting.shape == "point" else region,
    )


def _is_number(before: Value, after: Value, feature: Feature) -> bool:
    """Whether a change is of a number, which may go further; levels and codes are what they are."""
    if feature.listed or isinstance(before, str) or before is None or isinstance(after, str) or after is None:
        return False
    return float(before) not in feature.code_values and float(after) not in feature.code_values


def _end(after: Value, feature: Feature, up: bool, setting: Setting) -> Value:
    """Return how far a plan's region reaches beyond a number that it states; None where nothing limits it."""
    bound = feature.max if up else feature.min
    if setting.shape == "box":
        assert feature.step is not None
        reach = Decimal(setting.box_steps) * feature.step
        far = Decimal(repr(after)) + (reach if up else -reach)
        if bound is not None:
            far = min(far, Decimal(repr(bound))) if up else max(far, Decimal(repr(bound)))
        bound = float(far)
    return None if bound is None else parse_value(repr(float(bound)), feature)


def _certificate(number: np.ndarray, budget: int) -> Certificate:
    status, proven, cost, bound, nodes = (int(v) for v in number)
    if status == 0:
        gap = (cost - bound) / cost if cost else 0.0
        return Certificate(bool(proven), cost / 1e6, bound / 1e6, gap, nodes, budget)
    limit = float("inf") if status == 1 else bound / 1e6
    return Certificate(bool(proven), None, limit, None, nodes, budget)


def _best_score(answers: Answers, i: int, score: float, problem: Problem) -> BestScore | None:
    """Return the best score within reach: the native one of the row that has it, and its bound; None without a row."""
    if answers.best[i, 0] == -np.inf:
        return None
    proven, nodes = bool(answers.best_number[i, 0]), int(answers.best_number[i, 1])
    bound = float(problem.model.squash(np.array([answers.best[i, 1]]))[0])
    return BestScore(score, score if proven else max(bound, score), proven, nodes)


def _check(chunk: Chunk, plans: Mapping[int, list[Plan]], setting: Setting) -> None:
    pairs = [(int(chunk.refused[i]), plan) for i, some in plans.items() for plan in some]
    found = check_many(
        [plan for _, plan in pairs],
        [chunk.records[r] for r, _ in pairs],
        setting.problem.model,
        setting.policy,
        setting.population,
        thresholds=[float(chunk.thresholds[r]) for r, _ in pairs],
        also_approve=setting.also_approve,
        plausibility=setting.plausibility,
        shape=setting.shape,
        box_steps=setting.box_steps,
        region_rows=_CHECKED_ROWS,
    )
    for (r, _), violations in zip(pairs, found, strict=True):
        if violations:
            raise CheckFailed(f"the plan for applicant {chunk.ids[r]} fails its checks: {'; '.join(violations)}")


def records_of(frame: pd.DataFrame) -> list[dict[str, Value]]:
    """Return the rows as plain values by column name."""
    names = [str(name) for name in frame.columns]
    columns = [[plain(value) for value in frame.iloc[:, j].tolist()] for j in range(len(names))]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
