"""Compiled expressions, run on one row and on a box of rows.

The value over a box is a range (none when low > high) and whether it may be missing; it holds the value of every row
in the box. Sums, products, quotients, floor, least and greatest round monotonically, so the ends of the range
are the values at its corners; exp and log are trusted to one unit in the last place, and widened by two.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .jit import inner
from .operations import (
    ABSOLUTE,
    ADD,
    AND,
    AT_MOST,
    CHOOSE,
    CLEAN,
    CONSTANT,
    DIVIDE,
    EXP,
    FAR,
    FLOOR,
    KNOWN,
    LESS,
    LOAD,
    LOG,
    MAXIMUM,
    MEMBER,
    MINIMUM,
    MULTIPLY,
    NEAR,
    NEGATIVE,
    NOT,
    OR,
    OTHERWISE,
    SUBTRACT,
)

LARGEST = 1.7976931348623157e308  # the largest float64
SMALLEST = 5e-324  # the smallest above 0
LARGEST_EXPONENT = 709.782712893384  # exp of anything larger overflows
TWO_UNITS = 2.0**-51  # relative, between two and four units in the last place


class Programs(NamedTuple):
    """Expressions over the features of a search; program k is op[start[k]:start[k + 1]] with its arguments."""

    start: np.ndarray  # int64[P + 1]
    op: np.ndarray  # int32[...], see `operations`
    arg: np.ndarray  # int64[...]
    constant: np.ndarray  # float64[...], numbers, and tables as their length and their entries
    code_start: np.ndarray  # int64[n + 1]
    code: np.ndarray  # float64[...], the declared codes of feature j are code[code_start[j]:code_start[j + 1]]
    depth: int  # operations of the longest program: each has a row of scratch for its value


@inner
def run_point(programs: Programs, k: int, x: np.ndarray, start: np.ndarray, stack: np.ndarray) -> float:
    """Return the value of program k where the actions are x (float64[n]); `stack` is float64[depth, 3] to write on."""
    first = programs.start[k]
    n = programs.start[k + 1] - first
    for i in range(n):
        op, arg = programs.op[first + i], programs.arg[first + i]
        if op < CLEAN:
            if op == CONSTANT:
                value = programs.constant[arg]
            elif op == LOAD:
                value = x[arg]
            else:
                value = start[arg]
        elif op < ADD:
            a = float(stack[i - 1, 0])
            value = math.nan
            if op == KNOWN:
                value = 0.0 if a != a else 1.0
            elif a != a:
                pass
            elif op == CLEAN:
                value = math.nan if _is_code(programs, arg, a) else a
            elif op == NEGATIVE:
                value = -a
            elif op == ABSOLUTE:
                value = abs(a)
            elif op == FLOOR:
                value = np.floor(a) + 0.0
            elif op == LOG:
                if a > 0.0:
                    value = math.log(a)
            elif op == EXP:
                if a <= LARGEST_EXPONENT:
                    value = math.exp(a)
            elif op == NOT:
                value = 1.0 - a
            elif op == MEMBER:
                value = 1.0 if _count_members(programs.constant, arg, a, a) > 0 else 0.0
            else:
                value = programs.constant[arg + 1 + int(a)]
        elif op < CHOOSE:
            a, b = float(stack[i - arg, 0]), float(stack[i - 1, 0])
            value = math.nan
            if op == AND:
                if a == 0.0 or b == 0.0:
                    value = 0.0
                elif a == 1.0 and b == 1.0:
                    value = 1.0
            elif op == OR:
                if a == 1.0 or b == 1.0:
                    value = 1.0
                elif a == 0.0 and b == 0.0:
                    value = 0.0
            elif op == OTHERWISE:
                value = b if a != a else a
            elif a != a or b != b:
                pass
            elif op == ADD:
                value = a + b
            elif op == SUBTRACT:
                value = a - b
            elif op == MULTIPLY:
                value = a * b
            elif op == DIVIDE:
                if b != 0.0:
                    value = a / b
            elif op == MINIMUM:
                value = b if b < a else a
            elif op == MAXIMUM:
                value = b if b > a else a
            elif op == LESS:
                value = 1.0 if a < b else 0.0
            elif op == AT_MOST:
                value = 1.0 if a <= b else 0.0
            else:
                value = 1.0 if a == b else 0.0
        else:
            condition = stack[i - (arg & NEAR), 0]
            value = math.nan
            if condition == 1.0:
                value = stack[i - (arg >> FAR), 0]
            elif condition == 0.0:
                value = stack[i - 1, 0]
        if not abs(value) <= LARGEST:
            value = math.nan
        stack[i, 0] = value
    return float(stack[n - 1, 0])


@inner
def run_box(
    programs: Programs,
    k: int,
    low: np.ndarray,
    high: np.ndarray,
    maybe: np.ndarray,
    start: np.ndarray,
    stack: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write to out[0], out[1] the range of program k where action j is in low[j]..high[j], to out[2] whether it may
    be missing (1.0 or 0.0).

    An action with maybe[j] may be missing as well; one with low[j] > high[j] always is. Codes count as the numbers
    that they are. A range that holds no value at all is written as inf, -inf.
    """
    first = programs.start[k]
    n = programs.start[k + 1] - first
    for i in range(n):
        op, arg = programs.op[first + i], programs.arg[first + i]
        lower, upper, missing = math.inf, -math.inf, 1.0  # nothing but missing
        if op < CLEAN:
            if op == LOAD:
                lower, upper, missing = low[arg], high[arg], 1.0 if maybe[arg] else 0.0
                if lower <= upper:  # a bound that is infinite stands for every number
                    lower, upper = max(lower, -LARGEST), min(upper, LARGEST)
            else:
                value = programs.constant[arg] if op == CONSTANT else start[arg]
                if abs(value) <= LARGEST:
                    lower, upper, missing = value, value, 0.0
        elif op < ADD:
            a, b, gone = float(stack[i - 1, 0]), float(stack[i - 1, 1]), float(stack[i - 1, 2])
            if op == KNOWN:
                lower, upper, missing = 0.0 if gone > 0.0 else 1.0, 1.0 if a <= b else 0.0, 0.0
            elif a <= b:
                lower, upper, missing = a, b, gone
                if op == CLEAN:
                    if _holds_code(programs, arg, a, b):
                        missing = 1.0
                        if a == b:
                            lower, upper = math.inf, -math.inf
                elif op == NEGATIVE:
                    lower, upper = -b, -a
                elif op == ABSOLUTE:
                    lower, upper = max(a, -b, 0.0), max(-a, b)
                elif op == FLOOR:
                    lower, upper = np.floor(a) + 0.0, np.floor(b) + 0.0
                elif op == LOG:
                    if a <= 0.0:
                        missing = 1.0
                    if b <= 0.0:
                        lower, upper = math.inf, -math.inf
                    else:
                        lower, upper = math.log(max(a, SMALLEST)), math.log(b)
                        if a < b:
                            lower, upper = lower - _slack(lower), upper + _slack(upper)
                elif op == EXP:
                    if b > LARGEST_EXPONENT:
                        missing = 1.0
                    if a > LARGEST_EXPONENT:
                        lower, upper = math.inf, -math.inf
                    else:
                        lower, upper = math.exp(a), math.exp(min(b, LARGEST_EXPONENT))
                        if a < b:
                            lower, upper = max(lower - _slack(lower), 0.0), upper + _slack(upper)
                elif op == NOT:
                    lower, upper = 1.0 - b, 1.0 - a
                elif op == MEMBER:
                    found = _count_members(programs.constant, arg, a, b)
                    lower, upper = 1.0 if a == b and found > 0 else 0.0, 1.0 if found > 0 else 0.0
                else:
                    lower, upper = math.inf, -math.inf
                    for position in range(int(a), int(b) + 1):
                        entry = programs.constant[arg + 1 + position]
                        if entry != entry:
                            missing = 1.0
                        else:
                            lower, upper = min(lower, entry), max(upper, entry)
        elif op < CHOOSE:
            a, b, gone = float(stack[i - arg, 0]), float(stack[i - arg, 1]), float(stack[i - arg, 2])
            c, d, lost = float(stack[i - 1, 0]), float(stack[i - 1, 1]), float(stack[i - 1, 2])
            missing = max(gone, lost)
            if op == AND or op == OR:
                if op == OR:  # a or b is not (not a and not b)
                    a, b, c, d = 1.0 - b, 1.0 - a, 1.0 - d, 1.0 - c
                can_be_false = a == 0.0 or c == 0.0
                can_be_true = b == 1.0 and d == 1.0
                # unknown where one side is unknown and the other is not always False
                missing = 0.0
                if (gone > 0.0 and (lost > 0.0 or d == 1.0)) or (lost > 0.0 and b == 1.0):
                    missing = 1.0
                if can_be_false or can_be_true:
                    lower, upper = 0.0 if can_be_false else 1.0, 1.0 if can_be_true else 0.0
                    if op == OR:
                        lower, upper = 1.0 - upper, 1.0 - lower
            elif op == OTHERWISE:
                lower, upper, missing = a, b, gone
                if missing > 0.0:
                    lower, upper, missing = min(a, c), max(b, d), lost
            elif a <= b and c <= d:
                if op == ADD:
                    lower, upper = a + c, b + d
                elif op == SUBTRACT:
                    lower, upper = a - d, b - c
                elif op == MULTIPLY or op == DIVIDE:
                    if op == DIVIDE and c <= 0.0 <= d:  # the divisor may be 0: without it, one side of 0 is left
                        missing = 1.0
                        c, d = SMALLEST if c == 0.0 else c, -SMALLEST if d == 0.0 else d
                        if c < 0.0 < d:
                            a, b, c, d = -LARGEST, LARGEST, 1.0, 1.0
                    if c <= d:
                        if op == MULTIPLY:
                            p, q, r, s = a * c, a * d, b * c, b * d
                        else:
                            p, q, r, s = a / c, a / d, b / c, b / d
                        lower, upper = min(p, q, r, s), max(p, q, r, s)
                elif op == MINIMUM:
                    lower, upper = min(a, c), min(b, d)
                elif op == MAXIMUM:
                    lower, upper = max(a, c), max(b, d)
                elif op == LESS:
                    lower, upper = 1.0 if b < c else 0.0, 1.0 if a < d else 0.0
                elif op == AT_MOST:
                    lower, upper = 1.0 if b <= c else 0.0, 1.0 if a <= d else 0.0
                else:
                    lower, upper = 1.0 if a == d and b == c else 0.0, 1.0 if a <= d and c <= b else 0.0
            else:
                missing = 1.0
        else:
            condition, then = i - (arg & NEAR), i - (arg >> FAR)
            missing = stack[condition, 2]
            if stack[condition, 1] == 1.0:
                lower, upper, missing = stack[then, 0], stack[then, 1], max(missing, stack[then, 2])
            if stack[condition, 0] == 0.0:
                lower, upper = min(lower, stack[i - 1, 0]), max(upper, stack[i - 1, 1])
                missing = max(missing, stack[i - 1, 2])
        if lower <= upper and (lower < -LARGEST or upper > LARGEST):  # overflow is missing
            missing = 1.0
            lower, upper = max(lower, -LARGEST), min(upper, LARGEST)
        if not lower <= upper:
            lower, upper, missing = math.inf, -math.inf, 1.0
        stack[i, 0], stack[i, 1], stack[i, 2] = lower, upper, missing
    out[0], out[1], out[2] = stack[n - 1, 0], stack[n - 1, 1], stack[n - 1, 2]


@inner
def _is_code(programs: Programs, j: int, value: float) -> bool:
    return _holds_code(programs, j, value, value)


@inner
def _holds_code(programs: Programs, j: int, low: float, high: float) -> bool:
    """Whether a declared code of feature j lies in low..high."""
    for c in range(programs.code_start[j], programs.code_start[j + 1]):
        if low <= programs.code[c] <= high:
            return True
    return False


@inner
def _count_members(constant: np.ndarray, table: int, low: float, high: float) -> int:
    """How many entries of a table lie in low..high."""
    found = 0
    for entry in range(table + 1, table + 1 + int(constant[table])):
        if low <= constant[entry] <= high:
            found += 1
    return found


@inner
def _slack(value: float) -> float:
    """At least two units in the last place."""
    return abs(value) * TWO_UNITS + 2.0 * SMALLEST
