"""What an applicant may do with one column."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from ._policy_explain import TAGS
from ._policy_faults import contradictions
from ._policy_part import Levels, Number, Part, Size, Step
from ._policy_values import Level, Problems, find_level, plain, spelling


class Percent(Part):
    """A largest change in per cent of the applicant's value."""

    percent: Size
    """Largest change in per cent of the absolute value of the applicant's."""
    at_least: Size = 0.0
    """A change of this size is always allowed; all that applies where the applicant's value is 0."""

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.percent == 0 and self.at_least == 0:
            raise ValueError('allows no change at all. Use role = "fixed".')
        return self


def _shape_of_limit(value: Any) -> str:
    return TAGS[1] if isinstance(value, dict | Percent) else TAGS[0]


_MaxChange = Annotated[
    Annotated[Number, Tag(TAGS[0])] | Annotated[Percent, Tag(TAGS[1])], Discriminator(_shape_of_limit)
]


class Feature(Part):
    """What an applicant may do with one column.

    Examples
    --------
    >>> Feature(kind="number", step=0.1, change="up").step
    Decimal('0.1')
    >>> Feature(kind="integer", role="protected").movable
    False
    """

    kind: Literal["number", "integer", "ordinal", "category", "flag"]
    """What the values are: numbers, whole numbers, steps of a ladder, unordered levels, or yes and no."""
    role: Literal["action", "fixed", "protected"] = "action"
    """action: the applicant can change it; fixed: never changes; protected: never changes and is never shown."""
    change: Literal["any", "up", "down"] = "any"
    """Direction of change; for levels, up means later in the list."""
    step: Step | None = None
    """The grid of values, kept as the decimal that was written; 1 for whole numbers unless given."""
    step_from: Literal["zero", "applicant"] = "zero"
    """Where the grid is counted from: 0, or the applicant's value."""
    min: Number | None = None
    """Smallest value that a plan may ask for."""
    max: Number | None = None
    """Largest value that a plan may ask for."""
    max_change: _MaxChange | None = None
    """Largest change from the applicant's value: a number, or { percent = 25, at_least = 500 }; inclusive."""
    weight: Size = 1.0
    """Factor on the cost of a change."""
    levels: Levels | None = None
    """The levels of a category, flag or ordinal, in order."""
    moves: dict[str, Levels] | None = None
    """From each level, the levels that can be reached; without it any level reaches any other."""
    move_cost: dict[str, dict[str, Size]] | None = None
    """From each level, to each level: the price of the move; 1 unless given."""
    codes: dict[str, str] = Field(default_factory=dict)
    """Values that are not numbers, with their meaning; an applicant with a code keeps it."""
    label: str | None = None
    """The words used for the feature when an applicant reads about it."""
    unit: str | None = None
    """The unit that is printed behind a value."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if data.get("role") == "derived":
            raise Problems([("role", 'not supported yet: derived features. Use "action", "fixed" or "protected".')])
        data, kind = dict(data), data.get("kind")
        if data.get("step") is None and (kind == "integer" or (kind == "ordinal" and data.get("levels") is None)):
            data["step"] = 1
        if kind == "flag" and data.get("levels") is None:
            data["levels"] = (0, 1)
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = contradictions(self)
        if problems:
            raise Problems(problems)
        if self.levels is not None:
            _spell_as_levels(self)
        return self

    @property
    def movable(self) -> bool:
        """Whether a plan may change the feature."""
        return self.role == "action"

    @property
    def listed(self) -> bool:
        """Whether the feature's positions are 0..L-1 in `levels`; else its values lie on a grid."""
        return self.levels is not None

    @property
    def code_values(self) -> tuple[float, ...]:
        """The declared codes as numbers, in the order of the file."""
        return tuple(float(key) for key in self.codes)

    def position(self, value: Any) -> int | None:
        """Return the position of a level, or None for a value that is not among `levels` (or missing).

        1, 1.0 and "1" meet, as they do in a CSV file.

        Examples
        --------
        >>> Feature(kind="category", levels=["rent", "own"]).position("own")
        1
        """
        value = plain(value)
        if not isinstance(value, str | int | float | bool) or value != value:
            return None
        found = self._positions.get(value)
        return self._spellings.get(spelling(value)) if found is None else found

    def targets(self, position: int) -> tuple[int, ...]:
        """Return the positions that `moves`, `change` and `max_change` allow from a position, in order of `levels`.

        Examples
        --------
        >>> housing = Feature(kind="category", levels=["rent", "own", "free"], moves={"rent": ["own"]})
        >>> housing.targets(0), housing.targets(1)
        ((1,), ())
        """
        assert self.levels is not None
        reach = range(len(self.levels))
        if self.moves is not None:
            reach = sorted(self._positions[v] for v in self.moves.get(str(self.levels[position]), ()))  # type: ignore[assignment]
        limit = self.max_change if isinstance(self.max_change, float) else math.inf
        sign = {"any": 0, "up": 1, "down": -1}[self.change]
        return tuple(p for p in reach if p != position and (p - position) * sign >= 0 and abs(p - position) <= limit)

    def move_price(self, before: int, after: int) -> float:
        """Return the `move_cost` between two positions of a category or flag, 1 unless given."""
        assert self.levels is not None
        prices = (self.move_cost or {}).get(str(self.levels[before]), {})
        return prices.get(str(self.levels[after]), 1.0)

    @cached_property
    def _positions(self) -> dict[Level, int]:
        return {level: position for position, level in enumerate(self.levels or ())}

    @cached_property
    def _spellings(self) -> dict[str, int]:
        return {spelling(level): position for position, level in enumerate(self.levels or ())}


def _spell_as_levels(feature: Feature) -> None:
    """Write the keys of `moves` and `move_cost` as ``str(level)`` and the ends of moves as the levels are."""
    levels = feature.levels or ()
    if feature.moves is not None:
        moves = {
            str(find_level(levels, start)): tuple(find_level(levels, end) for end in ends)
            for start, ends in feature.moves.items()
        }
        feature.__dict__["moves"] = moves
    if feature.move_cost is not None:
        feature.__dict__["move_cost"] = {
            str(find_level(levels, start)): {str(find_level(levels, end)): price for end, price in prices.items()}
            for start, prices in feature.move_cost.items()
        }
