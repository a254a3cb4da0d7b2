"""What holds beyond single features: rules, waiting, columns that belong together, applying again."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from .part import Part, Size, Text, Whole
from .values import Problems, read_sequence, read_whole

_Columns = Annotated[tuple[Text, ...], BeforeValidator(read_sequence)]


class Rule(Part):
    """A condition that every plan obeys: `require`, or `then` wherever `when` holds.

    It is broken only where it is definitely false: a comparison with a missing value breaks nothing.

    Examples
    --------
    >>> Rule(when="education > start.education", then="wait >= 24").name
    'when education > start.education, then wait >= 24'
    """

    name: Text = ""
    """What the rule is called where it is reported; its text unless given."""
    when: Text | None = None
    """The condition under which `then` must hold."""
    then: Text | None = None
    """What must hold where `when` does."""
    require: Text | None = None
    """What must hold always."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if isinstance(data, dict) and "name" not in data:
            said = f"when {data['when']}, then {data['then']}" if {"when", "then"} <= set(data) else None
            data = {**data, "name": data.get("require") or said or "a rule"}
        return data

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.require is not None and (self.when is not None or self.then is not None):
            key = "when" if self.when is not None else "then"
            raise Problems([(key, "a rule has either require, or when and then. Delete one, or write two rules.")])
        if self.require is None and (self.when is None or self.then is None):
            if self.when is None and self.then is None:
                raise Problems([("require", 'is missing: say what must hold, as "open_accounts <= accounts".')])
            here, lacks = ("when", "then") if self.then is None else ("then", "when")
            raise Problems([(lacks, f"is missing beside {here}. Use require for what must hold always.")])
        return self


class Time(Part):
    """Waiting, which is an action of its own where this table is given."""

    horizon: Annotated[int, Field(ge=1), BeforeValidator(read_whole)]
    """The largest number of months that a plan may ask to wait."""
    cost_per_month: Size
    """The price of each month."""


class Groups(Part):
    """Columns of the data that are one feature: the feature has the table, its columns have none."""

    one_hot: dict[str, _Columns] = Field(default_factory=dict)
    """Categories by the columns that spell them: one column is 1, the others are 0. The levels of the feature stand
    in the order of the columns; one level more stands for none of them."""
    thermometer: dict[str, _Columns] = Field(default_factory=dict)
    """Ladders by the columns that spell them: each is 1 from its step on. The feature has the levels 0, 1, ..., the
    number of columns that are 1."""

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The columns of every group."""
        return {**self.one_hot, **self.thermometer}


class Reapply(Part):
    """What is different when the applicant applies again; a plan must be approved then."""

    after_months: Whole = 0
    """Months that pass before the next application, waited or not: clocks run on by this much."""
    effects: dict[str, Text] = Field(default_factory=dict)
    """What becomes of features: a change such as "+1" or "*0.9", else an expression."""
