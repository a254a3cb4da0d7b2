"""What costs and wording need to know of applicants at large: a summary of each column, never rows."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import DataError, UnknownFeature, did_you_mean
from .policy.values import plain

if TYPE_CHECKING:
    from .policy import Feature, Policy

MOST_KNOTS = 1001
LARGEST_VALUE = 1e150  # squares of what lies below stay finite
_SCHEMA = "fairpath.population/1"
_MOST_LEVELS = 100  # without a policy, a text column with more levels than this is left out


@dataclass(frozen=True, slots=True)
class Summary:
    """One column of a population: its numbers, or its positions in `levels`.

    Missing values and declared codes are counted apart and enter nothing else. ``knots[i]`` is a value that occurs and
    ``shares[i]`` the share of numbers at or below it.
    """

    n: int
    n_missing: int = 0
    mad: float = 0.0  # median absolute deviation around the median, unscaled
    std: float = 0.0  # sample standard deviation (n - 1)
    median: float | None = None
    knots: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    codes: dict[float, int] = field(default_factory=dict)  # code -> number of applicants
    levels: dict[str, int] | None = None  # level, in the policy's order -> number of applicants

    @property
    def min(self) -> float:
        """The smallest number."""
        return self.knots[0]

    @property
    def max(self) -> float:
        """The largest number."""
        return self.knots[-1]

    def unit(self, kind: str) -> float:
        """What one unit of change is measured in: the spread asked for, else the standard deviation, else 1."""
        if kind in ("raw", "percentile"):
            return 1.0
        spread = {"mad": self.mad, "std": self.std, "range": self.max - self.min if self.knots else 0.0}[kind]
        return spread or self.std or 1.0

    def quantile(self, q: float) -> float:
        """Return the smallest knot at or below which at least a share `q` of the numbers lies."""
        return self.knots[min(int(np.searchsorted(self.shares, q - 1e-12)), len(self.knots) - 1)]


@dataclass(frozen=True, slots=True)
class Population:
    """Per-column summaries of applicants at large.

    Examples
    --------
    >>> import pandas as pd
    >>> people = Population.from_frame(pd.DataFrame({"income": [10, 20, 30, 50, None]}))
    >>> people.unit("income", "mad"), people.unit("income", "range")
    (10.0, 40.0)
    >>> people.percentile("income", [15.0, 60.0]).tolist()
    [0.375, 1.0]
    >>> Population.from_dict(people.to_dict()) == people
    True
    """

    n_rows: int
    columns: dict[str, Summary]

    @classmethod
    def from_frame(cls, frame: Any, policy: Policy | None = None) -> Population:
        """Summarise a frame.

        Parameters
        ----------
        frame : pandas.DataFrame, polars.DataFrame or pyarrow.Table
        policy : Policy, optional
            Says which numbers are codes and in which order levels stand. Only its features are summarised, and none
            that is protected. Without it all columns are, but for dates and texts with more than 100 levels.

        Raises
        ------
        DataError
            A value that is no number, infinite, or not among an ordinal's levels; names the column and the row.
        UnknownFeature
            The frame lacks a feature that the policy lets move.
        """
        table = as_pandas(frame)
        if policy is None:
            columns = {name: _summarise_untold(table[name], name) for name in table.columns}
            return cls(len(table), {name: summary for name, summary in columns.items() if summary is not None})
        from .problem.grouping import groups_of

        told, groups = dict[str, Summary](), groups_of(policy)
        for name, feature in policy.features.items():
            if feature.role == "protected":
                continue
            if name in groups:
                told[name] = _summarise_positions(groups[name].read(table), 0, feature)
                continue
            if name not in table.columns:
                if feature.movable:
                    guess = did_you_mean(name, table.columns)
                    raise UnknownFeature(f"the population has no column {name!r}, which the policy lets move.{guess}")
                continue
            told[name] = _summarise(table[name], name, feature)
        return cls(len(table), told)

    def summary(self, name: str) -> Summary:
        """Return one column's summary, or raise `UnknownFeature` with the nearest name."""
        if name not in self.columns:
            raise UnknownFeature(f"the population has no column {name!r}.{did_you_mean(name, self.columns)}")
        return self.columns[name]

    def unit(self, name: str, kind: str) -> float:
        """Return what one unit of a change of a feature is measured in.

        `kind` is "mad", "std", "range" or "raw". A spread of 0 gives way to the sample standard deviation and that to
        1; "raw" and "percentile" are 1.
        """
        if kind == "raw":
            return 1.0  # measured on nobody
        return self.summary(name).unit(kind)

    def knots(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return values (float64[k], increasing) and the share of the population at or below each; k <= 1,001."""
        summary = self.summary(name)
        return np.array(summary.knots, dtype=np.float64), np.array(summary.shares, dtype=np.float64)

    def percentile(self, name: str, values: Any) -> np.ndarray:
        """Return F of values: linear between the knots, constant beyond the outer ones."""
        x, f = self.knots(name)
        points = np.asarray(values, dtype=np.float64)
        return np.interp(points, x, f) if len(x) else np.zeros(points.shape)

    @property
    def sha256(self) -> str:
        """Hash of the content."""
        text = json.dumps(self.to_dict(), sort_keys=True, allow_nan=False, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "schema": _SCHEMA,
            "n_rows": self.n_rows,
            "columns": {name: _to_dict(summary) for name, summary in self.columns.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Population:
        """Read back what `to_dict` wrote."""
        if not isinstance(data, Mapping) or data.get("schema") != _SCHEMA:
            raise DataError(f"not a saved population: expected a JSON object with schema {_SCHEMA!r}.")
        try:
            columns = {str(name): _from_dict(summary) for name, summary in data["columns"].items()}
            return cls(int(data["n_rows"]), columns)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the saved population is damaged ({error}). Summarise the rows again.") from None

    def save(self, path: str | Path) -> None:
        """Write the summary to a JSON file, whole or not at all."""
        part = Path(f"{path}.part")
        part.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(part, path)

    @classmethod
    def load(cls, path: str | Path) -> Population:
        """Read a summary that `save` wrote."""
        try:
            data = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise DataError(f"{path}: cannot read the population: {error.strerror or error}.") from None
        except ValueError:
            raise DataError(f"{path}: not a saved population: expected a JSON file.") from None
        return cls.from_dict(data)


# ------------------------------------------------------------------------------------------------- reading the columns


def as_pandas(frame: Any) -> pd.DataFrame:
    """Return any frame that narwhals knows as pandas, with texts as column names."""
    if isinstance(frame, pd.DataFrame):
        table = frame
    else:
        import narwhals as nw

        try:
            table = nw.from_native(frame, eager_only=True).to_pandas()
        except TypeError:
            wanted = "Expected a pandas, polars or pyarrow frame."
            raise DataError(f"cannot read a {type(frame).__name__} as rows. {wanted}") from None
    names = [str(name) for name in table.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"column {twice!r} is there twice. Rename or delete one of them.")
    return table.set_axis(names, axis=1)


def read_numbers(column: pd.Series[Any], name: str) -> np.ndarray:
    """Return a column as float64 with NaN for missing values.

    Raises
    ------
    DataError
        A text, a date or an infinite value; names the column, the row and the remedy.
    """
    kind = column.dtype.kind if isinstance(column.dtype, np.dtype) else "of another library"
    if kind in ("m", "M") or isinstance(column.dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        raise DataError(f"column {name!r} holds dates, where numbers are expected. Turn them into a number of days.")
    if kind in ("f", "i", "u", "b"):
        values = column.to_numpy(dtype=np.float64)
    else:
        values = np.array([_read_number(value) for value in column.tolist()], dtype=np.float64)
        wrong = np.flatnonzero(np.isnan(values) & ~column.isna().to_numpy(dtype=bool))
        if len(wrong):
            row, value = column.index[wrong[0]], column.iloc[wrong[0]]
            raise DataError(
                f"column {name!r}, row {row}: expected a number, got {value!r}. "
                "Correct the row, or declare the feature as a category with levels."
            )
    wild = np.flatnonzero(np.abs(values) > LARGEST_VALUE)
    if len(wild):
        row, value = column.index[wild[0]], values[wild[0]]
        what = "infinite" if math.isinf(value) else f"too large ({value})"
        raise DataError(f"column {name!r}, row {row}: the value is {what}. Correct it, or leave it empty if unknown.")
    return values + 0.0


def _read_number(value: Any) -> float:
    if value is None or value is pd.NA or isinstance(value, str):
        return math.nan
    if isinstance(value, numbers.Number) or hasattr(value, "__float__"):
        try:
            return float(value)
        except OverflowError:
            return math.inf
        except (TypeError, ValueError):
            return math.nan
    return math.nan


def read_positions(column: pd.Series[Any], name: str, feature: Feature, *, strict: bool = True) -> np.ndarray:
    """Return the positions of a column's levels as float64, NaN for missing ones (and unseen ones unless `strict`)."""
    which, found = pd.factorize(column.astype(object), use_na_sentinel=True)
    table = np.full(len(found) + 1, np.nan)  # the last entry answers for -1, a missing value
    for i, value in enumerate(found):
        place = feature.position(value)
        if place is not None:
            table[i] = place
        elif strict:
            row = column.index[int(np.flatnonzero(which == i)[0])]
            guess = did_you_mean(str(value), map(str, feature.levels or ()))
            raise DataError(
                f"column {name!r}, row {row}: {plain(value)!r} is not among the policy's levels.{guess} "
                "Correct the row, or add the level to the policy."
            )
    return np.asarray(table[which])


# --------------------------------------------------------------------------------------------------------- summarising


def _summarise(column: pd.Series[Any], name: str, feature: Feature) -> Summary:
    if feature.levels is None:
        return summarise_numbers(read_numbers(column, name), feature.code_values)
    positions = read_positions(column, name, feature, strict=feature.movable and feature.kind == "ordinal")
    return _summarise_positions(positions, int(column.isna().sum()), feature)


def _summarise_positions(positions: np.ndarray, n_missing: int, feature: Feature) -> Summary:
    assert feature.levels is not None
    known = positions[~np.isnan(positions)].astype(np.int64)
    counts = np.bincount(known, minlength=len(feature.levels))
    levels = {str(level): int(count) for level, count in zip(feature.levels, counts, strict=True)}
    numbers_ = positions if feature.kind != "category" else np.empty(0)
    return summarise_numbers(numbers_, (), n=len(known), n_missing=n_missing, levels=levels)


def _summarise_untold(column: pd.Series[Any], name: str) -> Summary | None:
    """Summarise without a policy: numbers as numbers, texts by level where there are few."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return summarise_numbers(read_numbers(column, name), ())
    present = column.dropna().tolist()
    if any(not isinstance(value, str | int | float | bool) for value in present):
        return None
    texts = sorted(map(str, present))
    levels = dict.fromkeys(texts, 0)
    if len(levels) > _MOST_LEVELS:
        return None
    for text in texts:
        levels[text] += 1
    return Summary(n=len(texts), n_missing=int(column.isna().sum()), levels=levels)


def summarise_numbers(
    values: np.ndarray,
    codes: tuple[float, ...] = (),
    *,
    n: int | None = None,
    n_missing: int | None = None,
    levels: dict[str, int] | None = None,
) -> Summary:
    """Summarise numbers; `n`, `n_missing` and `levels` are given where the numbers are positions of levels."""
    missing = np.isnan(values)
    coded = np.isin(values, np.array(codes, dtype=np.float64))
    x = values[~missing & ~coded]
    counts = {code: int(np.sum(values == code)) for code in codes}
    gone = int(missing.sum()) if n_missing is None else n_missing
    if not len(x):
        return Summary(n=n or 0, n_missing=gone, codes=counts, levels=levels)
    median = float(np.median(x))
    knots, shares = _cdf(x)
    return Summary(
        n=len(x) if n is None else n,
        n_missing=gone,
        mad=float(np.median(np.abs(x - median))),
        std=float(np.std(x, ddof=1)) if len(x) > 1 and knots[0] != knots[-1] else 0.0,
        median=median,
        knots=knots,
        shares=shares,
        codes=counts,
        levels=levels,
    )


def _cdf(x: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return at most 1,001 values that occur, the outer ones among them, and the share at or below each."""
    distinct, counts = np.unique(x, return_counts=True)
    below = np.cumsum(counts)
    if len(distinct) > MOST_KNOTS:
        # the value at every thousandth of the population; integers, so that no rounding decides
        wanted = -(-np.arange(MOST_KNOTS, dtype=np.int64) * len(x) // (MOST_KNOTS - 1))
        chosen = np.unique(np.searchsorted(below, np.maximum(wanted, 1)))
        distinct, below = distinct[chosen], below[chosen]
    return tuple(distinct.tolist()), tuple((below / len(x)).tolist())


def _to_dict(summary: Summary) -> dict[str, Any]:
    data: dict[str, Any] = {"n": summary.n, "n_missing": summary.n_missing}
    if summary.knots:
        data |= {"mad": summary.mad, "std": summary.std, "median": summary.median}
        data |= {"knots": list(summary.knots), "shares": list(summary.shares)}
    if summary.codes:
        data["codes"] = [[code, count] for code, count in summary.codes.items()]
    if summary.levels is not None:
        data["levels"] = [[level, count] for level, count in summary.levels.items()]
    return data


def _from_dict(data: Mapping[str, Any]) -> Summary:
    knots, shares = tuple(map(float, data.get("knots", ()))), tuple(map(float, data.get("shares", ())))
    if len(knots) != len(shares) or len(knots) > MOST_KNOTS or any(a >= b for a, b in pairwise(knots)):
        raise ValueError("knots must increase, with a share each")
    return Summary(
        n=int(data["n"]),
        n_missing=int(data["n_missing"]),
        mad=float(data.get("mad", 0.0)),
        std=float(data.get("std", 0.0)),
        median=None if data.get("median") is None else float(data["median"]),
        knots=knots,
        shares=shares,
        codes={float(code): int(count) for code, count in data.get("codes", ())},
        levels={str(level): int(count) for level, count in data["levels"]} if "levels" in data else None,
    )
