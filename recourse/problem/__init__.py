"""Rows of applicants as the arrays that the search sees; what a kernel relies on is checked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import DataError, InputError, PolicyError, UnknownFeature, did_you_mean
from ..models.additive import Additive
from ..models.trees import Trees
from ..policy import Feature
from ..population import read_numbers
from ..values import format_value, parse_value, plain
from .encoding import Encoded as Encoded
from .encoding import column_of, encode, rows_text, seen_values
from .grouping import Group, groups_of
from .joining import Source, join, thresholds_of
from .layout import SHAPES, WAIT, Slot, Wiring, lay_out, level_numbers
from .tabulated import Alone, Tabulated, alone, divided, with_rounding
from .wiring import Present, present, readers, wire

if TYPE_CHECKING:
    import pandas as pd

    from ..models.base import Column, Model
    from ..policy import Policy
    from ..population import Population
    from ..search.forest import Forest
    from ..search.moves import Space
    from ..values import Value


class Decoded(NamedTuple):
    """One change of a plan, in the applicant's words."""

    feature: str  # a group's feature by its name; "wait"
    before: Value
    after: Value  # None where any value that is provided will do
    condition: str | None = None  # "any" or "at least", where a missing value is provided


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Models, a policy and a population, ready to encode applicants; built once, shared by all threads.

    Values of the search are float64[n], one for each of `names`: numbers, positions of levels, months of `wait`, NaN
    for missing. They are what is *chosen*; a feature with a program (`space.program`) is scored at what that gives.
    """

    models: tuple[Model, ...]  # the champion first
    policy: Policy
    names: tuple[str, ...]  # the features that models or expressions use, in policy order; `wait` last
    slots: tuple[Slot, ...]
    space: Space
    forest: Forest | None  # all models' trees; None for a single additive model that is searched as such
    weight: np.ndarray | None  # float64[n] of a linear model, per unit of the feature's number
    tabulated: Tabulated | None  # what additive models among others add, for each applicant alone: see `alone`
    slack: np.ndarray  # float64[n_models], bound on |our raw score - the library's|; 0 where ours is exact
    max_changes: int
    present: Present | None

    @property
    def model(self) -> Model:
        """The champion."""
        return self.models[0]

    @property
    def features(self) -> tuple[Feature, ...]:
        """The policy's words on each of `names`."""
        return tuple(slot.feature for slot in self.slots)

    @property
    def place(self) -> np.ndarray:
        """int64[n], the champion's column that a feature fills; -1 where it is none or several."""
        own = [[s.column for s in slot.sources if s.model == 0] for slot in self.slots]
        return np.array([part[0] if len(part) == 1 else -1 for part in own], np.int64)

    @property
    def scale(self) -> tuple[np.ndarray, ...]:
        """float64[n_levels] per feature, the champion's number of each level (empty: a grid)."""
        tables = [[s.table for s in slot.sources if s.model == 0 and s.table is not None] for slot in self.slots]
        return tuple(part[0] if part else np.empty(0) for part in tables)

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """Return the frame's rows as arrays.

        Raises
        ------
        DataError
            If a column is missing, a value is of the wrong kind, infinite, or a level that the policy or a model does
            not have; if the columns of a group are no level, a derived value is not what its formula gives, or a
            threshold cannot be told. Names column, row and remedy.
        """
        return encode(self, frame)

    def alone(self, encoded: Encoded, r: int) -> Alone:
        """Return the problem of row r where additive models are `tabulated`; its own row is number 0.

        Points within `slack` of a cut are the library's to decide: search with the cuts lowered by it; if the library
        refuses what is found, search again with the cuts raised by it, and the first cost is still a bound.
        """
        return alone(self, encoded, r)

    # ------------------------------------------------------------------------------------------------- after a search

    def scored_matrices(self, encoded: Encoded, rows: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
        """Return what the models are asked after changes.

        Parameters
        ----------
        encoded : Encoded
        rows : int64[m]
            Rows of the chunk.
        values : float64[m, n]
            What is chosen for each.

        Returns
        -------
        list of float64[m, n_columns]
            A matrix for each model: groups spread over their columns, months passed, formulas computed.
        """
        out = [matrix[rows] for matrix in encoded.matrices]
        start = encoded.rows.value[rows]
        result = self._states(start, values)
        for j, slot in enumerate(self.slots):
            if not slot.sources:
                continue
            if self.space.program[j] < 0:
                changed = np.flatnonzero(
                    (values[:, j] != start[:, j]) & ~(np.isnan(values[:, j]) & np.isnan(start[:, j]))
                )
                if not len(changed):
                    continue
                new = values[changed, j]
            else:
                changed = np.arange(len(rows))
                new = result[j]
                if slot.levels is not None:
                    new = _positions(slot.levels, new)
            for source in slot.sources:
                out[source.model][changed, source.column] = source.numbers(new)
        return out

    def changes(self, record: Mapping[str, Value], start: np.ndarray, values: np.ndarray) -> list[Decoded]:
        """Return what a plan changes.

        Parameters
        ----------
        record : mapping
            The applicant's raw values by column.
        start, values : float64[n]
            The applicant's own values (`Rows.value`) and the plan's.
        """
        out = []
        for j in np.flatnonzero((values != start) & ~(np.isnan(values) & np.isnan(start))).tolist():
            slot, condition = self.slots[j], None
            before = (
                record[slot.name] if slot.group is None and slot.name in record else self.decode(j, float(start[j]))
            )
            after = self.decode(j, float(values[j]))
            if np.isnan(start[j]) and slot.feature.provide is not None:
                condition = "any" if slot.feature.provide.mode == "any" else "at least"
                before, after = None, None if condition == "any" else after
            out.append(Decoded(slot.name, before, after, condition))
        return out

    def decode(self, j: int, value: float) -> Value:
        """Return a value of the search as it is printed and read; whole numbers as such."""
        slot = self.slots[j]
        if np.isnan(value):
            return None
        if slot.name == WAIT:
            return int(value)
        if slot.levels is None:
            return parse_value(format_value(value, slot.feature), slot.feature)
        level = plain(slot.levels[int(value)])
        return parse_value(format_value(level, slot.feature), slot.feature) if slot.feature.listed else level

    def after(
        self, record: Mapping[str, Value], start: np.ndarray, values: np.ndarray
    ) -> tuple[list[Decoded], dict[str, Value]]:
        """Return a plan's changes, and the raw row that is scored after them, by the policy's text alone."""
        from ..state import after, columns

        changes = self.changes(record, start, values)
        chosen: dict[str, Value] = {}
        wait = 0
        for j in np.flatnonzero(_differ(values, start)).tolist():
            if self.names[j] == WAIT:
                wait = int(values[j])
            else:
                chosen[self.names[j]] = self.decode(j, float(values[j]))
        return changes, columns(self.policy, after(self.policy, record, chosen, wait), record)

    def check_recorded(self, frame: pd.DataFrame, scores: np.ndarray, approved: np.ndarray) -> None:
        """Compare the lender's recorded scores and decisions with ours.

        Parameters
        ----------
        frame : pandas.DataFrame
        scores : float64[rows]
            The champion's native scores of the rows as they are.
        approved : bool[rows]

        Raises
        ------
        DataError
            Where one differs (a score by more than 1e-6); names the rows. Rows without a record pass.
        """
        decision = self.policy.decision
        if decision.recorded_score is not None:
            recorded = read_numbers(
                column_of(frame, decision.recorded_score, "decision.recorded_score"), decision.recorded_score
            )
            with np.errstate(invalid="ignore"):
                wrong = np.flatnonzero(np.abs(recorded - scores) > _SCORES * np.maximum(1.0, np.abs(recorded)))
            if len(wrong):
                raise DataError(
                    f"column {decision.recorded_score!r}, {rows_text(frame, wrong)}: the lender recorded the score "
                    f"{float(recorded[wrong[0]])!r}, the model gives {float(scores[wrong[0]])!r}. "
                    "Is this the model that decided, and the data that it saw?"
                )
        if decision.recorded_decision is not None:
            column = column_of(frame, decision.recorded_decision, "decision.recorded_decision")
            said = np.array([_text(v) == _text(decision.favourable) for v in column.tolist()], np.bool_)
            wrong = np.flatnonzero((said != approved) & ~column.isna().to_numpy(dtype=bool))
            if len(wrong):
                ours = "approved" if approved[wrong[0]] else "denied"
                theirs = _text(column.iloc[int(wrong[0])])
                raise DataError(
                    f"column {decision.recorded_decision!r}, {rows_text(frame, wrong)}: the lender recorded "
                    f"{theirs}, but model, threshold and knock-outs say {ours}. "
                    "Is this the model that decided, and the data that it saw?"
                )

    # ---------------------------------------------------------------------------------------------------------- parts

    def _states(self, start: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
        """Return what the programs of features give."""
        computed = np.flatnonzero(self.space.program >= 0)
        if not len(computed):
            return {}
        from ..search.states import run_rows

        found = run_rows(self.space.programs, self.space.program[computed], self.seen(values), self.seen(start))
        return dict(zip(computed.tolist(), np.asarray(found).T, strict=True))

    def seen(self, values: np.ndarray) -> np.ndarray:
        """Return what expressions see of values of the search: float64[m, n]."""
        out = np.array(values, np.float64)
        for j, slot in enumerate(self.slots):
            if slot.levels is not None:
                out[:, j] = seen_values(slot.levels, out[:, j])
        return out


_UNSEEN = "(never seen)"  # stands for all levels that no model has seen, where models take them
_SCORES = 1e-6  # relative from 1 on, between a recorded score and ours


def build_problem(
    models: Model | Sequence[Model],
    policy: Policy,
    population: Population,
    *,
    shape: str = "point",
    box_steps: int = 5,
    as_trees: bool = False,
) -> Problem:
    """Check models and a policy against each other, and lay out what all applicants share.

    Parameters
    ----------
    models : Model or sequence of Model
        The champion first, then all others that must approve as well.
    policy : Policy
    population : Population
    shape : {"point", "box", "orthant"}
        What a plan promises.
    box_steps : int
        How many grid steps a box reaches past each stated value.
    as_trees : bool
        Search a single additive model as trees even where it could be searched as such.

    Raises
    ------
    UnknownFeature
        If a model needs a column that the policy does not describe.
    PolicyError
        If the policy describes a column as something that a model does not take, or asks for what an additive model
        cannot be searched for.
    """
    some = (models,) if not isinstance(models, Sequence) else tuple(models)
    if shape not in SHAPES:
        raise InputError(f"shape = {shape!r} is none of {', '.join(map(repr, SHAPES))}.")
    if box_steps < 1:
        raise InputError(f"a box reaches at least one step, got box_steps = {box_steps}.")
    slots = _slots(some, policy)
    categorical = np.array([_is_categorical(slot, some) for slot in slots], np.uint8)
    wiring = wire(policy, slots)
    cores = [model.core for model in some]
    read = [core for core in cores if isinstance(core, Trees | Additive)]
    thresholds = [np.empty(0)] * len(slots)
    forest = weight = tabulated = None
    slack = np.zeros(len(some))
    if len(read) < len(cores):
        pass  # a black box is asked, not searched
    elif isinstance(read[0], Additive) and not as_trees and _is_line(some, slots, wiring, shape):
        weight = _linear(read[0], slots)
        categorical |= np.array([slot.listed for slot in slots], np.uint8)  # every level is told apart
    else:
        if any(isinstance(core, Additive) for core in read):  # whose levels differ where no threshold parts them
            categorical |= np.array([slot.listed for slot in slots], np.uint8)
        _check_levels(slots, categorical, wiring.program)
        trees, rest = divided(read, slots, wiring)
        copied = rest.shadowed(wiring)
        if copied:
            slots = (*slots, *(_copy(slots, j) for j in copied))
            categorical, wiring = np.append(categorical, categorical[copied]), wire(policy, slots)
        thresholds = [
            np.empty(0) if sets else thresholds_of(trees, slot.sources)
            for sets, slot in zip(categorical, slots, strict=True)
        ]
        forest = join(trees, [slot.sources for slot in slots], thresholds, categorical)
        forest, slack = with_rounding(forest, rest, np.zeros(len(cores)))
        if rest.constant or rest.tables:
            tabulated = rest
            wiring.every[list(rest.smooth)] = 1
    space = lay_out(slots, thresholds, categorical, wiring, policy, population, shape=shape, box_steps=box_steps)
    limit = policy.cost.max_changes
    return Problem(
        models=some,
        policy=policy,
        names=tuple(slot.name for slot in slots),
        slots=slots,
        space=space,
        forest=forest,
        weight=weight,
        tabulated=tabulated,
        slack=slack,
        max_changes=len(slots) if limit is None else limit,
        present=present(policy, [slot.name for slot in slots]),
    )


# ---------------------------------------------------------------------------------------------------- once per policy


def _slots(models: Sequence[Model], policy: Policy) -> tuple[Slot, ...]:
    """Return the features of the search, in policy order, `wait` last."""
    groups = groups_of(policy)
    owner = {member: name for name, group in groups.items() for member in group.members}
    filled: dict[str, list[tuple[int, int, Column]]] = {}
    for k, model in enumerate(models):
        for c, column in enumerate(model.columns):
            name = owner.get(column.name, column.name)
            if name not in policy.features:
                raise UnknownFeature(
                    f"the model needs the column {name!r}, which the policy does not describe."
                    f'{did_you_mean(name, policy.features)} Add a table [features.{name}], with role = "fixed" if '
                    "nobody can act on it."
                )
            filled.setdefault(name, []).append((k, c, column))
    wanted = set(filled) | readers(policy, filled)
    slots = [
        _slot(name, feature, groups.get(name), filled.get(name, []), policy.cost.per_change)
        for name, feature in policy.features.items()
        if name in wanted
    ]
    if policy.time is not None:
        time = policy.time
        feature = Feature(kind="integer", change="up", min=0, max=time.horizon, weight=time.cost_per_month)
        slots.append(Slot(WAIT, feature, None, (), None, 0.0))
    return tuple(slots)


def _slot(
    name: str, feature: Feature, group: Group | None, columns: list[tuple[int, int, Column]], per_change: float
) -> Slot:
    levels = feature.levels
    if levels is None:
        spelt = [column.levels for _, _, column in columns if column.levels is not None]
        if spelt:
            if feature.movable:
                raise PolicyError(
                    f"features.{name}: the model treats it as a category, the policy as kind = {feature.kind!r}. "
                    'Use kind = "category" (or "ordinal") and list its levels.'
                )
            levels = tuple(dict.fromkeys(level for part in spelt for level in part))
            if any(column.unseen for _, _, column in columns):
                levels = (*levels, _UNSEEN)
    sources = tuple(Source(k, c, _table(name, feature, group, column, levels)) for k, c, column in columns)
    return Slot(name, feature, group, sources, levels, float(per_change))


def _copy(slots: Sequence[Slot], j: int) -> Slot:
    """Return a feature that shows what is chosen for feature j, to trees that would see its state."""
    slot = slots[j]
    fixed = Feature(kind="number", role="fixed")
    return Slot(f"{slot.name} as chosen", fixed, None, (), slot.levels, 0.0, copies=j)


def _table(
    name: str, feature: Feature, group: Group | None, column: Column, levels: tuple[Any, ...] | None
) -> np.ndarray | None:
    """Return a model's number of each level, NaN for a level that it has never seen; None for plain numbers."""
    if group is not None:
        return group.numbers(column)
    if levels is None:
        return None
    if column.levels is None:
        numbers = []
        for level in levels:
            try:
                numbers.append(float(level))
            except ValueError:
                raise PolicyError(
                    f"features.{name}: the model takes a number, but the policy's level {level!r} is none. "
                    "Write the levels as the numbers that the model was trained on."
                ) from None
        return np.array(numbers)
    codes = [column.code(level) for level in levels]
    return np.array([np.nan if code is None else float(code) for code in codes])


def _is_categorical(slot: Slot, models: Sequence[Model]) -> bool:
    """Whether cells are positions of levels: a model tests membership, or several columns spell the level."""
    spelt = any(models[s.model].columns[s.column].levels is not None for s in slot.sources)
    return slot.group is not None or spelt


def _check_levels(slots: Sequence[Slot], categorical: np.ndarray, program: np.ndarray) -> None:
    """What a program gives of a category is taken for its position."""
    for slot, sets, k in zip(slots, categorical, program, strict=True):
        if k >= 0 and sets and slot.levels is not None:
            numbers = level_numbers(slot.levels)
            if not np.array_equal(numbers, np.arange(len(numbers))):
                raise PolicyError(
                    f"features.{slot.name}: the model treats it as a category, and the policy computes its number. "
                    "Number its levels 0, 1, ..., or let the model take it as a number."
                )


def _is_line(models: Sequence[Model], slots: Sequence[Slot], wiring: Wiring, shape: str) -> bool:
    """Whether there is but one model, and nothing that the search for additive ones does not know."""
    coupled = bool(len(wiring.rule)) or bool((wiring.program >= 0).any())
    provided = any(slot.feature.movable and slot.feature.provide is not None for slot in slots)
    return len(models) == 1 and shape == "point" and not coupled and not provided


def _linear(core: Additive, slots: Sequence[Slot]) -> np.ndarray | None:
    """Return the weights of a linear model on the features of the search; None for one that is not."""
    weighed = {term.column for term in core.terms if term.weight is not None}
    for slot in slots:
        if not any(source.column in weighed for source in slot.sources):
            continue
        if slot.feature.movable and not slot.feature.listed and slot.feature.step is None:
            raise PolicyError(
                f"features.{slot.name}: a linear model tells every two numbers apart, so the feature needs a step. "
                "Add for example `step = 1`."
            )
    if not core.is_linear:
        return None
    weights = core.weights
    return np.array([sum(weights[s.column] for s in slot.sources) for slot in slots], dtype=np.float64)


# ------------------------------------------------------------------------------------------------------- once per row


def _differ(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return where values are not those at the start; missing is missing."""
    return np.asarray((values != start) & ~(np.isnan(values) & np.isnan(start)))


def _positions(levels: tuple[Any, ...], seen: np.ndarray) -> np.ndarray:
    """Return the positions of what expressions give for levels; NaN for what is none of them."""
    place = {number: float(p) for p, number in enumerate(level_numbers(levels).tolist())}
    return np.array([place.get(number, np.nan) for number in seen.tolist()])


def _text(value: object) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
