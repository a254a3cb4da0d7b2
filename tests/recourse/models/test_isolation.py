"""Isolation forests are read bit for bit, and say which rows are plausible as the library does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from recourse.errors import ModelError, UnsupportedModel
from recourse.models import encode_frame, read_plausibility
from recourse.models.evaluate import evaluate
from recourse.models.trees import Trees
from tests.rawrows import adversarial_rows


def rows_of(seed: int, *, missing: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(300, 4)) * [1, 10, 1e4, 0.1], columns=list("abcd")).round(3)
    frame["home"] = rng.choice(["rent", "own", "free"], len(frame), p=[0.6, 0.35, 0.05])
    if missing:
        frame = frame.mask(rng.random(frame.shape) < 0.1)
    return frame


FORESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "contaminated": {"contamination": 0.1},
    "some columns": {"max_features": 0.5},
    "one column": {"max_features": 1, "max_samples": 40},
    "bootstrap": {"bootstrap": True, "contamination": 0.2},
    "all alike": {"max_samples": 1},
}


@pytest.mark.parametrize("kind", FORESTS)
@pytest.mark.parametrize("missing", [False, True])
def test_scores_are_the_library_s(kind: str, missing: bool) -> None:
    """Path lengths add up as the library adds them; its decision function is a rising map of the sum, bit for bit."""
    numbers = rows_of(0, missing=missing)[list("abcd")]
    forest = IsolationForest(n_estimators=25, random_state=1, **FORESTS[kind]).fit(numbers)
    model = read_plausibility(forest)
    assert isinstance(model.core, Trees)
    assert "equal" in model.self_check
    rows = adversarial_rows(model, numbers, 2000, 3, missing=missing)
    matrix = encode_frame(rows, model.columns)
    native = forest.decision_function(rows)
    assert np.array_equal(model.score(matrix), native)
    assert np.array_equal(model.squash(evaluate(model.core, matrix)), native)
    plausible = evaluate(model.core, matrix) >= model.cut(0.0)
    assert np.array_equal(plausible, forest.predict(rows) == 1) or kind == "all alike"
    assert np.array_equal(plausible, native >= 0)


def test_a_pipeline_around_a_forest() -> None:
    """Encoders and scalers in front are pulled back to raw columns, as for a classifier."""
    frame = rows_of(1)
    steps = make_column_transformer(
        (StandardScaler(), list("abcd")), (OneHotEncoder(handle_unknown="ignore"), ["home"]), sparse_threshold=0
    )
    whole = Pipeline([("prep", steps), ("model", IsolationForest(n_estimators=20, random_state=0))]).fit(frame)
    model = read_plausibility(whole)
    assert [c.name for c in model.columns] == [*"abcd", "home"]
    assert model.columns[-1].levels == ("free", "own", "rent")
    rows = adversarial_rows(model, frame, 2000, 3, missing={"home"})
    matrix = encode_frame(rows, model.columns)
    assert np.array_equal(model.score(matrix), whole.decision_function(rows))
    assert isinstance(model.core, Trees)
    assert np.array_equal(model.squash(evaluate(model.core, matrix)), whole.decision_function(rows))


def test_what_is_no_isolation_forest_is_refused() -> None:
    """Other estimators, unfitted ones and nameless columns are refused in one line."""
    numbers = rows_of(2)[list("abcd")]
    with pytest.raises(UnsupportedModel, match="RandomForestClassifier cannot be read as a plausibility model"):
        read_plausibility(RandomForestClassifier(2).fit(numbers, numbers["a"] > 0))
    with pytest.raises(UnsupportedModel, match="plausibility"):
        read_plausibility(make_pipeline(StandardScaler(), RandomForestClassifier(2)).fit(numbers, numbers["a"] > 0))
    with pytest.raises(ModelError, match="not fitted"):
        read_plausibility(IsolationForest())
    nameless = IsolationForest(n_estimators=3).fit(numbers.to_numpy())
    with pytest.raises(ModelError, match="stores no feature names"):
        read_plausibility(nameless)
    assert [c.name for c in read_plausibility(nameless, ["p", "q", "r", "s"]).columns] == ["p", "q", "r", "s"]
