"""A model that can only be asked: an estimator, a callable on a frame, or an HTTP endpoint, behind a cache and a count.

An endpoint speaks a small protocol. One request is a POST of JSON, ``{"rows": [{"income": 41000, "housing": "own",
"savings": null}, ...]}``: raw values by column name, null for a missing one. The answer is JSON with as many numbers in
the same order, ``{"scores": [0.31, ...]}``, each the score of the favourable class. Status 429, 500, 502, 503 and 504,
a timeout and a lost connection are tried again after a growing pause (or after the seconds of ``Retry-After``); any
other status is an error at once.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import math
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError, ModelError, RecourseError
from .base import Column, Model, Wanted

if TYPE_CHECKING:
    import pandas as pd

BATCH = 4096  # most rows that an estimator or a callable is given at once
_MOST_CACHED = 1 << 20  # rows; the oldest half is forgotten beyond
_MOST_PAUSE = 60.0  # seconds; whatever Retry-After asks for
_AGAIN = frozenset({429, 500, 502, 503, 504})
_SHOWN = 200  # characters of an endpoint's complaint in a message


class Calls(NamedTuple):
    """What has been asked of a black box: rows that it scored, and requests that carried them."""

    rows: int
    requests: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model answers over HTTP, and how patiently it is asked; a callable on a frame.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``; the address itself, redirections are not followed.
    headers : mapping
        Sent with every request, for example ``{"Authorization": "Bearer ..."}``; never printed.
    timeout : float
        Seconds that one request may take.
    retries : int
        How often a failed request is tried again.
    pause : float
        Seconds before the first retry; each later one waits twice as long as the one before.
    batch : int
        Most rows of one request.

    Examples
    --------
    >>> Endpoint("https://models.example/score?key=secret").name
    'https://models.example/score'
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 30.0
    retries: int = 4
    pause: float = 0.5
    batch: int = 1000

    def __post_init__(self) -> None:
        """Refuse what cannot be asked."""
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"an endpoint is an http:// or https:// address, not {self.name!r}")
        for what, least in (("timeout", 1e-3), ("retries", 0), ("pause", 0.0), ("batch", 1)):
            if not getattr(self, what) >= least:
                raise InputError(f"{self.name}: {what} must be at least {least:g}, got {getattr(self, what)!r}")

    @property
    def name(self) -> str:
        """The address without user, password and query, which may hold secrets."""
        parts = urllib.parse.urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"

    def __call__(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the endpoint's score of every row, float64[n]."""
        body = json.dumps({"rows": _records(frame)}, allow_nan=False).encode()
        answer = self._post(body)
        scores = answer.get("scores") if isinstance(answer, dict) else None
        if not isinstance(scores, list) or not all(_is_number(score) for score in scores):
            raise ModelError(f'{self.name} answered without a list of numbers under "scores": {_cut(answer)}')
        if len(scores) != len(frame):
            raise ModelError(f"{self.name} answered {len(scores)} scores for {len(frame)} rows; one each is expected")
        return np.array(scores, dtype=np.float64)

    def _post(self, body: bytes) -> Any:
        parts = urllib.parse.urlsplit(self.url)
        sent = {"Content-Type": "application/json", "Accept": "application/json", **self.headers}
        request = urllib.request.Request(self.url, body, sent, method="POST")
        if parts.username:  # urllib sends no credentials of the address by itself
            raise InputError(f"{self.name}: give credentials as a header, not in the address")
        opener, pause = urllib.request.build_opener(_NoRedirect), self.pause
        for attempt in range(self.retries + 1):
            wait = pause * 2**attempt
            try:
                with opener.open(request, timeout=self.timeout) as answer:
                    return _parse(answer.read(), self.name)
            except urllib.error.HTTPError as error:
                with error:
                    why = (
                        f"answered {error.code} {error.reason}: {_cut(error.read(4 * _SHOWN).decode(errors='replace'))}"
                    )
                if error.code not in _AGAIN:
                    raise ModelError(f"{self.name} {why}{_REMEDIES.get(error.code, '')}") from None
                wait = max(wait, _asked_for(error.headers.get("Retry-After")))
            except TimeoutError:
                why = f"did not answer within {self.timeout:g} s"
            except urllib.error.URLError as error:
                late = isinstance(error.reason, TimeoutError)
                why = f"did not answer within {self.timeout:g} s" if late else f"cannot be reached: {error.reason}"
            except (http.client.HTTPException, ConnectionError) as error:
                why = f"broke off its answer ({type(error).__name__})"
            if attempt < self.retries:
                time.sleep(min(wait, _MOST_PAUSE))
        raise ModelError(f"{self.name} {why}; given up after {self.retries + 1} attempts")


class BlackBox:
    """The core of a model whose inside is not known: columns, and scores for the asking.

    Each distinct row is asked for once: scores are remembered. `calls` counts what was really asked.

    Parameters
    ----------
    columns : tuple of Column
        The inputs, in the order of the matrix.
    ask : callable
        From a frame of raw values to one score a row.
    what : str
        The model in messages.
    batch : int
        Most rows that are asked for at once.
    probability : bool
        Whether scores must lie between 0 and 1.

    Examples
    --------
    >>> box = BlackBox((Column("income"),), lambda frame: frame["income"] / 100, "a rule of thumb")
    >>> box.score(np.array([[40.0], [90.0], [40.0]])).tolist(), box.calls.rows
    ([0.4, 0.9, 0.4], 2)
    """

    __slots__ = ("_ask", "_calls", "_known", "_lock", "batch", "columns", "probability", "what")

    def __init__(
        self,
        columns: tuple[Column, ...],
        ask: Callable[[pd.DataFrame], Any],
        what: str,
        *,
        batch: int = BATCH,
        probability: bool = True,
    ) -> None:
        self.columns, self.what, self.batch, self.probability = columns, what, batch, probability
        self._ask = ask
        self._known: dict[bytes, float] = {}
        self._calls = Calls(0, 0)
        self._lock = threading.Lock()

    @property
    def calls(self) -> Calls:
        """What has been asked so far, by anyone."""
        return self._calls

    def unknown(self, matrix: np.ndarray) -> np.ndarray:
        """Tell of each row whether asking for all of them would cost a call for it: not known, nor asked for above."""
        seen: set[bytes] = set()
        out = np.zeros(len(matrix), dtype=bool)
        for i, key in enumerate(_keys(matrix)):
            out[i] = key not in self._known and key not in seen
            seen.add(key)
        return out

    def score(self, matrix: np.ndarray) -> np.ndarray:
        """Return the score of every row of a float64[n, n_columns] matrix; codes for levels, NaN for missing.

        Raises
        ------
        ModelError
            The model fails, or answers anything but one finite number a row.
        """
        keys = _keys(matrix)
        with self._lock:  # the count and the cache go together; the model itself need not be safe for threads
            first: dict[bytes, int] = {}
            for i, key in enumerate(keys):
                if key not in self._known:
                    first.setdefault(key, i)
            fresh: dict[bytes, float] = {}
            places = list(first.items())
            for begin in range(0, len(places), self.batch):
                part = places[begin : begin + self.batch]
                scores = self._scores(matrix[[i for _, i in part]])
                fresh.update(zip((key for key, _ in part), scores.tolist(), strict=True))
                self._calls = Calls(self._calls.rows + len(part), self._calls.requests + 1)
            known = self._known
            out = np.array([known[key] if key in known else fresh[key] for key in keys], dtype=np.float64)
            known.update(fresh)
            if len(known) > _MOST_CACHED:
                for key in list(known)[: len(known) - _MOST_CACHED // 2]:
                    del known[key]
        return out

    def _scores(self, matrix: np.ndarray) -> np.ndarray:
        frame = frame_of(matrix, self.columns)
        try:
            given = self._ask(frame)
        except RecourseError:
            raise
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise ModelError(f"{self.what} failed on {len(frame)} rows: {what}") from error
        try:
            scores = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            raise ModelError(f"{self.what} returned no numbers but {type(given).__name__}") from None
        if scores.shape != (len(frame),):
            raise ModelError(
                f"{self.what} returned shape {scores.shape} for {len(frame)} rows; expected one score each"
            )
        wrong = ~np.isfinite(scores)
        expected = "a finite number"
        if self.probability:
            wrong |= (scores < 0) | (scores > 1)
            expected = "a probability between 0 and 1 (else set decision.score = 'decision_function')"
        if wrong.any():
            raise ModelError(f"{self.what} scored a row {scores[np.flatnonzero(wrong)[0]]!r}; expected {expected}")
        return scores


def read(source: object, wanted: Wanted, *, why: str | None = None) -> Model:
    """Take a model as a black box: whatever scores rows, without looking inside.

    Parameters
    ----------
    source : estimator, callable, Endpoint or str
        An object with ``predict_proba`` or ``decision_function``, a callable that takes a frame of raw values and
        returns one score a row, or the address of an endpoint (``http://`` or ``https://``).
    wanted : Wanted
        The favourable class and kind of score of an estimator; the columns where the source does not name them, and
        the levels of those that are categories.
    why : str, optional
        Why the model could not be read exactly, kept among the notes.

    Returns
    -------
    Model
        Its core is a `BlackBox`.

    Raises
    ------
    ModelError
        The source is none of these, or its columns have no names.

    Examples
    --------
    >>> model = read(lambda frame: frame["income"] / 100, Wanted(columns=("income",)))
    >>> model.score(np.array([[40.0]])).tolist(), model.self_check
    ([0.4], 'none: a black box is taken at its word')
    """
    if isinstance(source, str):
        source = Endpoint(source)
    notes = ("a black box: plans are checked by asking it, never proven", *([] if why is None else [why]))
    batch = BATCH
    ask: Callable[[pd.DataFrame], Any]
    if isinstance(source, Endpoint):
        name, names, ask, batch = source.name, wanted.columns, source, source.batch
        identity = f"endpoint|{source.url}"
        notes += ("its hash is that of its address: what answers there can change",)
    elif hasattr(source, "predict_proba") or hasattr(source, "decision_function"):
        name = _qualified(type(source))
        names = _own_names(source) or wanted.columns
        ask, identity = _estimator(source, name, wanted, framed=bool(_own_names(source))), _content(source)
    elif callable(source):
        name, names, ask = _qualified(source), wanted.columns, source
        identity = _content(source)
    else:
        raise ModelError(
            f"{_qualified(type(source))} cannot be asked for scores: expected predict_proba or decision_function, "
            "a callable on a frame, or an http:// address"
        )
    if not names:
        raise ModelError(f"{name} does not say which columns it takes; give `columns`, their names in order")
    if len(set(names)) != len(names):
        raise ModelError(f"{name}: a column is named twice in {', '.join(map(repr, names))}")
    columns = tuple(Column(n, tuple(wanted.levels[n]) if n in wanted.levels else None) for n in names)
    core = BlackBox(columns, ask, name, batch=batch, probability=wanted.score == "probability")
    digest = hashlib.sha256(f"{identity}|{wanted.favourable}|{wanted.score}|{columns!r}".encode()).hexdigest()
    return Model(
        name=name,
        core=core,
        score=core.score,
        raw=core.score,
        squash=_same,
        sha256=f"sha256:{digest}",
        self_check="none: a black box is taken at its word",
        notes=notes,
    )


def frame_of(matrix: np.ndarray, columns: tuple[Column, ...]) -> pd.DataFrame:
    """Return a matrix as the frame of raw values that it was made from: levels as spelt, NaN where missing.

    Examples
    --------
    >>> frame_of(np.array([[1.0, 2.5], [np.nan, 3.0]]), (Column("housing", ("rent", "own")), Column("income")))
      housing  income
    0     own     2.5
    1     NaN     3.0
    """
    import pandas as pd

    data: dict[str, Any] = {}
    for j, column in enumerate(columns):
        x = matrix[:, j]
        if column.levels is None:
            data[column.name] = x
            continue
        table = np.array([*column.levels, np.nan], dtype=object)
        values = table[np.where(np.isnan(x), len(column.levels), np.nan_to_num(x)).astype(np.int64)]
        numeric = not any(isinstance(level, str) for level in column.levels)
        data[column.name] = values.astype(np.float64) if numeric else values
    return pd.DataFrame(data, columns=pd.Index([column.name for column in columns]))


# --------------------------------------------------------------------------------------------------------- estimators


def _own_names(source: Any) -> tuple[str, ...]:
    """The names that a fitted scikit-learn estimator keeps; empty for one that was fitted on an array."""
    return tuple(str(name) for name in getattr(source, "feature_names_in_", ()))


def _estimator(source: Any, name: str, wanted: Wanted, *, framed: bool) -> Callable[[pd.DataFrame], Any]:
    """Return what asks an estimator for the favourable class."""
    method = "predict_proba" if wanted.score == "probability" else "decision_function"
    if not hasattr(source, method):
        (other,) = {"predict_proba", "decision_function"} - {method}
        raise ModelError(f"{name} has no {method}; decision.score = {wanted.score!r} needs it (it has {other})")
    classes = getattr(source, "classes_", None)
    if classes is None and not isinstance(wanted.favourable, int):
        raise ModelError(f"{name} has no classes_, so decision.favourable is 0 or 1, not {wanted.favourable!r}")
    positive = wanted.positive(name, list((0, 1) if classes is None else classes))
    ask = getattr(source, method)

    def probability(frame: pd.DataFrame) -> Any:
        given = np.asarray(ask(frame if framed else frame.to_numpy()))
        if given.shape != (len(frame), 2):
            raise ModelError(f"{name}.predict_proba returned shape {given.shape} for {len(frame)} rows and two classes")
        return given[:, int(positive)]

    def decision(frame: pd.DataFrame) -> Any:
        return np.asarray(ask(frame if framed else frame.to_numpy())) * (1.0 if positive else -1.0)

    return probability if wanted.score == "probability" else decision


def _content(source: Any) -> str:
    """What tells one object from another: its pickled content where it has one, else its name."""
    import joblib

    try:
        return f"{_qualified(source if callable(source) else type(source))}|{joblib.hash(source, hash_name='sha1')}"
    except Exception:  # whatever cannot be pickled: a closure, a lambda, an open connection
        code = getattr(source, "__code__", None)
        body = "" if code is None else hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()
        return f"{_qualified(source)}|{body}"


def _qualified(thing: Any) -> str:
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def _same(raw: np.ndarray) -> np.ndarray:
    """A black box's raw score is its score."""
    return np.asarray(raw, dtype=np.float64)


def _keys(matrix: np.ndarray) -> list[bytes]:
    """One text of bytes a row; equal rows have equal ones (0 and -0 meet, every NaN is one)."""
    rows = np.ascontiguousarray(matrix, dtype=np.float64) + 0.0
    rows[np.isnan(rows)] = np.nan
    return [row.tobytes() for row in rows]


# --------------------------------------------------------------------------------------------------------------- HTTP


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST becomes a GET without the rows; the address must be the final one."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_REMEDIES = {
    301: ". Give the address it has moved to",
    302: ". Give the address it leads to",
    307: ". Give the address it leads to",
    308: ". Give the address it has moved to",
    401: ". Give an Authorization header: Endpoint(url, headers=...)",
    403: ". Give an Authorization header: Endpoint(url, headers=...)",
    404: ". Correct the address",
    405: ". The address must take POST",
    413: ". Make `batch` smaller: Endpoint(url, batch=...)",
}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; whole numbers without a point, missing ones as null."""
    names = list(frame.columns)
    columns = [[_json(value) for value in frame[name].tolist()] for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _json(value: Any) -> Any:
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parse(content: bytes, name: str) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise ModelError(f"{name} did not answer with JSON: {_cut(content.decode(errors='replace'))}") from None


def _asked_for(header: str | None) -> float:
    """Seconds of a Retry-After header; dates are ignored."""
    try:
        return max(0.0, float(header)) if header else 0.0
    except ValueError:
        return 0.0


def _cut(answer: Any) -> str:
    text = " ".join((answer if isinstance(answer, str) else json.dumps(answer)).split())
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
