"""XGBoost's boosters, wrappers and files as neutral trees."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import DataError, ModelError, UnsupportedModel
from .base import Column, Level, Model, RefusedCell, Wanted, fingerprint
from .categories import left_of, levels_note, native_codes, to_native, width_of
from .selfcheck import Native, self_check
from .trees import Trees
from .xgboost_file import parse

PROBABILITIES = ("binary:logistic", "reg:logistic")
MARGINS = ("binary:logitraw",)
SUPPORTED = "Supported: tree boosters (gbtree) with the objective binary:logistic, reg:logistic or binary:logitraw"


def read(source: Any, wanted: Wanted) -> Model:
    """Read a Booster or an XGBClassifier.

    A Booster predicts with all its trees, a classifier up to its best iteration if it stopped early.
    """
    xgb = _library()
    name = f"xgboost.{type(source).__name__}"
    if isinstance(source, xgb.Booster):
        return _read(name, source.save_raw("ubj"), wanted, cut=False, source=source)
    if not isinstance(source, xgb.XGBClassifier):
        raise UnsupportedModel(
            f"{name} cannot be read exactly. {SUPPORTED}, as Booster, XGBClassifier (random forests too) or file"
        )
    try:
        booster = source.get_booster()
    except Exception:
        raise ModelError(f"the {name} is not fitted; call fit first") from None
    if source.missing is not None and not np.isnan(float(source.missing)):
        raise UnsupportedModel(
            f"{name} takes {source.missing!r} for missing; recourse only knows NaN. Replace it by NaN and fit again"
        )
    return _read(name, booster.save_raw("ubj"), wanted, cut=True, source=booster)


def read_file(content: bytes, wanted: Wanted) -> Model:
    """Read a file that ``save_model`` wrote, as ``XGBClassifier.load_model`` would use it."""
    _library()
    return _read("xgboost.Booster", bytearray(content), wanted, cut=True, source=None)


def _library() -> Any:
    try:
        import xgboost
    except ImportError:
        raise UnsupportedModel("this model needs the library that made it: pip install 'fairpath[xgboost]'") from None
    return xgboost


def _own(content: bytearray) -> Any:
    """A booster of our own, on one thread, so that the caller's stays as it is."""
    xgb = _library()
    try:
        booster = xgb.Booster(model_file=content)
    except (xgb.core.XGBoostError, ValueError, TypeError) as error:
        raise ModelError(f"XGBoost cannot load the model: {_first_line(error)}") from None
    booster.set_param({"nthread": 1})
    return booster


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip() and "[bt]" not in line]
    return lines[0].partition(": ")[2] or lines[0] if lines else "no reason given"


def _read(name: str, content: bytearray, wanted: Wanted, *, cut: bool, source: Any | None) -> Model:
    learner = parse(content)
    _refuse(name, learner, wanted)
    booster = _own(content)
    notes: tuple[str, ...] = ()
    positive = wanted.positive(name, (0, 1))
    rounds = booster.num_boosted_rounds()
    best = booster.attr("best_iteration")
    if best is not None and best.isdecimal() and int(best) + 1 < rounds:
        if cut:
            rounds = int(best) + 1
            notes += (f"early stopping: the first {rounds} rounds are used, as XGBClassifier.predict_proba does",)
        else:
            notes += (f"all {rounds} rounds are used, as Booster.predict does, though the best iteration was {best}",)
    booster, learner = _flat(booster, learner, rounds)
    empty = _empty(learner)
    base = float(empty.predict(_library().DMatrix(np.zeros((1, 1)), nthread=1), output_margin=True)[0])
    columns, codes, listed = _columns(name, learner, wanted)
    core, leaf_id = _trees(learner, columns, codes, base, positive=positive)
    notes += levels_note(columns, listed)
    moved = {j: table for j, table in codes.items() if not np.array_equal(table, np.arange(len(table)))}
    margins = wanted.score == "decision_function"
    native = _native(booster, empty, learner, leaf_id, moved, positive=positive, margins=margins)
    judge = native
    if source is not None:  # our booster went through a document: the caller's must agree
        shown = _native(source, empty, learner, leaf_id, moved, positive=positive, margins=margins, rounds=rounds)
        judge = replace(native, raw=shown.raw, score=shown.score)
    checked = self_check(name, core, judge)
    return Model(name, core, native.score, native.raw, native.squash, fingerprint(core), checked, notes)


def _refuse(name: str, learner: dict[str, Any], wanted: Wanted) -> None:
    """Name what cannot be read exactly."""
    kind = learner["gradient_booster"]["name"]
    objective = learner["objective"]["name"]
    classes = int(learner["learner_model_param"].get("num_class", "0"))
    targets = int(learner["learner_model_param"].get("num_target", "1"))
    if classes > 2 or targets > 1 or objective.startswith("multi:"):
        what = f"{classes} classes" if classes > 1 else f"{targets} targets" if targets > 1 else objective
        raise UnsupportedModel(f"{name} has {what}; recourse needs a classifier of two classes. {SUPPORTED}")
    if kind != "gbtree":
        raise UnsupportedModel(
            f"{name} with booster {kind!r} cannot be read exactly. {SUPPORTED}. A route for black boxes is planned"
        )
    if objective not in PROBABILITIES + MARGINS:
        raise UnsupportedModel(
            f"{name} with objective {objective!r} cannot be read exactly. {SUPPORTED}. "
            "A route for black boxes is planned"
        )
    if objective in MARGINS and wanted.score == "probability":
        raise ModelError(
            f"{name} with objective {objective!r} gives margins, not probabilities; "
            'set decision.score = "decision_function" and a threshold on the margin'
        )


def _flat(booster: Any, learner: dict[str, Any], rounds: int) -> tuple[Any, dict[str, Any]]:
    """The first rounds only, one tree a round, so that the library can be asked about each tree."""
    model = learner["gradient_booster"]["model"]
    n = int(model.get("iteration_indptr", range(len(model["trees"]) + 1))[rounds])
    if n == len(model["trees"]) == rounds:
        return booster, learner
    model["trees"], model["tree_info"] = model["trees"][:n], model["tree_info"][:n]
    model["gbtree_model_param"] |= {"num_parallel_tree": "1", "num_trees": str(n)}
    model["iteration_indptr"] = list(range(n + 1))
    return _own(_document(learner)), learner


def _empty(learner: dict[str, Any]) -> Any:
    """The same learner without trees: what it makes of a margin is the library's own squash."""
    outer = dict(learner["gradient_booster"])
    outer["model"] = outer["model"] | {
        "trees": [],
        "tree_info": [],
        "iteration_indptr": [0],
        "gbtree_model_param": outer["model"]["gbtree_model_param"] | {"num_trees": "0"},
    }
    # an average taken from data would be taken again where there are no trees yet
    fixed = {"learner_model_param": learner["learner_model_param"] | {"boost_from_average": "0"}}
    plain: dict[str, list[str]] = {"feature_names": [], "feature_types": []}
    return _own(_document(learner | fixed | plain | {"gradient_booster": outer}))


def _document(learner: dict[str, Any]) -> bytearray:
    version = [int(part) for part in _library().__version__.split(".")[:3]]
    return bytearray(
        json.dumps({"learner": learner, "version": version}, default=lambda array: array.tolist()).encode()
    )


def _columns(
    name: str, learner: dict[str, Any], wanted: Wanted
) -> tuple[tuple[Column, ...], dict[int, np.ndarray], list[int]]:
    """The inputs, for each categorical one XGBoost's integer of every level, and those whose levels we were told."""
    n = int(learner["learner_model_param"]["num_feature"])
    names = wanted.named(name, learner.get("feature_names"), n)
    types = list(learner.get("feature_types") or ["q"] * n)
    for document in learner["gradient_booster"]["model"]["trees"]:  # a file of another language may lack the types
        for node in np.asarray(document.get("categories_nodes", []), dtype=np.int64).tolist():
            types[int(document["split_indices"][node])] = "c"
    # since 3.1 the file spells out each feature's levels, in the order of their codes
    stored = (learner["gradient_booster"]["model"].get("cats") or {}).get("enc") or [{"values": []}] * n
    columns, codes, listed = [], {}, []
    for j, (column, kind, spelt) in enumerate(zip(names, types, stored, strict=True)):
        if kind != "c":
            columns.append(Column(column))
            continue
        levels = _spelt(name, column, spelt, wanted) if len(spelt["values"]) else wanted.levels_of(name, column)
        columns.append(Column(column, levels))
        codes[j] = np.arange(len(levels))
        if not len(spelt["values"]):
            codes[j] = native_codes(column, levels)
            _refuse_places(name, column, levels, codes[j], _tested_codes(learner, j))
            listed.append(j)
    return tuple(columns), codes, listed


def _tested_codes(learner: dict[str, Any], j: int) -> set[int]:
    """Return the codes of a column that the trees single out."""
    found: set[int] = set()
    for document in learner["gradient_booster"]["model"]["trees"]:
        spans = zip(
            np.asarray(document.get("categories_nodes", []), dtype=np.int64).tolist(),
            document.get("categories_segments", []),
            document.get("categories_sizes", []),
            strict=True,
        )
        for node, begin, size in spans:
            if int(document["split_indices"][node]) == j:
                found.update(int(code) for code in document["categories"][begin : begin + size])
    return found


def _refuse_places(name: str, column: str, levels: tuple[Level, ...], codes: np.ndarray, tested: set[int]) -> None:
    """Refuse numbers as levels where the trees' codes are not these numbers, but could be their places."""
    strange = sorted(tested - set(codes.tolist()))
    if strange and max(tested) < len(levels):
        raise ModelError(
            f"{name} tests {column!r} for the code {strange[0]}, which is not among the policy's levels "
            f"{', '.join(map(str, levels))}: its codes may be their places, as they are for a pandas category. "
            "Save the model again with XGBoost 3.1 or later, which stores the levels, or fit it on the numbers"
        )


def _spelt(name: str, column: str, enc: dict[str, Any], wanted: Wanted) -> tuple[Level, ...]:
    """Return the levels that the model stores."""
    if "offsets" not in enc:
        return tuple(np.asarray(enc["values"]).tolist())
    text = np.array(enc["values"], dtype=np.int8).tobytes()
    bounds = np.asarray(enc["offsets"]).tolist()
    if text.isascii():
        return tuple(text[a:b].decode() for a, b in pairwise(bounds))
    # XGBoost counts characters where it should count bytes and so cuts the text short: only a check is left of it
    if column not in wanted.levels:
        raise ModelError(
            f"{name} stores the levels of {column!r} damaged, as XGBoost does with letters beyond ASCII; "
            f"list them in the policy, [features.{column}] levels = [...], in the order of the codes"
        )
    levels = wanted.levels_of(name, column)
    lengths = np.diff(bounds).tolist()
    if [len(str(x)) for x in levels] != lengths or not "".join(map(str, levels)).encode().startswith(text):
        raise ModelError(
            f"the policy's levels of {column!r} are not those of {name} in the order of its codes: their lengths are "
            f"{lengths} letters and they begin {text.decode(errors='replace')!r}"
        )
    return levels


def _trees(
    learner: dict[str, Any],
    columns: tuple[Column, ...],
    codes: dict[int, np.ndarray],
    base: float,
    *,
    positive: bool,
) -> tuple[Trees, np.ndarray]:
    """All trees in one set of arrays, and the library's number of each node."""
    documents = learner["gradient_booster"]["model"]["trees"]
    width = width_of(columns)
    parts: list[tuple[np.ndarray, ...]] = []
    sets: list[np.ndarray] = []
    roots, start = [], 0
    for document in documents:
        roots.append(start)
        part = _tree(document, start, codes, width, sets)
        start += len(part[0])
        parts.append(part)
    joined = [np.concatenate(field) for field in zip(*parts, strict=True)] if parts else None
    if joined is None:
        raise ModelError("the XGBoost model has no trees; fit it first")
    feature, threshold, members, missing_left, left, right, value, leaf_id = joined
    table = np.array(sets, dtype=bool).reshape(len(sets), width)
    core = Trees(
        columns, feature, threshold, members, table, missing_left, left, right,
        value if positive else -value, np.array(roots, dtype=np.int32), base if positive else -base,
        single=True, cast_single=True,
    )  # fmt: skip
    return core, leaf_id


def _tree(
    document: dict[str, Any], start: int, codes: dict[int, np.ndarray], width: int, sets: list[np.ndarray]
) -> tuple[np.ndarray, ...]:
    left = document["left_children"].astype(np.int32)
    right = document["right_children"].astype(np.int32)
    condition = document["split_conditions"].astype(np.float32).astype(np.float64)
    leaf = left < 0
    category = np.asarray(document.get("split_type", [])) == 1
    category = category if len(category) else np.zeros(len(left), dtype=bool)
    feature = np.where(leaf, -1, document["split_indices"]).astype(np.int32)
    members = np.full(len(left), -1, dtype=np.int32)
    spans = zip(
        document.get("categories_nodes", []),
        document.get("categories_segments", []),
        document.get("categories_sizes", []),
        strict=True,
    )
    for node, begin, size in spans:
        listed = document["categories"][begin : begin + size]
        members[node] = len(sets)
        sets.append(left_of(codes[int(feature[node])], listed, width, listed_left=False))
    threshold = np.where(leaf | category, np.nan, condition)
    value = np.where(leaf, condition, 0.0)
    missing_left = document["default_left"].astype(bool) & ~leaf
    here = np.arange(len(left))
    if int(document["tree_param"].get("num_deleted", "0")):
        here = _reached(left, right)
    place = np.full(len(left), -1, dtype=np.int32)
    place[here] = start + np.arange(len(here), dtype=np.int32)
    to_left = np.where(leaf, -1, place[left])[here].astype(np.int32)
    to_right = np.where(leaf, -1, place[right])[here].astype(np.int32)
    return feature[here], threshold[here], members[here], missing_left[here], to_left, to_right, value[here], here


def _reached(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Nodes that are still in the tree; pruned ones stay in the file."""
    reached, level = [np.zeros(1, dtype=np.int64)], np.zeros(1, dtype=np.int64)
    while len(level):
        level = level[left[level] >= 0]
        level = np.concatenate([left[level], right[level]]).astype(np.int64)
        reached.append(level)
    return np.sort(np.concatenate(reached))


def _refusal(cells: np.ndarray, names: list[str] | None, error: Exception) -> DataError:
    large = np.argwhere(np.abs(cells) > np.finfo(np.float32).max)
    if not len(large):
        return DataError(f"XGBoost refuses these rows: {_first_line(error)}")
    row, j = large[0]
    why = f"the value is {float(cells[row, j])!r}, and XGBoost computes in float32, which ends at 3.4e38. Correct it"
    return RefusedCell(names[j] if names else str(j), int(row), why)


def _native(
    booster: Any,
    empty: Any,
    learner: dict[str, Any],
    leaf_id: np.ndarray,
    moved: dict[int, np.ndarray],
    *,
    positive: bool,
    margins: bool,
    rounds: int = 0,  # how many the booster is to use; 0 is all
) -> Native:
    xgb = _library()
    types = learner.get("feature_types") or None
    names = learner.get("feature_names") or None
    held: list[tuple[np.ndarray, Any]] = []

    def matrix_of(matrix: np.ndarray, margin: np.ndarray | None = None) -> Any:
        cells = np.ascontiguousarray(to_native(matrix, moved), dtype=np.float64)
        try:
            return xgb.DMatrix(
                cells, feature_names=names, feature_types=types, base_margin=margin, nthread=1, enable_categorical=True
            )
        except xgb.core.XGBoostError as error:
            raise _refusal(cells, names, error) from error

    def oriented(margin: np.ndarray) -> np.ndarray:
        return np.asarray(margin if positive else -margin, dtype=np.float64)

    def favourable(p: np.ndarray) -> np.ndarray:
        return np.asarray(p if positive else np.float32(1.0) - p, dtype=np.float64)

    def raw(matrix: np.ndarray) -> np.ndarray:
        return oriented(booster.predict(matrix_of(matrix), output_margin=True, iteration_range=(0, rounds)))

    def score(matrix: np.ndarray) -> np.ndarray:
        return favourable(booster.predict(matrix_of(matrix), iteration_range=(0, rounds)))

    def squash(raw: np.ndarray) -> np.ndarray:
        margin = np.asarray(raw if positive else -raw, dtype=np.float32)
        return favourable(empty.predict(xgb.DMatrix(np.zeros((len(margin), 1)), base_margin=margin, nthread=1)))

    def same(raw: np.ndarray) -> np.ndarray:
        return np.asarray(raw, dtype=np.float64)

    def without_base(matrix: np.ndarray) -> Any:
        if not held or held[0][0] is not matrix:  # the self-check asks for one tree after the other
            held[:] = [(matrix, matrix_of(matrix, np.zeros(len(matrix), dtype=np.float32)))]
        return held[0][1]

    def leaves(matrix: np.ndarray, first: int, last: int) -> np.ndarray:
        found = booster[first:last].predict(without_base(matrix), pred_leaf=True, strict_shape=True)
        return np.asarray(found).reshape(len(matrix), -1).astype(np.int64)

    def values(matrix: np.ndarray, tree: int) -> np.ndarray:
        cells = without_base(matrix)
        return oriented(booster.predict(cells, output_margin=True, iteration_range=(tree, tree + 1)))

    if margins:
        return Native(raw, raw, same, leaves, leaf_id, values)
    return Native(raw, score, squash, leaves, leaf_id, values)
