"""What an applicant may change, what a change costs, and when the decision turns."""

from __future__ import annotations

import hashlib
import json
import tomllib
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from ._policy_costs import LARGEST_COST, check_costs
from ._policy_decision import Cost, Decision
from ._policy_explain import explain_toml
from ._policy_feature import Feature, Percent
from ._policy_part import Part
from ._policy_text import canonical, tidy, to_toml
from ._policy_values import Level, Problems, toml_key
from .errors import PolicyError, UnknownFeature, did_you_mean

__all__ = ["LARGEST_COST", "Cost", "Decision", "Feature", "Percent", "Policy", "check_costs"]


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

    title: ClassVar[str] = "fairpath policy"

    @model_validator(mode="after")
    def _percentiles_are_bounded(self) -> Self:
        if self.cost.unit == "percentile":
            problems = []
            for name, feature in self.features.items():
                if feature.movable and not feature.listed:
                    for side, useless in (("min", "up"), ("max", "down")):
                        if getattr(feature, side) is None and feature.change != useless:
                            why = 'needed with cost.unit = "percentile", which knows no price outside the population.'
                            problems.append((f"features.{toml_key(name)}.{side}", why))
            if problems:
                raise Problems(problems)
        return self

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
        }
        text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
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
        return self.feature(name).label or name.replace("_", " ").strip() or name
