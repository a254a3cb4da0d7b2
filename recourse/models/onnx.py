"""Tree ensembles in ONNX files, as onnxruntime scores them."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ModelError, SelfCheckFailed, UnsupportedModel
from .base import Column, Model, Wanted, fingerprint
from .onnx_graph import FLOAT, Branch, Ensemble, Grove, find, grow
from .selfcheck import REFUSED, Native, self_check
from .tree_builder import TreeBuilder, next_single
from .trees import Trees

Scorer = Callable[[np.ndarray], np.ndarray]
_ALONE = 16  # probes that are also scored one by one


def read(source: Any, wanted: Wanted) -> Model:
    """Read an ``onnx.ModelProto``."""
    _libraries()
    return read_file(source.SerializeToString(), wanted)


def read_file(content: bytes, wanted: Wanted) -> Model:
    """Read a graph of one TreeEnsembleClassifier, TreeEnsembleRegressor or TreeEnsemble.

    Parameters
    ----------
    content : bytes
        Of an .onnx file. Before the ensemble only Identity, Cast and Concat may stand, after it Identity, Cast and
        ZipMap.
    wanted : Wanted
        The favourable class and the score. A regressor's output is taken for the score of class 1. Names of the columns
        where an input has several; an input of one column is a column by its own name.

    Returns
    -------
    Model

    Raises
    ------
    UnsupportedModel
        If other operators prepare columns or compute with scores (the message names them), if there are other than
        two classes, or the ensemble's kind of test, sum or transform is not read.
    ModelError
        If the file is damaged, or names of columns are missing.
    """
    onnx, runtime = _libraries()
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except Exception as error:  # the parser's own and the checker's
        what = " ".join(str(error).split())[:200]
        raise ModelError(f"the ONNX file is damaged, or no ONNX model ({what}); export it again") from None
    ensemble = find(model)
    grove = grow(ensemble.node)
    name = f"onnx.{ensemble.node.op_type}"
    positive = wanted.positive(name, grove.classes or (0, 1))
    columns = _columns(name, ensemble, wanted)
    plain = _session(onnx, runtime, model, ensemble, plain=True)
    whole = _session(onnx, runtime, model, ensemble, plain=False)
    target, sign = _output(name, grove, positive)
    core = _trees(name, grove, columns, target, sign, double=ensemble.double)

    def raw(matrix: np.ndarray) -> np.ndarray:
        scores = plain(matrix)
        return sign * (scores[:, -1] if sign < 0 or len(_targets(grove)) == 1 else scores[:, target])

    def score(matrix: np.ndarray) -> np.ndarray:
        scores = whole(matrix)
        if scores.shape[1] == 1:
            return scores[:, 0] if positive else 1.0 - scores[:, 0]
        return scores[:, int(positive)]

    squash: Scorer = _same
    if wanted.score == "decision_function":
        score = raw
    else:
        squash = _squash(name, core, grove, raw, score, double=ensemble.double)
    checked = self_check(name, core, Native(raw, score, squash))
    rows = np.random.default_rng(1).normal(size=(_ALONE, len(columns))) * 100.0
    if not np.array_equal([score(row[None])[0] for row in rows], score(rows)):
        raise SelfCheckFailed(f"{name}: the score of a row depends on the rows beside it. {REFUSED}")
    return Model(
        name=name,
        core=core,
        raw=raw,
        score=score,
        squash=squash,
        sha256=fingerprint(core),
        self_check=checked,
    )


def _libraries() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise UnsupportedModel(
            "reading an ONNX model takes onnx and onnxruntime: pip install 'fairpath[onnx]'"
        ) from None
    return onnx, onnxruntime


def _columns(name: str, ensemble: Ensemble, wanted: Wanted) -> tuple[Column, ...]:
    n = sum(part.width for part in ensemble.inputs)
    alone = all(part.width == 1 for part in ensemble.inputs) and n > 1
    stored = [part.name for part in ensemble.inputs] if alone else None
    return tuple(Column(column) for column in wanted.named(name, stored, n))


def _session(onnx: Any, runtime: Any, model: Any, ensemble: Ensemble, *, plain: bool) -> Scorer:
    """Return the library's scores of a matrix: float64[n, n_outputs]; `plain` ones before their transform."""
    trimmed = onnx.ModelProto()
    trimmed.CopyFrom(model)
    graph = trimmed.graph
    if plain:
        node = next(node for node in graph.node if node.op_type == ensemble.node.op_type)
        kept = [part for part in node.attribute if part.name != "post_transform"]
        del node.attribute[:]
        node.attribute.extend(kept)
    kind = onnx.TensorProto.DOUBLE if ensemble.double and "Classifier" not in ensemble.node.op_type else FLOAT
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(ensemble.output, kind, None))
    needed = {ensemble.output}
    for node in reversed(list(graph.node)):
        if needed & set(node.output):
            needed |= set(node.input)
        else:
            graph.node.remove(node)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(trimmed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no base
        raise ModelError(f"onnxruntime cannot run the ONNX file: {' '.join(str(error).split())[:200]}") from None

    def scores(matrix: np.ndarray) -> np.ndarray:
        feed, at = {}, 0
        for part in ensemble.inputs:
            with np.errstate(over="ignore"):
                cells = np.asarray(matrix[:, at : at + part.width], dtype=np.float64 if part.double else np.float32)
            feed[part.name], at = np.ascontiguousarray(cells), at + part.width
        out = np.asarray(session.run([ensemble.output], feed)[0], dtype=np.float64)
        return out.reshape(len(matrix), -1)

    return scores


def _targets(grove: Grove) -> set[int]:
    return {target for node in grove.nodes if not isinstance(node, Branch) for target in node}


def _output(name: str, grove: Grove, positive: bool) -> tuple[int, float]:
    """Return whose weights make the favourable class's raw score, and the sign that they get."""
    if grove.transform not in ("NONE", "LOGISTIC"):
        raise UnsupportedModel(f"{name} ends in {grove.transform}; recourse reads NONE and LOGISTIC")
    if grove.aggregate not in ("SUM", "AVERAGE"):
        raise UnsupportedModel(f"{name} takes the {grove.aggregate} of its trees; recourse reads SUM and AVERAGE")
    targets = _targets(grove)
    if len(targets) == 1:
        return targets.pop(), 1.0 if positive else -1.0
    if len(targets) == 2 and grove.transform == "NONE":
        return int(positive), 1.0
    raise UnsupportedModel(f"{name} has {len(targets)} raw scores for each row; recourse reads two classes")


def _trees(name: str, grove: Grove, columns: tuple[Column, ...], target: int, sign: float, *, double: bool) -> Trees:
    builder = TreeBuilder(columns)
    place: dict[int, int] = {}
    for root in grove.roots:
        stack = [root]
        while stack:  # children before parents; recursion may be too deep
            at = stack[-1]
            node = grove.nodes[at]
            if at in place:
                stack.pop()
            elif not isinstance(node, Branch):
                place[at] = builder.leaf(sign * node.get(target, 0.0))
            elif node.true in place and node.false in place:
                place[at] = _test(name, builder, node, place[node.true], place[node.false], double=double)
            else:
                if len(stack) > len(grove.nodes):
                    raise ModelError(f"{name}: the file is damaged: its trees run in circles; export it again")
                stack += [child for child in (node.true, node.false) if child not in place]
        builder.root(place[root])
    base = grove.base[min(target, len(grove.base) - 1)] if grove.base else 0.0
    divisor = float(len(grove.roots)) if grove.aggregate == "AVERAGE" else 1.0
    if base != 0.0:
        if divisor != 1.0:
            raise UnsupportedModel(f"{name} adds a base value to an average, which recourse does not read")
        builder.root(builder.leaf(sign * base))  # the library adds it last
    return builder.trees(base=0.0, divisor=divisor, single=not double, cast_single=not double)


def _test(name: str, builder: TreeBuilder, node: Branch, true: int, false: int, *, double: bool) -> int:
    """Add a test as `x >= threshold`; equality takes two."""
    if node.column >= builder.n_columns:
        raise ModelError(f"{name}: the file is damaged: a test of a column beyond the inputs; export it again")
    value = node.value if double else float(np.float32(node.value))
    above = math.nextafter(value, math.inf) if double else next_single(value)
    missing_true = node.missing_true
    if node.mode in ("BRANCH_LEQ", "BRANCH_LT"):
        threshold = above if node.mode == "BRANCH_LEQ" else value
        return builder.number(node.column, threshold, true, false, missing_left=missing_true)
    if node.mode in ("BRANCH_GTE", "BRANCH_GT"):
        threshold = value if node.mode == "BRANCH_GTE" else above
        return builder.number(node.column, threshold, false, true, missing_left=not missing_true)
    same, other = (true, false) if node.mode == "BRANCH_EQ" else (false, true)
    if node.mode == "BRANCH_NEQ":  # NaN differs from every number
        missing_true = True
    missing = true if missing_true else false
    upper = builder.number(node.column, above, same, other, missing_left=missing == same)
    return builder.number(node.column, value, other, upper, missing_left=missing == other)


def _squash(name: str, core: Trees, grove: Grove, raw: Scorer, score: Scorer, *, double: bool) -> Scorer:
    """Return the map from raw scores to scores: what of the transforms agrees with the library on some rows."""
    logistic = _logistic64 if double else _logistic32

    def bent(raw: np.ndarray) -> np.ndarray:
        return np.array([logistic(x) for x in np.asarray(raw, np.float64).tolist()])

    def shared(raw: np.ndarray) -> np.ndarray:
        """Of one column of shares in float32: the first class has what the second leaves."""
        return np.asarray(np.float32(1.0) + np.asarray(raw, np.float32), dtype=np.float64)

    def rest(raw: np.ndarray) -> np.ndarray:
        """Of a regressor, the score of the class that it is not about."""
        return 1.0 + np.asarray(raw, dtype=np.float64)

    def left(raw: np.ndarray) -> np.ndarray:
        return 1.0 - bent(-np.asarray(raw, dtype=np.float64))

    rows = np.random.default_rng(0).normal(size=(64, len(core.columns))) * 100.0
    raws, scores = raw(rows), score(rows)
    for squash in (bent, left) if grove.transform == "LOGISTIC" else (_same, shared, rest):
        if np.array_equal(squash(raws), scores):
            return squash
    raise UnsupportedModel(f"{name}: its scores are not those of {grove.transform} as recourse knows it")


def _same(raw: np.ndarray) -> np.ndarray:
    return np.asarray(raw, dtype=np.float64)


def _logistic64(x: float) -> float:
    v = 1.0 / (1.0 + math.exp(-abs(x)))
    return 1.0 - v if x < 0 else v


def _logistic32(x: float) -> float:
    one = np.float32(1.0)
    v = one / (one + np.float32(_expf(-abs(x))))
    return float(one - v if x < 0 else v)


def _single_exp() -> Callable[[float], float]:
    """C's exp in float32, which numpy's own differs from in the last bit."""
    try:
        function = ctypes.CDLL(None).expf
    except (AttributeError, OSError, TypeError):
        return lambda x: float(np.exp(np.float32(x)))
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_float
    return lambda x: float(function(x))


_expf = _single_exp()
