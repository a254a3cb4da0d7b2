"""The region around a plan: a box in which every row that obeys the rules is proven approved, as large as it can be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ._regions import Ground, examine
from .errors import InputError
from .values import plain

if TYPE_CHECKING:
    from .finder import Finder
    from .plan import Plan
    from .values import Value

__all__ = ["ground_of", "region"]


def region(
    finder: Finder, row: Mapping[str, Any], plan: Plan, *, threshold: float | None = None
) -> dict[str, tuple[Value, Value]]:
    """Return how far each number of a plan may go, jointly, with the plan still approved.

    The box begins at the stated values. In rounds, each number that the plan changes is extended by one step of its
    grid: in the policy's order, up before down, as long as every row of the box is proven approved by every model. The
    result cannot be extended by a step on any side. Levels stay as stated, features that the plan does not change at
    their start; rows that violate a rule do not count. Values stay within what the policy permits, but `max_change`,
    which limits what is asked for, does not end the box.

    Parameters
    ----------
    finder : Finder
        The one that found the plan.
    row : mapping
        The applicant's raw values.
    plan : Plan
    threshold : float, optional
        The applicant's, in place of the policy's.

    Returns
    -------
    dict
        For each feature that changes (but those that are provided, which the plan speaks of itself) the smallest and
        the largest value; None where nothing ends it.

    Raises
    ------
    InputError
        If the plan's own row is not approved, or a model is a black box.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from recourse import Finder
    >>> frame = pd.DataFrame({"income": [20, 30, 40, 50, 60], "age": [30, 50, 40, 60, 41]})
    >>> model = DecisionTreeClassifier().fit(frame, [0, 0, 1, 1, 1])
    >>> policy = {
    ...     "decision": {"threshold": 0.5},
    ...     "features": {
    ...         "income": {"kind": "integer", "change": "up", "max": 90},
    ...         "age": {"kind": "integer", "role": "protected"},
    ...     },
    ... }
    >>> finder = Finder(model, policy, frame)
    >>> applicant = {"income": 28, "age": 44}
    >>> region(finder, applicant, finder.find(applicant).plan)
    {'income': (36, 90)}
    """
    view = ground_of(finder).view(row)
    bar = float(threshold) if threshold is not None else threshold_of(finder, row)
    cuts = finder._cuts(np.array([bar]))[0]
    first, last = view.box(plan)
    if not examine(view, cuts, first, last, view.rounds(plan)):
        raise InputError("the plan's own row is not approved by every model, so there is no region around it")
    out: dict[str, tuple[Value, Value]] = {}
    for change in plan.changes:
        j = view.place(change.feature)
        if change.before is None and change.condition is not None:
            continue
        if view.is_run(j):
            out[change.feature] = view.ends(j, int(first[j]), int(last[j]))
        else:
            out[change.feature] = (plain(change.after), plain(change.after))
    return out


def threshold_of(finder: Finder, row: Mapping[str, Any]) -> float:
    """Return an applicant's threshold, as the policy has it."""
    from .state import threshold

    return threshold(finder.policy, row)


class _Same:
    """A finder that is equal only to itself."""

    __slots__ = ("finder",)

    def __init__(self, finder: Finder) -> None:
        self.finder = finder

    def __hash__(self) -> int:
        return id(self.finder)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.finder is other.finder


@lru_cache(maxsize=4)
def _ground(key: _Same) -> Ground:
    return Ground(key.finder._problem.models, key.finder.policy, key.finder.population)


def ground_of(finder: Finder) -> Ground:
    """Return what a finder's regions are proven on; built once."""
    return _ground(_Same(finder))
