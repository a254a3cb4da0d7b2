"""``recourse revalidate``: the outcomes of a file under a new model."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError
from .options import (
    AllowPickle,
    AlsoApprove,
    DataFile,
    Debug,
    Format,
    IdColumn,
    JsonErrors,
    ModelFile,
    Plausibility,
    PolicyFile,
    PopulationFile,
    Quiet,
)
from .reporting import stdout

if TYPE_CHECKING:
    from ..policy import Policy
    from ..population import Population
    from ..revalidation import Revalidation

CHUNK = 1_000  # outcomes scored in one call of the model
SHOWN = 20  # plans that fail, printed in full


def revalidate(
    plans: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The JSON lines that `recourse find --out` wrote.", show_default=False),
    ],
    model: ModelFile,
    policy: PolicyFile,
    data: DataFile,
    population: PopulationFile = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Approve from this score on, in place of the policy's threshold.", show_default=False
        ),
    ] = None,
    also_approve: AlsoApprove = None,
    plausibility: Plausibility = None,
    id_column: IdColumn = None,
    format: Annotated[Format, typer.Option(help="What stdout shows.")] = Format.TABLE,
    allow_pickle: AllowPickle = False,
    quiet: Quiet = False,
    json_errors: JsonErrors = False,
    debug: Debug = False,
) -> None:
    """Score old outcomes under a new model: who is approved as is, and which plans still hold.

    Each plan is derived again from the applicant's row and the policy, and scored on all that it promised. A plan that
    holds need not be the cheapest under the new model. Without --population costs are measured as they were in the
    file. Exit codes: 0 done (whatever holds), 2 bad input.
    """
    from ..policy import Policy
    from .asking import Asked, read_models
    from .find import _check_threshold, _population
    from .frames import read_table, typed, with_ids
    from .outcomes import read_outcomes

    header, records = read_outcomes(plans)
    rules = Policy.from_toml(policy)
    if threshold is not None:
        _check_threshold(threshold, rules)
    old = Asked.from_header(header, (), None)
    now = Asked(
        shape=old.shape, box_steps=old.box_steps, also_approve=tuple(also_approve or ()), plausibility=plausibility
    )
    told = header.get("data") or {}
    frame = with_ids(read_table(data), told.get("id_column") if id_column is None else id_column)
    models = read_models(str(model), now, rules, allow_pickle=allow_pickle)
    rows = typed(frame, rules, models.model)
    summary = _stored(header) if population is None else _population(population, rows, rules)
    results = _results(records, rows, models, rules, summary, threshold, old.box_steps)
    if format is Format.JSON:
        for result in results:
            sys.stdout.write(json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()
    else:
        _print(results)


def _stored(header: dict[str, Any]) -> Population:
    from ..population import Population

    try:
        return Population.from_dict(header["population"]["summary"])
    except (KeyError, TypeError) as error:
        raise DataError(f"the header of the plans lacks {error}; give --population") from None


def _results(
    records: Iterator[Any],
    rows: Any,
    models: Any,
    policy: Policy,
    summary: Population,
    threshold: float | None,
    steps: int,
) -> Iterator[Revalidation]:
    """Yield the result of each outcome, a chunk at a time; rows that were bad are left out."""
    from ..plan import Outcome
    from ..revalidation import revalidate as again

    known, chunk = set(rows.index), list[Outcome]()

    def scored() -> list[Revalidation]:
        chosen = [{str(k): v for k, v in rows.loc[outcome.id].items()} for outcome in chunk]
        return again(
            chunk,
            chosen,
            models.model,
            policy,
            summary,
            threshold=threshold,
            also_approve=models.also_approve,
            plausibility=models.plausibility,
            box_steps=steps,
        )

    for record in records:
        if not isinstance(record, Outcome):
            continue
        if record.id not in known:
            raise DataError(f"applicant {record.id!r} of the plans is not in the data; give the file with their rows")
        chunk.append(record)
        if len(chunk) == CHUNK:
            yield from scored()
            chunk = []
    if chunk:
        yield from scored()


def _print(results: Iterator[Revalidation]) -> None:
    """Show how many outcomes of each kind still stand, and the first plans that do not."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ..tables import STATUS_WORDS, printable

    tally, holding, approved, fallen = Counter[str](), Counter[str](), Counter[str](), list[tuple[str, str]]()
    for result in results:
        tally[result.status] += 1
        holding[result.status] += result.holds
        approved[result.status] += result.approved
        for plan in result.plans:
            if not plan.holds and len(fallen) < SHOWN:
                fallen.append((result.id, plan.reasons[0]))
    console = stdout()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for words in ("the old outcome", "number", "what was said holds", "approved as is now"):
        table.add_column(words, justify="left" if words == "the old outcome" else "right")
    for status, words in STATUS_WORDS.items():
        if tally[status]:
            held = f"{holding[status]:,}" if status in ("already_approved", "found") else "—"
            table.add_row(words, f"{tally[status]:,}", held, f"{approved[status]:,}")
    console.print(table)
    if fallen:
        failures = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        failures.add_column("applicant", style="bold", overflow="fold")
        failures.add_column("why a plan does not hold any more", style="red", overflow="fold")
        for name, reason in fallen:
            failures.add_row(Text(printable(name)), Text(reason))
        console.print(failures)
        more = tally["found"] - holding["found"]
        console.print(f"plans of {more:,} of {tally['found']:,} applicants do not hold any more", highlight=False)
