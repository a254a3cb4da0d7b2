"""The value of an expression on one row, in plain Python: nothing is shared with the kernels, which it can check."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..policy.values import plain, spelling
from .nodes import Apply, As, Name, Node, Number, Place, Raw, Start, Stripped, Text, Truth, holds_texts

if TYPE_CHECKING:
    from ..policy import Feature

Result = float | bool | str | None  # None: missing, or unknown


def value_of(node: Node, features: Mapping[str, Feature], state: Mapping[str, Any], start: Mapping[str, Any]) -> Result:
    """Return the value of a node; `state` has the values of names, `start` the applicant's present ones."""

    def value(node: Node) -> Result:
        match node:
            case Number(number):
                return _finite(number)
            case Truth(known):
                return known
            case Text(text):
                return text
            case Name(name):
                return read_value(name, features, state, codes=False)
            case Raw(name):
                return read_value(name, features, state, codes=True)
            case Start(name, raw):
                return read_value(name, features, start, codes=raw)
            case Stripped(name, inside):
                result = value(inside)
                return None if result in features[name].code_values else result
            case As(name, inside):
                return _as_level(features[name], value(inside))
            case Place(name, inside):
                position = features[name].position(value(inside))
                return None if position is None else float(position)
            case Apply(op, args):
                return _OPERATIONS[op](*map(value, args))

    return value(node)


def read_value(
    name: str, features: Mapping[str, Feature], values: Mapping[str, Any], *, codes: bool
) -> float | str | None:
    """Return a feature's value as expressions see it: a number, a level's text, or None for missing and unseen."""
    feature = features.get(name)
    if feature is None and name not in values:
        return 0.0  # nobody waits
    value = plain(values[name])
    if feature is not None and feature.levels is not None:
        position = feature.position(value)
        if position is None:
            return None
        level = feature.levels[position]
        return spelling(level) if holds_texts(feature) else float(level)
    try:
        number = math.nan if value is None else float(value)
    except (TypeError, ValueError):
        raise DataError(f"{name}: expected a number, got {value!r}.") from None
    if feature is not None and not codes and number in feature.code_values:
        return None
    return _finite(number)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _as_level(feature: Feature, value: Result) -> Result:
    if value is None:
        return None
    if holds_texts(feature):
        position = feature.position(value)
        return None if position is None else spelling(feature.levels[position])  # type: ignore[index]
    return float(value) if float(value) in {float(level) for level in feature.levels or ()} else None


# ------------------------------------------------------------------------------------------------------ the operations


def _known(function: Callable[..., Any]) -> Callable[..., Result]:
    """Make a function of present values one that is missing where a value is, or where the result is no number."""

    def operation(*values: Result) -> Result:
        if None in values:
            return None
        result = function(*values)
        return _finite(result) if isinstance(result, float) else result

    return operation


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _all(*values: Result) -> Result:
    return False if False in values else None if None in values else True


def _any(*values: Result) -> Result:
    return True if True in values else None if None in values else False


def _if(condition: Result, then: Result, other: Result) -> Result:
    return None if condition is None else then if condition else other


_OPERATIONS: dict[str, Callable[..., Result]] = {
    "+": _known(lambda a, b: a + b),
    "-": _known(lambda a, b: a - b),
    "*": _known(lambda a, b: a * b),
    "/": _known(lambda a, b: a / b if b else math.nan),
    "negative": _known(lambda a: -a),
    "abs": _known(abs),
    "floor": _known(lambda a: float(math.floor(a))),
    "log": _known(lambda a: math.log(a) if a > 0 else math.nan),
    "exp": _known(_exp),
    "min": _known(min),
    "max": _known(max),
    "==": _known(lambda a, b: a == b),
    "<": _known(lambda a, b: a < b),
    "<=": _known(lambda a, b: a <= b),
    "in": _known(lambda a, *members: a in members),
    "not": _known(lambda a: not a),
    "and": _all,
    "or": _any,
    "if": _if,
    "known": lambda a: a is not None,
    "otherwise": lambda a, b: b if a is None else a,
}
