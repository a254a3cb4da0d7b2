"""Any model through one door: the right reader by class or content, or one line that says what to do."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from recourse.errors import InputError, ModelError, UnsupportedModel
from recourse.models import encode_frame, read_model

xgb = pytest.importorskip("xgboost")
lgb = pytest.importorskip("lightgbm")

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(120, 3)), columns=["income", "debts", "age"])
TARGET = (FRAME["income"] - FRAME["debts"] + 0.3 * RNG.normal(size=120) > 0).astype(int)


@pytest.fixture(scope="module")
def boosters() -> dict[str, Any]:
    return {
        "xgboost": xgb.XGBClassifier(n_estimators=4, max_depth=3, n_jobs=1).fit(FRAME, TARGET),
        "lightgbm": lgb.LGBMClassifier(n_estimators=4, verbose=-1, n_jobs=1).fit(FRAME, TARGET),
        "tree": DecisionTreeClassifier(max_depth=3).fit(FRAME, TARGET),
        "linear": LogisticRegression().fit(FRAME, TARGET),
    }


def one_line(source: object, message: str, kind: type[Exception] = ModelError, **options: Any) -> str:
    with pytest.raises(kind, match=message) as caught:
        read_model(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same_scores(model: Any, estimator: Any) -> None:
    """Hold a model to its estimator: a linear one within rounding, which depends on the number of rows."""
    off = 1e-12 if isinstance(estimator, LogisticRegression) else 0.0
    ours = model.score(encode_frame(FRAME, model.columns))
    np.testing.assert_allclose(ours, estimator.predict_proba(FRAME)[:, 1], rtol=0, atol=off)


def test_every_kind_of_estimator_finds_its_reader(boosters: dict[str, Any]) -> None:
    """An estimator is read by its class and scores as it does itself."""
    for name, estimator in boosters.items():
        model = read_model(estimator)
        assert model.name == f"{'sklearn' if name in ('tree', 'linear') else name}.{type(estimator).__name__}"
        same_scores(model, estimator)


def test_every_kind_of_file_finds_its_reader(boosters: dict[str, Any], tmp_path: Path) -> None:
    """A file is read by its content, and known by the hash of its bytes."""
    boosters["xgboost"].save_model(tmp_path / "a.json")
    boosters["xgboost"].save_model(tmp_path / "a.ubj")
    boosters["xgboost"].save_model(tmp_path / "b.json")
    (tmp_path / "b.json").rename(tmp_path / "a.model")  # no ending that we know: the content says it
    boosters["lightgbm"].booster_.save_model(tmp_path / "a.txt")
    for path in sorted(tmp_path.iterdir()):
        model = read_model(path)
        native = boosters["lightgbm" if path.suffix == ".txt" else "xgboost"].predict_proba(FRAME)[:, 1]
        assert np.array_equal(model.score(encode_frame(FRAME, model.columns)), native)
        assert model.sha256 == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        assert read_model(str(path)).sha256 == model.sha256


def test_pickles_need_to_be_allowed(boosters: dict[str, Any], tmp_path: Path) -> None:
    """A pickle is refused with its reason and remedy; allowed, it is read, with a warning that says why."""
    for name, estimator in boosters.items():
        for path, dump in ((tmp_path / f"{name}.pkl", pickle_to), (tmp_path / f"{name}.joblib", joblib.dump)):
            dump(estimator, path)
            one_line(path, r"run any code.*skops.*--allow-pickle")
            with pytest.warns(UserWarning, match="run any code"):
                model = read_model(path, allow_pickle=True)
            same_scores(model, estimator)
            assert model.sha256 == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def pickle_to(value: Any, path: Path, protocol: int = 4) -> None:
    path.write_bytes(pickle.dumps(value, protocol))


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["FAIRPATH_TEST_TRACE"],)


@pytest.mark.parametrize("ending", [".json", ".ubj", ".txt", ".skops", ".model", ""])
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_in_disguise_is_never_opened(
    ending: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its name and protocol, a pickle is called one and not unpickled, even where pickles are allowed."""
    monkeypatch.setenv("FAIRPATH_TEST_TRACE", str(tmp_path / "trace"))
    path = tmp_path / f"model{ending}"
    pickle_to(Bomb(), path, protocol)
    one_line(path, "pickle in disguise")
    one_line(path, "pickle in disguise", allow_pickle=True)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_pickle_is_still_a_pickle(compress: Any, tmp_path: Path) -> None:
    """joblib compresses pickles: those do not pass under another name either."""
    path = tmp_path / "model.ubj"
    path.write_bytes(compress(pickle.dumps([1.0] * 1000)))
    one_line(path, "pickle in disguise")


def test_a_file_under_the_wrong_name_is_refused(boosters: dict[str, Any], tmp_path: Path) -> None:
    """A name that says one library and a content that says another: one of them is a mistake."""
    boosters["lightgbm"].booster_.save_model(tmp_path / "model.json")
    one_line(tmp_path / "model.json", "is a LightGBM model, but its name says an XGBoost model")
    boosters["xgboost"].save_model(tmp_path / "x.json")
    (tmp_path / "x.json").rename(tmp_path / "model.txt")
    one_line(tmp_path / "model.txt", "is an XGBoost model, but its name says a LightGBM model")


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    """A missing file, a folder, an empty file, noise and unknown formats are told apart."""
    one_line(tmp_path / "none.ubj", "no model file")
    one_line(tmp_path, "is a directory")
    (tmp_path / "empty.json").touch()
    one_line(tmp_path / "empty.json", "is empty")
    for ending in (".json", ".ubj", ".txt", ".skops"):
        (tmp_path / f"noise{ending}").write_bytes(bytes(range(40, 90)))
        one_line(tmp_path / f"noise{ending}", "damaged|truncated|not a")
        (tmp_path / f"brace{ending}").write_bytes(b"{}" if ending != ".skops" else b"PK\x03\x04")
        one_line(tmp_path / f"brace{ending}", "damaged|truncated|name says|not a|skops")
    (tmp_path / "model.pmml").write_bytes(b"<PMML/>")
    one_line(tmp_path / "model.pmml", "Supported: XGBoost", UnsupportedModel)
    for name in ("a.pkl", "b.joblib"):
        (tmp_path / name).write_bytes(b"not a pickle at all")
        with pytest.warns(UserWarning, match="pickle"):
            one_line(tmp_path / name, name, allow_pickle=True)


def test_unknown_estimators_are_refused_with_what_is_supported() -> None:
    """Anything else is named by its class, with what is supported and the other route."""

    class Own:
        pass

    message = one_line(Own(), r"Own cannot be read exactly", UnsupportedModel)
    assert "LGBMClassifier" in message
    assert "black_box=True" in message
    one_line(lambda X: X, "function", UnsupportedModel)
    one_line(7, "int", UnsupportedModel)


def test_the_kind_of_score_is_checked(boosters: dict[str, Any]) -> None:
    """There are two kinds of score."""
    one_line(boosters["tree"], "not 'proba'", InputError, score="proba")


def test_a_missing_library_names_the_extra(boosters: dict[str, Any], tmp_path: Path) -> None:
    """Without the library that made it a file cannot be scored: the message says what to install."""
    boosters["xgboost"].save_model(tmp_path / "model.ubj")
    boosters["lightgbm"].booster_.save_model(tmp_path / "model.txt")
    for name, library in (("model.ubj", "xgboost"), ("model.txt", "lightgbm")):
        code = (
            f"import sys; sys.modules[{library!r}] = None\n"
            "from recourse.models import read_model\n"
            "from recourse.errors import UnsupportedModel\n"
            f"try: read_model({str(tmp_path / name)!r})\n"
            "except UnsupportedModel as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert f"pip install 'fairpath[{library}]'" in done.stdout


def test_the_door_loads_no_library() -> None:
    """Importing the readers loads neither XGBoost nor LightGBM nor scikit-learn nor pandas."""
    code = (
        "import sys, recourse.models\n"
        "print([m for m in ('xgboost', 'lightgbm', 'sklearn', 'pandas', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "library, extension, whole, broken",
    [
        ("xgboost", "json", '"num_class":"0"', '"num_class":"?"'),
        ("lightgbm", "txt", "num_class=1", "num_class=O"),
    ],
)
def test_a_number_that_is_none_damages_the_file(
    library: str, extension: str, whole: str, broken: str, boosters: dict[str, Any], tmp_path: Path
) -> None:
    """A header with a letter where a digit was is an error of the file, in one line with its path."""
    path = tmp_path / f"model.{extension}"
    if library == "xgboost":
        boosters[library].save_model(path)
    else:
        boosters[library].booster_.save_model(path)
    text = path.read_text()
    assert whole in text
    path.write_text(text.replace(whole, broken))
    assert str(path) in one_line(path, "damaged")
