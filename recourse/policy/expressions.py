"""The expressions of a policy: read, of the kind that their place asks for, and going in no circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import PolicyError, did_you_mean
from .values import toml_key

if TYPE_CHECKING:
    from ..expression import Expression
    from ..expression.nodes import Node
    from . import Policy
    from .feature import Feature


_OPERATORS = "+-*/"


@dataclass(frozen=True, slots=True)
class RuleExpressions:
    """A rule, read: either `require`, or `when` and `then`."""

    name: str
    when: Expression | None
    then: Expression | None
    require: Expression | None


@dataclass(frozen=True, slots=True)
class Reapplied:
    """What applying again does to a feature: its value, operator, expression; or the expression alone."""

    operator: str | None  # one of + - * /; None: the expression is the new value
    expression: Expression


@dataclass(frozen=True, slots=True)
class Expressions:
    """Every expression of a policy, read.

    Examples
    --------
    >>> from recourse.policy import Policy
    >>> rate = {"kind": "number", "role": "derived", "value": "debt / income"}
    >>> policy = Policy.model_validate(
    ...     {
    ...         "decision": {"threshold": 0.5},
    ...         "features": {"debt": {"kind": "integer"}, "income": {"kind": "integer"}, "rate": rate},
    ...         "rules": [{"require": "rate < 0.4"}],
    ...     }
    ... )
    >>> sorted(policy.expressions.values["rate"].names)
    ['debt', 'income']
    >>> policy.expressions.rules[0].require.text
    'rate < 0.4'
    """

    threshold: Expression | None  # None: a number, or a column of the data
    knockouts: tuple[Expression, ...]  # in the order of `decision.knockouts`
    rules: tuple[RuleExpressions, ...]
    values: Mapping[str, Expression]  # derived feature -> its formula
    effects: Mapping[str, Expression]
    reapply: Mapping[str, Reapplied]

    def parts(self) -> Iterator[tuple[str, Expression]]:
        """Yield every expression with its place in the policy."""
        if self.threshold is not None:
            yield "decision.threshold", self.threshold
        for number, knockout in enumerate(self.knockouts, 1):
            yield f"decision.knockouts.#{number}.deny_when", knockout
        for name, expression in self.values.items():
            yield f"features.{toml_key(name)}.value", expression
        for name, expression in self.effects.items():
            yield f"features.{toml_key(name)}.effect", expression
        for number, rule in enumerate(self.rules, 1):
            for key, part in (("when", rule.when), ("then", rule.then), ("require", rule.require)):
                if part is not None:
                    yield f"rules.#{number}.{key}", part
        for name, reapplied in self.reapply.items():
            yield f"reapply.effects.{toml_key(name)}", reapplied.expression


class _Reader:
    """Reads expressions one after the other and keeps what is wrong with each."""

    def __init__(self, features: Mapping[str, Feature]) -> None:
        self.features = features
        self.problems: list[tuple[str, str]] = []

    def read(self, place: str, text: str, *kinds: str, keep_codes: bool = True) -> Expression | None:
        """Return an expression of one of the kinds; None if there is something wrong with it."""
        from ..expression import parse

        try:
            expression = parse(text, self.features, keep_codes=keep_codes)
        except PolicyError as error:
            self.problems.append((place, str(error)))
            return None
        if expression.kind not in kinds:
            wanted = {"number": "a number", "boolean": "true or false", "text": "a level"}
            remedy = {"boolean": " Compare it with something.", "text": ""}.get(kinds[0], "")
            if kinds[0] == "number":
                remedy = " Write 1 if ... else 0." if expression.kind == "boolean" else ""
            message = f"expected {wanted[kinds[0]]}, but {text!r} gives {wanted[expression.kind]}.{remedy}"
            self.problems.append((place, message))
            return None
        return expression

    def value(self, place: str, text: str, feature: Feature) -> Expression | None:
        """Return an expression that gives a value of a feature."""
        from ..expression.nodes import holds_texts

        if holds_texts(feature):
            expression = self.read(place, text, "text")
            fault = None if expression is None else self.level_fault(expression.node, feature)
            if fault is not None:
                self.problems.append((place, fault))
            return expression
        booleans = {0.0, 1.0} <= {float(level) for level in feature.levels or ()}
        return self.read(place, text, *(("number", "boolean") if booleans else ("number",)))

    def level_fault(self, node: Node, feature: Feature) -> str | None:
        """Say which text that an expression can give is no level of a feature, or None."""
        from ..expression.nodes import Apply, Text, spellings

        if isinstance(node, Apply):  # a if c else b: no other operation gives a text
            faults = (self.level_fault(side, feature) for side in node.args[1:])
            return next((fault for fault in faults if fault is not None), None)
        known, name = spellings(feature), getattr(node, "name", None)
        given = (node.value,) if isinstance(node, Text) else spellings(self.features[str(name)])
        for text in given:
            if text not in known:
                return f"can give {text!r}, which is not among the levels.{did_you_mean(str(text), known)}"
        return None

    def reapplied(self, place: str, name: str, text: str) -> Reapplied | None:
        """Return what applying again does to a feature."""
        feature = self.features.get(name)
        if feature is None:
            self.problems.append((place, f"no feature has this name.{did_you_mean(name, self.features)}"))
            return None
        if feature.role == "derived":
            why = "a derived feature follows from its formula. Say what becomes of the features in it."
            self.problems.append((place, why))
            return None
        operator = text[0] if text[0] in _OPERATORS else None
        if operator is None:
            whole = self.value(place, text, feature)
            return None if whole is None else Reapplied(None, whole)
        if feature.listed:
            why = f"{text!r} counts, but the feature has levels. Say what it becomes, as an expression."
            self.problems.append((place, why))
        elif not _is_one_operation(text):
            why = f"{text!r} is more than one operation. Put what follows the first {operator} in brackets."
            self.problems.append((place, why))
        else:
            size = self.read(place, text[1:], "number", keep_codes=False)
            return None if size is None else Reapplied(operator, size)
        return None


def _is_one_operation(text: str) -> bool:
    """Tell whether "+ a" reads as one operation on what stands before it; what is no expression passes."""
    try:
        tree = ast.parse("0 " + re.sub("`[^`]*`", "_", text), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True  # the language says better what is wrong
    return isinstance(tree, ast.BinOp) and isinstance(tree.left, ast.Constant)


def has_expressions(policy: Policy) -> bool:
    """Tell whether anything in a policy is an expression."""
    return bool(
        (isinstance(policy.decision.threshold, str) and policy.threshold_column is None)
        or policy.decision.knockouts
        or policy.rules
        or (policy.reapply is not None and policy.reapply.effects)
        or any(feature.value is not None or feature.effect is not None for feature in policy.features.values())
    )


def column_of(threshold: float | str, features: Mapping[str, Feature]) -> str | None:
    """Return the column of the data that a threshold names: a name, maybe in backticks, that no feature has."""
    if not isinstance(threshold, str):
        return None
    name = threshold[1:-1] if re.fullmatch(r"`[^`]+`", threshold) else threshold
    return name if (name.isidentifier() or name != threshold) and name not in features else None


def read_expressions(policy: Policy) -> tuple[Expressions, list[tuple[str, str]]]:
    """Return the expressions of a policy that can be read, and what is wrong with the others: (place, message)."""
    reader, decision = _Reader(policy.features), policy.decision
    threshold = None
    if isinstance(decision.threshold, str) and policy.threshold_column is None:
        threshold = reader.read("decision.threshold", decision.threshold, "number")
    knockouts = [
        reader.read(f"decision.knockouts.#{number}.deny_when", knockout.deny_when, "boolean")
        for number, knockout in enumerate(decision.knockouts, 1)
    ]
    values: dict[str, Expression] = {}
    effects: dict[str, Expression] = {}
    for name, feature in policy.features.items():
        for key, text, found in (("value", feature.value, values), ("effect", feature.effect, effects)):
            if text is not None:
                expression = reader.value(f"features.{toml_key(name)}.{key}", text, feature)
                if expression is not None:
                    found[name] = expression
    rules = []
    for number, rule in enumerate(policy.rules, 1):
        parts = [
            None if text is None else reader.read(f"rules.#{number}.{key}", text, "boolean")
            for key, text in (("when", rule.when), ("then", rule.then), ("require", rule.require))
        ]
        rules.append(RuleExpressions(rule.name, *parts))
    reapply = {}
    for name, text in (policy.reapply.effects if policy.reapply is not None else {}).items():
        reapplied = reader.reapplied(f"reapply.effects.{toml_key(name)}", name, text)
        if reapplied is not None:
            reapply[name] = reapplied
    known = tuple(expression for expression in knockouts if expression is not None)
    return Expressions(threshold, known, tuple(rules), values, effects, reapply), reader.problems


def circles(expressions: Expressions) -> Iterator[tuple[str, str]]:
    """Yield the features that follow from themselves: (place, message), each circle once."""
    reads: dict[str, dict[str, str]] = {}  # feature -> what its state reads -> where it is said
    for key, table in (("value", expressions.values), ("effect", expressions.effects)):
        for name, expression in table.items():
            place = f"features.{toml_key(name)}.{key}"
            reads.setdefault(name, {}).update(dict.fromkeys(sorted(expression.names), place))
    for name, reapplied in expressions.reapply.items():
        place = f"reapply.effects.{toml_key(name)}"
        reads.setdefault(name, {}).update(dict.fromkeys(sorted(reapplied.expression.names), place))
    done = set[str]()
    for name in reads:
        yield from _circle(name, reads, [], done)


def _circle(name: str, reads: dict[str, dict[str, str]], path: list[str], done: set[str]) -> Iterator[tuple[str, str]]:
    if name in path:
        way = [*path[path.index(name) :], name]
        hint = f" For the present value write start.{name}." if len(way) == 2 else ""
        yield reads[way[-2]][name], f"follows from itself: {' -> '.join(way)}.{hint}"
        return
    if name in done:
        return
    for other in reads.get(name, ()):
        yield from _circle(other, reads, [*path, name], done)
    done.add(name)


def changing(policy: Policy, expressions: Expressions) -> frozenset[str]:
    """Return the features whose value as scored may differ from the applicant's present one, ``wait`` among them."""
    found = {name for name, feature in policy.features.items() if feature.movable}
    found |= set(expressions.reapply)
    if policy.time is not None:
        found.add("wait")
    if policy.time is not None or policy.after_months:
        found |= {name for name, feature in policy.features.items() if feature.tick is not None}
    followers = [*expressions.values.items(), *expressions.effects.items()]
    while True:
        more = {name for name, expression in followers if name not in found and found & expression.names}
        if not more:
            return frozenset(found)
        found |= more


def without_grid(policy: Policy, expressions: Expressions) -> Iterator[tuple[str, str]]:
    """Yield the numbers that plans choose and expressions read, but that have no step: (place, message)."""
    places = dict[str, str]()
    for place, expression in expressions.parts():
        for name in expression.names:
            places.setdefault(name, f"{place} reads it")
    for name in expressions.reapply:
        places.setdefault(name, "applying again changes it")
    for name, feature in policy.features.items():
        if feature.tick is not None:
            places.setdefault(name, "time changes it")
        if feature.movable and not feature.listed and feature.step is None and name in places:
            yield (
                f"features.{toml_key(name)}.step",
                f"is missing: {places[name]}, so its values must lie on a grid. Add for example step = 1.",
            )
