"""XGBoost's models are read exactly, bit for bit, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recourse.errors import DataError, ModelError, UnsupportedModel
from recourse.models import Column, encode_frame, read_model
from recourse.models.evaluate import evaluate
from recourse.models.xgboost_file import parse

xgb = pytest.importorskip("xgboost")

CITIES = ("york", "bath", "ely", "hull", "wells")


def applicants(seed: int, n: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows with numbers, missing values and two kinds of categories, and their labels."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "income": np.where(rng.random(n) < 0.1, np.nan, rng.normal(40, 12, n).round(1)),
            "debts": rng.integers(-2, 9, n),
            "city": pd.Categorical.from_codes(rng.integers(-1, 5, n), categories=CITIES),
            "grade": pd.Categorical(rng.choice([7, 1, 3], n)),
            "owner": rng.random(n) < 0.5,
        }
    )
    signal = frame["income"].fillna(45) - 4 * frame["debts"] + 9 * (frame["city"] == "ely") + 6 * (frame["grade"] == 3)
    return frame, (signal + rng.normal(0, 8, n) > 30).to_numpy().astype(int)


def fitted(seed: int = 0, **settings: Any) -> tuple[Any, pd.DataFrame, np.ndarray]:
    frame, y = applicants(seed)
    defaults = {"n_estimators": 8, "max_depth": 4, "n_jobs": 1, "enable_categorical": True, "random_state": seed}
    return xgb.XGBClassifier(**(defaults | settings)).fit(frame, y), frame, y


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "base score given": {"base_score": 0.3},
    "parallel trees": {"num_parallel_tree": 3, "subsample": 0.6, "n_estimators": 4},
    "one-hot splits": {"max_cat_to_onehot": 100},
    "partition splits": {"max_cat_to_onehot": 1},
    "leaf-wise": {"grow_policy": "lossguide", "max_leaves": 6, "max_depth": 0},
    "approx": {"tree_method": "approx"},
    "pruned": {"gamma": 2.0, "max_depth": 7},
    "weighted": {"scale_pos_weight": 4.0},
    "logistic regression": {"objective": "reg:logistic"},
    "a single leaf": {"max_depth": 1, "gamma": 1e9, "n_estimators": 2},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("favourable", [0, 1])
def test_scores_are_those_of_the_classifier_on_the_frame(name: str, favourable: int, tmp_path: Path) -> None:
    """Estimator, booster and both kinds of file give the wrapper's own probabilities of either class."""
    classifier, frame, _ = fitted(**SETTINGS[name])
    classifier.save_model(tmp_path / "model.ubj")
    classifier.save_model(tmp_path / "model.json")
    native = classifier.predict_proba(frame)[:, favourable]
    for source in (classifier, classifier.get_booster(), tmp_path / "model.ubj", str(tmp_path / "model.json")):
        model = read_model(source, favourable=favourable)
        matrix = encode_frame(frame, model.columns)
        assert np.array_equal(model.score(matrix), native)
        assert np.array_equal(evaluate(model.core, matrix), model.raw(matrix))
        assert np.array_equal(model.squash(model.raw(matrix)), native)
        assert model.self_check.endswith("probes equal (leaves, values, raw scores, scores)")


@settings(max_examples=15)
@given(
    seed=st.integers(0, 1000),
    depth=st.integers(1, 6),
    trees=st.integers(1, 12),
    parallel=st.integers(1, 2),
    base=st.none() | st.floats(0.05, 0.95),
    rate=st.floats(0.01, 1.0),
    onehot=st.integers(1, 8),
    favourable=st.integers(0, 1),
)
def test_our_arrays_reproduce_every_raw_score(
    seed: int, depth: int, trees: int, parallel: int, base: float | None, rate: float, onehot: int, favourable: int
) -> None:
    """The neutral arrays give the native margin bit for bit on rows that training never saw."""
    classifier, _, _ = fitted(
        seed, max_depth=depth, n_estimators=trees, num_parallel_tree=parallel, base_score=base,
        learning_rate=rate, max_cat_to_onehot=onehot, subsample=0.8,
    )  # fmt: skip
    fresh, _ = applicants(seed + 1)
    model = read_model(classifier, favourable=favourable)
    sign = 1.0 if favourable else -1.0
    native = sign * classifier.predict(fresh, output_margin=True).astype(np.float64)
    assert np.array_equal(evaluate(model.core, encode_frame(fresh, model.columns)), native)


@settings(max_examples=10)
@given(seed=st.integers(0, 100), threshold=st.floats(0.0, 1.0), favourable=st.integers(0, 1))
def test_the_cut_decides_as_the_score_does(seed: int, threshold: float, favourable: int) -> None:
    """Comparing raw scores with the cut approves exactly those rows whose native score reaches the threshold."""
    classifier, frame, _ = fitted(seed, n_estimators=5)
    model = read_model(classifier, favourable=favourable)
    matrix = encode_frame(frame, model.columns)
    score, raw = model.score(matrix), model.raw(matrix)
    for t in (threshold, float(np.median(score)), float(np.nextafter(np.median(score), 2))):
        assert np.array_equal(raw >= model.cut(t), score >= t)


def test_levels_come_from_the_model() -> None:
    """Levels are those of the fitted frame, in the order of their codes; numbers and flags have none."""
    model = read_model(fitted()[0])
    assert model.columns == (
        Column("income"), Column("debts"), Column("city", CITIES), Column("grade", (1, 3, 7)), Column("owner"),
    )  # fmt: skip


def test_early_stopping_is_followed_as_each_door_does(tmp_path: Path) -> None:
    """A classifier and its file stop at the best iteration, a booster goes on to the end; the notes say so."""
    frame, y = applicants(3)
    classifier = xgb.XGBClassifier(n_estimators=60, early_stopping_rounds=4, enable_categorical=True, n_jobs=1)
    classifier.fit(frame, y, eval_set=[(frame[::3], y[::3] ^ (np.arange(100) % 3 == 0))], verbose=False)
    assert classifier.best_iteration + 1 < classifier.get_booster().num_boosted_rounds()
    classifier.save_model(tmp_path / "model.ubj")
    again = xgb.XGBClassifier()
    again.load_model(tmp_path / "model.ubj")
    native = again.predict_proba(frame)[:, 1]
    for source in (classifier, tmp_path / "model.ubj"):
        model = read_model(source)
        assert np.array_equal(model.score(encode_frame(frame, model.columns)), native)
        assert model.core.n_trees == classifier.best_iteration + 1
        assert "early stopping" in model.notes[0]
    booster = classifier.get_booster()
    model = read_model(booster)
    whole = booster.predict(xgb.DMatrix(frame, enable_categorical=True))
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), whole)
    assert model.core.n_trees == booster.num_boosted_rounds()
    assert "all" in model.notes[0]


@pytest.mark.parametrize("spelling", ["5E-1", "[5E-1]", "0.5", "[2.5E-1]", "2.5E-1"])
def test_every_spelling_of_the_base_score_is_read(spelling: str, tmp_path: Path) -> None:
    """`base_score` is a probability, as text or as a list's text, in all versions' files."""
    classifier, frame, _ = fitted(base_score=0.5)
    document = json.loads(classifier.get_booster().save_raw("json"))
    document["learner"]["learner_model_param"]["base_score"] = spelling
    (tmp_path / "model.json").write_text(json.dumps(document))
    model = read_model(tmp_path / "model.json")
    again = xgb.Booster(model_file=tmp_path / "model.json")
    native = again.predict(xgb.DMatrix(frame, enable_categorical=True))
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), native)
    assert (model.core.base == 0.0) == ("2" not in spelling)


def test_margins_are_read_where_there_are_no_probabilities() -> None:
    """`binary:logitraw` gives margins: refused as a probability, with the remedy; read as a decision function."""
    classifier, frame, _ = fitted(objective="binary:logitraw")
    with pytest.raises(ModelError, match=r'decision\.score = "decision_function"'):
        read_model(classifier)
    for favourable, sign in ((1, 1.0), (0, -1.0)):
        model = read_model(classifier, score="decision_function", favourable=favourable)
        native = sign * classifier.predict(frame, output_margin=True).astype(np.float64)
        assert np.array_equal(model.score(encode_frame(frame, model.columns)), native)
        assert model.cut(0.25) == 0.25


def test_a_decision_function_is_the_margin() -> None:
    """With score = "decision_function" the threshold is compared with the margin of any objective."""
    classifier, frame, _ = fitted()
    model = read_model(classifier, score="decision_function")
    native = classifier.predict(frame, output_margin=True).astype(np.float64)
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), native)


@pytest.mark.parametrize("booster", ["dart", "gblinear"])
def test_other_boosters_are_refused_by_name(booster: str) -> None:
    """dart and gblinear are named, with what is supported and the route to come."""
    frame, y = applicants(0)
    data = xgb.DMatrix(frame[["income", "debts"]], y)
    trained = xgb.train({"booster": booster, "objective": "binary:logistic", "nthread": 1}, data, 3)
    with pytest.raises(UnsupportedModel, match=rf"{booster}.*gbtree.*black boxes"):
        read_model(trained)


def test_other_tasks_are_refused_by_name() -> None:
    """Hinge, three classes, regression, several targets and rankers are refused, each by its name."""
    frame, y = applicants(0)
    plain = frame[["income", "debts"]].fillna(0)
    with pytest.raises(UnsupportedModel, match="binary:hinge"):
        read_model(fitted(objective="binary:hinge")[0])
    with pytest.raises(UnsupportedModel, match="3 classes"):
        read_model(xgb.XGBClassifier(n_estimators=2, n_jobs=1).fit(plain, np.arange(len(y)) % 3))
    with pytest.raises(UnsupportedModel, match="XGBRegressor"):
        read_model(xgb.XGBRegressor(n_estimators=2, n_jobs=1).fit(plain, y))
    with pytest.raises(UnsupportedModel, match="reg:squarederror"):
        read_model(xgb.XGBRegressor(n_estimators=2, n_jobs=1).fit(plain, y).get_booster())
    with pytest.raises(UnsupportedModel, match="2 targets"):
        read_model(xgb.XGBClassifier(n_estimators=2, n_jobs=1).fit(plain, np.stack([y, 1 - y], axis=1)))
    with pytest.raises(UnsupportedModel, match="-999"):
        read_model(xgb.XGBClassifier(n_estimators=2, n_jobs=1, missing=-999).fit(plain, y))
    with pytest.raises(ModelError, match="not fitted"):
        read_model(xgb.XGBClassifier())


def test_a_random_forest_is_read() -> None:
    """XGBRFClassifier is one round of many trees."""
    frame, y = applicants(0)
    forest = xgb.XGBRFClassifier(n_estimators=9, max_depth=4, enable_categorical=True, n_jobs=1).fit(frame, y)
    model = read_model(forest)
    assert model.core.n_trees == 9
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), forest.predict_proba(frame)[:, 1])


def test_unknown_favourable_class_is_refused() -> None:
    """A booster knows the classes 0 and 1 only."""
    with pytest.raises(ModelError, match="no class 'good'"):
        read_model(fitted()[0], favourable="good")


def test_codes_without_names_take_the_levels_of_the_policy() -> None:
    """A model fitted on codes needs levels: texts stand for their places, whole numbers for themselves."""
    frame, y = applicants(0)
    raw = np.stack([frame["income"], frame["grade"].astype(float)], axis=1)
    data = xgb.DMatrix(raw, y, feature_types=["q", "c"], feature_names=["income", "grade"], enable_categorical=True)
    booster = xgb.train({"objective": "binary:logistic", "nthread": 1, "max_cat_to_onehot": 9}, data, 6)
    with pytest.raises(ModelError, match="levels"):
        read_model(booster)
    model = read_model(booster, levels={"grade": [7, 1, 3]})
    assert "'grade'" in model.notes[0]
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), booster.predict(data))
    named = read_model(booster, levels={"grade": list("abcdefgh")})
    letters = frame.assign(grade=[("abcdefgh")[int(g)] for g in frame["grade"]])
    assert np.array_equal(named.score(encode_frame(letters, named.columns)), booster.predict(data))


def test_numbers_are_not_taken_for_places() -> None:
    """A model whose codes are the places of numeric levels, as old files of pandas categories, is not misread."""
    frame, y = applicants(0)
    places = np.searchsorted([1, 3, 7], frame["grade"].astype(int)).astype(float)
    raw = np.stack([frame["income"], places], axis=1)
    data = xgb.DMatrix(raw, y, feature_types=["q", "c"], feature_names=["income", "grade"], enable_categorical=True)
    booster = xgb.train({"objective": "binary:logistic", "nthread": 1, "max_cat_to_onehot": 9}, data, 9)
    with pytest.raises(ModelError, match=r"tests 'grade' for the code [02], which is not among the policy's levels"):
        read_model(booster, levels={"grade": [1, 3, 7]})


def test_a_file_may_lack_the_types_of_its_features(tmp_path: Path) -> None:
    """A column that is split by category is a category, even where the file does not say so."""
    classifier, frame, _ = fitted(max_cat_to_onehot=1)
    document = json.loads(classifier.get_booster().save_raw("json"))
    document["learner"]["feature_types"] = []
    document["learner"]["gradient_booster"]["model"]["cats"]["enc"] = []
    document["learner"]["gradient_booster"]["model"]["cats"]["feature_segments"] = []
    document["learner"]["gradient_booster"]["model"]["cats"]["sorted_idx"] = []
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="levels"):
        read_model(tmp_path / "model.json")
    model = read_model(tmp_path / "model.json", levels={"city": CITIES, "grade": ["1", "3", "7"]})
    native = classifier.predict_proba(frame)[:, 1]
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), native)


def test_names_beyond_ascii_are_checked_against_the_policy() -> None:
    """XGBoost cuts such names short: the policy's levels are taken if they fit what is left, else refused."""
    frame, y = applicants(0)
    cities = ["Ávila", "Bath", "Çeşme", "Hull", "Ürgüp"]
    frame["city"] = frame["city"].cat.rename_categories(cities)
    classifier = xgb.XGBClassifier(n_estimators=6, enable_categorical=True, n_jobs=1).fit(frame, y)
    with pytest.raises(ModelError, match=r"beyond ASCII.*\[features.city\]"):
        read_model(classifier)
    with pytest.raises(ModelError, match="not those of"):
        read_model(classifier, levels={"city": cities[::-1]})
    model = read_model(classifier, levels={"city": cities})
    matrix = encode_frame(frame, model.columns)
    codes = frame.assign(city=frame["city"].cat.codes.replace(-1, np.nan), grade=frame["grade"].cat.codes).astype(float)
    types = ["q", "q", "c", "c", "q"]
    data = xgb.DMatrix(codes.to_numpy(), feature_types=types, enable_categorical=True)
    assert np.array_equal(model.score(matrix), classifier.get_booster().predict(data, validate_features=False))


def test_names_are_needed() -> None:
    """A model fitted on a bare array has no names: they must be given, as many as there are inputs."""
    frame, y = applicants(0)
    array = frame[["income", "debts"]].to_numpy(dtype=float)
    classifier = xgb.XGBClassifier(n_estimators=3, n_jobs=1).fit(array, y)
    with pytest.raises(ModelError, match="2 inputs"):
        read_model(classifier)
    with pytest.raises(ModelError, match="3 names"):
        read_model(classifier, columns=["a", "b", "c"])
    model = read_model(classifier, columns=["income", "debts"])
    assert [c.name for c in model.columns] == ["income", "debts"]
    assert np.array_equal(model.score(array), classifier.predict_proba(array)[:, 1])


def test_a_number_beyond_float32_names_its_column() -> None:
    """XGBoost computes in float32; a larger number is an error that names column and row."""
    classifier, frame, _ = fitted()
    model = read_model(classifier)
    matrix = encode_frame(frame.assign(debts=frame["debts"].astype(float)), model.columns)
    matrix[4, 1] = 1e39
    with pytest.raises(DataError, match=r"'debts', row 4 .*1e\+39"):
        model.score(matrix)


def test_the_callers_model_stays_as_it_is() -> None:
    """Reading changes neither parameters nor trees, and later training does not change what was read."""
    frame, y = applicants(0)
    data = xgb.DMatrix(frame, y, enable_categorical=True)
    booster = xgb.train({"objective": "binary:logistic", "nthread": 2}, data, 3)
    before = booster.save_config(), bytes(booster.save_raw("ubj"))
    model = read_model(booster)
    assert (booster.save_config(), bytes(booster.save_raw("ubj"))) == before
    matrix = encode_frame(frame, model.columns)
    score = model.score(matrix)
    booster.update(data, 3)
    assert np.array_equal(model.score(matrix), score)


def test_an_estimator_is_known_by_its_arrays() -> None:
    """The fingerprint of a model in memory changes with the model and with nothing else."""
    first, second = (read_model(fitted(seed)[0]).sha256 for seed in (0, 1))
    assert first != second
    assert first == read_model(fitted(0)[0].get_booster()).sha256
    assert first.startswith("sha256:")


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), binary=st.booleans(), cut=st.booleans())
def test_a_damaged_file_is_an_error_and_no_crash(seed: int, binary: bool, cut: bool) -> None:
    """Cut anywhere, a file is refused; with any byte changed it is refused, or read and checked, and nothing falls."""
    rng = np.random.default_rng(seed)
    content = bytearray(DAMAGED.setdefault(binary, fitted()[0].get_booster().save_raw("ubj" if binary else "json")))
    place = int(rng.integers(1, len(content)))
    if cut:
        with pytest.raises(ModelError, match="truncated"):
            parse(content[:place])
        return
    content[place] = int(rng.integers(256))
    path = Path(FOLDER[0]) / ("model.ubj" if binary else "model.json")
    path.write_bytes(content)
    try:
        read_model(path)
    except ModelError as error:
        message = str(error)
    else:
        message = str(path)
    assert str(path) in message
    assert "\n" not in message


DAMAGED: dict[bool, bytearray] = {}
FOLDER: list[str] = []


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    FOLDER[:] = [str(tmp_path_factory.mktemp("damaged"))]


def test_the_documents_parts_must_fit() -> None:
    """A cycle, an orphan, a foreign feature, a tree astray or missing, a short array: all are found before loading."""
    whole = json.loads(fitted()[0].get_booster().save_raw("json"))

    def spoilt(change: Any) -> bytes:
        document = json.loads(json.dumps(whole))
        change(document["learner"]["gradient_booster"]["model"])
        return json.dumps(document).encode()

    def cycle(model: Any) -> None:
        model["trees"][0]["left_children"][1] = 1

    def foreign(model: Any) -> None:
        model["trees"][1]["split_indices"][0] = 5

    def fewer(model: Any) -> None:
        model["trees"].pop()

    def orphan(model: Any) -> None:
        model["trees"][3]["parents"][4] = 1 << 20

    def astray(model: Any) -> None:
        model["tree_info"][2] = 3

    def short(model: Any) -> None:
        model["trees"][2]["base_weights"].pop()

    for change, message in (
        (cycle, "nodes|paths"),
        (foreign, "beyond the 5"),
        (fewer, "7 trees of 8"),
        (orphan, "parents"),
        (astray, "classes beyond"),
        (short, "base_weights"),
    ):
        with pytest.raises(ModelError, match=message):
            parse(spoilt(change))


def test_the_frozen_instances_are_read(instances: Path) -> None:
    """The yardsticks of the search are read, with the hash that their card states."""
    card = json.loads((instances / "instances.json").read_text())
    model = read_model(instances / "heloc-xgboost-100x6.ubj")
    assert model.sha256 == "sha256:" + card["models"]["heloc-xgboost-100x6"]
    assert model.core.n_trees == 100
