"""What an applicant may change, what a change costs, and when the decision turns."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

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

from ._policy_faults import TAGS, Place, contradictions, explain, explain_toml
from ._policy_values import (
    Level,
    Problems,
    decimal_text,
    find_level,
    plain,
    plain_number,
    read_class,
    read_level,
    read_number,
    read_sequence,
    read_step,
    read_threshold,
    read_whole,
    spelling,
    toml_key,
    toml_value,
)
from .errors import DataError, PolicyError, UnknownFeature, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic._internal._model_construction import ModelMetaclass

    from .population import Population, Summary
else:
    ModelMetaclass = type(BaseModel)

LARGEST_COST = 2**40  # micro-units; sums of costs then stay exact in float64 and far from the end of int64


_Number = Annotated[float, BeforeValidator(read_number)]
_Size = Annotated[float, Field(ge=0), BeforeValidator(read_number)]
_Step = Annotated[
    Decimal, BeforeValidator(read_step), WithJsonSchema({"type": "number", "exclusiveMinimum": 0}, mode="validation")
]
_Level = Annotated[Level, BeforeValidator(read_level)]
_Levels = Annotated[tuple[_Level, ...], BeforeValidator(read_sequence)]


# ----------------------------------------------------------------------------------------------------------- the models


class _Readable(ModelMetaclass):
    """Turns pydantic's errors into ours when a part of a policy is built in Python."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            raise explain(error, _tables(cls)) from None


class _Part(BaseModel, metaclass=_Readable):
    """A frozen table of the policy that knows no other keys than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @classmethod
    def model_validate(cls, obj: Any, **kwargs: Any) -> Self:
        """Build from a dict; problems raise one `PolicyError` that lists them all."""
        try:
            return super().model_validate(obj, **kwargs)
        except ValidationError as error:
            raise explain(error, _tables(cls)) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **kwargs: Any) -> Self:
        """Build from JSON, with the same errors as `model_validate`."""
        try:
            return super().model_validate_json(json_data, **kwargs)
        except ValidationError as error:
            raise explain(error, _tables(cls)) from None


class Decision(_Part):
    """When an applicant is approved."""

    favourable: Annotated[int | str | bool, BeforeValidator(read_class)] = 1
    """The class whose score decides, as the model spells it."""
    score: Literal["probability", "decision_function"] = "probability"
    """What the model's score is: the probability of the favourable class, or the raw decision function."""
    threshold: Annotated[float, BeforeValidator(read_threshold)]
    """An applicant is approved when the native score is at least this."""
    margin: _Size = 0.0
    """Extra score that a plan must reach above the threshold."""

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if self.score == "probability":
            if not 0 < self.threshold < 1:
                got = f"a probability lies strictly between 0 and 1, got {plain_number(self.threshold)}."
                raise Problems([("threshold", f'{got} Raw scores need score = "decision_function".')])
            if self.threshold + self.margin > 1:
                raise Problems([("margin", "threshold + margin is above 1, which no probability reaches.")])
        return self


class Cost(_Part):
    """What changes cost."""

    unit: Literal["mad", "std", "range", "percentile", "raw"] = "mad"
    """What one unit of a numeric change is measured in: the population's median absolute deviation, standard
    deviation, range, percentiles, or nothing."""
    per_change: _Size = 0.1
    """Fixed price of changing a feature at all."""
    max_changes: Annotated[int, Field(ge=1), BeforeValidator(read_whole)] | None = None
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


def _shape_of_limit(value: Any) -> str:
    return TAGS[1] if isinstance(value, dict | Percent) else TAGS[0]


_MaxChange = Annotated[
    Annotated[_Number, Tag(TAGS[0])] | Annotated[Percent, Tag(TAGS[1])], Discriminator(_shape_of_limit)
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
        return _to_toml(self)

    @staticmethod
    def json_schema() -> dict[str, Any]:
        """Return the JSON Schema of the policy file."""
        schema = _tidy(Policy.model_json_schema())
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


# ---------------------------------------------------------------------------------------------------- writing the file


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


def _tables(root: type) -> Callable[[Place], type[BaseModel]]:
    """Return a function that tells which kind of table stands at a place below a root."""

    def table(place: Place) -> type[BaseModel]:
        if root is Policy and place:
            if place[0] != "features":
                return Decision if place[0] == "decision" else Cost
            return Percent if len(place) > 2 else Feature
        return Percent if root is Feature and place else root

    return table


def _to_toml(policy: Policy) -> str:
    lines = ["[decision]"]
    lines += [f"{key} = {toml_value(getattr(policy.decision, key))}" for key in Decision.model_fields]
    lines += ["", "[cost]"]
    cost = {key: getattr(policy.cost, key) for key in Cost.model_fields}
    lines += [f"{key} = {toml_value(value)}" for key, value in cost.items() if value is not None]
    for name, feature in policy.features.items():
        lines += ["", f"[features.{toml_key(name)}]"]
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
    out: dict[str, Any] = {}
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
        return toml_value({"percent": value.percent, "at_least": value.at_least})
    if isinstance(value, float):
        return plain_number(value)
    return toml_value(value)


def _canonical(feature: Feature) -> dict[str, Any]:
    """The content of a feature; equal content gives equal text, and keys that a later version adds change nothing."""
    content = feature.model_dump(exclude_defaults=True)
    if feature.step is not None:
        content["step"] = decimal_text(feature.step)
    if feature.moves is not None:
        ends = {start: sorted(feature._positions[v] for v in to) for start, to in feature.moves.items()}
        content["moves"] = {start: positions for start, positions in ends.items() if positions}
    if feature.move_cost is not None:
        prices = {start: {end: p for end, p in to.items() if p != 1.0} for start, to in feature.move_cost.items()}
        content["move_cost"] = {start: to for start, to in prices.items() if to}
        if not content["move_cost"]:
            del content["move_cost"]
    if feature.codes:
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
            f"features.{toml_key(worst)}: the largest cost of a plan is {sum(kept) / 1e6:.3g} units, most of it from "
            f"this feature; at most {LARGEST_COST / 1e6:.3g} can be added up exactly. "
            "Give it a smaller weight, bounds or a max_change, or choose another cost.unit."
        )


def _same_meaning(name: str, feature: Feature, summary: Summary) -> None:
    remedy = "Summarise its rows again with this policy."
    if set(summary.codes) != set(feature.code_values):
        raise DataError(f"the population was summarised with other codes of {name!r} than the policy's. {remedy}")
    wanted = None if feature.levels is None else tuple(map(str, feature.levels))
    if (None if summary.levels is None else tuple(map(str, summary.levels))) != wanted:
        raise DataError(f"the population was summarised with other levels of {name!r} than the policy's. {remedy}")


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
        ends = [summary.min, summary.max] if summary is not None and summary.knots else []
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
