"""A simulated lender: applicants from documented structural equations, with the true repayment of everyone.

Nobody in it is real. Every variable is a function of earlier ones and of one noise of its own, so that the effect of
any change is known: `simulate_lender(n, seed, do={"savings": 5000})` draws the same people with the same luck and other
savings. Below, N and U are a standard normal and a uniform number drawn anew for each variable and applicant;
L(x) = 1 / (1 + exp(-x)); [condition] is 1 or 0; "to 100" means rounded to the nearest multiple; a..b are bounds.

=====================  ================================================================================================
prudence (not seen)    N
sex                    female if U < 0.48, else male
age                    floor(19 + 56 U^1.35)
education              by N - 0.3 [age >= 60]: school < -0.5 <= vocational < 0.5 <= bachelor < 1.3 <= master;
                       E = 0, 1, 2, 3
employment             retired if U < R, R = 0.92 [age >= 67] + 0.35 [62 <= age < 67]; of the rest, with
                       V = (U - R) / (1 - R): unemployed if V < 0.05; part_time if V < 0.05 + 0.18 [female]
                       + 0.07 [male]; self_employed if V < that + 0.10; else employed
months_in_job          floor(12 (age - 18) 0.6 U^1.8) if employed, part_time or self_employed, else 0
income                 exp(10.28 + 0.16 E + 0.030 (a - 18) - 0.00045 (a - 18)^2 - 0.06 [female] - 0.50 [part_time]
                       - 0.95 [unemployed] - 0.40 [retired] + 0.36 N), a = min(age, 65), to 100, at least 6,000
housing                h = 0.045 (age - 40) + 0.9 ln(income / 40,000) + N: own if h > 0.25; free if h < -1.9; else rent
months_on_file         floor(12 (age - 18) U^0.7)
open_accounts          2 + months_on_file / 80 + 0.5 ln(income / 40,000) + 1.8 N, to 1, 0..30
savings                exp(ln income - 2.7 + 0.75 prudence + 0.015 (age - 40) + 0.9 N), to 100; 0 if below 300,
                       at most 300,000
monthly_debt           income / 12 * L(-1.75 - 0.25 prudence + 0.65 [own] + 0.05 open_accounts + 0.6 N), to 10
utilisation            100 L(-0.55 - 0.75 prudence - 0.10 ln(1 + savings / 1,000) + 0.9 N), to 1; none without accounts
delinquencies          Poisson(exp(-1.25 - 0.70 prudence + 0.014 (u - 40))) by U, 0..12, u = utilisation or 40
recent_inquiries       Poisson(exp(-0.30 - 0.25 prudence + 0.010 (u - 40))) by U, 0..12
loan_amount            exp(ln income - 1.35 + 0.55 N), to 500, 1,000..50,000
loan_months            by N + 0.8 ln(loan_amount / 9,000): 12 < -0.9 <= 24 < 0 <= 36 < 0.7 <= 48 < 1.3 <= 60
dti                    12 monthly_debt / income, to 0.01
repaid (the truth)     1 if U < L(q); with instalment i = loan_amount (1 / loan_months + 0.006) and burden
                       b = 12 (monthly_debt + i) / income, 0..2:
                       q = 1.15 + 0.55 ln(income / 40,000) - 3.2 (b - 0.35) - 0.013 (u - 40)
                       - 0.50 min(delinquencies, 6) - 0.17 min(recent_inquiries, 6) + 0.30 ln(1 + savings / 1,000)
                       + 0.003 min(months_on_file, 240) + 0.20 [own] - 0.55 [unemployed]
                       + 0.12 ln(1 + months_in_job / 12) + 0.35 prudence
approved_before        the past lender's scorecard on what it saw: s + 0.5 N >= 0, with
                       s = 0.60 + 0.8 ln(countable income / 40,000) - 2.5 (dti - 0.25) - 0.012 (u - 40)
                       - 0.45 delinquencies - 0.15 recent_inquiries + 0.0025 min(months_on_file, 240) + 0.3 [own]
                       - 0.9 ln(loan_amount / 9,000) - 0.6 [income not stated] - 0.5 [no file] - 0.20 [female];
                       countable income takes part-time pay at 70 % (and 25,000 where none is stated)
missing: income        if U < 0.02 + 0.07 [self_employed] + 0.05 [income < 18,000]; dti is then missing too
missing: file          months_on_file and delinquencies, if U < 0.02 + 0.20 [months_on_file < 18]
missing: savings       if U < 0.02 + 0.06 [savings = 0]
=====================  ================================================================================================

Neither sex nor age acts on repayment itself; women's repayment differs only through income, part-time work and what
follows from these. The past lender, by contrast, docks women 0.20 directly. Data go missing because of what they would
have said, and the past lender's books show the repayment of those it approved only.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, ndtri

from ._delimited import read_delimited
from .errors import InputError, did_you_mean

Array = np.ndarray
Effect = float | str | Array

FEATURES: tuple[str, ...] = (
    "age",
    "sex",
    "education",
    "employment",
    "months_in_job",
    "income",
    "housing",
    "months_on_file",
    "open_accounts",
    "savings",
    "monthly_debt",
    "dti",
    "utilisation",
    "delinquencies",
    "recent_inquiries",
    "loan_amount",
    "loan_months",
)
EDUCATION = ("school", "vocational", "bachelor", "master")
TERMS = (12, 24, 36, 48, 60)

# The place of a name in this table is the number of its noise stream: append, never reorder.
_STREAMS: tuple[str, ...] = (
    "prudence",
    "sex",
    "age",
    "education",
    "employment",
    "months_in_job",
    "income",
    "housing",
    "months_on_file",
    "open_accounts",
    "savings",
    "monthly_debt",
    "utilisation",
    "delinquencies",
    "recent_inquiries",
    "loan_amount",
    "loan_months",
    "repaid",
    "approved_before",
    "missing income",
    "missing file",
    "missing savings",
)


@dataclass(frozen=True, slots=True, eq=False)
class Lender:
    """Simulated applicants: what the lender sees, what it decided before, and the truth.

    Attributes
    ----------
    frame : DataFrame of shape (n, 17)
        The features as the lender sees them, with missing values.
    repaid : Series of 0 and 1
        Whether each applicant repays if granted the loan: known for everyone, because this is a simulation.
    approved_before : Series of 0 and 1
        The decision of the lender's old scorecard.
    repaid_observed : Series of Int8
        `repaid` where `approved_before` is 1, else missing: all that the lender's books can tell.
    repay_probability : Series of float
        The probability from which `repaid` was drawn, rounded to 4 decimals.
    truth : DataFrame
        The features without missing values, and the unseen `prudence`.
    """

    frame: pd.DataFrame
    repaid: pd.Series
    approved_before: pd.Series
    repaid_observed: pd.Series
    repay_probability: pd.Series
    truth: pd.DataFrame


def simulate_lender(n: int = 10_000, seed: int = 0, *, do: Mapping[str, Effect] | None = None) -> Lender:
    """Draw `n` applicants of the simulated lender.

    The noise of every variable comes from a counter-based stream of its own, so the first rows do not depend on `n`:
    `simulate_lender(m, seed)` equals the first m rows of `simulate_lender(n, seed)`.

    Parameters
    ----------
    n : int
        Number of applicants.
    seed : int
        Any non-negative integer below 2**63; the embedded data set is seed 0.
    do : mapping of variable to value or array of n values, optional
        Interventions: the variable's equation is replaced by the value given, everything else keeps its noise. The
        difference of two draws is therefore a true individual effect.

    Returns
    -------
    Lender

    Raises
    ------
    InputError
        If `n`, `seed` or `do` cannot be used.

    Examples
    --------
    >>> as_is = simulate_lender(2000, seed=1)
    >>> saving = simulate_lender(2000, seed=1, do={"savings": as_is.truth["savings"] + 5000})
    >>> bool(saving.repay_probability.mean() > as_is.repay_probability.mean())
    True
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise InputError(f"n is {n!r}; a whole number of applicants from 1 up was expected.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed!r}; a whole number from 0 to 2**63 - 1 was expected.")
    return _observe(_Draw(int(n), int(seed), dict(do or {})))


class _Draw:
    """The world before anyone looks at it: every variable by its equation, in causal order."""

    def __init__(self, n: int, seed: int, do: dict[str, Effect]) -> None:
        self.n, self.seed, self.do = n, seed, do
        self.values: dict[str, Array] = {}
        unknown = [name for name in do if name not in _EQUATIONS]
        if unknown:
            raise InputError(
                f"do names {unknown[0]!r}, which is no variable of the lender.{did_you_mean(unknown[0], _EQUATIONS)}"
            )
        for name, equation in _EQUATIONS.items():
            self.values[name] = self._imposed(name) if name in do else equation(self)

    def __getitem__(self, name: str) -> Array:
        return self.values[name]

    def uniform(self, name: str) -> Array:
        """Return this variable's noise, in (0, 1)."""
        stream = np.random.Generator(np.random.Philox(key=[self.seed, _STREAMS.index(name)]))
        # a double in [0, 1) is k / 2**53; half a step up keeps 0 out, where the normal quantile is infinite
        return np.asarray(stream.random(self.n) + 2.0**-54)

    def normal(self, name: str) -> Array:
        return np.asarray(ndtri(self.uniform(name)))

    def used(self) -> Array:
        """Utilisation as the equations use it: 40 where there is no account."""
        return np.where(np.isnan(self["utilisation"]), 40.0, self["utilisation"])

    def _imposed(self, name: str) -> Array:
        try:
            imposed = np.broadcast_to(np.asarray(self.do[name]), (self.n,)).copy()
        except ValueError:
            shape = np.shape(self.do[name])
            raise InputError(f"do[{name!r}] has shape {shape}; one value or {self.n} of them were expected.") from None
        known = _LEVELS.get(name)
        if known is not None:
            wrong = [value for value in imposed.tolist() if value not in known]
            if wrong:
                raise InputError(f"do[{name!r}] holds {wrong[0]!r}; expected one of {', '.join(known)}.")
            return imposed.astype(object)
        try:
            numbers = imposed.astype(np.float64)
        except ValueError:
            raise InputError(f"do[{name!r}] is not numeric, and {name} is a number.") from None
        # without accounts there is no utilisation: the one variable that may be missing in the truth
        if np.isinf(numbers).any() or (name != "utilisation" and np.isnan(numbers).any()):
            raise InputError(f"do[{name!r}] holds a missing or infinite value; finite numbers were expected.")
        return numbers


def _sex(w: _Draw) -> Array:
    return _text(np.where(w.uniform("sex") < 0.48, "female", "male"))


def _age(w: _Draw) -> Array:
    return np.asarray(np.floor(19.0 + 56.0 * w.uniform("age") ** 1.35))


def _education(w: _Draw) -> Array:
    latent = w.normal("education") - 0.3 * (w["age"] >= 60)
    return np.asarray(np.asarray(EDUCATION, dtype=object)[np.searchsorted([-0.5, 0.5, 1.3], latent, side="right")])


def _employment(w: _Draw) -> Array:
    age = w["age"]
    retiring = 0.92 * (age >= 67) + 0.35 * ((age >= 62) & (age < 67))
    u = w.uniform("employment")
    rest = (u - retiring) / (1.0 - retiring)
    part_time = 0.05 + np.where(w["sex"] == "female", 0.18, 0.07)
    return _text(
        np.select(
            [u < retiring, rest < 0.05, rest < part_time, rest < part_time + 0.10],
            ["retired", "unemployed", "part_time", "self_employed"],
            "employed",
        )
    )


def _months_in_job(w: _Draw) -> Array:
    works = ~np.isin(w["employment"].astype(str), ["retired", "unemployed"])
    return np.where(works, np.floor(12.0 * (w["age"] - 18.0) * 0.6 * w.uniform("months_in_job") ** 1.8), 0.0)


def _income(w: _Draw) -> Array:
    schooling = np.select([w["education"] == level for level in EDUCATION], [0.0, 1.0, 2.0, 3.0])
    years = np.minimum(w["age"], 65.0) - 18.0
    work = w["employment"]
    log = (
        10.28
        + 0.16 * schooling
        + 0.030 * years
        - 0.00045 * years**2
        - 0.06 * (w["sex"] == "female")
        - 0.50 * (work == "part_time")
        - 0.95 * (work == "unemployed")
        - 0.40 * (work == "retired")
        + 0.36 * w.normal("income")
    )
    return np.asarray(np.maximum(_to(np.exp(log), 100.0), 6000.0))


def _housing(w: _Draw) -> Array:
    latent = 0.045 * (w["age"] - 40.0) + 0.9 * _log_income(w) + w.normal("housing")
    return _text(np.select([latent > 0.25, latent < -1.9], ["own", "free"], "rent"))


def _months_on_file(w: _Draw) -> Array:
    return np.asarray(np.floor(12.0 * (w["age"] - 18.0) * w.uniform("months_on_file") ** 0.7))


def _open_accounts(w: _Draw) -> Array:
    latent = 2.0 + w["months_on_file"] / 80.0 + 0.5 * _log_income(w) + 1.8 * w.normal("open_accounts")
    return np.asarray(np.clip(_to(latent, 1.0), 0.0, 30.0))


def _savings(w: _Draw) -> Array:
    log = np.log(w["income"]) - 2.7 + 0.75 * w["prudence"] + 0.015 * (w["age"] - 40.0) + 0.9 * w.normal("savings")
    amount = _to(np.exp(log), 100.0)
    return np.where(amount < 300.0, 0.0, np.minimum(amount, 300_000.0))


def _monthly_debt(w: _Draw) -> Array:
    latent = -1.75 - 0.25 * w["prudence"] + 0.65 * (w["housing"] == "own") + 0.05 * w["open_accounts"]
    return _to(w["income"] / 12.0 * expit(latent + 0.6 * w.normal("monthly_debt")), 10.0)


def _utilisation(w: _Draw) -> Array:
    latent = -0.55 - 0.75 * w["prudence"] - 0.10 * np.log1p(w["savings"] / 1000.0) + 0.9 * w.normal("utilisation")
    return np.where(w["open_accounts"] > 0, _to(100.0 * expit(latent), 1.0), np.nan)


def _delinquencies(w: _Draw) -> Array:
    rate = np.exp(-1.25 - 0.70 * w["prudence"] + 0.014 * (w.used() - 40.0))
    return _poisson(w.uniform("delinquencies"), rate)


def _recent_inquiries(w: _Draw) -> Array:
    rate = np.exp(-0.30 - 0.25 * w["prudence"] + 0.010 * (w.used() - 40.0))
    return _poisson(w.uniform("recent_inquiries"), rate)


def _loan_amount(w: _Draw) -> Array:
    log = np.log(w["income"]) - 1.35 + 0.55 * w.normal("loan_amount")
    return np.asarray(np.clip(_to(np.exp(log), 500.0), 1000.0, 50_000.0))


def _loan_months(w: _Draw) -> Array:
    latent = w.normal("loan_months") + 0.8 * np.log(w["loan_amount"] / 9000.0)
    return np.asarray(TERMS, dtype=np.float64)[np.searchsorted([-0.9, 0.0, 0.7, 1.3], latent, side="right")]


def _repay_logit(w: _Draw) -> Array:
    instalment = w["loan_amount"] * (1.0 / w["loan_months"] + 0.006)
    burden = np.clip(12.0 * (w["monthly_debt"] + instalment) / w["income"], 0.0, 2.0)
    return np.asarray(
        1.15
        + 0.55 * _log_income(w)
        - 3.2 * (burden - 0.35)
        - 0.013 * (w.used() - 40.0)
        - 0.50 * np.minimum(w["delinquencies"], 6.0)
        - 0.17 * np.minimum(w["recent_inquiries"], 6.0)
        + 0.30 * np.log1p(w["savings"] / 1000.0)
        + 0.003 * np.minimum(w["months_on_file"], 240.0)
        + 0.20 * (w["housing"] == "own")
        - 0.55 * (w["employment"] == "unemployed")
        + 0.12 * np.log1p(w["months_in_job"] / 12.0)
        + 0.35 * w["prudence"]
    )


# In causal order; an equation reads only what stands above it.
_EQUATIONS: dict[str, Callable[[_Draw], Array]] = {
    "prudence": lambda w: w.normal("prudence"),
    "sex": _sex,
    "age": _age,
    "education": _education,
    "employment": _employment,
    "months_in_job": _months_in_job,
    "income": _income,
    "housing": _housing,
    "months_on_file": _months_on_file,
    "open_accounts": _open_accounts,
    "savings": _savings,
    "monthly_debt": _monthly_debt,
    "utilisation": _utilisation,
    "delinquencies": _delinquencies,
    "recent_inquiries": _recent_inquiries,
    "loan_amount": _loan_amount,
    "loan_months": _loan_months,
    "dti": lambda w: np.round(12.0 * w["monthly_debt"] / w["income"], 2),
}
_LEVELS: dict[str, tuple[str, ...]] = {
    "sex": ("female", "male"),
    "education": EDUCATION,
    "employment": ("employed", "self_employed", "part_time", "unemployed", "retired"),
    "housing": ("rent", "own", "free"),
}
_SOMETIMES_MISSING = ("income", "dti", "months_on_file", "delinquencies", "savings", "utilisation")


def _observe(world: _Draw) -> Lender:
    """Let the lender look: some values go missing, the old scorecard decides, only the approved are followed up."""
    probability = expit(_repay_logit(world))
    repaid = (world.uniform("repaid") < probability).astype(np.int64)
    truth = pd.DataFrame({name: _column(name, world[name]) for name in FEATURES})
    frame = truth.copy()
    income, file, savings = world["income"], world["months_on_file"], world["savings"]
    no_income = world.uniform("missing income") < (
        0.02 + 0.07 * (world["employment"] == "self_employed") + 0.05 * (income < 18_000)
    )
    no_file = world.uniform("missing file") < 0.02 + 0.20 * (file < 18)
    no_savings = world.uniform("missing savings") < 0.02 + 0.06 * (savings == 0)
    for names, gone in (
        (("income", "dti"), no_income),
        (("months_on_file", "delinquencies"), no_file),
        (("savings",), no_savings),
    ):
        for name in names:
            frame[name] = frame[name].mask(gone)
    approved = pd.Series(_past_decision(world, no_income, no_file), name="approved_before")
    return Lender(
        frame=frame,
        repaid=pd.Series(repaid, name="repaid"),
        approved_before=approved,
        repaid_observed=observed(pd.Series(repaid, name="repaid"), approved),
        repay_probability=pd.Series(np.round(probability, 4), name="repay_probability"),
        truth=truth.assign(prudence=np.round(world["prudence"], 6)),
    )


def observed(repaid: pd.Series, approved_before: pd.Series) -> pd.Series:
    """Return repayment as the past lender's books show it: missing where it declined."""
    return repaid.astype("Int8").mask(approved_before == 0).rename("repaid_observed")


def _past_decision(world: _Draw, no_income: Array, no_file: Array) -> Array:
    countable = world["income"] * np.where(world["employment"] == "part_time", 0.7, 1.0)
    ratio = np.where(no_income, 0.25, world["dti"])
    points = (
        0.60
        + 0.8 * np.log(np.where(no_income, 25_000.0, countable) / 40_000.0)
        - 2.5 * (ratio - 0.25)
        - 0.012 * (world.used() - 40.0)
        - 0.45 * np.where(no_file, 0.0, world["delinquencies"])
        - 0.15 * world["recent_inquiries"]
        + 0.0025 * np.where(no_file, 0.0, np.minimum(world["months_on_file"], 240.0))
        + 0.3 * (world["housing"] == "own")
        - 0.9 * np.log(world["loan_amount"] / 9000.0)
        - 0.6 * no_income
        - 0.5 * no_file
        - 0.20 * (world["sex"] == "female")
    )
    return np.asarray(points + 0.5 * world.normal("approved_before") >= 0, dtype=np.int64)


def _column(name: str, values: Array) -> pd.Series:
    if name in _LEVELS:
        return pd.Series(values, dtype="str")
    if name in _SOMETIMES_MISSING:
        return pd.Series(values, dtype="float64")
    whole: Any = values.astype(np.int64)
    return pd.Series(whole if bool(np.all(whole == values)) else values)


def _log_income(world: _Draw) -> Array:
    return np.asarray(np.log(world["income"] / 40_000.0))


def _to(values: Array, step: float) -> Array:
    return np.asarray(np.round(values / step) * step)


def _text(values: Array) -> Array:
    return np.asarray(values, dtype=object)


def _poisson(u: Array, rate: Array, most: int = 12) -> Array:
    """Return the Poisson quantile of u, at most `most`."""
    term = np.exp(-rate)
    below = term.copy()
    count = np.zeros(len(u))
    for k in range(1, most + 1):
        count += u > below
        term = term * rate / k
        below = below + term
    return count


def to_bytes(lender: Lender) -> bytes:
    """Return the lender as a gzipped CSV without a time stamp, as it is embedded in the package.

    Examples
    --------
    >>> content = to_bytes(simulate_lender(10))
    >>> len(gzip.decompress(content).splitlines())
    11
    """
    table = lender.frame.assign(
        repaid=lender.repaid,
        approved_before=lender.approved_before,
        repay_probability=lender.repay_probability,
    )
    # whole numbers without ".0": smaller, and read back by the types given in `from_bytes`
    for name in ("income", "months_on_file", "delinquencies", "savings", "utilisation"):
        table[name] = table[name].astype("Int64")
    text = table.to_csv(index=False, lineterminator="\n")
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(text.encode())
    return buffer.getvalue()


def from_bytes(content: bytes) -> pd.DataFrame:
    """Return the table in `content`: the features, `repaid`, `approved_before` and `repay_probability`."""
    table = read_delimited(io.BytesIO(gzip.decompress(content)))
    numbers = dict.fromkeys(_SOMETIMES_MISSING, "float64")  # also where a short draw happens to miss nothing
    return table.astype(numbers)
