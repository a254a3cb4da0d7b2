"""What an applicant may do with one column."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from .explain import TAGS
from .faults import contradictions
from .part import Levels, Number, Part, Size, Step, Text
from .values import Level, Problems, code_text, find_code, find_level, plain, spelling


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


class Provide(Part):
    """What it takes to have a missing value filled in."""

    cost: Size
    """The price of providing the value, before the feature's weight."""
    mode: Literal["any", "if_at_least"] = "any"
    """any: whatever the value turns out to be, the plan holds; if_at_least: it holds from a stated value on."""


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
    role: Literal["action", "fixed", "protected", "derived"] = "action"
    """action: the applicant can change it; fixed: does not change by a choice; protected: that, and is never shown;
    derived: follows from others by its value."""
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
    """Largest change from the applicant's value: a number, or { percent = 25, at_least = 500 }; inclusive. 0 where
    only codes move or missing values are provided."""
    weight: Size = 1.0
    """Factor on the cost of a change."""
    levels: Levels | None = None
    """The levels of a category, flag or ordinal, in order."""
    moves: dict[str, Levels] | None = None
    """From each level, the levels that can be reached; without it any level reaches any other. For numbers: from
    each code, the codes and numbers that can be reached; without it a code stays."""
    move_cost: dict[str, dict[str, Size]] | None = None
    """From each level or code, to each: the price of the move; 1 unless given."""
    codes: dict[str, str] = Field(default_factory=dict)
    """Values that are not numbers, with their meaning; an applicant with a code keeps it unless moves lead on."""
    value: Text | None = None
    """Of a derived feature: the expression that gives its value, for every candidate."""
    derived_mismatch: Literal["error", "recompute"] = "error"
    """What is done where the data differ from the formula: refuse the row, or use the formula."""
    effect: Text | None = None
    """The expression by which the feature follows from others; it is then no action itself."""
    tick: Step | None = None
    """By how much the feature grows in each month that passes; whole numbers grow by whole months' worth."""
    provide: Provide | None = None
    """Lets a missing value be provided: { cost = 1.0, mode = "any" or "if_at_least" }."""
    manipulable: bool = False
    """Whether it can be changed without changing the risk; it is then never advised."""
    label: str | None = None
    """The words used for the feature when an applicant reads about it."""
    unit: str | None = None
    """The unit that is printed behind a value."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data, kind = dict(data), data.get("kind")
        whole = kind == "integer" or (kind == "ordinal" and data.get("levels") is None)
        if whole and data.get("step") is None and data.get("role") != "derived" and data.get("effect") is None:
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
        elif self.moves is not None:
            _spell_as_codes(self)
        return self

    @cached_property
    def movable(self) -> bool:
        """Whether a plan may choose another value of the feature."""
        return self.role == "action" and not self.manipulable and self.effect is None

    @property
    def listed(self) -> bool:
        """Whether the feature's positions are 0..L-1 in `levels`; else its values lie on a grid."""
        return self.levels is not None

    @cached_property
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

    def code_moves(self, code: float) -> tuple[tuple[float, float], ...]:
        """Return where `moves` lead from a code, in the order of the file: (code or number, price before weight).

        Examples
        --------
        >>> months = Feature(kind="integer", codes={"-7": "none"}, moves={"-7": [0]}, move_cost={"-7": {"0": 2.0}})
        >>> months.code_moves(-7.0), months.code_moves(3.0)
        (((0.0, 2.0),), ())
        """
        for key, ends in (self.moves or {}).items():
            if float(key) == code:
                prices = (self.move_cost or {}).get(key, {})
                return tuple((float(end), prices.get(code_text(end), 1.0)) for end in ends)
        return ()

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


def _spell_as_codes(feature: Feature) -> None:
    """Write codes in `moves` and `move_cost` as `codes` has them, and numbers as floats (in keys as their text)."""

    def target(end: Level) -> Level:
        return find_code(feature.codes, end) or float(end)

    feature.__dict__["moves"] = {
        find_code(feature.codes, start): tuple(target(end) for end in ends)
        for start, ends in (feature.moves or {}).items()
    }
    if feature.move_cost is not None:
        feature.__dict__["move_cost"] = {
            find_code(feature.codes, start): {code_text(target(end)): price for end, price in prices.items()}
            for start, prices in feature.move_cost.items()
        }
