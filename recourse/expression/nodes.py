"""The tree of an expression: what remains of the text once names and levels have been looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..policy.values import spelling

if TYPE_CHECKING:
    from ..policy import Feature


@dataclass(frozen=True, slots=True)
class Number:
    """A number; NaN is missing."""

    value: float


@dataclass(frozen=True, slots=True)
class Truth:
    """True or False."""

    value: bool


@dataclass(frozen=True, slots=True)
class Text:
    """A level, as a file spells it."""

    value: str


@dataclass(frozen=True, slots=True)
class Name:
    """The value of a feature, missing where it is one of the feature's codes.

    As read from a text, the feature's state; where dependents are inlined, what is chosen for it.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Raw:
    """The same, a code kept as the number that it is."""

    name: str


@dataclass(frozen=True, slots=True)
class Start:
    """The applicant's present value of a feature; `raw` keeps codes."""

    name: str
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation on values.

    `+ - * /`, `negative abs floor log exp`, `min max`; `== < <=` of two; `and or not`; `in` (a value, then constants);
    `if` (condition, then, else); `known` (not missing); `otherwise` (the first, or where it is missing the second).
    """

    op: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Stripped:
    """A value, missing where it is one of a feature's codes."""

    name: str
    value: Node


@dataclass(frozen=True, slots=True)
class As:
    """A value as one of a listed feature's levels, missing where it is none of them."""

    name: str
    value: Node


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a text among a feature's levels."""

    name: str
    value: Node


Node = Number | Truth | Text | Name | Raw | Start | Apply | Stripped | As | Place

WAIT = "wait"  # the months that a plan asks to wait: a name in every expression
CONDITIONS = frozenset({"==", "<", "<=", "and", "or", "not", "in", "known"})


def otherwise(first: Node, second: Node) -> Apply:
    """Return the first value unless it is missing, else the second."""
    return Apply("otherwise", (first, second))


def parts_of(node: Node) -> tuple[Node, ...]:
    """Return the nodes right below one."""
    if isinstance(node, Apply):
        return node.args
    return (node.value,) if isinstance(node, Stripped | As | Place) else ()


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it; what stands in several places once."""
    waiting, seen = [node], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += parts_of(node)


def names_in(node: Node) -> frozenset[str]:
    """Return the features (and `wait`) that are read."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Name | Raw))


def starts_in(node: Node) -> frozenset[str]:
    """Return the features of which the applicant's present value is read."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Start))


def substitute(node: Node, states: Mapping[str, Node], features: Mapping[str, Feature]) -> Node:
    """Put the state of each feature in `states` in place of its name.

    What is put in is not looked into again: there, a name is what is chosen for the feature.
    """
    done: dict[int, Node] = {}

    def put(node: Node) -> Node:
        if id(node) not in done:
            done[id(node)] = replace(node)
        return done[id(node)]

    def replace(node: Node) -> Node:
        if isinstance(node, Name) and node.name in states:
            return stripped(node.name, states[node.name], features)
        if isinstance(node, Raw) and node.name in states:
            return states[node.name]
        return rebuilt(node, put)

    return put(node)


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return the node with each part changed."""
    if isinstance(node, Apply):
        return Apply(node.op, tuple(change(part) for part in node.args))
    return type(node)(node.name, change(node.value)) if isinstance(node, Stripped | As | Place) else node


def stripped(name: str, value: Node, features: Mapping[str, Feature]) -> Node:
    """Return a value of a feature, missing where it is a code."""
    if value == Raw(name):
        return Name(name)
    return Stripped(name, value) if name in features and features[name].codes else value


def holds_texts(feature: Feature | None) -> bool:
    """Whether a feature's values are texts in expressions: one of its levels is a text."""
    return feature is not None and any(isinstance(level, str) for level in feature.levels or ())


def spellings(feature: Feature) -> tuple[str, ...]:
    """Return a listed feature's levels as a file spells them."""
    return tuple(spelling(level) for level in feature.levels or ())


def is_text(node: Node, features: Mapping[str, Feature]) -> bool:
    """Whether a node's value is a text."""
    while isinstance(node, Apply) and node.op in ("if", "otherwise"):
        node = node.args[1]
    return isinstance(node, Text) or (
        isinstance(node, Name | Raw | Start | As | Stripped) and holds_texts(features.get(node.name))
    )


def is_condition(node: Node) -> bool:
    """Whether a node's value is True or False."""
    while isinstance(node, Apply) and node.op in ("if", "otherwise"):
        node = node.args[1]
    return isinstance(node, Truth) or (isinstance(node, Apply) and node.op in CONDITIONS)
