"""Models with thresholds and leaves put where a trap is, written into fitted ones of each library."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tests.native import Native


class Stump(NamedTuple):
    """A tree with one test; `below` is the leaf of small values (in forests a probability)."""

    column: int
    threshold: float
    below: float
    above: float


def stumps(library: str, trees: Sequence[Stump], names: Sequence[str]) -> Native:
    """Return a model whose trees are the given stumps, over number columns; XGBoost and LightGBM start from 0.5."""
    n = len(names)
    x = np.vstack([np.zeros((8, n)), np.ones((8, n))]) * np.arange(1, 17)[:, None]
    frame, target = pd.DataFrame(x, columns=list(names)), np.repeat([0, 1], 8)
    estimator = _WRITERS[library](frame, target, trees)
    return Native(estimator, tuple(names))


def _xgboost(frame: pd.DataFrame, target: np.ndarray, trees: Sequence[Stump]) -> Any:
    from xgboost import XGBClassifier

    estimator = XGBClassifier(n_estimators=len(trees), max_depth=1, min_child_weight=0, n_jobs=1, base_score=0.5)
    estimator.fit(frame, target)
    document = json.loads(bytes(estimator.get_booster().save_raw("json")))
    for written, tree in zip(document["learner"]["gradient_booster"]["model"]["trees"], trees, strict=True):
        assert len(written["split_conditions"]) == 3
        written["split_indices"][0] = tree.column
        written["split_conditions"] = [tree.threshold, tree.below, tree.above]
        written["base_weights"] = [0.0, tree.below, tree.above]
    out = XGBClassifier(n_jobs=1)
    out.load_model(bytearray(json.dumps(document).encode()))
    return out


def _lightgbm(frame: pd.DataFrame, target: np.ndarray, trees: Sequence[Stump]) -> Any:
    from lightgbm import Booster, LGBMClassifier

    estimator = LGBMClassifier(
        n_estimators=len(trees), num_leaves=2, min_child_samples=1, min_data_in_bin=1, n_jobs=1, verbose=-1
    ).fit(frame, target)
    text = estimator.booster_.model_to_string()
    # sizes of trees in bytes would no longer hold
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    parts = re.split(r"(?=^Tree=\d+$)", text, flags=re.MULTILINE)
    for i, tree in enumerate(trees):
        part = re.sub(r"^split_feature=.*$", f"split_feature={tree.column}", parts[i + 1], flags=re.MULTILINE)
        part = re.sub(r"^threshold=.*$", f"threshold={tree.threshold!r}", part, flags=re.MULTILINE)
        parts[i + 1] = re.sub(r"^leaf_value=.*$", f"leaf_value={tree.below!r} {tree.above!r}", part, flags=re.MULTILINE)
    estimator._Booster = Booster(model_str="".join(parts))
    return estimator


def _hist(frame: pd.DataFrame, target: np.ndarray, trees: Sequence[Stump]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    estimator = HistGradientBoostingClassifier(max_iter=len(trees), max_leaf_nodes=2, min_samples_leaf=1)
    estimator.fit(frame, target)
    for (predictor,), tree in zip(estimator._predictors, trees, strict=True):
        nodes = predictor.nodes
        nodes["feature_idx"][0], nodes["num_threshold"][0] = tree.column, tree.threshold
        nodes["value"][nodes["left"][0]], nodes["value"][nodes["right"][0]] = tree.below, tree.above
    return estimator


def _forest(frame: pd.DataFrame, target: np.ndarray, trees: Sequence[Stump]) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    estimator = RandomForestClassifier(
        n_estimators=len(trees), max_depth=1, bootstrap=False, n_jobs=1, random_state=0
    ).fit(frame, target)
    for member, tree in zip(estimator.estimators_, trees, strict=True):
        state = member.tree_.__getstate__()
        state["nodes"]["feature"][0], state["nodes"]["threshold"][0] = tree.column, tree.threshold
        left, right = state["nodes"]["left_child"][0], state["nodes"]["right_child"][0]
        state["values"][left, 0] = [1.0 - tree.below, tree.below]
        state["values"][right, 0] = [1.0 - tree.above, tree.above]
        member.tree_.__setstate__(state)
    return estimator


_WRITERS = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "hist_gradient_boosting": _hist,
    "random_forest": _forest,
}
