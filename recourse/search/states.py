"""Compiled expressions on many rows at once, for what is computed before a search and after it."""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .programs import Programs, run_point


@kernel
def run_rows(programs: Programs, which: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the values of programs `which` (int64[q]) on rows of values (float64[rows, n]): float64[rows, q]."""
    out = np.empty((len(x), len(which)), np.float64)
    stack = np.empty((max(1, programs.depth), 3), np.float64)
    for r in range(len(x)):
        for i in range(len(which)):
            out[r, i] = run_point(programs, which[i], x[r], start[r], stack)
    return out
