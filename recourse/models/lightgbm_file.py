"""LightGBM's model text, parsed and found whole before the library sees it, which a damaged one would crash."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from .base import Level

HEADER = ("num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "feature_names", "feature_infos")
SPLITS = ("split_feature", "decision_type", "left_child", "right_child")  # whole numbers, one a split
PER_SPLIT = ("split_gain", "threshold", "internal_value", "internal_weight", "internal_count")
PER_LEAF = ("leaf_value", "leaf_weight", "leaf_count")
OPTIONAL = ("split_gain", "internal_value", "internal_weight", "internal_count", "leaf_weight", "leaf_count")


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A model file cut into its parts; every tree's arrays have the sizes and ranges they must have."""

    header: Mapping[str, str]
    trees: tuple[Mapping[str, Any], ...]  # int num_leaves, num_cat; bool is_linear; arrays by name
    parameters: Mapping[str, str]
    levels: tuple[tuple[Level, ...], ...]  # of the pandas category columns, in their order
    plain: str  # the text as far as it predicts: of the rest, a damaged line would crash the library, too


def parse(text: str) -> Document:
    """Cut a model's text into header, trees and parameters.

    Raises
    ------
    ModelError
        The text is truncated or damaged.
    """
    for line in ("end of trees", "end of parameters"):
        if f"\n{line}" not in text:
            raise ModelError(f"the LightGBM file is truncated: it has no line {line!r}; save the model again")
    try:
        return _parse(text)
    except (_Damaged, KeyError, ValueError, IndexError, OverflowError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ModelError(f"the LightGBM file is damaged: {what}; save the model again") from None


class _Damaged(Exception):
    """What is wrong with a text."""


def _parse(text: str) -> Document:
    data = text.encode()
    starts = [match.start() + 1 for match in re.finditer(rb"\nTree=\d+\n", data)]
    end = data.index(b"\nend of trees") + 1
    if not starts or starts[-1] > end:
        raise _Damaged("it has no trees")
    header = _fields(data[: starts[0]])
    for key in HEADER:
        header[key]
    # the library cuts the text at these sizes, and comes to grief where they are wrong
    sizes = [int(size) for size in header["tree_sizes"].split()]
    if sizes != np.diff([*starts, end]).tolist():
        raise _Damaged("its trees do not have the sizes that it states")
    n_features = int(header["max_feature_idx"]) + 1
    for key in ("feature_names", "feature_infos"):
        if len(header[key].split()) != n_features:
            raise _Damaged(f"{key} holds {len(header[key].split())} entries for {n_features} features")
    if len(sizes) % max(1, int(header["num_tree_per_iteration"])):
        raise _Damaged("its trees do not fill its rounds")
    trees = [
        _tree(_tree_fields(data[a:b], i), i, n_features)
        for i, (a, b) in enumerate(zip(starts, [*starts[1:], end], strict=True))
    ]
    middle, _, tail = data[end:].decode().partition("\nend of parameters")
    parameters = dict(re.findall(r"^\[(\w+): ?(.*)\]$", middle, flags=re.MULTILINE))
    plain = f"{data[:end].decode()}end of trees\n\nparameters:\n\nend of parameters\n\npandas_categorical:null\n"
    return Document(header, tuple(trees), parameters, _levels(tail), plain)


def _levels(tail: str) -> tuple[tuple[Level, ...], ...]:
    """Levels as LightGBM for Python appends them on a line of their own."""
    _, found, line = tail.rpartition("\npandas_categorical:")
    levels = json.loads(line) if found else None
    if levels is not None and not (isinstance(levels, list) and all(isinstance(column, list) for column in levels)):
        raise _Damaged("the line pandas_categorical does not list levels")
    return tuple(tuple(column) for column in levels or [])


def _fields(section: bytes) -> dict[str, str]:
    lines = (line.partition("=") for line in section.decode().split("\n") if line)
    return {key: value for key, _, value in lines}


def _tree_fields(section: bytes, number: int) -> dict[str, str]:
    """The lines of one tree, which the library reads in threads of its own and without mercy."""
    for line in section.rstrip(b"\n").split(b"\n"):
        if not re.fullmatch(rb"(Tree|[a-z_]+)=[-+.0-9a-z ]*", line):
            raise _Damaged(f"tree {number} has the line {line[:40].decode(errors='replace')!r}")
    return _fields(section)


def _tree(fields: dict[str, str], number: int, n_features: int) -> dict[str, Any]:
    n, n_cat = int(fields["num_leaves"]), int(fields["num_cat"])
    if n < 1 or n_cat < 0:
        raise _Damaged(f"tree {number} has {n} leaves")
    float(fields["shrinkage"])
    out: dict[str, Any] = {
        "num_leaves": n,
        "num_cat": n_cat,
        "is_linear": fields.get("is_linear", "0") != "0",
        "leaf_value": _array(fields, "leaf_value", number, float, n),
    }
    if n == 1:
        return out
    for key in SPLITS:
        out[key] = _array(fields, key, number, int, n - 1)
    for key in PER_SPLIT + PER_LEAF:
        if fields.get(key) or key not in OPTIONAL:
            out[key] = _array(fields, key, number, float, n if key in PER_LEAF else n - 1)
    _check_shape(out, number, n_features)
    if n_cat:
        bounds = out["cat_boundaries"] = _array(fields, "cat_boundaries", number, int, n_cat + 1)
        if bounds[0] != 0 or np.any(np.diff(bounds) < 0):
            raise _Damaged(f"the categories of tree {number} do not fit together")
        out["cat_threshold"] = _array(fields, "cat_threshold", number, int, int(bounds[-1]))
    which = out["threshold"][(out["decision_type"] & 1) == 1]
    if np.any((which < 0) | (which >= n_cat)):
        raise _Damaged(f"the categories of tree {number} do not fit together")
    return out


def _array(fields: dict[str, str], key: str, number: int, kind: Any, size: int) -> np.ndarray:
    words = fields[key].split(" ")
    if len(words) != size:
        raise _Damaged(f"{key} of tree {number} has {len(words)} entries, not {size}")
    return np.array([kind(word) for word in words], dtype=np.int64 if kind is int else np.float64)


def _check_shape(tree: dict[str, Any], number: int, n_features: int) -> None:
    """Every split but the first, and every leaf, hangs below exactly one split, and all of them below the first."""
    n = tree["num_leaves"]
    children = np.stack([tree["left_child"], tree["right_child"]], axis=1)
    if not np.array_equal(np.sort(children, axis=None), np.delete(np.arange(-n, n - 1), n)):
        raise _Damaged(f"tree {number} does not hang together")
    reached, level = 0, np.zeros(1, dtype=np.int64)
    while len(level):
        reached += len(level)
        level = children[level].ravel()
        level = level[level >= 0]
    if reached != n - 1:
        raise _Damaged(f"tree {number} does not hang together")
    features, kinds = tree["split_feature"], tree["decision_type"]
    if np.any((features < 0) | (features >= n_features)) or np.any((kinds < 0) | (kinds > 15)):
        raise _Damaged(f"tree {number} tests a feature beyond the {n_features} of the model")
