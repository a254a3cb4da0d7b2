"""Programs cut down to what is open in a box: what an applicant cannot change is worked out once, not at each node."""

from __future__ import annotations

import math

import numpy as np

from .arena import write
from .jit import inner
from .operations import ADD, AND, CHOOSE, CLEAN, CONSTANT, FAR, MAXIMUM, MINIMUM, NEAR, OR, OTHERWISE
from .programs import Programs, run_box


@inner
def reduce_programs(
    programs: Programs, low: np.ndarray, high: np.ndarray, maybe: np.ndarray, start: np.ndarray
) -> Programs:
    """Return programs that give the same values on every row of a box (see `run_box`), for one applicant's `start`.

    Whatever has one value there becomes a constant; conditions that are decided leave one side of a choice. Ranges over
    boxes within are never wider.
    """
    total = len(programs.op)
    if total == 0:
        return programs
    known = len(programs.constant)
    constant = np.empty(known + total, np.float64)
    write(constant, programs.constant)
    first, op, arg = np.empty(len(programs.start), np.int64), np.empty(total, np.int32), np.empty(total, np.int64)
    value, out = np.empty((programs.depth, 3), np.float64), np.empty(3, np.float64)
    stands_for, place = np.empty(programs.depth, np.int64), np.empty(programs.depth, np.int64)
    at, longest = 0, 1
    first[0] = 0
    for k in range(len(programs.start) - 1):
        run_box(programs, k, low, high, maybe, start, value, out)
        begin = programs.start[k]
        n = programs.start[k + 1] - begin
        _mark(programs, begin, n, value, stands_for)
        for i in range(n):
            if stands_for[i] < 0:
                continue  # nobody needs it
            if stands_for[i] != i:
                place[i] = place[stands_for[i]]
                continue
            code, given = programs.op[begin + i], programs.arg[begin + i]
            place[i] = at
            if _is_constant(value, i):
                constant[known] = value[i, 0] if value[i, 0] <= value[i, 1] else math.nan
                code, given = CONSTANT, known
                known += 1
            elif code == CHOOSE:
                given = (at - place[i - (given >> FAR)]) << FAR | (at - place[i - (given & NEAR)])
            elif code >= ADD:
                given = at - place[i - given]
            op[at], arg[at] = code, given
            at += 1
        first[k + 1] = at
        longest = max(longest, at - first[k])
    return Programs(first, op[:at], arg[:at], constant[:known], programs.code_start, programs.code, longest)


@inner
def _mark(programs: Programs, begin: int, n: int, value: np.ndarray, stands_for: np.ndarray) -> None:
    """Write to `stands_for` the operation that each one's value comes from in the box; -1 where nobody needs it."""
    for i in range(n):
        stands_for[i] = -1
    stands_for[n - 1] = n - 1
    for i in range(n - 1, -1, -1):
        if stands_for[i] < 0 or _is_constant(value, i):
            continue
        op, arg = programs.op[begin + i], programs.arg[begin + i]
        if op < CLEAN:
            continue
        last = i - 1
        if op < ADD:
            stands_for[last] = last
            if op == CLEAN and value[i, 2] == 0.0:  # no code among the values
                stands_for[i] = last
        elif op < CHOOSE:
            other = i - arg
            chosen = _chosen(op, value, other, last)
            if chosen >= 0:
                stands_for[i] = stands_for[chosen] = chosen
            else:
                stands_for[other], stands_for[last] = other, last
        else:
            then, condition = i - (arg >> FAR), i - (arg & NEAR)
            if _is_constant(value, condition):  # it is not always missing, or so would be the choice
                chosen = then if value[condition, 0] == 1.0 else last
                stands_for[i] = stands_for[chosen] = chosen
            else:
                stands_for[then], stands_for[condition], stands_for[last] = then, condition, last


@inner
def _chosen(op: int, value: np.ndarray, a: int, b: int) -> int:
    """Return which of two operands the result always is; -1 if that is open."""
    if op == AND or op == OR:
        neutral = 1.0 if op == AND else 0.0
        if _is_constant(value, a) and value[a, 0] == neutral:
            return b
        if _is_constant(value, b) and value[b, 0] == neutral:
            return a
    elif op == OTHERWISE:
        if value[a, 2] == 0.0:
            return a
        if value[a, 0] > value[a, 1]:
            return b
    elif op == MINIMUM or op == MAXIMUM:
        if value[a, 2] == 0.0 and value[b, 2] == 0.0:
            if value[a, 1] <= value[b, 0]:
                return a if op == MINIMUM else b
            if value[b, 1] <= value[a, 0]:
                return b if op == MINIMUM else a
    return -1


@inner
def _is_constant(value: np.ndarray, i: int) -> bool:
    """Whether the value of an operation is one number in the whole box, or always missing."""
    return (value[i, 0] == value[i, 1] and value[i, 2] == 0.0) or value[i, 0] > value[i, 1]
