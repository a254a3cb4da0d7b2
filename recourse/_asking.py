"""Outcomes of a black box: what its search found, written down and checked; never proven."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ._decoding import Setting, records_of, stage_of
from .blackbox import Answer, BlackBoxSearch
from .checking import check_many
from .errors import CheckFailed
from .plan import Certificate, Change, Condition, Outcome, Plan
from .state import WAIT, after, columns, present
from .values import Value

if TYPE_CHECKING:
    import pandas as pd

    from .problem import Encoded


def asked(
    search: BlackBoxSearch, frame: pd.DataFrame, ids: list[str], encoded: Encoded, scores: np.ndarray,
    thresholds: np.ndarray, setting: Setting,
) -> Iterator[Outcome]:  # fmt: skip
    """Search for the refused rows of a chunk together, and yield the outcomes of all its rows."""
    knocked = np.array([bool(names) for names in encoded.knocked], np.bool_)
    refused = np.flatnonzero(~(scores >= thresholds) | knocked)
    answers = search.run(frame.iloc[refused], thresholds[refused]) if len(refused) else []
    records = records_of(frame)
    found = {int(r): (answer, _plan(answer, records[r], setting)) for r, answer in zip(refused, answers, strict=True)}
    held = [(r, plan) for r, (_, plan) in found.items() if plan is not None]
    checked = check_many(
        [plan for _, plan in held],
        [records[r] for r, _ in held],
        setting.problem.model,
        setting.policy,
        setting.population,
        thresholds=[float(thresholds[r]) for r, _ in held],
        shape=setting.shape,
    )
    for (r, _), violations in zip(held, checked, strict=True):
        if violations:
            raise CheckFailed(f"the plan for applicant {ids[r]} fails its checks: {'; '.join(violations)}")
    for r, name in enumerate(ids):
        score, threshold = float(scores[r]), float(thresholds[r])
        if r not in found:
            yield Outcome(
                name, "already_approved", None, setting.shape, score, threshold, (), None, None, setting.provenance
            )
            continue
        answer, plan = found[r]
        yield Outcome(
            id=name,
            status=answer.status,
            stage=stage_of(score >= threshold, bool(knocked[r])),
            shape=setting.shape,
            score=score,
            threshold=threshold,
            plans=() if plan is None else (plan,),
            certificate=None if plan is not None else _certificate(answer, setting),
            best_score=None,
            provenance=setting.provenance,
        )


def _certificate(answer: Answer, setting: Setting) -> Certificate:
    """Nothing is proven of a model that is only asked: the bound is 0, and nodes are the rows that it scored."""
    if answer.status == "none_found":
        return Certificate(False, None, 0.0, None, answer.calls, setting.budget.calls)
    cost = answer.cost_micro / 1e6
    return Certificate(False, cost, 0.0, 1.0 if cost else 0.0, answer.calls, setting.budget.calls)


def _plan(answer: Answer, record: dict[str, Value], setting: Setting) -> Plan | None:
    if answer.status == "none_found":
        return None
    policy = setting.policy
    now = present(policy, record)
    changes, chosen = [], dict[str, Value]()
    for name, value in answer.changes.items():
        feature = policy.features[name]
        condition: Condition | None = None
        before = record[name] if name in record else now.get(name)
        if before is None and feature.provide is not None:
            condition = "any" if feature.provide.mode == "any" else "at least"
        changes.append(Change(name, before, value, feature.unit, feature.label, condition))
        chosen[name] = value
    order = list(policy.features)
    changes.sort(key=lambda change: order.index(change.feature))
    if answer.wait:
        changes.append(Change(WAIT, 0, answer.wait, "months"))
    row = columns(policy, after(policy, record, chosen, answer.wait), record)
    certificate = _certificate(answer, setting)
    assert certificate.cost is not None
    return Plan(
        tuple(changes),
        certificate.cost,
        answer.score,
        {name: value for name, value in row.items() if name in setting.shown},
        certificate,
    )
