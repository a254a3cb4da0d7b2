"""CatBoost's model as JSON, parsed and found whole."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ModelError, UnsupportedModel


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A model cut into its parts; every split names a feature that is there, every tree has its leaves."""

    names: tuple[str, ...]  # of all columns, in the order of the data
    numbers: dict[int, int]  # index among the numeric features -> column
    categories: frozenset[int]  # columns
    category: dict[int, int]  # index among the categorical features -> column
    missing_right: frozenset[int]  # numeric columns whose missing values pass every border
    trees: Sequence[dict[str, Any]]
    scale: float
    bias: float
    outputs: int  # raw scores of each row
    classes: tuple[Any, ...]
    kinds: frozenset[str]  # kinds of splits
    strange: tuple[str, ...]  # features of texts and embeddings

    def column_of(self, split: dict[str, Any]) -> int:
        """Return the column that a split tests."""
        if split["split_type"] == "OneHotFeature":
            return self.category[int(split["cat_feature_index"])]
        return self.numbers[int(split["float_feature_index"])]

    def refuse(self, name: str) -> None:
        """Refuse what trees of tests on single columns cannot say.

        Raises
        ------
        UnsupportedModel
            Naming what it is, and how to fit a model without it.
        """
        if self.strange:
            raise UnsupportedModel(
                f"{name} has text or embedding features ({', '.join(self.strange)}), which cannot be read exactly. "
                "Fit it without them, or take it as a black box: black_box=True"
            )
        if not self.kinds <= {"FloatFeature", "OneHotFeature"}:
            names = ", ".join(repr(self.names[j]) for j in sorted(self.categories))
            raise UnsupportedModel(
                f"{name} replaces categories ({names}) by counts of the target, which cannot be read exactly. Fit it "
                "with one_hot_max_size at least their largest number of levels (at most 255), or take it as a black "
                "box: black_box=True"
            )
        if self.outputs > 1:
            raise UnsupportedModel(
                f"{name} has {self.outputs} raw scores for each row; recourse reads losses of one, such as Logloss"
            )
        if self.scale != 1.0:
            raise UnsupportedModel(f"{name} was scaled by {self.scale!r}; recourse reads models of scale 1")


def parse(content: bytes) -> Document:
    """Return the parts of a model that ``save_model(..., format="json")`` wrote.

    Raises
    ------
    ModelError
        The document is truncated or damaged.
    """
    try:
        return _parse(json.loads(content))
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error) or "it ends early"
        raise ModelError(f"the CatBoost file is truncated or damaged: {what}; save the model again") from None


def _parse(document: dict[str, Any]) -> Document:
    info = document["features_info"]
    numeric, categorical = info.get("float_features", []), info.get("categorical_features", [])
    strange = [*info.get("text_features", []), *info.get("embedding_features", [])]
    columns = {int(f["flat_feature_index"]): _name(f) for f in [*numeric, *categorical, *strange]}
    names = tuple(columns.get(j, str(j)) for j in range(max(columns, default=-1) + 1))
    trees = document["oblivious_trees"] if "oblivious_trees" in document else document["trees"]
    scale, bias = document["scale_and_bias"]
    outputs = max(1, len(bias))
    out = Document(
        names=names,
        numbers={int(f["feature_index"]): int(f["flat_feature_index"]) for f in numeric},
        categories=frozenset(int(f["flat_feature_index"]) for f in categorical),
        category={int(f["feature_index"]): int(f["flat_feature_index"]) for f in categorical},
        missing_right=frozenset(
            int(f["flat_feature_index"]) for f in numeric if f.get("nan_value_treatment") == "AsTrue"
        ),
        trees=trees,
        scale=float(scale),
        bias=float(bias[0]) if bias else 0.0,
        outputs=outputs,
        classes=tuple(_classes(document.get("model_info", {}))),
        kinds=frozenset(split["split_type"] for tree in trees for split in _splits(tree)),
        strange=tuple(_name(f) for f in strange),
    )
    for number, tree in enumerate(trees):
        for split in _splits(tree):
            if split["split_type"] in ("FloatFeature", "OneHotFeature"):
                out.column_of(split)
                float(split["border"] if split["split_type"] == "FloatFeature" else split["value"])
        values = tree["leaf_values"] if "splits" in tree else _leaves(tree)
        if "splits" in tree and len(values) != outputs << len(tree["splits"] or ()):
            raise ValueError(f"tree {number} has {len(values)} leaves for {len(tree['splits'] or ())} splits")
        if not all(math.isfinite(float(v)) for v in values if not isinstance(v, list)):
            raise ValueError(f"a leaf of tree {number} is no number")
    return out


def _name(feature: dict[str, Any]) -> str:
    return str(feature.get("feature_id") or feature["flat_feature_index"])


def _classes(info: dict[str, Any]) -> list[Any]:
    """The labels of the classes; a loss of classes without labels is about 0 and 1."""
    params = info.get("class_params")
    params = json.loads(params) if isinstance(params, str) else params or {}
    return list(params.get("class_names") or params.get("class_to_label") or [])


def _splits(tree: dict[str, Any]) -> list[dict[str, Any]]:
    if "splits" in tree:
        return tree["splits"] or []
    out, stack = [], [tree]
    while stack:
        node = stack.pop()
        if "split" in node:
            out.append(node["split"])
            stack += [node["left"], node["right"]]
    return out


def _leaves(tree: dict[str, Any]) -> list[Any]:
    out, stack = [], [tree]
    while stack:
        node = stack.pop()
        if "split" in node:
            stack += [node["left"], node["right"]]
        else:
            out.append(node["value"])
    return out
