"""Outcomes read well on a terminal of 80 and of 110 columns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from recourse.plan import BestScore, Certificate, Change, Outcome, Plan, Provenance, Status
from recourse.policy import Policy
from recourse.tables import certificate_words, counts, counts_words, decision_words, outcome_table, show

GOLDEN = Path(__file__).parents[1] / "golden"
POLICY = Policy.from_text("""
[decision]
threshold = 0.5

[features.income]
kind = "number"
label = "annual income"
unit = "USD"
step = 500

[features.open_accounts]
kind = "integer"

[features.housing]
kind = "category"
levels = ["rent", "own"]
""")
PROVENANCE = Provenance("sha256:m", "sha256:p", "sha256:q", "fairpath 0.1.0", "1,284 probes equal")
INCOME = Change("income", 41000, 46500, unit="USD", label="annual income")
ACCOUNTS = Change("open_accounts", 12, 9)
HOUSING = Change("housing", "rent", "own")


def outcome(
    name: str, status: Status, score: float, *changes: Change, cost: float = 0.61, bound: float = 0.61
) -> Outcome:
    held = Certificate(bound == cost, cost, bound, (cost - bound) / cost, 13, 200_000)
    plans = (Plan(changes, cost, 0.52, {}, held),) if changes else ()
    stage = None if status == "already_approved" else "score"
    return Outcome(name, status, stage, "point", score, 0.5, plans, None, None, PROVENANCE)


PROOF = replace(
    outcome("A-19", "none_exists", 0.118),
    certificate=Certificate(True, None, float("inf"), None, 51, 200_000),
    best_score=BestScore(0.431, 0.431, True, 9),
)
OUTCOMES = [
    outcome("A-17", "found", 0.3142, INCOME),
    outcome("A-18", "found", 0.4999, INCOME, ACCOUNTS, HOUSING, cost=12.3456, bound=11.9),
    PROOF,
    replace(outcome("A-20", "none_found", 0.2), certificate=Certificate(False, None, 3.0, None, 200_000, 200_000)),
    outcome("A-21", "already_approved", 0.5),
]


def drawn(outcomes: Sequence[Outcome], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    console.print(outcome_table(outcomes, POLICY, width=width))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 110])
def test_the_table_is_the_one_that_was_looked_at(width: int) -> None:
    """Golden text: who, the decision, the plan in words, its cost, what is proven."""
    text = drawn(OUTCOMES, width)
    assert text == (GOLDEN / f"outcomes-{width}.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= width


def test_pages_of_one_table_have_the_same_columns() -> None:
    """A long run prints piece by piece, and the pieces line up."""
    places = {drawn([one], 100).splitlines()[1].index("certificate") for one in OUTCOMES}
    assert len(places) == 1


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.3142, "refused\n0.31 < 0.50"),
        (0.4999, "refused\n0.4999 < 0.5000"),
        (0.499999999, "refused\n0.499999999 < 0.500000000"),
    ],
)
def test_a_score_below_the_threshold_never_reads_as_equal(score: float, words: str) -> None:
    """As many digits as tell the two apart."""
    assert decision_words(outcome("1", "found", score, INCOME)) == words


def test_a_score_on_the_threshold_is_approved_and_reads_so() -> None:
    """Approved means at least the threshold."""
    assert decision_words(outcome("1", "already_approved", 0.5)) == "approved\n0.50 ≥ 0.50"


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (outcome("1", "found", 0.3, INCOME), "proven minimal, 13 nodes"),
        (outcome("1", "found", 0.3, INCOME, bound=0.60999), "within 1 % of the best possible, 13 nodes"),
        (outcome("1", "found", 0.3, INCOME, cost=1.0, bound=0.5), "within 50 % of the best possible, 13 nodes"),
        (PROOF, "proven: no plan exists; best reachable score 0.43"),
        (
            replace(PROOF, best_score=BestScore(0.431, 0.47, False, 9)),
            "proven: no plan exists; best score found 0.43, at most 0.47",
        ),
        (replace(PROOF, best_score=None), "proven: no plan exists"),
        (OUTCOMES[3], "no plan found within 200,000 nodes; none ruled out"),
        (replace(OUTCOMES[3], interrupted=True), "no plan found within 200,000 nodes; none ruled out (interrupted)"),
        (OUTCOMES[4], "nothing to change"),
    ],
)
def test_what_is_proven_is_said_and_no_more(one: Outcome, words: str) -> None:
    """An optimum, a gap (rounded up), a proof that nothing exists, and not knowing are four different sentences."""
    assert certificate_words(one) == words


def test_the_tally_counts_everybody_once() -> None:
    """The line under a table adds up."""
    assert counts(OUTCOMES) == {"already_approved": 1, "found": 2, "none_exists": 1, "none_found": 1, "proven": 1}
    assert counts_words(counts(OUTCOMES)) == (
        "5 applicants: 1 already approved; plans for 2, 1 of them proven minimal; "
        "proven for 1 that no plan exists; undecided for 1"
    )
    assert counts_words(counts(())) == "0 applicants"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (9999, "9999"),
        (12345.5, "12,345.5"),
        (-46500.0, "-46,500"),
        (1e-7, "1e-07"),
        (1e20, "1e+20"),
        (True, "yes"),
        (None, "missing"),
        ("a\x1b[31mb", "a [31mb"),
    ],
)
def test_values_read_as_a_person_writes_them(value: str | float | None, text: str) -> None:
    """Grouped digits, no idle point, and nothing that could steer a terminal."""
    assert show(value) == text
