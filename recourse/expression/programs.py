"""From trees to programs: what the kernels of the search run in place of expressions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import PolicyError
from ..search import operations as op
from .nodes import (
    Apply,
    As,
    Name,
    Node,
    Number,
    Place,
    Raw,
    Start,
    Stripped,
    Text,
    Truth,
    is_condition,
    is_text,
    spellings,
    substitute,
)

if TYPE_CHECKING:
    from ..policy import Feature
    from ..search.programs import Programs
    from . import Expression

LONGEST = 20_000  # operations of one program

_UNARY = {
    "negative": op.NEGATIVE,
    "abs": op.ABSOLUTE,
    "floor": op.FLOOR,
    "log": op.LOG,
    "exp": op.EXP,
    "not": op.NOT,
    "known": op.KNOWN,
}
_BINARY = {
    "+": op.ADD,
    "-": op.SUBTRACT,
    "*": op.MULTIPLY,
    "/": op.DIVIDE,
    "min": op.MINIMUM,
    "max": op.MAXIMUM,
    "<": op.LESS,
    "<=": op.AT_MOST,
    "and": op.AND,
    "or": op.OR,
}


class Compiler:
    """Turns expressions into programs over the features of one search.

    Parameters
    ----------
    features : mapping
        The policy's features by name.
    order : sequence of str
        The features of the search, `wait` included if waiting is an action: their order in `x` and `start`.

    Examples
    --------
    >>> from recourse.expression import parse
    >>> from recourse.policy import Feature
    >>> features = {"income": Feature(kind="number"), "debt": Feature(kind="number")}
    >>> compiler = Compiler(features, ["debt", "income"])
    >>> compiler.add(parse("debt / income <= 0.4", features)), compiler.reads(0)
    (0, (0, 1))
    >>> compiler.programs().depth
    5
    """

    def __init__(self, features: Mapping[str, Feature], order: Sequence[str]) -> None:
        self._features = features
        self._order = {name: j for j, name in enumerate(order)}
        self._programs: list[list[tuple[int, int]]] = []
        self._constants: list[float] = []
        self._places: dict[tuple[float, ...], int] = {}

    def add(self, expression: Expression | Node, inline: Mapping[str, Node] | None = None) -> int:
        """Compile an expression and return the number of its program.

        Parameters
        ----------
        expression : Expression or node
        inline : mapping, optional
            What to put in place of names: `dependents(policy)` for an expression. Nothing for what `dependents` and
            `rule_nodes` return, where names stand for actions already.

        Raises
        ------
        PolicyError
            If the program gets too long, or reads a feature that is not in the search.
        """
        node = expression.node if hasattr(expression, "node") else expression
        what = f"{expression.text!r}: " if hasattr(expression, "text") else ""
        try:
            node = substitute(node, inline or {}, self._features)
            writer = _Writer(self)
            writer.write(node)
        except RecursionError:
            raise PolicyError(
                f"{what}an expression is too deep once the features that it reads are written out."
            ) from None
        self._programs.append(writer.program)
        return len(self._programs) - 1

    def reads(self, k: int) -> tuple[int, ...]:
        """Return the features whose chosen value program k reads, in ascending order."""
        return tuple(sorted({arg for code, arg in self._programs[k] if code == op.LOAD}))

    def programs(self) -> Programs:
        """Return all programs as arrays."""
        from ..search.programs import Programs

        codes = [self._features[name].code_values if name in self._features else () for name in self._order]
        flat = [instruction for program in self._programs for instruction in _linked(program)]
        return Programs(
            start=np.cumsum([0, *map(len, self._programs)], dtype=np.int64),
            op=np.array([code for code, _ in flat], dtype=np.int32),
            arg=np.array([arg for _, arg in flat], dtype=np.int64),
            constant=np.array(self._constants, dtype=np.float64),
            code_start=np.cumsum([0, *map(len, codes)], dtype=np.int64),
            code=np.array([code for feature in codes for code in feature], dtype=np.float64),
            depth=max(map(len, self._programs), default=1),
        )

    def _index(self, name: str) -> int:
        if name not in self._order:
            raise PolicyError(f"an expression reads {name!r}, which is not among the features of the search.")
        return self._order[name]

    def _table(self, *values: float) -> int:
        """Return where these constants stand side by side."""
        key = tuple(
            -math.inf if value != value else value for value in values
        )  # no NaN equals itself, no constant is infinite
        if key not in self._places:
            self._places[key] = len(self._constants)
            self._constants += values
        return self._places[key]


class _Writer:
    """One program in the making."""

    def __init__(self, compiler: Compiler) -> None:
        self.program: list[tuple[int, int]] = []
        self.compiler = compiler
        self.features = compiler._features

    def put(self, code: int, arg: int = 0) -> None:
        if len(self.program) >= LONGEST:
            raise PolicyError(
                f"an expression takes more than {LONGEST} operations once the features that it reads are written out. "
                "Read each derived feature once."
            )
        self.program.append((code, arg))

    def constant(self, value: float) -> None:
        self.put(op.CONSTANT, self.compiler._table(value))

    def write(self, node: Node) -> None:
        """Write a program that pushes a node's value; a text's is its position among the levels of what it names."""
        if is_text(node, self.features):
            self.text(node, self.levels(node))
            return
        match node:
            case Number(value):
                self.constant(value)
            case Truth(value):
                self.constant(float(value))
            case Name(name) | Raw(name):
                self.load(op.LOAD, name, strip=isinstance(node, Name))
            case Start(name, raw):
                self.load(op.START, name, strip=not raw)
            case Stripped(name, value):
                self.write(value)
                self.strip(name)
            case As(name, value):
                self.level(self.features[name], value)
            case Place(name, value):
                self.text(value, spellings(self.features[name]))
            case Apply("==", (a, b)):
                self.pair(a, b)
                self.put(op.EQUAL)
            case Apply("in", (value, *members)):
                self.member(value, members)
            case Apply("if", (condition, then, other)):
                self.write(then)
                self.write(condition)
                self.write(other)
                self.put(op.CHOOSE)
            case Apply("otherwise", (first, second)):
                self.write(first)
                self.write(second)
                self.put(op.OTHERWISE)
            case Apply(name, (value,)) if name in _UNARY:
                self.write(value)
                self.put(_UNARY[name])
            case Apply(name, (first, *rest)):
                self.write(first)
                for value in rest:
                    self.write(value)
                    self.put(_BINARY[name])

    def load(self, code: int, name: str, *, strip: bool) -> None:
        if name not in self.features and name not in self.compiler._order:
            self.constant(0.0)  # nobody waits
            return
        self.put(code, self.compiler._index(name))
        if strip:
            self.strip(name)

    def strip(self, name: str) -> None:
        if name in self.features and self.features[name].codes:
            self.put(op.CLEAN, self.compiler._index(name))

    def level(self, feature: Feature, value: Node) -> None:
        """Push a number if it is one of the levels, else missing."""
        levels = [float(level) for level in feature.levels or ()]
        self.write(value)
        if is_condition(value) and {0.0, 1.0} <= set(levels):
            return
        self.write(value)
        self.put(op.MEMBER, self.compiler._table(len(levels), *levels))
        self.constant(math.nan)
        self.put(op.CHOOSE)

    def pair(self, a: Node, b: Node) -> None:
        """Push two values that are compared; texts as positions among the levels of both."""
        if is_text(a, self.features) or is_text(b, self.features):
            levels = _joined(self.levels(a), self.levels(b))
            self.text(a, levels)
            self.text(b, levels)
        else:
            self.write(a)
            self.write(b)

    def member(self, value: Node, members: list[Node]) -> None:
        """Push whether a value is one of some constants."""
        constants = [part.value for part in members if isinstance(part, Number | Text | Truth)]
        if is_text(value, self.features):
            levels = self.levels(value)
            self.text(value, levels)
            found = [float(level in constants) for level in levels]
            self.put(op.LOOKUP, self.compiler._table(len(found), *found))
        else:
            self.write(value)
            self.put(op.MEMBER, self.compiler._table(len(constants), *map(float, constants)))

    def levels(self, node: Node) -> tuple[str, ...]:
        """Return the texts that a node can be, those of features first."""
        if isinstance(node, Apply):
            return _joined(*map(self.levels, node.args[1:] if node.op == "if" else node.args))
        if isinstance(node, Text):
            return (node.value,)
        return spellings(self.features[node.name])  # type: ignore[union-attr]

    def text(self, node: Node, levels: tuple[str, ...]) -> None:
        """Push the position of a node's text among some levels, missing where it is none of them."""
        match node:
            case Text(value):
                self.constant(float(levels.index(value)) if value in levels else math.nan)
            case Apply("if", (condition, then, other)):
                self.text(then, levels)
                self.write(condition)
                self.text(other, levels)
                self.put(op.CHOOSE)
            case Apply("otherwise", (first, second)):
                self.text(first, levels)
                self.text(second, levels)
                self.put(op.OTHERWISE)
            case Name(name) | Raw(name) | Start(name):
                self.put(op.START if isinstance(node, Start) else op.LOAD, self.compiler._index(name))
                self.look_up(spellings(self.features[name]), levels)
            case As(name, value):
                own = spellings(self.features[name])
                self.text(value, own)
                self.look_up(own, levels)

    def look_up(self, own: tuple[str, ...], levels: tuple[str, ...]) -> None:
        """Turn a position among a feature's levels into one among others."""
        if levels[: len(own)] != own:
            places = [float(levels.index(level)) if level in levels else math.nan for level in own]
            self.put(op.LOOKUP, self.compiler._table(len(places), *places))


def _joined(*parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return all levels once, longer lists first: a feature's own stand together."""
    return tuple(dict.fromkeys(level for part in sorted(parts, key=len, reverse=True) for level in part))


def _linked(program: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a program in which every operation says where its operands are."""
    linked, waiting = [], list[int]()
    for i, (code, arg) in enumerate(program):
        if code == op.CHOOSE:
            then, condition, _ = (waiting.pop(-3), waiting.pop(-2), waiting.pop())
            arg = (i - then) << op.FAR | (i - condition)
        elif code >= op.ADD:
            first, _ = waiting.pop(-2), waiting.pop()
            arg = i - first
        elif code >= op.CLEAN:
            waiting.pop()
        waiting.append(i)
        linked.append((code, arg))
    return linked
