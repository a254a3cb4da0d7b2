"""The language of policies again by definition: Python's grammar walked on plain values, and states by hand.

Nothing here is shared with the engine: neither its parser nor its trees nor its order. Missing and unknown
are None; a feature's state is worked out when something asks for it.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

Get = Callable[[str], Any]

_ARITHMETIC: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_ORDER: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def same_level(a: Any, b: Any) -> bool:
    """Whether two values are one level, as a file would spell them: 1, 1.0 and "1" are."""
    return spelt(a) == spelt(b)


def spelt(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def words(feature: Any) -> bool:
    """Whether a feature's values are texts in expressions."""
    return feature.levels is not None and any(isinstance(level, str) for level in feature.levels)


class Evaluator:
    """One expression's value; `state` and `start` give the value of a name."""

    def __init__(self, features: Mapping[str, Any], state: Get, start: Get) -> None:
        self.features, self.state, self.start = features, state, start

    def __call__(self, text: str, *, codes: bool = True) -> Any:
        """Return a number, True or False, a text, or None; with `codes` a bare name may be a code."""
        return self.value(parsed(text), codes)

    def value(self, node: ast.expr, codes: bool) -> Any:
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(name):
                return self.read(self.state, plain_name(name), codes)
            case ast.Attribute(ast.Name("start"), name):
                return self.read(self.start, plain_name(name), codes)
            case ast.BinOp(left, op, right):
                return arithmetic(type(op), self.number(left), self.number(right))
            case ast.UnaryOp(ast.USub(), inner):
                number = self.number(inner)
                return None if number is None else -number
            case ast.UnaryOp(ast.Not(), inner):
                truth = self.truth(inner)
                return None if truth is None else not truth
            case ast.BoolOp(op, parts):
                truths = [self.truth(part) for part in parts]
                decides = isinstance(op, ast.Or)
                return decides if decides in truths else None if None in truths else not decides
            case ast.IfExp(test, body, orelse):
                truth = self.truth(test)
                return None if truth is None else self.value(body if truth else orelse, codes)
            case ast.Call(ast.Name(name), arguments):
                return call(name, [self.number(argument) for argument in arguments])
            case ast.Compare(left, ops, rights):
                sides = [left, *rights]
                truths = [self.compare(a, op, b) for a, op, b in zip(sides, ops, rights)]
                return False if False in truths else None if None in truths else True
        raise TypeError(ast.dump(node))

    def read(self, get: Get, name: str, codes: bool) -> Any:
        value = get(name)
        feature = self.features.get(name)
        if value is None or feature is None:
            return value
        if feature.levels is not None:
            if not any(same_level(value, level) for level in feature.levels):
                return None
            return spelt(value) if words(feature) else float(value)
        if not codes and float(value) in [float(code) for code in feature.codes]:
            return None
        return float(value)

    def number(self, node: ast.expr) -> float | None:
        value = self.value(node, codes=False)
        return None if value is None else float(value)

    def truth(self, node: ast.expr) -> bool | None:
        value = self.value(node, codes=False)
        return None if value is None else bool(value)

    def compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> bool | None:
        if isinstance(op, ast.In | ast.NotIn):
            value = self.value(left, codes=True)
            assert isinstance(right, ast.List | ast.Tuple)
            members = [self.value(member, codes=True) for member in right.elts]
            return None if value is None else any(equal(value, m) for m in members) == isinstance(op, ast.In)
        if isinstance(op, ast.Eq | ast.NotEq):
            a, b = self.value(left, codes=True), self.value(right, codes=True)
            return None if a is None or b is None else equal(a, b) == isinstance(op, ast.Eq)
        a, b = self.value(left, codes=False), self.value(right, codes=False)
        if a is None or b is None:
            return None
        if isinstance(a, str) or isinstance(b, str):
            ladder = self.ladder(left) or self.ladder(right)
            a, b = ladder.index(spelt(a)), ladder.index(spelt(b))
        return _ORDER[type(op)](a, b)

    def ladder(self, node: ast.expr) -> list[str]:
        """The levels of the feature that a side of a comparison names, in order."""
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        feature = self.features.get(plain_name(name))
        return [] if feature is None else [spelt(level) for level in feature.levels]


def equal(a: Any, b: Any) -> bool:
    """Equality of numbers as numbers (a code may be written as a text), of texts as texts."""
    if isinstance(a, str) != isinstance(b, str):
        return float(a) == float(b)
    return bool(a == b)


def arithmetic(op: type, a: float | None, b: float | None) -> float | None:
    if a is None or b is None or (op is ast.Div and b == 0):
        return None
    return finite(_ARITHMETIC[op](a, b))


def call(name: str, values: list[float | None]) -> float | None:
    if None in values:
        return None
    numbers = [v for v in values if v is not None]
    if name == "log" and numbers[0] <= 0:
        return None
    try:
        return finite(
            {
                "min": lambda: min(numbers),
                "max": lambda: max(numbers),
                "abs": lambda: abs(numbers[0]),
                "log": lambda: math.log(numbers[0]),
                "exp": lambda: math.exp(numbers[0]),
                "floor": lambda: float(math.floor(numbers[0])),
            }[name]()
        )
    except OverflowError:
        return None


def finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


_TREES: dict[str, ast.expr] = {}


def parsed(text: str) -> ast.expr:
    """Return the tree of a text; a name in backticks becomes one that Python knows."""
    if text not in _TREES:
        spelled = re.sub(r"`([^`]*)`", lambda m: "_b_" + m[1].encode().hex(), text.strip())
        _TREES[text] = ast.parse(spelled, mode="eval").body
    return _TREES[text]


def plain_name(name: str) -> str:
    return bytes.fromhex(name[3:]).decode() if name.startswith("_b_") else name


# --- states ---------------------------------------------------------------------------------------------------------


class Applicant:
    """What a policy says of one applicant: the present, and the state after any choice."""

    def __init__(self, policy: Any, row: Mapping[str, Any]) -> None:
        self.policy, self.row, self.features = policy, row, policy.features
        self.groups = {**policy.groups.one_hot, **policy.groups.thermometer}
        self.start: dict[str, Any] = {}
        for name in self.features:
            self.start_of(name)

    def start_of(self, name: str) -> Any:
        """The applicant's present value."""
        if name == "wait":
            return 0
        if name not in self.start:
            self.start[name] = self._present(name)
        return self.start[name]

    def _present(self, name: str) -> Any:
        feature = self.features[name]
        if name in self.groups:
            ones = [float(self.row[member]) == 1.0 for member in self.groups[name]]
            if name in self.policy.groups.thermometer:
                return feature.levels[sum(ones)]
            return feature.levels[ones.index(True) if any(ones) else len(ones)]
        if feature.role == "derived" and (name not in self.row or feature.derived_mismatch == "recompute"):
            return as_value(feature, Evaluator(self.features, self.start_of, self.start_of)(feature.value))
        value = self.row[name]
        return None if value is None or value != value else value

    def derived(self) -> dict[str, Any]:
        """Derived columns as they are at present, for the decision about the row as it is recorded."""
        return {name: self.start_of(name) for name, feature in self.features.items() if feature.role == "derived"}

    def state(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Every feature's state after a choice (`wait` in it, if it is chosen)."""
        found: dict[str, Any] = {"wait": chosen.get("wait", 0)}

        def get(name: str) -> Any:
            if name not in found:
                found[name] = self._state(name, chosen, get)
            return found[name]

        for name in self.features:
            get(name)
        return found

    def _state(self, name: str, chosen: Mapping[str, Any], get: Get) -> Any:
        feature, reapply = self.features[name], self.policy.reapply
        evaluate = Evaluator(self.features, get, self.start_of)
        if feature.role == "derived":
            return as_value(feature, evaluate(feature.value))
        value = chosen[name] if name in chosen else self.start_of(name)
        if feature.effect is not None:
            value = as_value(feature, evaluate(feature.effect))
        months = max(get("wait"), 0 if reapply is None else reapply.after_months)
        if feature.tick is not None and counts(feature, value):
            gone = Fraction(Decimal(str(feature.tick))) * months
            value = value + math.floor(gone) if feature.kind == "integer" else float(value) + float(gone)
        text = reapply.effects.get(name) if reapply is not None else None
        if text is None:
            return value
        if text.strip()[0] not in "+-*/":
            return as_value(feature, evaluate(text))
        if not counts(feature, value):
            return value
        op = {"+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div}[text.strip()[0]]
        return as_value(feature, arithmetic(op, float(value), evaluate(text.strip()[1:], codes=False)))

    def broken(self, state: Mapping[str, Any]) -> list[str]:
        """The rules that are surely false of a state."""
        evaluate = Evaluator(self.features, lambda name: state[name], self.start_of)
        return [rule.name for rule in self.policy.rules if rule_value(rule, evaluate) is False]

    def fired(self, state: Mapping[str, Any]) -> list[str]:
        """The knock-outs that surely fire."""
        evaluate = Evaluator(self.features, lambda name: state[name], self.start_of)
        return [k.name for k in self.policy.decision.knockouts if evaluate(k.deny_when) is True]

    def raw(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The row that is scored."""
        out = dict(self.row)
        for name, value in state.items():
            if name in self.groups:
                place = next(i for i, level in enumerate(self.features[name].levels) if same_level(level, value))
                ladder = name in self.policy.groups.thermometer
                for i, member in enumerate(self.groups[name]):
                    out[member] = int(i < place) if ladder else int(i == place)
            elif name != "wait":
                out[name] = value
        return out


def rule_value(rule: Any, evaluate: Evaluator) -> bool | None:
    if rule.require is not None:
        value = evaluate(rule.require)
        return value if value is None else bool(value)
    when, then = evaluate(rule.when), evaluate(rule.then)
    return not (when is True and then is False)


def counts(feature: Any, value: Any) -> bool:
    """Whether a value is a number, neither missing nor a code."""
    return value is not None and not isinstance(value, str) and float(value) not in map(float, feature.codes)


def as_value(feature: Any, value: Any) -> Any:
    """What an expression gives, as the feature's column holds it."""
    if value is None:
        return None
    if feature.levels is not None:
        if isinstance(value, bool):
            value = int(value)
        return next((level for level in feature.levels if same_level(plain_bool(level), value)), None)
    return float(value)


def plain_bool(level: Any) -> Any:
    return int(level) if isinstance(level, bool) else level
