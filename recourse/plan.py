"""What the search answers: an outcome with its plans and certificates, in the applicant's units and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .checking import check, check_many, check_outcomes
from .errors import DataError
from .values import Value, format_value, number_text, parse_value, plain

__all__ = [
    "OUTCOME_SCHEMA",
    "BestScore",
    "Certificate",
    "Change",
    "Condition",
    "Outcome",
    "Plan",
    "Provenance",
    "Stage",
    "Status",
    "Value",
    "check",
    "check_many",
    "check_outcomes",
    "format_value",
    "parse_value",
]

Status = Literal["already_approved", "found", "none_exists", "none_found"]
Stage = Literal["knockout", "score", "combined"]
Condition = Literal["any", "at least", "at most"]

OUTCOME_SCHEMA = "fairpath.outcome/1"


@dataclass(frozen=True, slots=True)
class Change:
    """One feature of a plan, before and after, in the applicant's units.

    `label` is the policy's wording; it is not part of the JSON and takes no part in comparisons. The feature ``wait``
    is the months until the applicant applies again. `condition` says what else than the value itself is promised:
    "at least" or "at most" it, or "any" value where a missing one is provided (`after` is then None).

    Examples
    --------
    >>> print(Change("income", 41000, 46500, unit="USD", label="annual income"))
    annual income: 41000 -> 46500 USD
    >>> print(Change("utilisation", 80.0, 79, unit="%", condition="at most"))
    utilisation: 80 -> at most 79 %
    >>> print(Change("appraisal", None, None, condition="any"))
    appraisal: missing -> to be provided
    >>> print(Change("wait", 0, 5, unit="months"))
    wait 5 months, then apply again
    """

    feature: str
    before: Value
    after: Value
    unit: str | None = None
    label: str | None = field(default=None, compare=False)
    condition: Condition | None = None

    def __str__(self) -> str:
        """Return the change in one line of words."""
        if self.feature == "wait":
            least = f"{self.condition} " if self.condition else ""
            return f"wait {least}{_shown(self.after)} month{'' if self.after == 1 else 's'}, then apply again"
        unit = f" {self.unit}" if self.unit else ""
        after = f"{_shown(self.after)}{unit}"
        if self.condition == "any":
            after = "to be provided"
        elif self.condition is not None:
            after = f"{self.condition} {after}"
        return f"{self.label or self.feature}: {_shown(self.before)} -> {after}"

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON-ready values."""
        data = {"feature": self.feature, "from": plain(self.before), "to": plain(self.after), "unit": self.unit}
        return data if self.condition is None else {**data, "condition": self.condition}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Change:
        """Read what `to_dict` wrote."""
        return cls(
            feature=_text(data["feature"]),
            before=plain(data["from"]),
            after=plain(data["to"]),
            unit=_text_or_none(data.get("unit")),
            condition=_text_or_none(data.get("condition")),
        )


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a search claims: no plan costs less than `bound`; `proven` when nothing is left open.

    `cost` is None where no plan is held (and then `gap` too); `bound` is infinite where a proof leaves no plan at all.
    """

    proven: bool
    cost: float | None
    bound: float
    gap: float | None
    nodes: int
    node_budget: int

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON-ready values; an infinite bound is null."""
        cost = {} if self.cost is None else {"cost": _finite(self.cost)}
        return {
            "proven": self.proven,
            **cost,
            "bound": _finite(self.bound),
            "gap": _finite(self.gap),
            "nodes": self.nodes,
            "node_budget": self.node_budget,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Certificate:
        """Read what `to_dict` wrote."""
        bound = data["bound"]
        return cls(
            proven=_truth(data["proven"]),
            cost=None if data.get("cost") is None else _number(data["cost"]),
            bound=math.inf if bound is None else _number(bound),
            gap=None if data["gap"] is None else _number(data["gap"]),
            nodes=_number(data["nodes"]),
            node_budget=_number(data["node_budget"]),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes that turn the decision, what they cost, and the applicant's whole row after them (no protected columns).

    `cost` is in the policy's units (whole micro-units / 1e6); `score` is the native model's for the changed row. The
    row is the one that is scored: what follows from the changes and from the months waited is in it. A value that is
    to be provided stands in it as the smallest that the plan holds for.

    `region` is what else the plan promises: for each changed feature the interval of values, from the stated one on, in
    which every row that obeys the rules is approved; an end that nothing limits is None. `robustness` is the largest
    rise of the threshold that the plan survives, `refit_survival` the share of supplied refits that approve its whole
    shape.

    Examples
    --------
    >>> certificate = Certificate(proven=True, cost=0.61, bound=0.61, gap=0.0, nodes=13, node_budget=200_000)
    >>> print(Plan((Change("income", 41000, 46500),), 0.61, 0.52, {"income": 46500}, certificate))
    income: 41000 -> 46500
    """

    changes: tuple[Change, ...]
    cost: float
    score: float
    row: dict[str, Value]
    certificate: Certificate
    region: Mapping[str, tuple[Value, Value]] | None = None
    robustness: float | None = None
    refit_survival: float | None = None

    def __str__(self) -> str:
        """Return the changes, one a line."""
        return "\n".join(str(change) for change in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values."""
        data: dict[str, Any] = {
            "changes": [change.to_dict() for change in self.changes],
            "cost": _finite(self.cost),
            "score": _finite(self.score),
            "row": {name: plain(value) for name, value in self.row.items()},
            "certificate": self.certificate.to_dict(),
        }
        if self.region is not None:
            data["region"] = {name: [plain(low), plain(high)] for name, (low, high) in self.region.items()}
        if self.robustness is not None:
            data["robustness"] = _finite(self.robustness)
        if self.refit_survival is not None:
            data["refit_survival"] = self.refit_survival
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Read what `to_dict` wrote."""
        region = data.get("region")
        return cls(
            changes=tuple(Change.from_dict(change) for change in data["changes"]),
            cost=_number(data["cost"]),
            score=_number(data["score"]),
            row={name: plain(value) for name, value in data["row"].items()},
            certificate=Certificate.from_dict(data["certificate"]),
            region=None
            if region is None
            else {_text(n): (plain(low), plain(high)) for n, (low, high) in region.items()},
            robustness=None if data.get("robustness") is None else _number(data["robustness"]),
            refit_survival=None if data.get("refit_survival") is None else _number(data["refit_survival"]),
        )


@dataclass(frozen=True, slots=True)
class BestScore:
    """The best score that the policy lets an applicant reach: `value` is held by a row, `bound` by none."""

    value: float
    bound: float
    proven: bool
    nodes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the score as JSON-ready values."""
        return {
            "value": _finite(self.value),
            "bound": _finite(self.bound),
            "proven": self.proven,
            "nodes": self.nodes,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BestScore:
        """Read what `to_dict` wrote; a null value was minus infinity, a null bound infinity."""
        value, bound = data["value"], data["bound"]
        return cls(
            value=-math.inf if value is None else _number(value),
            bound=math.inf if bound is None else _number(bound),
            proven=_truth(data["proven"]),
            nodes=_number(data["nodes"]),
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """What an outcome was computed from: hashes, the engine's version, and the model's self-check."""

    model: str
    policy: str
    population: str
    engine: str
    self_check: str

    def to_dict(self) -> dict[str, Any]:
        """Return the provenance as JSON-ready values."""
        return {
            "model": self.model,
            "policy": self.policy,
            "population": self.population,
            "engine": self.engine,
            "self_check": self.self_check,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Provenance:
        """Read what `to_dict` wrote."""
        return cls(
            model=data["model"],
            policy=data["policy"],
            population=data["population"],
            engine=data["engine"],
            self_check=data["self_check"],
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer for one applicant; never None, NaN or a warning in its place.

    `status` is ``already_approved``, ``found`` (a valid plan is held; its certificate says whether it is the
    optimum), ``none_exists`` (a proof) or ``none_found`` (no plan held and no proof: the budget ran out). All are about
    plans of the shape that `shape` names. `stage` says what refused the applicant: a knock-out, the score, or both.
    `certificate` is the search's own where no plan is held; `blocking` then says which constraints to drop for a plan
    to exist, where that was asked for.

    Examples
    --------
    >>> provenance = Provenance("sha256:m", "sha256:p", "sha256:q", "fairpath 0.1.0", "12 probes equal")
    >>> outcome = Outcome("17", "already_approved", None, "point", 0.7, 0.5, (), None, None, provenance)
    >>> Outcome.from_dict(outcome.to_dict()) == outcome
    True
    """

    id: str
    status: Status
    stage: Stage | None
    shape: str
    score: float
    threshold: float
    plans: tuple[Plan, ...]
    certificate: Certificate | None
    best_score: BestScore | None
    provenance: Provenance
    interrupted: bool = False
    blocking: Mapping[str, Any] | None = None

    @property
    def plan(self) -> Plan | None:
        """The cheapest plan held, if any."""
        return self.plans[0] if self.plans else None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome in the form ``fairpath.outcome/1``, ready for JSON (missing values are null)."""
        data: dict[str, Any] = {
            "schema": OUTCOME_SCHEMA,
            "id": self.id,
            "status": self.status,
            "stage": self.stage,
            "shape": self.shape,
            "score": _finite(self.score),
            "threshold": _finite(self.threshold),
            "plans": [plan.to_dict() for plan in self.plans],
        }
        if self.certificate is not None:
            data["certificate"] = self.certificate.to_dict()
        if self.best_score is not None:
            data["best_score"] = self.best_score.to_dict()
        if self.blocking is not None:
            data["blocking"] = dict(self.blocking)
        data["provenance"] = self.provenance.to_dict()
        data["interrupted"] = self.interrupted
        return data

    def to_json(self) -> str:
        """Return the outcome as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """Read what `to_dict` wrote.

        Raises
        ------
        DataError
            If the record is not a ``fairpath.outcome/1``, or lacks something that one has.
        """
        schema = data.get("schema")
        if schema != OUTCOME_SCHEMA:
            raise DataError(f"expected an outcome with schema {OUTCOME_SCHEMA!r}, got {schema!r}")
        certificate, best = data.get("certificate"), data.get("best_score")
        try:
            return cls(
                id=str(data["id"]),
                status=_text(data["status"]),
                stage=_text_or_none(data["stage"]),
                shape=_text(data["shape"]),
                score=_number(data["score"]),
                threshold=_number(data["threshold"]),
                plans=tuple(Plan.from_dict(plan) for plan in data["plans"]),
                certificate=None if certificate is None else Certificate.from_dict(certificate),
                best_score=None if best is None else BestScore.from_dict(best),
                provenance=Provenance.from_dict(data["provenance"]),
                interrupted=_truth(data.get("interrupted", False)),
                blocking=None if data.get("blocking") is None else _table(data["blocking"]),
            )
        except KeyError as error:
            raise DataError(f"outcome {data.get('id')!r} has no {error.args[0]!r}; was the file edited?") from None
        except (TypeError, ValueError, AttributeError, DataError):
            raise DataError(f"outcome {data.get('id')!r} is malformed; was the file edited?") from None


def _shown(value: Value) -> str:
    """A value in a line of words: whole numbers without a point, though their column may be of floats."""
    return "missing" if value is None else number_text(value) if isinstance(value, float) else str(value)


def _number(value: Any) -> Any:
    """Return a number of a record as it is; anything else is malformed."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    return value


def _truth(value: Any) -> bool:
    """Return a truth value of a record as it is; anything else is malformed."""
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _text(value: Any) -> Any:
    """Return a text of a record as it is; anything else is malformed."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _table(value: Any) -> dict[str, Any]:
    """Return a table of a record as it is; anything else is malformed."""
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


def _text_or_none(value: Any) -> Any:
    return None if value is None else _text(value)


def _finite(number: float | None) -> float | None:
    """JSON knows no NaN and no infinity."""
    return number if number is not None and math.isfinite(number) else None
