"""``recourse find``: proven minimal plans for the applicants of a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError, InputError, did_you_mean
from .asking import Asked, read_models, read_one
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
    PopulationFile,
    Quiet,
    Shape,
)
from .reporting import COMPILING, Interrupted, note, stderr, stdout, warn

if TYPE_CHECKING:
    import pandas as pd

    from ..finder import Finder
    from ..plan import Outcome
    from ..policy import Policy
    from ..population import Population
    from .asking import Models
    from .enriching import Enrichment
    from .outcomes import OutcomeFile, Record

PAGE = 64  # outcomes in one piece of a printed table
DATA_ITSELF = "the data file itself"


def find(
    model: ModelSource,
    policy: PolicyFile,
    data: DataFile,
    population: PopulationFile = None,
    ids: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C|FILE", help="Only these applicants: ids, or a file with one a line.", show_default=False
        ),
    ] = None,
    id_column: IdColumn = None,
    rejected_only: Annotated[
        bool, typer.Option("--rejected-only", help="Leave out applicants who are already approved.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Only the first N of the chosen applicants.", show_default=False),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Approve from this score on, in place of the policy's threshold.", show_default=False
        ),
    ] = None,
    shape: Annotated[
        Shape,
        typer.Option(
            help="What a plan promises: its own row; every row up to --box-steps further in the advised directions; "
            "or every row as far as the policy's bounds."
        ),
    ] = Shape.POINT,
    box_steps: Annotated[int, typer.Option(min=1, metavar="N", help="Steps that a box reaches beyond a plan.")] = 5,
    plans: Annotated[
        int, typer.Option(min=1, metavar="K", help="Plans for each applicant, none with all changes of an earlier one.")
    ] = 1,
    also_approve: AlsoApprove = None,
    plausibility: Plausibility = None,
    refit: Annotated[
        list[Path] | None,
        typer.Option(
            "--refit",
            metavar="FILE",
            help="The model trained again: say what share of these approve each plan. May be repeated.",
            show_default=False,
        ),
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Say what rise of the threshold each plan survives.")
    ] = False,
    blocking: Annotated[
        bool, typer.Option("--blocking", help="Where no plan exists, say which constraints to drop for one to exist.")
    ] = False,
    proof: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write for each applicant why no cheaper plan exists, for `check --proof` to follow.",
            show_default=False,
        ),
    ] = None,
    black_box: Annotated[
        bool,
        typer.Option("--black-box", help="Ask a model that cannot be read exactly, row by row; nothing is proven."),
    ] = False,
    calls: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rows that a black box is asked for each applicant.")
    ] = 500,
    seed: Annotated[int, typer.Option(metavar="N", help="Of what a black box is asked first.")] = 0,
    node_budget: Annotated[
        int, typer.Option(min=1, metavar="N", help="Search nodes for each applicant (a run repeats bit for bit).")
    ] = 200_000,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads; without it, one for each core.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write JSON lines here; grows as FILE.part, from which an interrupted run goes on.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(help="What stdout shows; without it, a table, or nothing with --out.", show_default=False),
    ] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Give a bad row an error line and go on, instead of stopping.")
    ] = False,
    allow_pickle: AllowPickle = False,
    quiet: Quiet = False,
    json_errors: JsonErrors = False,
    debug: Debug = False,
) -> None:
    """Find the cheapest permitted change that gets each refused applicant approved, and prove it.

    An applicant's plan is checked against the policy and scored by the model itself before it is written. Where no
    plan exists within the policy, that is proven too. Exit codes: 0 done, 2 bad input, 130 interrupted.
    """
    if out is not None:
        from .outcomes import require_place

        inputs = {"--policy": policy, "--data": data, "--population": population, "--plausibility": plausibility}
        inputs |= {"--model": None if "://" in model else Path(model)}
        inputs |= {f"--also-approve {path}": path for path in also_approve or ()}
        require_place(out, {name: path for name, path in inputs.items() if path is not None})
    asked = Asked(
        shape=shape.value,
        box_steps=box_steps,
        plans=plans,
        also_approve=tuple(also_approve or ()),
        plausibility=plausibility,
        black_box=black_box,
        seed=seed,
        nodes=node_budget,
        calls=calls,
    )
    job = _prepare(
        _Inputs(model, policy, data, population, id_column, allow_pickle, quiet),
        _Choice(ids, threshold, limit, rejected_only, keep_going),
        asked,
        _Wanted(tuple(refit or ()), robustness, blocking, proof),
    )
    shown = _Shown(job.policy, None if out is not None and format is None else format or Format.TABLE, job.header)
    began = time.perf_counter()
    if out is None:
        _run(job, None, shown, threads=threads, quiet=quiet)
    else:
        from .outcomes import OutcomeFile

        with OutcomeFile(out, job.header) as file:
            if file.done:
                note(f"{file.part}: going on after {len(file.done):,} applicants", quiet=quiet)
            _run(job, file, shown, threads=threads, quiet=quiet)
            file.finish()
    seconds = time.perf_counter() - began
    shown.close()
    if out is not None:
        note(f"{shown.summary()}; {seconds:.1f} s; written to {out}", quiet=quiet)
    elif shown.format is Format.JSON:
        note(f"{shown.summary()}; {seconds:.1f} s", quiet=quiet)


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
class _Choice:
    """Which applicants, and how they are decided."""

    ids: str | None
    threshold: float | None
    limit: int | None
    rejected_only: bool
    keep_going: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is said of outcomes beyond themselves."""

    refits: tuple[Path, ...]
    robustness: bool
    blocking: bool
    proof: Path | None

    def header(self) -> dict[str, Any]:
        """Return what of it belongs in a file's header: all that changes the file's lines."""
        said: dict[str, Any] = {"refits": [str(path) for path in self.refits]} if self.refits else {}
        said |= {"robustness": True} if self.robustness else {}
        return said | ({"blocking": True} if self.blocking else {})


@dataclass(frozen=True, slots=True)
class _Job:
    """Everything that a run needs, validated."""

    finder: Finder
    policy: Policy
    frame: pd.DataFrame  # the chosen applicants, ids for an index, bad rows included
    bad: dict[str, str]  # id -> what is wrong with the row
    threshold: float | None
    header: dict[str, Any]
    more: Enrichment


def _prepare(inputs: _Inputs, choice: _Choice, asked: Asked, wanted: _Wanted) -> _Job:
    """Read and validate all input, cheapest first."""
    from ..policy import Policy

    policy = Policy.from_toml(inputs.policy)
    threshold = choice.threshold
    if threshold is not None:
        _check_threshold(threshold, policy)

    from .frames import chosen_ids, file_sha256, read_table, typed, with_ids

    raw = with_ids(read_table(inputs.data), inputs.id_column)
    chosen = chosen_ids(choice.ids, raw.index) if choice.ids is not None else None
    models = read_models(inputs.model, asked, policy, allow_pickle=inputs.allow_pickle)
    for words in models.model.notes:
        note(f"note: {words}", quiet=inputs.quiet)
    columns = [column.name for column in models.model.columns]
    _warn_of_extra_columns(raw, policy, columns, inputs.id_column)
    _require_columns(raw, policy, columns, inputs.data)
    frame = typed(raw, policy, models.model)
    summary = _population(inputs.population, frame, policy)
    finder = asked.finder(models, policy, summary)
    if chosen is not None:
        frame = frame.loc[frame.index.isin(set(chosen))]
    bad = _bad_rows(finder, frame, keep_going=choice.keep_going)
    if choice.rejected_only:
        frame = _rejected(finder, frame, bad, threshold)
    if choice.limit is not None:
        frame = frame.iloc[: choice.limit]
    from .enriching import Enrichment

    more = Enrichment(
        finder,
        refits=[read_one(str(path), policy, allow_pickle=inputs.allow_pickle) for path in wanted.refits],
        robustness=wanted.robustness,
        blocking=wanted.blocking,
        proofs=wanted.proof,
    )
    header = _header(finder, frame, threshold, asked, models) | wanted.header()
    header["data"] = {"sha256": file_sha256(inputs.data), "id_column": inputs.id_column}
    header["population"] = {
        "source": DATA_ITSELF if inputs.population is None else inputs.population.name,
        "summary": summary.to_dict(),
    }
    return _Job(finder, policy, frame, bad, threshold, header, more)


def _check_threshold(threshold: float, policy: Policy) -> None:
    if threshold != threshold or abs(threshold) == float("inf"):
        raise DataError(f"--threshold needs a finite number, got {threshold}")
    if policy.decision.score == "probability" and not 0 < threshold < 1:
        raise DataError(f"--threshold: a probability lies strictly between 0 and 1, got {threshold:g}")


def _population(path: Path | None, frame: pd.DataFrame, policy: Policy) -> Population:
    from ..population import Population
    from .frames import numbers_only, read_table, typed

    if path is None:
        return Population.from_frame(numbers_only(frame, policy), policy)
    try:
        if path.suffix.lower() == ".json":
            return Population.load(path)
        return Population.from_frame(typed(read_table(path), policy), policy)
    except InputError as error:  # there are two files of rows: say which
        if str(path) in str(error):
            raise
        raise DataError(f"--population {path}: {error}") from None


def _require_columns(frame: pd.DataFrame, policy: Policy, model: list[str], data: Path) -> None:
    """Refuse data without a column that is needed; a derived one may be left out, as its formula gives it."""
    present = [str(name) for name in frame.columns]
    formulas = {name for name, feature in policy.features.items() if feature.value is not None}
    groups = policy.groups.columns
    wanted = dict.fromkeys((name for name in model if name not in formulas), "the model needs") | {
        name: "the policy lets change"
        for name, feature in policy.features.items()
        if feature.movable and name not in groups and name not in model
    }
    wanted |= {name: f"the policy's group {group!r} needs" for group, part in groups.items() for name in part}
    for name, who in wanted.items():
        if name not in present:
            remedy = did_you_mean(name, present)
            if not remedy and who == "the policy lets change":
                remedy = f" Add the column to {data}, or take [features.{name}] out of the policy."
            elif not remedy:
                remedy = f" Add the column to {data}; a file with the columns that the model was trained on has it."
            raise DataError(f"the data has no column {name!r}, which {who}.{remedy}")


def _warn_of_extra_columns(frame: pd.DataFrame, policy: Policy, model: list[str], id_column: str | None) -> None:
    known = {*policy.features, *policy.other_columns, *model, id_column}
    extra = [str(name) for name in frame.columns if name not in known]
    if extra:
        names = ", ".join(repr(name) for name in extra[:5]) + (", ..." if len(extra) > 5 else "")
        columns = "column" if len(extra) == 1 else f"{len(extra)} columns"
        warn(f"ignored {columns} that neither the policy nor the model has: {names}")


def _bad_rows(finder: Finder, frame: pd.DataFrame, *, keep_going: bool) -> dict[str, str]:
    """Return what is wrong with which row; without --keep-going, anything wrong is an error."""
    found = {str(label): message for label, message in finder.validate(frame)}
    if found and not keep_going:
        label, message = next(iter(found.items()))
        more = f" (and {len(found) - 1:,} more bad rows)" if len(found) > 1 else ""
        named = message if label in message else f"row {label!r}: {message}"
        raise DataError(f"{named.removesuffix('.')}{more}; --keep-going leaves bad rows out")
    if found and len(found) == len(frame):
        raise DataError(f"every row is bad; the first: {next(iter(found.values()))}")
    return found


def _rejected(finder: Finder, frame: pd.DataFrame, bad: dict[str, str], threshold: float | None) -> pd.DataFrame:
    """Return the rows that are refused, with the bad ones, whose decision nobody knows."""
    import numpy as np

    good = frame.loc[~frame.index.isin(set(bad))]
    encoded, scores = finder._scored(good)
    knocked = np.array([bool(names) for names in encoded.knocked], dtype=bool)
    approved = (scores >= (encoded.thresholds if threshold is None else threshold)) & ~knocked
    return frame.loc[~frame.index.isin(set(good.index[approved]))]


def _header(
    finder: Finder, frame: pd.DataFrame, threshold: float | None, asked: Asked, models: Models
) -> dict[str, Any]:
    """Return the first line of the file: what this run is, so that it can be checked and taken up again."""
    from .outcomes import FILE_SCHEMA, ids_sha256

    return {
        "schema": FILE_SCHEMA,
        "provenance": finder.provenance.to_dict(),
        **asked.header(models),
        "threshold": finder.policy.decision.threshold if threshold is None else threshold,
        "margin": finder.policy.decision.margin,
        "applicants": len(frame),
        "ids": ids_sha256(frame.index),
    }


class _Shown:
    """What of the results goes to stdout, and the tally of all of them."""

    def __init__(self, policy: Policy, format: Format | None, header: dict[str, Any]) -> None:
        from ..tables import counts

        self.format = format
        self.tally = counts(())
        self.bad = 0
        self._policy = policy
        self._header = header
        self._page: list[Outcome] = []
        self._pages = 0
        self._started = False

    def add(self, record: Record) -> None:
        """Take one more record."""
        from ..plan import Outcome
        from ..tables import counts

        if isinstance(record, Outcome):
            for key, number in counts([record]).items():
                self.tally[key] += number
        else:
            self.bad += 1
        if self.format is Format.JSON:
            self._start()
            sys.stdout.write(record.to_json() + "\n")
        elif self.format is Format.TABLE:
            if isinstance(record, Outcome):
                self._page.append(record)
            else:
                self._flush()
                stdout().print(f"{record.id}  {record.error}", style="red", highlight=False)
            if len(self._page) >= PAGE:
                self._flush()

    def close(self) -> None:
        """Print what is left, and the tally under a table."""
        if self.format is Format.JSON:
            self._start()
        if self.format is Format.TABLE:
            self._flush()
            stdout().print(self.summary(), highlight=False)
        sys.stdout.flush()

    def summary(self) -> str:
        """Return the tally in words."""
        from ..tables import counts_words

        bad = f"; {self.bad:,} bad {'row' if self.bad == 1 else 'rows'} left out" if self.bad else ""
        return counts_words(self.tally) + bad

    def _start(self) -> None:
        import json

        if not self._started:
            sys.stdout.write(json.dumps(self._header, ensure_ascii=False, allow_nan=False) + "\n")
            self._started = True

    def _flush(self) -> None:
        from ..tables import outcome_table

        if self._page:
            console = stdout()
            table = outcome_table(self._page, self._policy, width=min(console.width, 120), header=self._pages == 0)
            console.print(table)
            self._page.clear()
            self._pages += 1


def _run(job: _Job, file: OutcomeFile | None, shown: _Shown, *, threads: int | None, quiet: bool) -> None:
    """Bring every applicant's record to the file and to stdout, in input order."""
    from ..warming import compiled

    if not compiled(job.finder.model):
        note(COMPILING, quiet=quiet)
    done = [] if file is None else file.done
    order = list(job.frame.index)
    if [record.id for record in done] != order[: len(done)]:
        raise DataError(f"{file and file.part} holds other applicants than this run; delete it to start anew")
    for record in done:
        shown.add(record)
    written = len(done)
    try:
        # Results that appear on the same terminal are progress enough, and a bar would run across them.
        barless = quiet or (shown.format is not None and sys.stdout.isatty())
        with _progress(len(order), written, quiet=barless) as advance:
            for record in _records(job, len(done), threads):
                if file is not None:
                    file.write(record)
                shown.add(record)
                written += 1
                advance()
    except KeyboardInterrupt:
        shown.close()
        raise Interrupted(_how_to_go_on(written if file is None else file.written(), len(order), file)) from None


def _how_to_go_on(written: int, total: int, file: OutcomeFile | None) -> str:
    if file is None:
        return f"{written:,} of {total:,} applicants were done; with --out FILE a run can be taken up where it stopped"
    return f"{written:,} of {total:,} applicants are in {file.part}; run the same command again to go on from there"


def _records(job: _Job, skip: int, threads: int | None) -> Iterator[Record]:
    """Yield an outcome for each good row and an error for each bad one, in input order."""
    from .outcomes import BadRow

    frame = job.frame.iloc[skip:]
    good = frame.loc[~frame.index.isin(set(job.bad))]
    outcomes: Iterator[Outcome] = iter(())
    if len(good):
        outcomes = job.finder.find_many(good, thresholds=job.threshold, threads=threads, ids=list(good.index))
    for name in frame.index:
        if name in job.bad:
            yield BadRow(name, job.bad[name])
        else:
            yield job.more.of(next(outcomes), frame.loc[name])


@contextmanager
def _progress(total: int, done: int, *, quiet: bool) -> Iterator[Any]:
    """Show a bar on a terminal, nothing in a pipe; yields what advances it."""
    console = stderr()
    if quiet or not console.is_terminal:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("searching"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("searching", total=total, completed=done)
        yield lambda: bar.advance(task)
