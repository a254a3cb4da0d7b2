"""What a time was measured on: the processor, the versions, and a fixed kernel timed in the same run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numba
import numpy as np

LIBRARIES = ("fairpath", "numpy", "numba", "llvmlite", "scikit-learn", "xgboost-cpu", "xgboost", "lightgbm")


def describe(threads: int) -> dict[str, Any]:
    """Return processor, versions and load; `threads` is what the measured work may use."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),  # of the minute before, so that a busy machine shows
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def reference_ms(runs: int = 5) -> float:
    """Return the median milliseconds of the reference kernel, for comparing figures of different machines and days."""
    words = np.arange(1, 4097, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    _reference(words, 1)
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        _reference(words, 4_000)
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def resident_mb() -> float:
    """Return the process's resident memory in MB (Linux; 0 elsewhere)."""
    table = Path("/proc/self/statm")
    return int(table.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if table.exists() else 0.0


@numba.njit
def _reference(words: np.ndarray, rounds: int) -> np.int64:
    """Do what the search does most, in a loop that must never change: mask, test, find the first bit, add."""
    state = np.uint64(88172645463325252)
    total = np.int64(0)
    for _ in range(rounds):
        for word in words:
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            masked = state & word
            if masked != np.uint64(0):
                total += np.int64((masked & (~masked + np.uint64(1))) & np.uint64(255))
    return total


def _cpu() -> str:
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
