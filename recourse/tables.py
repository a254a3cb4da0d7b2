"""Outcomes as tables that a person reads on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .plan import BestScore, Certificate, Change, Outcome
from .values import Value

if TYPE_CHECKING:
    from .policy import Policy

STATUS_WORDS = {
    "already_approved": "already approved",
    "found": "plan found",
    "none_exists": "no plan exists",
    "none_found": "no plan found",
}
_STYLES = {"already_approved": "dim", "found": "green", "none_exists": "yellow", "none_found": "red"}


def outcome_table(outcomes: Sequence[Outcome], policy: Policy, *, width: int = 100, header: bool = True) -> Table:
    """Return one row for each outcome: who, the decision, the plan in words, its cost and what is proven.

    Parameters
    ----------
    outcomes : sequence of Outcome
    policy : Policy
        For labels and units.
    width : int
        Of the terminal, in characters; the columns have the same widths for every call with one width.
    header : bool
        Whether the column heads are drawn.
    """
    who, decision, cost, certificate = (8, 15, 6, 18) if width < 100 else (10, 16, 6, 25)
    plan = max(16, width - who - decision - cost - certificate - 10)
    table = Table(
        box=box.SIMPLE_HEAD if header else box.SIMPLE,
        show_header=header,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        leading=1,
    )
    table.add_column("id", width=who, overflow="fold", style="bold")
    table.add_column("decision", width=decision)
    table.add_column("plan", width=plan)
    table.add_column("cost", width=cost, justify="right")
    table.add_column("certificate", width=certificate)
    for outcome in outcomes:
        table.add_row(*_cells(outcome, policy, plan))
    return table


def _cells(outcome: Outcome, policy: Policy, width: int) -> tuple[RenderableType, ...]:
    plan = outcome.plan
    changes = [change_text(change, policy, width=width) for change in plan.changes] if plan else []
    return (
        Text(printable(outcome.id)),
        Text(decision_words(outcome)),
        Text("\n").join(changes) if changes else Text("—", style="dim"),
        Text(f"{plan.cost:.2f}" if plan else ""),
        Text(certificate_words(outcome), style=_STYLES[outcome.status]),
    )


def change_text(change: Change, policy: Policy | None = None, *, width: int = 80) -> Text:
    """Return a change in words: its label, then from and to with the unit, on a line of their own where one is short.

    Examples
    --------
    >>> change_text(Change("income", 41000, 46500, unit="USD", label="annual income")).plain
    'annual income: 41,000 → 46,500 USD'
    """
    label = change.label or (policy.label(change.feature) if policy is not None else change.feature)
    numbers = [value for value in (change.before, change.after) if isinstance(value, int | float)]
    grouped = any(abs(number) >= 10_000 for number in numbers)
    move = Text(show(change.before, grouped=grouped), style="dim")
    move.append(" → ")
    move.append(show(change.after, grouped=grouped), style="bold")
    if change.unit:
        move.append(f" {printable(change.unit)}")
    head = printable(label) + ":"
    return Text(head + (" " if len(head) + 1 + len(move) <= width else "\n  "), end="").append_text(move)


def decision_words(outcome: Outcome) -> str:
    """Return the decision with the score against the threshold, in as many digits as tell them apart."""
    score, threshold = _apart(outcome.score, outcome.threshold)
    if outcome.status == "already_approved":
        return f"approved\n{score} ≥ {threshold}"
    return f"refused\n{score} < {threshold}"


def certificate_words(outcome: Outcome) -> str:
    """Return what is proven of an outcome, in words."""
    if outcome.status == "already_approved":
        return "nothing to change"
    if outcome.status == "found" and outcome.plans:
        words = found_words(outcome.plans[0].certificate)
    elif outcome.status == "none_exists":
        words = "proven: no plan exists"
        words += (
            f"; {best_score_words(outcome.best_score, outcome.threshold)}" if outcome.best_score is not None else ""
        )
    else:
        budget = f" within {_nodes(outcome.certificate.node_budget)}" if outcome.certificate is not None else ""
        words = f"no plan found{budget}; none ruled out"
    return f"{words} (interrupted)" if outcome.interrupted else words


def found_words(certificate: Certificate) -> str:
    """Return what is proven of a plan, in words.

    Examples
    --------
    >>> found_words(Certificate(proven=True, cost=0.6, bound=0.6, gap=0.0, nodes=13, node_budget=200_000))
    'proven minimal, 13 nodes'
    >>> found_words(Certificate(proven=False, cost=1.0, bound=0.961, gap=0.039, nodes=9, node_budget=9))
    'within 4 % of the best possible, 9 nodes'
    """
    if certificate.proven:
        return f"proven minimal, {_nodes(certificate.nodes)}"
    percent = math.ceil(100 * (certificate.gap if certificate.gap is not None else 1.0) - 1e-9)
    return f"within {max(1, percent)} % of the best possible, {_nodes(certificate.nodes)}"


def best_score_words(best: BestScore, threshold: float) -> str:
    """Return the best score within reach, in words, with as many digits as tell it from the threshold.

    Examples
    --------
    >>> best_score_words(BestScore(value=0.7468, bound=0.7468, proven=True, nodes=9), 0.75)
    'best reachable score 0.747'
    """
    if not math.isfinite(best.value):
        return "no row can be reached"
    value = _apart(best.value, threshold)[0]
    if best.proven:
        return f"best reachable score {value}"
    return f"best score found {value}, at most {_apart(best.bound, threshold)[0]}"


def counts(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return how many outcomes have each status, and how many plans are proven minimal."""
    tally = dict.fromkeys((*STATUS_WORDS, "proven"), 0)
    for outcome in outcomes:
        tally[outcome.status] += 1
        tally["proven"] += bool(outcome.plans) and outcome.plans[0].certificate.proven
    return tally


def counts_words(tally: dict[str, int]) -> str:
    """Return a tally in one line of words.

    Examples
    --------
    >>> counts_words({"already_approved": 1, "found": 8, "none_exists": 2, "none_found": 0, "proven": 7})
    '11 applicants: 1 already approved; plans for 8, 7 of them proven minimal; proven for 2 that no plan exists'
    """
    total = sum(tally[status] for status in STATUS_WORDS)
    parts = []
    if tally["already_approved"]:
        parts.append(f"{tally['already_approved']:,} already approved")
    if tally["found"]:
        all_of_them = tally["proven"] == tally["found"]
        proven = "all" if all_of_them else f"{tally['proven']:,} of them"
        parts.append(f"plans for {tally['found']:,}, {proven} proven minimal")
    if tally["none_exists"]:
        parts.append(f"proven for {tally['none_exists']:,} that no plan exists")
    if tally["none_found"]:
        parts.append(f"undecided for {tally['none_found']:,}")
    people = "applicant" if total == 1 else "applicants"
    return f"{total:,} {people}" + (": " + "; ".join(parts) if parts else "")


def show(value: Value, *, grouped: bool | None = None) -> str:
    """Return a value as a person reads it: long numbers with their digits in groups, whole ones without a point.

    Examples
    --------
    >>> show(46500.0), show(9500), show(9500, grouped=True), show(0.1), show("own"), show(None)
    ('46,500', '9500', '9,500', '0.1', 'own', 'missing')
    """
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return printable(value)
    text = str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)
    whole, point, rest = text.partition(".")
    if grouped is None:
        grouped = abs(value) >= 10_000
    return (f"{int(whole):,}" if grouped and whole.lstrip("-").isdigit() else whole) + point + rest


def printable(text: str) -> str:
    """Return a text without the control characters that data might smuggle to a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _apart(score: float, threshold: float) -> tuple[str, str]:
    """Two numbers with at least two decimals, and enough that they stand on the right sides of each other."""
    for digits in range(2, 17):
        texts = f"{score:.{digits}f}", f"{threshold:.{digits}f}"
        if score == threshold or texts[0] != texts[1]:  # rounding keeps the order
            return texts
    return repr(score), repr(threshold)


def _nodes(number: int) -> str:
    return f"{number:,} {'node' if number == 1 else 'nodes'}"
