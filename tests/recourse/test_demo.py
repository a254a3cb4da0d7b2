"""The demonstration shows what is true: every plan in it passes the check, and its numbers add up."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from recourse.cli import app
from recourse.cli.demo import examples
from recourse.demo import run
from recourse.models.training import Library
from recourse.plan import check_outcomes
from recourse.population import Population

LIBRARIES: tuple[Any, ...] = get_args(Library)


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_outcome_of_the_demonstration_passes_the_check(library: Library) -> None:
    """With XGBoost, and with what the core alone brings."""
    said: list[str] = []
    demo = run(applicants=40, library=library, say=said.append)
    rows = demo.rows.to_dict("records")
    population = Population.from_frame(demo.train, demo.policy)
    assert "already_approved" not in {outcome.status for outcome in demo.outcomes}  # whom it calls refused, it refuses
    assert check_outcomes(demo.outcomes, rows, demo.model, demo.policy, population) == [()] * 40
    assert all(outcome.status != "already_approved" for outcome in demo.outcomes)
    assert said[0] == "training a model on the simulated lender"
    assert bool(demo.seconds_compiling) == any(words.startswith("compiling the search kernels once") for words in said)
    assert 0.6 < demo.auc < 1.0
    assert demo.n_refused >= 40

    shown = examples(demo.outcomes)
    assert len(shown) == 5
    lengths = [len(outcome.plan.changes) for outcome in shown if outcome.plan is not None]
    assert sorted(lengths)[0] == 1
    assert len(set(lengths)) > 1


@pytest.mark.slow
def test_the_demonstration_reads_well_and_leads_on(tmp_path: Path) -> None:
    """Tables, totals and times on stdout, what it is doing on stderr, and a next command that works."""
    folder = tmp_path / "trial"
    shown = CliRunner().invoke(app, ["demo", "--files", str(folder)], env={"COLUMNS": "100"})
    assert shown.exit_code == 0, shown.stderr
    flowing = " ".join(shown.stdout.split())
    for words in (
        "A simulated lender",
        "without age and sex on 5,000 simulated applicants",
        "The cheapest change that turns the decision",
        "proven minimal",
        "refused applicants",
        "a plan turns the decision",
        "applicants a second",
    ):
        assert words in flowing
    assert shown.stderr.startswith("training a model on the simulated lender ...\n")
    assert max(map(len, shown.stdout.splitlines()[:-1])) <= 100

    command = shlex.split(shown.stdout.splitlines()[-1].partition("recourse ")[2])
    found = CliRunner().invoke(app, command, env={"COLUMNS": "100"})
    assert found.exit_code == 0, found.stderr
    assert "10 applicants: " in found.stdout
    assert found.stderr == ""
