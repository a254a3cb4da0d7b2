"""From the text of an expression to its tree: Python's grammar, of which a short list of forms is let in."""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import PolicyError, UnknownFeature, did_you_mean
from ..policy.values import is_number, plain_number, show, spelling
from .nodes import Apply, Name, Node, Number, Place, Raw, Start, Text, Truth, holds_texts, spellings
from .source import Refused, Source

if TYPE_CHECKING:
    from ..policy import Feature

Kind = Literal["number", "boolean", "text"]

_START = "start"
_FUNCTIONS = {"min": (2, 100), "max": (2, 100), "abs": (1, 1), "log": (1, 1), "exp": (1, 1), "floor": (1, 1)}
_OPERATORS: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISONS: dict[type, tuple[str, bool, bool]] = {  # operation, whether the sides change places, whether negated
    ast.Eq: ("==", False, False),
    ast.NotEq: ("==", False, True),
    ast.Lt: ("<", False, False),
    ast.LtE: ("<=", False, False),
    ast.Gt: ("<", True, False),
    ast.GtE: ("<=", True, False),
}
_WORDS: dict[Kind, str] = {"number": "a number", "boolean": "a condition", "text": "a text"}
_INSTEAD = {"**": " Write a product.", "&": " Write and.", "|": " Write or.", "//": " Write floor(a / b)."}
_FORMS = (
    "Allowed are names, numbers, texts, + - * /, min max abs log exp floor, comparisons, and or not, in, a if c else b."
)
_Constant = Number | Truth | Text


class Read(NamedTuple):
    """A tree with what it gives."""

    node: Node
    kind: Kind


def read(text: str, features: Mapping[str, Feature], extra_names: Collection[str], *, keep_codes: bool) -> Read:
    """Read an expression, or raise a `PolicyError` that quotes it and names the column."""
    if not isinstance(text, str):
        raise PolicyError(f"expected an expression in quotes, got {show(text)}.")
    try:
        source = Source(text, features)
        return _Reader(source, features, extra_names).any(source.tree, codes=keep_codes)
    except Refused as refused:
        where = "" if refused.offset is None else f", column {refused.offset + 1}"
        kind = UnknownFeature if refused.unknown_name else PolicyError
        raise kind(f"{_shown(text, refused.offset or 0)}{where}: {refused}") from None


def _shown(text: str, offset: int) -> str:
    """Return the text for a message; of a long one, what lies around the offset."""
    if len(text) <= 120:
        return repr(text)
    first = max(0, offset - 40)
    return repr(("..." if first else "") + text[first : first + 80] + ("..." if first + 80 < len(text) else ""))


class _Reader:
    """Turns parts of Python's tree into ours, each as what its place asks for."""

    def __init__(self, source: Source, features: Mapping[str, Feature], extra_names: Collection[str]) -> None:
        self.source = source
        self.features = features
        self.extra_names = extra_names

    def any(self, node: ast.expr, *, codes: bool) -> Read:
        """Read a part of whatever kind. With `codes`, the code of a numeric feature is a value, else it is missing."""
        match node:
            case ast.Constant():
                return self.constant(node)
            case ast.Name():
                return self.feature(node, codes=codes)
            case ast.Attribute():
                return self.start(node, codes=codes)
            case ast.BinOp(left, operator, right) if type(operator) in _OPERATORS:
                return Read(Apply(_OPERATORS[type(operator)], (self.number(left), self.number(right))), "number")
            case ast.UnaryOp(ast.USub(), operand):
                value = self.number(operand)
                negative = Number(0.0 - value.value) if isinstance(value, Number) else Apply("negative", (value,))
                return Read(negative, "number")
            case ast.UnaryOp(ast.UAdd(), operand):
                return Read(self.number(operand), "number")
            case ast.UnaryOp(ast.Not(), operand):
                return Read(Apply("not", (self.condition(operand),)), "boolean")
            case ast.BoolOp(operator, values):
                op = "and" if isinstance(operator, ast.And) else "or"
                return Read(Apply(op, tuple(map(self.condition, values))), "boolean")
            case ast.Compare(left, operators, rights):  # a < b <= c is a < b and b <= c
                pairs = zip([left, *rights], operators, rights)
                parts = tuple(self.comparison(a, operator, b) for a, operator, b in pairs)
                return Read(parts[0] if len(parts) == 1 else Apply("and", parts), "boolean")
            case ast.IfExp():
                return self.choice(node, codes=codes)
            case ast.Call():
                return self.call(node)
            case _:
                raise self.stranger(node)

    def number(self, node: ast.expr) -> Node:
        """Read a part that must give a number."""
        found = self.any(node, codes=False)
        if found.kind == "number":
            return found.node
        remedy = " Write 1 if ... else 0."
        if isinstance(found.node, Text):
            remedy = " Delete the quotes." if is_number(found.node.value) else ""
        elif found.kind == "text":
            remedy = " Compare it with one of its levels."
        raise self.source.fault(
            node, f"expected a number, {self.source.written(node)} is {_WORDS[found.kind]}.{remedy}"
        )

    def condition(self, node: ast.expr) -> Node:
        """Read a part that must be true or false; a flag of 0 and 1 is."""
        found = self.any(node, codes=False)
        if found.kind == "boolean":
            return found.node
        if isinstance(found.node, Name | Start) and _is_switch(self.features.get(found.node.name)):
            return Apply("==", (found.node, Number(1.0)))
        remedy = "Compare it, as in income > 0." if found.kind == "number" else "Compare it with one of its levels."
        written = self.source.written(node)
        raise self.source.fault(node, f"expected a condition, {written} is {_WORDS[found.kind]}. {remedy}")

    def stranger(self, node: ast.expr) -> Refused:
        """Return an error for a form that is not let in."""
        if isinstance(node, ast.BinOp):
            between = self.source.text[self.source.end(node.left) : self.source.begin(node.right)]
            sign = between.strip(" \t\n()")
            offset = self.source.end(node.left) + between.index(sign)
            return Refused(f"{sign} is not part of the language.{_INSTEAD.get(sign, '')} {_FORMS}", offset)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return self.source.fault(node, "a list stands to the right of in alone.")
        return self.source.fault(node, f"{self.source.written(node)[:40]} is not part of the language. {_FORMS}")

    # ------------------------------------------------------------------------------------------------ names and values

    def constant(self, node: ast.Constant) -> Read:
        """Read a number, a text, True or False."""
        value = node.value
        if isinstance(value, bool):
            return Read(Truth(value), "boolean")
        if isinstance(value, int | float):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if not math.isfinite(number):
                raise self.source.fault(node, "this number is too large.")
            return Read(Number(number), "number")
        if isinstance(value, str):
            return Read(Text(value), "text")
        if value is None:
            raise self.source.fault(
                node, "there is no None: a comparison with a missing value is unknown, and breaks no rule."
            )
        written = self.source.written(node)
        raise self.source.fault(node, f"{written} is neither a number nor a text nor True or False.")

    def feature(self, node: ast.Name, *, codes: bool) -> Read:
        """Read a name."""
        name, quoted = self.source.name(node, self.source.written(node))
        if name in self.features:
            return self.loaded(name, codes=codes)
        if name in self.extra_names:
            return Read(Name(name), "number")
        if not quoted and name in _FUNCTIONS:
            raise self.source.fault(node, f"{name} is a function: write {_example(name)}.")
        if not quoted and name == _START:
            some = next(iter(self.features), "income")
            raise self.source.fault(node, f"start stands for the applicant's present values: write start.{some}.")
        if not quoted and name in ("true", "false"):
            raise self.source.fault(node, f"write {name.capitalize()}.")
        raise self.unknown(node, name)

    def start(self, node: ast.Attribute, *, codes: bool) -> Read:
        """Read ``start.x``."""
        written = self.source.written(node)
        if not (isinstance(node.value, ast.Name) and self.source.written(node.value) == _START):
            hint = self.source.hint_at_backticks()
            raise self.source.fault(node, f"the dot has a meaning in start.x alone, not in {written}.{hint}")
        name, _ = self.source.name(node, written[written.index(".") + 1 :].strip())
        if name in self.features:
            loaded = self.loaded(name, codes=codes)
            return Read(Start(name, raw=isinstance(loaded.node, Raw)), loaded.kind)
        if name in self.extra_names:
            raise self.source.fault(node, f"{name} is 0 at the start. Write {name}.")
        raise self.unknown(node, name)

    def loaded(self, name: str, *, codes: bool) -> Read:
        feature = self.features[name]
        if holds_texts(feature):
            return Read(Name(name), "text")
        return Read(Raw(name) if codes and feature.codes else Name(name), "number")

    def unknown(self, node: ast.AST, name: str) -> Refused:
        guess = did_you_mean(name, [*self.features, *self.extra_names])
        message = f"no feature named {name!r}.{guess}{self.source.hint_at_backticks()}"
        return Refused(message, self.source.begin(node), unknown_name=True)

    # -------------------------------------------------------------------------------------------- functions and choices

    def call(self, node: ast.Call) -> Read:
        """Read a call of one of the listed functions."""
        name = self.source.written(node.func)
        if not isinstance(node.func, ast.Name) or name not in _FUNCTIONS:
            raise self.source.fault(node, f"no function named {name!r}.{did_you_mean(name, _FUNCTIONS)} {_FORMS}")
        least, most = _FUNCTIONS[name]
        if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
            raise self.source.fault(node, f"{name} takes plain values: write {_example(name)}.")
        if not least <= len(node.args) <= most:
            wanted = "one value" if most == 1 else f"{least} to {most} values"
            raise self.source.fault(node, f"{name} takes {wanted}, got {len(node.args)}.")
        return Read(Apply(name, tuple(map(self.number, node.args))), "number")

    def choice(self, node: ast.IfExp, *, codes: bool) -> Read:
        """Read ``a if c else b``."""
        condition = self.condition(node.test)
        then, other = self.any(node.body, codes=codes), self.any(node.orelse, codes=codes)
        if then.kind != other.kind:
            then, other = _as_number(then), _as_number(other)
        if then.kind != other.kind:
            kinds = f"{_WORDS[then.kind]} and {_WORDS[other.kind]}"
            raise self.source.fault(node, f"the two sides of if ... else are {kinds}. Make them alike.")
        return Read(Apply("if", (condition, then.node, other.node)), then.kind)

    # ----------------------------------------------------------------------------------------------------- comparisons

    def comparison(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Node:
        """Read one comparison; more and unequal are written as less and equal."""
        if isinstance(operator, ast.In | ast.NotIn):
            found = self.among(left, right)
            return Apply("not", (found,)) if isinstance(operator, ast.NotIn) else found
        if type(operator) not in _COMPARISONS:
            raise self.source.fault(right, "is and is not are not part of the language. Write == or !=.")
        op, swapped, negated = _COMPARISONS[type(operator)]
        a, b = self.any(left, codes=op == "=="), self.any(right, codes=op == "==")
        sides = self.alike(left, a, right, b) if op == "==" else self.ordered(left, a, right, b)
        node = Apply(op, sides[::-1] if swapped else sides)
        return Apply("not", (node,)) if negated else node

    def alike(self, left: ast.expr, a: Read, right: ast.expr, b: Read) -> tuple[Node, Node]:
        """Return two values that can be told equal or not."""
        if isinstance(b.node, _Constant):
            b = self.held(right, b, left, a)
        elif isinstance(a.node, _Constant):
            a = self.held(left, a, right, b)
        if a.kind != b.kind and "text" in (a.kind, b.kind):
            text, place, other = (left, right, b) if a.kind == "text" else (right, left, a)
            written, strange = self.source.written(text), self.source.written(place)
            raise self.source.fault(place, f"{written} is a text, {strange} is {_WORDS[other.kind]}.")
        if a.kind == "text":
            self.check_levels(left, a.node, right, b.node)
        return a.node, b.node

    def held(self, place: ast.expr, constant: Read, other_place: ast.expr, other: Read) -> Read:
        """Return a constant as what it is compared with holds it: a level, a code, or a number."""
        name = other.node.name if isinstance(other.node, Name | Raw | Start) else None
        feature = None if name is None else self.features.get(name)
        if isinstance(constant.node, Truth):
            return constant
        assert isinstance(constant.node, Text | Number)
        value = constant.node.value
        if feature is not None and feature.levels is not None:
            position = feature.position(int(value) if isinstance(value, float) and value.is_integer() else value)
            if position is None:
                known = spellings(feature)
                shown = f'"{value}"' if isinstance(value, str) else plain_number(value)
                message = (
                    f"{shown} is not among the levels of {name}: {_listed(known)}.{did_you_mean(str(value), known)}"
                )
                raise self.source.fault(place, message)
            level = feature.levels[position]
            return Read(Text(spelling(level)), "text") if holds_texts(feature) else Read(Number(float(level)), "number")
        if isinstance(value, str) and other.kind == "number":
            if feature is not None and is_number(value) and float(value) in feature.code_values:
                return Read(Number(float(value)), "number")
            raise self.not_a_number(place, value, other_place, feature)
        return constant

    def not_a_number(self, place: ast.expr, text: str, other_place: ast.expr, feature: Feature | None) -> Refused:
        remedy = " Delete the quotes." if is_number(text) else ""
        if feature is not None and feature.codes:
            remedy += f" Its codes are {_listed(tuple(feature.codes))}."
        return self.source.fault(place, f'{self.source.written(other_place)} is a number, "{text}" a text.{remedy}')

    def check_levels(self, left: ast.expr, a: Node, right: ast.expr, b: Node) -> None:
        """Refuse texts that none of the features compared has among its levels."""
        leaves = [(place, leaf) for place, side in ((left, a), (right, b)) for leaf in _leaves(side)]
        names = dict.fromkeys(leaf.name for _, leaf in leaves if isinstance(leaf, Name | Start))
        if not names:
            raise self.source.fault(left, "compares two texts. Write the name of a feature without quotes.")
        known = {level for name in names for level in spellings(self.features[name])}
        for place, leaf in leaves:
            if isinstance(leaf, Text) and leaf.value not in known:
                guess = did_you_mean(leaf.value, known)
                message = f'"{leaf.value}" is not among the levels of {" or ".join(names)}.{guess}'
                raise self.source.fault(place, message)

    def ordered(self, left: ast.expr, a: Read, right: ast.expr, b: Read) -> tuple[Node, Node]:
        """Return two numbers; of the texts of one ladder, their places."""
        sides = ((left, a), (right, b))
        for place, side in sides:
            if side.kind == "boolean":
                written = self.source.written(place)
                raise self.source.fault(place, f"{written} is a condition, neither more nor less than another.")
        named = [side.node.name for _, side in sides if isinstance(side.node, Name | Start)]
        ladder = next((name for name in named if holds_texts(self.features.get(name))), None)
        if ladder is None:
            for (place, side), (other_place, other) in (sides, sides[::-1]):
                if isinstance(side.node, Text) and other.kind == "number":
                    raise self.not_a_number(place, side.node.value, other_place, None)
            if "text" in (a.kind, b.kind):
                raise self.source.fault(left, "texts have an order only as the levels of an ordinal feature.")
            return a.node, b.node
        feature = self.features[ladder]
        if feature.kind != "ordinal":
            remedy = 'Use == or in, or make its kind "ordinal" with the levels in order.'
            raise self.source.fault(left, f"the levels of {ladder} have no order. {remedy}")
        places = []
        for (place, side), (other_place, other) in (sides, sides[::-1]):
            if isinstance(side.node, Text | Number):
                side = self.held(place, side, other_place, other)
            same = isinstance(side.node, Name | Start) and self.features[side.node.name].levels == feature.levels
            if not same and not isinstance(side.node, Text):
                written = self.source.written(place)
                raise self.source.fault(
                    place, f"{written} is not on the ladder of {ladder}: {_listed(spellings(feature))}."
                )
            places.append(Place(ladder, side.node))
        return places[0], places[1]

    def among(self, left: ast.expr, right: ast.expr) -> Node:
        """Read a value in a list of constants."""
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise self.source.fault(right, "to the right of in stands a list in square brackets, as in [1, 2].")
        if not right.elts:
            raise self.source.fault(right, "the list is empty, so nothing is in it.")
        value = self.any(left, codes=True)
        if isinstance(value.node, _Constant):
            raise self.source.fault(left, "to the left of in stands a feature or an expression.")
        members = []
        for element in right.elts:
            constant = self.any(element, codes=True)
            if not isinstance(constant.node, _Constant):
                written = self.source.written(element)
                raise self.source.fault(element, f"a list holds constants alone, not {written}. Use == and or.")
            members.append(self.alike(left, value, element, constant)[1])
        return Apply("in", (value.node, *members))


# ------------------------------------------------------------------------------------------------------------- helpers


def _is_switch(feature: Feature | None) -> bool:
    """Whether a feature's levels are 0 and 1, so that it can stand for a condition."""
    if feature is None or feature.levels is None or holds_texts(feature):
        return False
    return {float(level) for level in feature.levels} <= {0.0, 1.0}


def _as_number(found: Read) -> Read:
    """Return True and False as 1 and 0."""
    return Read(Number(float(found.node.value)), "number") if isinstance(found.node, Truth) else found


def _leaves(node: Node) -> list[Node]:
    """Return the values among which if ... else chooses."""
    if isinstance(node, Apply) and node.op == "if":
        return [leaf for side in node.args[1:] for leaf in _leaves(side)]
    return [node]


def _example(name: str) -> str:
    return f"{name}(a, b)" if _FUNCTIONS[name][0] > 1 else f"{name}(a)"


def _listed(words: tuple[str, ...]) -> str:
    shown = ", ".join(f'"{word}"' for word in words[:8])
    return f"{shown}, ..." if len(words) > 8 else shown
