"""Arrays that grow."""

from __future__ import annotations

import numpy as np

from .jit import inner


@inner
def longer(array: np.ndarray) -> np.ndarray:
    """Copy a vector into one of twice the length."""
    n = len(array)
    larger = np.empty(2 * n, array.dtype)
    for i in range(n):
        larger[i] = array[i]
    return larger


@inner
def taller(array: np.ndarray) -> np.ndarray:
    """Copy a matrix into one of twice as many rows."""
    n, width = array.shape
    larger = np.empty((2 * n, width), array.dtype)
    for i in range(n):
        for k in range(width):
            larger[i, k] = array[i, k]
    return larger
