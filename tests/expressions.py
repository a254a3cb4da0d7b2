"""Expressions at random over a handful of features of every kind, and rows for them as people and as kernels write."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from recourse.expression import Compiler
from recourse.policy import Feature
from recourse.search.programs import Programs

TEXTS = ["rent", "own", "free"]
LADDER = ["none", "school", "degree"]
FEATURES = {
    "income": Feature(kind="number", step=500),
    "net income": Feature(kind="number", step=0.5),
    "months": Feature(kind="integer", codes={"-7": "never", "-9": "no record", "5": "five"}),
    "class": Feature(kind="integer"),
    "flag": Feature(kind="flag"),
    "sure": Feature(kind="flag", levels=[False, True]),
    "housing": Feature(kind="category", levels=TEXTS),
    "before": Feature(kind="category", levels=["parents", "free", "rent"]),
    "school": Feature(kind="ordinal", levels=LADDER),
    "rungs": Feature(kind="ordinal", levels=[0, 1, 2, 3]),
    "mixed": Feature(kind="category", levels=["a", 1, 2.5]),
}
ORDER = [*FEATURES, "wait"]
NUMBERS = ["income", "`net income`", "months", "`class`", "flag", "sure", "rungs"]
CONSTANTS = ["0", "1", "2.5", "-3", "0.1", "5", "-7", "-9", "1e308", "-1e308", "5e-324", "709", "1e16"]

number_values = st.one_of(
    st.integers(-10, 10),
    st.floats(-1e3, 1e3),
    st.sampled_from([0.0, -0.0, 5.0, -7.0, -9.0, 1e308, -1e308, 5e-324, 0.5, 710.0]),
)


def value_of(feature: Feature | None) -> st.SearchStrategy[Any]:
    """Values of a feature, missing ones among them."""
    if feature is None:
        return st.integers(0, 36)
    if feature.levels is not None:
        return st.one_of(st.sampled_from(list(feature.levels)), st.none())
    return st.one_of(number_values, st.none())


rows = st.fixed_dictionaries({name: value_of(FEATURES.get(name)) for name in ORDER})


def _names(*names: str) -> st.SearchStrategy[str]:
    return st.sampled_from([prefix + name for name in names for prefix in ("", "start.")])


@st.composite
def numbers(draw: st.DrawFn, depth: int = 3) -> str:
    """Texts of expressions that give a number."""
    form = draw(st.integers(0, 9 if depth else 1))
    if form == 0:
        return draw(st.sampled_from(CONSTANTS))
    if form == 1:
        return draw(st.one_of(_names(*NUMBERS), st.just("wait")))
    a = draw(numbers(depth - 1))
    if form <= 5:
        return f"({a} {draw(st.sampled_from('+-*/'))} {draw(numbers(depth - 1))})"
    if form == 6:
        return f"{draw(st.sampled_from(['abs', 'log', 'exp', 'floor']))}({a})"
    if form == 7:
        more = draw(st.lists(numbers(depth - 1), min_size=1, max_size=2))
        return f"{draw(st.sampled_from(['min', 'max']))}({', '.join([a, *more])})"
    if form == 8:
        return f"(-{a})"
    return f"({a} if {draw(conditions(depth - 1))} else {draw(numbers(depth - 1))})"


@st.composite
def texts(draw: st.DrawFn, depth: int = 2) -> str:
    """Texts of expressions that give a level of `housing` or `before`."""
    if depth == 0 or draw(st.booleans()):
        return draw(_names("housing", "before"))
    sides = [draw(st.one_of(texts(depth - 1), st.sampled_from(["'rent'", "'free'"]))) for _ in range(2)]
    return f"({sides[0]} if {draw(conditions(depth - 1))} else {sides[1]})"


@st.composite
def conditions(draw: st.DrawFn, depth: int = 3) -> str:
    """Texts of expressions that are true or false."""
    form = draw(st.integers(0, 12 if depth > 0 else 5))
    pick = lambda *words: draw(st.sampled_from(words))  # noqa: E731
    sign, equal, within = pick("==", "!=", "<", "<=", ">", ">="), pick("==", "!="), pick("in", "not in")
    if form == 0:
        return pick("flag", "sure", "start.flag", "True", "False")
    if form == 1:
        other = pick('"rent"', '"free"', "housing")
        return f"({draw(_names('housing', 'before'))} {equal} {other})"
    if form == 2:
        other = pick("school", "start.school", '"school"')
        return f"({draw(_names('school'))} {sign} {other})"
    if form == 3:
        return f"({draw(_names('housing'))} {within} {draw(st.lists(st.sampled_from(TEXTS), min_size=1))})"
    if form == 4:
        return f"({draw(_names('months', 'rungs', 'income'))} {within} [0, 2, 3])"
    if form == 5:
        other = pick(f'months {equal} "-9"', f"months {within} [-7, 0, '5']", f"mixed {equal} 1", f'mixed {equal} "a"')
        return f"({other})"
    if form <= 8:
        left = draw(numbers(depth - 1))
        left = f"abs({left})" if sign in ("==", "!=") else left  # a number that is no level is refused
        return f"({left} {sign} {draw(numbers(depth - 1))})"
    if form == 9:
        sides = draw(st.permutations([draw(texts(min(depth, 2))), draw(texts(0))]))
        return f"({sides[0]} {equal} {sides[1]})"
    if form == 10:
        return f"(not {draw(conditions(depth - 1))})"
    if form == 11:
        return f"({draw(numbers(depth - 1))} < {draw(numbers(depth - 1))} <= {draw(numbers(depth - 1))})"
    joined = draw(st.sampled_from([" and ", " or "])).join(
        draw(st.lists(conditions(depth - 1), min_size=2, max_size=3))
    )
    return f"({joined})"


# ---------------------------------------------------------------------------------------------- rows as the search has


def encoded(
    row: Mapping[str, Any], features: Mapping[str, Feature] = FEATURES, order: Sequence[str] = ORDER
) -> np.ndarray:
    """Return a row as the search holds it: numbers, positions of texts, NaN for missing."""
    out = np.full(len(order), np.nan)
    for j, name in enumerate(order):
        value, feature = row[name], features.get(name)
        if value is None:
            continue
        if feature is None or feature.levels is None:
            out[j] = value
        elif any(isinstance(level, str) for level in feature.levels):
            out[j] = feature.levels.index(value)
        else:
            out[j] = float(value)
    return out


def as_number(value: Any) -> float:
    """Return a result as the kernels write it."""
    return math.nan if value is None else float(value)


def compiled(*expressions: Any) -> Programs:
    """Return expressions over `ORDER` as programs."""
    compiler = Compiler(FEATURES, ORDER)
    for expression in expressions:
        compiler.add(expression)
    return compiler.programs()
