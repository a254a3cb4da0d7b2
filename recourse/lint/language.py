"""What looks wrong with rules, derived values, effects, clocks, groups and thresholds, alone and beside data."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._columns import number_text
from ..errors import InputError, did_you_mean
from ..policy.values import spelling
from ..population import read_numbers
from ..state import after, broken_rules, knockouts, present
from .finding import Finding, error, listed, rows_like, warning

if TYPE_CHECKING:
    from ..expression import Expression
    from ..policy import Policy
    from ..values import Value

_MOST_ROWS = 5_000  # on which expressions are tried, evenly spread
_CLOSE = 1e-9  # relative difference that rounding explains
_YEAR = 12
_CHOICE = ("change", "max_change", "moves", "move_cost", "provide")


# ----------------------------------------------------------------------------------------------------- the policy alone


def language_alone(policy: Policy) -> Iterator[Finding]:
    """Yield what can be read off the policy without data."""
    yield from _clocks(policy)
    yield from _idle_expressions(policy)
    protected = {name for name, feature in policy.features.items() if feature.role == "protected"}
    for place, expression in policy.expressions.parts():
        read = sorted((expression.names | expression.start_names) & protected)
        if read:
            yield warning(read[0], f"protected, but {place} reads it: advice depends on it.")
    for name, feature in policy.features.items():
        idle = [key for key in _CHOICE if key in feature.model_fields_set]
        if feature.manipulable and idle:
            yield warning(name, f"manipulable and hence never advised, so {idle[0]} says nothing. Delete one of them.")


def _clocks(policy: Policy) -> Iterator[Finding]:
    ticking = [name for name, feature in policy.features.items() if feature.tick is not None]
    reading = [place for place, expression in policy.expressions.parts() if "wait" in expression.names]
    if policy.time is None:
        if not policy.after_months:
            for name in ticking:
                yield warning(name, "ticks, but no time passes. Add [time], or [reapply] with after_months.")
        for place in reading:
            yield warning(None, f"{place} reads wait, which is always 0 without [time].")
    elif not ticking and not reading:
        yield warning(None, "waiting changes nothing: no feature ticks and no expression reads wait. Delete [time].")
    if policy.reapply is not None and not policy.reapply.effects and not policy.after_months:
        yield warning(None, "[reapply] says nothing: give after_months or effects, or delete it.")
    for name in ticking:
        feature = policy.features[name]
        assert feature.tick is not None
        year = Fraction(feature.tick) * _YEAR
        if feature.kind == "integer" and 0 < math.ceil(year) - year < Fraction(1, 100):
            tick = number_text(math.ceil(100_000 * math.ceil(year) / _YEAR) / 100_000)
            yield warning(
                name,
                f"tick {feature.tick} makes {number_text(float(year))} of a year, which counts as {math.floor(year)}. "
                f"Write {tick} for {math.ceil(year)} in twelve months.",
            )


def _idle_expressions(policy: Policy) -> Iterator[Finding]:
    """Rules and effects that no plan changes."""
    for rule in policy.expressions.rules:
        parts = [part for part in (rule.when, rule.then, rule.require) if part is not None]
        if parts and not any(part.names & policy.changing for part in parts):
            yield warning(
                None,
                f"the rule {rule.name!r} reads nothing that a plan can change: it holds for an applicant or rules out "
                "every plan. If it is a condition of the decision, write it as a knock-out.",
            )
    for name, effect in policy.expressions.effects.items():
        if not effect.names & policy.changing:
            yield warning(name, "its effect reads nothing that a plan can change, so it never moves. Make it fixed.")


# ----------------------------------------------------------------------------------------------------- against the data


def group_columns(policy: Policy, table: pd.DataFrame) -> Iterator[Finding]:
    """Yield where the columns of a group are not there, or are no level of it."""
    from ..problem.grouping import groups_of

    for name, group in groups_of(policy).items():
        absent = [column for column in group.members if column not in table.columns]
        for column in absent:
            guess = did_you_mean(column, table.columns)
            yield error(name, f"the data has no column {column!r}, which the group has.{guess}")
        if absent:
            continue
        try:
            positions = group.read(table)
        except InputError as fault:
            yield error(name, str(fault))
            continue
        levels = policy.features[name].levels or ()
        never = [level for position, level in enumerate(levels) if not np.any(positions == position)]
        if never and len(table):
            yield warning(name, f"{listed(never)} never occurs in the data.")


def named_columns(policy: Policy, table: pd.DataFrame) -> Iterator[Finding]:
    """Yield what is wrong with the columns that the decision names."""
    column = policy.threshold_column
    if column is not None and column not in table.columns:
        yield error(None, f"the data has no column {column!r} for the threshold.{did_you_mean(column, table.columns)}")
    elif column is not None:
        try:
            values = read_numbers(table[column], column)
        except InputError as fault:
            yield error(None, f"decision.threshold: {fault}")
        else:
            wrong = np.isnan(values)
            if policy.decision.score == "probability":
                wrong |= (values <= 0) | (values + policy.decision.margin > 1)
            rows = np.flatnonzero(wrong)
            if len(rows):
                example = "missing" if math.isnan(values[rows[0]]) else number_text(float(values[rows[0]]))
                where = rows_like(table[column], rows)
                yield error(None, f"the threshold in {column!r} cannot be used: {where}: {example}.")
    for key in ("recorded_score", "recorded_decision"):
        name = getattr(policy.decision, key)
        if name is not None and name not in table.columns:
            guess = did_you_mean(name, table.columns)
            yield warning(None, f"decision.{key}: the data has no column {name!r}, so nothing is compared.{guess}")
    recorded = policy.decision.recorded_decision
    if recorded is not None and recorded in table.columns:
        found = {spelling(value) for value in table[recorded].dropna().unique()}
        if spelling(policy.decision.favourable) not in found and len(found):
            yield warning(None, f"{recorded!r} never holds {policy.decision.favourable!r}, the favourable class.")


def codes_never_met(policy: Policy, table: pd.DataFrame) -> Iterator[Finding]:
    """Yield declared codes that occur nowhere; one that many features share, and none has, once for all."""
    never = dict[float, list[str]]()
    for name, feature in policy.features.items():
        if feature.codes and name in table.columns and len(table):
            try:
                values = read_numbers(table[name], name)
            except InputError:
                continue
            for code in feature.code_values:
                if not np.any(values == code):
                    never.setdefault(code, []).append(name)
    for code, names in never.items():
        if len(names) > 2:
            yield warning(None, f"the code {number_text(code)} of {len(names)} features never occurs in the data.")
        else:
            for name in names:
                yield warning(name, f"the code {number_text(code)} never occurs in the data.")


def provided_never(policy: Policy, table: pd.DataFrame) -> Iterator[Finding]:
    """Yield what could be provided, but is never missing."""
    for name, feature in policy.features.items():
        if feature.provide is not None and name in table.columns and len(table) and not table[name].isna().any():
            yield warning(name, "can be provided, but is never missing in the data.")


def expressions_on_rows(policy: Policy, table: pd.DataFrame) -> Iterator[Finding]:
    """Yield what expressions make of applicants as they are: where they disagree with the data, or rule them out."""
    if not any(True for _ in policy.expressions.parts()) or not len(table):
        return
    chosen = np.unique(np.linspace(0, len(table) - 1, min(len(table), _MOST_ROWS)).astype(np.int64))
    part = table.iloc[chosen]
    needed = [name for name in table.columns if name in _columns_read(policy)]
    try:
        tried = _Tried(policy, part, _records(part[needed]))
    except (InputError, KeyError) as fault:  # a column that an expression reads is not there: named elsewhere
        yield error(None, f"the expressions cannot be tried on the data: {fault}")
        return
    yield from tried.derived()
    yield from tried.effects()
    yield from tried.rules()
    yield from tried.threshold()


def _columns_read(policy: Policy) -> frozenset[str]:
    """The columns of the data that the policy's features are made of."""
    members = {column for columns in policy.groups.columns.values() for column in columns}
    return frozenset(members | set(policy.features))


class _Tried:
    """Applicants as they are, and as they would be scored again if they changed nothing."""

    def __init__(self, policy: Policy, table: pd.DataFrame, records: list[dict[Any, Any]]) -> None:
        self.policy, self.table = policy, table
        self.now = [present(policy, record) for record in records]
        self.again = [after(policy, record, {}, 0, now=now) for record, now in zip(records, self.now, strict=True)]

    def derived(self) -> Iterator[Finding]:
        """Where a recorded value is not what the formula gives."""
        for name, formula in self.policy.expressions.values.items():
            if name not in self.table.columns:
                continue
            feature = self.policy.features[name]
            recorded = [_as_number(value, feature.position) for value in self.table[name].tolist()]
            computed = [_as_number(value, feature.position) for value in self._values(formula)]
            rows = _differing(recorded, computed)
            if len(rows):
                kind, remedy = error, 'Correct them, or set derived_mismatch = "recompute".'
                if feature.derived_mismatch == "recompute":
                    kind, remedy = warning, "The formula is used."
                example = self._example(rows, recorded, computed)
                yield kind(name, f"recorded otherwise than its formula gives: {example} {remedy}")

    def effects(self) -> Iterator[Finding]:
        """Where an effect moves a feature although nothing has changed."""
        for name, effect in self.policy.expressions.effects.items():
            feature = self.policy.features[name]
            before = [_as_number(now.get(name), feature.position) for now in self.now]
            computed = [_as_number(value, feature.position) for value in self._values(effect)]
            rows = _differing(before, computed)
            if len(rows):
                yield warning(
                    name,
                    f"its effect is not the present value where nothing has changed: "
                    f"{self._example(rows, before, computed)}",
                )

    def rules(self) -> Iterator[Finding]:
        """Rules that applicants break as they stand, and knock-outs that spare nobody."""
        broken = dict[str, list[int]]()
        for row, (state, now) in enumerate(zip(self.again, self.now, strict=True)):
            for name in broken_rules(self.policy, state, now):
                broken.setdefault(name, []).append(row)
        for rule in self.policy.rules:
            rows = np.array(broken.get(rule.name, []), dtype=np.int64)
            if len(rows):
                yield warning(
                    None,
                    f"the rule {rule.name!r} is broken by applicants who change nothing: {self._rows(rows)}. A plan "
                    "for them has to mend it; to spare them write when ... then about what changes.",
                )
        denied = [set(knockouts(self.policy, now, now)) for now in self.now]
        for knockout in self.policy.decision.knockouts:
            count = sum(knockout.name in fired for fired in denied)
            if count == len(denied):
                yield warning(None, f"the knock-out {knockout.name!r} denies every applicant in the data.")

    def threshold(self) -> Iterator[Finding]:
        """Rows for which the threshold's expression gives nothing that can be reached."""
        expression, decision = self.policy.expressions.threshold, self.policy.decision
        if expression is None:
            return
        values = np.array([_as_number(value, None) for value in self._values(expression)])
        wrong = np.isnan(values)
        if decision.score == "probability":
            wrong |= (values <= 0) | (values + decision.margin > 1)
        rows = np.flatnonzero(wrong)
        if len(rows):
            example = "nothing" if math.isnan(values[rows[0]]) else number_text(float(values[rows[0]]))
            yield error(None, f"decision.threshold gives {example} for {self._rows(rows)}.")

    def _values(self, expression: Expression) -> list[Value]:
        return [expression.evaluate(now, now) for now in self.now]

    def _rows(self, rows: np.ndarray) -> str:
        return rows_like(self.table.iloc[:, 0], rows)

    def _example(self, rows: np.ndarray, one: list[float], other: list[float]) -> str:
        first, second = (_shown(values[int(rows[0])]) for values in (one, other))
        return f"{self._rows(rows)}: {first} against {second}."


def _as_number(value: Any, position: Any) -> float:
    """Return a value as a number that can be compared: a level by its position, missing as NaN."""
    if position is not None and (place := position(value)) is not None:
        return float(place)
    if value is None or isinstance(value, str) or value is pd.NA:
        return math.nan
    return float(value)


def _differing(one: list[float], other: list[float]) -> np.ndarray:
    a, b = np.array(one, dtype=np.float64), np.array(other, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        close = np.abs(a - b) <= _CLOSE * np.maximum(np.abs(a), np.abs(b))
    return np.flatnonzero(~(close | (np.isnan(a) & np.isnan(b))))


def _shown(value: float) -> str:
    return "missing" if math.isnan(value) else number_text(value)


def with_derived(policy: Policy, table: pd.DataFrame) -> pd.DataFrame:
    """Return the data with the derived columns that it lacks."""
    absent = [name for name, feature in policy.features.items() if feature.value is not None and name not in table]
    if not absent:
        return table
    needed = [name for name in table.columns if name in _columns_read(policy)]
    rows = [present(policy, row) for row in _records(table[needed])]
    computed = {name: [math.nan if row[name] is None else row[name] for row in rows] for name in absent}
    return table.assign(**computed)


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.astype(object).where(table.notna(), None).to_dict("records")


# ---------------------------------------------------------------------------------------------------- against the model


def reach(policy: Policy, tested: Collection[str]) -> frozenset[str]:
    """Return the features, and "wait", on which a decision depends, by way of whatever follows from them.

    `tested` are the features on which the model's score depends directly; rules and knock-outs read others.
    """
    read, found = policy.expressions, set(tested)
    for place, part in read.parts():
        if place.startswith(("rules.", "decision.")):
            found |= part.names
    follows = [read.values, read.effects, {name: again.expression for name, again in read.reapply.items()}]
    while True:
        more = {other for name in found for table in follows if name in table for other in table[name].names}
        ticking = any(name in policy.features and policy.features[name].tick is not None for name in found)
        if ticking and policy.time is not None:
            more.add("wait")
        if more <= found:
            return frozenset(found)
        found |= more
