"""The search kernels compiled ahead of use, and whether they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .finder import Finder
from .models.additive import Additive
from .models.base import Column, Model
from .models.evaluate import evaluate
from .models.trees import Trees

_POLICY = {
    "decision": {"threshold": 0.5, "score": "decision_function"},
    "cost": {"unit": "raw"},
    "features": {
        "income": {"kind": "number", "step": 1, "min": 0, "max": 9},
        "housing": {"kind": "category", "levels": ["rent", "own"]},
    },
}


def warm_up(*models: Model) -> None:
    """Run the kernels that these models need once (without any: all kernels), so that what is not cached compiles.

    Examples
    --------
    >>> warm_up()
    >>> compiled()
    True
    """
    refused = pd.DataFrame({"income": [1, 2], "housing": ["rent", "rent"]})
    out_of_reach = 9.0
    for linear in sorted(_kinds(models)):
        policy: dict[str, Any] = {**_POLICY, "features": dict(_POLICY["features"])}  # type: ignore[call-overload]
        rows = refused
        if linear:
            del policy["features"]["housing"]
            rows = refused[["income"]]
        finder = Finder(_line() if linear else _forest(), policy, rows)
        for threshold in (0.5, out_of_reach):  # a plan, and a proof that there is none
            list(finder.find_many(rows, thresholds=threshold, threads=1, progress=False))


def compiled(*models: Model) -> bool:
    """Tell whether this machine's cache holds the kernels that these models need (without any: all kernels)."""
    return all(_is_cached(kernel) for linear in _kinds(models) for kernel in _entries(linear=linear))


def cache_dir() -> Path:
    """Return the folder in which the compiled kernels are kept."""
    return Path(_entries(linear=False)[0]._cache.cache_path)


def _kinds(models: tuple[Model, ...]) -> set[bool]:
    """Return whether linear kernels are needed, and whether others are."""
    return {isinstance(model.core, Additive) for model in models} or {False, True}


def _entries(*, linear: bool) -> tuple[Any, ...]:
    """Return the kernels that Python calls."""
    if linear:
        from .search import additive, listing

        return listing.list_choices, additive.solve, additive.furthest
    from .search import ensemble

    return (ensemble.solve_rows,)


def _is_cached(kernel: Any) -> bool:
    """Numba's index of a function is empty where the source has changed since, or nothing was compiled."""
    if not hasattr(kernel, "signatures"):  # plain Python was asked for (NUMBA_DISABLE_JIT)
        return True
    return bool(kernel.signatures) or bool(kernel._cache._cache_file._load_index())


def _forest() -> Model:
    """Two stumps: income at least 5, and housing owned."""
    core = Trees(
        columns=(Column("income"), Column("housing", ("rent", "own"))),
        feature=np.array([0, -1, -1, 1, -1, -1], np.int32),
        threshold=np.array([5.0, np.nan, np.nan, np.nan, np.nan, np.nan]),
        members=np.array([-1, -1, -1, 0, -1, -1], np.int32),
        sets=np.array([[True, False]]),
        missing_left=np.zeros(6, dtype=bool),
        left=np.array([1, 0, 0, 4, 0, 0], np.int32),
        right=np.array([2, 0, 0, 5, 0, 0], np.int32),
        value=np.array([0.0, 0.0, 1.0, 0.0, 0.0, 1.0]),
        roots=np.array([0, 3], np.int32),
        base=0.0,
    )
    return _model(core, lambda matrix: evaluate(core, matrix))


def _line() -> Model:
    core = Additive.linear((Column("income"),), np.array([0.25]), -1.0)
    return _model(core, lambda matrix: matrix @ core.weights + core.intercept)


def _model(core: Trees | Additive, raw: Any) -> Model:
    return Model(name="warm-up", core=core, score=raw, raw=raw, squash=lambda x: x, sha256="sha256:0")
