"""What an expression can be on a whole box: a few known values, or an interval of numbers that may be missing."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..expression.nodes import Apply, As, Name, Node, Number, Place, Raw, Start, Stripped, Text, Truth, names_in
from ..expression.values import _OPERATIONS, _as_level, read_value

if TYPE_CHECKING:
    from ..policy import Feature
    from ..values import Value

Seen = float | bool | str | None
MOST = 64  # values that are kept apart
LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Some:
    """One of a few values; None is missing, or unknown."""

    values: frozenset[Seen]


@dataclass(frozen=True, slots=True)
class Between:
    """A number from low to high, or missing where `maybe`."""

    low: float
    high: float
    maybe: bool


Range = Some | Between
UNKNOWN = Some(frozenset({True, False, None}))


def some(values: Iterable[Seen]) -> Range:
    """Return a few values as they are, many numbers as an interval."""
    found = frozenset(values)
    if len(found) <= MOST or any(isinstance(value, str) for value in found):
        return Some(found)
    numbers = [float(value) for value in found if value is not None]
    return Between(min(numbers), max(numbers), None in found)


def as_between(one: Range) -> Between:
    """Return numbers as an interval; low > high where there is none."""
    if isinstance(one, Between):
        return one
    numbers = [float(v) for v in one.values if v is not None and not isinstance(v, str)]
    return Between(min(numbers, default=math.inf), max(numbers, default=-math.inf), None in one.values)


def either(first: Range, second: Range) -> Range:
    """Return what holds either."""
    if isinstance(first, Some) and isinstance(second, Some):
        return some(first.values | second.values)
    a, b = as_between(first), as_between(second)
    return Between(min(a.low, b.low), max(a.high, b.high), a.maybe or b.maybe)


class Ranges:
    """The ranges of expressions where the features that are chosen lie in ranges.

    Parameters
    ----------
    features : mapping
        The policy's.
    start : mapping
        The applicant's present values.
    free : frozenset of str
        The features that have a choice.
    """

    def __init__(self, features: Mapping[str, Feature], start: Mapping[str, Value], free: frozenset[str]) -> None:
        self.features, self.start, self.free = features, start, free
        self._known: dict[int, tuple[Node, Range | None]] = {}  # what reads nothing that is free is worked out once

    def of(self, node: Node, box: Mapping[str, Range]) -> Range:
        """Return the range of an expression; `box` has all features that have a choice, the others stay."""
        if id(node) not in self._known:
            self._known[id(node)] = (node, self._of(node, box) if not names_in(node) & self.free else None)
        known = self._known[id(node)][1]
        return self._of(node, box) if known is None else known

    def _of(self, node: Node, box: Mapping[str, Range]) -> Range:
        match node:
            case Number(number):
                return Some(frozenset({number if math.isfinite(number) else None}))
            case Truth(known):
                return Some(frozenset({known}))
            case Text(text):
                return Some(frozenset({text}))
            case Name(name):
                return self._read(name, box, codes=False)
            case Raw(name):
                return self._read(name, box, codes=True)
            case Start(name, raw):
                return Some(frozenset({read_value(name, self.features, self.start, codes=raw)}))
            case Stripped(name, inside):
                return self._without_codes(name, self.of(inside, box))
            case As(name, inside):
                return self._each(self.of(inside, box), lambda v: _as_level(self.features[name], v), name)
            case Place(name, inside):
                return self._each(self.of(inside, box), lambda v: self._place(name, v), name)
            case Apply(op, args):
                return _applied(op, [self.of(part, box) for part in args])

    def _read(self, name: str, box: Mapping[str, Range], *, codes: bool) -> Range:
        if name not in box:
            return Some(frozenset({read_value(name, self.features, self.start, codes=codes)}))
        here = box[name]
        if isinstance(here, Some):
            return some(read_value(name, self.features, {name: value}, codes=codes) for value in here.values)
        return here if codes else self._without_codes(name, here)

    def _without_codes(self, name: str, here: Range) -> Range:
        codes = self.features[name].code_values if name in self.features else ()
        if isinstance(here, Some):
            return Some(frozenset(None if value in codes else value for value in here.values))
        return Between(here.low, here.high, here.maybe or any(here.low <= code <= here.high for code in codes))

    def _place(self, name: str, value: Seen) -> Seen:
        position = self.features[name].position(value)
        return None if position is None else float(position)

    def _each(self, here: Range, function: Callable[[Seen], Seen], name: str) -> Range:
        if isinstance(here, Some):
            return some(function(value) for value in here.values)
        levels = [level for level in self.features[name].levels or () if not isinstance(level, str)]
        within = {function(float(level)) for level in levels if here.low <= float(level) <= here.high}
        return some({*within, None})


def _applied(op: str, args: list[Range]) -> Range:
    known = [one for one in args if isinstance(one, Some)]
    if len(known) == len(args) and math.prod(len(one.values) for one in known) <= MOST * MOST:
        return some(_OPERATIONS[op](*values) for values in itertools.product(*(one.values for one in known)))
    if op in ("and", "or", "not"):
        return UNKNOWN
    if op == "known":
        one = as_between(args[0])
        return Some(frozenset({True} if not one.maybe else {True, False}))
    if op == "otherwise":
        first = as_between(args[0])
        if not first.maybe:
            return first
        return either(Between(first.low, first.high, False), args[1])
    if op == "if":
        truth = args[0].values if isinstance(args[0], Some) else {True, False, None}
        sides = [args[1]] * (True in truth) + [args[2]] * (False in truth) + [Some(frozenset({None}))] * (None in truth)
        out = sides[0]
        for side in sides[1:]:
            out = either(out, side)
        return out
    if op in ("==", "<", "<=", "in"):
        return _compared(op, args)
    return _computed(op, [as_between(one) for one in args])


def _compared(op: str, args: list[Range]) -> Range:
    if any(isinstance(v, str) for one in args if isinstance(one, Some) for v in one.values):
        return UNKNOWN  # more levels than are kept apart
    parts = [as_between(one) for one in args]
    unknown: set[Seen] = {None} if any(part.maybe for part in parts) else set()
    a, rest = parts[0], parts[1:]
    if a.low > a.high or any(b.low > b.high for b in rest):
        return Some(frozenset({None}))
    if op == "in" or op == "==":
        able = any(a.low <= b.high and b.low <= a.high for b in rest)
        sure = any(a.low == a.high == b.low == b.high for b in rest)
    elif op == "<":
        able, sure = a.low < rest[0].high, a.high < rest[0].low
    else:
        able, sure = a.low <= rest[0].high, a.high <= rest[0].low
    return Some(frozenset({*({True} if able else ()), *(() if sure else {False}), *unknown}))


def _computed(op: str, parts: list[Between]) -> Range:
    """The interval of an operation on numbers: rounding to the nearest keeps the order, so ends go to ends."""
    maybe = any(part.maybe for part in parts)
    if any(part.low > part.high for part in parts):
        return Some(frozenset({None}))
    a = parts[0]
    b = parts[1] if len(parts) > 1 else a
    match op:
        case "+":
            low, high = a.low + b.low, a.high + b.high
        case "-":
            low, high = a.low - b.high, a.high - b.low
        case "*":
            ends = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
            low, high = min(ends), max(ends)
        case "/":
            if b.low <= 0.0 <= b.high:
                return Between(-LARGEST, LARGEST, True)
            ends = [x / y for x in (a.low, a.high) for y in (b.low, b.high)]
            low, high = min(ends), max(ends)
        case "negative":
            low, high = -a.high, -a.low
        case "abs":
            low = 0.0 if a.low <= 0.0 <= a.high else min(abs(a.low), abs(a.high))
            high = max(abs(a.low), abs(a.high))
        case "floor":
            low, high = float(math.floor(a.low)), float(math.floor(a.high))
        case "log":
            if a.high <= 0.0:
                return Some(frozenset({None}))
            maybe |= a.low <= 0.0
            low = -LARGEST if a.low <= 0.0 else _nudged(math.log(a.low), -math.inf)
            high = _nudged(math.log(a.high), math.inf)
        case "exp":
            low, high = (_nudged(_exp(v), end) for v, end in ((a.low, -math.inf), (a.high, math.inf)))
            low = max(low, 0.0)
        case "min":
            low, high = min(p.low for p in parts), min(p.high for p in parts)
        case "max":
            low, high = max(p.low for p in parts), max(p.high for p in parts)
        case _:
            raise AssertionError(op)
    if not (math.isfinite(low) and math.isfinite(high)):  # what overflows is missing
        maybe = True
        low, high = max(low, -LARGEST), min(high, LARGEST)
        if math.isnan(low) or math.isnan(high):
            low, high = -LARGEST, LARGEST
    return Between(low, high, maybe)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _nudged(value: float, towards: float) -> float:
    """A library's function may be off by a unit in the last place."""
    return math.nextafter(math.nextafter(value, towards), towards)
