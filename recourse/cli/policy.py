"""``recourse policy``: draft a policy, lint it, print its schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError, PolicyError
from .options import AllowPickle, Debug, Format, JsonErrors
from .reporting import Failure, note, stdout

if TYPE_CHECKING:
    from ..lint import Finding
    from ..models.base import Model
    from ..policy import Policy

app = typer.Typer(help="Draft a policy, check it, or print its JSON Schema.", no_args_is_help=False)


@app.command("init")
def init(
    data: Annotated[Path, typer.Option(metavar="FILE", help="Training data, as CSV or Parquet.", show_default=False)],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="The column that the model predicts; left out of the policy.", show_default=False
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The model; only its columns enter the policy.", show_default=False),
    ] = None,
    favourable: Annotated[
        str, typer.Option(metavar="CLASS", help="The class that is good for the applicant, as the model spells it.")
    ] = "1",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write here instead of stdout; never over a file.", show_default=False),
    ] = None,
    allow_pickle: AllowPickle = False,
    json_errors: JsonErrors = False,
    debug: Debug = False,
) -> None:
    """Draft a policy from data, with comments, for a person to edit.

    What an applicant can really change is for people who know the product to say: the draft guesses kinds, grids and
    bounds, and marks what needs a decision.
    """
    if out is not None and out.exists():
        raise PolicyError(
            f"{out} exists; a policy that someone edited is not written over: delete it or choose another"
        )

    from ..draft import draft_policy
    from .frames import guessed, read_table

    label: str | int = int(favourable) if favourable.lstrip("-").isdigit() else favourable
    frame = guessed(read_table(data))
    if target is not None and target not in frame.columns:
        from ..errors import did_you_mean

        raise DataError(f"the data has no column {target!r}.{did_you_mean(target, map(str, frame.columns))}")
    read = None if model is None else _read(model, label, None, allow_pickle=allow_pickle)
    text = draft_policy(frame, target=target, model=read, favourable=label)
    if out is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        out.write_text(text, encoding="utf-8")
        note(f"wrote {out}; edit it, then: recourse policy check {out} --data {data}")


@app.command("check")
def check(
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="The policy file (TOML).", show_default=False)],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Applicants to lint against.", show_default=False)
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The model to lint against.", show_default=False)
    ] = None,
    format: Annotated[Format, typer.Option(help="What stdout shows.")] = Format.TABLE,
    allow_pickle: AllowPickle = False,
    json_errors: JsonErrors = False,
    debug: Debug = False,
) -> None:
    """Lint a policy by itself, against data, and against a model.

    Exit codes: 0 no errors (warnings may stand), 1 an error, 2 bad input.
    """
    if not policy.is_file():
        raise DataError(f"{policy}: no such file")
    from ..lint import Finding
    from ..policy import Policy

    findings: list[Finding]
    try:
        read = Policy.from_toml(policy)
    except PolicyError as error:
        findings = [Finding("error", None, line) for line in _problems(str(error), policy)]
    else:
        findings = _lint(read, data, model, allow_pickle=allow_pickle)
    if format is Format.JSON:
        listed = [{"level": f.level, "feature": f.feature, "message": f.message} for f in findings]
        sys.stdout.write(json.dumps({"schema": "fairpath.lint/1", "findings": listed}, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        _print(findings, against=[str(path) for path in (data, model) if path is not None])
    if any(finding.level == "error" for finding in findings):
        raise Failure("")


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of the policy file."""
    from ..policy import Policy

    sys.stdout.write(json.dumps(Policy.json_schema(), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _read(path: Path, favourable: Any, policy: Policy | None, *, allow_pickle: bool) -> Model:
    from ..models import read_model

    if policy is None:
        return read_model(path, favourable=favourable, allow_pickle=allow_pickle)
    return read_model(
        path, favourable=favourable, score=policy.decision.score, levels=policy.levels, allow_pickle=allow_pickle
    )


def _lint(policy: Policy, data: Path | None, model: Path | None, *, allow_pickle: bool) -> list[Finding]:
    from ..lint import lint_policy
    from .frames import read_table, typed

    read = None if model is None else _read(model, policy.decision.favourable, policy, allow_pickle=allow_pickle)
    frame = None if data is None else typed(read_table(data), policy, read)
    return list(lint_policy(policy, frame=frame, model=read))


def _problems(message: str, path: Path) -> list[str]:
    """Return one line for each problem of an invalid policy."""
    lines = [line.strip() for line in message.removeprefix(f"{path}: ").splitlines() if line.strip()]
    return lines[1:] if len(lines) > 1 and lines[0].endswith(":") else lines


def _print(findings: list[Finding], *, against: list[str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ..tables import printable

    console = stdout()
    if not findings:
        beside = f" (against {' and '.join(against)})" if against else ""
        console.print(f"nothing to object to{beside}", style="green", highlight=False, soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("feature", style="bold", overflow="fold")
    table.add_column("message", overflow="fold")
    for finding in findings:
        style = "red" if finding.level == "error" else "yellow"
        name = "" if finding.feature is None else printable(finding.feature)
        table.add_row(Text(finding.level, style=style), Text(name), Text(printable(finding.message)))
    console.print(table)
