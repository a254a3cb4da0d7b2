"""CatBoost and ONNX models of real data are read bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recourse import datasets, read_model
from recourse.errors import DataError, ModelError, UnsupportedModel
from recourse.models import encode_frame
from recourse.models.evaluate import evaluate
from recourse.models.trees import Trees

DataDir = Callable[[str], Path]


def some(name: str, data_dir: DataDir, n: int = 1500) -> tuple[pd.DataFrame, np.ndarray]:
    data = datasets.load(name, path=data_dir(name))
    return data.frame.head(n).reset_index(drop=True), np.asarray(data.target).astype(int)[:n]


def adult(data_dir: DataDir) -> tuple[pd.DataFrame, np.ndarray, dict[str, list[str]]]:
    """Return Adult with a missing number in places, its target and its levels."""
    frame, target = some("adult", data_dir)
    frame = frame.iloc[:, :8].copy()
    texts = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    for name in texts:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "unknown")
    numbers = [c for c in frame if c not in texts]
    frame[numbers[0]] = frame[numbers[0]].astype(float).mask(frame.index % 7 == 0)
    return frame, target, {name: sorted(set(frame[name])) for name in texts}


def catboost_of(frame: pd.DataFrame, target: np.ndarray, **how: Any) -> Any:
    catboost = pytest.importorskip("catboost")
    texts = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    settings = {"iterations": 20, "depth": 4, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    return catboost.CatBoostClassifier(**settings, **how).fit(frame, target, cat_features=texts)


@pytest.mark.parametrize("policy", ["SymmetricTree", "Depthwise", "Lossguide"])
@pytest.mark.parametrize("favourable", [0, 1])
def test_catboost_with_one_hot_splits_is_read(data_dir: DataDir, policy: str, favourable: int) -> None:
    """Adult's categories, missing numbers and unseen levels score as the library scores them."""
    frame, target, levels = adult(data_dir)
    fitted = catboost_of(frame, target, one_hot_max_size=255, grow_policy=policy)
    model = read_model(fitted, favourable=favourable, levels=levels)
    strange = frame.copy()
    strange.loc[::5, next(iter(levels))] = "never seen"
    matrix = encode_frame(strange, model.columns)
    assert np.array_equal(model.score(matrix), fitted.predict_proba(strange)[:, favourable])
    assert isinstance(model.core, Trees)
    assert np.array_equal(evaluate(model.core, matrix), model.raw(matrix))
    matrix[3, list(frame.columns).index(next(iter(levels)))] = np.nan
    with pytest.raises(DataError, match="the category is missing"):
        model.score(matrix)


@pytest.mark.parametrize("form", ["cbm", "json"])
def test_catboost_files_are_read(data_dir: DataDir, tmp_path: Path, form: str) -> None:
    """A file is read as the library loads it (JSON rounds leaves); one cut short is an error that names it."""
    frame, target = some("heloc", data_dir)
    fitted = catboost_of(frame, target, nan_mode="Max", boost_from_average=True)
    path = tmp_path / f"model.{form}"
    fitted.save_model(str(path), format=form)
    model = read_model(path)
    matrix = encode_frame(frame, model.columns)
    loaded = type(fitted)().load_model(str(path), format=form)
    assert np.array_equal(model.score(matrix), loaded.predict_proba(frame)[:, 1])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match=f"model.{form}.*truncated or damaged"):
        read_model(path)


def test_counts_of_the_target_are_refused_with_the_remedy(data_dir: DataDir) -> None:
    """Categories that CatBoost replaces by target statistics are refused; the message says how to fit without."""
    frame, target, levels = adult(data_dir)
    with pytest.raises(UnsupportedModel, match="one_hot_max_size"):
        read_model(catboost_of(frame, target), levels=levels)


def onnx_of(fitted: Any, n: int) -> Any:
    skl2onnx = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType

    return skl2onnx.convert_sklearn(fitted, initial_types=[("x", FloatTensorType([None, n]))])


@pytest.mark.parametrize("favourable", [0, 1])
@pytest.mark.parametrize("kind", [RandomForestClassifier, GradientBoostingClassifier])
def test_an_onnx_ensemble_is_read_as_its_runtime_scores(data_dir: DataDir, kind: Any, favourable: int) -> None:
    """Float32 sums and transforms are those of onnxruntime, bit for bit."""
    onnxruntime = pytest.importorskip("onnxruntime")
    frame, target = some("heloc", data_dir)
    frame = frame.iloc[:, :6]
    graph = onnx_of(kind(n_estimators=20, max_depth=4, random_state=0).fit(frame.to_numpy(), target), 6)
    model = read_model(graph, favourable=favourable, columns=list(frame.columns))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    matrix = encode_frame(frame, model.columns)
    rows = frame.head(200).to_numpy(np.float32)  # one by one: with several, its threads add in another order
    told = [session.run(None, {"x": rows[i : i + 1]})[1][0][favourable] for i in range(len(rows))]
    assert model.score(matrix)[:200].tolist() == told
    assert isinstance(model.core, Trees)
    assert np.array_equal(evaluate(model.core, matrix), model.raw(matrix))


def test_onnx_inputs_of_one_column_give_the_names(data_dir: DataDir, tmp_path: Path) -> None:
    """Inputs that a Concat joins are columns by their own names, and a Cast before the ensemble is followed."""
    onnx = pytest.importorskip("onnx")
    frame, target = some("heloc", data_dir)
    frame = frame.iloc[:, :3]
    graph = onnx_of(RandomForestClassifier(5, max_depth=3, random_state=0).fit(frame.to_numpy(), target), 3)
    kind = onnx.TensorProto.DOUBLE
    inputs = [onnx.helper.make_tensor_value_info(name, kind, [None, 1]) for name in frame]
    del graph.graph.input[:]
    graph.graph.input.extend(inputs)
    nodes = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.append(onnx.helper.make_node("Concat", list(frame.columns), ["joined"], axis=1))
    graph.graph.node.append(onnx.helper.make_node("Cast", ["joined"], ["x"], to=onnx.TensorProto.FLOAT))
    graph.graph.node.extend(nodes)
    path = tmp_path / "model.onnx"
    onnx.save(graph, str(path))
    model = read_model(path)
    assert [column.name for column in model.columns] == list(frame.columns)
    matrix = encode_frame(frame, model.columns)
    assert isinstance(model.core, Trees)
    assert np.array_equal(evaluate(model.core, matrix), model.raw(matrix))


@pytest.mark.parametrize("mode", range(6))
def test_every_test_of_the_newer_operator_is_read(mode: int) -> None:
    """TreeEnsemble in float64, with each kind of branch and missing values either way."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    tensor = onnx.helper.make_tensor
    node = onnx.helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, aggregate_function=1, post_transform=0,
        tree_roots=[0], nodes_modes=tensor("m", onnx.TensorProto.UINT8, (2,), [mode, 0]), nodes_featureids=[0, 1],
        nodes_splits=tensor("s", onnx.TensorProto.DOUBLE, (2,), [3.3, 0.1]), nodes_truenodeids=[1, 0],
        nodes_trueleafs=[0, 1], nodes_falsenodeids=[2, 1], nodes_falseleafs=[1, 1],
        nodes_missing_value_tracks_true=[1, 0], leaf_targetids=[0, 0, 0],
        leaf_weights=tensor("w", onnx.TensorProto.DOUBLE, (3,), [0.1, 0.7, 0.4]),
    )  # fmt: skip
    kind = onnx.TensorProto.DOUBLE
    graph = onnx.helper.make_graph(
        [node], "g", [onnx.helper.make_tensor_value_info("x", kind, [None, 2])],
        [onnx.helper.make_tensor_value_info("y", kind, [None, 1])],
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid("ai.onnx.ml", 5), onnx.helper.make_opsetid("", 21)]
    made = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    assert "probes equal" in read_model(made, columns=["a", "b"]).self_check


def test_other_operators_are_named(data_dir: DataDir) -> None:
    """A scaler before the ensemble is refused by its name."""
    frame, target = some("heloc", data_dir, 500)
    fitted = make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0)).fit(frame.to_numpy(), target)
    with pytest.raises(UnsupportedModel, match="prepares its columns with Scaler"):
        read_model(onnx_of(fitted, frame.shape[1]), columns=list(frame.columns))
