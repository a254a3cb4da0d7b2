"""When an applicant is approved, and what changes cost."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .part import Part, Size, Text
from .values import Problems, plain_number, read_class, read_threshold, read_whole


class Knockout(Part):
    """A condition under which an applicant is denied, whatever the score."""

    name: Text
    """What the condition is called where it is reported."""
    deny_when: Text
    """Denied when this is true, as "bankruptcies > 0"; never when it cannot be told because a value is missing."""
    reason: Text | None = None
    """The code of the reason that a notice gives."""


class Decision(Part):
    """When an applicant is approved."""

    favourable: Annotated[int | str | bool, BeforeValidator(read_class)] = 1
    """The class whose score decides, as the model spells it."""
    score: Literal["probability", "decision_function"] = "probability"
    """What the model's score is: the probability of the favourable class, or the raw decision function."""
    threshold: Annotated[float | str, BeforeValidator(read_threshold)]
    """An applicant is approved when the native score is at least this: a number, a column of the data, or an
    expression over features that no plan can change."""
    margin: Size = 0.0
    """Extra score that a plan must reach above the threshold."""
    knockouts: tuple[Knockout, ...] = ()
    """Conditions that deny whatever the score; a plan must clear them as well."""
    recorded_score: Text | None = None
    """The column with the score that the lender recorded; one that differs from the model's is an error."""
    recorded_decision: Text | None = None
    """The column with the decision that the lender recorded, the favourable class for approved."""

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.score == "probability" and isinstance(self.threshold, str):
            if self.margin >= 1:
                raise Problems([("margin", "a margin of 1 or more is one that no probability reaches.")])
        elif self.score == "probability" and isinstance(self.threshold, float):
            if not 0 < self.threshold < 1:
                got = f"a probability lies strictly between 0 and 1, got {plain_number(self.threshold)}."
                raise Problems([("threshold", f'{got} Raw scores need score = "decision_function".')])
            if self.threshold + self.margin > 1:
                raise Problems([("margin", "threshold + margin is above 1, which no probability reaches.")])
        return self


class Cost(Part):
    """What changes cost."""

    unit: Literal["mad", "std", "range", "percentile", "raw"] = "mad"
    """What one unit of a numeric change is measured in: the population's median absolute deviation, standard
    deviation, range, percentiles, or nothing."""
    per_change: Size = 0.1
    """Fixed price of changing a feature at all."""
    max_changes: Annotated[int, Field(ge=1), BeforeValidator(read_whole)] | None = None
    """Largest number of features that a plan may change; unlimited when left out."""
