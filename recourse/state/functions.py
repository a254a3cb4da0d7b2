"""An expression as a Python function of the state: what `Expression.evaluate` gives, with the tree walked once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..expression.nodes import Apply, As, Name, Node, Number, Place, Raw, Start, Stripped, Text, Truth, holds_texts
from ..policy.values import spelling
from ..values import Value

if TYPE_CHECKING:
    from ..policy import Feature

State = Mapping[str, Value]
Result = float | bool | str | None  # None: missing, or unknown
Function = Callable[[State, State], Result]


def function_of(node: Node, features: Mapping[str, Feature]) -> Function:
    """Return a function of the state and the start, both with plain values and levels as the policy spells them."""
    match node:
        case Number(number):
            return _constant(number if math.isfinite(number) else None)
        case Truth(known):
            return _constant(known)
        case Text(text):
            return _constant(text)
        case Name(name):
            return _load(name, features.get(name), codes=False, at_start=False)
        case Raw(name):
            return _load(name, features.get(name), codes=True, at_start=False)
        case Start(name, raw):
            return _load(name, features.get(name), codes=raw, at_start=True)
        case Stripped(name, inside):
            return _without(function_of(inside, features), frozenset(features[name].code_values))
        case As(name, inside):
            return _mapped(function_of(inside, features), _levels(features[name]))
        case Place(name, inside):
            levels = features[name].levels or ()
            places: dict[Value, Result] = {spelling(level): float(i) for i, level in enumerate(levels)}
            return _mapped(function_of(inside, features), places)
        case Apply(op, args):
            parts = [function_of(part, features) for part in args]
            if op in _BINARY:
                return _folded(_BINARY[op], parts)
            return _MADE[op](*parts)


def _constant(value: Result) -> Function:
    return lambda state, start: value


def _load(name: str, feature: Feature | None, *, codes: bool, at_start: bool) -> Function:
    """Read a feature: a level as its number or text, a code as missing unless it is wanted."""
    if feature is not None and feature.levels is not None:
        levels = _levels(feature, by_level=True)
        if at_start:
            return lambda state, start: levels.get(start[name])
        return lambda state, start: levels.get(state[name])
    left_out = frozenset(feature.code_values) if feature is not None and not codes else frozenset()

    def now(state: State, start: State) -> Result:
        value = state[name]
        return None if value is None or value in left_out else float(value)

    def before(state: State, start: State) -> Result:
        value = start[name]
        return None if value is None or value in left_out else float(value)

    return before if at_start else now


def _levels(feature: Feature, *, by_level: bool = False) -> dict[Value, Result]:
    """Return what expressions see of each level, by the level or by what an expression gives for it."""
    texts, seen = holds_texts(feature), dict[Value, Result]()
    for level in feature.levels or ():
        result = spelling(level) if texts else float(level)
        seen[level if by_level else result] = result
    return seen


def _mapped(value: Function, table: Mapping[Value, Result]) -> Function:
    return lambda state, start: table.get(value(state, start))


def _without(value: Function, codes: frozenset[float]) -> Function:
    def function(state: State, start: State) -> Result:
        result = value(state, start)
        return None if result in codes else result

    return function


# ----------------------------------------------------------------------------------------------------------- operations


def _divided(a: float, b: float) -> float:
    return a / b if b else math.nan


_BINARY: dict[str, Callable[..., Result]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divided,
    "min": min,
    "max": max,
    "==": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


def _folded(operation: Callable[..., Result], parts: list[Function]) -> Function:
    """Apply an operation of present values from left to right; what is no finite number is missing."""
    if len(parts) == 2:
        first, second = parts

        def function(state: State, start: State) -> Result:
            a = first(state, start)
            if a is None:
                return None
            b = second(state, start)
            if b is None:
                return None
            result = operation(a, b)
            return None if type(result) is float and not -math.inf < result < math.inf else result

        return function

    def of_many(state: State, start: State) -> Result:
        values = [part(state, start) for part in parts]
        return None if None in values else operation(*values)

    return of_many


def _unary(operation: Callable[..., float]) -> Callable[[Function], Function]:
    def made(part: Function) -> Function:
        def function(state: State, start: State) -> Result:
            value = part(state, start)
            if value is None:
                return None
            try:
                result = operation(value)
            except OverflowError:
                return None
            return result if -math.inf < result < math.inf else None

        return function

    return made


def _not(part: Function) -> Function:
    def function(state: State, start: State) -> Result:
        value = part(state, start)
        return None if value is None else not value

    return function


def _decided_by(decisive: bool) -> Callable[..., Function]:
    """Make `and` (decided by False) or `or` (by True); unknown parts matter only where none decides."""

    def made(*parts: Function) -> Function:
        def function(state: State, start: State) -> Result:
            unknown = False
            for part in parts:
                value = part(state, start)
                if value is decisive:
                    return decisive
                unknown |= value is None
            return None if unknown else not decisive

        return function

    return made


def _among(value: Function, *members: Function) -> Function:
    known = [member({}, {}) for member in members]  # constants

    def function(state: State, start: State) -> Result:
        one = value(state, start)
        return None if one is None or None in known else one in known

    return function


def _choice(condition: Function, then: Function, other: Function) -> Function:
    def function(state: State, start: State) -> Result:
        truth = condition(state, start)
        return None if truth is None else then(state, start) if truth else other(state, start)

    return function


def _otherwise(first: Function, second: Function) -> Function:
    def function(state: State, start: State) -> Result:
        value = first(state, start)
        return second(state, start) if value is None else value

    return function


def _known(part: Function) -> Function:
    return lambda state, start: part(state, start) is not None


_MADE: dict[str, Callable[..., Function]] = {
    "negative": _unary(lambda a: -a),
    "abs": _unary(abs),
    "floor": _unary(lambda a: float(math.floor(a))),
    "log": _unary(lambda a: math.log(a) if a > 0 else math.nan),
    "exp": _unary(math.exp),
    "not": _not,
    "and": _decided_by(decisive=False),
    "or": _decided_by(decisive=True),
    "in": _among,
    "if": _choice,
    "known": _known,
    "otherwise": _otherwise,
}
