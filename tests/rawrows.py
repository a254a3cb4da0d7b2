"""Raw rows that a model may meet: as in the data, on its thresholds and beside them, missing, never seen, far out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from recourse.models.base import Model
from recourse.models.trees import Trees

STRANGE = ("never seen", "", "Own", "ünseen ☂")


def adversarial_rows(
    model: Model,
    data: pd.DataFrame,
    n: int,
    seed: int,
    *,
    missing: bool | set[str] = True,
    numbers: tuple[float, ...] = (0.0, -1.0, 1e30, -1e30),
) -> pd.DataFrame:
    """Return raw rows for a model that was fitted on `data`: a frame with the dtypes of the data, made float or object.

    Each column draws from the data, from the thresholds that the model has on it and the doubles beside them, from
    `numbers`, from missing values (everywhere, or in the columns named), and from levels that nobody has seen where the
    model takes those.
    """
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {}
    known = {column.name: (j, column) for j, column in enumerate(model.columns)}
    for name in data.columns:
        if name not in known:
            out[name] = data[name].iloc[rng.integers(0, len(data), n)].to_numpy()
            continue
        j, column = known[name]
        values = data[name].dropna()
        words = not (pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values))
        pools: list[list[Any]] = [values.tolist()] * 3
        if not words and column.levels is None:
            edge = _thresholds(model, j)
            beside = np.concatenate([edge, np.nextafter(edge, -np.inf), np.nextafter(edge, np.inf), list(numbers)])
            pools += [beside[np.isfinite(beside)].tolist()] * 3
        elif column.unseen:
            pools.append(list(STRANGE) if words else [1234.5, -7.25])
        if missing is True or (missing and name in missing):
            pools.append([None])
        which = rng.integers(0, len(pools), n)
        cells = [pools[k][int(rng.integers(0, len(pools[k])))] if pools[k] else None for k in which]
        if words:
            out[name] = pd.Series([np.nan if c is None else c for c in cells], dtype=object)
        else:
            out[name] = np.array([np.nan if c is None else float(c) for c in cells])
    return pd.DataFrame(out)


def _thresholds(model: Model, j: int) -> np.ndarray:
    core = model.core
    if isinstance(core, Trees):
        found = core.threshold[(core.feature == j) & (core.members < 0)]
        return np.unique(found[np.isfinite(found)])
    edges = [term.edges for term in getattr(core, "terms", ()) if term.column == j and term.edges is not None]
    return np.unique(np.concatenate([np.zeros(1), *edges]))
