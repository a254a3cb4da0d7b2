"""What an applicant's row becomes: the state after changes and months waited, from the policy's text alone.

Plain Python on one row at a time; nothing here is shared with the encoder or the search. The order within a feature:
what it is changed to, or what its effect makes of the others; then the months; then what applying again does to it; a
derived feature is its formula. In every expression a name is the state of that feature, so features are computed after
those that they read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .errors import DataError, PolicyError
from .expression import Expression, parse
from .values import Value, plain

if TYPE_CHECKING:
    from .policy import Feature, Policy

WAIT = "wait"
_DELTA = ("+", "-", "*", "/")


def present(policy: Policy, row: Mapping[str, Any]) -> dict[str, Value]:
    """Return the applicant's present value of each feature of the policy, and ``wait``, which is 0.

    Levels are spelt as the policy spells them. Columns that are one category or one ladder are one feature. A derived
    feature is its recorded value; where there is none, or ``derived_mismatch = "recompute"``, what its formula gives.
    A feature that the row does not have is left out.

    Raises
    ------
    DataError
        If the columns of a group are not one of its levels.

    Examples
    --------
    >>> from recourse.policy import Policy
    >>> policy = Policy.from_text('''
    ... [decision]
    ... threshold = 0.5
    ... [features.income]
    ... kind = "number"
    ... step = 500
    ... [features.debt]
    ... kind = "number"
    ... step = 100
    ... [features.dti]
    ... kind = "number"
    ... role = "derived"
    ... value = "debt / income"
    ... ''')
    >>> present(policy, {"income": 2000, "debt": 500})
    {'income': 2000, 'debt': 500, 'dti': 0.25, 'wait': 0}
    >>> after(policy, {"income": 2000, "debt": 500}, {"income": 2500})
    {'income': 2500, 'debt': 500, 'dti': 0.2, 'wait': 0}
    """
    return _reading(_Same(policy)).present(row)


def after(
    policy: Policy,
    row: Mapping[str, Any],
    changes: Mapping[str, Value],
    wait: int = 0,
    *,
    now: Mapping[str, Value] | None = None,
) -> dict[str, Value]:
    """Return the state of each feature once some have been changed and months have passed.

    Parameters
    ----------
    policy : Policy
    row : mapping
        The applicant's raw values.
    changes : mapping
        Features that are changed, with what they become; a group's feature by its name.
    wait : int
        Months waited before applying again.
    now : mapping, optional
        `present(policy, row)`, where it is at hand.

    Returns
    -------
    dict
        As `present`, ``wait`` included.
    """
    reading = _reading(_Same(policy))
    return reading.after(reading.present(row) if now is None else now, changes, wait)


def violations(policy: Policy, state: Mapping[str, Value], start: Mapping[str, Value]) -> list[str]:
    """Return the names of the rules that a state violates and of the knock-outs that fire on it.

    A rule is violated only when it is surely false, a knock-out fires only when its condition is surely true: neither
    does where a value that decides is missing.

    Parameters
    ----------
    policy : Policy
    state : mapping
        What `after` returned (or `present`, for the decision about the applicant as recorded).
    start : mapping
        What `present` returned.
    """
    return [*broken_rules(policy, state, start), *knockouts(policy, state, start)]


def broken_rules(policy: Policy, state: Mapping[str, Value], start: Mapping[str, Value]) -> list[str]:
    """Return the names of the rules that a state violates."""
    reading = _reading(_Same(policy))
    return [name for name, holds in reading.rules if holds(state, start) is False]


def knockouts(policy: Policy, state: Mapping[str, Value], start: Mapping[str, Value]) -> list[str]:
    """Return the names of the knock-outs that fire on a state."""
    reading = _reading(_Same(policy))
    return [name for name, fires in reading.knockouts if fires.evaluate(state, start) is True]


def columns(policy: Policy, state: Mapping[str, Value], row: Mapping[str, Any]) -> dict[str, Value]:
    """Return the raw row to score: the applicant's, with the state in place of what it was; groups as their columns.

    Examples
    --------
    >>> from recourse.policy import Policy
    >>> policy = Policy.from_text('''
    ... [decision]
    ... threshold = 0.5
    ... [groups]
    ... one_hot = { purpose = ["car", "home"] }
    ... [features.purpose]
    ... kind = "category"
    ... ''')
    >>> columns(policy, {"purpose": "home", "wait": 0}, {"car": 1, "home": 0, "note": "x"})
    {'car': 0, 'home': 1, 'note': 'x'}
    """
    return _reading(_Same(policy)).columns(state, {str(name): plain(value) for name, value in row.items()})


def threshold(policy: Policy, row: Mapping[str, Any]) -> float:
    """Return the score that an applicant needs: the policy's number, the column's, or what the expression gives.

    Raises
    ------
    DataError
        If the row has no such column, or what there is, is no number.
    """
    given = policy.decision.threshold
    if isinstance(given, int | float):
        return float(given)
    reading, column = _reading(_Same(policy)), policy.threshold_column
    if column is not None:
        if column not in row:
            raise DataError(f"the row has no column {column!r}, which the policy names as the threshold")
        value = plain(row[column])
    else:
        now = reading.present(row)
        assert reading.threshold is not None
        value = reading._evaluate(reading.threshold, now, now)
    if value is None or isinstance(value, str | bool):
        raise DataError(f"the threshold {given!r} is no number for this row, but {value!r}")
    return float(value)


def is_plain(policy: Policy) -> bool:
    """Whether a row is the applicant's with the changes made, and nothing else is asked of it: no rules, no groups."""
    return _reading(_Same(policy)).plain


# ------------------------------------------------------------------------------------------------ the policy, read once


class _Same:
    """A policy that is equal only to itself: the key under which its reading is kept."""

    __slots__ = ("policy",)

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __hash__(self) -> int:
        return id(self.policy)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.policy is other.policy


@lru_cache(maxsize=32)
def _reading(key: _Same) -> _Reading:
    return _Reading(key.policy)


class _Reading:
    """A policy's expressions, parsed, and its dependent features in an order in which they can be computed."""

    def __init__(self, policy: Policy) -> None:
        self.features: dict[str, Feature] = dict(policy.features)
        self.one_hot: dict[str, tuple[str, ...]] = dict(policy.groups.one_hot)
        self.thermometer: dict[str, tuple[str, ...]] = dict(policy.groups.thermometer)
        self.members = {name for parts in (self.one_hot, self.thermometer) for part in parts.values() for name in part}
        self.after_months: int = policy.after_months
        self.formulas = {n: self._parse(f.value) for n, f in self.features.items() if f.value is not None}
        self.effects = {n: self._parse(f.effect) for n, f in self.features.items() if f.effect is not None}
        self.ticks = {n: f.tick for n, f in self.features.items() if f.tick is not None}
        self.deltas: dict[str, tuple[str, Expression]] = {}
        self.replaced: dict[str, Expression] = {}
        for name, text in policy.reapply.effects.items() if policy.reapply is not None else ():
            if text.lstrip().startswith(_DELTA):  # a code is no size
                size = parse(text.lstrip()[1:], self.features, keep_codes=False)
                self.deltas[name] = (text.lstrip()[0], size)
            else:
                self.replaced[name] = self._parse(text)
        self.order = self._in_order()
        self.rules: list[tuple[str, Callable[[Mapping[str, Value], Mapping[str, Value]], Value]]] = [
            (rule.name, self._rule(rule)) for rule in policy.rules
        ]
        self.knockouts = [(k.name, self._parse(k.deny_when)) for k in policy.decision.knockouts]
        groups = self.one_hot or self.thermometer
        self.plain = not (self.order or self.rules or self.knockouts or groups or policy.time is not None)
        by_expression = isinstance(policy.decision.threshold, str) and policy.threshold_column is None
        self.threshold = self._parse(str(policy.decision.threshold)) if by_expression else None

    def _parse(self, text: str) -> Expression:
        return parse(text, self.features)

    def _rule(self, rule: Any) -> Callable[[Mapping[str, Value], Mapping[str, Value]], Value]:
        """Return a function that is False where the rule is surely broken."""
        if rule.require is not None:
            return self._parse(rule.require).evaluate
        when, then = self._parse(rule.when), self._parse(rule.then)

        def holds(state: Mapping[str, Value], start: Mapping[str, Value]) -> Value:
            return not (when.evaluate(state, start) is True and then.evaluate(state, start) is False)

        return holds

    def _in_order(self) -> tuple[str, ...]:
        """Return the features whose state is not their own action's value, each after those that it reads."""
        done: list[str] = []
        open_: list[str] = []

        def visit(name: str) -> None:
            if name in done or not self._depends(name):
                return
            if name in open_:
                raise PolicyError(f"features.{name}: depends on itself, by way of {' -> '.join([*open_, name])}.")
            open_.append(name)
            for read in sorted(self._reads(name)):
                visit(read)
            done.append(open_.pop())

        for name in self.features:
            visit(name)
        return tuple(done)

    def _depends(self, name: str) -> bool:
        return any(name in table for table in (self.formulas, self.effects, self.ticks, self.deltas, self.replaced))

    def _reads(self, name: str) -> set[str]:
        parts = [table[name] for table in (self.formulas, self.effects, self.replaced) if name in table]
        parts += [self.deltas[name][1]] if name in self.deltas else []
        return {read for part in parts for read in part.names if read != WAIT}

    # -------------------------------------------------------------------------------------------------------- one row

    def present(self, row: Mapping[str, Any]) -> dict[str, Value]:
        """See the module's function."""
        now: dict[str, Value] = {}
        for name, feature in self.features.items():
            if name in self.one_hot:
                now[name] = _chosen(name, self.one_hot[name], feature, row)
            elif name in self.thermometer:
                now[name] = _climbed(name, self.thermometer[name], feature, row)
            elif name in row:
                value = plain(row[name])
                if feature.levels is not None and value is not None:
                    place = feature.position(value)
                    value = value if place is None else plain(feature.levels[place])
                now[name] = value
        now[WAIT] = 0
        if self.formulas:
            computed = [n for n in self.order if n in self.formulas and self._is_computed(n, now)]
            # formulas may read one another, in any order of the policy: first what is recorded, then what is computed
            for name in computed:
                now[name] = self._result(name, self._evaluate(self.formulas[name], now, now))
            if computed:
                wait = now.pop(WAIT)
                now = {name: now[name] for name in self.features if name in now} | {WAIT: wait}
        return now

    def _is_computed(self, name: str, now: Mapping[str, Value]) -> bool:
        return name not in now or self.features[name].derived_mismatch == "recompute"

    def after(self, start: Mapping[str, Value], changes: Mapping[str, Value], wait: int) -> dict[str, Value]:
        """See the module's function; `start` is the present."""
        state = dict(start)
        for name, value in changes.items():
            state[name] = value
        state[WAIT] = wait
        months = max(wait, self.after_months)
        for name in self.order:
            if name not in start:
                continue
            feature = self.features[name]
            if name in self.formulas:
                state[name] = self._kept(name, self._evaluate(self.formulas[name], state, start), start)
                continue
            value = state[name]
            if name in self.effects:
                value = self._kept(name, self._evaluate(self.effects[name], state, start), start)
            if name in self.ticks and months:
                value = _ticked(value, self.ticks[name], months, feature)
            if name in self.deltas:
                if _is_number(value, feature):
                    sign, size = self.deltas[name]
                    value = self._result(name, _moved(sign, float(value), self._evaluate(size, state, start)))  # type: ignore[arg-type]
            elif name in self.replaced:
                value = self._kept(name, self._evaluate(self.replaced[name], state, start), start)
            state[name] = value
        return state

    def _evaluate(self, expression: Expression, state: Mapping[str, Value], start: Mapping[str, Value]) -> Value:
        try:
            return expression.evaluate(state, start)
        except KeyError as error:
            raise DataError(
                f"the row has no column {error.args[0]!r}, which the policy's expression {expression.text!r} reads"
            ) from None

    def _kept(self, name: str, value: Value, start: Mapping[str, Value]) -> Value:
        """Return a result as the feature's values are; the applicant's own value as it is recorded, if it is that."""
        result, recorded = self._result(name, value), start[name]
        return recorded if result == recorded else result

    def _result(self, name: str, value: Value) -> Value:
        """Return what an expression gives as a value of the feature: one of its levels (else missing), or a number."""
        feature = self.features[name]
        if value is None:
            return None
        if feature.levels is not None:
            place = feature.position(value)
            return None if place is None else plain(feature.levels[place])
        return float(value)

    def columns(self, state: Mapping[str, Value], row: dict[str, Value]) -> dict[str, Value]:
        """See the module's function; `row` is plain."""
        out = row
        for name, value in state.items():
            if name in self.one_hot:
                out |= self._spread(self.one_hot[name], self.features[name], value, exactly=True)
            elif name in self.thermometer:
                out |= self._spread(self.thermometer[name], self.features[name], value, exactly=False)
            elif name != WAIT:
                out[name] = value
        return out

    @staticmethod
    def _spread(members: tuple[str, ...], feature: Feature, value: Value, *, exactly: bool) -> dict[str, Value]:
        """Return a group's columns: a 1 at the level's own place, or at each rung up to the level."""
        place = feature.position(value)
        if place is None:
            raise DataError(f"{value!r} is not among the levels of the group of the columns {', '.join(members)}")
        return {name: int(i == place if exactly else i < place) for i, name in enumerate(members)}


# ------------------------------------------------------------------------------------------------------- single values


def _is_number(value: Value, feature: Feature) -> bool:
    """Whether a value is a number that arithmetic may touch: neither missing nor a code nor a text."""
    return value is not None and not isinstance(value, str) and float(value) not in feature.code_values


def _ticked(value: Value, tick: Decimal, months: int, feature: Feature) -> Value:
    """Return a value that time has advanced; whole numbers by whole numbers."""
    if not _is_number(value, feature):
        return value
    assert value is not None
    assert not isinstance(value, str)
    gone = tick * months
    if feature.kind == "integer":
        return value + math.floor(gone)
    return float(value) + float(gone)


def _moved(sign: str, value: float, size: Value) -> float | None:
    """Return the value after "+1" or the like; what is no finite number is missing."""
    if size is None or isinstance(size, str):
        return None
    try:
        result = {
            "+": lambda a, b: a + b,
            "-": lambda a, b: a - b,
            "*": lambda a, b: a * b,
            "/": lambda a, b: a / b,
        }[sign](value, float(size))
    except (ZeroDivisionError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def _ones(group: str, members: tuple[str, ...], row: Mapping[str, Any]) -> list[bool]:
    """Return which of a group's columns hold a 1."""
    ones = []
    for name in members:
        if name not in row:
            raise DataError(f"the row has no column {name!r} of the group {group!r}")
        value = plain(row[name])
        text = str(int(value)) if isinstance(value, float | bool) and float(value).is_integer() else str(value)
        if text not in ("0", "1"):
            raise DataError(f"column {name!r} of the group {group!r}: expected 0 or 1, got {value!r}")
        ones.append(text == "1")
    return ones


def _chosen(group: str, members: tuple[str, ...], feature: Feature, row: Mapping[str, Any]) -> Value:
    """Return the level whose column holds the 1; a level beyond the columns stands for none of them."""
    ones = _ones(group, members, row)
    levels = feature.levels or ()
    if sum(ones) == 0 and len(levels) > len(members):
        return plain(levels[-1])
    if sum(ones) != 1:
        raise DataError(
            f"the group {group!r} needs a 1 in exactly one of its columns {', '.join(members)}, got {sum(ones)}"
        )
    return plain(levels[ones.index(True)])


def _climbed(group: str, members: tuple[str, ...], feature: Feature, row: Mapping[str, Any]) -> Value:
    """Return the level of a ladder: as many rungs as hold a 1, without a gap."""
    ones = _ones(group, members, row)
    if ones != sorted(ones, reverse=True):
        raise DataError(f"the ladder {group!r} has a 0 below a 1 in its columns {', '.join(members)}")
    return plain((feature.levels or ())[sum(ones)])
