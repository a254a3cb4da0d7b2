"""Raw rows through a pipeline's steps: for scores as the pipeline gives them, and to find where its outputs change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import DataError, SelfCheckFailed
from .base import Model, RefusedCell, Wanted
from .pipeline_pull import Lines, Want, pull_back, ranks, settle
from .pipeline_rows import Outputs, RawRows, plain_outputs, quietly
from .pipeline_steps import Plan, Stage, Wire
from .pipeline_trees import Table
from .selfcheck import REFUSED
from .sklearn_reading import quiet_copy
from .trees import Trees

Scorer = Callable[[np.ndarray], np.ndarray]
Native = Callable[[Any], np.ndarray]  # from what the last step gives


@dataclass(frozen=True, slots=True, eq=False)
class Through:
    """The steps of a pipeline, from raw columns to the matrix that the final estimator takes."""

    rows: RawRows
    steps: Sequence[Any]  # our own copies
    stage: Stage  # the same from copies that refuse nothing
    outputs: Outputs
    wires: tuple[Wire, ...]

    def given(self, matrix: np.ndarray) -> Any:
        """Return what the last step gives for raw rows, with all the steps' own checks."""
        given = self.rows.of(matrix)
        with quietly():
            for step in self.steps:
                given = step.transform(given)
        return given

    def strict(self, matrix: np.ndarray) -> np.ndarray:
        """Return what the final estimator sees of raw rows."""
        return self.outputs.matrix(self.given(matrix))

    def loose(self, matrix: np.ndarray) -> np.ndarray:
        """Return what the final estimator would see if no step refused a value."""
        with quietly(finite=True):
            return self.outputs.matrix(self.stage(self.rows.of(matrix)))

    def probe(self, stage: Stage, single: bool = False) -> Callable[..., Mapping[int, np.ndarray]]:
        """Return a function from numbers for some raw columns to some columns of what a stage gives."""

        def evaluate(rows: Mapping[int, np.ndarray], positions: Sequence[int]) -> Mapping[int, np.ndarray]:
            matrix = np.zeros((len(next(iter(rows.values()))), len(self.rows.columns)))
            for raw, x in rows.items():
                matrix[:, self.rows.place.index(raw)] = x
            with quietly(finite=True):
                given = plain_outputs(stage(self.rows.of(matrix)), list(positions))
                if not single:
                    return given
                return {c: y.astype(np.float32).astype(np.float64) for c, y in given.items()}

        return evaluate


def lines_of(plan: Plan, through: Through, inner: Model) -> Lines:
    """Cut every raw column of numbers into pieces on which no test of the final estimator changes its outcome."""
    rows = through.rows
    lines = Lines({raw: np.empty(0) for raw, table in zip(rows.place, rows.table, strict=True) if table is None})
    pending: list[Want] = []
    stage: Stage | None = None
    for cut in plan.cuts:
        if cut.raw not in lines.borders:
            continue
        if stage is not None and cut.stage is not stage:
            pull_back(through.probe(stage), pending, lines)
            pending = []
        stage = cut.stage
        pending.append(Want(cut.raw, cut.position, cut.values))
    if stage is not None:
        pull_back(through.probe(stage), pending, lines)
    core = inner.core
    single = isinstance(core, Trees) and core.cast_single
    for evaluate, wants in (
        (through.probe(through.stage), _exact_wants(through, lines)),
        (through.probe(through.stage, single), _final_wants(through, core, lines)),
    ):
        pull_back(evaluate, wants, lines)
        settle(evaluate, [want for want in wants if plan.columns[want.raw].inexact], lines)
        _check_pieces(evaluate, wants, lines, through)
    return lines


def _exact_wants(through: Through, lines: Lines) -> list[Want]:
    """The numbers that the final estimator tells from their neighbours before it casts: codes, and a hidden 0."""
    out = []
    for c, (wire, column) in enumerate(zip(through.wires, through.outputs.columns, strict=True)):
        known = [float(level) for level in column.levels or () if not isinstance(level, str)]
        if through.outputs.hides:
            known.append(0.0)
        if through.outputs.tiny:
            known.append(-through.outputs.tiny)
        values = np.array(known)
        if wire.raw in lines.borders and len(values):
            out.append(Want(wire.raw, c, np.unique(np.concatenate([values, np.nextafter(values, np.inf)]))))
    return out


def _final_wants(through: Through, core: Any, lines: Lines) -> list[Want]:
    """The numbers with which the final estimator compares each output."""
    out = []
    for c, wire in enumerate(through.wires):
        if wire.raw not in lines.borders:
            continue
        values = []
        if isinstance(core, Trees):
            values.append(core.threshold[(core.feature == c) & (core.members < 0)])
        else:
            values += [term.edges for term in core.terms if term.column == c and term.edges is not None]
            axes = [axis for pair in core.pairs for axis in (pair.first, pair.second)]
            values += [axis.edges for axis in axes if axis.column == c and axis.edges is not None]
        places = np.unique(np.concatenate([np.empty(0), *values]))
        # an infinite threshold, by which trees tell missing values from all numbers, is reached by none
        out.append(Want(wire.raw, c, places[np.isfinite(places)]))
    return out


def _check_pieces(evaluate: Any, wants: Sequence[Want], lines: Lines, through: Through) -> None:
    """Refuse to go on unless every output compares alike at both ends of each piece."""
    if not wants:
        return
    n = max(len(lines.borders[want.raw]) for want in wants) + 1
    rows = {}
    for raw in {want.raw for want in wants}:
        first, last = lines.first(raw), lines.last(raw)
        rows[raw] = np.concatenate([first, np.zeros(n - len(first)), last, np.zeros(n - len(last))])
    given = evaluate(rows, [want.output for want in wants])
    for want in wants:
        k = len(lines.borders[want.raw]) + 1
        rank = ranks(given[want.output], want.values)
        bad = np.flatnonzero(rank[:k] != rank[n : n + k])
        if len(bad):
            name = through.rows.names[want.raw]
            low, high = float(lines.first(want.raw)[bad[0]]), float(lines.last(want.raw)[bad[0]])
            raise SelfCheckFailed(
                f"sklearn.Pipeline: what its steps make of {name!r} turns between {low!r} and {high!r}. {REFUSED}"
            )


def tables_of(lines: Lines, through: Through) -> dict[int, Table]:
    """Return what every output is for each piece or code of its raw column, and for a missing value."""
    rows = through.rows
    known: list[np.ndarray] = []
    for raw, column in zip(rows.place, rows.columns, strict=True):
        known.append(lines.first(raw) if raw in lines.borders else np.arange(float(column.n_codes)))
    n = max((len(part) for part in known), default=0)
    first = np.zeros((n + 1, len(known)))
    last = np.zeros((n, len(known)))
    for j, (raw, part) in enumerate(zip(rows.place, known, strict=True)):
        first[: len(part), j] = part
        first[len(part), j] = np.nan
        if raw in lines.borders:
            last[: len(part), j] = lines.last(raw)
    at_first, at_last = through.loose(first), through.loose(last)
    out = {}
    for c, wire in enumerate(through.wires):
        j = rows.place.index(wire.raw)
        k = len(known[j])
        borders = lines.borders.get(wire.raw)
        out[c] = Table(j, borders, at_first[: k + 1, c], None if borders is None else at_last[:k, c])
    return out


def final_score(final: Any, wanted: Wanted) -> Callable[[Any], np.ndarray] | None:
    """Return the final estimator's own method on what the last step gives; None where it has none of that kind."""
    method = {"probability": "predict_proba", "decision_function": "decision_function"}[wanted.score]
    if not hasattr(final, method):
        return None
    own = quiet_copy(final)
    if hasattr(final, "feature_names_in_") and "feature_names_in_" in final.__dict__:
        own.__dict__["feature_names_in_"] = final.feature_names_in_
    classes = getattr(final, "classes_", None)
    second = True if classes is None else wanted.positive(type(final).__name__, list(classes))

    def score(given: Any) -> np.ndarray:
        with quietly():
            out = np.asarray(getattr(own, method)(given), dtype=np.float64)
        if method == "predict_proba":
            return out[:, int(second)]
        return out if second else -out

    return score


def native_scores(final: Any, inner: Model, through: Through, wanted: Wanted) -> tuple[Native, Native]:
    """Return raw scores and scores of what the last step gives.

    scikit-learn's estimators are given a sparse matrix as it is: trees then take no missing values, and a linear model
    adds in another order than for a dense row.
    """
    decide = final_score(final, replace(wanted, score="decision_function"))
    own = final_score(final, wanted)
    home = type(final).__module__.partition(".")[0]

    def raw(given: Any) -> np.ndarray:
        if hasattr(given, "tocsr") and hasattr(final, "coef_") and decide is not None:
            return decide(given)
        return inner.raw(through.outputs.matrix(given))

    def score(given: Any) -> np.ndarray:
        if hasattr(given, "tocsr") and home == "sklearn" and own is not None:
            return own(given)
        return inner.score(through.outputs.matrix(given))

    return raw, score


def named_refusals(through: Through, function: Native) -> Scorer:
    """Return a score of raw rows; what the pipeline refuses is named by its raw column and row."""

    def call(matrix: np.ndarray) -> np.ndarray:
        matrix = np.ascontiguousarray(matrix, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != len(through.rows.columns):
            raise DataError(f"expected a matrix with {len(through.rows.columns)} columns, got shape {matrix.shape}")
        if not len(matrix):
            return np.empty(0)
        try:
            return function(through.given(matrix))
        except ValueError as error:
            raise _refusal(through, function, matrix, error) from error

    return call


def _refusal(through: Through, function: Native, matrix: np.ndarray, error: ValueError) -> DataError:
    def refuses(rows: np.ndarray) -> bool:
        try:
            function(through.given(rows))
        except ValueError:
            return True
        return False

    low, high = 0, len(matrix)  # rows before `low` pass, and some row before `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        if refuses(matrix[low:middle]):
            high = middle
        else:
            low = middle
    row = matrix[low]
    what = error.why if isinstance(error, RefusedCell) else str(error).splitlines()[0]
    for good in _good_rows(through, matrix):
        if refuses(good[None]):
            continue
        for j, column in enumerate(through.rows.columns):
            trial = good.copy()
            trial[j] = row[j]
            if refuses(trial[None]):
                return RefusedCell(column.name, low, _why(through, j, float(row[j]), what))
    return DataError(f"row {low} (counted from 0): the pipeline refuses it: {what}")


def _good_rows(through: Through, matrix: np.ndarray) -> list[np.ndarray]:
    """Rows of which one is likely to pass: the first levels with ordinary numbers, then the rows given."""
    out = []
    for number in (0.0, 1.0):
        out.append(np.array([number if t is None else 0.0 for t in through.rows.table]))
    return [*out, *matrix[:8]]


def _why(through: Through, j: int, x: float, what: str) -> str:
    levels = through.rows.columns[j].levels
    if np.isnan(x):
        return "the value is missing, and the pipeline takes no missing values there. Fill it in, or leave the row out"
    value = x if levels is None or int(x) >= len(levels) else levels[int(x)]
    return f"the pipeline refuses the value {value!r} ({what}). Correct it"
