"""``recourse demo``: proven recourse on the simulated lender, from training to certificate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Debug, JsonErrors, Quiet
from .reporting import note, stdout

if TYPE_CHECKING:
    from rich.console import Console

    from ..demo import Demo
    from ..plan import Outcome

EXAMPLES = 5


def demo(
    files: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also write the model, the policy and the applicants here, to try the other commands.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    json_errors: JsonErrors = False,
    debug: Debug = False,
) -> None:
    """Train a model on a simulated lender and show proven recourse for refused applicants."""
    began = time.perf_counter()
    if files is not None:
        files.mkdir(parents=True, exist_ok=True)
    from ..demo import run

    shown = run(say=lambda words: note(f"{words} ...", quiet=quiet))
    console = stdout()
    _introduce(console, shown)
    _show_examples(console, shown)
    _show_totals(console, shown, time.perf_counter() - began)
    console.print(_next_step(shown, files), highlight=False, soft_wrap=True)


def _next_step(demo: Demo, files: Path | None) -> str:
    """Write the files, if they are wanted, and return the command that uses them."""
    if files is None:
        return "Try it on files: recourse demo --files trial"
    from ..models.training import save

    model = save(demo.estimator, files)
    (files / "policy.toml").write_text(demo.policy_text, encoding="utf-8")
    demo.train.to_csv(files / "train.csv", index=False)
    demo.rows.to_csv(files / "applicants.csv", index_label="id")
    return (
        f"Try it on files: recourse find --model {model} --policy {files / 'policy.toml'} "
        f"--data {files / 'applicants.csv'} --population {files / 'train.csv'} --id-column id --limit 10"
    )


def examples(outcomes: tuple[Outcome, ...]) -> list[Outcome]:
    """Return a few outcomes that show what there is: one plan of each length, then a proof that there is none."""
    by_length: dict[int, Outcome] = {}
    for outcome in outcomes:
        if outcome.plan is not None:
            by_length.setdefault(len(outcome.plan.changes), outcome)
    chosen = [by_length[length] for length in sorted(by_length)][: EXAMPLES - 1]
    chosen += [outcome for outcome in outcomes if outcome.status == "none_exists"][: EXAMPLES - len(chosen)]
    chosen += [outcome for outcome in outcomes if outcome not in chosen][: EXAMPLES - len(chosen)]
    return chosen


def _introduce(console: Console, demo: Demo) -> None:
    console.print("\n[bold]A simulated lender[/bold]", markup=True, highlight=False)
    kept = " and ".join(demo.protected)
    console.print(
        f"{demo.words}, trained without {kept} on {demo.n_trained:,} simulated applicants (AUC {demo.auc:.2f} on "
        f"{demo.n_held_out:,} others). It approves from a probability of repaying of "
        f"{demo.policy.decision.threshold:g} on, and refuses {demo.n_refused:,} of the {demo.n_held_out:,}. Its "
        f"reading was checked against the library: {demo.model.self_check}.",
        highlight=False,
    )


def _show_examples(console: Console, demo: Demo) -> None:
    from ..tables import outcome_table

    console.print("\n[bold]The cheapest change that turns the decision[/bold]", markup=True, highlight=False)
    console.print(outcome_table(examples(demo.outcomes), demo.policy, width=min(console.width, 110)))


def _show_totals(console: Console, demo: Demo, seconds: float) -> None:
    from rich import box
    from rich.table import Table

    from ..tables import counts

    tally, total = counts(demo.outcomes), len(demo.outcomes)
    console.print(f"[bold]{total:,} refused applicants[/bold]", markup=True, highlight=False)
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("", justify="right", style="dim")
    lines = {
        "a plan turns the decision": tally["found"],
        "… proven to be the cheapest": tally["proven"],
        "proven that no permitted change does": tally["none_exists"],
        "undecided within the budget": tally["none_found"],
    }
    for words, number in lines.items():
        if number or words.startswith("a plan"):
            table.add_row(words, f"{number:,}", f"{100 * number / total:.0f} %" if total else "")
    console.print(table)
    rate = f", {total / demo.seconds_searching:,.0f} applicants a second" if demo.seconds_searching else ""
    compiling = f", {demo.seconds_compiling:.1f} s of it compiling once" if demo.seconds_compiling else ""
    console.print(
        f"Searched in {demo.seconds_searching:.2f} s{rate}; {seconds:.1f} s in all{compiling}.",
        highlight=False,
    )
