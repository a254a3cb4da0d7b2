"""Many candidates at once: the states that choices lead to, whether rules allow them, and what the model is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import state
from .errors import DataError, did_you_mean
from .models import encode_frame
from .population import read_numbers, read_positions
from .problem.grouping import groups_of
from .problem.layout import level_numbers
from .problem.wiring import states as dependent_states
from .values import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from .models.base import Column
    from .policy import Policy

WAIT = "wait"


class States:
    """A policy's features as columns of numbers: positions of listed features, numbers of others, NaN for missing.

    Parameters
    ----------
    policy : Policy
    columns : sequence of Column
        What the model takes.
    actions : sequence of str
        The features that are chosen, and `wait` among them where the policy lets applicants wait.

    Examples
    --------
    >>> import pandas as pd
    >>> from recourse import Policy
    >>> from recourse.models import Column
    >>> policy = Policy.model_validate({
    ...     "decision": {"threshold": 0.5},
    ...     "features": {"income": {"kind": "integer"}, "age": {"kind": "integer", "role": "protected"}},
    ... })
    >>> states = States(policy, (Column("age"), Column("income")), ("income",))
    >>> frame = pd.DataFrame({"income": [20], "age": [44]})
    >>> start = states.start(frame)
    >>> states.matrix(states.after(start, np.array([[25.0]])), encode_frame(frame, states.columns))
    array([[44., 25.]])
    """

    def __init__(self, policy: Policy, columns: Sequence[Column], actions: Sequence[str]) -> None:
        self.policy, self.columns = policy, tuple(columns)
        self.names: tuple[str, ...] = (*policy.features, WAIT)
        self._at = {name: j for j, name in enumerate(self.names)}
        self.actions = np.array([self._at[name] for name in actions], dtype=np.int64)
        self._groups = groups_of(policy)
        self._seen = {
            self._at[name]: level_numbers(feature.levels)
            for name, feature in policy.features.items()
            if feature.levels is not None
        }
        self._compile()
        follows = {self._at[name] for name in self._follow}
        moving = [name for name in self.names if self._at[name] in follows or name in set(actions)]
        self._writes = [
            (c, self._at[name], table)
            for name in moving
            for c, table in self._places(name)
        ]  # fmt: skip
        self.scored = np.array(sorted({j for _, j, _ in self._writes}), dtype=np.int64)  # moving, and seen by the model

    def _compile(self) -> None:
        """Compile what follows from choices, and the rules."""
        nodes = dependent_states(self.policy)
        rules = self.policy.rules or self.policy.decision.knockouts
        self._follow: tuple[str, ...] = tuple(nodes)
        self._rules = np.empty(0, dtype=np.int64)
        self._which = np.empty(0, dtype=np.int64)
        self._programs = None
        self.reads: list[frozenset[int]] = []  # of each rule, the actions that it looks at (positions in `actions`)
        if not nodes and not rules:
            return
        from .expression import Compiler, rule_nodes

        compiler = Compiler(self.policy.features, self.names)
        self._which = np.array([compiler.add(node, {}) for node in nodes.values()], dtype=np.int64)
        if rules:
            self._rules = np.array([compiler.add(node, {}) for _, node in rule_nodes(self.policy)], dtype=np.int64)
        place = {int(j): a for a, j in enumerate(self.actions)}
        self.reads = [frozenset(place[j] for j in compiler.reads(int(k)) if j in place) for k in self._rules]
        self._programs = compiler.programs()

    def _places(self, name: str) -> list[tuple[int, np.ndarray | None]]:
        """Return the model's columns that a feature fills, with the model's number of each position."""
        out: list[tuple[int, np.ndarray | None]] = []
        group, feature = self._groups.get(name), self.policy.features.get(name)
        for c, column in enumerate(self.columns):
            if group is not None and column.name in group.members:
                out.append((c, group.numbers(column)))
            elif group is None and column.name == name and feature is not None:
                out.append((c, None if feature.levels is None else _numbers(feature.levels, column)))
        return out

    def start(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the present state of every row, float64[n, n_names].

        Raises
        ------
        DataError
            If a column that is needed is missing, or a value is of the wrong kind; names column, row and remedy.
        """
        out = np.full((len(frame), len(self.names)), np.nan)
        out[:, self._at[WAIT]] = 0.0
        computed = []
        needed = {self.names[j] for j in self.actions} | set(self._follow)
        for name, feature in self.policy.features.items():
            j = self._at[name]
            if name in self._groups:
                out[:, j] = self._groups[name].read(frame)
            elif feature.value is not None and (name not in frame or feature.derived_mismatch == "recompute"):
                computed.append(name)
            elif name not in frame:
                if name in needed:
                    raise DataError(f"the data has no column {name!r}.{did_you_mean(name, map(str, frame.columns))}")
            elif feature.listed:
                out[:, j] = read_positions(frame[name], name, feature)
            else:
                out[:, j] = read_numbers(frame[name], name)
        if computed and len(frame):
            for r, row in enumerate(frame.to_dict("records")):
                now = state.present(self.policy, {str(name): plain(value) for name, value in row.items()})
                for name in computed:
                    out[r, self._at[name]] = self._number(name, now[name])
        return out

    def _number(self, name: str, value: object) -> float:
        feature = self.policy.features[name]
        position = feature.position(value) if feature.listed else value
        return np.nan if position is None else float(position)  # type: ignore[arg-type]

    def after(self, start: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return the states that choices (float64[k, n_actions]) lead to, float64[k, n_names]."""
        out = start.copy()
        out[:, self.actions] = chosen
        if not len(self._which):
            return out
        results = self._run(self._which, out, start)
        for k, name in enumerate(self._follow):
            j = self._at[name]
            out[:, j] = _positions(results[:, k], self._seen[j]) if j in self._seen else results[:, k]
        return out

    def lawful(self, start: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Tell of each choice whether it breaks no rule and clears every knock-out, bool[k]."""
        return np.asarray(~self.broken(start, chosen).any(axis=1))

    def broken(self, start: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Tell of each choice which rules it breaks, bool[k, n_rules]."""
        actions = start.copy()
        actions[:, self.actions] = chosen
        return self._run(self._rules, actions, start) == 0.0 if len(self._rules) else np.zeros((len(start), 0), bool)

    def matrix(self, states: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Return what the model is asked: its own rows (float64[k, n_columns]) with the states in their columns."""
        out = own.copy()
        for c, j, table in self._writes:
            x = states[:, j]
            if table is None:
                out[:, c] = x
            else:
                out[:, c] = np.append(table, np.nan)[np.where(np.isnan(x), len(table), np.nan_to_num(x)).astype(int)]
        return out

    def own(self, frame: pd.DataFrame, start: np.ndarray) -> np.ndarray:
        """Return the model's rows of applicants as they are; a derived column that the data lack is computed."""
        missing = [c.name for c in self.columns if c.name not in frame and self._derived(c.name)]
        return encode_frame(frame.assign(**{name: start[:, self._at[name]] for name in missing}), self.columns)

    def _derived(self, name: str) -> bool:
        return name in self.policy.features and self.policy.features[name].value is not None

    def _run(self, which: np.ndarray, x: np.ndarray, start: np.ndarray) -> np.ndarray:
        from .search.states import run_rows

        return np.asarray(run_rows(self._programs, which, self._as_seen(x), self._as_seen(start)))

    def _as_seen(self, states: np.ndarray) -> np.ndarray:
        """States as expressions see them: a level's number in place of its position, where all levels are numbers."""
        out = np.ascontiguousarray(states, dtype=np.float64).copy()
        for j, numbers in self._seen.items():
            x = out[:, j]
            known = ~np.isnan(x)
            x[known] = numbers[x[known].astype(np.int64)]
        return out


def _numbers(levels: Sequence[object], column: Column) -> np.ndarray:
    """The model's number or code of each level; NaN for one that it has never seen."""
    if column.levels is None:
        return np.array([float(level) for level in levels])  # type: ignore[arg-type]
    codes = {_spelling(level): float(code) for code, level in reversed(list(enumerate(column.levels)))}
    return np.array([codes.get(_spelling(level), np.nan) for level in levels])


def _spelling(level: object) -> str:
    return str(int(level)) if isinstance(level, float | bool) and float(level).is_integer() else str(level)


def _positions(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Positions of the levels that expressions computed; NaN for what is none of them."""
    order = np.argsort(numbers, kind="stable")
    place = np.clip(np.searchsorted(numbers[order], values), 0, len(numbers) - 1)
    return np.where(numbers[order][place] == values, order[place].astype(np.float64), np.nan)
