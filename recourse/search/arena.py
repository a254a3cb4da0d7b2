"""Arrays that grow, are copied and begin as zeros: each compiled once, not wherever it is used."""

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


@inner
def zeros(n: int) -> np.ndarray:
    """Return int64[n] of zeros."""
    out = np.empty(n, np.int64)
    for i in range(n):
        out[i] = 0
    return out


@inner
def flags(n: int) -> np.ndarray:
    """Return uint8[n] of zeros."""
    out = np.empty(n, np.uint8)
    for i in range(n):
        out[i] = 0
    return out


@inner
def copied(values: np.ndarray) -> np.ndarray:
    """Return a copy of float64[n]."""
    out = np.empty(len(values), np.float64)
    for i in range(len(values)):
        out[i] = values[i]
    return out


@inner
def write(target: np.ndarray, values: np.ndarray) -> None:
    """Write a vector to the beginning of another."""
    for i in range(len(values)):
        target[i] = values[i]
