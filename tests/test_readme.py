"""The README is a session: what it shows is run, in its order, in one folder."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import table
from recourse import Policy

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
MEASURED = re.compile(r"<!-- printed by `python -m benchmarks table` -->\n(.*?)\n?<!-- end -->", flags=re.DOTALL)


def said(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command behind a prompt, continued lines joined, with the lines it is shown to print."""
    for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        yield command, shown


def commands() -> list[str]:
    """Return all commands that the README shows."""
    return [command for language, block in BLOCKS if language == "console" for command, _ in said(block)]


def test_the_session_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python example prints what it shows, and every command succeeds with the files that came before it."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for language, block in BLOCKS:
        if language == "python":
            example = doctest.DocTestParser().get_doctest(block, names, "README.md", "README.md", 0)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
            told: list[str] = []
            runner.run(example, out=told.append, clear_globs=False)
            assert runner.summarize(verbose=False).failed == 0, "".join(told)
            names = example.globs
        elif language == "console":
            for command, shown in said(block):
                if shlex.split(command)[0] == "recourse":
                    done = subprocess.run(
                        command, shell=True, capture_output=True, text=True, env={**os.environ, "PATH": path}
                    )
                    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
                    assert [line for line in shown if line not in done.stdout + done.stderr] == []


def test_what_a_policy_can_say_is_a_policy() -> None:
    """All tables that the README shows are one valid policy, once the features that it only names are there."""
    whole: dict[str, Any] = {"features": {}}
    for language, block in BLOCKS:
        if language == "toml":
            for key, table_ in tomllib.loads(block).items():
                if isinstance(table_, list):
                    whole.setdefault(key, []).extend(table_)
                else:
                    kept = whole.setdefault(key, {})
                    kept |= {**table_, "knockouts": [*kept.get("knockouts", ()), *table_.get("knockouts", ())]} if (
                        key == "decision"
                    ) else table_  # fmt: skip
    for name in ("monthly_debt", "open_accounts", "total_accounts", "bankruptcies", "education", "inquiries"):
        whole["features"].setdefault(name, {"kind": "integer", "min": 0, "max": 10_000})
    whole["features"]["income"] |= {"min": 0, "max": 500_000}
    policy = Policy.model_validate(whole)
    assert len(policy.rules) == 2
    assert policy.time is not None


def test_every_command_is_one_that_is_tested() -> None:
    """A command in the README is `recourse …`, which runs above, or a target of the Makefile."""
    makefile = (Path(__file__).resolve().parents[1] / "Makefile").read_text()
    for command in commands():
        program, *arguments = shlex.split(command)
        if program == "make":
            assert re.search(rf"^{arguments[0]}: ", makefile, flags=re.MULTILINE), command
        else:
            assert program in ("recourse", "pip"), command


def test_continuous_integration_runs_the_same_commands() -> None:
    """`.ci/run` calls the linters and the test command that the README names."""
    script = (Path(__file__).resolve().parents[1] / ".ci" / "run").read_text()
    assert "make test" in commands()
    assert re.findall(r"^make \w+$", script, flags=re.MULTILINE) == ["make lint", "make test"]


def test_the_figures_are_the_committed_ones() -> None:
    """The README's tables are what `python -m benchmarks table` prints from the committed result files."""
    (shown,) = MEASURED.findall(README)
    results = Path(table.__file__).parent / "results"
    assert shown.strip() == table.render(results).strip()
