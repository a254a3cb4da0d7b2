"""From the text of an expression to its tree: Python's grammar, of which a short list of forms is let in."""

from __future__ import annotations

import ast
import keyword
import math
import re
import warnings
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from ._expression_nodes import (
    Apply,
    Name,
    Node,
    Number,
    Place,
    Raw,
    Start,
    Text,
    Truth,
    holds_texts,
    spellings,
    walk,
)
from ._policy_values import is_number, plain_number, show, spelling
from .errors import PolicyError, UnknownFeature, did_you_mean

if TYPE_CHECKING:
    from .policy import Feature

Kind = Literal["number", "boolean", "text"]

LONGEST = 10_000  # characters
DEEPEST = 100  # nested operations; a sum of terms nests once for each
LARGEST = 2_000  # operations, names and constants

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
_HINTS = (  # what other languages write, outside of quotes
    (r"&", "Write and."),
    (r"\|", "Write or."),
    (r"!(?!=)", "Write not."),
    (r"(?<![=<>!:])=(?!=)", "Write == to compare."),
    (r"<>", "Write != for unequal."),
    (r"≤", "Write <=."),
    (r"≥", "Write >=."),
    (r"≠", "Write !=."),
)
_FORMS = (
    "Allowed are names, numbers, texts, + - * /, min max abs log exp floor, comparisons, and or not, in, a if c else b."
)


class Read(NamedTuple):
    """A tree with what it gives."""

    node: Node
    kind: Kind


class _Refused(Exception):
    """A form that the language does not have, with where it begins."""

    def __init__(self, message: str, offset: int | None, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.offset = offset
        self.unknown = unknown


def read(text: str, features: Mapping[str, Feature], extra_names: Collection[str], *, keep_codes: bool) -> Read:
    """Read an expression, or raise a `PolicyError` that quotes it and names the column."""
    if not isinstance(text, str):
        raise PolicyError(f"expected an expression in quotes, got {show(text)}.")
    try:
        return _Reader(text, features, extra_names).read(keep_codes)
    except _Refused as refused:
        where = "" if refused.offset is None else f", column {refused.offset + 1}"
        kind = UnknownFeature if refused.unknown else PolicyError
        raise kind(f"{_shown(text, refused.offset or 0)}{where}: {refused}") from None


def _shown(text: str, offset: int) -> str:
    """Return the text for a message; of a long one, what lies around the offset."""
    if len(text) <= 120:
        return repr(text)
    first = max(0, offset - 40)
    return repr(("..." if first else "") + text[first : first + 80] + ("..." if first + 80 < len(text) else ""))


class _Reader:
    """One expression on its way from text to tree."""

    def __init__(self, text: str, features: Mapping[str, Feature], extra_names: Collection[str]) -> None:
        self.features = features
        self.extra_names = extra_names
        self.text = text
        self.source = text
        self.bare = ""  # the text without what stands in quotes and backticks

    def read(self, keep_codes: bool) -> Read:
        if not self.text.strip():
            raise _Refused("is empty. Write an expression, such as income > 1000.", None)
        if len(self.text) > LONGEST:
            raise _Refused(f"has {len(self.text)} characters, more than {LONGEST}. Split it.", None)
        self._spell_names_plainly()
        tree = self._parsed()
        self._measure(tree)
        return self._any(tree, codes=keep_codes)

    # ------------------------------------------------------------------------------------------ the text and its names

    def _spell_names_plainly(self) -> None:
        """Put a plain name of the same length in place of each `name in backticks`: Python's parser reads the rest."""
        source, bare, at, text = [], [], 0, self.text
        while at < len(text):
            character, end = text[at], at + 1
            if character in "'\"":
                while end < len(text) and text[end] != character:
                    end += 2 if text[end] == "\\" else 1
                end = min(end + 1, len(text))
                source.append(text[at:end])
                bare.append(" " * (end - at))
            elif character == "`":
                end = text.find("`", at + 1) + 1
                if end == 0:
                    raise _Refused("the backtick ` is not closed.", at)
                if end - at == 2:
                    raise _Refused("there is no name between the backticks.", at)
                source.append("_" * (end - at))
                bare.append(" " * (end - at))
            elif character == "#":
                raise _Refused("# has no meaning. Put remarks outside of the quotes.", at)
            else:
                source.append(" " if character.isspace() else character)
                bare.append(source[-1])
            at = end
        self.source, self.bare = "".join(source), "".join(bare)

    def _parsed(self) -> ast.expr:
        self.indent = len(self.source) - len(self.source.lstrip())
        self.source = self.source.strip()
        self.bytes = None if self.source.isascii() else self.source.encode()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # "\d" in a text, 1or 2
                return ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            offset = None if error.offset is None else self.indent + max(error.offset - 1, 0)
            for pattern, hint in _HINTS:
                found = re.search(pattern, self.bare)
                if found:
                    raise _Refused(f"{found[0]} is not part of the language. {hint}", found.start()) from None
            hint = self._hint_at_backticks()
            raise _Refused(f"is not an expression: {error.msg}.{hint}", offset) from None
        except (ValueError, MemoryError, RecursionError):
            raise _Refused("is nested too deeply, or holds what is no text.", None) from None

    def _measure(self, tree: ast.expr) -> None:
        """Refuse what is too deep or too large to be walked through."""
        level: list[ast.AST] = [tree]
        total = depth = 0
        while level:
            depth, total = depth + 1, total + len(level)
            if depth > DEEPEST or total > LARGEST:
                raise _Refused(
                    f"is too {'large' if total > LARGEST else 'deep'}: at most {LARGEST} names and operations, nested "
                    f"at most {DEEPEST} deep. Put a part of it into a derived feature.",
                    None,
                )
            level = [child for node in level for child in ast.iter_child_nodes(node)]

    def _offset(self, node: ast.AST, *, end: bool = False) -> int:
        """Return where a node begins (or ends) in the text."""
        at = int(node.end_col_offset if end else node.col_offset)  # type: ignore[attr-defined]
        return self.indent + (at if self.bytes is None else len(self.bytes[:at].decode()))

    def _fault(self, node: ast.AST, message: str) -> _Refused:
        return _Refused(message, self._offset(node))

    def _written(self, node: ast.AST) -> str:
        return self.text[self._offset(node) : self._offset(node, end=True)]

    def _spelt(self, node: ast.AST, written: str) -> tuple[str, bool]:
        """Return a name as it is written, and whether in backticks. (Python's own would change some letters.)"""
        if "`" not in written:
            return written, False
        if written.count("`") != 2 or written[0] != "`" or written[-1] != "`":
            raise self._fault(node, f"{written} is not one name. Put an operator between its parts.")
        return written[1:-1], True

    # -------------------------------------------------------------------------------------------------- any expression

    def _any(self, node: ast.expr, *, codes: bool) -> Read:
        """Read a part. With `codes`, the code of a numeric feature is a value, else it is missing."""
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name():
                return self._name(node, codes=codes)
            case ast.Attribute():
                return self._start(node, codes=codes)
            case ast.BinOp(left, operator, right) if type(operator) in _OPERATORS:
                return Read(Apply(_OPERATORS[type(operator)], (self._number(left), self._number(right))), "number")
            case ast.UnaryOp(ast.USub(), operand):
                number = self._number(operand)
                return Read(
                    Number(-number.value) if isinstance(number, Number) else Apply("negative", (number,)), "number"
                )
            case ast.UnaryOp(ast.UAdd(), operand):
                return Read(self._number(operand), "number")
            case ast.UnaryOp(ast.Not(), operand):
                return Read(Apply("not", (self._condition(operand),)), "boolean")
            case ast.BoolOp(operator, values):
                op = "and" if isinstance(operator, ast.And) else "or"
                return Read(Apply(op, tuple(map(self._condition, values))), "boolean")
            case ast.Compare():
                return self._chain(node)
            case ast.IfExp(test, body, orelse):
                return self._choice(node, self._condition(test), body, orelse, codes=codes)
            case ast.Call():
                return self._call(node)
        raise self._fault(node, self._stranger(node))

    def _number(self, node: ast.expr) -> Node:
        found = self._any(node, codes=False)
        if found.kind != "number":
            remedy = " Write 1 if ... else 0." if found.kind == "boolean" else self._text_remedy(found.node)
            raise self._fault(node, f"expected a number, {self._written(node)} is {_WORDS[found.kind]}.{remedy}")
        return found.node

    def _condition(self, node: ast.expr) -> Node:
        found = self._any(node, codes=False)
        if found.kind == "boolean":
            return found.node
        if isinstance(found.node, Name | Start) and _is_switch(self.features.get(found.node.name)):
            return Apply("==", (found.node, Number(1.0)))
        remedy = " Compare it, as in income > 0." if found.kind == "number" else ' Compare it, as in housing == "own".'
        raise self._fault(node, f"expected a condition, {self._written(node)} is {_WORDS[found.kind]}.{remedy}")

    def _text_remedy(self, node: Node) -> str:
        if isinstance(node, Text):
            return " Delete the quotes." if is_number(node.value) else ""
        name = getattr(node, "name", None)
        return "" if name is None else f" Its levels are texts: compare them, as in {name} == {self._some_level(name)}."

    def _some_level(self, name: str) -> str:
        return f'"{spellings(self.features[name])[0]}"'

    def _constant(self, node: ast.Constant) -> Read:
        value = node.value
        if isinstance(value, bool):
            return Read(Truth(value), "boolean")
        if isinstance(value, int | float):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if not math.isfinite(number):
                raise self._fault(node, "this number is too large.")
            return Read(Number(number), "number")
        if isinstance(value, str):
            return Read(Text(value), "text")
        if value is None:
            raise self._fault(
                node, "there is no None: what compares a missing value is unknown, and breaks no rule. Leave it out."
            )
        raise self._fault(node, f"{self._written(node)} is neither a number nor a text nor True or False.")

    def _name(self, node: ast.Name, *, codes: bool) -> Read:
        name, quoted = self._spelt(node, self._written(node))
        if name in self.features:
            return self._loaded(name, codes=codes)
        if name in self.extra_names:
            return Read(Name(name), "number")
        if not quoted and name in _FUNCTIONS:
            raise self._fault(
                node, f"{name} is a function: write {name}({'a, b' if _FUNCTIONS[name][0] > 1 else 'a'})."
            )
        if not quoted and name == _START:
            some = next(iter(self.features), "income")
            raise self._fault(node, f"start stands for the applicant's present values: write start.{some}.")
        if not quoted and name in ("true", "false"):
            raise self._fault(node, f"write {name.capitalize()}.")
        raise self._unknown(node, name)

    def _start(self, node: ast.Attribute, *, codes: bool) -> Read:
        owner = node.value
        if not (isinstance(owner, ast.Name) and self._written(owner) == _START):
            raise self._fault(node, f"the dot has a meaning in start.x alone, not in {self._written(node)}.")
        dot = self._written(node).index(".")
        name, _ = self._spelt(node, self._written(node)[dot + 1 :].strip())
        if name in self.features:
            loaded = self._loaded(name, codes=codes)
            return Read(Start(name, raw=isinstance(loaded.node, Raw)), loaded.kind)
        if name in self.extra_names:
            raise self._fault(node, f"{name} is 0 at the start. Write {name}.")
        raise self._unknown(node, name)

    def _loaded(self, name: str, *, codes: bool) -> Read:
        feature = self.features[name]
        if holds_texts(feature):
            return Read(Name(name), "text")
        return Read(Raw(name) if codes and feature.codes else Name(name), "number")

    def _unknown(self, node: ast.AST, name: str) -> _Refused:
        guess = did_you_mean(name, [*self.features, *self.extra_names])
        return _Refused(
            f"no feature named {name!r}.{guess}{self._hint_at_backticks()}",
            self._offset(node),
            unknown=True,
        )

    def _hint_at_backticks(self) -> str:
        """Name a feature that stands in the text without the backticks that it needs."""
        for name in self.features:
            if (not name.isidentifier() or keyword.iskeyword(name)) and re.search(
                rf"(?<!\w){re.escape(name)}(?!\w)", self.bare
            ):
                return f" The feature {name!r} is written in backticks: `{name}`."
        return ""

    def _call(self, node: ast.Call) -> Read:
        name = self._written(node.func)
        if not isinstance(node.func, ast.Name) or name not in _FUNCTIONS:
            raise self._fault(node, f"no function named {name!r}.{did_you_mean(name, _FUNCTIONS)} {_FORMS}")
        least, most = _FUNCTIONS[name]
        if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
            raise self._fault(node, f"{name} takes plain values: write {name}({'a, b' if least > 1 else 'a'}).")
        if not least <= len(node.args) <= most:
            wanted = "one value" if most == 1 else f"{least} to {most} values"
            raise self._fault(node, f"{name} takes {wanted}, got {len(node.args)}.")
        return Read(Apply(name, tuple(map(self._number, node.args))), "number")

    def _choice(self, node: ast.expr, condition: Node, body: ast.expr, orelse: ast.expr, *, codes: bool) -> Read:
        then, other = self._any(body, codes=codes), self._any(orelse, codes=codes)
        if then.kind != other.kind:
            then, other = _as_numbers(then), _as_numbers(other)
        if then.kind != other.kind:
            raise self._fault(
                node, f"the two sides of if ... else are {_WORDS[then.kind]} and {_WORDS[other.kind]}. Make them alike."
            )
        return Read(Apply("if", (condition, then.node, other.node)), then.kind)

    def _stranger(self, node: ast.expr) -> str:
        """Say what is not let in."""
        if isinstance(node, ast.BinOp):
            sign = self.text[self._offset(node.left, end=True) : self._offset(node.right)].strip().strip("()").strip()
            hint = {"**": " Write a product.", "&": " Write and.", "|": " Write or.", "//": " Write floor(a / b)."}
            return f"{sign} is not part of the language.{hint.get(sign, '')} {_FORMS}"
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return "a list stands to the right of in alone."
        return f"{self._written(node)[:40]} is not part of the language. {_FORMS}"

    # ----------------------------------------------------------------------------------------------------- comparisons

    def _chain(self, node: ast.Compare) -> Read:
        """Read a < b <= c as a < b and b <= c."""
        sides = [node.left, *node.comparators]
        pairs = [self._compared(a, operator, b) for a, operator, b in zip(sides, node.ops, sides[1:])]
        return Read(pairs[0] if len(pairs) == 1 else Apply("and", tuple(pairs)), "boolean")

    def _compared(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> Node:
        if isinstance(operator, ast.In | ast.NotIn):
            found = self._among(left, right)
            return Apply("not", (found,)) if isinstance(operator, ast.NotIn) else found
        if type(operator) not in _COMPARISONS:
            raise self._fault(right, "is and is not are not part of the language. Write == or !=.")
        op, swapped, negated = _COMPARISONS[type(operator)]
        a, b = self._any(left, codes=op == "=="), self._any(right, codes=op == "==")
        if op == "==":
            first, second = self._alike(left, a, right, b)
        else:
            first, second = self._ordered(left, a, right, b)
        node = Apply(op, (second, first) if swapped else (first, second))
        return Apply("not", (node,)) if negated else node

    def _alike(self, left: ast.expr, a: Read, right: ast.expr, b: Read) -> tuple[Node, Node]:
        """Return two values that can be told equal or not."""
        if isinstance(a.node, Text | Number | Truth) and not isinstance(b.node, Text | Number | Truth):
            a = self._as_value_of(right, b, left, a)
        elif isinstance(b.node, Text | Number | Truth):
            b = self._as_value_of(left, a, right, b)
        if "text" in (a.kind, b.kind):
            if a.kind != b.kind:
                word, other = (b, right) if a.kind == "text" else (a, left)
                raise self._fault(other, f"a text is compared with {_WORDS[word.kind]}, {self._written(other)}.")
            self._check_levels(left, a.node, right, b.node)
        return a.node, b.node

    def _as_value_of(self, place: ast.expr, value: Read, constant_place: ast.expr, constant: Read) -> Read:
        """Return a constant as what it is compared with holds it: a level, a code, or a number."""
        name = getattr(value.node, "name", None)
        feature = self.features.get(name) if name is not None else None
        if feature is None or isinstance(constant.node, Truth):
            if isinstance(constant.node, Text) and value.kind == "number":
                raise self._not_a_text(constant_place, self._written(place), constant.node.value)
            return constant
        assert isinstance(constant.node, Text | Number)
        written = constant.node.value
        if feature.levels is not None:
            position = feature.position(
                int(written) if isinstance(written, float) and written.is_integer() else written
            )
            if position is not None:
                level = feature.levels[position]
                return (
                    Read(Text(spelling(level)), "text")
                    if holds_texts(feature)
                    else Read(Number(float(level)), "number")
                )
            known = spellings(feature)
            guess = did_you_mean(str(written), known) if isinstance(written, str) else ""
            shown = f'"{written}"' if isinstance(written, str) else plain_number(written)
            raise self._fault(constant_place, f"{shown} is not among the levels of {name}: {_listed(known)}.{guess}")
        if isinstance(written, str):
            if is_number(written) and float(written) in feature.code_values:
                return Read(Number(float(written)), "number")
            raise self._not_a_text(constant_place, name or "", written)
        return constant

    def _not_a_text(self, place: ast.expr, what: str, text: str) -> _Refused:
        remedy = " Delete the quotes." if is_number(text) else ""
        return self._fault(place, f'{what} is a number, "{text}" a text.{remedy}')

    def _check_levels(self, left: ast.expr, a: Node, right: ast.expr, b: Node) -> None:
        """Refuse texts that none of the features compared has among its levels."""
        names = [part.name for side in (a, b) for part in walk(side) if isinstance(part, Name | Start)]
        features = {name: self.features[name] for name in names if holds_texts(self.features.get(name))}
        if not features:
            raise self._fault(left, "compares two texts. Write the name of a feature without quotes.")
        known = {level for feature in features.values() for level in spellings(feature)}
        for place, side in ((left, a), (right, b)):
            for part in _leaves(side):
                if isinstance(part, Text) and part.value not in known:
                    guess = did_you_mean(part.value, known)
                    raise self._fault(
                        place, f'"{part.value}" is not among the levels of {" or ".join(features)}.{guess}'
                    )

    def _ordered(self, left: ast.expr, a: Read, right: ast.expr, b: Read) -> tuple[Node, Node]:
        """Return two numbers; of the texts of one ladder, their places."""
        if "text" not in (a.kind, b.kind):
            for place, side in ((left, a), (right, b)):
                if side.kind == "boolean":
                    raise self._fault(
                        place, f"{self._written(place)} is a condition, which is neither more nor less. Use == ."
                    )
            return a.node, b.node
        names = [getattr(side.node, "name", None) for side in (a, b)]
        ladder = next((name for name in names if name is not None and holds_texts(self.features.get(name))), None)
        if ladder is None:
            for place, other, side in ((left, right, a), (right, left, b)):
                if isinstance(side.node, Text):
                    raise self._not_a_text(place, self._written(other), side.node.value)
            raise self._fault(left, "texts have an order only as levels of an ordinal feature.")
        feature = self.features[ladder]
        if feature.kind != "ordinal":
            raise self._fault(
                left,
                f'the levels of {ladder} have no order. Use == or in, or make its kind "ordinal" with levels in order.',
            )
        if isinstance(a.node, Text | Number):
            a = self._as_value_of(right, b, left, a)
        if isinstance(b.node, Text | Number):
            b = self._as_value_of(left, a, right, b)
        for place, name, side in ((left, names[0], a), (right, names[1], b)):
            of_ladder = name is not None and self.features[name].levels == feature.levels
            if not isinstance(side.node, Text) and not of_ladder:
                raise self._fault(
                    place, f"{self._written(place)} is not on the ladder of {ladder}: {_listed(spellings(feature))}."
                )
        return Place(ladder, a.node), Place(ladder, b.node)

    def _among(self, left: ast.expr, right: ast.expr) -> Node:
        """Read a value in a list of constants."""
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise self._fault(right, "to the right of in stands a list in square brackets, as in [1, 2].")
        if not right.elts:
            raise self._fault(right, "the list is empty, so nothing is in it.")
        value = self._any(left, codes=True)
        if isinstance(value.node, Text | Number | Truth):
            raise self._fault(left, "to the left of in stands a feature or an expression.")
        members = []
        for element in right.elts:
            constant = self._any(element, codes=True)
            if not isinstance(constant.node, Text | Number | Truth):
                raise self._fault(
                    element, f"a list holds constants alone, not {self._written(element)}. Use == and or."
                )
            members.append(self._alike(left, value, element, constant)[1])
        return Apply("in", (value.node, *members))


# ------------------------------------------------------------------------------------------------------------- helpers


def _is_switch(feature: Feature | None) -> bool:
    """Whether a feature's levels are 0 and 1, so that it can stand for a condition."""
    levels = None if feature is None else feature.levels
    return bool(levels) and not holds_texts(feature) and {float(level) for level in levels or ()} <= {0.0, 1.0}


def _as_numbers(found: Read) -> Read:
    """Return True and False as 1 and 0, where the other side is a number."""
    return Read(Number(float(found.node.value)), "number") if isinstance(found.node, Truth) else found


def _leaves(node: Node) -> list[Node]:
    """Return the values among which if ... else chooses."""
    if isinstance(node, Apply) and node.op == "if":
        return [leaf for side in node.args[1:] for leaf in _leaves(side)]
    return [node]


def _listed(words: tuple[str, ...]) -> str:
    shown = ", ".join(f'"{word}"' for word in words[:8])
    return f"{shown}, ..." if len(words) > 8 else shown
