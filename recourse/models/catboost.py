"""CatBoost's classifiers and files as neutral trees: borders of numbers and one-hot splits of categories."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedModel
from .base import Column, Model, RefusedCell, Wanted, fingerprint, spelling
from .catboost_file import Document, parse
from .selfcheck import Native, self_check
from .tree_builder import TreeBuilder, next_single
from .trees import Trees

_UNSEEN = "\x00never seen\x00"


def read(source: Any, wanted: Wanted) -> Model:
    """Read a fitted CatBoostClassifier (or a CatBoost with a loss of two classes).

    Parameters
    ----------
    source : CatBoostClassifier or CatBoost
        Fitted on numbers, and on categories that are split level by level. It is not changed.
    wanted : Wanted
        The favourable class and the score, and the levels of categories: the model stores hashes of them alone.

    Returns
    -------
    Model
        Levels that the model has never seen are taken, as the library does.

    Raises
    ------
    UnsupportedModel
        If the model counts targets of categories, has text or embedding features, or other than two classes.
    ModelError
        If the model is not fitted, or the levels of a category are not given.
    """
    library = _library()
    name = f"catboost.{type(source).__name__}"
    if not isinstance(source, library.CatBoost):
        raise UnsupportedModel(f"{name} cannot be read exactly. Supported of catboost: CatBoostClassifier, CatBoost")
    if not source.is_fitted():
        raise ModelError(f"the {name} is not fitted; call fit first")
    with tempfile.TemporaryDirectory() as folder:
        native = library.CatBoost()
        source.save_model(str(Path(folder) / "model.cbm"))
        native.load_model(str(Path(folder) / "model.cbm"))
    return _read(name, native, wanted)


def read_file(content: bytes, wanted: Wanted) -> Model:
    """Read a file that ``save_model`` wrote, in CatBoost's own format (.cbm) or as JSON."""
    library = _library()
    form = "cbm" if content[:4] == b"CBM1" else "json"
    if form == "json":
        parse(content)  # found whole before the library sees it
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{form}"
        path.write_bytes(content)
        native = library.CatBoost()
        try:
            native.load_model(str(path), format=form)
        except library.CatBoostError as error:
            what = " ".join(str(error).split())
            raise ModelError(f"the CatBoost file is truncated or damaged ({what}); save the model again") from None
    return _read("catboost.CatBoost", native, wanted)


def _library() -> Any:
    try:
        import catboost
    except ImportError:
        raise UnsupportedModel("reading a CatBoost model takes catboost: pip install 'fairpath[catboost]'") from None
    return catboost


def _read(name: str, native: Any, wanted: Wanted) -> Model:
    document = parse(_json(native, None))
    document.refuse(name)
    positive = wanted.positive(name, document.classes)
    columns, codes = _columns(name, native, document, wanted)
    core, leaf_id = _trees(document, columns, codes, 1.0 if positive else -1.0)
    categories = [j for j, column in enumerate(columns) if column.levels is not None]

    def predict(matrix: np.ndarray, kind: str, **part: int) -> np.ndarray:
        return np.asarray(native.predict(_rows(columns, categories, matrix), kind, thread_count=1, **part))

    def oriented(margin: np.ndarray) -> np.ndarray:
        return np.asarray(margin if positive else -margin, dtype=np.float64)

    def raw(matrix: np.ndarray) -> np.ndarray:
        return oriented(predict(matrix, "RawFormulaVal"))

    def score(matrix: np.ndarray) -> np.ndarray:
        return np.asarray(predict(matrix, "Probability")[:, int(positive)], dtype=np.float64)

    def squash(raw: np.ndarray) -> np.ndarray:
        p = np.array([_logistic(x) for x in oriented(np.asarray(raw)).tolist()])
        return p if positive else 1.0 - p

    def leaves(matrix: np.ndarray, first: int, last: int) -> np.ndarray:
        rows = _rows(columns, categories, matrix)
        return np.asarray(native.calc_leaf_indexes(rows, first, last, thread_count=1), dtype=np.int64)

    if wanted.score == "decision_function":
        score, squash = raw, _same
    checked = self_check(name, core, Native(raw, score, squash, leaves if leaf_id is not None else None, leaf_id))
    return Model(
        name=name,
        core=core,
        raw=_without_missing(raw, columns, categories),
        score=_without_missing(score, columns, categories),
        squash=squash,
        sha256=fingerprint(core),
        self_check=checked,
    )


def _json(native: Any, pool: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        native.save_model(str(path), format="json", pool=pool)
        return path.read_bytes()


def _columns(
    name: str, native: Any, document: Document, wanted: Wanted
) -> tuple[tuple[Column, ...], dict[int, np.ndarray]]:
    """The columns, and the library's hash of each level of those that are categories."""
    import catboost
    import pandas as pd

    n = len(document.names)
    stored = None if all(part == str(j) for j, part in enumerate(document.names)) else document.names
    names = wanted.named(name, stored, n)
    columns = [
        Column(column, wanted.levels_of(name, column), unseen=True) if j in document.categories else Column(column)
        for j, column in enumerate(names)
    ]
    spelt = {j: [spelling(level) for level in columns[j].levels or ()] for j in document.categories}
    if not spelt:
        return tuple(columns), {}
    longest = max(map(len, spelt.values()))
    frame = pd.DataFrame(
        {
            part: (spelt[j] * longest)[:longest] if j in spelt else np.zeros(longest)
            for j, part in enumerate(document.names)
        }
    )
    pool = catboost.Pool(frame, cat_features=sorted(spelt))
    told = json.loads(_json(native, pool))["features_info"]["cat_features_hash"]
    hashes = {entry["value"]: entry["hash"] for entry in told}
    return tuple(columns), {j: np.array([hashes[s] for s in part], dtype=np.int64) for j, part in spelt.items()}


def _trees(
    document: Document, columns: tuple[Column, ...], codes: dict[int, np.ndarray], sign: float
) -> tuple[Trees, np.ndarray | None]:
    """Return the core, and the library's numbers of leaves where the file tells them (of symmetric trees)."""
    builder = TreeBuilder(columns)

    def test(split: dict[str, Any], left: int, right: int) -> int:
        column = document.column_of(split)
        if split["split_type"] == "OneHotFeature":
            others = np.append(codes[column] != int(split["value"]) % 2**32, True)
            return builder.members(column, others, left, right, missing_left=True)
        border, missing_left = float(np.float32(split["border"])), column not in document.missing_right
        return builder.number(column, next_single(border), left, right, missing_left=missing_left)

    for tree in document.trees:
        if "splits" in tree:
            values = [sign * float(v) for v in tree["leaf_values"]]
            level = [builder.leaf(v, number) for number, v in enumerate(values)]
            for split in reversed(tree["splits"] or []):  # the last split is the highest bit of a leaf's number
                half = len(level) // 2
                level = [test(split, level[i], level[half + i]) for i in range(half)]
            builder.root(level[0])
        else:
            builder.root(_asymmetric(tree, builder, test, sign))
    if document.bias != 0.0:  # the library adds it last
        builder.root(builder.leaf(sign * document.bias, 0))
    symmetric = all("splits" in tree for tree in document.trees) and document.bias == 0.0
    return builder.trees(base=0.0, cast_single=True), builder.leaf_id if symmetric else None


def _asymmetric(tree: dict[str, Any], builder: TreeBuilder, test: Any, sign: float) -> int:
    if "split" not in tree:
        return builder.leaf(sign * float(tree["value"]))
    left, right = (_asymmetric(tree[side], builder, test, sign) for side in ("left", "right"))
    return int(test(tree["split"], left, right))


def _rows(columns: tuple[Column, ...], categories: list[int], matrix: np.ndarray) -> Any:
    """Rows as the library takes them: numbers, or a frame with texts for levels."""
    matrix = np.ascontiguousarray(matrix, dtype=np.float64)
    if not categories:
        return matrix
    import pandas as pd

    out: dict[str, Any] = {}
    for j, column in enumerate(columns):
        out[column.name] = matrix[:, j]
        if column.levels is not None:
            texts = np.array([*map(spelling, column.levels), _UNSEEN], dtype=object)
            known = ~np.isnan(matrix[:, j])
            out[column.name] = texts[np.where(known, np.nan_to_num(matrix[:, j]), len(texts) - 1).astype(np.int64)]
    return pd.DataFrame(out)


def _without_missing(function: Any, columns: tuple[Column, ...], categories: list[int]) -> Any:
    """Refuse a missing category, as the library does, by column and row."""

    def call(matrix: np.ndarray) -> np.ndarray:
        matrix = np.asarray(matrix, dtype=np.float64)
        for j in categories:
            missing = np.flatnonzero(np.isnan(matrix[:, j]))
            if len(missing):
                raise RefusedCell(
                    columns[j].name, int(missing[0]),
                    "the category is missing, and CatBoost takes no missing categories. Write a level for it",
                )  # fmt: skip
        return np.asarray(function(matrix))

    return call


def _same(raw: np.ndarray) -> np.ndarray:
    return np.asarray(raw, dtype=np.float64)


def _logistic(x: float) -> float:
    """C's exp, as the library calls it."""
    try:
        return 1.0 / (1.0 + math.exp(-x))
    except OverflowError:
        return 0.0
