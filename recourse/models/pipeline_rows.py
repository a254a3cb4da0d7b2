"""Raw rows, rebuilt from a matrix as the frame that a pipeline was fitted on, and what its steps make of them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import Column, Level, spelling

CLOSED = "_refused_unknown_levels"  # an attribute of encoders that did so before they were loosened
STRANGE = "\u2063a level that was never seen"


@dataclass(frozen=True, slots=True, eq=False)
class RawRows:
    """How to write a matrix of raw columns as the rows that a pipeline takes.

    `place` is where each of the columns stands among the pipeline's inputs. `table` holds, for a column of levels, what
    stands for each code, then for an unseen level where those are taken, and last for a missing value; None for a
    column of numbers. `filler` is what the inputs hold that reach no output.
    """

    columns: tuple[Column, ...]
    names: tuple[str, ...]  # of all inputs
    named: bool  # the pipeline was fitted on a data frame
    place: tuple[int, ...]
    table: tuple[np.ndarray | None, ...]
    dtype: tuple[Any | None, ...]  # a pandas dtype to give the column, or None
    filler: tuple[Any, ...]

    def of(self, matrix: np.ndarray) -> Any:
        """Return the rows of a float64[n, n_columns] matrix as a data frame, or as an array if it was fitted on one."""
        import pandas as pd

        cells: dict[int, np.ndarray] = {}
        for j, (place, table) in enumerate(zip(self.place, self.table, strict=True)):
            x = matrix[:, j]
            if table is not None:
                x = table[np.where(np.isnan(x), len(table) - 1, np.nan_to_num(x)).astype(np.int64)]
            cells[place] = x
        for i, value in enumerate(self.filler):
            if i not in cells:
                cells[i] = np.full(len(matrix), value)
        if self.named:
            dtype = dict(zip(self.place, self.dtype, strict=True))
            data = {
                name: cells[i] if dtype.get(i) is None else pd.Series(cells[i], dtype=dtype[i])
                for i, name in enumerate(self.names)
            }
            return pd.DataFrame(data, copy=False)
        numbers = all(part.dtype.kind == "f" for part in cells.values())
        out = np.empty((len(matrix), len(self.names)), dtype=np.float64 if numbers else object)
        for i, part in cells.items():
            out[:, i] = part
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """What the steps give for rows: float64[n, n_outputs], and which cells a sparse matrix leaves out."""

    value: np.ndarray
    absent: np.ndarray | None  # bool[n, n_outputs]


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """From what the last step gives to the matrix of the final estimator.

    XGBoost takes what a sparse matrix leaves out for missing (`hides`); all others take it for 0. LightGBM takes
    exactly `-tiny` for 0 in a dense row, but not in a sparse one.
    """

    columns: tuple[Column, ...]  # the final estimator's inputs
    hides: bool
    tiny: float = 0.0

    def cells(self, given: Any) -> Cells:
        """Return a step's output, sparse or framed as it may be, as numbers and codes."""
        if hasattr(given, "tocsr"):
            parts = given.tocoo()
            value = np.zeros(given.shape)
            value[parts.row, parts.col] = parts.data
            if self.tiny:
                value[value == -self.tiny] = np.nextafter(-self.tiny, -np.inf)
            absent = np.ones(given.shape, dtype=bool)
            absent[parts.row, parts.col] = False
            return Cells(value, absent if self.hides else None)
        if hasattr(given, "iloc"):
            return Cells(np.column_stack([self._series(given.iloc[:, j], j) for j in range(given.shape[1])]), None)
        value = np.asarray(given, dtype=np.float64)
        for j, column in enumerate(self.columns):
            if column.levels is not None:
                value = value.copy() if value is given else value
                value[:, j] = _codes(value[:, j], column.levels)
        return Cells(value, None)

    def matrix(self, given: Any) -> np.ndarray:
        """Return what the final estimator sees."""
        cells = self.cells(given)
        if cells.absent is not None:
            cells.value[cells.absent] = np.nan
        return cells.value

    def _series(self, series: Any, j: int) -> np.ndarray:
        levels = self.columns[j].levels
        if levels is not None:
            return _codes(series.to_numpy(dtype=object), levels)
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))


def plain_outputs(given: Any, positions: Sequence[int]) -> dict[int, np.ndarray]:
    """Return some columns of what a step gives as plain numbers: what is absent is 0, what is no number NaN."""
    if hasattr(given, "tocsr"):
        given = given[:, list(positions)].toarray()
        return {c: np.asarray(given[:, i], dtype=np.float64) for i, c in enumerate(positions)}
    if hasattr(given, "iloc"):
        return {c: _numbers(given.iloc[:, c].to_numpy()) for c in positions}
    return {c: _numbers(np.asarray(given)[:, c]) for c in positions}


def _numbers(values: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError):
        return np.array([v if isinstance(v, int | float | np.number) else np.nan for v in values], dtype=np.float64)


def _codes(values: np.ndarray, levels: Sequence[Level]) -> np.ndarray:
    """Positions of values among the final estimator's levels; one that it does not know counts as missing."""
    if values.dtype != object and not any(isinstance(level, str) for level in levels):
        known = np.array(levels, dtype=np.float64)
        order = np.argsort(known, kind="stable")
        at = np.searchsorted(known[order], values)
        at = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(values), dtype=np.int64)
        found = known[at] == values if len(order) else np.zeros(len(values), dtype=bool)
        return np.where(found, at, np.nan)
    places = {spelling(level): float(i) for i, level in reversed(list(enumerate(levels)))}
    return np.array([places.get(spelling(value), np.nan) for value in values.tolist()])


@contextmanager
def quietly(*, finite: bool = False) -> Iterator[None]:
    """Compute without remarks: on unknown levels, overflow, logarithms of 0; with `finite`, unchecked as well."""
    from sklearn import config_context

    with (
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
        config_context(assume_finite=finite, skip_parameter_validation=True),
    ):
        warnings.simplefilter("ignore")
        yield


def own_copy(step: Any, *, loose: bool = False) -> Any:
    """Return a copy of a fitted step that computes on one thread; a loose one refuses no value.

    The loose copy serves to find borders between values of which the pipeline refuses some.
    """
    out = copy.deepcopy(step)
    for part in _parts(out):
        for name, calm in (("n_jobs", None), ("verbose", False)):
            if hasattr(part, name):
                setattr(part, name, calm)
        if not loose:
            continue
        kind = type(part).__name__
        if hasattr(part, "encoder_dict_"):  # of feature_engine
            _loosen(part, unseen=("raise", "ignore"), missing_values=("raise", "ignore"))
        if kind == "CountEncoder":
            _loosen(part, handle_unknown=("error", "value"), handle_missing=("error", "value"))
            for name in ("_handle_unknown", "_handle_missing"):  # the same of each column
                ways = getattr(part, name, {})
                setattr(part, name, {column: "value" if way == "error" else way for column, way in ways.items()})
        if kind == "PowerTransformer" and part.method == "box-cox":
            unchecked(part)
        if kind in ("OneHotEncoder", "OrdinalEncoder") and part.handle_unknown == "error":
            setattr(part, CLOSED, True)
            part.handle_unknown = "ignore" if kind == "OneHotEncoder" else "use_encoded_value"
            part.unknown_value = -1
    return out


def _loosen(part: Any, **ways: tuple[str, str]) -> None:
    """Replace what refuses levels by what takes them, and remember that unknown ones were refused."""
    for name, (strict, loose) in ways.items():
        if getattr(part, name, None) == strict:
            setattr(part, name, loose)
            if name in ("unseen", "handle_unknown"):
                setattr(part, CLOSED, True)


def unchecked(part: Any) -> None:
    """Let a Box-Cox transform take numbers that are not positive; they become NaN."""
    part.__dict__.pop("_check_input", None)
    original = part._check_input

    def check(X: Any, in_fit: bool = False, check_positive: bool = False, check_shape: bool = False) -> Any:
        return original(X, in_fit=in_fit, check_positive=False, check_shape=check_shape)

    part._check_input = check


def _parts(step: Any) -> Iterator[Any]:
    """The step and all fitted steps inside it."""
    yield step
    inside: list[Any] = []
    if hasattr(step, "transformers_"):
        inside = [part for _, part, _ in step.transformers_]
    elif hasattr(step, "transformer_list"):
        inside = [part for _, part in step.transformer_list]
    elif hasattr(step, "steps"):
        inside = [part for _, part in step.steps]
    for part in inside:
        if part is not None and not isinstance(part, str):
            yield from _parts(part)
