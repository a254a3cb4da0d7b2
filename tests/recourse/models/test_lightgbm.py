"""LightGBM's models are read exactly, bit for bit, or refused by name."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recourse.errors import ModelError, SelfCheckFailed, UnsupportedModel
from recourse.models import Column, encode_frame, read_model
from recourse.models.evaluate import evaluate
from recourse.models.lightgbm import ZERO
from recourse.models.lightgbm_file import parse

lgb = pytest.importorskip("lightgbm")

CITIES = ("york", "bath", "ely", "hull", "wells")


def applicants(seed: int, n: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows with numbers, zeros, missing values and two kinds of categories, and their labels."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "income": np.where(rng.random(n) < 0.1, np.nan, rng.normal(0, 12, n).round(1)),
            "debts": rng.integers(-3, 4, n),
            "city": pd.Categorical.from_codes(rng.integers(-1, 5, n), categories=CITIES),
            "grade": pd.Categorical(rng.choice([7, 1, 3], n)),
            "tiny": rng.choice([0.0, 1e-36, -1e-36, ZERO, -ZERO, 2e-35, -2e-35, 1.0, -1.0], n),
        }
    )
    signal = frame["income"].fillna(5) - 4 * frame["debts"] ** 2 + 9 * (frame["city"] == "ely") + 9 * frame["tiny"] ** 2
    return frame, (signal + rng.normal(0, 6, n) > -6).to_numpy().astype(int)


def fitted(seed: int = 0, **settings: Any) -> tuple[Any, pd.DataFrame, np.ndarray]:
    frame, y = applicants(seed)
    defaults = {
        "n_estimators": 12, "num_leaves": 8, "min_child_samples": 4, "min_data_per_group": 4, "cat_smooth": 1.0,
        "min_data_in_bin": 1, "verbose": -1, "n_jobs": 1, "random_state": seed,
    }  # fmt: skip
    return lgb.LGBMClassifier(**(defaults | settings)).fit(frame, y), frame, y


FOREST = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
SETTINGS: dict[str, dict[str, Any]] = {
    "missing is NaN": {},
    "missing is zero": {"zero_as_missing": True},
    "missing is nothing": {"use_missing": False},
    "forest": FOREST,
    "dart": {"boosting_type": "dart"},
    "goss": {"data_sample_strategy": "goss"},
    "steep sigmoid": {"sigmoid": 2.5},
    "flat sigmoid in a forest": FOREST | {"sigmoid": 0.4},
    "cross entropy": {"objective": "cross_entropy"},
    "unbalanced": {"is_unbalance": True, "boost_from_average": False},
    "one-hot splits": {"max_cat_to_onehot": 10},
    "a single leaf": {"min_child_samples": 1000},
}


@pytest.mark.filterwarnings("ignore:Found `data_sample_strategy`:UserWarning")
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("favourable", [0, 1])
def test_scores_are_those_of_the_classifier_on_the_frame(name: str, favourable: int, tmp_path: Path) -> None:
    """Estimator, booster and text file give the wrapper's own probabilities of either class."""
    classifier, frame, _ = fitted(**SETTINGS[name])
    classifier.booster_.save_model(tmp_path / "model.txt")
    native = classifier.predict_proba(frame)[:, favourable]
    for source in (classifier, classifier.booster_, tmp_path / "model.txt"):
        model = read_model(source, favourable=favourable)
        matrix = encode_frame(frame, model.columns)
        assert np.array_equal(model.score(matrix), native)
        assert np.array_equal(evaluate(model.core, matrix), model.raw(matrix))
        assert np.array_equal(model.squash(model.raw(matrix)), native)
        assert model.self_check.endswith("equal (leaves, values, raw scores, scores)")


@settings(max_examples=20)
@given(
    seed=st.integers(0, 1000),
    leaves=st.integers(2, 20),
    zero=st.booleans(),
    missing=st.booleans(),
    onehot=st.integers(1, 8),
    forest=st.booleans(),
    favourable=st.integers(0, 1),
)
def test_our_arrays_reproduce_every_raw_score(
    seed: int, leaves: int, zero: bool, missing: bool, onehot: int, forest: bool, favourable: int
) -> None:
    """The neutral arrays give the native raw score bit for bit on rows that training never saw."""
    classifier, _, _ = fitted(
        seed, num_leaves=leaves, zero_as_missing=zero, use_missing=missing, max_cat_to_onehot=onehot,
        **(FOREST if forest else {}),
    )  # fmt: skip
    fresh, _ = applicants(seed + 1)
    model = read_model(classifier, favourable=favourable)
    native = (1.0 if favourable else -1.0) * classifier.predict(fresh, raw_score=True)
    assert np.array_equal(evaluate(model.core, encode_frame(fresh, model.columns)), native)


def stump(threshold: float, missing_type: int, default_left: bool, values: Any = ((1.0, 2.0),)) -> str:
    """Return a model written by hand: trees of one split, with their values to the left and to the right."""
    trees = [
        f"Tree={i}\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nsplit_gain=1\nthreshold={threshold!r}\n"
        f"decision_type={4 * missing_type + 2 * default_left}\nleft_child=-1\nright_child=-2\n"
        f"leaf_value={left!r} {right!r}\nleaf_weight=1 1\nleaf_count=1 1\n"
        "internal_value=0\ninternal_weight=0\ninternal_count=2\nis_linear=0\nshrinkage=1\n\n\n"
        for i, (left, right) in enumerate(values)
    ]
    return (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\n"
        "objective=binary sigmoid:1\nfeature_names=x\nfeature_infos=[-9:9]\n"
        f"tree_sizes={' '.join(str(len(tree)) for tree in trees)}\n\n{''.join(trees)}"
        "end of trees\n\nparameters:\nend of parameters\n\npandas_categorical:null\n"
    )


NEAR = [0.0, ZERO, 2e-35, 5e-36, 1.5]
THRESHOLDS = sorted(
    {s * t for t in NEAR for s in (1, -1)} | {np.nextafter(s * ZERO, s2) for s in (1, -1) for s2 in (2, -2)}
)


@pytest.mark.parametrize(("missing_type", "default_left"), list(itertools.product((0, 1, 2), (False, True))))
def test_zeros_go_where_the_library_sends_them(missing_type: int, default_left: bool, tmp_path: Path) -> None:
    """For every missing type, default and threshold around zero, every number around zero ends in its native leaf."""
    cells = np.array(
        [[x] for t in THRESHOLDS for x in (t, np.nextafter(t, -9), np.nextafter(t, 9))] + [[np.nan], [-0.0]]
    )
    for threshold in THRESHOLDS:
        path = tmp_path / "stump.txt"
        path.write_text(stump(float(threshold), missing_type, default_left))
        model = read_model(path)
        assert np.array_equal(evaluate(model.core, cells), lgb.Booster(model_file=path).predict(cells, raw_score=True))


@settings(max_examples=10)
@given(seed=st.integers(0, 100), threshold=st.floats(0.0, 1.0), favourable=st.integers(0, 1), forest=st.booleans())
def test_the_cut_decides_as_the_score_does(seed: int, threshold: float, favourable: int, forest: bool) -> None:
    """Comparing raw scores with the cut approves exactly those rows whose native score reaches the threshold."""
    classifier, frame, _ = fitted(seed, **(FOREST if forest else {}))
    model = read_model(classifier, favourable=favourable)
    matrix = encode_frame(frame, model.columns)
    score, raw = model.score(matrix), model.raw(matrix)
    for t in (threshold, float(np.median(score)), float(np.nextafter(np.median(score), 2))):
        assert np.array_equal(raw >= model.cut(t), score >= t)


@settings(max_examples=20)
@given(favourable=st.integers(0, 1), sigmoid=st.floats(0.01, 10), seed=st.integers(0, 1000))
def test_squash_is_the_librarys_own(favourable: int, sigmoid: float, seed: int) -> None:
    """Squash equals the library's conversion bit for bit, on raw scores that are the leaves of a model's trees."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(0, 300 ** rng.random(), (60, 2)).tolist()
    text = stump(0.5, 0, False, margins).replace("sigmoid:1", f"sigmoid:{sigmoid:g}")
    model = read_model(FILES.write(text), favourable=favourable)
    booster = lgb.Booster(model_str=text)
    sides = np.array([[0.0], [1.0]])
    for tree, margin in enumerate(margins):
        p = booster.predict(sides, start_iteration=tree, num_iteration=1, num_threads=1)
        raw = np.array(margin) if favourable else -np.array(margin)
        assert np.array_equal(model.squash(raw), p if favourable else 1.0 - p)


def test_a_sigmoid_that_its_text_rounds_is_refused() -> None:
    """A booster still in training may have more digits of the sigmoid than LightGBM saves: then it is refused."""
    frame, y = applicants(0)
    parameters = {"objective": "binary", "sigmoid": 1 / 3, "verbose": -1, "num_threads": 1}
    booster = lgb.train(parameters, lgb.Dataset(frame, y), 3, keep_training_booster=True)
    with pytest.raises(SelfCheckFailed, match="score is not the library's"):
        read_model(booster)
    classifier, frame, _ = fitted(sigmoid=1 / 3)
    model = read_model(classifier)
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), classifier.predict_proba(frame)[:, 1])


class _Files:
    """A folder for the files of Hypothesis's examples."""

    folder: Path

    def write(self, content: str | bytes) -> Path:
        path = self.folder / "model.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


FILES = _Files()


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    FILES.folder = tmp_path_factory.mktemp("files")


def test_levels_come_from_the_model() -> None:
    """Levels are those of the fitted frame, in the order of their codes; numbers have none."""
    model = read_model(fitted()[0])
    assert model.columns == (
        Column("income"), Column("debts"), Column("city", CITIES), Column("grade", (1, 3, 7)), Column("tiny"),
    )  # fmt: skip


@pytest.mark.parametrize("keep", [False, True])
def test_early_stopping_is_followed(keep: bool, tmp_path: Path) -> None:
    """Booster and file stop at the best iteration, as LightGBM itself does, even where later trees are still there."""
    frame, y = applicants(3)
    train = lgb.Dataset(frame, y)
    held = lgb.Dataset(frame[::3], y[::3] ^ (np.arange(100) % 3 == 0), reference=train)
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1}
    stop = [lgb.early_stopping(3, verbose=False)]
    booster = lgb.train(parameters, train, 80, valid_sets=[held], callbacks=stop, keep_training_booster=keep)
    assert 0 < booster.best_iteration < 80
    assert (booster.best_iteration < booster.current_iteration()) == keep
    booster.save_model(tmp_path / "model.txt")
    for source in (booster, tmp_path / "model.txt"):
        model = read_model(source)
        assert model.core.n_trees == booster.best_iteration
        assert np.array_equal(model.score(encode_frame(frame, model.columns)), booster.predict(frame))
        assert bool(model.notes) == (keep and source is booster)


def test_any_two_labels_are_classes() -> None:
    """The classifier's own labels name the favourable class; a booster's are 0 and 1."""
    frame, y = applicants(0)
    labels = np.where(y == 1, "repaid", "defaulted")
    classifier = lgb.LGBMClassifier(n_estimators=4, verbose=-1, n_jobs=1).fit(frame, labels)
    for place, label in enumerate(["defaulted", "repaid"]):
        model = read_model(classifier, favourable=label)
        native = classifier.predict_proba(frame)[:, place]
        assert np.array_equal(model.score(encode_frame(frame, model.columns)), native)
    with pytest.raises(ModelError, match="Did you mean 'repaid'"):
        read_model(classifier, favourable="repayed")
    with pytest.raises(ModelError, match="no class 'repaid'"):
        read_model(classifier.booster_, favourable="repaid")


def test_raw_scores_of_an_own_objective() -> None:
    """Trained with an objective of one's own, a model gives raw scores only: as a probability it is refused."""
    frame, y = applicants(0)

    def logistic(preds: np.ndarray, data: Any) -> tuple[np.ndarray, np.ndarray]:
        p = 1 / (1 + np.exp(-preds))
        return p - data.get_label(), p * (1 - p)

    booster = lgb.train({"objective": logistic, "verbose": -1, "num_threads": 1}, lgb.Dataset(frame, y), 6)
    with pytest.raises(ModelError, match=r'decision\.score = "decision_function"'):
        read_model(booster)
    model = read_model(booster, score="decision_function")
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), booster.predict(frame))
    assert model.cut(-0.125) == -0.125


def test_other_models_are_refused_by_name() -> None:
    """Linear leaves, three classes, regression and rankers are refused, each by its name."""
    frame, y = applicants(0)
    plain = frame[["income", "debts"]].fillna(0.0)
    quiet = {"n_estimators": 3, "verbose": -1, "n_jobs": 1}
    with pytest.raises(UnsupportedModel, match=r"linear_tree.*black boxes"):
        read_model(lgb.LGBMClassifier(linear_tree=True, **quiet).fit(plain, y))
    with pytest.raises(UnsupportedModel, match="3 classes"):
        read_model(lgb.LGBMClassifier(**quiet).fit(plain, np.arange(len(y)) % 3))
    with pytest.raises(UnsupportedModel, match="LGBMRegressor"):
        read_model(lgb.LGBMRegressor(**quiet).fit(plain, y))
    with pytest.raises(UnsupportedModel, match="'regression'"):
        read_model(lgb.LGBMRegressor(**quiet).fit(plain, y).booster_)
    with pytest.raises(ModelError, match="not fitted"):
        read_model(lgb.LGBMClassifier())


def test_lists_of_levels_that_fit_no_column_are_refused() -> None:
    """LightGBM takes ordered categories for numbers and stores not which list of levels is whose: then no guess."""
    frame, y = applicants(0)
    quiet: dict[str, Any] = {"n_estimators": 3, "verbose": -1, "n_jobs": 1}
    frame["grade"] = frame["grade"].cat.as_ordered()
    with pytest.raises(UnsupportedModel, match=r"ordered.*fit again"):
        read_model(lgb.LGBMClassifier(**quiet).fit(frame, y))
    swapped = frame[["grade", "debts"]].assign(debts=frame["debts"] + 3)  # seven codes, but a list of three levels
    classifier = lgb.LGBMClassifier(**quiet).fit(swapped, y, categorical_feature=["debts"])
    with pytest.raises(UnsupportedModel, match=r"ordered.*fit again"):
        read_model(classifier)


def test_codes_without_names_take_the_levels_of_the_policy() -> None:
    """A model fitted on codes needs levels: texts stand for their places, whole numbers for themselves."""
    frame, y = applicants(0)
    raw = np.stack([frame["income"], frame["grade"].astype(float)], axis=1)
    data = lgb.Dataset(raw, y, categorical_feature=[1], feature_name=["income", "grade"])
    booster = lgb.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 4, "max_cat_to_onehot": 9},
        data,
        6,
    )
    with pytest.raises(ModelError, match="levels"):
        read_model(booster)
    model = read_model(booster, levels={"grade": [7, 1, 3]})
    assert "'grade'" in model.notes[0]
    assert np.array_equal(model.score(encode_frame(frame, model.columns)), booster.predict(raw))
    named = read_model(booster, levels={"grade": list("abcdefgh")})
    letters = frame.assign(grade=["abcdefgh"[int(g)] for g in frame["grade"]])
    assert np.array_equal(named.score(encode_frame(letters, named.columns)), booster.predict(raw))
    with pytest.raises(ModelError, match="negative"):
        read_model(booster, levels={"grade": [-1, 1, 3]})


def test_names_may_be_given_for_an_array() -> None:
    """LightGBM names the columns of an array Column_0, ...: names that are given replace those, and no others."""
    frame, y = applicants(0)
    array = frame[["income", "debts"]].to_numpy(dtype=float)
    classifier = lgb.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(array, y)
    assert [c.name for c in read_model(classifier).columns] == ["Column_0", "Column_1"]
    assert [c.name for c in read_model(classifier, columns=["income", "debts"]).columns] == ["income", "debts"]
    with pytest.raises(ModelError, match="3 names"):
        read_model(classifier, columns=["a", "b", "c"])


def test_the_callers_model_stays_as_it_is() -> None:
    """Later training does not change what was read."""
    frame, y = applicants(0)
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1}
    booster = lgb.train(parameters, lgb.Dataset(frame, y), 3, keep_training_booster=True)
    model = read_model(booster)
    matrix = encode_frame(frame, model.columns)
    score = model.score(matrix)
    booster.update()
    assert np.array_equal(model.score(matrix), score)
    assert not np.array_equal(read_model(booster).score(matrix), score)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), cut=st.booleans(), digit=st.booleans())
def test_a_damaged_file_is_an_error_and_no_crash(seed: int, cut: bool, digit: bool) -> None:
    """Cut anywhere, a file is refused; with any byte changed it is refused, or read and checked, and nothing falls."""
    rng = np.random.default_rng(seed)
    if not DAMAGED:
        DAMAGED.append(fitted()[0].booster_.model_to_string().encode())
    content = bytearray(DAMAGED[0])
    needed = content.index(b"end of parameters")
    place = int(rng.integers(1, needed if cut else content.index(b"end of trees")))
    if cut:
        with pytest.raises(ModelError):
            parse(content[:place].decode())
        return
    content[place] = int(rng.integers(48, 58) if digit else rng.integers(256))
    path = FILES.write(bytes(content))
    try:
        read_model(path)
    except ModelError as error:
        message = str(error)
    else:
        message = str(path)
    assert str(path) in message
    assert "\n" not in message


DAMAGED: list[bytes] = []


def test_the_texts_parts_must_fit() -> None:
    """A split that hangs nowhere, a foreign feature, a short array or a wrong size is found before the library."""
    text = stump(0.5, 2, False)
    for old, new, message in (
        ("left_child=-1", "left_child=-2", "hang together"),
        ("split_feature=0", "split_feature=1", "beyond the 1"),
        ("leaf_count=1 1", "leaf_count=1", "sizes"),
        ("leaf_count=1 1", "leaf_count=111", "leaf_count"),
        ("num_leaves=2", "num_leaves=3", "entries"),
        ("decision_type=8", "decision_type=9", "categories"),
        ("split_gain=1\n", "split_gain=x\n", "'x'"),
        ("tree_sizes=", "tree_sizes=1", "sizes"),
        ("max_feature_idx=0", "max_feature_idx=1", "feature_names"),
        ("pandas_categorical:null", "pandas_categorical:[1]", "pandas_categorical"),
        ("label_index=0\n", "", "label_index"),
    ):
        assert old in text
        with pytest.raises(ModelError, match=message):
            parse(text.replace(old, new))
