"""A scikit-learn pipeline around a classifier that can be read, as a model of the raw columns that it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedModel
from .additive import Additive
from .base import Column, Level, Model, Wanted, fingerprint
from .lightgbm import ZERO
from .pipeline_additive import add_up
from .pipeline_check import check_sums, check_trees, takes_missing
from .pipeline_rows import STRANGE, Outputs, RawRows, own_copy, plain_outputs, quietly
from .pipeline_steps import Encoder, Plan, RawColumn, Stage, Wire, after, walk
from .pipeline_through import Through, final_score, lines_of, named_refusals, native_scores, tables_of
from .pipeline_trees import rewrite
from .trees import Trees

Reader = Callable[[Any, Wanted], Model]


def read(pipeline: Any, wanted: Wanted, *, reader: Reader | None = None) -> Model:
    """Read a fitted pipeline as a model of its raw columns.

    The final estimator is read by its own reader; its tests on what the steps compute become tests on raw columns.
    Where a threshold lies on a raw column is found by bisection over all doubles through the steps' own transform, so
    that float32 casts and the steps' own rounding are part of it. Scores are the pipeline's own, of rows rebuilt as the
    frame that it was fitted on (numbers as float64).

    Parameters
    ----------
    pipeline : sklearn.pipeline.Pipeline
        Fitted; it is not changed.
    wanted : Wanted
        The favourable class and the kind of score; the raw columns' names for a pipeline that was fitted on an array.
    reader : callable, optional
        Reads the final estimator; by default the reader of its library.

    Returns
    -------
    Model
        Its columns are the raw columns that reach the final estimator. A column that only encoders take has levels: all
        that the encoders have seen. A column that is also computed with is a number.

    Raises
    ------
    UnsupportedModel
        If a step mixes columns or is not known (the message names it), or the final estimator cannot be read.
    SelfCheckFailed
        If what was read is not what the pipeline computes.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.compose import make_column_transformer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import OneHotEncoder, StandardScaler
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> frame = pd.DataFrame({"income": [10, 20, 30, 40], "housing": ["rent", "own", "rent", "own"]})
    >>> steps = make_column_transformer((StandardScaler(), ["income"]), (OneHotEncoder(), ["housing"]))
    >>> fitted = make_pipeline(steps, DecisionTreeClassifier(random_state=0)).fit(frame, [0, 0, 1, 1])
    >>> model = read(fitted, Wanted())
    >>> model.columns
    (Column(name='income', levels=None), Column(name='housing', levels=('own', 'rent')))
    >>> round(model.core.threshold[0], 6), model.score(np.array([[24.9, 0.0], [25.1, 1.0]])).tolist()
    (np.float64(25.0), [0.0, 1.0])
    """
    if reader is None:
        from .reading import read_estimator

        reader = read_estimator
    steps, final = _unrolled(pipeline)
    names, named = _inputs(pipeline, steps, wanted)
    loose = [own_copy(step, loose=True) for _, step in steps]
    plan = Plan([RawColumn() for _ in names])
    wires = [Wire(i, plain=True, affine=True, maps=()) for i in range(len(names))]
    stage: Stage = _same
    for (name, _), step in zip(steps, loose, strict=True):
        wires = walk(step, wires, stage, repr(name), plan)
        stage = after(step, stage)
    outputs = _output_names(final, names, wires)
    levels = _codes_of(names, named, plan, wires, outputs, stage, wanted)
    inner = reader(final, replace(wanted, columns=outputs, levels=levels))
    if not isinstance(inner.core, Trees | Additive):
        raise UnsupportedModel(f"sklearn.Pipeline: {inner.name} inside it has a core that has no raw columns")
    if len(inner.columns) != len(wires):
        raise UnsupportedModel(
            f"sklearn.Pipeline: its steps give {len(wires)} columns, but {inner.name} takes {len(inner.columns)}"
        )
    for wire, column in zip(wires, inner.columns, strict=True):
        _note_final(plan, wire, column)
    rows = _raw_rows(names, named, plan, wires)
    library = type(final).__module__.partition(".")[0]
    seen = Outputs(inner.columns, hides=library == "xgboost", tiny=ZERO if library == "lightgbm" else 0.0)
    through = Through(rows, [own_copy(step) for _, step in steps], stage, seen, tuple(wires))
    return _model(final, inner, plan, through, wanted)


def _model(final: Any, inner: Model, plan: Plan, through: Through, wanted: Wanted) -> Model:
    name = f"sklearn.Pipeline({inner.name})"
    raw, score = (named_refusals(through, function) for function in native_scores(final, inner, through, wanted))
    lines = lines_of(plan, through, inner)
    tables = tables_of(lines, through)
    own = final_score(final, wanted)
    core: Trees | Additive
    if isinstance(inner.core, Trees):
        core, origin = rewrite(inner.core, tables, through.rows.columns)
        checked = check_trees(name, core, origin, inner, through, score, own)
    else:
        assert isinstance(inner.core, Additive)
        core = add_up(inner.core, tables, through, takes_missing(through, score))
        checked = check_sums(name, core, through, inner, raw, score, own)
    sha256 = fingerprint(core)
    return replace(inner, name=name, core=core, raw=raw, score=score, sha256=sha256, self_check=checked, cuts={})


def _unrolled(pipeline: Any) -> tuple[list[tuple[str, Any]], Any]:
    """The fitted steps before the final estimator, and that; a pipeline at the end of a pipeline is unrolled."""
    steps: list[tuple[str, Any]] = []
    final = pipeline
    while type(final).__name__ == "Pipeline":
        parts = [(n, s) for n, s in final.steps if not (s is None or isinstance(s, str) or hasattr(s, "fit_resample"))]
        if not parts or not hasattr(parts[-1][1], "predict"):
            raise ModelError("the sklearn.Pipeline ends without a classifier; give the whole pipeline, fitted")
        steps += parts[:-1]
        final = parts[-1][1]
    return steps, final


def _inputs(pipeline: Any, steps: Sequence[tuple[str, Any]], wanted: Wanted) -> tuple[tuple[str, ...], bool]:
    """The names of the raw columns, and whether the pipeline was fitted on a data frame."""
    for step in [*(s for _, s in steps), pipeline.steps[-1][1]]:
        if hasattr(step, "n_features_in_"):
            stored = getattr(step, "feature_names_in_", None)
            n = int(step.n_features_in_)
            return wanted.named("sklearn.Pipeline", None if stored is None else list(stored), n), stored is not None
    raise ModelError("sklearn.Pipeline is not fitted. Call fit before handing it over.")


def _output_names(final: Any, names: Sequence[str], wires: Sequence[Wire]) -> tuple[str, ...]:
    """Names of the outputs, for the final estimator's reader: those that it stores, if any."""
    stored = getattr(final, "feature_names_in_", None)
    if stored is not None and len(stored) == len(wires):
        return tuple(str(name) for name in stored)
    seen: dict[str, int] = {}
    out = []
    for wire in wires:
        name = names[wire.raw]
        seen[name] = seen.get(name, 0) + 1
        out.append(name if wire.plain and seen[name] == 1 else f"{name} (output {seen[name]})")
    return tuple(out)


def _codes_of(
    names: tuple[str, ...],
    named: bool,
    plan: Plan,
    wires: Sequence[Wire],
    outputs: tuple[str, ...],
    stage: Stage,
    wanted: Wanted,
) -> dict[str, Sequence[Level]]:
    """The numbers that encoders give each level, in case the final estimator takes them for codes of categories."""
    out: dict[str, Sequence[Level]] = {}
    for wire, name in zip(wires, outputs, strict=True):
        if wire.plain and names[wire.raw] in wanted.levels:
            out[name] = wanted.levels[names[wire.raw]]
    encoded = [c for c, wire in enumerate(wires) if plan.columns[wire.raw].encoders and not wire.plain]
    if not encoded:
        return out
    rows = _raw_rows(names, named, plan, wires)
    n = max((column.n_codes for column in rows.columns), default=0) + 1
    matrix = np.full((n, len(rows.columns)), np.nan)
    for j, column in enumerate(rows.columns):
        matrix[: column.n_codes, j] = np.arange(column.n_codes)
    with quietly(finite=True):
        values = plain_outputs(stage(rows.of(matrix)), encoded)
    for c in encoded:
        found = np.unique(values[c])
        found = found[(found >= 0) & (found == np.floor(found))]
        out[outputs[c]] = [int(x) for x in found]
    return out


def _note_final(plan: Plan, wire: Wire, column: Column) -> None:
    """Note what the final estimator takes a raw column for that reaches it as it is."""
    if not wire.plain:
        return
    raw = plan.columns[wire.raw]
    if column.levels is None:
        raw.number = True
        return
    words = any(isinstance(level, str) for level in column.levels)
    raw.encoders.append(Encoder(np.array(column.levels, dtype=object if words else None), closed=True))
    raw.native |= words


def _raw_rows(names: tuple[str, ...], named: bool, plan: Plan, wires: Sequence[Wire]) -> RawRows:
    used = sorted({wire.raw for wire in wires})
    columns, tables, filler = [], [], []
    for i, (name, raw) in enumerate(zip(names, plan.columns, strict=True)):
        column, table = _levels(name, raw)
        if i in used:
            columns.append(column)
            tables.append(table)
        filler.append(1.0 if table is None else table[0])
    return RawRows(
        tuple(columns), names, named, tuple(used), tuple(tables), tuple(_dtype(plan.columns[i]) for i in used),
        tuple(filler),
    )  # fmt: skip


def _levels(name: str, raw: RawColumn) -> tuple[Column, np.ndarray | None]:
    """The column as the rest of recourse sees it, and what stands for each of its codes."""
    if not raw.encoders or (raw.number and not raw.text):
        return Column(name), None
    cells: dict[Any, Any] = {}
    for value in [*(v for part in raw.encoders for v in part.categories.tolist()), *raw.special]:
        if value is not None and value == value and value is not _pandas_missing():
            cells.setdefault((isinstance(value, str), value), value)
    listed = [set(part.categories.tolist()) for part in raw.encoders if part.closed]
    known = [v for v in cells.values() if v in raw.special or all(v in part for part in listed)]
    column = Column(name, tuple(_plain(name, value) for value in known), unseen=not listed)
    words = raw.text or any(isinstance(v, str) for v in known)
    strange: Any = STRANGE if words else 2.0 * max((abs(float(v)) for v in known), default=0.0) + 1.5
    marker = raw.marker if words else np.nan
    return column, _table([*known, *([strange] if column.unseen else []), marker], words=words)


def _table(values: list[Any], *, words: bool) -> np.ndarray:
    out = np.empty(len(values), dtype=object if words else np.float64)
    out[:] = values
    return out


def _plain(name: str, value: Any) -> Level:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str | int | float | bool):
        return value
    raise UnsupportedModel(
        f"sklearn.Pipeline encodes the column {name!r}, whose level {value!r} is a {type(value).__name__}; "
        "expected text, numbers or booleans. Turn the column into text before fitting"
    )


def _pandas_missing() -> Any:
    import pandas as pd

    return pd.NA


def _dtype(raw: RawColumn) -> Any | None:
    """The dtype of a column that the final estimator itself takes for a pandas category."""
    import pandas as pd

    return pd.CategoricalDtype(raw.encoders[-1].categories.tolist()) if raw.native else None


def _same(frame: Any) -> Any:
    """The first step takes the raw frame."""
    return frame
