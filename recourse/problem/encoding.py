"""Rows of applicants, read and checked, as the arrays of a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError, PolicyError, did_you_mean
from ..models import encode_frame
from ..population import read_numbers, read_positions
from ..search.moves import BOX, POINT, Rows
from .grouping import Group, groups_of
from .layout import WAIT, Slot, cells_of, level_numbers
from .limits import LARGEST, Limits, TooFine, limits, narrowed
from .wiring import refuse_mismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..policy import Feature
    from . import Problem

_REACHED = 100_000  # most values of a grid that one applicant can reach, where each counts
_ENDLESS = 2**40


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One chunk of applicants: the models' matrices, the search's rows, and what the policy says of them as is."""

    matrices: tuple[np.ndarray, ...]  # float64[rows, n_columns] for each model's `score`
    rows: Rows
    thresholds: np.ndarray  # float64[rows], the policy's
    knocked: list[tuple[str, ...]]  # the knock-outs that fire on each row as it is

    @property
    def matrix(self) -> np.ndarray:
        """The champion's matrix."""
        return self.matrices[0]


def encode(problem: Problem, frame: pd.DataFrame) -> Encoded:
    """Return a frame's rows as arrays; see `Problem.encode`."""
    n_rows, n = len(frame), len(problem.names)
    columns = _Columns(frame, groups_of(problem.policy))
    seen = _completed(problem, columns)
    matrices = _matrices(problem, columns)
    value, cell = np.zeros((n_rows, n)), np.empty((n_rows, n), np.int64)
    movable = np.zeros((n_rows, n), np.uint8)
    whole = [np.full((n_rows, n), v, np.int64) for v in (0, 0, 1, 0, -1, 0, -1)]
    real = [np.full((n_rows, n), v) for v in (-LARGEST, LARGEST, -LARGEST, LARGEST)]
    for j, slot in enumerate(problem.slots):
        x = value[:, j] = value[:, slot.copies] if slot.copies >= 0 else _values(columns, slot, matrices)
        cell[:, j] = _cells(problem, j, slot, x, matrices)
        if not slot.chosen:
            continue
        movable[:, j], start = _starts(problem, j, slot, x)
        where = np.flatnonzero(movable[:, j])
        if slot.listed or not len(where):
            continue
        found = _limits(problem, j, slot, x[where], start[where], columns.frame.index, where)
        for to, part in zip((*whole, *real), found, strict=True):
            to[where, j] = part
    origin, stride, scale, first, last, outer_first, outer_last = whole
    low, high, outer_low, outer_high = real
    return Encoded(
        matrices,
        Rows(
            value, cell, movable, first, last, origin, stride, scale, low, high,
            outer_first, outer_last, outer_low, outer_high,
        ),
        _thresholds(problem, columns.frame, seen),
        [()] * n_rows if problem.present is None or seen is None else problem.present.knocked(seen),
    )  # fmt: skip


def column_of(frame: pd.DataFrame, name: str, reader: str) -> pd.Series:
    """Return a column that the policy needs, or say who needs it."""
    if name not in frame.columns:
        hint = did_you_mean(name, map(str, frame.columns))
        raise DataError(f"the data has no column {name!r}, which {reader} needs.{hint}")
    return frame[name]


def rows_text(frame: pd.DataFrame, where: np.ndarray) -> str:
    """Name rows by the frame's index."""
    labels = [str(label) for label in frame.index[where[:5]]]
    return ("row " if len(where) == 1 else "rows ") + ", ".join(labels) + (", ..." if len(where) > 5 else "")


def seen_values(levels: Sequence[Any] | None, x: np.ndarray) -> np.ndarray:
    """Return what expressions see of values of the search."""
    if levels is None:
        return x
    numbers = level_numbers(levels)
    known = ~np.isnan(x)
    out = np.full(len(x), np.nan)
    out[known] = numbers[x[known].astype(np.int64)]
    return out


class _Columns:
    """A chunk's columns as values of the search, each read once."""

    def __init__(self, frame: pd.DataFrame, groups: dict[str, Group]) -> None:
        self.frame, self._groups = frame, groups
        self._known: dict[str, np.ndarray] = {}

    def read(self, name: str, feature: Feature) -> np.ndarray:
        """Return a feature's values: numbers, or positions of levels; NaN for missing ones."""
        if name not in self._known:
            self._known[name] = self._read(name, feature)
        return self._known[name]

    def write(self, computed: dict[str, np.ndarray]) -> None:
        """Put computed columns in place of those that are recorded, if any."""
        self.frame = self.frame.assign(**computed)
        for name in computed:
            self._known.pop(name, None)

    def _read(self, name: str, feature: Feature) -> np.ndarray:
        if name in self._groups:
            return self._groups[name].read(self.frame)
        column = column_of(self.frame, name, "the policy's expressions")
        return _positions(column, name, feature) if feature.listed else read_numbers(column, name)


def _positions(column: pd.Series, name: str, feature: Feature) -> np.ndarray:
    """Return what `read_positions` does; texts and numbers are told apart without making objects of them."""
    if isinstance(column.dtype, pd.StringDtype) or (isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufO"):
        which, found = pd.factorize(column, use_na_sentinel=True)
        places = [feature.position(value) for value in found]
        if None not in places:
            return np.array([*places, np.nan], dtype=np.float64)[which]  # the last answers for -1, a missing value
    return read_positions(column, name, feature)


def _completed(problem: Problem, columns: _Columns) -> np.ndarray | None:
    """Compute and check derived columns; return what expressions see of the present rows: float64[rows, k]."""
    found = problem.present
    if found is None:
        return None
    features, n_rows = problem.policy.features, len(columns.frame)
    given: dict[str, np.ndarray] = {}
    computed = [
        name
        for name in found.formula
        if name not in columns.frame.columns or features[name].derived_mismatch == "recompute"
    ]
    for name in found.names:
        if name == WAIT:
            given[name] = np.zeros(n_rows)
        elif name not in computed:
            given[name] = seen_values(features[name].levels, columns.read(name, features[name]))
    x = found.values(given, computed, n_rows)
    for name in (name for name in found.formula if name not in computed):
        wrong = found.mismatch(name, x)
        if len(wrong):
            recorded = float(x[wrong[0], found.names.index(name)])
            gives = float(found.run([found.formula[name]], x[wrong[:1]])[0, 0])
            refuse_mismatch(name, list(columns.frame.index[wrong]), recorded, features[name].value or "", gives)
    if computed:
        columns.write({name: x[:, found.names.index(name)] for name in computed})
    return x


def _matrices(problem: Problem, columns: _Columns) -> tuple[np.ndarray, ...]:
    """Return each model's matrix; levels are read once for all models."""
    frame, models = columns.frame, problem.models
    listed = [
        (slot, source) for slot in problem.slots if slot.feature.listed and not slot.group for source in slot.sources
    ]
    apart = {(source.model, source.column) for _, source in listed}
    rest = {
        (k, c): column
        for k, model in enumerate(models)
        for c, column in enumerate(model.columns)
        if (k, c) not in apart
    }
    kinds = list(dict.fromkeys(rest.values()))
    at = {column: i for i, column in enumerate(kinds)}
    numbers = encode_frame(frame, kinds)
    out = tuple(np.empty((len(frame), len(model.columns))) for model in models)
    for (k, c), column in rest.items():
        out[k][:, c] = numbers[:, at[column]]
    try:
        for slot, source in listed:
            positions = columns.read(slot.name, slot.feature)
            found = out[source.model][:, source.column] = source.numbers(positions)
            if np.any(np.isnan(found) & ~np.isnan(positions)):  # a level that this model has never seen
                encode_frame(frame, [models[source.model].columns[source.column]])
    except DataError:
        for model in models:  # a model says it with its own levels
            encode_frame(frame, model.columns)
        raise
    return out


def _values(columns: _Columns, slot: Slot, matrices: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return one feature's values of the search."""
    if slot.name == WAIT:
        return np.zeros(len(columns.frame))
    if slot.levels is not None and slot.group is None and not slot.feature.listed:  # the model's own levels
        source = slot.sources[0]
        assert source.table is not None
        place = {code: float(position) for position, code in enumerate(source.table.tolist())}
        return np.array([place.get(code, np.nan) for code in matrices[source.model][:, source.column].tolist()])
    return columns.read(slot.name, slot.feature)


def _cells(problem: Problem, j: int, slot: Slot, x: np.ndarray, matrices: tuple[np.ndarray, ...]) -> np.ndarray:
    space = problem.space
    if space.categorical[j] or (slot.listed and not slot.sources):
        return cells_of(np.empty(0), True, x)
    source = slot.sources[0] if slot.sources else None
    thresholds = space.threshold[space.threshold_start[j] : space.threshold_start[j + 1]]
    return cells_of(thresholds, False, x if source is None else matrices[source.model][:, source.column])


def _starts(problem: Problem, j: int, slot: Slot, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows have a choice, and the numbers that grids and limits are counted from (NaN: none)."""
    space = problem.space
    places = slice(int(space.level_start[j]), int(space.level_start[j + 1]))
    leads = np.diff(space.list_start)[places] > 1
    missing = np.isnan(x)
    if slot.listed:
        free = np.zeros(len(x), np.bool_)
        free[~missing] = leads[x[~missing].astype(np.int64)]
    else:
        free = ~missing
    start = x
    if not slot.listed and len(slot.feature.code_values):
        start = x.copy()
        for k, code in enumerate(slot.feature.code_values):
            here = x == code
            free[here], start[here] = leads[k], np.nan
    if slot.feature.provide is not None and len(leads):
        free[missing] = leads[-1]
    return free, start


def _limits(
    problem: Problem, j: int, slot: Slot, x: np.ndarray, start: np.ndarray, index: pd.Index, where: np.ndarray
) -> Limits:
    """Return what is permitted from starts, and how far a plan's region can reach past that."""
    space = problem.space
    beyond = {POINT: 0, BOX: space.box_steps}.get(space.shape)
    try:
        found = limits(slot.feature, start)
    except TooFine as error:
        raise DataError(
            f"column {slot.name!r}, row {index[int(where[error.at])]}: {float(x[error.at])!r} has too many digits to "
            f'count steps of {slot.feature.step} from it exactly. Round it, or set step_from = "zero" for the feature.'
        ) from None
    found = narrowed(slot.feature, start, found, beyond, coded=~np.isnan(x))
    most = int((found.outer_last - found.outer_first).max(initial=-1)) + 1
    if space.every[j] and most > _REACHED:
        some = f"{most:,}" if most < _ENDLESS else "no end of"
        raise PolicyError(
            f"features.{slot.name}: expressions (or an additive model) tell all of its values apart, and an applicant "
            f"can reach {some} values; at most {_REACHED:,} can be searched. "
            "Give the feature min and max, a max_change or a coarser step."
        )
    return found


def _thresholds(problem: Problem, frame: pd.DataFrame, seen: np.ndarray | None) -> np.ndarray:
    decision, column = problem.policy.decision, problem.policy.threshold_column
    if not isinstance(decision.threshold, str):
        return np.full(len(frame), float(decision.threshold))
    if column is not None:
        out = read_numbers(column_of(frame, column, "decision.threshold"), column)
    else:
        assert problem.present is not None
        assert seen is not None
        out = problem.present.run([problem.present.threshold], seen)[:, 0]
    what = f"column {column!r}" if column is not None else f"decision.threshold = {decision.threshold!r}"
    wrong = np.flatnonzero(np.isnan(out))
    if len(wrong):
        raise DataError(f"{what}, {rows_text(frame, wrong)}: there is no threshold, because a value is missing.")
    if decision.score == "probability":
        wrong = np.flatnonzero((out <= 0) | (out >= 1))
        if len(wrong):
            raise DataError(
                f"{what}, {rows_text(frame, wrong)}: {float(out[wrong[0]])!r} is no threshold of a probability, which "
                "lies strictly between 0 and 1."
            )
    return out
