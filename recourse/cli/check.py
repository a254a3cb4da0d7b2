"""``recourse check``: every outcome of a file verified again, without the search."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError
from .asking import Asked, Models, read_models
from .options import (
    AllowPickle,
    AlsoApprove,
    DataFile,
    Debug,
    Format,
    IdColumn,
    JsonErrors,
    ModelSource,
    Plausibility,
    PolicyFile,
    Quiet,
)
from .reporting import Failure, note, stdout

if TYPE_CHECKING:
    import pandas as pd

    from ..plan import Outcome
    from ..policy import Policy
    from ..population import Population
    from ..values import Value

CHUNK = 1_000  # outcomes scored in one call of the model
SHOWN = 20  # failures printed in full


def check(
    plans: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The JSON lines that `recourse find --out` wrote.", show_default=False),
    ],
    model: ModelSource,
    policy: PolicyFile,
    data: DataFile,
    population: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rows or a saved summary to compare with the one stored in the plans.",
            show_default=False,
        ),
    ] = None,
    also_approve: AlsoApprove = None,
    plausibility: Plausibility = None,
    proof: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Follow the proofs that `find --proof` wrote here: that no cheaper plan exists, in plain Python.",
            show_default=False,
        ),
    ] = None,
    id_column: IdColumn = None,
    format: Annotated[Format, typer.Option(help="What stdout shows.")] = Format.TABLE,
    allow_pickle: AllowPickle = False,
    quiet: Quiet = False,
    json_errors: JsonErrors = False,
    debug: Debug = False,
) -> None:
    """Verify every outcome of a file again, independently of the search.

    Each plan is derived again from raw values: permitted changes, cost to the micro-unit, the model's own score. The
    model, the policy and the population must be the ones named in the file; who is called approved must be approved,
    everyone else refused; no applicant may be missing or stand twice. Shape, number of plans and further models are
    those that the file's first line names (files given here stand in for them). That a plan is minimal, or that none
    exists, is the search's claim: with --proof it is followed step by step, without it held against itself. Exit
    codes: 0 all hold, 1 something does not, 2 bad input.
    """
    from .outcomes import read_outcomes

    header, records = read_outcomes(plans)
    findings = _Findings()
    asked = Asked.from_header(header, tuple(also_approve or ()), plausibility)
    inputs = _Inputs(model, policy, data, population, id_column, allow_pickle, quiet)
    parts = _parts(header, findings, inputs, asked)
    _check_records(records, header, parts, findings, proof)
    if format is Format.JSON:
        sys.stdout.write(json.dumps(findings.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()
    else:
        _print(findings)
    if findings.total:
        raise Failure("" if quiet else findings.words())


@dataclass(slots=True)
class _Findings:
    """What was looked at, and what does not hold."""

    tally: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str | None, tuple[str, ...]]] = field(default_factory=list)  # id (None: the file), violations

    @property
    def total(self) -> int:
        """Number of violations."""
        return sum(len(violations) for _, violations in self.failures)

    def add(self, name: str | None, *violations: str) -> None:
        """Take what does not hold of one applicant, or of the file."""
        if violations:
            self.failures.append((name, violations))

    def words(self) -> str:
        """Return the verdict in one line."""
        name, violations = self.failures[0]
        where = "the file" if name is None else f"applicant {name!r}"
        return f"{self.total:,} violation{'s' * (self.total > 1)}; the first, of {where}: {violations[0]}"

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "schema": "fairpath.check/1",
            "ok": not self.total,
            "counts": {key: self.tally[key] for key in _COUNTED if key not in _OF_PROOFS or self.tally[key]},
            "failures": [{"id": name, "violations": list(violations)} for name, violations in self.failures],
        }


_OF_PROOFS = ("proof", "unfinished proof")
_COUNTED = {
    "already_approved": "already approved",
    "found": "plan found",
    "none_exists": "claimed to have no plan",
    "none_found": "no plan found",
    "error": "bad rows",
    "plans": "plans checked",
    "proven": "plans claimed minimal",
    "proof": "proofs followed to the end",
    "unfinished proof": "proofs that say they are unfinished",
}


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What is read."""

    model: str
    policy: Path
    data: Path
    population: Path | None
    id_column: str | None
    allow_pickle: bool
    quiet: bool


@dataclass(frozen=True, slots=True)
class _Parts:
    """What outcomes are checked against."""

    models: Models
    policy: Policy
    population: Population
    frame: pd.DataFrame
    asked: Asked


def _parts(header: dict[str, Any], findings: _Findings, inputs: _Inputs, asked: Asked) -> _Parts:
    """Read what the outcomes are checked against, and compare it with what the header names."""
    from ..policy import Policy
    from ..population import Population
    from .find import DATA_ITSELF
    from .frames import file_sha256, numbers_only, read_table, typed, with_ids

    policy = Policy.from_toml(inputs.policy)
    try:
        named = dict(header["provenance"])
        stored = Population.from_dict(header["population"]["summary"])
        told = header["data"]
        ids = told["id_column"] if inputs.id_column is None else inputs.id_column
        [header[key] for key in ("threshold", "margin", "node_budget", "applicants", "ids")]
    except (KeyError, TypeError) as error:
        raise DataError(f"the header of the plans lacks {error}; was the file edited?") from None
    frame = with_ids(read_table(inputs.data), ids)
    models = read_models(inputs.model, asked, policy, allow_pickle=inputs.allow_pickle)
    rows = typed(frame, policy, models.model)
    population, path = stored, inputs.population
    if path is not None and path.suffix.lower() == ".json":
        population = Population.load(path)
    elif path is not None:
        population = Population.from_frame(typed(read_table(path), policy), policy)
    if told.get("sha256") != file_sha256(inputs.data):
        note(
            f"note: {inputs.data} is not the file that the plans were made from; its rows are checked all the same",
            quiet=inputs.quiet,
        )
    elif header["population"].get("source") == DATA_ITSELF and path is None:
        population = Population.from_frame(numbers_only(rows, policy), policy)
    for what, ours in (("model", models.model.sha256), ("policy", policy.sha256), ("population", population.sha256)):
        if named.get(what) != ours:
            findings.add(
                None, f"the plans were made with another {what} ({_short(named.get(what))}, not {_short(ours)})"
            )
    for key, again in asked.header(models).items():
        if key in ("also_approve", "plausibility") and _hashes(header.get(key)) != _hashes(again):
            findings.add(None, f"the models of {key} are not those that the header names")
    if population is not stored and stored.sha256 != named.get("population"):
        findings.add(None, "the population stored in the plans is not the one that they name")
    if header["margin"] != policy.decision.margin:
        findings.add(None, f"the header says margin {header['margin']!r}, the policy {policy.decision.margin!r}")
    return _Parts(models, policy, population, rows, asked)


def _hashes(told: Any) -> list[Any]:
    """Return the hashes of the models that a header names."""
    return [part.get("sha256") for part in (told if isinstance(told, list) else [told]) if isinstance(part, dict)]


def _check_records(
    records: Iterator[Any], header: dict[str, Any], parts: _Parts, findings: _Findings, proofs: Path | None
) -> None:
    """Check all records, a chunk at a time."""
    from ..plan import Outcome
    from .outcomes import ids_sha256

    places = {name: place for place, name in enumerate(parts.frame.index)}
    seen: dict[str, None] = {}
    chunk: list[Outcome] = []
    for record in records:
        if record.id in seen:
            findings.add(record.id, "stands twice in the file")
            continue
        seen[record.id] = None
        if record.id not in places:
            findings.add(record.id, "is not in the data")
        elif isinstance(record, Outcome):
            chunk.append(record)
        else:
            findings.tally["error"] += 1
            findings.add(record.id, *_still_bad(parts, record.id))
        if len(chunk) == CHUNK:
            _check_chunk(chunk, places, header, parts, findings, proofs)
            chunk = []
    _check_chunk(chunk, places, header, parts, findings, proofs)
    if len(seen) != header["applicants"]:
        findings.add(None, f"the header announces {header['applicants']:,} applicants, the file holds {len(seen):,}")
    elif ids_sha256(seen) != header["ids"]:
        findings.add(None, "the applicants are not those that the header announces, or stand in another order")


def _check_chunk(
    outcomes: list[Outcome],
    places: dict[str, int],
    header: dict[str, Any],
    parts: _Parts,
    findings: _Findings,
    proofs: Path | None,
) -> None:
    from ..plan import check_outcomes

    if not outcomes:
        return
    chosen = parts.frame.iloc[[places[outcome.id] for outcome in outcomes]]
    rows = [dict(zip(chosen.columns, values, strict=True)) for values in chosen.itertuples(index=False, name=None)]
    models, asked = parts.models, parts.asked
    checked = check_outcomes(
        outcomes,
        rows,
        models.model,
        parts.policy,
        parts.population,
        also_approve=models.also_approve,
        plausibility=models.plausibility,
        box_steps=asked.box_steps,
    )
    for outcome, row, violations in zip(outcomes, rows, checked, strict=True):
        if proofs is not None and outcome.status in ("found", "none_exists"):
            from .proofs import follow

            state, faults = follow(proofs, models, parts.policy, parts.population, row, outcome, asked)
            findings.tally[state] += 1
            findings.add(outcome.id, *faults)
        findings.tally[outcome.status] += 1
        findings.tally["plans"] += len(outcome.plans)
        findings.tally["proven"] += sum(plan.certificate.proven for plan in outcome.plans)
        findings.add(outcome.id, *violations, *_against_header(outcome, header, parts, row))


def _against_header(outcome: Outcome, header: dict[str, Any], parts: _Parts, row: Mapping[str, Any]) -> Iterator[str]:
    """Yield where an outcome is not of the run that the header describes."""
    from ..models.blackbox import BlackBox

    if outcome.provenance.to_dict() != header["provenance"]:
        yield "the provenance is not the header's"
    wanted, who = header["threshold"], "the header says"
    if isinstance(wanted, str):  # a column or an expression: each applicant's own
        from ..state import threshold

        wanted, who = threshold(parts.policy, row), "the policy gives"
    if outcome.threshold != wanted:
        yield f"the threshold is {outcome.threshold!r}, {who} {wanted!r}"
    if len(outcome.plans) > parts.asked.plans:
        asked = "one was" if parts.asked.plans == 1 else f"{parts.asked.plans} were"
        yield f"{len(outcome.plans)} plans are held, {asked} asked for"
    if outcome.shape != header.get("shape"):
        yield f"the shape is {outcome.shape!r}, the header says {header.get('shape')!r}"
    certificates = [plan.certificate for plan in outcome.plans]
    certificates += [] if outcome.certificate is None else [outcome.certificate]
    counted = isinstance(parts.models.model.core, BlackBox)  # its budget is counted in rows that it scores
    what, budget = ("budget of calls", parts.asked.calls) if counted else ("node budget", header["node_budget"])
    for certificate in certificates:
        if certificate.node_budget != budget:
            yield f"the {what} is {certificate.node_budget:,}, the header says {budget:,}"


def _still_bad(parts: _Parts, name: str) -> Iterator[str]:
    """Yield a violation if a row that was called bad can be scored after all."""
    from ..models import encode_frame
    from ..values import plain, position_of

    try:
        parts.models.model.score(encode_frame(parts.frame.loc[[name]], parts.models.model.columns))
    except DataError:
        return
    for column, feature in parts.policy.features.items():
        value = plain(parts.frame.at[name, column]) if column in parts.frame.columns else None
        if value is None:
            continue
        if position_of(value, feature) is None if feature.listed else not _is_finite(value):
            return
    yield "is called a bad row, but nothing is wrong with it"


def _is_finite(value: Value) -> bool:
    return not isinstance(value, str) and value is not None and math.isfinite(value)


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:19] + "…"


def _print(findings: _Findings) -> None:
    """Show the counts, then what does not hold."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ..tables import printable

    console = stdout()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("looked at")
    table.add_column("number", justify="right")
    for key, words in _COUNTED.items():
        if findings.tally[key] or key in ("found", "plans"):
            table.add_row(words, f"{findings.tally[key]:,}")
    console.print(table)
    if not findings.total:
        console.print("everything holds", style="green", highlight=False)
        return
    failures = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    failures.add_column("applicant", style="bold", overflow="fold")
    failures.add_column("what does not hold", style="red", overflow="fold")
    for name, violations in findings.failures[:SHOWN]:
        failures.add_row(Text("the file" if name is None else printable(name)), Text("\n".join(violations)))
    console.print(failures)
    if len(findings.failures) > SHOWN:
        console.print(f"and {len(findings.failures) - SHOWN:,} more (--format json lists them all)", highlight=False)
