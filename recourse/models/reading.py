"""Which reader takes a model: by the class of an estimator, or by the name and first bytes of a file."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import DataError, InputError, ModelError, RecourseError, UnsupportedModel
from .base import Level, Model, Score, Wanted

SUPPORTED = (
    "XGBoost (Booster, XGBClassifier, .json, .ubj), LightGBM (Booster, LGBMClassifier, .txt), CatBoost "
    "(CatBoostClassifier, .cbm), EBMs, optbinning scorecards, ONNX tree ensembles (.onnx) and scikit-learn (trees, "
    "forests, gradient boosting, linear classifiers, and pipelines around any of these; .skops, or pickle files on "
    "request)"
)
BLACK_BOX = "It can be explained as a black box, without proofs: black_box=True"
# Where an estimator's class comes from -> our module that reads it.
READERS = {
    "xgboost": "xgboost", "lightgbm": "lightgbm", "catboost": "catboost", "sklearn": "sklearn", "imblearn": "sklearn",
    "interpret": "ebm", "optbinning": "scorecard", "onnx": "onnx",
}  # fmt: skip
EXTENSIONS = {
    ".json": "xgboost", ".ubj": "xgboost", ".txt": "lightgbm", ".cbm": "catboost", ".onnx": "onnx", ".skops": "skops",
    ".pkl": "pickle", ".pickle": "pickle", ".joblib": "pickle",
}  # fmt: skip
KINDS = {
    "xgboost": "an XGBoost model", "lightgbm": "a LightGBM model", "catboost": "a CatBoost model",
    "onnx": "an ONNX model", "skops": "a skops file", "pickle": "a pickle file",
}  # fmt: skip


def read_model(
    source: object,
    *,
    favourable: Level = 1,
    score: Score = "probability",
    levels: Mapping[str, Sequence[Level]] | None = None,
    allow_pickle: bool = False,
    columns: Sequence[str] | None = None,
    black_box: bool = False,
) -> Model:
    """Read a fitted binary classifier exactly, and check the reading against the library that made it.

    Parameters
    ----------
    source : estimator, xgboost.Booster, lightgbm.Booster, str or path
        A fitted model, or a Pipeline around one (read on the raw columns that the pipeline takes); or a file:
        ``.json`` or ``.ubj`` (XGBoost), ``.txt`` (LightGBM), ``.cbm`` (CatBoost), ``.onnx``, ``.skops``, and with
        `allow_pickle` also ``.pkl``, ``.pickle`` and ``.joblib``. With `black_box` also anything with
        ``predict_proba``, a callable that takes a frame of raw values, and an ``http://`` address.
    favourable : label, default 1
        The class whose score is wanted; boosters and their files know only 0 and 1.
    score : {"probability", "decision_function"}
        What the decision's threshold is compared with.
    levels : mapping, optional
        Column to levels in the order of their codes, used only where the model does not store them.
    allow_pickle : bool, default False
        Read pickle files, which can run any code while they are read.
    columns : sequence of str, optional
        Names of the inputs, used only if the model stores none.
    black_box : bool, default False
        Take what cannot be read exactly as a black box: plans are searched by asking it, and nothing is proven.

    Returns
    -------
    Model

    Raises
    ------
    UnsupportedModel
        The model cannot be read exactly (of a pipeline, the message names the step), or its library is not installed.
    SelfCheckFailed
        What was read does not equal what the library computes.
    ModelError
        The file is missing, truncated or not what its name says.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> tree = DecisionTreeClassifier(max_depth=1).fit(np.array([[1.0], [2.0], [3.0], [4.0]]), [0, 0, 1, 1])
    >>> model = read_model(tree, columns=["income"])
    >>> model.score(np.array([[2.0], [3.0]]))
    array([0., 1.])
    """
    if score not in ("probability", "decision_function"):
        raise InputError(f"score is 'probability' or 'decision_function', not {score!r}")
    wanted = Wanted(favourable, score, dict(levels or {}), None if columns is None else tuple(columns))
    if isinstance(source, str | os.PathLike) and not _is_address(source):
        model = _from_file(Path(source), wanted, allow_pickle=allow_pickle, black_box=black_box)
    else:
        model = _from_object(source, wanted, black_box=black_box)
    return replace(model, favourable=favourable, kind=score)


def read_estimator(source: object, wanted: Wanted) -> Model:
    """Read a fitted classifier in memory, by the reader of the library that its class comes from."""
    library = type(source).__module__.partition(".")[0]
    if library not in READERS:
        raise UnsupportedModel(
            f"{type(source).__module__}.{type(source).__qualname__} cannot be read exactly. Supported: {SUPPORTED}. "
            f"{BLACK_BOX}"
        )
    model: Model = import_module(f".{READERS[library]}", __package__).read(source, wanted)
    return model


def _from_object(source: object, wanted: Wanted, *, black_box: bool) -> Model:
    """Read exactly what can be; take anything else as a black box where that is allowed."""
    if not black_box:
        if isinstance(source, str):
            raise UnsupportedModel(f"what answers at an address cannot be read exactly. {BLACK_BOX}")
        return read_estimator(source, wanted)
    from . import blackbox

    if isinstance(source, str):
        return blackbox.read(source, wanted)
    try:
        return read_estimator(source, wanted)
    except UnsupportedModel as error:
        return blackbox.read(source, wanted, why=str(error))


def _is_address(source: object) -> bool:
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def _from_file(path: Path, wanted: Wanted, *, allow_pickle: bool, black_box: bool) -> Model:
    content = _content(path)
    kind = _kind(path, content)
    if kind == "pickle" and not allow_pickle:
        raise ModelError(
            f"{path} is a pickle file, and reading one can run any code that its author put in it. "
            "Save the model as skops (scikit-learn), .ubj (XGBoost) or .txt (LightGBM); "
            "or, if you trust where the file comes from, allow it: allow_pickle=True, --allow-pickle"
        )
    try:
        model = _read_file(kind, path, content, wanted, black_box=black_box)
        return replace(model, sha256=f"sha256:{hashlib.sha256(content).hexdigest()}")
    except RecourseError as error:
        if str(path) in str(error):
            raise
        same = ModelError if isinstance(error, DataError) else type(error)  # of its probes, not of applicants
        raise same(f"{path}: {error}") from error
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(f"{path} is damaged, and cannot be read ({what}); save the model again") from error


def _read_file(kind: str, path: Path, content: bytes, wanted: Wanted, *, black_box: bool) -> Model:
    if kind in ("skops", "pickle"):
        return _from_object(_skops(content) if kind == "skops" else _pickle(path), wanted, black_box=black_box)
    model: Model = import_module(f".{READERS[kind]}", __package__).read_file(content, wanted)
    return model


def _skops(content: bytes) -> Any:
    from . import sklearn

    return sklearn.load_skops(content)


def _pickle(path: Path) -> Any:
    from . import sklearn

    warnings.warn(
        f"reading the pickle file {path}: it can run any code that its author put in it, "
        "and it is only sure to mean the same under the library versions that wrote it",
        stacklevel=5,
    )
    return sklearn.load_pickle(path)


def _content(path: Path) -> bytes:
    if path.is_dir():
        raise ModelError(f"{path} is a directory; give the model's file")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"there is no model file {path}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    if not content:
        raise ModelError(f"{path} is empty; save the model again")
    return content


def _kind(path: Path, content: bytes) -> str:
    """The kind of a file by its content; its name must agree."""
    expected = EXTENSIONS.get(path.suffix.lower())
    seen = _sniff(content)
    if expected is None and seen is None:
        raise UnsupportedModel(f"{path} is not a model file that can be read exactly. Supported: {SUPPORTED}")
    if seen == "pickle" and expected != "pickle":
        raise ModelError(
            f"{path} is a pickle in disguise: its name ends in {path.suffix!r}, its content is a pickle, which can run "
            "code when it is read. It was not read; ask its author for the model in the format of its name"
        )
    if expected == "pickle":
        return "pickle"  # joblib files may be compressed: their first bytes say nothing
    if path.suffix.lower() == ".json" and seen == "catboost":
        return seen
    if expected == "onnx" and seen is None:
        return "onnx"  # a protocol buffer has no magic number
    if seen is None:
        raise ModelError(
            f"{path} is not {KINDS[str(expected)]}, or it is damaged: its first bytes are {content[:12]!r}"
        )
    if expected is not None and seen != expected:
        raise ModelError(f"{path} is {KINDS[seen]}, but its name says {KINDS[expected]}; rename or replace it")
    return seen


def _sniff(content: bytes) -> str | None:
    head = content[:4096].lstrip()
    if head[:1] == b"{":  # JSON, or UBJSON whose objects open with the same brace
        first_key = head[1:].lstrip()
        return "catboost" if first_key.startswith((b'"features_info"', b'"ctr_data"')) else "xgboost"
    if head.startswith((b"tree\n", b"tree\r\n")):
        return "lightgbm"
    if content.startswith(b"PK\x03\x04"):
        return "skops"
    if content.startswith(b"CBM1"):
        return "catboost"
    if _opens_like_a_pickle(content):
        return "pickle"
    return None


def _opens_like_a_pickle(content: bytes) -> bool:
    """Whether the bytes are a pickle, or one compressed as joblib does."""
    import bz2
    import lzma
    import zlib

    openers: list[tuple[bytes, Any]] = [
        (b"\x78", lambda part: zlib.decompressobj().decompress(part, 64)),
        (b"\x1f\x8b", lambda part: zlib.decompressobj(31).decompress(part, 64)),
        (b"BZh", lambda part: bz2.BZ2Decompressor().decompress(part, 64)),
        (b"\xfd7zXZ", lambda part: lzma.LZMADecompressor().decompress(part, 64)),
        (b"\x5d\x00", lambda part: lzma.LZMADecompressor().decompress(part, 64)),
    ]
    if content[:1] == b"\x80" and content[1:2] <= b"\x06":
        return True
    for magic, opener in openers:
        if content.startswith(magic):
            try:
                return _opens_like_a_pickle(opener(content))
            except (zlib.error, OSError, lzma.LZMAError, EOFError):
                return False
    return _textual_pickle(content)


def _textual_pickle(content: bytes) -> bool:
    """Whether the bytes parse as a pickle of protocol 0 or 1, which opens with no magic number."""
    import pickletools

    if content[:1] not in b"(c]}lIFSVdN" or b"." not in content[-2:]:
        return False
    try:
        for _ in pickletools.genops(content):
            pass
    except Exception:
        return False
    return True
