"""What an applicant may change, what a change costs, and when the decision turns."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import re
import tomllib
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from .errors import DataError, PolicyError, UnknownFeature, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic._internal._model_construction import ModelMetaclass

    from .population import Population, Summary
else:
    ModelMetaclass = type(BaseModel)

LARGEST_COST = 2**40  # micro-units; sums of costs then stay exact in float64 and far from the end of int64

# Keys that the format knows and a later version obeys; until then they are refused, never ignored.
_LATER = {
    "knockouts": "knock-out rules",
    "rules": "rules",
    "time": "waiting",
    "reapply": "effects of applying again",
    "groups": "columns that are one category or one ladder",
    "value": "derived features",
    "effect": "effects of other features",
    "tick": "values that advance with waiting",
    "provide": "providing a missing value",
    "manipulable": "manipulable features",
    "derived_mismatch": "derived features",
    "shape": "shapes of plans other than point",
    "box_steps": "shapes of plans other than point",
}


# --------------------------------------------------------------------------------------------------- values in a policy


class _Problems(ValueError):
    """Several problems found at one place: (key below that place, message) each."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {message}" for key, message in problems))
        self.problems = tuple(problems)


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _number(value: Any) -> float:
    """Read a finite number."""
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal):
        remedy = " Delete the quotes." if isinstance(value, str) and _is_number(value) else ""
        raise ValueError(f"expected a number, got {_show(value)}.{remedy}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {value}.")
    return number + 0.0  # -0.0 would hash apart from 0.0


def _whole(value: Any) -> int:
    """Read a whole number."""
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {_show(value)}.")
    return value


def _exact(value: Any) -> Decimal:
    """Read a positive step as the decimal that was written."""
    value = _plain(value)
    number = _number(value)
    if number <= 0:
        raise ValueError(f"a step must be greater than 0, got {value}. Leave it out for any value.")
    return value if isinstance(value, Decimal) else Decimal(repr(value))


def _level(value: Any) -> str | int | float | bool:
    """Read one level of a category."""
    value = float(value) if isinstance(value, Decimal) else _plain(value)
    if not isinstance(value, str | int | float | bool):
        raise ValueError(f"a level is a text, a number, true or false, got {_show(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value}.")
    return value


def _class_label(value: Any) -> str | int | bool:
    """Read a class label."""
    value = _plain(value)
    if not isinstance(value, str | int | bool):
        raise ValueError(f"a class is a text, a whole number, true or false, got {_show(value)}.")
    return value


def _threshold(value: Any) -> float:
    """Read a threshold."""
    if isinstance(value, str):
        raise ValueError(f"not supported yet: thresholds by column or expression ({value!r}). Give a number.")
    return _number(value)


def _sequence(value: Any) -> Any:
    """Refuse a text where a list is meant."""
    if isinstance(value, list | tuple):
        return tuple(value)
    raise ValueError(f"expected a list in square brackets, got {_show(value)}.")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _show(value: Any) -> str:
    """Name a value that came, as the file writes it."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    return repr(value) if isinstance(value, str) else str(value)


Level = str | int | float | bool
_Number = Annotated[float, BeforeValidator(_number)]
_Size = Annotated[float, Field(ge=0), BeforeValidator(_number)]
_Step = Annotated[
    Decimal, BeforeValidator(_exact), WithJsonSchema({"type": "number", "exclusiveMinimum": 0}, mode="validation")
]
_Level = Annotated[Level, BeforeValidator(_level)]
_Levels = Annotated[tuple[_Level, ...], BeforeValidator(_sequence)]


# ----------------------------------------------------------------------------------------------------------- the models


class _Readable(ModelMetaclass):
    """Turns pydantic's errors into ours when a part of a policy is built in Python."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise _explain(error, cls) from None


class _Part(BaseModel, metaclass=_Readable):
    """A frozen table of the policy that knows no other keys than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def model_validate(cls, obj: Any, **kwargs: Any) -> Self:
        """Build from a dict; problems raise one `PolicyError` that lists them all."""
        try:
            return super().model_validate(obj, **kwargs)
        except ValidationError as error:
            raise _explain(error, cls) from None


class Decision(_Part):
    """When an applicant is approved."""

    favourable: Annotated[int | str | bool, BeforeValidator(_class_label)] = 1
    """The class whose score decides, as the model spells it."""
    score: Literal["probability", "decision_function"] = "probability"
    """What the model's score is: the probability of the favourable class, or the raw decision function."""
    threshold: Annotated[float, BeforeValidator(_threshold)]
    """An applicant is approved when the native score is at least this."""
    margin: _Size = 0.0
    """Extra score that a plan must reach above the threshold."""

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.score == "probability":
            if not 0 < self.threshold < 1:
                raise _Problems(
                    [
                        (
                            "threshold",
                            f'a probability lies strictly between 0 and 1, got {_plain_number(self.threshold)}. Raw scores need score = "decision_function".',
                        )
                    ]
                )
            if self.threshold + self.margin > 1:
                raise _Problems([("margin", "threshold + margin is above 1, which no probability reaches.")])
        return self


class Cost(_Part):
    """What changes cost."""

    unit: Literal["mad", "std", "range", "percentile", "raw"] = "mad"
    """What one unit of a numeric change is measured in: the population's median absolute deviation, standard
    deviation, range, percentiles, or nothing."""
    per_change: _Size = 0.1
    """Fixed price of changing a feature at all."""
    max_changes: Annotated[int, Field(ge=1), BeforeValidator(_whole)] | None = None
    """Largest number of features that a plan may change; unlimited when left out."""


class Percent(_Part):
    """A largest change in per cent of the applicant's value."""

    percent: _Size
    """Largest change in per cent of the absolute value of the applicant's."""
    at_least: _Size = 0.0
    """A change of this size is always allowed; all that applies where the applicant's value is 0."""

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.percent == 0 and self.at_least == 0:
            raise ValueError('allows no change at all. Use role = "fixed".')
        return self


_TAGS = ("<number>", "<per cent>")  # stand in pydantic's locations; dropped from messages


def _shape_of_limit(value: Any) -> str:
    return _TAGS[1] if isinstance(value, dict | Percent) else _TAGS[0]


_MaxChange = Annotated[
    Annotated[_Number, Tag(_TAGS[0])] | Annotated[Percent, Tag(_TAGS[1])], Discriminator(_shape_of_limit)
]


class Feature(_Part):
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
    step: _Step | None = None
    """The grid of values, kept as the decimal that was written; 1 for whole numbers unless given."""
    step_from: Literal["zero", "applicant"] = "zero"
    """Where the grid is counted from: 0, or the applicant's value."""
    min: _Number | None = None
    """Smallest value that a plan may ask for."""
    max: _Number | None = None
    """Largest value that a plan may ask for."""
    max_change: _MaxChange | None = None
    """Largest change from the applicant's value: a number, or { percent = 25, at_least = 500 }; inclusive."""
    weight: _Size = 1.0
    """Factor on the cost of a change."""
    levels: _Levels | None = None
    """The levels of a category, flag or ordinal, in order."""
    moves: dict[str, _Levels] | None = None
    """From each level, the levels that can be reached; without it any level reaches any other."""
    move_cost: dict[str, dict[str, _Size]] | None = None
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
            raise _Problems([("role", 'not supported yet: derived features. Use "action", "fixed" or "protected".')])
        data, kind = dict(data), data.get("kind")
        if data.get("step") is None and (kind == "integer" or (kind == "ordinal" and data.get("levels") is None)):
            data["step"] = 1
        if kind == "flag" and data.get("levels") is None:
            data["levels"] = (0, 1)
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*_misplaced(self), *_bounds(self), *_codes(self)]
        if self.levels is not None:
            problems += _levels(self)
        elif self.kind == "category":
            problems.append(("levels", 'a category needs its levels, e.g. levels = ["rent", "own"].'))
        if self.role == "protected":
            problems += [
                (key, "a protected feature never moves. Delete this line, or make the role an action.")
                for key, default in _MOVING.items()
                if getattr(self, key) != default
            ]
        if problems:
            raise _Problems(problems)
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

        Examples
        --------
        >>> Feature(kind="category", levels=["rent", "own"]).position("own")
        1
        """
        try:
            return self._positions.get(value)
        except TypeError:
            return None

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


_MOVING: dict[str, Any] = {"change": "any", "max_change": None, "weight": 1.0, "moves": None, "move_cost": None}


class Policy(_Part):
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
                            problems.append((f"features.{_key(name)}.{side}", why))
            if problems:
                raise _Problems(problems)
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
            raise PolicyError(_explain_toml(str(error), text)) from None
        return cls.model_validate(data)

    def to_toml(self) -> str:
        """Return the policy as the text of a TOML file; reading it gives an equal policy."""
        return _to_toml(self)

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the JSON Schema of the policy file."""
        schema = _tidy(Policy.model_json_schema())
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": Policy.title, **schema}

    @cached_property
    def sha256(self) -> str:
        """Hash of the content: comments, the order of keys and written defaults do not matter, that of features does."""
        content = {
            "schema": "fairpath.policy/1",
            "decision": self.decision.model_dump(),
            "cost": self.cost.model_dump(),
            "features": [[name, _canonical(feature)] for name, feature in self.features.items()],
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


# ------------------------------------------------------------------------------------------------- what does not fit


def _misplaced(feature: Feature) -> list[tuple[str, str]]:
    """Keys that mean nothing for this kind of feature."""
    problems = []
    if feature.kind in ("category", "flag"):
        kind = f"a {feature.kind}"
        wrong = ["step", "step_from", "min", "max", "max_change", "codes"]
        wrong += ["change"] if feature.kind == "category" else []
        remedy = "Say with moves which levels can be reached."
    elif feature.listed and feature.kind == "ordinal":
        kind, remedy = "an ordinal with levels", "Its changes are counted in levels: use change and max_change."
        wrong = ["step", "step_from", "min", "max", "moves", "move_cost", "codes"]
    else:
        kind, remedy = f"a feature of kind {feature.kind}", "Use a category, or delete this line."
        wrong = ["moves", "move_cost"] + (["levels"] if feature.kind != "ordinal" else [])
        if feature.codes and feature.moves is not None:
            wrong.remove("moves")
            problems.append(("moves", "not supported yet: moves between codes, or from a code to a number."))
    for key in wrong:
        default = Feature.model_fields[key].get_default(call_default_factory=True)
        if getattr(feature, key) != default:
            problems.append((key, f"means nothing for {kind}. {remedy}"))
    return problems


def _bounds(feature: Feature) -> list[tuple[str, str]]:
    """Contradictions among the numbers."""
    problems = []
    if feature.min is not None and feature.max is not None and feature.min > feature.max:
        low, high = _plain_number(feature.min), _plain_number(feature.max)
        problems.append(("min", f"min {low} is above max {high}. Swap them?"))
    if feature.kind in ("integer", "ordinal") and feature.step is not None and feature.step % 1 != 0:
        problems.append(
            ("step", f'whole numbers need a whole step, got {feature.step}. Or use kind = "number".'),
        )
    if feature.kind == "number" and feature.step is None and feature.step_from == "applicant":
        problems.append(("step_from", "needs a step."))
    if isinstance(feature.max_change, float):
        least = 1.0 if feature.listed else 0.0
        if feature.max_change <= 0 or feature.max_change < least:
            got = _plain_number(feature.max_change)
            problems.append(("max_change", f'allows no change at all (got {got}). Use role = "fixed".'))
    if isinstance(feature.max_change, Percent) and feature.listed:
        problems.append(("max_change", "levels have no per cent. Give a number of levels."))
    return problems


def _codes(feature: Feature) -> list[tuple[str, str]]:
    """Codes that are no numbers, or the same number twice."""
    problems, seen = [], dict[float, str]()
    for key in feature.codes:
        if not _is_number(key):
            problems.append((f"codes.{_key(key)}", 'a code is a number in quotes, such as "-9".'))
        elif float(key) in seen:
            problems.append((f"codes.{_key(key)}", f"the same number as {seen[float(key)]!r}."))
        else:
            seen[float(key)] = key
    return problems


def _levels(feature: Feature) -> list[tuple[str, str]]:
    """Levels that are none or twice there, moves and prices that name others."""
    assert feature.levels is not None
    problems, names = list[tuple[str, str]](), set[str]()
    seen = set[Level]()
    for level in feature.levels:
        if level in seen or str(level) in names:
            problems.append(("levels", f"{_show(level)} is listed twice (levels must differ as text too)."))
        seen.add(level)
        names.add(str(level))
    if not feature.levels:
        problems.append(("levels", "expected at least one level."))
    if feature.kind == "flag" and len(feature.levels) != 2:
        problems.append(("levels", f"a flag has two levels, got {len(feature.levels)}."))
    if problems:
        return problems

    def unknown(place: str, value: Level) -> None:
        guess = did_you_mean(str(value), names)
        problems.append((place, f"{_show(value)} is not among the levels.{guess}"))

    for start, ends in (feature.moves or {}).items():
        if _find_level(feature.levels, start) is None:
            unknown(f"moves.{_key(start)}", start)
        found = [_find_level(feature.levels, end) for end in ends]
        for end, level in zip(ends, found, strict=True):
            if level is None:
                unknown(f"moves.{_key(start)}", end)
            elif found.count(level) > 1:
                problems.append((f"moves.{_key(start)}", f"{_show(level)} is listed twice."))
            elif level == _find_level(feature.levels, start):
                problems.append((f"moves.{_key(start)}", "a level needs no move to itself: staying is always free."))
    for start, prices in (feature.move_cost or {}).items():
        level = _find_level(feature.levels, start)
        if level is None:
            unknown(f"move_cost.{_key(start)}", start)
            continue
        allowed = _allowed(feature, level)
        for end in prices:
            target = _find_level(feature.levels, end)
            if target is None:
                unknown(f"move_cost.{_key(start)}.{_key(end)}", end)
            elif target not in allowed:
                problems.append(
                    (f"move_cost.{_key(start)}.{_key(end)}", "is the price of a move that moves rules out.")
                )
    spelt = [_find_level(feature.levels, key) for key in feature.moves or {}]
    if len(set(map(str, spelt))) < len(spelt):
        problems.append(("moves", "two keys name the same level."))
    return list(dict.fromkeys(problems))


def _allowed(feature: Feature, start: Level) -> tuple[Level | None, ...]:
    """Levels that `moves` allows from a level."""
    assert feature.levels is not None
    if feature.moves is None:
        return tuple(level for level in feature.levels if level != start)
    for key, ends in feature.moves.items():
        if _find_level(feature.levels, key) == start:
            return tuple(_find_level(feature.levels, end) for end in ends)
    return ()


def _find_level(levels: tuple[Level, ...], text: Level) -> Level | None:
    """Return the level that a key of a TOML table names: keys are texts, and true is written in lower case."""
    for level in levels:
        if str(level) == str(text) or (isinstance(level, bool) and str(level).lower() == text):
            return level
    for level in levels:
        if not isinstance(level, str) and _is_number(str(text)) and float(text) == level:
            return level
    return None


def _spell_as_levels(feature: Feature) -> None:
    """Write the keys of `moves` and `move_cost` as ``str(level)`` and the ends of moves as the levels are."""
    levels = feature.levels or ()
    if feature.moves is not None:
        moves = {
            str(_find_level(levels, start)): tuple(_find_level(levels, end) for end in ends)
            for start, ends in feature.moves.items()
        }
        feature.__dict__["moves"] = moves
    if feature.move_cost is not None:
        feature.__dict__["move_cost"] = {
            str(_find_level(levels, start)): {str(_find_level(levels, end)): price for end, price in prices.items()}
            for start, prices in feature.move_cost.items()
        }


# ------------------------------------------------------------------------------------------------------ error messages


def _explain(error: ValidationError, root: type[BaseModel]) -> PolicyError:
    """Turn pydantic's error into one of ours, a line for each problem."""
    lines: list[str] = []
    for item in error.errors(include_url=False):
        place = tuple(part for part in item["loc"] if part not in _TAGS)
        lines += _lines(place, dict(item), root)
    lines = list(dict.fromkeys(lines))
    if len(lines) == 1:
        return PolicyError(lines[0])
    return PolicyError(f"{len(lines)} problems in the policy:\n" + "\n".join(f"  {line}" for line in lines))


def _lines(place: tuple[int | str, ...], item: dict[str, Any], root: type[BaseModel]) -> list[str]:
    """Say what is wrong at one place."""
    kind, came, context = item["type"], item.get("input"), item.get("ctx", {})
    path = ".".join(_key(part) if isinstance(part, str) else str(part) for part in place) or "the policy"
    reason = context.get("error")
    if isinstance(reason, _Problems):
        below = "" if not place else path + "."
        return [f"{below}{key}: {message}" for key, message in reason.problems]
    if kind == "extra_forbidden":
        key = str(place[-1])
        if key in _LATER:
            return [f"{path}: not supported yet: {_LATER[key]}. Delete it."]
        known = list(_table(place[:-1], root).model_fields)
        guess = did_you_mean(key, known)
        return [f"{path}: unknown key.{guess}" + ("" if guess else f" Expected one of {', '.join(known)}.")]
    if kind == "missing":
        about = _table(place[:-1], root).model_fields[str(place[-1])].description or ""
        return [f"{path}: is missing. Expected: {about[:1].lower()}{' '.join(about[1:].split())}"]
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        return [
            f"{path}: {_show(came)} is not allowed. Expected {context['expected']}.{did_you_mean(str(came), words)}"
        ]
    if kind == "value_error":
        return [f"{path}: {reason}"]
    if kind in ("greater_than_equal", "greater_than"):
        return [f"{path}: must not be below {_plain_number(float(context.popitem()[1]))}, got {_show(came)}."]
    if kind == "too_short":
        return [f"{path}: expected at least one feature, such as [features.income]."]
    wanted = {"string_type": "a text in quotes", "string_sub_type": "a text in quotes", "bool_type": "true or false"}
    return [f"{path}: expected {wanted.get(kind, 'a table')}, got {_show(came)}."]


def _table(place: tuple[int | str, ...], root: type[BaseModel]) -> type[BaseModel]:
    """Return the kind of table that stands at a place."""
    if root is Policy and place:
        if place[0] != "features":
            return Decision if place[0] == "decision" else Cost
        root, place = Feature, place[2:]
    return Percent if root is Feature and place else root


def _explain_toml(message: str, text: str) -> str:
    """Put a TOML parser's message into the policy's words."""
    line = re.search(r" \(at line (\d+), column \d+\)", message)
    twice = re.match(r"Cannot declare \((.*)\) twice", message)
    if twice:
        names = re.findall(r"'([^']*)'|\"([^\"]*)\"", twice.group(1))
        name = ".".join(_key(single or double) for single, double in names)
        again = f" The second [{name}] is in line {line.group(1)}." if line else ""
        return f"{name}: declared twice.{again} Delete one of them."
    return f"the policy is not valid TOML: {message}."


# ---------------------------------------------------------------------------------------------------- writing the file


def _key(name: str) -> str:
    """Return a key as TOML writes it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(value: str) -> str:
    """Return a text as a basic TOML string."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _plain_number(value: float) -> str:
    """Return a number without a needless ``.0``."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _value(value: Any) -> str:
    """Return a value as TOML writes it, its type kept."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, Decimal):
        return _decimal(value)
    return repr(value)


def _decimal(value: Decimal) -> str:
    """Return a step without exponent or needless zeros, so that equal steps read alike."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _to_toml(policy: Policy) -> str:
    lines = ["[decision]"]
    lines += [f"{key} = {_value(getattr(policy.decision, key))}" for key in Decision.model_fields]
    lines += ["", "[cost]"]
    cost = {key: getattr(policy.cost, key) for key in Cost.model_fields}
    lines += [f"{key} = {_value(value)}" for key, value in cost.items() if value is not None]
    for name, feature in policy.features.items():
        lines += ["", f"[features.{_key(name)}]"]
        for key, field in Feature.model_fields.items():
            value = getattr(feature, key)
            if field.is_required() or value != field.get_default(call_default_factory=True):
                lines.append(f"{key} = {_limit(value)}")
    return "\n".join(lines) + "\n"


def _tidy(schema: Any) -> Any:
    """Drop from a JSON Schema what TOML cannot say (null) and what only Python reads (made-up titles, examples)."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {}
    for key, value in schema.items():
        if (key == "title" and isinstance(value, str)) or (key == "default" and value is None):
            continue
        out[key] = " ".join(value.split("\n\n")[0].split()) if key == "description" else _tidy(value)
    kinds = [kind for kind in out.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del out["anyOf"]
        return {**kinds[0], **out}
    return {**out, "anyOf": kinds} if kinds else out


def _limit(value: Any) -> str:
    if isinstance(value, Percent):
        return _value({"percent": value.percent, "at_least": value.at_least})
    if isinstance(value, float):
        return _plain_number(value)
    return _value(value)


def _canonical(feature: Feature) -> dict[str, Any]:
    """The content of a feature; equal content gives equal text."""
    content = feature.model_dump()
    content["step"] = None if feature.step is None else _decimal(feature.step)
    if feature.moves is not None:
        ends = {start: sorted(feature._positions[v] for v in to) for start, to in feature.moves.items()}
        content["moves"] = {start: positions for start, positions in ends.items() if positions}
    if feature.move_cost is not None:
        prices = {start: {end: p for end, p in to.items() if p != 1.0} for start, to in feature.move_cost.items()}
        content["move_cost"] = {start: to for start, to in prices.items() if to} or None
    content["codes"] = sorted((float(key), meaning) for key, meaning in feature.codes.items())
    return content


# ----------------------------------------------------------------------------------------------------- largest cost


def check_costs(policy: Policy, population: Population | None = None) -> None:
    """Check that every feature that moves has a price, and that no plan can cost more than 2**40 micro-units.

    Parameters
    ----------
    policy : Policy
    population : Population, optional
        Needed for every cost unit but "raw".

    Raises
    ------
    PolicyError
        The largest cost is too large; names the feature that makes it so.
    UnknownFeature
        The population does not have a feature that can move.
    DataError
        The population was summarised with other codes or levels than the policy's.
    """
    largest = dict[str, float]()
    for name in policy.movable:
        feature, summary = policy.features[name], None
        if feature.kind not in ("category", "flag") and (population is not None or policy.cost.unit != "raw"):
            if population is None:
                raise DataError(f'cost.unit = "{policy.cost.unit}" needs a population. Give one, or use "raw".')
            summary = population.summary(name)
            _same_meaning(name, feature, summary)
        largest[name] = 1e6 * (
            feature.weight * _largest_step(feature, summary, policy.cost.unit) + policy.cost.per_change
        )
    kept = sorted(largest.values(), reverse=True)[: policy.cost.max_changes]
    if sum(kept) > LARGEST_COST:
        worst = max(largest, key=lambda name: largest[name])
        raise PolicyError(
            f"features.{_key(worst)}: the largest cost of a plan is {sum(kept) / 1e6:.3g} units, most of it from this "
            f"feature; at most {LARGEST_COST / 1e6:.3g} can be added up exactly. "
            "Give it a smaller weight, bounds or a max_change, or choose another cost.unit."
        )


def _same_meaning(name: str, feature: Feature, summary: Summary) -> None:
    if set(summary.codes) != set(feature.code_values):
        raise DataError(
            f"the population was summarised with other codes of {name!r} than the policy's. Summarise it again with this policy."
        )
    wanted = None if feature.levels is None else tuple(map(str, feature.levels))
    if (None if summary.levels is None else tuple(map(str, summary.levels))) != wanted:
        raise DataError(
            f"the population was summarised with other levels of {name!r} than the policy's. Summarise it again with this policy."
        )


def _largest_step(feature: Feature, summary: Summary | None, unit: str) -> float:
    """Largest price of one change before weight: applicants lie in the population's range."""
    if feature.kind in ("category", "flag"):
        places = range(len(feature.levels or ()))
        return max((feature.move_price(p, q) for p in places for q in feature.targets(p)), default=0.0)
    if unit == "percentile":
        return 1.0
    if feature.levels is not None:
        places = range(len(feature.levels))
        span = float(max((abs(p - q) for p in places for q in feature.targets(p)), default=0))
    else:
        ends = [summary.min, summary.max] if summary is not None and summary.n else []
        low = min([feature.min] if feature.min is not None else ends, default=0.0)
        high = max([feature.max] if feature.max is not None else ends, default=0.0)
        starts = ends or [low, high]
        up, down = max(high - min(starts), 0.0), max(max(starts) - low, 0.0)
        span = {"any": max(up, down), "up": up, "down": down}[feature.change]
        if isinstance(feature.max_change, Percent):
            limit = feature.max_change.percent / 100 * max(map(abs, starts))
            span = min(span, max(limit, feature.max_change.at_least))
        elif feature.max_change is not None:
            span = min(span, feature.max_change)
    return span / (summary.unit(unit) if summary is not None else 1.0)
