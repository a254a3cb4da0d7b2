"""Histogram gradient boosting of scikit-learn, native categories included."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd

from ..errors import SelfCheckFailed, UnsupportedModel
from .base import Column, Level
from .sklearn_reading import Estimator, Reading
from .trees import Trees


def read_hist_gradient_boosting(estimator: Estimator) -> Reading:
    """Read the predictors of a HistGradientBoostingClassifier.

    Its encoder turns categories into their positions and moves those columns to the front; our codes are the same
    positions. So the native predictors are given the encoder's output directly, and that our codes are its output is
    checked here, once, for every level.
    """
    native, sign, position = estimator.native, estimator.sign, estimator.position
    encoder = native._preprocessor
    levels = _levels(estimator)
    order = _encoded_order(estimator)
    if encoder is not None:
        _check_encoder(estimator, encoder, levels, order)
        native._preprocessor = None
    core = _core(estimator, levels, order)
    sizes = np.array([np.inf if column.levels is None else len(column.levels) for column in core.columns])[order]

    def encode(X: np.ndarray) -> np.ndarray:
        encoded = np.ascontiguousarray(X[:, order])
        encoded[encoded >= sizes] = np.nan  # what the encoder makes of an unknown category
        return encoded

    def raw(X: np.ndarray) -> np.ndarray:
        if np.isinf(X).any():
            raise ValueError("the values must be finite")
        return sign * np.asarray(native._raw_predict(encode(X), n_threads=1))[:, 0]

    def squash(r: np.ndarray) -> np.ndarray:
        return np.asarray(native._loss.predict_proba(sign * r))[:, position]

    predictors = [stage[0] for stage in native._predictors]
    numbered = [_numbered(predictor) for predictor in predictors]
    known, places = native._bin_mapper.make_known_categories_bitsets()

    def leaves(X: np.ndarray, first: int, last: int) -> np.ndarray:
        encoded = encode(X)
        found = [predictor.predict(encoded, known, places, 1) for predictor in numbered[first:last]]
        return np.column_stack(found).astype(np.int64)

    def values(X: np.ndarray, tree: int) -> np.ndarray:
        return sign * np.asarray(predictors[tree].predict(encode(X), known, places, 1))

    plain = estimator.score == "decision_function"
    return Reading(
        core,
        raw=raw,
        score=raw if plain else lambda X: squash(raw(X)),
        squash=(lambda r: r) if plain else squash,
        leaves=leaves,
        leaf_id=np.concatenate([np.arange(len(predictor.nodes)) for predictor in predictors]),
        values=values,
    )


def _numbered(predictor: Any) -> Any:
    """Copy a predictor so that it answers with the number of the leaf instead of its value."""
    twin = copy.copy(predictor)
    twin.nodes = predictor.nodes.copy()
    twin.nodes["value"] = np.arange(len(twin.nodes))
    return twin


def _levels(estimator: Estimator) -> list[tuple[Level, ...] | None]:
    """Return each column's categories in the order of the encoder, None for numbers."""
    native = estimator.native
    levels: list[tuple[Level, ...] | None] = [None] * len(estimator.columns)
    if native._preprocessor is None:
        return levels
    encoder = native._preprocessor.named_transformers_["encoder"]
    for column, categories in zip(np.flatnonzero(native.is_categorical_), encoder.categories_, strict=True):
        levels[column] = tuple(_plain(c) for c in categories if not pd.isna(c))
    return levels


def _plain(category: Any) -> Level:
    """Return a category as Python spells it; whole numbers without a decimal point."""
    value = category.item() if isinstance(category, np.generic) else category
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str | int | float | bool):
        return value
    raise UnsupportedModel(
        f"HistGradientBoostingClassifier has a category {value!r} of type {type(value).__name__}; "
        "expected text, numbers or booleans. Turn the column into text before fitting."
    )


def _encoded_order(estimator: Estimator) -> np.ndarray:
    """Return the caller's columns in the order in which the predictors see them: categories first."""
    native = estimator.native
    n = len(estimator.columns)
    if native._preprocessor is None:
        return np.arange(n)
    return np.concatenate([np.flatnonzero(native.is_categorical_), np.flatnonzero(~native.is_categorical_)])


def _check_encoder(
    estimator: Estimator, encoder: Any, levels: list[tuple[Level, ...] | None], order: np.ndarray
) -> None:
    """Refuse to go on unless the native encoder maps level i to i and a number to itself, where we say it does."""
    rows = max(len(column) for column in levels if column is not None) + 1  # the last row is all missing
    categories = iter(encoder.named_transformers_["encoder"].categories_)
    values: list[np.ndarray] = []
    expected = np.full((rows, len(levels)), np.nan)
    for position, column in enumerate(levels):
        n = rows - 1 if column is None or column else 0
        codes = np.arange(n) % len(column) if column else np.arange(n)
        expected[:n, position] = codes
        known = next(categories) if column is not None else np.arange(n)
        dtype = np.float64 if known.dtype.kind in "biuf" else np.object_
        values.append(np.full(rows, np.nan, dtype=dtype))
        values[-1][:n] = known[codes]
    given: Any = pd.DataFrame(dict(zip(estimator.columns, values)))
    if not hasattr(encoder, "feature_names_in_"):
        given = given.to_numpy()
    got = np.asarray(encoder.transform(given), dtype=np.float64)
    if not np.array_equal(got, expected[:, order], equal_nan=True):
        raise SelfCheckFailed(
            f"{estimator.name}: its encoder does not number the categories as they were read. "
            "Please report the model's class and scikit-learn's version."
        )


def _core(estimator: Estimator, levels: list[tuple[Level, ...] | None], order: np.ndarray) -> Trees:
    native, sign = estimator.native, estimator.sign
    predictors = [stage[0] for stage in native._predictors]
    nodes = np.concatenate([predictor.nodes for predictor in predictors])
    sizes = [len(predictor.nodes) for predictor in predictors]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    offset = np.repeat(starts[:-1], sizes)
    leaf = nodes["is_leaf"].astype(bool)
    category = nodes["is_categorical"].astype(bool) & ~leaf
    width = max([1, *(len(column) for column in levels if column is not None)])
    bitsets = [np.asarray(predictor.raw_left_cat_bitsets).reshape(-1, 8) for predictor in predictors]
    first_set = np.repeat(np.concatenate([[0], np.cumsum([len(b) for b in bitsets])])[:-1], sizes)
    codes = np.arange(width)
    sets = ((np.concatenate(bitsets)[:, codes // 32] >> (codes % 32).astype(np.uint32)) & 1).astype(np.bool_)
    left = nodes["left"].astype(np.int64) + offset
    right = nodes["right"].astype(np.int64) + offset
    feature = order[np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64)]
    return Trees(
        columns=tuple(Column(name, column) for name, column in zip(estimator.columns, levels)),
        feature=np.where(leaf, -1, feature).astype(np.int32),
        threshold=np.where(leaf | category, np.nan, np.nextafter(nodes["num_threshold"], np.inf)),
        members=np.where(category, nodes["bitset_idx"] + first_set, -1).astype(np.int32),
        sets=sets,
        missing_left=nodes["missing_go_to_left"].astype(bool) & ~leaf,
        left=np.where(leaf, -1, left).astype(np.int32),
        right=np.where(leaf, -1, right).astype(np.int32),
        value=np.where(leaf, sign * nodes["value"], 0.0),
        roots=starts[:-1].astype(np.int32),
        base=sign * float(native._baseline_prediction[0, 0]),
    )
