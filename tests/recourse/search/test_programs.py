"""Compiled expressions give what the expressions give, on rows and, as a range that holds it, on boxes."""

from __future__ import annotations

import math
import struct
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recourse.expression import Compiler, parse
from recourse.policy import Feature
from recourse.search.programs import LARGEST, LARGEST_EXPONENT, Programs, run_box, run_point
from recourse.search.residual import reduce_programs
from tests.expressions import FEATURES, ORDER, as_number, compiled, conditions, encoded, numbers, rows, value_of

N = len(ORDER)


@numba.njit
def _points(programs, k, xs, start, stack, out):  # type: ignore[no-untyped-def]
    for i in range(len(xs)):
        out[i] = run_point(programs, k, xs[i], start, stack)


@numba.njit
def _box(programs, k, low, high, maybe, start, stack, out):  # type: ignore[no-untyped-def]
    run_box(programs, k, low, high, maybe, start, stack, out)


def points(programs: Programs, k: int, xs: np.ndarray, start: np.ndarray) -> np.ndarray:
    out = np.empty(len(xs))
    _points(programs, k, xs, start, np.full((programs.depth, 3), 77.0), out)
    return out


def box(programs: Programs, k: int, low: Any, high: Any, maybe: Any, start: np.ndarray) -> tuple[float, float, bool]:
    out = np.empty(3)
    maybe = np.asarray(maybe, dtype=np.uint8)
    stack = np.full((programs.depth, 3), 77.0)
    _box(programs, k, np.asarray(low, dtype=float), np.asarray(high, dtype=float), maybe, start, stack, out)
    assert out[2] in (0.0, 1.0)
    return float(out[0]), float(out[1]), bool(out[2])


def bits(value: float) -> bytes:
    return b"missing" if value != value else struct.pack("<d", value)


expressions = st.one_of(numbers(), conditions())


@given(expressions, rows, rows)
def test_a_program_gives_what_the_expression_gives(text: str, row: dict[str, Any], start: dict[str, Any]) -> None:
    """On every row the compiled program equals the expression evaluated in plain Python, bit for bit."""
    expression = parse(text, FEATURES)
    found = points(compiled(expression), 0, encoded(row)[None], encoded(start))[0]
    assert bits(found) == bits(as_number(expression.evaluate(row, start)))


@given(expressions, rows, rows)
def test_a_box_of_one_row_is_that_row(text: str, row: dict[str, Any], start: dict[str, Any]) -> None:
    """Over a box of one row the range is the row's value, and missing exactly where that is."""
    programs = compiled(parse(text, FEATURES))
    x, before = encoded(row), encoded(start)
    gone = np.isnan(x)
    low, high = np.where(gone, np.inf, x), np.where(gone, -np.inf, x)
    least, most, maybe = box(programs, 0, low, high, gone, before)
    value = points(programs, 0, x[None], before)[0]
    if value != value:
        assert (least, most, maybe) == (math.inf, -math.inf, True)
    else:
        assert (least, most, maybe) == (value, value, False)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A box as the search hands it on, and rows in it."""
    inside = np.full((8, N), np.nan)
    low, high, maybe = np.empty(N), np.empty(N), np.zeros(N, np.uint8)
    for j, name in enumerate(ORDER):
        feature = FEATURES.get(name)
        some = [draw(value_of(feature)) for _ in range(draw(st.integers(1, 3)))]
        column = [encoded({**dict.fromkeys(ORDER), name: value})[j] for value in some]
        present = [value for value in column if value == value]
        low[j], high[j] = (min(present), max(present)) if present else (np.inf, -np.inf)
        maybe[j] = len(present) < len(column)
        if present and not (feature is not None and feature.listed):  # between the ends lie further values
            column += [(1 - share) * low[j] + share * high[j] for share in draw(st.lists(st.floats(0, 1), max_size=2))]
            column = [value for value in column if value != value or low[j] <= value <= high[j]]
        for i in range(8):
            inside[i, j] = column[draw(st.integers(0, len(column) - 1))]
    return low, high, maybe, inside


@given(expressions, boxes(), rows)
def test_a_box_holds_the_value_of_every_row_in_it(text: str, drawn: Any, start: dict[str, Any]) -> None:
    """No row in a box has a value outside of the range, or is missing where the range says that none is."""
    low, high, maybe, inside = drawn
    programs = compiled(parse(text, FEATURES))
    least, most, gone = box(programs, 0, low, high, maybe, encoded(start))
    values = points(programs, 0, inside, encoded(start))
    assert gone or not np.isnan(values).any()
    present = values[~np.isnan(values)]
    assert (least <= present).all()
    assert (present <= most).all()
    assert least <= most or (least, most, gone) == (math.inf, -math.inf, True)


def at(**given_: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box by feature: a value, a pair of ends, or a pair and "missing"; everything else is 1."""
    low, high, maybe = np.ones(N), np.ones(N), np.zeros(N, np.uint8)
    for name, value in given_.items():
        j = ORDER.index(name)
        if isinstance(value, tuple):
            low[j], high[j] = value[:2]
            maybe[j] = len(value) > 2
        else:
            low[j] = high[j] = value
    return low, high, maybe


@pytest.mark.parametrize(
    "text, given_, expected",
    [
        ("income / rungs", {"income": (2, 6), "rungs": (1, 2)}, (1, 6, False)),
        ("income / rungs", {"income": (2, 6), "rungs": (0, 2)}, (1, LARGEST, True)),
        ("income / rungs", {"income": (2, 6), "rungs": (-1, 2)}, (-LARGEST, LARGEST, True)),
        ("income / rungs", {"income": (2, 6), "rungs": 0}, (math.inf, -math.inf, True)),
        ("income * income", {"income": (-2, 3)}, (-6, 9, False)),
        ("income * 1e308", {"income": (1, 10)}, (1e308, LARGEST, True)),
        ("log(income)", {"income": (-1, 0)}, (math.inf, -math.inf, True)),
        ("abs(income)", {"income": (-2, 1)}, (0, 2, False)),
        ("floor(income)", {"income": (-0.5, 1.5)}, (-1, 1, False)),
        ("min(income, rungs, 5)", {"income": (2, 9), "rungs": (3, 4)}, (2, 4, False)),
        ("income < rungs", {"income": (2, 6), "rungs": (6, 7)}, (0, 1, False)),
        ("income <= rungs", {"income": (2, 6), "rungs": (6, 7)}, (1, 1, False)),
        ("income < rungs", {"income": (2, 6), "rungs": (7, 8, "missing")}, (1, 1, True)),
        ("income == 3", {"income": (4, 6)}, (0, 0, False)),
        ("income in [1, 2, 9]", {"income": (3, 8)}, (0, 0, False)),
        ("income in [1, 2, 9]", {"income": 9}, (1, 1, False)),
        ("housing in ['rent', 'free']", {"housing": (0, 1)}, (0, 1, False)),
        ("housing == before", {"housing": 0, "before": 2}, (1, 1, False)),
        ("income > 0 and rungs > 5", {"income": (0, 1, "missing"), "rungs": (0, 1)}, (0, 0, False)),
        ("income > 0 or rungs < 5", {"income": (0, 1, "missing"), "rungs": (0, 1)}, (1, 1, False)),
        ("income > 0 and rungs < 5", {"income": (1, 1, "missing"), "rungs": (0, 1)}, (1, 1, True)),
        ("2 if income > 0 else 3", {"income": (1, 2)}, (2, 2, False)),
        ("2 if income > 0 else 3", {"income": (0, 2)}, (2, 3, False)),
        ("2 if income > 0 else 3", {"income": (1, 2, "missing")}, (2, 2, True)),
        ("months + 1", {"months": -9}, (math.inf, -math.inf, True)),
        ("months + 1", {"months": (-8, 4)}, (-7, 5, True)),  # -7 among them
        ("months + 1", {"months": (6, 8)}, (7, 9, False)),
        ("months == -9", {"months": -9}, (1, 1, False)),
        ("months != -9", {"months": (0, 4)}, (1, 1, False)),
    ],
)
def test_ranges(text: str, given_: dict[str, Any], expected: tuple[float, float, bool]) -> None:
    """Ranges are as tight as the operations allow."""
    start = np.ones(N)
    assert box(compiled(parse(text, FEATURES)), 0, *at(**given_), start) == expected


@given(st.floats(-750, 750), st.floats(0, 40))
@example(700.0, 20.0)
def test_exp_and_log_widen(low: float, width: float) -> None:
    """Ranges of exp and log hold what the mathematical library gives anywhere inside, even if it is not monotone."""
    programs = compiled(parse("exp(income)", FEATURES), parse("log(income)", FEATURES))
    high = low + width
    width = high - low
    for k, function in enumerate((math.exp, math.log)):
        least, most, _ = box(programs, k, *at(income=(low, high)), np.ones(N))
        for x in np.linspace(low, high, 17).tolist():
            if (k == 0 and low <= x <= min(high, LARGEST_EXPONENT)) or (k == 1 and low <= x <= high and x > 0):
                assert least <= function(x) <= most
                assert least < function(x) < most or width == 0 or function(x) in (0.0, LARGEST)


def test_the_largest_exponent() -> None:
    """exp overflows right above the stated limit."""
    assert math.exp(LARGEST_EXPONENT) <= LARGEST
    with pytest.raises(OverflowError):
        math.exp(math.nextafter(LARGEST_EXPONENT, math.inf))


def test_a_box_without_bounds() -> None:
    """Infinite bounds of an action stand for every number, and make no value missing."""
    programs = compiled(parse("income + 1", FEATURES), parse("income * 0", FEATURES), parse("income >= 0", FEATURES))
    everything = at(income=(-math.inf, math.inf))
    assert box(programs, 0, *everything, np.ones(N)) == (-LARGEST, LARGEST, False)
    assert box(programs, 1, *everything, np.ones(N)) == (0, 0, False)
    assert box(programs, 2, *everything, np.ones(N)) == (0, 1, False)


@given(st.lists(expressions, min_size=2, max_size=4), rows)
def test_programs_do_not_touch_one_another(texts: list[str], row: dict[str, Any]) -> None:
    """Each of several programs gives what it gives alone; names are read as `reads` says."""
    read = [parse(text, FEATURES) for text in texts]
    together, x = compiled(*read), encoded(row)
    for k, expression in enumerate(read):
        alone = points(compiled(expression), 0, x[None], x)[0]
        assert bits(points(together, k, x[None], x)[0]) == bits(alone)
    compiler = Compiler(FEATURES, ORDER)
    for k, expression in enumerate(read):
        compiler.add(expression)
        assert compiler.reads(k) == tuple(sorted(ORDER.index(name) for name in expression.names))


def test_no_program_at_all() -> None:
    """A search without expressions has empty programs of the same types."""
    programs = Compiler({"income": Feature(kind="number")}, ["income"]).programs()
    assert [programs.start.tolist(), programs.op.size, programs.constant.size, programs.depth] == [[0], 0, 0, 1]
    full = compiled(parse("income > 1", FEATURES))
    assert [a.dtype for a in programs[:-1]] == [a.dtype for a in full[:-1]]


# ---------------------------------------------------------------------------------------------------- reduced programs


@numba.njit
def _reduce(programs, low, high, maybe, start):  # type: ignore[no-untyped-def]
    return reduce_programs(programs, low, high, maybe, start)


def equal(first: np.ndarray, second: np.ndarray) -> bool:
    return bool(np.array_equal(first, second, equal_nan=True))


@given(st.lists(expressions, min_size=1, max_size=3), boxes(), rows, st.data())
def test_reduced_programs_give_the_same(texts: list[str], drawn: Any, start_row: Any, data: st.DataObject) -> None:
    """Programs reduced to a box are no longer, give the same value on every row in it, and ranges that are no wider
    over every box within."""
    low, high, maybe, inside = drawn
    start = encoded(start_row)
    whole = compiled(*[parse(text, FEATURES) for text in texts])
    reduced = _reduce(whole, low, high, maybe, start)
    inner_low, inner_high = np.fmin.reduce(inside[:3]), np.fmax.reduce(inside[:3])
    inner_maybe = np.isnan(inside[:3]).any(axis=0).astype(np.uint8)
    gone = np.isnan(inner_low)
    inner_low[gone], inner_high[gone] = np.inf, -np.inf
    for k in range(len(texts)):
        assert np.diff(reduced.start)[k] <= np.diff(whole.start)[k] <= whole.depth
        assert equal(points(reduced, k, inside, start), points(whole, k, inside, start))
        for ends in ((low, high, maybe), (inner_low, inner_high, inner_maybe)):
            least, most, gone_ = box(reduced, k, *ends, start)
            least_whole, most_whole, gone_whole = box(whole, k, *ends, start)
            assert gone_ <= gone_whole
            assert least > most or (least_whole <= least and most <= most_whole)
    assert reduced.depth == max(np.diff(reduced.start))


@pytest.mark.parametrize(
    "text, given_, length",
    [
        ("income > 1 and rungs < 3", {"income": (0, 9), "rungs": 2}, 3),
        ("income > 1 or rungs < 3", {"income": (0, 9), "rungs": 2}, 1),
        ("income > 1 or rungs > 3", {"income": (0, 9), "rungs": 2}, 3),
        ("income + 1 if rungs > 1 else abs(income) * 2", {"income": (0, 9), "rungs": 2}, 3),
        ("income + 1 if rungs > 3 else abs(income) * 2", {"income": (0, 9), "rungs": 2}, 4),
        ("min(wait, 12) + months", {"wait": (0, 12), "months": (6, 9)}, 3),
        ("rungs * exp(start.income) - `class` > 3", {"rungs": 2}, 1),
        ("income / 0 + wait", {"wait": (0, 3)}, 1),
        ("not (housing == 'rent' and school < 'degree') or wait >= 6", {"housing": (0, 2), "wait": (0, 9)}, 8),
    ],
)
def test_what_is_fixed_is_worked_out(text: str, given_: dict[str, Any], length: int) -> None:
    """What no row of the box changes is one constant, and what it decides is gone."""
    start = np.ones(N)
    reduced = _reduce(compiled(parse(text, FEATURES)), *at(**given_), start)
    assert len(reduced.op) == length


def test_no_programs_stay_none() -> None:
    """Without programs there is nothing to reduce."""
    nothing = Compiler(FEATURES, ORDER).programs()
    assert len(_reduce(nothing, *at(), np.ones(N)).start) == 1
