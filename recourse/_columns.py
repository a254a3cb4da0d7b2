"""What a column of data looks like: its resolution, its special values, and what its name suggests."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np

from .policy.values import decimal_text

# Words in a column's name that point at a characteristic which the law protects somewhere.
_PROTECTED = frozenset(
    {"sex", "gender", "male", "female", "race", "racial", "ethnic", "ethnicity", "caste", "tribe", "minority", "age"}
    | {"ages", "birth", "birthdate", "birthday", "dob", "marital", "married", "religion", "religious", "faith"}
    | {"nationality", "national", "native", "foreign", "foreigner", "immigrant", "immigration", "citizen"}
    | {"citizenship", "disability", "disabled", "pregnant", "pregnancy", "veteran", "relationship"}
)
# "age" beside one of these is the age of a thing.
_THINGS = frozenset(
    {"account", "accounts", "file", "loan", "loans", "vehicle", "car", "property", "house", "credit", "line"}
    | {"employment", "job", "trade", "trades"}
)
_IDENTIFIERS = frozenset({"id", "ids", "uuid", "guid", "ssn", "key", "index", "rownum", "rowid", "identifier"})

# What data keepers write where there is no number.
_CODES = frozenset(-float(f"{digit}" * length) for digit in (6, 7, 8, 9) for length in range(1, 8)) - {-6.0}
_MOST_CODES = 6

_CELLS = 200  # steps that a draft's grid has between the 5 % and the 95 % quantile
_FINE = 2000  # a range of at most as many steps keeps the data's own resolution


def words(name: str) -> list[str]:
    """Split a column's name into its words, in lower case.

    Examples
    --------
    >>> words("MSinceMostRecentInq"), words("annual_income2"), words("KörperGröße")
    (['m', 'since', 'most', 'recent', 'inq'], ['annual', 'income', '2'], ['körper', 'größe'])
    """
    parts = []
    for run in re.findall(r"\d+|[^\W\d_]+", name):
        cut = 0
        for i in range(1, len(run)):
            begins = run[i].isupper() and (not run[i - 1].isupper() or run[i + 1 : i + 2].islower())
            if begins:
                parts.append(run[cut:i])
                cut = i
        parts.append(run[cut:])
    return [part.lower() for part in parts]


def sounds_protected(name: str) -> bool:
    """Tell whether a column's name points at a protected characteristic.

    Examples
    --------
    >>> [sounds_protected(name) for name in ("Sex", "age_years", "account_age", "averageBalance", "native-country")]
    [True, True, False, False, True]
    """
    found = set(words(name)) & _PROTECTED
    return bool(found) and not (found <= {"age", "ages"} and set(words(name)) & _THINGS)


def sounds_like_an_identifier(name: str) -> bool:
    """Tell whether a column's name ends or begins as one of an identifier does."""
    parts = words(name)
    return bool(parts) and bool({parts[0], parts[-1]} & _IDENTIFIERS)


def likely_codes(values: np.ndarray) -> tuple[float, ...]:
    """Return negative values such as -9 or -999 in an otherwise non-negative column, the largest first.

    Examples
    --------
    >>> likely_codes(np.array([12.0, -9.0, 0.0, -7.0])), likely_codes(np.array([12.0, -9.0, -3.5]))
    ((-7.0, -9.0), ())
    """
    negative = np.unique(values[values < 0])[::-1].tolist()
    if not negative or len(negative) > _MOST_CODES or not _CODES.issuperset(negative):
        return ()
    return tuple(negative)


def exact(value: float) -> Fraction:
    """Return a float as the decimal that it prints as."""
    return Fraction(Decimal(repr(float(value))))


def resolution(values: np.ndarray) -> Fraction:
    """Return the largest number of which every value is a multiple."""
    out = Fraction(0)
    for value in np.unique(np.abs(values)).tolist():
        x = exact(value)
        shared = math.lcm(out.denominator, x.denominator)
        out = Fraction(
            math.gcd(out.numerator * (shared // out.denominator), x.numerator * (shared // x.denominator)), shared
        )
        if shared > 10**6 and out.denominator > 10**6:
            return Fraction(0)  # measured finely enough to be a real number
    return out


def sensible_step(values: np.ndarray, *, whole: bool) -> Decimal:
    """Return a round step for a grid: the data's own resolution, or about 200 steps over the bulk of a finer column.

    Examples
    --------
    >>> sensible_step(np.array([1.0, 3.0, 40.0]), whole=True)
    Decimal('1')
    >>> sensible_step(np.linspace(0, 123456, 5000).round(2), whole=False)
    Decimal('500')
    """
    least = resolution(values)
    few = len(np.unique(values)) < 10  # too few to tell a grid from chance
    if few and least > 0:
        least = min(least, Fraction(1)) if whole else min(least, _round_below(least))
    span = exact(float(np.max(values))) - exact(float(np.min(values)))
    if least > 0 and span <= _FINE * least:
        return _decimal(least)
    low, high = np.quantile(values, [0.05, 0.95])
    bulk = exact(float(high)) - exact(float(low)) or span
    step = _round_below(bulk / _CELLS) if bulk else Fraction(1)
    if whole:
        step = max(step, Fraction(1))
    return _decimal(max(step, least) if least > 0 else step)


def _round_below(x: Fraction) -> Fraction:
    """Return the largest of 1, 2, 5, 10, 20, ... and their tenths that is not above a positive number."""
    power = math.floor(math.log10(x.numerator) - math.log10(x.denominator))
    ten = Fraction(10)
    return max(
        (digit * ten**p for p in (power - 1, power, power + 1) for digit in (1, 2, 5) if digit * ten**p <= x),
        default=ten**power,
    )


def _decimal(x: Fraction) -> Decimal:
    """Return a fraction whose denominator divides a power of ten as a decimal, exactly."""
    places = 0
    while (x * 10**places).denominator != 1:
        places += 1
    return Decimal(f"{(x * 10**places).numerator}e-{places}")  # exact; arithmetic on decimals would round


def on_grid(value: float, step: Decimal) -> bool:
    """Tell whether a value, as it prints, is a multiple of a step."""
    return (exact(value) / Fraction(step)).denominator == 1


def grid_around(value: float, step: Decimal, *, up: bool) -> Decimal:
    """Return the multiple of a step at or next to a value."""
    size = Fraction(step)
    count = math.ceil(exact(value) / size) if up else math.floor(exact(value) / size)
    return _decimal(count * size)


def number_text(value: Decimal | float) -> str:
    """Return a number as TOML and a reader like it: no needless zeros, an exponent only where it is long."""
    decimal = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    if not decimal or -9 <= decimal.adjusted() <= 17:
        return decimal_text(decimal)
    sign, digits, _ = decimal.as_tuple()
    shown = "".join(map(str, digits)).rstrip("0")
    return f"{'-' * sign}{shown[0]}{'.' * (len(shown) > 1)}{shown[1:]}e{decimal.adjusted():+03d}"
