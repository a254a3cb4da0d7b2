"""What it means that the engine's outcome and a witness's answer are the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from recourse import check
from recourse.plan import Outcome
from tests import naive
from tests.naive_language import Applicant
from tests.native import Native


def raw_frame(rows: Sequence[Mapping[str, Any]], native: Native) -> pd.DataFrame:
    """Return applicants as a frame: text or mixed columns as objects, all others as numbers."""
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        words = name in native.levels or any(isinstance(v, str) for v in values)
        columns[name] = naive.column(values, number=not words)
    return pd.DataFrame(columns)


def same(a: Any, b: Any) -> bool:
    """Whether two raw values are one, missing ones included."""
    if naive.is_missing(a) or naive.is_missing(b):
        return naive.is_missing(a) and naive.is_missing(b)
    return bool(a == b) and isinstance(a, str) == isinstance(b, str)


def disagreements(
    outcome: Outcome, answer: naive.Answer, row: Mapping[str, Any], native: Native, policy: Any
) -> Iterator[str]:
    """Yield every way in which an outcome differs from the answer by definition."""
    start = float(native(raw_frame([row], native))[0])
    if outcome.score != start:
        yield f"the applicant's score is {start!r}, the outcome says {outcome.score!r}"
    if outcome.status != answer.status:
        yield f"the status is {answer.status} by definition, the engine says {outcome.status}: {answer}"
        return
    if (outcome.stage is None) != (outcome.status == "already_approved"):
        yield f"stage {outcome.stage!r} of status {outcome.status}"
    if Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))).to_dict() != outcome.to_dict():
        yield "the outcome does not survive JSON"
    if answer.status == "found":
        yield from _plan(outcome, answer, native, policy)
    if answer.status == "none_exists":
        if outcome.certificate is None or not outcome.certificate.proven:
            yield "none_exists without a proof"
        best = outcome.best_score
        if best is not None and not best.value <= answer.best <= max(best.bound, best.value):
            yield f"the best score is {answer.best!r}, the engine says {best}"
        if best is not None and best.proven and best.value != answer.best:
            yield f"the best score is {answer.best!r}, the engine says {best} with proof"


def _plan(outcome: Outcome, answer: naive.Answer, native: Native, policy: Any) -> Iterator[str]:
    assert answer.row is not None
    assert answer.changes is not None
    assert answer.cost is not None
    plan = outcome.plans[0]
    if plan.cost != answer.cost / 1e6:
        yield f"the optimum costs {answer.cost / 1e6!r}, the plan {plan.cost!r}: {answer.changes} and {plan.changes}"
        return
    if not plan.certificate.proven:
        yield f"the optimum is not proven: {plan.certificate}"
    changes = {c.feature: (c.before, c.after) for c in plan.changes}
    if set(changes) != set(answer.changes) or not all(
        same(changes[n][i], answer.changes[n][i]) for n in changes for i in (0, 1)
    ):
        yield f"ties are broken otherwise: {answer.changes} by definition, {changes} by the engine"
        return
    for name, value in plan.row.items():
        if not same(value, answer.row[name]):
            yield f"{name} of the plan's row is {value!r}, by definition {answer.row[name]!r}"
    protected = {n for n, f in policy.features.items() if f.role == "protected"}
    if protected & set(plan.row):
        yield f"protected columns in the plan's row: {protected & set(plan.row)}"
    score = float(native(raw_frame([answer.row], native))[0])
    if plan.score != score:
        yield f"the plan's score is {score!r}, the engine says {plan.score!r}"


def language_disagreements(outcome: Outcome, answer: naive.Answer, world: Any, row: Mapping[str, Any]) -> Iterator[str]:
    """Yield every way in which an outcome differs from the answer by definition, under the whole language."""
    policy, native, asked = world.policy, world.native, world.asked
    applicant = Applicant(policy, row)
    score = float(naive.scores(native, [{**row, **applicant.derived()}])[0])
    if outcome.score != score:
        yield f"the applicant's score is {score!r}, the outcome says {outcome.score!r}"
    if outcome.status != answer.status:
        yield f"the status is {answer.status} by definition, the engine says {outcome.status}: {answer}"
        return
    if outcome.shape != asked.shape:
        yield f"the shape is {asked.shape!r}, the outcome says {outcome.shape!r}"
    fired = bool(applicant.fired({**applicant.start, "wait": 0}))
    stage = "knockout" if score >= outcome.threshold else "combined" if fired else "score"
    if outcome.stage != (None if outcome.status == "already_approved" else stage):
        yield f"the stage is {stage!r}, the outcome says {outcome.stage!r}"
    if Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))).to_dict() != outcome.to_dict():
        yield "the outcome does not survive JSON"
    if len(outcome.plans) != len(answer.plans):
        yield f"{len(answer.plans)} plans by definition, {len(outcome.plans)} by the engine: {answer.plans}"
    for k, (plan, wanted) in enumerate(zip(outcome.plans, answer.plans), start=1):
        if plan.cost != wanted.cost / 1e6:
            yield f"plan {k} costs {wanted.cost / 1e6!r} by definition, {plan.cost!r} by the engine: {wanted}, {plan}"
            return
        if not plan.certificate.proven:
            yield f"plan {k} is not proven: {plan.certificate}"
        told = {c.feature: (c.before, c.after) for c in plan.changes}
        if set(told) != set(wanted.changes) or not all(
            same(told[name][i], wanted.changes[name][i]) for name in told for i in (0, 1)
        ):
            yield f"ties of plan {k} are broken otherwise: {wanted.changes} by definition, {told} by the engine"
            return
        for name, value in plan.row.items():
            if not same(value, wanted.row[name]):
                yield f"{name} of plan {k}'s row is {value!r}, by definition {wanted.row[name]!r}"
        if plan.score != float(naive.scores(native, [wanted.row])[0]):
            yield f"plan {k}'s score is not the native one of its row: {plan.score!r}"
    best, alone = outcome.best_score, not asked.also_approve and asked.plausibility is None
    if best is not None and alone and asked.shape == "point" and outcome.status == "none_exists":
        if not best.value <= answer.best <= max(best.bound, best.value):
            yield f"the best score is {answer.best!r}, the engine says {best}"
        if best.proven and best.value != answer.best:
            yield f"the best score is {answer.best!r}, the engine says {best} with proof"


def faults(outcome: Outcome, row: Mapping[str, Any], model: Any, policy: Any, population: Any) -> list[str]:
    """Return what `check` says of all plans of an outcome."""
    return [
        fault
        for plan in outcome.plans
        for fault in check(plan, row, model, policy, population, threshold=outcome.threshold)
    ]
