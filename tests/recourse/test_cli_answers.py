"""The program's answers beyond one plan: shapes, several plans and models, what blocks, what lasts, proofs."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import xgboost

from tests.recourse.test_cli import FEATURES, LEVELS, Desk, desk, made, records, run

__all__ = ["desk", "made"]  # fixtures


def found(desk: Desk, *words: str) -> list[dict[str, Any]]:
    """Run `find` into a file and return its lines."""
    out = desk / "plans.jsonl"
    result = desk.find("--id-column", "id", "--limit", "12", "--out", str(out), *words)
    assert result.exit_code == 0, result.stderr
    return records(out.read_text())


def confirmed(desk: Desk, *words: str) -> dict[str, Any]:
    """Run `check` on the file and return what it says."""
    result = desk.check("plans.jsonl", "--format", "json", *words)
    assert result.exit_code == 0, result.stdout + result.stderr
    said: dict[str, Any] = json.loads(result.stdout)
    assert said["ok"]
    return said


def refitted(desk: Desk, name: str, seed: int) -> Path:
    """Train the model again on other rows of the same file."""
    frame = pd.read_csv(desk / "train.csv").sample(300, random_state=seed)
    target = (
        frame["income"] / 30000 + (frame["housing"] == "own") - 3 * frame["dti"] + frame["age"] / 100 > 1.2
    ).astype(int)
    model = xgboost.XGBClassifier(n_estimators=15, max_depth=3, enable_categorical=True, n_jobs=1, random_state=seed)
    model.fit(frame[FEATURES].astype({"housing": LEVELS}), target)
    model.save_model(desk / name)
    return desk / name


@pytest.mark.parametrize("shape", ["box", "orthant"])
def test_a_shape_is_asked_for_checked_and_shown(desk: Desk, shape: str) -> None:
    """The header says the shape, plans state their regions, and check holds them against it."""
    header, *outcomes = found(desk, "--shape", shape, "--box-steps", "2")
    assert header["shape"] == shape
    plans = [plan for outcome in outcomes for plan in outcome["plans"]]
    assert plans
    assert all(plan["region"] for plan in plans)
    assert confirmed(desk)["counts"]["plans"] == len(plans)
    table = desk.find("--limit", "12", "--shape", shape, "--box-steps", "2").stdout
    assert ("at least" if shape == "orthant" else " to ") in table


def test_several_plans_are_written_checked_and_shown(desk: Desk) -> None:
    """Up to three plans an applicant, in order of cost; more than were asked for are refused."""
    lines = found(desk, "--plans", "3")
    assert max(len(line["plans"]) for line in lines[1:]) > 1
    confirmed(desk)
    assert "or" in desk.find("--limit", "12", "--plans", "3").stdout
    lines[0]["plans"] = 1
    (desk / "plans.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    refused = desk.check("plans.jsonl", "--format", "json")
    assert refused.exit_code == 1
    assert "one was asked for" in refused.stdout


def test_challengers_and_refits_are_heard(desk: Desk) -> None:
    """A challenger constrains the plans and is checked from the header; refits and a rising threshold are told."""
    challenger, other = refitted(desk, "next.ubj", 1), refitted(desk, "other.ubj", 2)
    words = ["--also-approve", str(challenger), "--refit", str(challenger), "--refit", str(other), "--robustness"]
    header, *outcomes = found(desk, *words)
    assert [part["file"] for part in header["also_approve"]] == [str(challenger)]
    plans = [plan for outcome in outcomes for plan in outcome["plans"]]
    assert plans
    assert all(plan["refit_survival"] in (0.5, 1.0) for plan in plans)
    assert all(0.0 <= plan["robustness"] <= plan["score"] - 0.5 for plan in plans)
    confirmed(desk)
    wrong = desk.check("plans.jsonl", "--format", "json", "--also-approve", str(other))
    assert wrong.exit_code == 1
    assert "also_approve are not those that the header names" in wrong.stdout
    assert "of refits" in desk.find("--limit", "12", *words).stdout.replace("\n", " ").replace("  ", " ")


def test_what_blocks_is_told_in_the_policys_words(desk: Desk) -> None:
    """Where no plan exists, the file and the table name constraints without which one would."""
    text = (desk / "policy.toml").read_text()
    (desk / "tight.toml").write_text(text.replace("max_changes = ", "max_changes = 1 # ", 1))
    out = desk / "plans.jsonl"
    words = ["--threshold", "0.9", "--rejected-only", "--limit", "8", "--blocking"]
    result = desk.find(*words, "--out", str(out), policy="tight.toml")
    assert result.exit_code == 0, result.stderr
    blocked = [line["blocking"] for line in records(out.read_text())[1:] if line["status"] == "none_exists"]
    assert blocked
    assert all(one.get("model") or one["constraints"] for one in blocked)
    assert all("age" not in json.dumps(one) for one in blocked)
    shown = desk.find(*words, policy="tight.toml").stdout
    assert "blocked by" in shown or "the model approves nothing" in shown


def test_proofs_are_written_and_followed(desk: Desk) -> None:
    """Each claim of the file is proven in a file of its own, and a missing or altered one is found."""
    folder = desk / "proofs"
    lines = found(desk, "--proof", str(folder))
    claims = [line for line in lines[1:] if line["status"] in ("found", "none_exists")]
    assert len(list(folder.glob("*.json"))) == len(claims) > 0
    assert confirmed(desk, "--proof", str(folder))["counts"]["proof"] == len(claims)
    path = folder / f"{claims[0]['id']}.json"
    proof = json.loads(path.read_text())
    proof["parts"][0]["nodes"][-1] = {"closed": "changes"}
    path.write_text(json.dumps(proof))
    result = desk.check("plans.jsonl", "--proof", str(folder), "--format", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failures"][0]["id"] == claims[0]["id"]
    path.unlink()
    assert "there is no proof of it" in desk.check("plans.jsonl", "--proof", str(folder), "--format", "json").stdout


def test_old_plans_are_scored_under_a_new_model(desk: Desk) -> None:
    """Under the same model everything holds; under another one each plan is judged again."""
    lines = found(desk)
    model = desk / "model.ubj"
    inputs = ["--plans", str(desk / "plans.jsonl"), *desk.inputs("applicants.csv", "model.ubj", "policy.toml")]
    same = run("revalidate", *inputs, "--format", "json")
    assert same.exit_code == 0, same.stderr
    results = records(same.stdout)
    assert len(results) == len(lines) - 1
    assert all(result["holds"] for result in results)
    refitted(desk, "next.ubj", 3).replace(model)
    other = records(run("revalidate", *inputs, "--format", "json").stdout)
    assert [result["id"] for result in other] == [result["id"] for result in results]
    assert any(a["score"] != b["score"] for a, b in zip(results, other, strict=True))
    table = run("revalidate", *inputs)
    assert table.exit_code == 0
    assert "what was said holds" in table.stdout


def test_two_runs_do_not_write_one_file(desk: Desk) -> None:
    """While one run writes, a second one to the same place is refused and harms nothing."""
    from recourse.cli.outcomes import OutcomeFile
    from recourse.errors import DataError

    out = desk / "plans.jsonl"
    with OutcomeFile(out, {"schema": "x"}) as first:
        with pytest.raises(DataError, match="another run is writing"), OutcomeFile(out, {"schema": "x"}):
            pass
        assert first.written() == 0
        first.finish()
    assert out.read_text() == '{"schema": "x"}\n'


def test_a_missing_column_comes_with_a_remedy(desk: Desk) -> None:
    """Where no name is near, the message says what to do all the same."""
    desk.rows().drop(columns=["housing"]).to_csv(desk / "short.csv", index=False)
    result = desk.find(data="short.csv")
    assert result.exit_code == 2
    assert "no column 'housing', which the policy lets change" in result.stderr or "the model needs" in result.stderr
    assert "Add the column to" in result.stderr


def test_an_address_is_asked_only_as_a_black_box(desk: Desk) -> None:
    """An address cannot be read exactly, and the message says which option asks it."""
    inputs = desk.inputs("applicants.csv", "model.ubj", "policy.toml")
    result = run("find", "--model", "http://127.0.0.1:9/score", *inputs[2:])
    assert result.exit_code == 2
    assert "--black-box" in result.stderr


class _Scorer(BaseHTTPRequestHandler):
    """An endpoint that likes income."""

    def do_POST(self) -> None:
        """Score the rows of a request."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["rows"]
        body = json.dumps({"scores": [min(1.0, row["income"] / 80_000) for row in asked]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_an_endpoint_is_asked_and_its_plans_are_checked(desk: Desk) -> None:
    """With --black-box an address is a model: plans are found, never called proven, and confirmed by asking again."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Scorer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url, out = f"http://127.0.0.1:{server.server_port}/score", desk / "plans.jsonl"
        inputs = ["--model", url, *desk.inputs("applicants.csv", "", "policy.toml")[2:], "--id-column", "id"]
        words = ["--limit", "4", "--black-box", "--calls", "120", "--seed", "3", "--robustness", "--out", str(out)]
        result = run("find", *inputs, *words)
        assert result.exit_code == 0, result.stderr
        header, *outcomes = records(out.read_text())
        assert header["black_box"] == {"seed": 3, "calls": 120}
        plans = [plan for outcome in outcomes for plan in outcome["plans"]]
        assert plans
        assert not any(plan["certificate"]["proven"] for plan in plans)
        checked = run("check", "--plans", str(out), *inputs, "--format", "json")
        assert checked.exit_code == 0, checked.stdout + checked.stderr
        assert "--black-box" in run("find", *inputs, "--black-box", "--blocking").stderr
    finally:
        server.shutdown()
        server.server_close()
