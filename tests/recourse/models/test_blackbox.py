"""A model that can only be asked: what it is asked, how often, and what is said when it does not answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from recourse import DataError, InputError, ModelError
from recourse.models import Column, encode_frame
from recourse.models.base import Wanted
from recourse.models.blackbox import BlackBox, Calls, Endpoint, frame_of, read

FRAME = pd.DataFrame(
    {"income": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0], "housing": ["rent", "own", "rent", "own", "free", "own"]}
)
LEVELS = {"housing": ("rent", "own", "free")}


def fitted(target: list[Any]) -> Any:
    encode = make_column_transformer((StandardScaler(), ["income"]), (OneHotEncoder(), ["housing"]))
    return make_pipeline(encode, LogisticRegression()).fit(FRAME, target)


def test_an_estimator_scores_as_it_does_on_its_own_frame() -> None:
    """Levels are handed over as they are spelt, and the favourable class's probability comes back."""
    estimator = fitted(["bad", "bad", "good", "bad", "good", "good"])
    for favourable, column in (("good", 1), ("bad", 0)):
        model = read(estimator, Wanted(favourable=favourable, levels=LEVELS))
        assert [c.name for c in model.columns] == ["income", "housing"]
        matrix = encode_frame(FRAME, model.columns)
        np.testing.assert_array_equal(model.score(matrix), estimator.predict_proba(FRAME)[:, column])
        raw = read(estimator, Wanted(favourable=favourable, score="decision_function", levels=LEVELS))
        np.testing.assert_array_equal(
            raw.score(matrix), estimator.decision_function(FRAME) * (1 if favourable == "good" else -1)
        )


def test_an_estimator_fitted_on_an_array_needs_names_and_gets_an_array() -> None:
    """Nothing warns of names that the estimator has not seen; without names the error says what to give."""
    estimator = LogisticRegression().fit([[0.0], [1.0], [2.0]], [0, 1, 1])
    with pytest.raises(ModelError, match=r"give `columns`"):
        read(estimator, Wanted())
    model = read(estimator, Wanted(columns=("x",)))
    assert model.score(np.array([[1.5]]))[0] == estimator.predict_proba([[1.5]])[0, 1]


def test_a_row_is_asked_for_once() -> None:
    """Equal rows, 0 and -0 and every NaN among them, share one call; batches are as large as was said."""
    sizes: list[int] = []

    def ask(frame: pd.DataFrame) -> np.ndarray:
        sizes.append(len(frame))
        return np.full(len(frame), 0.5)

    box = BlackBox((Column("x"),), ask, "a box", batch=2)
    matrix = np.array([[0.0], [-0.0], [np.nan], [-np.nan], [1.0], [2.0]])
    assert box.unknown(matrix).tolist() == [True, False, True, False, True, True]
    box.score(matrix)
    assert (box.calls, sizes) == (Calls(rows=4, requests=2), [2, 2])
    box.score(matrix[::-1])
    assert box.calls.rows == 4
    assert not box.unknown(matrix).any()


def test_what_was_forgotten_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is bounded, and a full one costs calls, never an answer."""
    monkeypatch.setattr("recourse.models.blackbox._MOST_CACHED", 4)
    box = BlackBox((Column("x"),), lambda frame: frame["x"] / 100, "a box")
    matrix = np.arange(10.0)[:, None]
    for _ in range(2):
        np.testing.assert_array_equal(box.score(matrix), matrix[:, 0] / 100)
    assert 10 < box.calls.rows <= 20


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda frame: [0.5], r"returned shape \(1,\) for 2 rows"),
        (lambda frame: ["a", "b"], "returned no numbers"),
        (lambda frame: [0.5, np.nan], r"scored a row (np.float64\()?nan\)?; expected a probability"),
        (lambda frame: [0.5, 1.5], "expected a probability between 0 and 1"),
        (lambda frame: 1 / 0, "failed on 2 rows: ZeroDivisionError: division by zero"),
    ],
)
def test_an_answer_that_is_none_is_named(answer: Callable[[pd.DataFrame], Any], message: str) -> None:
    """What is not one finite score a row is an error that names the model."""
    model = read(answer, Wanted(columns=("x",)))
    with pytest.raises(ModelError, match=message):
        model.score(np.array([[1.0], [2.0]]))


def test_what_cannot_be_asked_is_refused() -> None:
    """An object that scores nothing, a callable without columns, an address of another kind."""
    with pytest.raises(ModelError, match="expected predict_proba or decision_function"):
        read(3, Wanted(columns=("x",)))
    with pytest.raises(ModelError, match="give `columns`"):
        read(lambda frame: frame["x"], Wanted())
    with pytest.raises(InputError, match="not 'ftp://host/x'"):
        read("ftp://host/x", Wanted(columns=("x",)))
    with pytest.raises(InputError, match="retries must be at least 0"):
        Endpoint("http://host/", retries=-1)


def test_a_model_keeps_its_identity() -> None:
    """The same content has the same hash; other content, another class or another address has another."""
    one, two = (fitted([0, 0, 1, 0, 1, 1]) for _ in range(2))
    other = fitted([0, 0, 0, 0, 1, 1])
    hashes = {read(m, Wanted(levels=LEVELS)).sha256 for m in (one, two)}
    assert len(hashes) == 1
    assert read(other, Wanted(levels=LEVELS)).sha256 not in hashes
    assert read(one, Wanted(levels=LEVELS, favourable=0)).sha256 not in hashes
    a, b = (read(f"http://host/{path}", Wanted(columns=("x",))).sha256 for path in "ab")
    assert a != b


def test_a_frame_goes_there_and_back() -> None:
    """`frame_of` undoes `encode_frame`, missing values included."""
    columns = (Column("housing", LEVELS["housing"]), Column("n"), Column("flag", (0, 1)))
    frame = pd.DataFrame({"housing": ["own", None], "n": [np.nan, 2.5], "flag": [1, 0]})
    matrix = encode_frame(frame, columns)
    np.testing.assert_array_equal(encode_frame(frame_of(matrix, columns), columns), matrix)


# ------------------------------------------------------------------------------------------------------------ endpoints


@contextmanager
def serving(*answers: tuple[int, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Serve answers one after the other (the last one for ever); yield the address and the requests that came."""
    came: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append((json.loads(body), dict(self.headers)))
            status, answer = answers[min(len(came), len(answers)) - 1]
            if callable(answer):
                answer = answer(json.loads(body))
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if status == 429:
                self.send_header("Retry-After", "0.01")
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/score?key=secret", came
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def thirds(asked: dict[str, Any]) -> dict[str, Any]:
    return {"scores": [0.0 if row["income"] is None else row["income"] / 3000 for row in asked["rows"]]}


def test_an_endpoint_is_asked_in_json() -> None:
    """Whole numbers without a point, levels as texts, null for missing; batches of the size that was said."""
    with serving((200, thirds)) as (url, came):
        source = Endpoint(url, headers={"Authorization": "Bearer t"}, batch=2)
        model = read(source, Wanted(columns=("income", "housing"), levels=LEVELS))
        scores = model.score(np.array([[300.0, 1.0], [0.5, np.nan], [np.nan, 2.0]]))
    np.testing.assert_allclose(scores, [0.1, 0.5 / 3000, 0.0])
    assert [asked for asked, _ in came] == [
        {"rows": [{"income": 300, "housing": "own"}, {"income": 0.5, "housing": None}]},
        {"rows": [{"income": None, "housing": "free"}]},
    ]
    assert came[0][1]["Authorization"] == "Bearer t"
    assert model.core.calls == Calls(rows=3, requests=2)  # type: ignore[union-attr]


def test_an_endpoint_that_stumbles_is_asked_again() -> None:
    """A server's own errors and a full queue are tried again, and the answer then counts."""
    with serving((503, {}), (429, {}), (200, {"scores": [0.25]})) as (url, came):
        scores = Endpoint(url, pause=0.001)(pd.DataFrame({"x": [1.0]}))
    assert (scores.tolist(), len(came)) == ([0.25], 3)


@pytest.mark.parametrize(
    "status, answer, message, attempts",
    [
        (503, {"detail": "down"}, r"answered 503 .*down.*; given up after 2 attempts", 2),
        (401, {}, r"answered 401 .*Authorization header", 1),
        (302, {}, r"answered 302 .*Give the address it leads to", 1),
        (413, {}, r"answered 413 .*batch=", 1),
        (200, b"<html>", r"did not answer with JSON: '<html>'", 1),
        (200, {"predictions": [1]}, r"without a list of numbers under \"scores\"", 1),
        (200, {"scores": [True]}, r"without a list of numbers", 1),
        (200, {"scores": [0.1, 0.2]}, r"answered 2 scores for 1 rows", 1),
    ],
)
def test_an_endpoint_that_fails_is_named_without_its_secrets(
    status: int, answer: Any, message: str, attempts: int
) -> None:
    """The error says what came and what to do; the address stands in it without the query."""
    with serving((status, answer)) as (url, came), pytest.raises(ModelError, match=message) as caught:
        Endpoint(url, retries=1, pause=0.001)(pd.DataFrame({"x": [1.0]}))
    assert "secret" not in str(caught.value)
    assert "/score" in str(caught.value)
    assert len(came) == attempts


def test_an_endpoint_that_is_silent_or_absent_is_named() -> None:
    """A timeout and a refused connection are tried again, then told apart."""
    release = threading.Event()

    def slow(asked: Any) -> Any:
        release.wait(5)
        return {"scores": [0.5]}

    with serving((200, slow)) as (url, _):
        with pytest.raises(ModelError, match=r"did not answer within 0.05 s; given up after 2 attempts"):
            Endpoint(url, timeout=0.05, retries=1, pause=0.001)(pd.DataFrame({"x": [1.0]}))
        release.set()
    with pytest.raises(ModelError, match=r"cannot be reached: .*refused"):
        Endpoint(url, retries=0)(pd.DataFrame({"x": [1.0]}))


def test_a_level_that_nobody_knows_never_reaches_the_model() -> None:
    """Rows are encoded at the door: an unknown level is an error about the data."""
    model = read(fitted([0, 0, 1, 0, 1, 1]), Wanted(levels=LEVELS))
    with pytest.raises(DataError, match="never seen the level 'tent'"):
        encode_frame(pd.DataFrame({"income": [1.0], "housing": ["tent"]}), model.columns)
