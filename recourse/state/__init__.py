"""What an applicant's row becomes: the state after changes and months waited, from the policy's text alone.

Plain Python on one row at a time; nothing here is shared with the encoder or the search. The order within a feature:
what it is changed to, or what its effect makes of the others; then the months; then what applying again does to it; a
derived feature is its formula. In every expression a name is the state of that feature, so features are computed after
those that they read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..values import Value, plain
from .steps import WAIT as WAIT
from .steps import Language

if TYPE_CHECKING:
    from ..policy import Feature, Policy


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
    rules = _reading(_Same(policy)).language.rules
    return [name for name, holds in rules if holds(state, start) is False]


def knockouts(policy: Policy, state: Mapping[str, Value], start: Mapping[str, Value]) -> list[str]:
    """Return the names of the knock-outs that fire on a state."""
    conditions = _reading(_Same(policy)).language.knockouts
    return [name for name, fires in conditions if fires(state, start) is True]


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
        now, read = reading.present(row), reading.language.threshold
        assert read is not None
        value = read(now, now)
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
    """A policy, read once: how rows become states and states rows."""

    def __init__(self, policy: Policy) -> None:
        self.features: dict[str, Feature] = dict(policy.features)
        self.groups: dict[str, tuple[tuple[str, ...], bool]] = {
            **{name: (members, False) for name, members in policy.groups.one_hot.items()},
            **{name: (members, True) for name, members in policy.groups.thermometer.items()},
        }
        self.numbers = tuple(name for name, f in self.features.items() if f.levels is None)
        self.listed = tuple(n for n, f in self.features.items() if f.levels is not None and n not in self.groups)
        self.after_months: int = policy.after_months
        self.language = Language(policy)
        self.steps = self.language.steps
        self.formulas = tuple(step for step in self.steps if step.computed is not None)
        words = self.steps or self.language.rules or self.language.knockouts
        self.plain = not (words or self.groups or policy.time is not None)

    def present(self, row: Mapping[str, Any]) -> dict[str, Value]:
        """See the module's function."""
        now: dict[str, Value] = {name: plain(row[name]) for name in self.numbers if name in row}
        for name in self.listed:
            if name in row:
                feature, value = self.features[name], plain(row[name])
                place = None if value is None else feature.position(value)
                now[name] = value if place is None else plain(feature.levels[place])  # type: ignore[index]
        for name, (members, ladder) in self.groups.items():
            now[name] = (_climbed if ladder else _chosen)(name, members, self.features[name], row)
        now[WAIT] = 0
        for step in self.formulas:  # those that another reads come first
            if step.computed is not None and (step.recompute or step.name not in now):
                now[step.name] = step.computed(now, now)
        now[WAIT] = now.pop(WAIT)  # last, as it is printed
        return now

    def after(self, start: Mapping[str, Value], changes: Mapping[str, Value], wait: int) -> dict[str, Value]:
        """See the module's function; `start` is the present."""
        state = {**start, **changes, WAIT: wait}
        months = max(wait, self.after_months)
        for step in self.steps:
            if step.name in state:
                state[step.name] = step.take(state[step.name], state, start, months)
        return state

    def columns(self, state: Mapping[str, Value], row: dict[str, Value]) -> dict[str, Value]:
        """See the module's function; `row` is plain."""
        out = {**row, **state}
        del out[WAIT]
        for name, (members, ladder) in self.groups.items():
            value = out.pop(name)
            place = self.features[name].position(value)
            if place is None:
                raise DataError(f"{value!r} is not among the levels of the group of the columns {', '.join(members)}")
            out |= {member: int(i < place if ladder else i == place) for i, member in enumerate(members)}
        return out


# --------------------------------------------------------------------------------------------------------------- groups


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
