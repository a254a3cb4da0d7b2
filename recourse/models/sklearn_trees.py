"""Trees, forests and gradient boosting of scikit-learn, read node by node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import UnsupportedModel
from .base import Column
from .sklearn_reading import Estimator, Reading
from .trees import Trees


def read_tree(estimator: Estimator) -> Reading:
    """Read a decision tree, whose score is its leaf."""
    return _votes(estimator, [estimator.native.tree_])


def read_forest(estimator: Estimator) -> Reading:
    """Read a forest, whose score is the mean of its trees' leaves, added in the order of ``estimators_``.

    With several jobs the library adds in the order in which threads finish, and its last digit differs from call to
    call; the score with ``n_jobs=1`` is the one that is explained.
    """
    return _votes(estimator, [tree.tree_ for tree in estimator.native.estimators_])


def _votes(estimator: Estimator, trees: list[Any]) -> Reading:
    native, position = estimator.native, estimator.position
    core = join_trees(
        estimator.columns,
        trees,
        [np.asarray(tree.value)[:, 0, position] for tree in trees],
        base=0.0,
        divisor=float(len(trees)),
    )

    def score(X: np.ndarray) -> np.ndarray:
        return np.asarray(native.predict_proba(X))[:, position]

    def values(X: np.ndarray, tree: int) -> np.ndarray:
        return np.asarray(trees[tree].predict(X.astype(np.float32)))[:, position]

    return Reading(
        core,
        raw=score,
        score=score,
        squash=lambda r: r,
        leaves=leaves_of(trees),
        leaf_id=leaf_numbers(trees),
        values=values,
    )


def read_gradient_boosting(estimator: Estimator) -> Reading:
    """Read gradient boosting: a constant start and every tree's leaves times the learning rate."""
    native, sign, position = estimator.native, estimator.sign, estimator.position
    trees = [stage[0].tree_ for stage in native.estimators_]
    core = join_trees(
        estimator.columns,
        trees,
        [sign * (native.learning_rate * np.asarray(tree.value)[:, 0, 0]) for tree in trees],
        base=sign * _start(estimator),
        divisor=1.0,
    )

    def raw(X: np.ndarray) -> np.ndarray:
        return sign * np.asarray(native.decision_function(X)).reshape(-1)

    def score(X: np.ndarray) -> np.ndarray:
        return np.asarray(native.predict_proba(X))[:, position]

    def squash(r: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # the exponential loss doubles its argument
            return np.asarray(native._loss.predict_proba(sign * r))[:, position]

    def values(X: np.ndarray, tree: int) -> np.ndarray:
        return sign * (native.learning_rate * np.asarray(trees[tree].predict(X.astype(np.float32))).reshape(-1))

    plain = estimator.score == "decision_function"
    return Reading(
        core,
        raw=raw,
        score=raw if plain else score,
        squash=(lambda r: r) if plain else squash,
        leaves=leaves_of(trees),
        leaf_id=leaf_numbers(trees),
        values=values,
    )


def leaves_of(trees: list[Any]) -> Callable[[np.ndarray, int, int], np.ndarray]:
    """Return the library's own answer to where rows end in trees first:last."""

    def leaves(X: np.ndarray, first: int, last: int) -> np.ndarray:
        single = X.astype(np.float32)
        return np.column_stack([tree.apply(single) for tree in trees[first:last]])

    return leaves


def leaf_numbers(trees: list[Any]) -> np.ndarray:
    """Return each node's number in its own tree, which is how the library numbers leaves."""
    return np.concatenate([np.arange(tree.node_count) for tree in trees])


def _start(estimator: Estimator) -> float:
    """Return the raw score before the first tree, where it is the same for everyone."""
    init = estimator.native.init_
    constant = ("prior", "most_frequent", "constant")
    known = type(init).__name__ == "DummyClassifier" and init.strategy in constant
    if not known and not (isinstance(init, str) and init == "zero"):
        raise UnsupportedModel(
            f"{estimator.name} starts from init={init!r}, which differs from row to row and cannot be read exactly. "
            f"Supported: init=None, init='zero' and a DummyClassifier with strategy {', '.join(constant)}. "
            "It can be explained as a black box, without proofs: black_box=True."
        )
    first = np.zeros((1, len(estimator.columns)), dtype=np.float32)
    return float(estimator.native._raw_predict_init(first)[0, 0])


def join_trees(
    columns: tuple[str, ...], trees: list[Any], values: list[np.ndarray], *, base: float, divisor: float
) -> Trees:
    """Join scikit-learn's trees, with the value of each node, in one set of arrays."""
    sizes = [int(tree.node_count) for tree in trees]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    left = np.concatenate([np.asarray(tree.children_left) for tree in trees])
    right = np.concatenate([np.asarray(tree.children_right) for tree in trees])
    leaf = left < 0
    offset = np.repeat(starts[:-1], sizes)
    threshold = first_single_above(np.concatenate([np.asarray(tree.threshold) for tree in trees]))
    missing = np.concatenate([np.asarray(tree.missing_go_to_left) for tree in trees]).astype(bool)
    return Trees(
        columns=tuple(Column(name) for name in columns),
        feature=np.where(leaf, -1, np.concatenate([np.asarray(tree.feature) for tree in trees])).astype(np.int32),
        threshold=np.where(leaf, np.nan, threshold),
        members=np.full(len(leaf), -1, dtype=np.int32),
        sets=np.zeros((0, 1), dtype=np.bool_),
        missing_left=missing & ~leaf,
        left=np.where(leaf, -1, left + offset).astype(np.int32),
        right=np.where(leaf, -1, right + offset).astype(np.int32),
        value=np.where(leaf, np.concatenate(values), 0.0),
        roots=starts[:-1].astype(np.int32),
        base=base,
        divisor=divisor,
        cast_single=True,
    )


def first_single_above(threshold: np.ndarray) -> np.ndarray:
    """Return the smallest float32 strictly above each float64, so that ``x >= it`` is ``not x <= threshold``."""
    with np.errstate(over="ignore"):  # beyond the largest float32 comes infinity, which no value reaches
        near = threshold.astype(np.float32)
        above = np.nextafter(near, np.float32(np.inf), dtype=np.float32)
    return np.where(near.astype(np.float64) > threshold, near, above).astype(np.float64)
