"""The hard tail: 500 deep trees over dozens of informative features, most of them free; made here, trained once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recourse import Policy

from . import Workload

if TYPE_CHECKING:
    import xgboost

SEED = 0
FREE = (20, 100)
MAX_CHANGES = (3, None)
STEP = 0.1  # of every feature's grid; their standard deviations are 1 to 5


def load(free: int, max_changes: int | None, queries: int) -> Workload:
    """Return the first refused applicants when the `free` most important features may change.

    Costs are standard deviations and 0.1 a change; values stay within what the data hold.
    """
    rows, target = data()
    path = _trained(rows, target)
    booster = _booster(path)
    margin = booster.inplace_predict(rows, predict_type="margin")
    return Workload(
        name=f"tail-{free}-free-{'any' if max_changes is None else max_changes}-changes",
        model=path,
        policy=policy(rows, ranked(booster, rows)[:free], max_changes),
        population=rows,
        frame=rows[margin < 0].head(queries),
    )


def data() -> tuple[pd.DataFrame, np.ndarray]:
    """Return 60,000 rows of 100 features (40 informative, 20 redundant, the rest noise) and the classes."""
    from sklearn.datasets import make_classification

    values, target = make_classification(
        60_000, 100, n_informative=40, n_redundant=20, random_state=SEED, shuffle=False
    )
    order = np.random.default_rng(SEED).permutation(len(values))
    names = [f"x{j:02d}" for j in range(values.shape[1])]
    return pd.DataFrame(values[order], columns=names), target[order]


def ranked(booster: xgboost.Booster, rows: pd.DataFrame) -> list[str]:
    """Return the features by the gain of their splits, most first."""
    gain: dict[str, Any] = booster.get_score(importance_type="total_gain")
    return sorted(rows, key=lambda name: -gain.get(name, 0.0))


def policy(rows: pd.DataFrame, free: list[str], max_changes: int | None) -> Policy:
    """Write the policy: the free features move on a grid within the data, the others are fixed."""
    features = {
        name: {
            "kind": "number",
            "step": STEP,
            "min": float(np.floor(rows[name].min())),
            "max": float(np.ceil(rows[name].max())),
        }
        if name in free
        else {"kind": "number", "role": "fixed"}
        for name in rows
    }
    cost = {"unit": "std", "per_change": 0.1} | ({} if max_changes is None else {"max_changes": max_changes})
    return Policy.model_validate(
        {"decision": {"score": "decision_function", "threshold": 0.0}, "cost": cost, "features": features}
    )


def _trained(rows: pd.DataFrame, target: np.ndarray) -> Path:
    """Train the model on the first call and keep its file in the user's cache; return the file."""
    import xgboost

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairpath" / "benchmarks"
    path = cache / f"tail-500x6-xgboost-{xgboost.__version__}.ubj"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        parameters = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.1, "nthread": 2, "seed": SEED}
        booster = xgboost.train(parameters, xgboost.DMatrix(rows, target), num_boost_round=500)
        part = path.with_name(f"{os.getpid()}.{path.name}")
        booster.save_model(part)
        part.replace(path)
    return path


def _booster(path: Path) -> xgboost.Booster:
    import xgboost

    return xgboost.Booster({"nthread": 1}, model_file=str(path))
