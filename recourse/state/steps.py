"""What follows from choices, as steps in an order in which they can be taken: one for each dependent feature."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from ..errors import DataError, PolicyError
from ..expression import Expression, parse
from ..values import Value, plain
from .functions import Function, State, function_of

if TYPE_CHECKING:
    from ..policy import Feature, Policy

WAIT = "wait"
_DELTA = ("+", "-", "*", "/")

Take = Callable[[Value, State, State, int], Value]  # what is chosen, the state so far, the start, months -> the value


class Step(NamedTuple):
    """How a feature comes to its state."""

    name: str
    take: Take
    computed: Function | None  # a derived feature's formula
    recompute: bool  # whether the formula replaces what is recorded


class Language:
    """A policy's expressions as functions."""

    def __init__(self, policy: Policy) -> None:
        self.features: dict[str, Feature] = dict(policy.features)
        self._effects: dict[str, str] = dict(policy.reapply.effects) if policy.reapply is not None else {}
        self._read: dict[str, list[Expression]] = {}  # dependent feature -> what its step evaluates
        self.steps = tuple(self._step(name) for name in self._in_order())
        self.rules = tuple((rule.name, self._rule(rule.when, rule.then, rule.require)) for rule in policy.rules)
        self.knockouts = tuple((k.name, self._function(self._parse(k.deny_when))) for k in policy.decision.knockouts)
        by_expression = isinstance(policy.decision.threshold, str) and policy.threshold_column is None
        self.threshold = self._function(self._parse(str(policy.decision.threshold))) if by_expression else None

    # ------------------------------------------------------------------------------------------------------- functions

    def _parse(self, text: str) -> Expression:
        return parse(text, self.features)

    def _function(self, expression: Expression) -> Function:
        """Return an expression as a function; a column that a row lacks is named."""
        function = function_of(expression.node, self.features)

        def evaluate(state: State, start: State) -> Value:
            try:
                return function(state, start)
            except KeyError as error:
                raise DataError(
                    f"the row has no column {error.args[0]!r}, which the policy's expression {expression.text!r} reads"
                ) from None

        return evaluate

    def _rule(self, when: str | None, then: str | None, require: str | None) -> Function:
        """Return a function that is False where the rule is surely broken."""
        if require is not None:
            return self._function(self._parse(require))
        condition, consequence = self._function(self._parse(when or "")), self._function(self._parse(then or ""))

        def holds(state: State, start: State) -> Value:
            return not (condition(state, start) is True and consequence(state, start) is False)

        return holds

    # ----------------------------------------------------------------------------------------------------------- order

    def _in_order(self) -> list[str]:
        """Return the features whose state is not what is chosen for them, each after those that it reads."""
        for name, feature in self.features.items():
            texts = [text for text in (feature.value, feature.effect) if text is not None]
            read = [self._parse(text) for text in texts]
            if name in self._effects:
                text = self._effects[name].strip()
                # a code is no size
                read.append(
                    parse(text[1:], self.features, keep_codes=False)
                    if text[0] in _DELTA
                    else parse(text, self.features)
                )
            if read or feature.tick is not None:
                self._read[name] = read
        done: list[str] = []
        open_: list[str] = []

        def visit(name: str) -> None:
            if name in done or name not in self._read:
                return
            if name in open_:
                raise PolicyError(f"features.{name}: depends on itself, by way of {' -> '.join([*open_, name])}.")
            open_.append(name)
            for read in sorted({read for expression in self._read[name] for read in expression.names}):
                visit(read)
            done.append(open_.pop())

        for name in self._read:
            visit(name)
        return done

    # ----------------------------------------------------------------------------------------------------------- steps

    def _step(self, name: str) -> Step:
        feature, result = self.features[name], _result(self.features[name])
        read = [self._function(expression) for expression in self._read[name]]
        if feature.value is not None:
            formula = read[0]
            computed = lambda state, start: result(formula(state, start))  # noqa: E731
            take = _follow(name, formula, result)
            return Step(name, take, computed, feature.derived_mismatch == "recompute")
        takes: list[Take] = []
        if feature.effect is not None:
            takes.append(_follow(name, read[0], result))
        if feature.tick is not None:
            takes.append(_tick(feature))
        if name in self._effects:
            sign = self._effects[name].strip()[0]
            takes.append(
                _shift(_SIGNS[sign], read[-1], feature, result) if sign in _DELTA else _follow(name, read[-1], result)
            )
        return Step(name, _one_after_another(takes), None, recompute=False)


def _one_after_another(takes: list[Take]) -> Take:
    if len(takes) == 1:
        return takes[0]

    def take(value: Value, state: State, start: State, months: int) -> Value:
        for one in takes:
            value = one(value, state, start, months)
        return value

    return take


def _follow(name: str, function: Function, result: Callable[[Value], Value]) -> Take:
    """The value of an expression; as the applicant's is recorded, where it is that."""

    def take(value: Value, state: State, start: State, months: int) -> Value:
        found, recorded = result(function(state, start)), start[name]
        return recorded if found == recorded else found

    return take


def _tick(feature: Feature) -> Take:
    """What time adds: whole numbers grow by whole numbers; codes and missing values stay."""
    codes, whole, tick = frozenset(feature.code_values), feature.kind == "integer", Fraction(feature.tick or 0)
    known: dict[int, float] = {}

    def take(value: Value, state: State, start: State, months: int) -> Value:
        if not months or value is None or isinstance(value, str) or value in codes:
            return value
        if months not in known:
            known[months] = math.floor(tick * months) if whole else float(tick * months)
        return value + known[months]

    return take


def _shift(
    operation: Callable[[float, float], float], size: Function, feature: Feature, result: Callable[[Value], Value]
) -> Take:
    """The value after "+1" or the like; codes and missing values stay, what is no finite number is missing."""
    codes = frozenset(feature.code_values)

    def take(value: Value, state: State, start: State, months: int) -> Value:
        if value is None or isinstance(value, str) or value in codes:
            return value
        by = size(state, start)
        if by is None:
            return None
        try:
            found = operation(float(value), float(by))
        except (ZeroDivisionError, OverflowError):
            return None
        return result(found) if math.isfinite(found) else None

    return take


_SIGNS: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


def _result(feature: Feature) -> Callable[[Value], Value]:
    """Return what turns an expression's value into the feature's: one of its levels (else missing), or a number."""
    if feature.levels is None:
        return lambda value: None if value is None else float(value)
    levels = feature.levels

    def level(value: Value) -> Value:
        place = feature.position(value)
        return None if place is None else plain(levels[place])

    return level
