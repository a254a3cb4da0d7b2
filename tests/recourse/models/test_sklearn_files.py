"""Estimators come back from files unchanged, and nothing in a file runs unless asked for."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from recourse.errors import ModelError, UnsupportedModel
from recourse.models import encode_frame, read_model


@pytest.fixture(scope="module")
def data() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"income": rng.normal(size=90).round(1), "debt": rng.normal(size=90).round(1)})
    frame["housing"] = pd.Categorical(rng.choice(["rent", "own"], 90))
    return frame, (frame["income"] + (frame["housing"] == "own") > 0.3).astype(int).to_numpy()


ESTIMATORS: dict[str, Any] = {
    "forest": lambda: RandomForestClassifier(3, random_state=0),
    "boosting": lambda: GradientBoostingClassifier(n_estimators=3),
    "hist": lambda: HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=3),
    "logistic": lambda: LogisticRegression(),
}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_skops_file_is_the_estimator(kind: str, data: tuple[pd.DataFrame, np.ndarray], tmp_path: Path) -> None:
    """Read from skops without allowing anything, the model scores as the estimator that was saved."""
    frame, y = data
    used = frame if kind == "hist" else frame[["income", "debt"]]
    fitted = ESTIMATORS[kind]().fit(used, y)
    path = tmp_path / "model.skops"
    skops.io.dump(fitted, path)
    model = read_model(path)
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), read_model(fitted).score(
        encode_frame(frame, model.columns)
    ))  # fmt: skip
    assert model.sha256.startswith("sha256:")


def test_a_skops_file_with_foreign_types_names_them(tmp_path: Path) -> None:
    """A type that is not known to be harmless is not loaded, and is named."""
    path = tmp_path / "model.skops"
    pipeline = make_pipeline(FunctionTransformer(joblib.hash), LogisticRegression())
    skops.io.dump(pipeline, path)
    with pytest.raises(UnsupportedModel, match=r"joblib\.hashing\.hash"):
        read_model(path)


def test_a_damaged_skops_file_is_an_error(data: tuple[pd.DataFrame, np.ndarray], tmp_path: Path) -> None:
    """A skops file cut short, at any length, is one readable error."""
    frame, y = data
    whole = skops.io.dumps(LogisticRegression().fit(frame[["income"]], y))
    path = tmp_path / "model.skops"
    for size in (4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"model\.skops"):
            read_model(path)


class Bomb:
    """Runs code when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.skops", "model.json"])
def test_a_pickle_runs_nothing_unasked(name: str, tmp_path: Path) -> None:
    """Whatever it is called, a pickle is refused before any of it runs."""
    mark = tmp_path / "ran"
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ModelError, match="can run"):
        read_model(path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib"])
def test_an_allowed_pickle_is_read_with_a_warning(
    name: str, data: tuple[pd.DataFrame, np.ndarray], tmp_path: Path
) -> None:
    """Opted in, a pickle is read, and the warning says why that is dangerous."""
    frame, y = data
    fitted = LogisticRegression().fit(frame[["income", "debt"]], y)
    path = tmp_path / name
    if name.endswith("pkl"):
        path.write_bytes(pickle.dumps(fitted))
    else:
        joblib.dump(fitted, path, compress=3)
    with pytest.warns(UserWarning, match="can run any code"):
        model = read_model(path, allow_pickle=True)
    assert model.name == "sklearn.LogisticRegression"
    path.write_bytes(path.read_bytes()[:50])
    with (
        pytest.warns(UserWarning, match="can run any code"),
        pytest.raises(ModelError, match="cannot be read as a pickle"),
    ):
        read_model(path, allow_pickle=True)
