"""The simulated lender: it repeats, its truth is known, and it is what the package embeds."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recourse import lender
from recourse.datasets import card, load
from recourse.errors import InputError
from recourse.fetch import sha256_of
from recourse.lender import FEATURES, Lender, from_bytes, simulate_lender, to_bytes

PARTS = ("frame", "truth", "repaid", "approved_before", "repaid_observed", "repay_probability")


@pytest.fixture(scope="module")
def many() -> Lender:
    return simulate_lender(50_000, seed=3)


def assert_equal(one: Lender, other: Lender) -> None:
    for part in PARTS:
        left, right = getattr(one, part), getattr(other, part)
        if isinstance(left, pd.DataFrame):
            pd.testing.assert_frame_equal(left, right)
        else:
            pd.testing.assert_series_equal(left, right)


def first(world: Lender, m: int) -> Lender:
    return Lender(**{part: getattr(world, part).head(m) for part in PARTS})


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**63 - 1))
def test_the_first_rows_do_not_depend_on_the_number_drawn(m: int, more: int, seed: int) -> None:
    """simulate_lender(m, seed) equals the first m rows of simulate_lender(n, seed)."""
    assert_equal(simulate_lender(m, seed), first(simulate_lender(m + more, seed), m))


def test_seeds_differ() -> None:
    """Another seed draws other people."""
    assert not simulate_lender(100, 0).frame.equals(simulate_lender(100, 1).frame)


def test_the_embedded_table_is_the_generators() -> None:
    """`load("lender")` is simulate_lender(10_000, seed=0), value for value and type for type."""
    embedded, drawn = load("lender"), simulate_lender(10_000, seed=0)
    pd.testing.assert_frame_equal(embedded.frame, drawn.frame)
    pd.testing.assert_series_equal(embedded.target, drawn.repaid)
    for part in ("approved_before", "repaid_observed", "repay_probability"):
        pd.testing.assert_series_equal(embedded.extra[part], getattr(drawn, part))


def test_the_embedded_file_is_small_and_without_a_time_stamp(checkout: Path) -> None:
    """The file in the repository is below 1 MB, holds the bytes on its card, and nothing of when it was made."""
    path = checkout / "datasets" / "lender" / "lender.csv.gz"
    about = card("lender").files[0]
    assert path.stat().st_size == about.bytes < 1_000_000
    assert sha256_of(path) in about.sha256
    content = path.read_bytes()
    assert content[4:8] == b"\0\0\0\0"  # gzip's time of modification
    assert gzip.decompress(to_bytes(simulate_lender())) == gzip.decompress(content)


def test_bytes_come_back() -> None:
    """What `to_bytes` writes, `from_bytes` reads, missing values and types included."""
    drawn = simulate_lender(500, seed=9)
    pd.testing.assert_frame_equal(from_bytes(to_bytes(drawn))[list(FEATURES)], drawn.frame)


def test_values_lie_on_natural_grids(many: Lender) -> None:
    """Money, months and ratios are as a form would have them, within sensible bounds."""
    frame = many.frame
    for name, step in {
        "income": 100,
        "savings": 100,
        "monthly_debt": 10,
        "loan_amount": 500,
        "loan_months": 12,
    }.items():
        assert (frame[name].dropna() % step == 0).all(), name
    assert frame["dti"].dropna().eq(frame["dti"].dropna().round(2)).all()
    assert frame["age"].between(19, 74).all()
    assert frame["income"].dropna().between(6_000, 1_000_000).all()
    assert frame["utilisation"].dropna().between(0, 100).all()
    assert frame["loan_amount"].between(1_000, 50_000).all()
    assert (frame["months_in_job"] <= 12 * (frame["age"] - 18)).all()
    assert (many.truth["months_on_file"] <= 12 * (many.truth["age"] - 18)).all()


def test_dti_is_what_it_says(many: Lender) -> None:
    """dti is 12 * monthly_debt / income to two decimals, and missing exactly where income is."""
    frame = many.frame
    ratio = np.round(12 * frame["monthly_debt"] / frame["income"], 2)
    pd.testing.assert_series_equal(frame["dti"], ratio, check_names=False)


def test_what_goes_missing(many: Lender) -> None:
    """Gaps are where the equations put them, nowhere else, and not at random."""
    frame, truth = many.frame, many.truth
    gaps = set(frame.columns[frame.isna().any()])
    assert gaps == {"income", "dti", "months_on_file", "delinquencies", "savings", "utilisation"}
    assert frame["utilisation"].isna().eq(truth["open_accounts"] == 0).all()
    assert frame["months_on_file"].isna().eq(frame["delinquencies"].isna()).all()
    gap = frame["income"].isna().groupby(truth["employment"] == "self_employed").mean()
    assert gap[True] > 2 * gap[False]
    new = frame["months_on_file"].isna().groupby(truth["months_on_file"] < 18).mean()
    assert new[True] > 5 * new[False]
    known = frame.notna()
    for name in FEATURES:
        assert frame.loc[known[name], name].eq(truth.loc[known[name], name]).all(), name


def test_the_books_show_the_approved_only(many: Lender) -> None:
    """repaid_observed is the truth for those the past lender approved, and missing for all others."""
    seen = many.repaid_observed.notna()
    assert seen.eq(many.approved_before == 1).all()
    assert many.repaid_observed[seen].eq(many.repaid[seen]).all()
    assert 0.6 < many.approved_before.mean() < 0.8
    assert many.repaid[seen].mean() > many.repaid.mean() + 0.05  # selection flatters the books


def test_repayment_follows_its_probability(many: Lender) -> None:
    """In every tenth of the stated probability, the share repaid is the mean probability within 4 standard errors."""
    tenth = pd.qcut(many.repay_probability, 10, labels=False)
    table = pd.DataFrame({"p": many.repay_probability, "y": many.repaid}).groupby(tenth).agg(["mean", "size"])
    error = np.sqrt(table["p", "mean"] * (1 - table["p", "mean"]) / table["p", "size"])
    assert (np.abs(table["y", "mean"] - table["p", "mean"]) < 4 * error).all()


def test_the_disparity_is_modest_and_as_stated(many: Lender) -> None:
    """Women repay 1.1 points less often than men and were approved 7 points less often; the README says so."""
    women = many.frame["sex"] == "female"
    repaid = many.repay_probability[women].mean() - many.repay_probability[~women].mean()
    approved = many.approved_before[women].mean() - many.approved_before[~women].mean()
    assert -0.02 < repaid < -0.003
    assert -0.09 < approved < -0.05


def test_sex_acts_on_repayment_only_through_income_and_work() -> None:
    """With income and employment held, drawing everyone as a woman or as a man changes no probability of repayment."""
    base = simulate_lender(2_000, seed=5).truth
    held = {name: base[name].to_numpy() for name in ("income", "employment")}
    women = simulate_lender(2_000, seed=5, do={"sex": "female", **held})
    men = simulate_lender(2_000, seed=5, do={"sex": "male", **held})
    pd.testing.assert_series_equal(women.repay_probability, men.repay_probability)
    assert (women.approved_before <= men.approved_before).all()
    assert (women.approved_before < men.approved_before).any()  # the past lender looked at sex itself


@settings(max_examples=10)
@given(
    st.sampled_from(["savings", "income", "monthly_debt", "utilisation", "loan_amount", "delinquencies"]),
    st.integers(0, 1_000),
)
def test_an_intervention_leaves_what_comes_before_it_alone(name: str, seed: int) -> None:
    """Replacing an equation by its own result changes nothing; by another value, nothing upstream changes."""
    as_is = simulate_lender(200, seed)
    assert_equal(simulate_lender(200, seed, do={name: as_is.truth[name].to_numpy()}), as_is)
    moved = simulate_lender(200, seed, do={name: as_is.truth[name].to_numpy() * 2 + 100})
    before = [c for c in lender._EQUATIONS if c != "prudence"]
    upstream = before[: before.index(name)]
    pd.testing.assert_frame_equal(moved.truth[upstream], as_is.truth[upstream])
    assert not moved.repay_probability.equals(as_is.repay_probability)


@pytest.mark.parametrize(
    "change, better",
    [
        ({"savings": 5_000}, True),
        ({"loan_amount": 20_000}, False),
        ({"monthly_debt": 500}, False),
        ({"recent_inquiries": 2}, False),
        ({"delinquencies": 1}, False),
    ],
)
def test_true_effects_have_the_sign_of_the_equations(change: dict[str, float], better: bool) -> None:
    """More savings help every single applicant; more debt, lateness or a larger loan at the same term help nobody."""
    as_is = simulate_lender(1_000, seed=2)
    do = {"loan_months": as_is.truth["loan_months"].to_numpy()} | {
        name: as_is.truth[name].to_numpy() + more for name, more in change.items()
    }
    effect = simulate_lender(1_000, seed=2, do=do).repay_probability - as_is.repay_probability
    assert ((effect >= 0) if better else (effect <= 0)).all()
    assert abs(effect.mean()) > 0.005


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: simulate_lender(0), "n is 0"),
        (lambda: simulate_lender(2.5), "n is 2.5"),  # type: ignore[arg-type]
        (lambda: simulate_lender(True), "n is True"),
        (lambda: simulate_lender(5, seed=-1), "seed is -1"),
        (lambda: simulate_lender(5, do={"savigns": 1.0}), r"savigns.*Did you mean 'savings'"),
        (lambda: simulate_lender(5, do={"savings": np.zeros(4)}), r"shape \(4,\); one value or 5"),
        (lambda: simulate_lender(5, do={"sex": "woman"}), "'woman'; expected one of female, male"),
        (lambda: simulate_lender(5, do={"savings": "much"}), "not numeric"),
        (lambda: simulate_lender(5, do={"savings": float("nan")}), "missing or infinite"),
    ],
)
def test_bad_arguments(call: object, message: str) -> None:
    """What cannot be drawn is said, with what was expected."""
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
