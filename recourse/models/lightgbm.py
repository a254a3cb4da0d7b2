"""LightGBM's boosters, wrappers and text files as neutral trees."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedModel
from .base import Column, Level, Model, Wanted, fingerprint
from .categories import left_of, levels_note, native_codes, to_native, width_of
from .lightgbm_file import Document, parse
from .selfcheck import Native, self_check
from .trees import Trees

PROBABILITIES = ("binary", "cross_entropy", "xentropy")
SUPPORTED = (
    "Supported: LightGBM's gbdt, goss, dart and rf with the objective binary or cross_entropy, "
    'or with one of your own and score = "decision_function"'
)
ZERO = float(np.float32(1e-35))  # LightGBM takes a number no larger than this for 0
CATEGORICAL, DEFAULT_LEFT = 1, 2  # bits of decision_type; the next two bits are the missing type
NONE, ZERO_IS_MISSING, NAN_IS_MISSING = 0, 1, 2


def read(source: Any, wanted: Wanted) -> Model:
    """Read a Booster or an LGBMClassifier, up to the best iteration if training stopped early, as both predict."""
    lgb = _library()
    name = f"lightgbm.{type(source).__name__}"
    classes: Any = (0, 1)
    booster = source
    if isinstance(source, lgb.LGBMClassifier):
        try:
            booster, classes = source.booster_, source.classes_
        except Exception:
            raise ModelError(f"the {name} is not fitted; call fit first") from None
    elif not isinstance(source, lgb.Booster):
        raise UnsupportedModel(f"{name} cannot be read exactly. {SUPPORTED}, as Booster, LGBMClassifier or text file")
    best, rounds = int(booster.best_iteration), int(booster.current_iteration())
    notes: tuple[str, ...] = ()
    if 0 < best < rounds:
        notes = (f"early stopping: the first {best} rounds are used, as predict does",)
    return _read(name, booster.model_to_string(), wanted, classes, notes, source=booster)


def read_file(content: bytes, wanted: Wanted) -> Model:
    """Read a text file that ``save_model`` wrote."""
    _library()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ModelError("the LightGBM file is damaged: it is not text") from None
    return _read("lightgbm.Booster", text, wanted, (0, 1), (), source=None)


def _library() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise UnsupportedModel("this model needs the library that made it: pip install 'fairpath[lightgbm]'") from None
    return lightgbm


def _read(name: str, text: str, wanted: Wanted, classes: Any, notes: tuple[str, ...], *, source: Any | None) -> Model:
    parts = parse(text)
    _refuse(name, parts, wanted)
    positive = wanted.positive(name, classes)
    booster = _own(parts.plain)
    columns, codes = _columns(name, parts, wanted)
    core, leaf_id = _trees(parts, columns, codes, positive=positive)
    notes += () if parts.levels else levels_note(columns, sorted(codes))
    moved = {j: table for j, table in codes.items() if not np.array_equal(table, np.arange(len(table)))}
    margins = wanted.score == "decision_function"
    native = _native(booster, parts, leaf_id, moved, positive=positive, margins=margins)
    judge = native
    if source is not None:  # our booster went through text, which rounds the sigmoid: the caller's must agree
        judge = _native(source, parts, leaf_id, moved, positive=positive, margins=margins)
    checked = self_check(name, core, judge)
    return Model(name, core, native.score, native.raw, native.squash, fingerprint(core), checked, notes)


def _own(text: str) -> Any:
    lgb = _library()
    try:
        return lgb.Booster(model_str=text)
    except (lgb.basic.LightGBMError, ValueError) as error:
        raise ModelError(f"LightGBM cannot load the model: {error}") from None


def _refuse(name: str, parts: Document, wanted: Wanted) -> None:
    """Name what cannot be read exactly."""
    objective = parts.header.get("objective", "").partition(" ")[0]
    if int(parts.header.get("num_class", "1")) > 1 or int(parts.header.get("num_tree_per_iteration", "1")) > 1:
        classes = parts.header.get("num_class")
        raise UnsupportedModel(f"{name} has {classes} classes; recourse needs a classifier of two. {SUPPORTED}")
    if any(tree["is_linear"] for tree in parts.trees):
        raise UnsupportedModel(
            f"{name} has linear models in its leaves (linear_tree) and cannot be read exactly. {SUPPORTED}. "
            "A route for black boxes is planned"
        )
    if objective in PROBABILITIES:
        return
    if objective in ("", "custom", "none", "null", "na"):
        if wanted.score == "probability":
            raise ModelError(
                f"{name} was trained with an objective of your own and gives raw scores, not probabilities; "
                'set decision.score = "decision_function" and a threshold on the raw score'
            )
        return
    raise UnsupportedModel(
        f"{name} with objective {objective!r} cannot be read exactly. {SUPPORTED}. A route for black boxes is planned"
    )


def _columns(name: str, parts: Document, wanted: Wanted) -> tuple[tuple[Column, ...], dict[int, np.ndarray]]:
    """The inputs, and for each categorical one the library's integer of every level."""
    stored = parts.header["feature_names"].split()
    n = len(stored)
    if wanted.columns is not None and stored == [f"Column_{j}" for j in range(n)]:
        stored = []  # LightGBM's own names for the columns of an array
    names = wanted.named(name, stored, n)
    categorical = _categorical(parts)
    spelt = parts.levels
    infos = parts.header["feature_infos"].split()
    if spelt and not _fit(spelt, [infos[j] for j in categorical]):
        raise UnsupportedModel(
            f"{name} was fitted on {len(spelt)} pandas category columns and treats {len(categorical)} columns as "
            "categories; which are which it does not store. Make every such column an unordered category (LightGBM "
            "takes ordered ones for numbers) and fit again"
        )
    columns, codes = [], {}
    for j, column in enumerate(names):
        if j not in categorical:
            columns.append(Column(column))
            continue
        levels = spelt[categorical.index(j)] if spelt else wanted.levels_of(name, column)
        columns.append(Column(column, levels))
        codes[j] = np.arange(len(levels)) if spelt else native_codes(column, levels)
    return tuple(columns), codes


def _fit(spelt: tuple[tuple[Level, ...], ...], infos: list[str]) -> bool:
    """Whether there is a list of levels for each categorical column, long enough for the codes that it saw."""
    seen = [[int(code) for code in info.split(":") if code.lstrip("-").isdecimal()] for info in infos]
    return len(spelt) == len(infos) and all(max(s, default=-1) < len(t) for s, t in zip(seen, spelt, strict=True))


def _categorical(parts: Document) -> list[int]:
    """Columns that LightGBM treats as categories: as declared, as binned, or as split."""
    declared = parts.parameters.get("categorical_feature", "")
    found = {int(j) for j in declared.split(",")} if re.fullmatch(r"\d+(,\d+)*", declared) else set()
    for j, info in enumerate(parts.header["feature_infos"].split()):
        if info != "none" and not info.startswith("["):
            found.add(j)
    for tree in parts.trees:
        if tree["num_leaves"] > 1:
            found |= set(tree["split_feature"][(tree["decision_type"] & CATEGORICAL) > 0].tolist())
    return sorted(found)


def _trees(
    parts: Document, columns: tuple[Column, ...], codes: dict[int, np.ndarray], *, positive: bool
) -> tuple[Trees, np.ndarray]:
    """All trees in one set of arrays, and the library's number of each leaf."""
    nodes = _Nodes(codes, width_of(columns))
    roots = [nodes.add(tree) for tree in parts.trees]
    sign = 1.0 if positive else -1.0
    core = Trees(
        columns,
        np.array(nodes.feature, dtype=np.int32),
        np.array(nodes.threshold, dtype=np.float64),
        np.array(nodes.members, dtype=np.int32),
        np.array(nodes.sets, dtype=bool).reshape(len(nodes.sets), nodes.width),
        np.array(nodes.missing_left, dtype=bool),
        np.array(nodes.left, dtype=np.int32),
        np.array(nodes.right, dtype=np.int32),
        sign * np.array(nodes.value, dtype=np.float64),
        np.array(roots, dtype=np.int32),
        base=0.0,
    )
    return core, np.array(nodes.leaf_id, dtype=np.int64)


class _Nodes:
    """Growing lists of nodes, to which trees are added."""

    def __init__(self, codes: dict[int, np.ndarray], width: int) -> None:
        self.codes, self.width = codes, width
        self.feature: list[int] = []
        self.threshold: list[float] = []
        self.members: list[int] = []
        self.sets: list[np.ndarray] = []
        self.missing_left: list[bool] = []
        self.left: list[int] = []
        self.right: list[int] = []
        self.value: list[float] = []
        self.leaf_id: list[int] = []

    def add(self, tree: Mapping[str, Any]) -> int:
        """Add one tree and return its root: the tests first, then the leaves, then what zeros need."""
        n = tree["num_leaves"]
        start = len(self.feature)
        for _ in range(n - 1):
            self._node(-1, math.nan, -1, False, -1, -1)
        leaves = [self._leaf(value, i) for i, value in enumerate(tree["leaf_value"].tolist())]
        if n == 1:
            return leaves[0]
        keys = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
        for i, (feature, threshold, kind, *children) in enumerate(zip(*(tree[k].tolist() for k in keys), strict=True)):
            left, right = (start + c if c >= 0 else leaves[-c - 1] for c in children)
            if kind & CATEGORICAL:
                self._category(start + i, feature, _listed(tree, int(threshold)), left, right)
            else:
                self._number(start + i, feature, threshold, kind, left, right)
        return start

    def _category(self, at: int, feature: int, listed: list[int], left: int, right: int) -> None:
        """A listed category goes left; anything else, missing included, goes right."""
        self._put(at, feature, math.nan, len(self.sets), False, left, right)
        self.sets.append(left_of(self.codes[feature], listed, self.width, listed_left=True))

    def _number(self, at: int, feature: int, threshold: float, kind: int, left: int, right: int) -> None:
        """A number goes left when it is at most the threshold, where LightGBM takes tiny numbers for 0.

        With zero as missing, 0 goes by the default; against the order of the other numbers, that takes three tests.
        """
        default_left = bool(kind & DEFAULT_LEFT)
        missing = (kind >> 2) & 3
        zero_left = threshold >= 0.0
        border = _after(threshold) if abs(threshold) > ZERO else _after(ZERO) if zero_left else -ZERO
        if missing != ZERO_IS_MISSING:
            missing_left = default_left if missing == NAN_IS_MISSING else zero_left
            self._put(at, feature, border, -1, missing_left, left, right)
        elif abs(threshold) <= ZERO:
            self._put(at, feature, _after(ZERO) if default_left else -ZERO, -1, default_left, left, right)
        elif default_left == zero_left:
            self._put(at, feature, border, -1, default_left, left, right)
        elif zero_left:  # 0 goes right, although the numbers around it go left
            beyond = self._node(feature, border, -1, False, left, right)
            middle = self._node(feature, _after(ZERO), -1, True, right, beyond)
            self._put(at, feature, -ZERO, -1, False, left, middle)
        else:  # 0 goes left, although the numbers around it go right
            beyond = self._node(feature, _after(ZERO), -1, True, left, right)
            middle = self._node(feature, -ZERO, -1, False, right, beyond)
            self._put(at, feature, border, -1, True, left, middle)

    def _leaf(self, value: float, number: int) -> int:
        at = self._node(-1, math.nan, -1, False, -1, -1)
        self.value[at], self.leaf_id[at] = value, number
        return at

    def _node(self, feature: int, threshold: float, members: int, missing_left: bool, left: int, right: int) -> int:
        self.feature.append(feature)
        self.threshold.append(threshold)
        self.members.append(members)
        self.missing_left.append(missing_left)
        self.left.append(left)
        self.right.append(right)
        self.value.append(0.0)
        self.leaf_id.append(-1)
        return len(self.feature) - 1

    def _put(
        self, at: int, feature: int, threshold: float, members: int, missing_left: bool, left: int, right: int
    ) -> None:
        self.feature[at], self.threshold[at], self.members[at] = feature, threshold, members
        self.missing_left[at], self.left[at], self.right[at] = missing_left, left, right


def _after(x: float) -> float:
    return math.nextafter(x, math.inf)


def _listed(tree: Mapping[str, Any], which: int) -> list[int]:
    """Categories in one of the tree's bitsets, which are words of 32 bits."""
    begin, end = tree["cat_boundaries"][which : which + 2]
    words = tree["cat_threshold"][begin:end].tolist()
    return [32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1]


def _native(
    booster: Any, parts: Document, leaf_id: np.ndarray, moved: dict[int, np.ndarray], *, positive: bool, margins: bool
) -> Native:
    objective = parts.header.get("objective", "")
    sigmoid = _number_as_read(dict(w.split(":", 1) for w in objective.split() if ":" in w).get("sigmoid", "1"))
    divisor = float(len(parts.trees)) if "average_output" in parts.header else 1.0

    def predict(matrix: np.ndarray, **how: Any) -> np.ndarray:
        cells = np.ascontiguousarray(to_native(matrix, moved), dtype=np.float64)
        return np.asarray(booster.predict(cells, num_threads=1, **how))

    def oriented(margin: np.ndarray) -> np.ndarray:
        return np.asarray(margin if positive else -margin, dtype=np.float64)

    def favourable(p: np.ndarray) -> np.ndarray:
        return np.asarray(p if positive else 1.0 - p, dtype=np.float64)

    def raw(matrix: np.ndarray) -> np.ndarray:
        return oriented(predict(matrix, raw_score=True))

    def score(matrix: np.ndarray) -> np.ndarray:
        return favourable(predict(matrix))

    def squash(raw: np.ndarray) -> np.ndarray:
        return favourable(np.array([_logistic(sigmoid * (x / divisor)) for x in oriented(raw).tolist()]))

    def same(raw: np.ndarray) -> np.ndarray:
        return np.asarray(raw, dtype=np.float64)

    def leaves(matrix: np.ndarray, first: int, last: int) -> np.ndarray:
        found = predict(matrix, pred_leaf=True, start_iteration=first, num_iteration=last - first)
        return found.reshape(len(matrix), -1).astype(np.int64)

    def values(matrix: np.ndarray, tree: int) -> np.ndarray:
        return oriented(predict(matrix, raw_score=True, start_iteration=tree, num_iteration=1))

    if margins:
        return Native(raw, raw, same, leaves, leaf_id, values)
    return Native(raw, score, squash, leaves, leaf_id, values)


def _logistic(x: float) -> float:
    """C's exp, as the library calls it; numpy's own differs in the last bit."""
    try:
        return 1.0 / (1.0 + math.exp(-x))
    except OverflowError:
        return 0.0


def _number_as_read(text: str) -> float:
    """A number as LightGBM reads a parameter: whole part, fraction and exponent apart, each step rounded."""
    digits, _, exponent = text.lower().partition("e")
    whole, _, part = digits.partition(".")
    value = float(whole or 0) + float(part or 0) / 10.0 ** len(part)
    power = int(exponent or 0)
    return value * 10.0**power if power >= 0 else value / 10.0**-power
