"""The one tree ensemble in an ONNX graph: what leads to it, what comes out, and its nodes as lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedModel

OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")
BEFORE = ("Identity", "Cast", "Concat")
AFTER = ("Identity", "Cast", "ZipMap")
FLOAT, DOUBLE = 1, 11  # element types of tensors
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the graph: `width` columns of one element type."""

    name: str
    width: int
    double: bool


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """The ensemble's node, the inputs that it reads in the order of its columns, and the output that holds scores."""

    node: Any
    inputs: tuple[Input, ...]
    output: str
    double: bool  # it compares and adds in float64


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """A test: ``x <mode> value`` leads to `true`, anything else (and NaN, unless it tracks true) to `false`."""

    column: int
    mode: str
    value: float
    true: int
    false: int
    missing_true: bool


@dataclass(frozen=True, slots=True, eq=False)
class Grove:
    """All trees; a node is a branch, or the weights of a leaf by class or target."""

    nodes: Sequence[Branch | Mapping[int, float]]
    roots: Sequence[int]
    classes: tuple[Any, ...]  # empty for a regressor
    base: tuple[float, ...]
    aggregate: str
    transform: str


def find(model: Any) -> Ensemble:
    """Return the ensemble of a graph that does nothing but score with it.

    Raises
    ------
    UnsupportedModel
        If there is none, or other operators stand before or after it; the message names them.
    """
    graph = model.graph
    found = [node for node in graph.node if node.op_type in OPERATORS]
    if len(found) != 1:
        others = ", ".join(sorted({node.op_type for node in graph.node})[:8])
        raise UnsupportedModel(
            f"the ONNX graph has {len(found)} tree ensembles; recourse reads graphs of one "
            f"({', '.join(OPERATORS)}). Its operators: {others}. It can be explained as a black box: black_box=True"
        )
    node = found[0]
    maker = {name: other for other in graph.node for name in other.output}
    known = {value.name: value for value in graph.input}
    constants = {tensor.name for tensor in graph.initializer}
    inputs: list[Input] = []
    double = _trace(node.input[0], maker, {k: v for k, v in known.items() if k not in constants}, inputs)
    if double and node.op_type != "TreeEnsemble":
        raise UnsupportedModel(
            f"the ONNX graph's {node.op_type} adds in float64 and rounds to float32, which recourse does not read. "
            "Export it with float inputs"
        )
    scores = node.output[1] if node.op_type == "TreeEnsembleClassifier" else node.output[0]
    _follow(graph, scores)
    return Ensemble(node, tuple(inputs), scores, double)


def _trace(name: str, maker: Mapping[str, Any], known: Mapping[str, Any], inputs: list[Input]) -> bool:
    """Collect the inputs that a tensor consists of; return whether it is of float64."""
    if name in known:
        tensor = known[name].type.tensor_type
        if tensor.elem_type not in (FLOAT, DOUBLE):
            raise UnsupportedModel(
                f"the ONNX graph's input {name!r} holds no float numbers; recourse reads float and double inputs. "
                "Export the model with float inputs, categories as numbers"
            )
        dims = tensor.shape.dim
        width = dims[1].dim_value if len(dims) == 2 else 0
        if width < 1:
            raise UnsupportedModel(f"the ONNX graph's input {name!r} does not say how many columns it has")
        if any(part.name == name for part in inputs):
            raise UnsupportedModel(f"the ONNX graph reads its input {name!r} twice")
        inputs.append(Input(name, width, tensor.elem_type == DOUBLE))
        return inputs[-1].double
    node = maker.get(name)
    if node is None or node.op_type not in BEFORE:
        what = "a constant" if node is None else node.op_type
        raise UnsupportedModel(
            f"the ONNX graph prepares its columns with {what}; before a tree ensemble recourse reads only "
            f"{', '.join(BEFORE)}. Export the classifier without its preprocessing, or take it as a black box: "
            "black_box=True"
        )
    own = [_trace(part, maker, known, inputs) for part in node.input]
    if node.op_type == "Cast":
        kind = attributes(node)["to"]
        if kind not in (FLOAT, DOUBLE):
            raise UnsupportedModel("the ONNX graph casts its columns to whole numbers, which recourse does not read")
        if kind == DOUBLE and not own[0]:
            raise UnsupportedModel("the ONNX graph casts float columns to double; export it with double inputs")
        return bool(kind == DOUBLE)
    if node.op_type == "Concat" and attributes(node)["axis"] not in (1, -1):
        raise UnsupportedModel("the ONNX graph stacks rows of its inputs, which recourse does not read")
    if len(set(own)) != 1:
        raise UnsupportedModel("the ONNX graph joins float and double columns, which recourse does not read")
    return own[0]


def _follow(graph: Any, scores: str) -> None:
    """Refuse operators between the ensemble's scores and the graph's outputs."""
    names = {scores}
    for node in graph.node:  # in topological order, as ONNX demands
        if names & set(node.input):
            if node.op_type not in AFTER:
                raise UnsupportedModel(
                    f"the ONNX graph computes with the ensemble's scores ({node.op_type}); after a tree ensemble "
                    f"recourse reads only {', '.join(AFTER)}. It can be explained as a black box: black_box=True"
                )
            names |= set(node.output)
    if not names & {value.name for value in graph.output}:
        raise UnsupportedModel("no output of the ONNX graph holds the ensemble's scores")


def attributes(node: Any) -> dict[str, Any]:
    """Return a node's attributes as plain values."""
    from onnx import helper, numpy_helper

    out = {}
    for part in node.attribute:
        value = helper.get_attribute_value(part)
        out[part.name] = numpy_helper.to_array(value) if hasattr(value, "raw_data") else value
    return out


def grow(node: Any) -> Grove:
    """Return the trees of an ensemble's node.

    Raises
    ------
    UnsupportedModel
        If a test is of a kind that recourse does not read.
    ModelError
        If the lists do not fit together.
    """
    parts = attributes(node)
    try:
        return _grow_listed(parts) if node.op_type == "TreeEnsemble" else _grow_numbered(node.op_type, parts)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ModelError(
            f"the ONNX file is damaged: its trees do not fit together ({error}); export it again"
        ) from None


def _grow_numbered(kind: str, parts: Mapping[str, Any]) -> Grove:
    """Trees of the older operators: nodes by the numbers of their tree and themselves."""
    prefix = "class" if kind == "TreeEnsembleClassifier" else "target"
    keys = list(zip(_list(parts["nodes_treeids"]), _list(parts["nodes_nodeids"]), strict=True))
    place = {key: at for at, key in enumerate(keys)}
    if len(place) != len(keys):
        raise ValueError("a node stands twice")
    values = _list(parts.get("nodes_values", parts.get("nodes_values_as_tensor", ())))
    weights = _list(parts.get(f"{prefix}_weights", parts.get(f"{prefix}_weights_as_tensor", ())))
    tracks = _list(parts.get("nodes_missing_value_tracks_true", ())) or [0] * len(keys)
    nodes: list[Branch | dict[int, float]] = []
    children: set[int] = set()
    rows = zip(keys, _list(parts["nodes_modes"]), _list(parts["nodes_featureids"]), values, tracks, strict=True)
    ends = zip(_list(parts["nodes_truenodeids"]), _list(parts["nodes_falsenodeids"]), strict=True)
    for (key, mode, column, value, track), (true, false) in zip(rows, ends, strict=True):
        mode = mode.decode() if isinstance(mode, bytes) else str(mode)
        if mode == "LEAF":
            nodes.append({})
            continue
        branch = _branch(column, mode, value, place[key[0], true], place[key[0], false], track)
        children |= {branch.true, branch.false}
        nodes.append(branch)
    for tree, number, target, weight in zip(
        *(_list(parts[f"{prefix}_{what}"]) for what in ("treeids", "nodeids", "ids")), weights, strict=True
    ):
        leaf = nodes[place[tree, number]]
        if not isinstance(leaf, dict):
            raise ValueError(f"node {number} of tree {tree} has children and a weight")
        leaf[int(target)] = leaf.get(int(target), 0.0) + float(weight)
    trees = list(dict.fromkeys(tree for tree, _ in keys))
    roots = [next(at for at, key in enumerate(keys) if key[0] == tree and at not in children) for tree in trees]
    labels = parts.get("classlabels_int64s", parts.get("classlabels_strings", ()))
    labels = tuple(label.decode() if isinstance(label, bytes) else label for label in labels)
    base = _list(parts.get("base_values", parts.get("base_values_as_tensor", ())))
    return Grove(
        nodes, roots, labels or ((0, 1) if prefix == "class" else ()), tuple(map(float, base)),
        _text(parts.get("aggregate_function", "SUM")), _text(parts.get("post_transform", "NONE")),
    )  # fmt: skip


def _grow_listed(parts: Mapping[str, Any]) -> Grove:
    """Trees of the operator TreeEnsemble: inner nodes and leaves in lists of their own."""
    splits, modes = _list(parts["nodes_splits"]), _list(parts["nodes_modes"])
    n = len(splits)
    tracks = _list(parts.get("nodes_missing_value_tracks_true", ())) or [0] * n
    nodes: list[Branch | dict[int, float]] = []
    for i, mode in enumerate(modes):
        if not 0 <= int(mode) < len(MODES):
            raise UnsupportedModel("the ONNX ensemble tests membership in sets (BRANCH_MEMBER), which is not read yet")
        true, false = (
            int(parts[f"nodes_{side}nodeids"][i]) + (n if parts[f"nodes_{side}leafs"][i] else 0)
            for side in ("true", "false")
        )
        nodes.append(_branch(parts["nodes_featureids"][i], MODES[int(mode)], splits[i], true, false, tracks[i]))
    weights = _list(parts["leaf_weights"])
    nodes += [{int(t): float(w)} for t, w in zip(_list(parts["leaf_targetids"]), weights, strict=True)]
    if any(isinstance(node, Branch) and max(node.true, node.false) >= len(nodes) for node in nodes):
        raise ValueError("a branch leads nowhere")
    return Grove(
        nodes, [int(root) for root in parts["tree_roots"]], (), (),
        AGGREGATES[int(parts.get("aggregate_function", 1))], TRANSFORMS[int(parts.get("post_transform", 0))],
    )  # fmt: skip


def _branch(column: Any, mode: str, value: Any, true: int, false: int, track: Any) -> Branch:
    if mode not in MODES:
        raise UnsupportedModel(f"the ONNX ensemble has tests of the kind {mode!r}; recourse reads {', '.join(MODES)}")
    return Branch(int(column), mode, float(value), true, false, bool(track))


def _list(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
