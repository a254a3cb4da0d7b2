"""What an applicant may change, what a change costs, and when the decision turns."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from ..errors import PolicyError, UnknownFeature, did_you_mean
from .costs import LARGEST_COST, check_costs
from .decision import Cost, Decision, Knockout
from .explain import explain_toml
from .expressions import (
    Expressions,
    changing,
    circles,
    column_of,
    has_expressions,
    read_expressions,
    without_grid,
)
from .feature import Feature, Percent, Provide
from .groups import fill_in_levels, group_faults
from .part import Part
from .rules import Groups, Reapply, Rule, Time
from .text import canonical, canonical_rest, tidy, to_toml
from .values import Level, Problems, toml_key

__all__ = [
    "LARGEST_COST",
    "Cost",
    "Decision",
    "Expressions",
    "Feature",
    "Groups",
    "Knockout",
    "Percent",
    "Policy",
    "Provide",
    "Reapply",
    "Rule",
    "Time",
    "check_costs",
]

WAIT = "wait"  # the action of waiting; no feature can have this name


class Policy(Part):
    """What applicants may change, what it costs, and when the decision turns.

    Build one with `Policy.from_toml`, `Policy.from_text` or `Policy.model_validate`. Every problem of a file is listed
    in one `PolicyError`, one line each, with the place and the remedy.

    Examples
    --------
    >>> policy = Policy.from_text('''
    ... [decision]
    ... threshold = 0.5
    ... [features.income]
    ... kind = "number"
    ... change = "up"
    ... step = 500
    ... [features.age]
    ... kind = "integer"
    ... role = "protected"
    ... ''')
    >>> policy.movable
    ('income',)
    >>> policy.features["income"].step
    Decimal('500')
    >>> Policy.from_text(policy.to_toml()) == policy
    True
    """

    decision: Decision
    """When an applicant is approved."""
    cost: Cost = Field(default_factory=Cost)
    """What changes cost."""
    features: dict[str, Feature] = Field(min_length=1)
    """What an applicant may do with each column; the order decides between plans of equal cost."""
    time: Time | None = None
    """Waiting as an action; without it no plan asks to wait."""
    groups: Groups = Field(default_factory=Groups)
    """Columns of the data that are one feature."""
    rules: tuple[Rule, ...] = ()
    """Conditions that every plan obeys."""
    reapply: Reapply | None = None
    """What is different when the applicant applies again."""

    title: ClassVar[str] = "fairpath policy"

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        return fill_in_levels(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._unbounded(), *group_faults(self), *self._names()]
        if has_expressions(self):
            found, wrong = read_expressions(self)
            problems += wrong
            problems += circles(found)
            problems += without_grid(self, found)
            if found.threshold is not None and not wrong:
                moving = sorted(found.threshold.names & changing(self, found))
                if moving:
                    why = f"a plan can change {moving[0]!r}. For the present value write start.{moving[0]}."
                    problems.append(("decision.threshold", why))
        else:
            problems += without_grid(self, Expressions(None, (), (), {}, {}, {}))
        if problems:
            raise Problems(list(dict.fromkeys(problems)))
        return self

    def _unbounded(self) -> Iterator[tuple[str, str]]:
        """Numbers that a plan could take to where no price is known."""
        if self.cost.unit == "percentile":
            for name, feature in self.features.items():
                if feature.movable and not feature.listed:
                    for side, useless in (("min", "up"), ("max", "down")):
                        if getattr(feature, side) is None and feature.change != useless:
                            why = 'needed with cost.unit = "percentile", which knows no price outside the population.'
                            yield f"features.{toml_key(name)}.{side}", why

    def _names(self) -> Iterator[tuple[str, str]]:
        """Names that stand for something else, or twice."""
        if WAIT in self.features:
            yield f"features.{WAIT}", "is the name of waiting, which [time] opens. Rename the column."
        seen = set[str]()
        named = [(f"decision.knockouts.#{i}", k.name) for i, k in enumerate(self.decision.knockouts, 1)]
        for place, name in named + [(f"rules.#{i}", rule.name) for i, rule in enumerate(self.rules, 1)]:
            if name in seen:
                yield place, f"another one is called {name!r} too. Give each a name of its own."
            seen.add(name)

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a policy file.

        Raises
        ------
        PolicyError
            The file cannot be read or is not a valid policy; the message lists every problem.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise PolicyError(f"{path}: cannot read the policy: {error.strerror or error}.") from None
        except UnicodeDecodeError:
            raise PolicyError(f"{path}: the policy is not UTF-8 text. Expected a TOML file.") from None
        try:
            return cls.from_text(text)
        except PolicyError as error:
            raise type(error)(f"{path}: {error}") from None

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a policy from the text of a TOML file."""
        try:
            data = tomllib.loads(text.replace("\r\n", "\n"), parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise PolicyError(explain_toml(str(error))) from None
        return cls.model_validate(data)

    def to_toml(self) -> str:
        """Return the policy as the text of a TOML file; reading it gives an equal policy."""
        return to_toml(self)

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the JSON Schema of the policy file."""
        schema = tidy(Policy.model_json_schema())
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": Policy.title, **schema}

    @cached_property
    def sha256(self) -> str:
        """Hash of the content, to which comments, the order of keys and written defaults do not belong.

        The order of the features does: it decides between plans of equal cost.
        """
        content = {
            "schema": "fairpath.policy/1",
            "decision": self.decision.model_dump(exclude_defaults=True),
            "cost": self.cost.model_dump(exclude_defaults=True),
            "features": [[name, canonical(feature)] for name, feature in self.features.items()],
            **canonical_rest(self),
        }
        text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def expressions(self) -> Expressions:
        """Every expression of the policy, read."""
        return read_expressions(self)[0]

    @cached_property
    def changing(self) -> frozenset[str]:
        """The features whose value may differ when the applicant is scored again, and "wait" if that is an action."""
        return changing(self, self.expressions)

    @property
    def after_months(self) -> int:
        """Months that pass before the next application, waited or not."""
        return 0 if self.reapply is None else self.reapply.after_months

    @property
    def threshold_column(self) -> str | None:
        """The column of the data that holds each applicant's threshold; None if it is a number or an expression."""
        return column_of(self.decision.threshold, self.features)

    @property
    def other_columns(self) -> tuple[str, ...]:
        """Columns of the data that the policy names beside its features: those of groups, and of the decision."""
        decision = self.decision
        named = [self.threshold_column, decision.recorded_score, decision.recorded_decision]
        members = [column for columns in self.groups.columns.values() for column in columns]
        return tuple(dict.fromkeys([*members, *(name for name in named if name is not None)]))

    @cached_property
    def movable(self) -> tuple[str, ...]:
        """Names of the features that a plan may change, in the policy's order."""
        return tuple(name for name, feature in self.features.items() if feature.movable)

    @property
    def levels(self) -> dict[str, tuple[Level, ...]]:
        """The levels of each feature that lists them."""
        return {name: feature.levels for name, feature in self.features.items() if feature.levels is not None}

    def feature(self, name: str) -> Feature:
        """Return a feature by name, or raise `UnknownFeature` with the nearest name."""
        if name not in self.features:
            raise UnknownFeature(f"no feature named {name!r} in the policy.{did_you_mean(name, self.features)}")
        return self.features[name]

    def label(self, name: str) -> str:
        """Return the words for a feature: its label, else its name without underscores."""
        if name == WAIT and self.time is not None:
            return WAIT
        return self.feature(name).label or name.replace("_", " ").strip() or name
