"""The program: what it writes where, what it says when something is wrong, and what it exits with."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from typer.testing import CliRunner

from recourse import __version__
from recourse.cli import app

GOLDEN = Path(__file__).parents[1] / "golden"
POLICY = """
[decision]
threshold = 0.6

[cost]
per_change = 0.1
max_changes = 3

[features.income]
kind = "number"
label = "annual income"
unit = "USD"
change = "up"
step = 500
max = 100000
max_change = 20000

[features.dti]
kind = "number"
change = "down"
step = 0.05
min = 0

[features.accounts]
kind = "integer"
min = 0
max = 12

[features.housing]
kind = "category"
levels = ["rent", "own", "free"]
moves = { rent = ["own"] }

[features.age]
kind = "integer"
role = "protected"
"""
LEVELS = pd.CategoricalDtype(["rent", "own", "free"])
FEATURES = ["income", "dti", "accounts", "housing", "age"]


@dataclass(frozen=True)
class Desk:
    """A folder with a model, a policy, applicants and the rows that the model was trained on."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def find(
        self, *more: str, data: str = "applicants.csv", model: str = "model.ubj", policy: str = "policy.toml"
    ) -> Any:
        """Run `recourse find` in this process."""
        return run("find", *self.inputs(data, model, policy), *more)

    def check(self, plans: str, *more: str, data: str = "applicants.csv", model: str = "model.ubj") -> Any:
        """Run `recourse check` in this process."""
        return run("check", "--plans", str(self / plans), *self.inputs(data, model, "policy.toml"), *more)

    def inputs(self, data: str, model: str, policy: str) -> list[str]:
        paths = {"--model": self / model, "--policy": self / policy, "--data": self / data}
        return [word for name, path in paths.items() for word in (name, str(path))]

    def rows(self) -> pd.DataFrame:
        """Return the applicants as text."""
        return pd.read_csv(self / "applicants.csv", dtype=str, keep_default_na=False)

    def with_cell(self, column: str, row: int, value: str, name: str = "bad.csv") -> str:
        """Write the applicants with one cell altered."""
        frame = self.rows()
        frame.loc[row, column] = value
        frame.to_csv(self / name, index=False)
        return name


def run(*words: str) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "100"})


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder once."""
    folder = tmp_path_factory.mktemp("desk")
    rng = np.random.default_rng(3)
    n = 500
    frame = pd.DataFrame(
        {
            "id": [f"A{i:03d}" for i in range(n)],
            "income": rng.integers(30, 160, n) * 500,
            "dti": rng.integers(1, 16, n) / 20,
            "accounts": rng.integers(0, 12, n).astype(float),
            "housing": rng.choice(["rent", "own", "free"], n, p=[0.5, 0.4, 0.1]),
            "age": rng.integers(18, 70, n),
        }
    )
    frame.loc[rng.random(n) < 0.05, "accounts"] = np.nan
    liking = frame["income"] / 30000 + (frame["housing"] == "own") - 3 * frame["dti"] + frame["age"] / 100
    repaid = (liking + rng.logistic(0, 0.3, n) > 1.2).astype(int)
    typed = frame[FEATURES].astype({"housing": LEVELS})
    model = xgboost.XGBClassifier(n_estimators=15, max_depth=3, enable_categorical=True, n_jobs=1, random_state=0)
    model.fit(typed.iloc[100:], repaid.iloc[100:])
    model.save_model(folder / "model.ubj")
    frame["accounts"] = frame["accounts"].astype("Int64")
    frame.iloc[:40].to_csv(folder / "applicants.csv", index=False)
    frame.iloc[100:].to_csv(folder / "train.csv", index=False)
    (folder / "policy.toml").write_text(POLICY)
    return folder


@pytest.fixture
def desk(made: Path, tmp_path: Path) -> Desk:
    """Give each test a folder of its own."""
    shutil.copytree(made, tmp_path / "desk")
    return Desk(tmp_path / "desk")


# ------------------------------------------------------------------------------------------------------------ finding


def test_plans_are_found_written_and_confirmed(desk: Desk) -> None:
    """From files to certified plans, and an independent check that confirms them."""
    out = desk / "plans.jsonl"
    found = desk.find("--id-column", "id", "--population", str(desk / "train.csv"), "--out", str(out))
    assert found.exit_code == 0, found.stderr
    assert found.stdout == ""
    last = found.stderr.splitlines()[-1]  # a first run also says that it compiles
    assert last.startswith("40 applicants: ")
    assert last.endswith(f"written to {out}")
    header, *outcomes = records(out.read_text())
    assert [outcome["id"] for outcome in outcomes] == [f"A{i:03d}" for i in range(40)]
    assert header["population"]["source"] == "train.csv"
    assert header["population"]["summary"]["n_rows"] == 400
    assert {"already_approved", "found"} <= {outcome["status"] for outcome in outcomes}
    for outcome in outcomes:
        for plan in outcome["plans"]:
            assert plan["certificate"]["proven"]
            assert "age" not in plan["row"]
    checked = desk.check("plans.jsonl")
    assert checked.exit_code == 0, checked.stdout + checked.stderr
    assert "everything holds" in checked.stdout
    assert desk.check("plans.jsonl", "--population", str(desk / "train.csv")).exit_code == 0


def lightgbm_text(desk: Desk, frame: pd.DataFrame, target: pd.Series) -> str:
    typed = frame.astype({"housing": LEVELS})
    model = lightgbm.LGBMClassifier(n_estimators=10, max_depth=3, min_child_samples=10, n_jobs=1, verbose=-1)
    model.fit(typed, target).booster_.save_model(desk / "model.txt")
    return "model.txt"


def skops_of(estimator: Any) -> Any:
    def write(desk: Desk, frame: pd.DataFrame, target: pd.Series) -> str:
        numbers = frame[["income", "dti", "age"]]
        skops.io.dump(estimator.fit(numbers, target), desk / "model.skops")
        return "model.skops"

    return write


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lightgbm_text, id="lightgbm"),
        pytest.param(skops_of(LogisticRegression(max_iter=5000)), id="logistic"),
        pytest.param(skops_of(RandomForestClassifier(n_estimators=8, max_depth=4, random_state=0)), id="forest"),
        pytest.param(skops_of(HistGradientBoostingClassifier(max_iter=10, random_state=0)), id="histogram"),
    ],
)
def test_every_kind_of_model_file_is_searched_and_confirmed(desk: Desk, write: Any) -> None:
    """LightGBM's text, and skops files of linear models, forests and boosting."""
    frame = pd.read_csv(desk / "train.csv")
    liking = frame["income"] / 30000 + (frame["housing"] == "own") - 3 * frame["dti"]
    name = write(desk, frame[FEATURES], (liking > 1).astype(int))
    people = ("--population", str(desk / "train.csv"), "--id-column", "id")
    found = desk.find("--out", str(desk / "plans.jsonl"), *people, model=name)
    assert found.exit_code == 0, found.stderr
    outcomes = records((desk / "plans.jsonl").read_text())[1:]
    assert sum(outcome["status"] == "found" for outcome in outcomes) > 5
    assert all(plan["certificate"]["proven"] for outcome in outcomes for plan in outcome["plans"])
    checked = desk.check("plans.jsonl", model=name)
    assert checked.exit_code == 0, checked.stdout


def test_without_a_population_the_data_itself_is_used_and_named(desk: Desk) -> None:
    """The header of the file says what costs were measured in."""
    out = desk / "plans.jsonl"
    assert desk.find("--out", str(out)).exit_code == 0
    header = records(out.read_text())[0]
    assert header["population"]["source"] == "the data file itself"
    assert header["population"]["summary"]["n_rows"] == 40
    assert desk.check("plans.jsonl").exit_code == 0


def test_a_saved_summary_gives_the_same_outcomes_as_its_rows(desk: Desk) -> None:
    """A population is a summary, wherever it comes from."""
    by_rows, by_summary = desk / "rows.jsonl", desk / "summary.jsonl"
    assert desk.find("--population", str(desk / "train.csv"), "--out", str(by_rows)).exit_code == 0
    header, *outcomes = records(by_rows.read_text())
    (desk / "people.json").write_text(json.dumps(header["population"]["summary"]))
    assert desk.find("--population", str(desk / "people.json"), "--out", str(by_summary)).exit_code == 0
    assert records(by_summary.read_text())[1:] == outcomes


def test_json_goes_to_stdout_without_out(desk: Desk) -> None:
    """`--format json` is the file's text on stdout: a header, then a line for each applicant."""
    out = desk / "plans.jsonl"
    assert desk.find("--out", str(out), "--limit", "5").exit_code == 0
    printed = desk.find("--format", "json", "--limit", "5")
    assert printed.exit_code == 0
    assert printed.stdout == out.read_text()


def test_the_table_says_who_what_and_what_is_proven(desk: Desk) -> None:
    """Without --out a person sees a table, and a line of totals."""
    shown = desk.find("--id-column", "id", "--rejected-only", "--limit", "3")
    assert shown.exit_code == 0
    assert "proven minimal" in shown.stdout
    assert "3 applicants: plans for " in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100


def test_csv_and_parquet_give_the_same_outcomes(desk: Desk) -> None:
    """The kind of file makes no difference."""
    frame = pd.read_csv(desk / "applicants.csv")
    frame.to_parquet(desk / "applicants.parquet")
    csv = desk.find("--format", "json", "--id-column", "id")
    parquet = desk.find("--format", "json", "--id-column", "id", data="applicants.parquet")
    assert records(csv.stdout)[1:] == records(parquet.stdout)[1:]


def test_the_order_of_columns_does_not_matter(desk: Desk) -> None:
    """Columns are found by name."""
    frame = desk.rows()
    frame[frame.columns[::-1]].to_csv(desk / "turned.csv", index=False)
    straight, turned = desk.find("--format", "json"), desk.find("--format", "json", data="turned.csv")
    assert records(straight.stdout)[1:] == records(turned.stdout)[1:]


def test_threads_do_not_change_a_byte(desk: Desk) -> None:
    """One thread and two write the same file."""
    one, two = desk / "one.jsonl", desk / "two.jsonl"
    assert desk.find("--threads", "1", "--out", str(one)).exit_code == 0
    assert desk.find("--threads", "2", "--out", str(two)).exit_code == 0
    assert one.read_bytes() == two.read_bytes()


def test_applicants_are_chosen_by_id_in_the_order_of_the_data(desk: Desk) -> None:
    """--ids takes a list or a file; the data decides the order, and costs do not depend on the choice."""
    some = desk.find("--id-column", "id", "--ids", "A007,A002", "--format", "json")
    assert [outcome["id"] for outcome in records(some.stdout)[1:]] == ["A002", "A007"]
    (desk / "ids.txt").write_text("A002\nA007\n")
    again = desk.find("--id-column", "id", "--ids", str(desk / "ids.txt"), "--format", "json")
    assert again.stdout == some.stdout
    everyone = {o["id"]: o for o in records(desk.find("--id-column", "id", "--format", "json").stdout)[1:]}
    assert records(some.stdout)[1:] == [everyone["A002"], everyone["A007"]]


def test_rejected_only_leaves_out_the_approved(desk: Desk) -> None:
    """Nobody who is approved already is written, everybody else is."""
    everyone = records(desk.find("--format", "json").stdout)[1:]
    rejected = records(desk.find("--format", "json", "--rejected-only").stdout)[1:]
    assert rejected == [outcome for outcome in everyone if outcome["status"] != "already_approved"]
    assert 0 < len(rejected) < len(everyone)


def test_a_threshold_of_ones_own_replaces_the_policys(desk: Desk) -> None:
    """With a low threshold everyone is approved, and the outcomes say which threshold they are about."""
    low = records(desk.find("--format", "json", "--threshold", "0.0001").stdout)
    assert low[0]["threshold"] == 0.0001
    assert {(o["status"], o["threshold"]) for o in low[1:]} == {("already_approved", 0.0001)}


def test_a_policy_that_freezes_everything_is_answered_with_proofs(desk: Desk) -> None:
    """Nothing may change: none_exists for every refused applicant, with the score that is there as the best."""
    frozen = POLICY.replace("kind =", 'role = "fixed"\nkind =')
    for line in ('change = "up"\n', 'change = "down"\n', 'moves = { rent = ["own"] }\n', "max_change = 20000\n"):
        frozen = frozen.replace(line, "")
    frozen = frozen.replace(
        'role = "fixed"\nkind = "integer"\nrole = "protected"', 'kind = "integer"\nrole = "protected"'
    )
    (desk / "frozen.toml").write_text(frozen)
    outcomes = records(desk.find("--format", "json", "--rejected-only", policy="frozen.toml").stdout)[1:]
    assert {outcome["status"] for outcome in outcomes} == {"none_exists"}
    assert all(outcome["best_score"]["value"] == outcome["score"] for outcome in outcomes)
    linted = run("policy", "check", desk / "frozen.toml")
    assert linted.exit_code == 0
    assert "warning" in linted.stdout


# --------------------------------------------------------------------------------------------------------- bad input


def test_a_missing_column_is_named(desk: Desk) -> None:
    """Nothing is written, and the error names the column and the nearest one."""
    desk.rows().rename(columns={"income": "incme"}).to_csv(desk / "bad.csv", index=False)
    result = desk.find("--out", str(desk / "plans.jsonl"), data="bad.csv")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "error: the data has no column 'income', which the model needs. Did you mean 'incme'?"
    )
    assert not list(desk.folder.glob("plans.jsonl*"))


def test_extra_columns_are_ignored_with_one_warning(desk: Desk) -> None:
    """A column that nobody knows changes nothing."""
    desk.rows().assign(note="x", score="1").to_csv(desk / "extra.csv", index=False)
    plain = desk.find("--format", "json", "--id-column", "id")
    extra = desk.find("--format", "json", "--id-column", "id", data="extra.csv")
    assert records(plain.stdout)[1:] == records(extra.stdout)[1:]
    warnings = [line for line in extra.stderr.splitlines() if line.startswith("warning")]
    assert warnings == ["warning: ignored 2 columns that neither the policy nor the model has: 'note', 'score'"]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("income", "12k", "column 'income', row 'A004': the text '12k' stands where"),
        (
            "income",
            "inf",
            "column 'income', row 'A004': inf is not finite; give a finite number",
        ),
        ("housing", "boat", "the level 'boat'"),
        ("age", "old", "column 'age', row 'A004': the text 'old' stands where"),
    ],
)
def test_a_bad_cell_stops_the_run_before_anything_is_written(desk: Desk, column: str, value: str, message: str) -> None:
    """The error names column, row and remedy."""
    bad = desk.with_cell(column, 4, value)
    result = desk.find("--id-column", "id", "--out", str(desk / "plans.jsonl"), data=bad)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "A004" in result.stderr
    assert result.stderr.rstrip().endswith("--keep-going leaves bad rows out")
    assert len(result.stderr.splitlines()) == 1
    assert not list(desk.folder.glob("plans.jsonl*"))


def test_keep_going_gives_a_bad_row_a_line_of_its_own(desk: Desk) -> None:
    """The error stands in the applicant's place; everyone else's outcome is there, and check counts it."""
    bad = desk.with_cell("income", 4, "12k")
    out = desk / "plans.jsonl"
    people = ("--population", str(desk / "train.csv"))
    result = desk.find("--id-column", "id", "--keep-going", "--out", str(out), *people, data=bad)
    assert result.exit_code == 0, result.stderr
    assert "1 bad row left out" in result.stderr
    lines = records(out.read_text())[1:]
    assert lines[4]["schema"] == "fairpath.error/1"
    assert lines[4]["id"] == "A004"
    assert "'12k'" in lines[4]["error"]
    good = records(desk.find("--id-column", "id", "--format", "json", *people).stdout)[1:]
    assert lines[:4] + lines[5:] == good[:4] + good[5:]
    assert desk.check("plans.jsonl", data=bad).exit_code == 0
    assert desk.check("plans.jsonl").exit_code == 1  # with the cell mended the row is not bad


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "empty.csv is empty; expected a header line with column names"),
        ("head.csv", b"id,income,dti,accounts,housing,age\n", "head.csv has column names but no rows"),
        ("nowhere.csv", None, "nowhere.csv: no such file"),
    ],
)
def test_a_file_without_applicants_is_named(desk: Desk, name: str, content: bytes | None, message: str) -> None:
    """No rows is an error, not an empty answer."""
    if content is not None:
        (desk / name).write_bytes(content)
    result = desk.find(data=name)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_a_model_with_other_columns_is_named(desk: Desk) -> None:
    """The error says which column the model needs."""
    frame = pd.DataFrame({"salary": [1.0, 2.0, 3.0, 4.0] * 5})
    xgboost.XGBClassifier(n_estimators=2).fit(frame, [0, 0, 1, 1] * 5).save_model(desk / "other.ubj")
    result = desk.find(model="other.ubj")
    assert result.exit_code == 2
    assert "the data has no column 'salary', which the model needs." in result.stderr


def test_a_model_of_three_classes_is_refused(desk: Desk) -> None:
    """Recourse needs a decision between two."""
    frame = pd.DataFrame({"income": [1.0, 2.0, 3.0] * 10})
    xgboost.XGBClassifier(n_estimators=2).fit(frame, [0, 1, 2] * 10).save_model(desk / "three.ubj")
    result = desk.find(model="three.ubj")
    assert result.exit_code == 2
    assert "class" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_truncated_model_is_named(desk: Desk) -> None:
    """Half a file is no model."""
    whole = (desk / "model.ubj").read_bytes()
    (desk / "half.ubj").write_bytes(whole[: len(whole) // 2])
    result = desk.find(model="half.ubj")
    assert result.exit_code == 2
    assert "half.ubj" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.pkl", "is a pickle file, and reading one can run any code"),
        ("disguised.ubj", "is a pickle in disguise"),
        ("disguised.skops", "is a pickle in disguise"),
        ("disguised.txt", "is a pickle in disguise"),
    ],
)
def test_a_pickle_is_not_opened_unasked(desk: Desk, name: str, message: str) -> None:
    """A pickle can run code, whatever its name says: it is refused, and says why."""

    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(desk / "exploded"),)

    (desk / name).write_bytes(pickle.dumps(Bomb()))
    result = desk.find(model=name)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (desk / "exploded").exists()


def test_a_pickle_is_opened_on_request_with_a_warning(desk: Desk) -> None:
    """The warning says why, in one line; a scikit-learn model then works as any other."""
    frame = pd.read_csv(desk / "train.csv")[["income", "dti"]]
    tree = DecisionTreeClassifier(max_depth=3).fit(frame, frame["income"] / 50000 - frame["dti"] > 0.2)
    (desk / "tree.pkl").write_bytes(pickle.dumps(tree))
    result = desk.find("--allow-pickle", "--format", "json", "--id-column", "id", model="tree.pkl")
    assert result.exit_code == 0, result.stderr
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "it can run any code that its author put in it" in warnings[0]
    assert len(records(result.stdout)) == 41


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "1.5"], "error: --threshold: a probability lies strictly between 0 and 1, got 1.5"),
        (["--threshold", "nan"], "error: --threshold needs a finite number, got nan"),
        (["--ids", "A999", "--id-column", "id"], "error: no applicant with id 'A999' in the data."),
        (["--id-column", "idd"], "error: no column named 'idd' for ids. Did you mean 'id'?"),
        (["--node-budget", "0"], "error: Invalid value for '--node-budget'"),
        (["--nodes", "3"], "error: No such option: --nodes"),
        (["--limit", "many"], "error: Invalid value for '--limit'"),
        (["--out", "/nowhere/plans.jsonl"], "error: /nowhere: no such folder for --out"),
        (["--id-column", "ID"], "error: no column named 'ID' for ids. Did you mean 'id'?"),
        (["--data", "/"], "error: / is a folder; expected a CSV or Parquet file"),
        (["--out", "/dev/null"], "error: /dev/null is no regular file; --out needs one"),
    ],
)
def test_a_wrong_option_is_one_line(desk: Desk, words: list[str], message: str) -> None:
    """Usage errors exit with 2 and say what came."""
    result = desk.find("--quiet", *words)
    assert result.exit_code == 2
    (error,) = (line for line in result.stderr.splitlines() if not line.startswith("warning"))
    assert error.startswith(message)
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["applicants.csv", "model.ubj", "policy.toml", "train.csv"])
def test_an_input_is_never_written_over(desk: Desk, name: str) -> None:
    """A slip in a command line does not cost a lender the model."""
    before = (desk / name).read_bytes()
    result = desk.find("--population", str(desk / "train.csv"), "--out", str(desk / name))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --out would overwrite the file that --")
    assert (desk / name).read_bytes() == before


def test_a_link_is_never_replaced(desk: Desk) -> None:
    """Where /dev/stdout is a link to the terminal, it stays one."""
    (desk / "link.jsonl").symlink_to(desk / "target.jsonl")
    result = desk.find("--out", str(desk / "link.jsonl"))
    assert result.exit_code == 2
    assert "link.jsonl is no regular file; --out needs one" in result.stderr
    assert (desk / "link.jsonl").is_symlink()


def test_a_fault_of_the_population_names_its_file(desk: Desk) -> None:
    """There are two files of rows; the error says which one is meant."""
    name = desk.with_cell("income", 3, "many", name="others.csv")
    result = desk.find("--population", str(desk / name))
    assert result.exit_code == 2
    assert f"error: --population {desk / name}: column 'income', row 3: expected a number" in result.stderr


def test_errors_can_be_json(desk: Desk) -> None:
    """One object with the kind of error, the message and the exit code."""
    result = desk.find("--json-errors", data="nowhere.csv")
    error = json.loads(result.stderr)
    assert error["error"] == "DataError"
    assert error["message"].endswith("nowhere.csv: no such file")
    assert error["exit_code"] == result.exit_code == 2
    usage = json.loads(run("find", "--json-errors").stderr)
    assert usage["exit_code"] == 2
    assert "Missing option" in usage["message"]


def test_a_policy_with_a_typing_error_is_one_line(desk: Desk) -> None:
    """Unknown keys are errors with the nearest known one."""
    (desk / "typo.toml").write_text(POLICY.replace("max_changes", "max_chnges"))
    result = desk.find(policy="typo.toml")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "max_chnges" in result.stderr
    assert "max_changes" in result.stderr


def test_debug_shows_the_traceback_and_nothing_else_does(desk: Desk) -> None:
    """A stack trace is for those who ask."""
    assert "Traceback" not in desk.find(data="nowhere.csv").stderr
    assert "Traceback" in desk.find("--debug", data="nowhere.csv").stderr


# --------------------------------------------------------------------------------------------------- going on, safely


def test_a_stopped_run_goes_on_to_the_same_file(desk: Desk) -> None:
    """What a run had written before it stopped is kept, and the end is the same to the byte."""
    whole, again = desk / "whole.jsonl", desk / "again.jsonl"
    assert desk.find("--out", str(whole)).exit_code == 0
    lines = whole.read_text().splitlines(keepends=True)
    (desk / "again.jsonl.part").write_text("".join(lines[:11]) + lines[11][:30])
    result = desk.find("--out", str(again))
    assert result.exit_code == 0
    assert "again.jsonl.part: going on after 10 applicants" in result.stderr
    assert again.read_bytes() == whole.read_bytes()


def test_the_part_of_another_run_is_kept(desk: Desk) -> None:
    """A part that other settings wrote is neither mixed nor deleted."""
    out = desk / "plans.jsonl"
    assert desk.find("--out", str(out)).exit_code == 0
    out.rename(desk / "plans.jsonl.part")
    result = desk.find("--out", str(out), "--threshold", "0.7")
    assert result.exit_code == 2
    assert "is of another run (it differs in threshold)" in result.stderr
    assert (desk / "plans.jsonl.part").exists()


def program(desk: Desk, *words: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "recourse", *map(str, words)]
    environment = {**os.environ, "COLUMNS": "100", "PYTHONWARNINGS": "default"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], **pipes, **options)


@pytest.mark.slow
def test_ctrl_c_loses_nothing(desk: Desk) -> None:
    """An interrupted run exits with 130, keeps what it did, says how to go on, and goes on."""
    frame = pd.concat([desk.rows()] * 400, ignore_index=True).drop(columns="id")
    frame.to_csv(desk / "many.csv", index=False)
    out, part = desk / "plans.jsonl", desk / "plans.jsonl.part"
    words = ["find", *desk.inputs("many.csv", "model.ubj", "policy.toml"), "--out", str(out), "--threads", "1"]
    process = program(desk, *words)
    for _ in range(1200):
        if part.exists() and part.read_bytes().count(b"\n") > 20:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    done = part.read_bytes().count(b"\n") - 1
    assert f"interrupted: {done:,} of 16,000 applicants are in {part}; run the same command again" in errors
    assert "Traceback" not in errors
    assert not out.exists()
    assert run(*words).exit_code == 0
    assert len(out.read_text().splitlines()) == 16_001
    assert not part.exists()


# ---------------------------------------------------------------------------------------------------------- checking


@pytest.fixture
def plans(desk: Desk) -> list[dict[str, Any]]:
    """Write plans for the desk's applicants, and return the lines."""
    out = desk / "plans.jsonl"
    assert desk.find("--id-column", "id", "--out", str(out)).exit_code == 0
    return records(out.read_text())


def tampered(desk: Desk, lines: list[dict[str, Any]]) -> Any:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (desk / "tampered.jsonl").write_text(text)
    return desk.check("tampered.jsonl", "--format", "json")


def first_found(lines: list[dict[str, Any]]) -> int:
    return next(i for i, line in enumerate(lines) if line.get("status") == "found")


def test_the_check_has_a_summary_for_machines(desk: Desk, plans: list[dict[str, Any]]) -> None:
    """Counts by status, plans, proofs, and no failures."""
    result = tampered(desk, plans)
    assert result.exit_code == 0
    verdict = json.loads(result.stdout)
    assert verdict["ok"] is True
    assert verdict["failures"] == []
    statuses = [line["status"] for line in plans[1:]]
    assert verdict["counts"]["found"] == verdict["counts"]["plans"] == statuses.count("found")
    assert verdict["counts"]["already_approved"] == statuses.count("already_approved")


def alter(line: dict[str, Any], kind: str) -> None:
    plan = line["plans"][0]
    change = plan["changes"][0]
    if kind == "cost":
        plan["cost"] = plan["certificate"]["cost"] = plan["certificate"]["bound"] = plan["cost"] / 2
    elif kind == "target":
        other = "own" if isinstance(change["to"], str) else change["to"] + 0.013
        change["to"] = plan["row"][change["feature"]] = other if other != change["to"] else "free"
    elif kind == "score":
        plan["score"] = 0.99
    elif kind == "row":
        plan["row"]["dti"] = 0.01 if change["feature"] != "dti" else 0.02
    elif kind == "protected":
        plan["row"]["age"] = 30
    elif kind == "approved":
        line["status"], line["stage"], line["plans"] = "already_approved", None, []
    elif kind == "threshold":
        line["threshold"] = 0.1
    elif kind == "provenance":
        line["provenance"]["model"] = "sha256:0"
    elif kind == "budget":
        plan["certificate"]["node_budget"] = 5


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cost", "the changes cost"),
        ("target", "is not"),
        ("score", "the plan says 0.99"),
        ("row", "dti: the plan's row says"),
        ("protected", "age: a protected column stands in the plan's row"),
        ("approved", "the status is 'already_approved', but"),
        ("threshold", "the header says 0.6"),
        ("provenance", "the provenance is not the header's"),
        ("budget", "the node budget is 5, the header says 200,000"),
    ],
)
def test_a_tampered_outcome_is_found(desk: Desk, plans: list[dict[str, Any]], kind: str, message: str) -> None:
    """Whatever is altered in an outcome, the check fails, names the applicant and says what."""
    place = first_found(plans)
    alter(plans[place], kind)
    result = tampered(desk, plans)
    assert result.exit_code == 1
    failures = json.loads(result.stdout)["failures"]
    assert failures[0]["id"] == plans[place]["id"]
    assert any(message in violation for violation in failures[0]["violations"]), failures
    assert "violation" in result.stderr


def test_applicants_missing_or_twice_are_found(desk: Desk, plans: list[dict[str, Any]]) -> None:
    """The header announces who is in the file."""
    short = json.loads(tampered(desk, plans[:-1]).stdout)
    assert short["failures"] == [{"id": None, "violations": ["the header announces 40 applicants, the file holds 39"]}]
    twice = json.loads(tampered(desk, [*plans, plans[3]]).stdout)
    assert twice["failures"] == [{"id": plans[3]["id"], "violations": ["stands twice in the file"]}]
    swapped = json.loads(tampered(desk, [plans[0], plans[2], plans[1], *plans[3:]]).stdout)
    assert "stand in another order" in swapped["failures"][0]["violations"][0]
    unknown = json.loads(tampered(desk, [*plans[:-1], {**plans[-1], "id": "B1"}]).stdout)
    assert {"id": "B1", "violations": ["is not in the data"]} in unknown["failures"]


def test_another_model_policy_or_population_is_found(desk: Desk, plans: list[dict[str, Any]]) -> None:
    """The hashes in the header must be those of the files at hand."""
    frame = pd.read_csv(desk / "train.csv")[FEATURES].astype({"housing": LEVELS})
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2, enable_categorical=True, n_jobs=1)
    model.fit(frame, (frame["income"] > 40000).astype(int)).save_model(desk / "other.ubj")
    checked = desk.check("plans.jsonl", model="other.ubj")
    assert checked.exit_code == 1
    assert "the plans were made with another model" in checked.stdout
    population = desk.check("plans.jsonl", "--population", str(desk / "train.csv"))
    assert population.exit_code == 1
    assert "the plans were made with another population" in population.stdout
    text = (desk / "policy.toml").read_text()
    (desk / "policy.toml").write_text(text.replace("per_change = 0.1", "per_change = 0.2"))
    policy = desk.check("plans.jsonl")
    assert policy.exit_code == 1
    assert "the plans were made with another policy" in policy.stdout


def test_a_population_that_was_altered_is_found(desk: Desk, plans: list[dict[str, Any]]) -> None:
    """The summary in the header is held against its hash."""
    plans[0]["population"]["summary"]["n_rows"] += 1
    plans[0]["population"]["source"] = "train.csv"
    result = tampered(desk, plans)
    assert result.exit_code == 1
    assert "another population" in json.loads(result.stdout)["failures"][0]["violations"][0]


def test_a_file_that_is_no_plans_is_bad_input(desk: Desk) -> None:
    """Exit 2, not 1: nothing was checked."""
    result = desk.check("applicants.csv")
    assert result.exit_code == 2
    assert "line 1: not JSON" in result.stderr


# ------------------------------------------------------------------------------------------------- policy, and the rest


def test_a_draft_is_a_policy_that_passes_its_check(desk: Desk) -> None:
    """`policy init` writes what `policy check` and `find` can use at once."""
    draft = desk / "draft.toml"
    data = ("--data", desk / "train.csv")
    made = run("policy", "init", *data, "--model", desk / "model.ubj", "--out", draft)
    assert made.exit_code == 0, made.stderr
    assert "recourse policy check" in made.stderr
    checked = run("policy", "check", draft, *data, "--model", desk / "model.ubj")
    assert checked.exit_code == 0, checked.stdout
    assert desk.find("--limit", "3", policy="draft.toml").exit_code == 0
    assert run("policy", "init", *data, "--model", desk / "model.ubj").stdout == draft.read_text()
    again = run("policy", "init", *data, "--out", draft)
    assert again.exit_code == 2
    assert "exists; a policy that someone edited is not written over" in again.stderr
    wrong = run("policy", "init", *data, "--target", "incme")
    assert wrong.exit_code == 2
    assert "the data has no column 'incme'. Did you mean 'income'?" in wrong.stderr


def test_an_invalid_policy_fails_its_check(desk: Desk) -> None:
    """Each problem is a line of the table; the exit code is 1."""
    (desk / "bad.toml").write_text(POLICY.replace("max_changes", "max_chnges").replace("step = 500", "step = -1"))
    result = run("policy", "check", desk / "bad.toml", "--format", "json")
    assert result.exit_code == 1
    findings = json.loads(result.stdout)["findings"]
    assert len(findings) == 2
    assert {finding["level"] for finding in findings} == {"error"}
    assert run("policy", "check", desk / "nowhere.toml").exit_code == 2


def test_the_schema_is_json() -> None:
    """`policy schema` prints the JSON Schema of the policy file."""
    schema = json.loads(run("policy", "schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert "features" in schema["properties"]


def test_the_version_is_the_packages() -> None:
    """One line, one number."""
    assert run("--version").stdout == f"fairpath {__version__}\n"


@pytest.mark.parametrize(
    "words", [(), ("find",), ("check",), ("revalidate",), ("policy",), ("policy", "init"), ("policy", "check")]
)
def test_the_help_is_the_one_that_was_read(words: tuple[str, ...]) -> None:
    """Golden text, at 100 columns."""
    shown = run(*words, "--help")
    assert shown.exit_code == 0
    text = "\n".join(line.rstrip() for line in shown.stdout.splitlines()).strip() + "\n"
    name = "-".join(("help", *words))
    assert text == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_a_wrong_command_is_one_line() -> None:
    """With the nearest one that exists."""
    result = run("fnd")
    assert result.exit_code == 2
    assert result.stderr == "error: No such command 'fnd'. Did you mean 'find'? (see --help)\n"


def test_the_program_runs_as_a_module(desk: Desk) -> None:
    """`python -m recourse` keeps stdout, stderr and exit codes apart, and shows no traceback."""
    process = program(desk, "find", *desk.inputs("nowhere.csv", "model.ubj", "policy.toml"))
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output == ""
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.slow
def test_plans_can_be_piped(desk: Desk) -> None:
    """Results alone are on stdout, without progress or colour; a reader that stops early is no error."""
    words = ["find", *desk.inputs("applicants.csv", "model.ubj", "policy.toml"), "--format", "json"]
    process = program(desk, *words)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "\x1b" not in output + errors
    assert len(records(output)) == 41
    with program(desk, *words) as early:
        assert early.stdout is not None
        assert early.stderr is not None
        early.stdout.close()
        assert early.stderr.read().count("\n") <= 2  # the note on compiling, and the tally
    assert early.returncode == 141  # not 0: not everything was told; not 1: no check has failed


def test_ctrl_c_is_told_from_the_start(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops a run while the files are read hears that nothing was written."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recourse.cli.frames.read_table", stop)
    result = desk.find("--out", str(desk / "plans.jsonl"))
    assert result.exit_code == 130
    assert result.stderr == "interrupted: stopped before anything was written\n"
