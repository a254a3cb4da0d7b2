"""What a caller of the finder may lean on, apart from the answers themselves."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from recourse import DataError, Finder, ModelError, read_model

POLICY = {
    "decision": {"threshold": 0.5},
    "cost": {"unit": "raw"},
    "features": {"income": {"kind": "integer", "min": 0, "max": 100}, "debts": {"kind": "integer", "role": "fixed"}},
}
BLOCK = 1024  # more rows than are searched ahead of the one that is handed out


def applicants(n: int) -> pd.DataFrame:
    """Return applicants who are all refused."""
    return pd.DataFrame({"income": np.arange(n) % 40, "debts": np.arange(n) % 7}, index=[f"r{i}" for i in range(n)])


@pytest.fixture(scope="module")
def finder() -> Finder:
    frame = pd.DataFrame({"income": np.arange(100), "debts": np.arange(100) % 7})
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(frame, frame["income"] >= 50)
    return Finder(tree, POLICY | {"decision": {"threshold": 0.5, "favourable": True}})


class _Gate:
    """The finder's own search, which counts its rows and lets one of them wait for leave."""

    def __init__(self, search: Any, at: int | None = None) -> None:
        self.search, self.at, self.rows = search, at, 0
        self.leave, self._lock = threading.Event(), threading.Lock()

    def run(self, encoded: Any, refused: Any, needed: Any, answers: Any, part: slice) -> None:
        with self._lock:
            self.rows += part.stop - part.start
        if self.at is not None and part.start <= self.at < part.stop and len(refused) > self.at:
            self.search.run(encoded, refused, needed, answers, slice(part.start, self.at))
            answers.done[part.start : self.at] = 1  # as the kernel says when it comes to the next row
            assert self.leave.wait(60), "the rows before it were not handed out"
        self.search.run(encoded, refused, needed, answers, part)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_hard_row_holds_back_nobody_before_it(finder: Finder, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every outcome before a row that takes long is handed out while that row is still searched."""
    gate = _Gate(finder._search, at=5)
    monkeypatch.setattr(finder, "_search", gate)
    run = finder.find_many(applicants(20), threads=threads, progress=False)
    early = [next(run).id for _ in range(5)]
    assert not gate.leave.is_set()
    gate.leave.set()
    assert early + [outcome.id for outcome in run] == [f"r{i}" for i in range(20)]


def test_the_search_runs_ahead_by_a_limited_number_of_rows(finder: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept in memory does not grow with the rows: the search waits for outcomes to be taken."""
    gate = _Gate(finder._search)
    monkeypatch.setattr(finder, "_search", gate)
    run = finder.find_many(applicants(6 * BLOCK), threads=2, progress=False)
    next(run)
    assert gate.rows <= BLOCK
    for _ in range(BLOCK):
        next(run)
    assert gate.rows <= 3 * BLOCK
    run.close()


def test_a_value_that_the_library_refuses_is_found_before_the_first_outcome() -> None:
    """A missing value that a linear model cannot take is an input error, named by the applicant's own label."""
    frame = pd.DataFrame({"income": np.arange(100.0), "debts": np.arange(100) % 7})
    linear = LogisticRegression().fit(frame, np.arange(100) >= 50)
    finder = Finder(linear, POLICY | {"decision": {"threshold": 0.5, "favourable": True}})
    rows = applicants(700).astype(float)
    rows.loc["r650", "debts"] = np.nan
    with pytest.raises(DataError, match="column 'debts', row r650: the value is missing"):
        next(finder.find_many(rows, progress=False))
    assert [label for label, _ in finder.validate(rows)] == ["r650"]


def test_extra_columns_are_ignored_with_one_warning(finder: Finder) -> None:
    """A column that neither policy nor model has changes no outcome, and is named once for all rows."""
    rows = applicants(40)
    with pytest.warns(UserWarning, match="ignored 2 columns that neither the policy nor the model has") as seen:
        outcomes = list(finder.find_many(rows.assign(zip="94110", loan=1), progress=False))
    assert len(seen) == 1
    assert outcomes == list(finder.find_many(rows, progress=False))


def test_ids_tell_applicants_apart(finder: Finder) -> None:
    """Two applicants of one id are refused before anything is searched, wherever the ids come from."""
    rows = applicants(3)
    with pytest.raises(DataError, match=r"the id 'a' stands twice.*reset_index"):
        finder.find_many(rows, ids=["a", "b", "a"])
    with pytest.raises(DataError, match="the id 'r0' stands twice"):
        finder.find_many(pd.concat([rows, rows]))
    with pytest.raises(DataError, match="2 ids were given for 3 rows"):
        finder.find_many(rows, ids=["a", "b"])


def test_thresholds_are_validated_at_once(finder: Finder) -> None:
    """A threshold too few or without a value is refused when `find_many` is called."""
    rows = applicants(3)
    with pytest.raises(DataError, match="one for each of 3 rows"):
        finder.find_many(rows, thresholds=[0.5, 0.5])
    with pytest.raises(DataError, match="row 1 is not a finite number"):
        finder.find_many(rows, thresholds=[0.5, np.nan, 0.5])


def test_thresholds_of_their_own(finder: Finder) -> None:
    """With a threshold for each row, the decision is by that one."""
    outcomes = list(finder.find_many(applicants(3), thresholds=[-1.0, 0.5, 2.0], progress=False))
    assert [outcome.status for outcome in outcomes] == ["already_approved", "found", "none_exists"]
    assert [outcome.threshold for outcome in outcomes] == [-1.0, 0.5, 2.0]


def test_infinity_is_no_move() -> None:
    """A split on missing values alone, whose threshold is infinite, gives a number without a step no move."""
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    x = np.where(rng.random(400) < 0.4, np.nan, rng.normal(size=400))
    frame = pd.DataFrame({"x": x, "y": rng.normal(size=400)})
    target = (np.isnan(x) | (frame["y"] > 0.7)).astype(int)
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(frame, target)
    policy = POLICY | {"features": {"x": {"kind": "number"}, "y": {"kind": "number"}}}
    finder = Finder(model, policy)
    assert np.isinf(finder.model.core.threshold).any()
    outcomes = list(finder.find_many(frame[frame["x"].notna()].iloc[:20], progress=False))
    assert {outcome.status for outcome in outcomes} <= {"already_approved", "found"}


def test_a_model_that_was_read_for_another_score_is_refused() -> None:
    """A model read for one class and score is never searched by a policy that decides by another."""
    frame = pd.DataFrame({"income": np.arange(100), "debts": np.arange(100) % 7})
    linear = LogisticRegression().fit(frame, np.arange(100) >= 50)
    with pytest.raises(ModelError, match="favourable = False, the policy decides by favourable = True"):
        Finder(read_model(linear, favourable=False), POLICY | {"decision": {"threshold": 0.5, "favourable": True}})
    decision = {"threshold": 0.0, "favourable": True, "score": "decision_function"}
    with pytest.raises(ModelError, match="score = 'probability'"):
        Finder(read_model(linear, favourable=True), POLICY | {"decision": decision})
