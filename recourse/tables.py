"""Outcomes as tables that a person reads on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .plan import BestScore, Certificate, Change, Outcome, Plan
from .values import Value

if TYPE_CHECKING:
    from .policy import Policy

WAIT = "wait"
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
        for cells in _rows(outcome, policy, plan):
            table.add_row(*cells)
    return table


def _rows(outcome: Outcome, policy: Policy, width: int) -> Iterator[tuple[RenderableType, ...]]:
    """Yield one row for each plan, a single one without any."""
    who, decision = Text(printable(outcome.id)), Text(decision_words(outcome))
    style = _STYLES[outcome.status]
    if len(outcome.plans) < 2:
        plan = outcome.plan
        said: Text = plan_text(plan, policy, width=width) if plan else blocking_text(outcome)
        cost = Text(f"{plan.cost:.2f}" if plan else "")
        words = certificate_words(outcome) + (withstanding_words(plan) if plan else "")
        yield who, decision, said, cost, Text(words, style=style)
        return
    for k, plan in enumerate(outcome.plans):
        words = found_words(plan.certificate) + withstanding_words(plan)
        words += " (interrupted)" if outcome.interrupted else ""
        first = (who, decision) if k == 0 else (Text(""), Text("or", justify="right", style="dim"))
        yield *first, plan_text(plan, policy, width=width), Text(f"{plan.cost:.2f}"), Text(words, style=style)


def plan_text(plan: Plan, policy: Policy | None = None, *, width: int = 80) -> Text:
    """Return a plan's changes in words, waiting last.

    Examples
    --------
    >>> changes = (Change("wait", 0, 5, "months"), Change("income", 41000, 46500, label="annual income"))
    >>> print(plan_text(Plan(changes, 0.6, 0.5, {}, Certificate(True, 0.6, 0.6, 0.0, 1, 9))))
    annual income: 41,000 → 46,500
    and apply again after 5 months
    """
    if not plan.changes:
        return Text("apply again as is")
    changes = sorted(plan.changes, key=lambda change: change.feature == WAIT)
    region = plan.region or {}
    return Text("\n").join(change_text(c, policy, width=width, region=region.get(c.feature)) for c in changes)


def blocking_text(outcome: Outcome) -> Text:
    """Return what stands in the way of a plan in words; a dash where nobody asked."""
    told = outcome.blocking
    if told is None:
        return Text("—", style="dim")
    if told.get("model"):
        return Text("the model approves nothing, whatever changes", style="dim")
    parts = [
        part["says"] if part["of"] in (None, part["says"]) else f"{part['of']}: {part['says']}"
        for part in told.get("constraints", ())
    ]
    if not parts:
        return Text("what blocks it is undecided within the budget", style="dim")
    cost = told.get("cost")
    lines = ["blocked by", *parts] + ([] if cost is None else [f"without: a plan for {cost:.2f}"])
    return Text("\n  ".join(map(printable, lines)), style="dim")


def withstanding_words(plan: Plan) -> str:
    """Return what a plan withstands in words, to stand behind others; nothing where it was not asked.

    Examples
    --------
    >>> certificate = Certificate(True, 0.6, 0.6, 0.0, 1, 9)
    >>> withstanding_words(Plan((), 0.6, 0.5, {}, certificate, robustness=0.0214, refit_survival=0.8))
    '; survives a rise of 0.0214 and 80 % of refits'
    """
    parts = [] if plan.robustness is None else [f"a rise of {plan.robustness:.3g}"]
    parts += [] if plan.refit_survival is None else [f"{100 * plan.refit_survival:.0f} % of refits"]
    return f"; survives {' and '.join(parts)}" if parts else ""


def change_text(
    change: Change,
    policy: Policy | None = None,
    *,
    width: int = 80,
    region: tuple[Value, Value] | None = None,
) -> Text:
    """Return a change in words: its label, then from and to with the unit, on a line of their own where one is short.

    `region` is the interval of values that the plan holds for, where that is more than a condition says.

    Examples
    --------
    >>> change_text(Change("income", 41000, 46500, unit="USD", label="annual income")).plain
    'annual income: 41,000 → 46,500 USD'
    >>> change_text(Change("income", 41000, 46500, unit="USD"), region=(46500, 49000)).plain
    'income: 41,000 → 46,500 to 49,000 USD'
    >>> change_text(Change("debts", 3, 1, condition="at most")).plain
    'debts: 3 → at most 1'
    >>> change_text(Change("wait", 0, 5, unit="months", condition="at least")).plain
    'and apply again after at least 5 months'
    """
    least = f"{change.condition} " if change.condition in ("at least", "at most") else ""
    if change.feature == WAIT:
        low, high = (change.after, change.after) if least or region is None else region
        until = "" if high is None or high == low else f" to {show(high)}"
        months = "month" if change.after == 1 and not until else "months"
        return Text(f"and apply again after {least}{show(change.after)}{until} {months}")
    label = change.label or (policy.label(change.feature) if policy is not None else change.feature)
    numbers = [value for value in (change.before, change.after) if isinstance(value, int | float)]
    grouped = any(abs(number) >= 10_000 for number in numbers)
    move = Text("missing" if change.before is None else show(change.before, grouped=grouped), style="dim")
    move.append(" → ")
    if change.condition == "any":
        move.append("to be provided", style="bold")
    else:
        move.append(least + show(change.after, grouped=grouped), style="bold")
        move.append(_until(change, None if least else region, grouped=grouped))
        if change.unit:
            move.append(f" {printable(change.unit)}")
    head = printable(label) + ":"
    return Text(head + (" " if len(head) + 1 + len(move) <= width else "\n  "), end="").append_text(move)


def _until(change: Change, region: tuple[Value, Value] | None, *, grouped: bool) -> str:
    """Return the far end of the interval that a stated value stands for."""
    if region is None or region[0] == region[1]:
        return ""
    far = region[1] if region[0] == change.after else region[0]
    return " or beyond" if far is None else f" to {show(far, grouped=grouped)}"


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
