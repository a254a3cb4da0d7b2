"""Old outcomes under a new model: which plans would still be approved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from .checking import REGION_ROWS, check_many
from .checking.scores import Scorer
from .errors import InputError
from .state import knockouts, present
from .state import threshold as threshold_by
from .values import plain

if TYPE_CHECKING:
    from .models.base import Model
    from .plan import Outcome, Plan
    from .policy import Policy
    from .population import Population

__all__ = ["Revalidated", "Revalidation", "revalidate"]


@dataclass(frozen=True, slots=True)
class Revalidated:
    """One plan under a new model: its score now, and why it does not hold any more (nothing where it does)."""

    score: float
    reasons: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the plan would still be approved, on all that it promised."""
        return not self.reasons

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {"holds": self.holds, "score": self.score, "reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class Revalidation:
    """An old outcome under a new model: whether the applicant is approved as is, and what has become of each plan."""

    id: str
    status: str  # the old outcome's
    approved: bool  # as is, now
    score: float
    threshold: float
    plans: tuple[Revalidated, ...]

    @property
    def holds(self) -> bool:
        """Whether what was said still stands: who was approved is, and every plan that was given would be."""
        if self.status == "already_approved":
            return self.approved
        return all(plan.holds for plan in self.plans)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            "schema": "fairpath.revalidation/1",
            "id": self.id,
            "status": self.status,
            "holds": self.holds,
            "approved": self.approved,
            "score": self.score,
            "threshold": self.threshold,
            "plans": [plan.to_dict() for plan in self.plans],
        }


def revalidate(
    outcomes: Sequence[Outcome],
    rows: Sequence[Mapping[str, Any] | pd.Series],
    model: Model,
    policy: Policy,
    population: Population,
    *,
    threshold: float | None = None,
    also_approve: Sequence[Model] = (),
    plausibility: Model | None = None,
    box_steps: int = 5,
    region_rows: int = REGION_ROWS,
) -> list[Revalidation]:
    """Score old outcomes under a new model.

    Each plan is derived again from the applicant's row and the policy, and its row and region are scored by the new
    model: at the policy's threshold as it is now, not at the one of old. The old certificate says nothing about the
    new model: a plan that holds need not be the cheapest any more, and where no plan existed there may be one.

    Parameters
    ----------
    outcomes, rows : sequences of equal length
        The i-th outcome is for the i-th row of raw values.
    model : Model
        The new one, as `read_model` returns it.
    policy, population
        By which plans are judged.
    threshold : float, optional
        In place of the policy's.
    also_approve, plausibility, box_steps, region_rows
        As in `check`.

    Returns
    -------
    list of Revalidation

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from recourse import Finder, read_model
    >>> frame = pd.DataFrame({"income": [20, 30, 40, 50, 60]})
    >>> policy = {"decision": {"threshold": 0.5}, "features": {"income": {"kind": "integer", "change": "up"}}}
    >>> old = Finder(DecisionTreeClassifier().fit(frame, [0, 0, 1, 1, 1]), policy, frame)
    >>> new = read_model(DecisionTreeClassifier().fit(frame, [0, 0, 0, 1, 1]))
    >>> outcome = old.find({"income": 28})
    >>> again = revalidate([outcome], [{"income": 28}], new, old.policy, old.population)[0]
    >>> again.holds, again.plans[0].reasons
    (False, ('the changed row is not approved: 0.0 is below 0.5',))
    """
    if len(outcomes) != len(rows):
        raise InputError(f"{len(outcomes)} outcomes were given for {len(rows)} rows")
    scorer = Scorer(model)
    plain_rows = [{str(name): plain(value) for name, value in row.items()} for row in rows]
    now = [present(policy, row) for row in plain_rows]
    asked = [{**row, **_features(here)} for row, here in zip(plain_rows, now, strict=True)]
    bars = [float(threshold) if threshold is not None else threshold_by(policy, row) for row in plain_rows]
    scores = [_number(score, outcome.id) for score, outcome in zip(scorer.scores(asked), outcomes, strict=True)]
    fired = [bool(knockouts(policy, here, here)) for here in now]
    pairs = [(i, plan) for i, outcome in enumerate(outcomes) for plan in outcome.plans]
    reached = scorer.scores([{**asked[i], **plan.row} for i, plan in pairs])
    judged: list[list[Revalidated]] = [[] for _ in outcomes]
    for shape in dict.fromkeys(outcome.shape for outcome in outcomes):
        some = [k for k, (i, _) in enumerate(pairs) if outcomes[i].shape == shape]
        found = check_many(
            [_rescored(pairs[k][1], reached[k], outcomes[pairs[k][0]].id) for k in some],
            [plain_rows[pairs[k][0]] for k in some],
            model,
            policy,
            population,
            thresholds=[bars[pairs[k][0]] for k in some],
            also_approve=also_approve,
            plausibility=plausibility,
            shape=shape,
            box_steps=box_steps,
            region_rows=region_rows,
        )
        for k, reasons in zip(some, found, strict=True):
            judged[pairs[k][0]].append(Revalidated(_number(reached[k], outcomes[pairs[k][0]].id), reasons))
    return [
        Revalidation(
            id=outcome.id,
            status=outcome.status,
            approved=scores[i] >= bars[i] and not fired[i],
            score=scores[i],
            threshold=bars[i],
            plans=tuple(judged[i]),
        )
        for i, outcome in enumerate(outcomes)
    ]


def _features(now: Mapping[str, Any]) -> dict[str, Any]:
    """Derived columns that the data need not hold."""
    return {name: value for name, value in now.items() if name != "wait"}


def _rescored(plan: Plan, score: float | str, name: str) -> Plan:
    return replace(plan, score=_number(score, name))


def _number(score: float | str, name: str) -> float:
    if isinstance(score, str):
        raise InputError(f"applicant {name!r} cannot be scored by the new model: {score}")
    return score
