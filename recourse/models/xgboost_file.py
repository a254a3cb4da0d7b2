"""XGBoost's model document, parsed and found whole before the library sees it, which a damaged one would crash."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from ..errors import ModelError

NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
CONSTANTS = {"T": True, "F": False, "Z": None, "N": None}
PER_NODE = (
    "left_children", "right_children", "split_indices", "split_conditions", "default_left", "split_type", "parents",
    "base_weights", "loss_changes", "sum_hessian",
)  # fmt: skip
NEEDED = PER_NODE[:5]
_NO_PARENT = (-1, 2**31 - 1)  # of a root
_TYPES = ("int", "float", "i", "q", "c")


def parse(content: bytes | bytearray) -> dict[str, Any]:
    """Return the learner of a JSON or UBJSON document, every array of it with the size and range it must have.

    Raises
    ------
    ModelError
        The document is truncated or damaged.
    """
    text = bytes(content)
    try:
        document = json.loads(text) if text[1:].lstrip()[:1] in (b'"', b"}") else _Ubjson(text).document()
        learner: dict[str, Any] = document["learner"]
        str(learner["objective"]["name"]), int(learner["learner_model_param"]["num_feature"])
        [int(learner["learner_model_param"].get(key, "0")) for key in ("num_class", "num_target")]
        if learner["gradient_booster"]["name"] == "gbtree":
            _check_model(learner)
    except _Damaged as error:
        raise ModelError(f"the XGBoost file is damaged: {error}; save the model again") from None
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError, struct.error) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else "it ends early or is not a model"
        raise ModelError(f"the XGBoost file is truncated or damaged: {what}; save the model again") from None
    return learner


class _Damaged(Exception):
    """What is wrong with a document that parses."""


class _Ubjson:
    """A reader of UBJSON as XGBoost writes it: big-endian, arrays of numbers typed and counted."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def document(self) -> dict[str, Any]:
        value = self.value(self.marker())
        if self.at != len(self.content) or not isinstance(value, dict):
            raise ValueError
        return value

    def marker(self) -> str:
        self.at += 1
        return chr(self.content[self.at - 1])

    def value(self, marker: str) -> Any:
        if marker == "{":
            return self.object()
        if marker == "[":
            return self.array()
        if marker in NUMBERS:
            return self.numbers(marker, 1)[0].item()
        if marker in "SH":
            return self.text(self.marker())
        if marker == "C":
            return self.marker()
        if marker not in CONSTANTS:
            raise ValueError
        return CONSTANTS[marker]

    def object(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        while (marker := self.marker()) != "}":
            key = self.text(marker)
            out[key] = self.value(self.marker())
        return out

    def array(self) -> Any:
        marker = self.marker()
        kind = ""
        if marker == "$":
            kind, marker = self.marker(), self.marker()
        if marker == "#":
            count = self.size(self.marker())
            return self.numbers(kind, count) if kind else [self.value(self.marker()) for _ in range(count)]
        out = []
        while marker != "]":
            out.append(self.value(marker))
            marker = self.marker()
        return out

    def text(self, marker: str) -> str:
        size = self.size(marker)
        self.at += size
        if self.at > len(self.content):
            raise ValueError
        return self.content[self.at - size : self.at].decode()

    def size(self, marker: str) -> int:
        size = int(self.numbers(marker, 1)[0])
        if size < 0:
            raise ValueError
        return size

    def numbers(self, marker: str, count: int) -> np.ndarray:
        if marker not in NUMBERS:
            raise ValueError
        dtype = np.dtype(NUMBERS[marker])
        out = np.frombuffer(self.content, dtype, count, self.at)
        self.at += count * dtype.itemsize
        return out.astype(dtype.newbyteorder("="))


def _check_model(learner: dict[str, Any]) -> None:
    model = learner["gradient_booster"]["model"]
    n_features = int(learner["learner_model_param"]["num_feature"])
    n_trees = int(model["gbtree_model_param"]["num_trees"])
    if not n_trees == len(model["trees"]) == len(model["tree_info"]):
        raise _Damaged(f"{len(model['trees'])} trees of {n_trees}")
    groups = max(1, *(int(learner["learner_model_param"].get(key, "0")) for key in ("num_class", "num_target")))
    if any(not 0 <= int(group) < groups for group in model["tree_info"]):
        raise _Damaged(f"it has trees for classes beyond its {groups}")
    indptr = np.asarray(model.get("iteration_indptr", range(n_trees + 1)))
    if indptr.ndim != 1 or indptr[0] != 0 or indptr[-1] != n_trees or np.any(np.diff(indptr) < 0):
        raise _Damaged("its rounds do not add up to its trees")
    for key in ("feature_names", "feature_types"):
        if len(learner.get(key, [])) not in (0, n_features):
            raise _Damaged(f"{key} holds {len(learner[key])} entries for {n_features} features")
    if not set(learner.get("feature_types", [])) <= set(_TYPES):
        raise _Damaged(f"its feature types are {sorted(set(learner['feature_types']))}, not some of {list(_TYPES)}")
    wild = next((name for name in learner.get("feature_names", []) if set("[]<") & set(name)), None)
    if wild is not None:
        raise _Damaged(f"XGBoost takes no feature name with [, ] or <, such as {wild!r}")
    for number, tree in enumerate(model["trees"]):
        _check_tree(tree, number, n_features)
    _check_categories(model.get("cats"), n_features)


def _check_tree(tree: dict[str, Any], number: int, n_features: int) -> None:
    if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
        return  # several targets, refused by name later
    n, deleted = int(tree["tree_param"]["num_nodes"]), int(tree["tree_param"].get("num_deleted", "0"))
    if not 0 <= deleted < n:
        raise _Damaged(f"{deleted} of the {n} nodes of tree {number} are deleted")
    for key in PER_NODE:
        if key in NEEDED or len(tree.get(key, [])):
            tree[key] = np.asarray(tree[key])
            if tree[key].shape != (n,):
                raise _Damaged(f"{key} of tree {number} has {tree[key].size} entries for {n} nodes")
    left, right = (tree[key].astype(np.int64) for key in ("left_children", "right_children"))
    parents = np.concatenate([left[left >= 0], right[left >= 0]])
    if (
        np.any(left < -1)
        or np.any(right < -1)
        or np.any((left < 0) != (right < 0))
        or np.any((parents < 1) | (parents >= n))
    ):
        raise _Damaged(f"tree {number} points to nodes that it does not have")
    if len(np.unique(parents)) != len(parents):
        raise _Damaged(f"tree {number} reaches a node on two paths")
    if "parents" in tree and len(tree["parents"]):  # the library follows them without looking
        up = tree["parents"].astype(np.int64)
        inner = np.flatnonzero(left >= 0)
        apart = (up[left[inner]] != inner) | (up[right[inner]] != inner)
        if np.any(apart) or np.any(((up < 0) | (up >= n)) & ~np.isin(up, _NO_PARENT)):
            raise _Damaged(f"the nodes of tree {number} do not know their parents")
    features = tree["split_indices"][left >= 0].astype(np.int64)
    if np.any((features < 0) | (features >= n_features)):
        raise _Damaged(f"tree {number} tests a feature beyond the {n_features} of the model")
    kinds = np.asarray(tree.get("split_type", []))
    nodes = np.asarray(tree.get("categories_nodes", []), dtype=np.int64)
    begin = np.asarray(tree.get("categories_segments", []), dtype=np.int64)
    size = np.asarray(tree.get("categories_sizes", []), dtype=np.int64)
    listed = np.asarray(tree.get("categories", []), dtype=np.int64)
    whole = (
        nodes.shape == begin.shape == size.shape
        and np.array_equal(np.sort(nodes), np.flatnonzero((kinds == 1) & (left >= 0) if len(kinds) else kinds))
        and not np.any((begin < 0) | (size < 0) | (begin + size > len(listed)))
        and not np.any((listed < 0) | (listed >= 1 << 24))
        and not np.any((kinds != 0) & (kinds != 1))
    )
    if not whole:
        raise _Damaged(f"the categories of tree {number} do not fit together")


def _check_categories(cats: dict[str, Any] | None, n_features: int) -> None:
    """The table of levels, which XGBoost keeps since 3.1."""
    if not cats or not len(cats["enc"]):
        return
    sizes = []
    for enc in cats["enc"]:
        if "offsets" in enc:
            bounds = np.asarray(enc["offsets"], dtype=np.int64)
            if len(bounds) and (bounds[0] != 0 or np.any(np.diff(bounds) < 0) or bounds[-1] != len(enc["values"])):
                raise _Damaged("the texts of its levels do not fit together")
            sizes.append(max(0, len(bounds) - 1))
        else:
            sizes.append(len(enc["values"]))
    bounds = np.asarray(cats["feature_segments"], dtype=np.int64)
    order = np.asarray(cats["sorted_idx"], dtype=np.int64)
    if len(sizes) != n_features or not np.array_equal(bounds, np.cumsum([0, *sizes])) or len(order) != bounds[-1]:
        raise _Damaged("its table of levels does not fit its features")
    for begin, size in zip(bounds[:-1], sizes, strict=True):
        if not np.array_equal(np.sort(order[begin : begin + size]), np.arange(size)):
            raise _Damaged("its table of levels is not in order")
