"""Twins by definition: the cheapest plan by scoring every combination of raw grid values with the native library.

Nothing here is shared with the engine: a value is a value, never a cell; a model is a function of a raw frame. The
policy's words are read as `DEFINITIONS.md` and the policy's documentation say them, in Decimal arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from tests.naive_language import Applicant

Native = Callable[[pd.DataFrame], np.ndarray]  # raw rows -> scores of the favourable class, float64[n]
EXACT = Context(prec=120)


class TooLarge(ValueError):
    """The domain has more points than a twin can score."""


@dataclass(frozen=True)
class Move:
    """One value that a feature may take; `order` sorts a feature's moves as ties are broken."""

    value: Any
    cost: int  # micro-units
    order: tuple[int, int, float, int, Fraction]  # cost, 0 for stay, |change| as priced, 0 for up, |change| exactly
    promised: tuple[Any, ...] | None = None  # all values that must be approved, where they are more than the one

    @property
    def stays(self) -> bool:
        return self.order[1] == 0


@dataclass(frozen=True)
class Domain:
    """Every combination of moves: row i of `choice` holds a position in each feature's sorted moves."""

    names: tuple[str, ...]  # in the policy's order
    moves: tuple[tuple[Move, ...], ...]  # sorted by `order`, so a move's position is its rank
    choice: np.ndarray  # int64[n_points, n_features]
    cost: np.ndarray  # int64[n_points]
    changes: np.ndarray  # int64[n_points]

    def frame(self, row: Mapping[str, Any]) -> pd.DataFrame:
        """Return the points as raw rows, with the columns of `row` in its order."""
        n = len(self.choice)
        position = {name: j for j, name in enumerate(self.names)}
        columns = {}
        for name, start in row.items():
            if name in position:
                j = position[name]
                values = column(
                    [move.value for move in self.moves[j]], number=not isinstance(start, str | bool | type(None))
                )
                columns[name] = values[self.choice[:, j]]
            else:
                columns[name] = np.repeat(column([start], number=not isinstance(start, str | bool | type(None))), n)
        return pd.DataFrame(columns)


@dataclass(frozen=True)
class Answer:
    """What the definitions say about one applicant."""

    status: str  # already_approved | found | none_exists
    best: float  # the best score of any point of the domain
    points: int
    cost: int | None = None  # micro-units
    row: dict[str, Any] | None = None  # the whole changed row
    changes: dict[str, tuple[Any, Any]] | None = None
    plans: tuple[Found, ...] = ()


def column(values: Sequence[Any], *, number: bool) -> np.ndarray:
    """Return values as a column: float64 where they are numbers, objects where they are levels."""
    if number:
        return np.array([math.nan if is_missing(v) else float(v) for v in values], dtype=np.float64)
    out = np.empty(len(values), dtype=object)
    out[:] = list(values)
    return out


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def exact(value: Any) -> Decimal:
    """Return the decimal that a number prints as."""
    return (
        value if isinstance(value, Decimal) else Decimal(repr(float(value)) if isinstance(value, float) else int(value))
    )


def moves(
    policy: Any,
    population: Any,
    name: str,
    start: Any,
    *,
    reach: tuple[float, float] | None = None,
    candidates: Sequence[float] | None = None,
    limit: int = 200_000,
) -> tuple[Move, ...]:
    """Return every move of one feature, in the order of its ties; staying is always among them.

    `reach` bounds a grid that the policy leaves open; values outside it must be of no use to anyone (beyond the last
    threshold of the model, say). `candidates` are the values to look at where there is no step, all by default.
    """
    if name == "wait":
        return _waits(policy)
    feature = policy.features[name]
    stay = Move(start, 0, (0, 0, 0.0, 0, Fraction(0)))
    if feature.role != "action" or feature.manipulable or feature.effect is not None:
        return (stay,)
    with localcontext(EXACT):
        if is_missing(start):
            found = list(_provided(feature, policy, limit)) if feature.provide is not None else []
        elif feature.listed:
            found = list(_listed(feature, policy, population, name, start))
        elif float(start) in {float(code) for code in feature.codes}:
            found = list(_coded(feature, policy, float(start)))
        else:
            found = list(_numbers(feature, policy, population, name, float(start), reach, candidates, limit))
    return tuple(sorted([stay, *found], key=lambda move: move.order))


def _waits(policy: Any) -> tuple[Move, ...]:
    """Months; waiting has a price of its own, and none for changing at all."""
    if policy.time is None:
        return (Move(0, 0, (0, 0, 0.0, 0, Fraction(0))),)
    found = []
    for months in range(policy.time.horizon + 1):
        cost = round(1e6 * (policy.time.cost_per_month * months))
        found.append(Move(months, cost, (cost, int(months > 0), float(months), 0, Fraction(months))))
    return tuple(sorted(found, key=lambda move: move.order))


def _coded(feature: Any, policy: Any, start: float) -> Iterator[Move]:
    """From a code: to what its own list says, codes and numbers alike."""
    for code, targets in (feature.moves or {}).items():
        if float(code) != start:
            continue
        prices = {float(end): price for end, price in (feature.move_cost or {}).get(code, {}).items()}
        for target in map(float, targets):
            cost = round(1e6 * (feature.weight * prices.get(target, 1.0) + policy.cost.per_change))
            change = abs(target - start)
            yield Move(target, cost, (cost, 1, change, 0 if target > start else 1, Fraction(change)))


def _provided(feature: Any, policy: Any, limit: int) -> Iterator[Move]:
    """A missing value that is provided: whatever it is, or each value from which on all must be approved."""
    cost = round(1e6 * (feature.weight * feature.provide.cost + policy.cost.per_change))
    values = admissible(feature, limit)
    if feature.provide.mode == "any":
        if values:
            yield Move(values[0], cost, (cost, 1, 0.0, 0, Fraction(0)), tuple(values))
        return
    for i, value in enumerate(values):
        yield Move(value, cost, (cost, 1, float(i), 0, Fraction(i)), tuple(values[i:]))


def admissible(feature: Any, limit: int = 200_000) -> list[Any]:
    """Every value that a feature may have of which nothing else is known, in order."""
    if feature.listed:
        return list(feature.levels)
    codes = {float(code) for code in feature.codes}
    with localcontext(EXACT):
        low, high = exact(feature.min), exact(feature.max)
        whole = feature.kind in ("integer", "ordinal")
        step = feature.step if feature.step is not None else Decimal(1) if whole else None
        values = (
            _grid(low, high, exact(step), Decimal(0), limit)
            if step is not None
            else _singles(float(low), float(high), limit)
        )
        return [value for value in values if value not in codes and low <= exact(value) <= high]


def _listed(feature: Any, policy: Any, population: Any, name: str, start: Any) -> Iterator[Move]:
    """Levels: a category's or flag's by its move costs, an ordinal's by positions."""
    levels = list(feature.levels) if feature.levels is not None else [0, 1]
    here = levels.index(start)
    for there, level in enumerate(levels):
        if there == here or (feature.change == "up" and there < here) or (feature.change == "down" and there > here):
            continue
        if feature.moves is not None:
            allowed = next((v for k, v in feature.moves.items() if str(k) == str(start)), ())
            if str(level) not in {str(a) for a in allowed}:
                continue
        if feature.kind == "ordinal":
            cap = _cap(feature.max_change, Decimal(here))
            if cap is not None and abs(there - here) > cap:
                continue
            cost = _price(feature, policy, population, name, float(here), float(there))
        else:
            by_start = next((v for k, v in (feature.move_cost or {}).items() if str(k) == str(start)), {})
            price = next((v for k, v in by_start.items() if str(k) == str(level)), 1.0)
            cost = round(1e6 * (feature.weight * price + policy.cost.per_change))
        change = abs(there - here)
        yield Move(level, cost, (cost, 1, float(change), 0 if there > here else 1, Fraction(change)))


def _numbers(
    feature: Any,
    policy: Any,
    population: Any,
    name: str,
    start: float,
    reach: tuple[float, float] | None,
    candidates: Sequence[float] | None,
    limit: int,
) -> Iterator[Move]:
    """Values of a grid, or every float32 where there is no step."""
    origin = exact(start)
    cap = _cap(feature.max_change, origin)
    low = [exact(feature.min)] if feature.min is not None else []
    high = [exact(feature.max)] if feature.max is not None else []
    low += [origin - cap] if cap is not None else []
    high += [origin + cap] if cap is not None else []
    low += [origin] if feature.change == "up" else []
    high += [origin] if feature.change == "down" else []
    low += [exact(float(reach[0]))] if reach else []
    high += [exact(float(reach[1]))] if reach else []
    if not low or not high:
        raise TooLarge(f"{name} has no end")
    bottom, top = max(low), min(high)
    step = (
        feature.step if feature.step is not None else (Decimal(1) if feature.kind in ("integer", "ordinal") else None)
    )
    if step is not None:
        values = _grid(bottom, top, exact(step), origin if feature.step_from == "applicant" else Decimal(0), limit)
    else:
        values = iter(candidates) if candidates is not None else _singles(float(bottom), float(top), limit)
    codes = {float(code) for code in feature.codes}
    for value in values:
        target = exact(value)
        if target == origin or value in codes or not bottom <= target <= top:
            continue
        cost = _price(feature, policy, population, name, start, value)
        change = abs(Fraction(target) - Fraction(origin))
        yield Move(value, cost, (cost, 1, abs(value - start), 0 if target > origin else 1, change))


def _grid(bottom: Decimal, top: Decimal, step: Decimal, zero: Decimal, limit: int) -> Iterator[float]:
    first = math.ceil((Fraction(bottom) - Fraction(zero)) / Fraction(step))
    last = math.floor((Fraction(top) - Fraction(zero)) / Fraction(step))
    if last - first > limit:
        raise TooLarge(f"{last - first} values")
    for i in range(first, last + 1):
        yield float(zero + i * step)


def _singles(bottom: float, top: float, limit: int) -> Iterator[float]:
    value = np.nextafter(np.float32(bottom), np.float32(-np.inf))
    for _ in range(limit):
        if float(value) > top:
            return
        yield float(value)
        value = np.nextafter(value, np.float32(np.inf))
    raise TooLarge("float32 values")


def _cap(limit: Any, start: Decimal) -> Decimal | None:
    """Return the largest change allowed, exactly."""
    if limit is None:
        return None
    if hasattr(limit, "percent"):
        return max(exact(limit.percent) * abs(start) / 100, exact(limit.at_least))
    return exact(limit)


def _price(feature: Any, policy: Any, population: Any, name: str, before: float, after: float) -> int:
    """Micro-units of a numeric change, in the contract's order of float64 operations."""
    if policy.cost.unit == "percentile":
        values, shares = population.knots(name)
        size = abs(float(np.interp(after, values, shares)) - float(np.interp(before, values, shares)))
        return round(1e6 * (feature.weight * size + policy.cost.per_change))
    unit = population.unit(name, policy.cost.unit)
    return round(1e6 * (feature.weight * abs(after - before) / unit + policy.cost.per_change))


def domain(
    policy: Any,
    population: Any,
    row: Mapping[str, Any],
    *,
    limit: int = 50_000,
    reach: Mapping[str, tuple[float, float]] | None = None,
) -> Domain:
    """Return every point that the policy allows this applicant, `max_changes` included."""
    names = tuple(policy.features)
    lists = tuple(moves(policy, population, n, row[n], reach=(reach or {}).get(n), limit=limit) for n in names)
    if math.prod(len(m) for m in lists) > limit:
        raise TooLarge(f"{math.prod(len(m) for m in lists)} points")
    choice = np.indices([len(m) for m in lists]).reshape(len(names), -1).T
    cost = np.zeros(len(choice), dtype=np.int64)
    changes = np.zeros(len(choice), dtype=np.int64)
    for j, list_ in enumerate(lists):
        cost += np.array([move.cost for move in list_], dtype=np.int64)[choice[:, j]]
        changes += np.array([not move.stays for move in list_], dtype=np.int64)[choice[:, j]]
    if policy.cost.max_changes is not None:
        kept = changes <= policy.cost.max_changes
        choice, cost, changes = choice[kept], cost[kept], changes[kept]
    return Domain(names, lists, choice, cost, changes)


# --- the whole language ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What is asked of a plan beside the policy: its shape, how many, and by whom else it must be approved."""

    shape: str = "point"
    box_steps: int = 5
    plans: int = 1
    also_approve: tuple[Native, ...] = ()
    plausibility: Any = None  # raw rows -> scores that must not be below 0


@dataclass(frozen=True)
class Found:
    """One plan by definition."""

    cost: int  # micro-units
    changes: dict[str, tuple[Any, Any]]
    row: dict[str, Any]  # the whole row that is scored


@dataclass(frozen=True)
class Axis:
    """One action: its moves as ties are broken, and every value at which anyone may look."""

    name: str
    moves: tuple[Move, ...]
    values: tuple[Any, ...]
    own: tuple[int, ...]  # of each move, where its value stands among `values`
    promises: tuple[tuple[int, ...], ...]  # of each move, where all values stand that must be approved


def axis(
    policy: Any,
    population: Any,
    name: str,
    start: Any,
    asked: Asked,
    *,
    reach: tuple[float, float] | None = None,
    limit: int = 50_000,
) -> Axis:
    """Return an action with the values that its moves promise."""
    list_ = moves(policy, population, name, start, reach=reach, limit=limit)
    values: dict[Any, int] = {}
    own, promises = [], []
    for move in list_:
        own.append(values.setdefault(key_of(move.value), len(values)))
        rest = move.promised or _beyond(policy, name, start, move, asked, reach, limit)
        promises.append(tuple(sorted({values.setdefault(key_of(v), len(values)) for v in (move.value, *rest)})))
    return Axis(name, list_, tuple(value for _, value in values), tuple(own), tuple(promises))


def key_of(value: Any) -> tuple[bool, Any]:
    """Return what tells a text from a number, with the value."""
    return (isinstance(value, str), None if is_missing(value) else value)


def _beyond(
    policy: Any,
    name: str,
    start: Any,
    move: Move,
    asked: Asked,
    reach: tuple[float, float] | None,
    limit: int,
) -> list[Any]:
    """Return the values past a stated one, in its own direction, that the shape promises."""
    if asked.shape == "point" or move.stays:
        return []
    if name == "wait":
        far = (
            policy.time.horizon if asked.shape == "orthant" else min(policy.time.horizon, move.value + asked.box_steps)
        )
        return list(range(move.value, far + 1))
    feature = policy.features[name]
    codes = {float(code) for code in feature.codes}
    if feature.listed or is_missing(start) or float(start) in codes:
        return []
    up = move.value > float(start)
    with localcontext(EXACT):
        here = exact(move.value)
        end = feature.max if up else feature.min
        ends = [exact(end)] if end is not None else [exact(reach[1 if up else 0])] if reach else []
        whole = feature.kind in ("integer", "ordinal")
        step = feature.step if feature.step is not None else Decimal(1) if whole else None
        if not ends:
            raise TooLarge(f"{name} has no end")
        if step is None:
            raise TooLarge(f"{name} has no step")
        if asked.shape == "box":
            ends.append(here + (asked.box_steps if up else -asked.box_steps) * exact(step))
        far = min(ends) if up else max(ends)
        zero = exact(float(start)) if feature.step_from == "applicant" else Decimal(0)
        found = _grid(min(here, far), max(here, far), exact(step), zero, limit) if (far >= here) == up else iter(())
        return [value for value in found if value not in codes]


@dataclass(frozen=True)
class World:
    """Every row at which anyone may look; arrays have one dimension for each action."""

    axes: tuple[Axis, ...]
    obeys: np.ndarray  # bool: no rule is broken
    clears: np.ndarray  # bool: no knock-out fires
    approved: np.ndarray  # bool: by every model
    score: np.ndarray  # float64, of the first model

    @property
    def good(self) -> np.ndarray:
        return self.clears & self.approved

    def row(self, applicant: Any, place: Sequence[int]) -> dict[str, Any]:
        chosen = {a.name: a.values[i] for a, i in zip(self.axes, place)}
        return applicant.raw(applicant.state(chosen))


def world(
    policy: Any,
    population: Any,
    native: Native,
    applicant: Any,
    asked: Asked,
    bar: float,
    *,
    limit: int,
    reach: Mapping[str, tuple[float, float]],
) -> World:
    """Score every row that the actions can lead to, with what they promise; one after the other by definition."""
    names = [*policy.features, *(["wait"] if policy.time is not None else [])]
    axes = tuple(
        axis(policy, population, name, applicant.start_of(name), asked, reach=reach.get(name), limit=limit)
        for name in names
    )
    axes = tuple(a for a in axes if len(a.values) > 1 or a.name not in policy.features) or axes[:1]
    shape = [len(a.values) for a in axes]
    if math.prod(shape) > limit:
        raise TooLarge(f"{math.prod(shape)} rows")
    obeys, clears, rows = np.ones(shape, dtype=bool), np.ones(shape, dtype=bool), []
    for place in np.ndindex(*shape):
        state = applicant.state({a.name: a.values[i] for a, i in zip(axes, place)})
        obeys[place] = not applicant.broken(state)
        clears[place] = not applicant.fired(state)
        rows.append(applicant.raw(state))
    score = scores(native, rows).reshape(shape)
    approved = score >= bar
    for other in asked.also_approve:
        approved = approved & (scores(other, rows).reshape(shape) >= bar)
    if asked.plausibility is not None:
        approved = approved & (scores(asked.plausibility, rows).reshape(shape) >= 0.0)
    return World(axes, obeys, clears, approved, score)


def scores(native: Native, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the native scores of raw rows."""
    levels = getattr(native, "levels", {})
    return np.asarray(
        native(
            pd.DataFrame(
                {
                    name: column([row[name] for row in rows], number=name not in levels and not _texts(rows, name))
                    for name in rows[0]
                }
            )
        ),
        dtype=np.float64,
    )


def _texts(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(isinstance(row[name], str) for row in rows)


def solve(
    policy: Any,
    population: Any,
    native: Native,
    row: Mapping[str, Any],
    *,
    threshold: float | None = None,
    limit: int = 50_000,
    reach: Mapping[str, tuple[float, float]] | None = None,
    asked: Asked | None = None,
) -> Answer:
    """Return the optimum under (cost, number of changes, ranks from the last feature to the first), or its absence.

    Without `asked`, and with nothing in the policy but features, every point is scored at once; else one by one.
    """
    if asked is None and simple(policy):
        return _solve_points(policy, population, native, row, threshold=threshold, limit=limit, reach=reach)
    return _solve_whole(
        policy, population, native, row, asked or Asked(), threshold=threshold, limit=limit, reach=reach or {}
    )


def simple(policy: Any) -> bool:
    """Whether a policy says nothing of rows but which values each column may take."""
    beyond = (policy.rules, policy.decision.knockouts, policy.time, policy.reapply, policy.groups.columns)
    return not any(beyond) and all(
        f.role != "derived" and f.effect is None and f.provide is None for f in policy.features.values()
    )


def _solve_whole(
    policy: Any,
    population: Any,
    native: Native,
    row: Mapping[str, Any],
    asked: Asked,
    *,
    threshold: float | None,
    limit: int,
    reach: Mapping[str, tuple[float, float]],
) -> Answer:
    bar = float(policy.decision.threshold if threshold is None else threshold)
    applicant = Applicant(policy, row)
    now = float(scores(native, [{**row, **applicant.derived()}])[0])
    if now >= bar and not applicant.fired({**applicant.start, "wait": 0}):
        return Answer("already_approved", now, 1)
    margin = policy.decision.margin
    all_ = world(policy, population, native, applicant, asked, bar + margin, limit=limit, reach=reach)
    ranks = np.indices([len(a.moves) for a in all_.axes]).reshape(len(all_.axes), -1).T
    cost = sum(np.array([m.cost for m in a.moves], dtype=np.int64)[ranks[:, j]] for j, a in enumerate(all_.axes))
    changes = sum(
        np.array([not m.stays for m in a.moves], dtype=np.int64)[ranks[:, j]] for j, a in enumerate(all_.axes)
    )
    own = tuple(np.array(a.own)[ranks[:, j]] for j, a in enumerate(all_.axes))
    fewest = np.full(len(ranks), True) if policy.cost.max_changes is None else changes <= policy.cost.max_changes
    possible = fewest & all_.obeys[own]
    within = all_.score[own][possible & all_.clears[own]]
    best = float(within.max()) if len(within) else -math.inf
    valid = np.flatnonzero(possible & all_.good[own])
    # lexsort's last key is the first to decide: cost, changes, the last feature's rank, ..., the first feature's
    order = valid[np.lexsort([*ranks[valid].T, changes[valid], cost[valid]])]
    found: list[Found] = []
    taboo: list[frozenset[str]] = []
    fits = all_.good | ~all_.obeys
    for i in order:
        moved = [(a, a.moves[r]) for a, r in zip(all_.axes, ranks[i]) if not a.moves[r].stays]
        names = frozenset(a.name for a, _ in moved)
        if any(earlier <= names for earlier in taboo):
            continue
        if fits[np.ix_(*[a.promises[r] for a, r in zip(all_.axes, ranks[i])])].all():
            where = [a.own[r] for a, r in zip(all_.axes, ranks[i])]
            told = {a.name: (applicant.start_of(a.name), _asked_for(policy, a.name, m)) for a, m in moved}
            found.append(Found(int(cost[i]), told, all_.row(applicant, where)))
            taboo.append(names)
            if len(found) == asked.plans or not names:
                break
    points = all_.score.size
    if not found:
        return Answer("none_exists", best, points)
    first = found[0]
    return Answer("found", best, points, first.cost, first.row, first.changes, tuple(found))


def _asked_for(policy: Any, name: str, move: Move) -> Any:
    """Return what a plan asks for: of a value that may be any, none."""
    whatever = move.promised is not None and policy.features[name].provide.mode == "any"
    return None if whatever else move.value


def _solve_points(
    policy: Any,
    population: Any,
    native: Native,
    row: Mapping[str, Any],
    *,
    threshold: float | None,
    limit: int,
    reach: Mapping[str, tuple[float, float]] | None,
) -> Answer:
    """Return the optimum where a row is nothing but its columns' values."""
    bar = float(policy.decision.threshold if threshold is None else threshold)
    here = domain(policy, population, row, limit=limit, reach=reach)
    scores = np.asarray(native(here.frame(row)), dtype=np.float64)
    stay = int(np.flatnonzero(here.changes == 0)[0])
    best = float(scores.max())
    if scores[stay] >= bar:
        return Answer("already_approved", best, len(scores))
    valid = np.flatnonzero(scores >= bar + policy.decision.margin)
    if not len(valid):
        return Answer("none_exists", best, len(scores))
    # lexsort's last key is the first to decide: cost, changes, the last feature's rank, ..., the first feature's
    order = np.lexsort([*here.choice[valid].T, here.changes[valid], here.cost[valid]])
    top = int(valid[order[0]])
    changed = {
        name: (row[name], here.moves[j][here.choice[top, j]].value)
        for j, name in enumerate(here.names)
        if not here.moves[j][here.choice[top, j]].stays
    }
    whole = {name: changed[name][1] if name in changed else value for name, value in row.items()}
    return Answer("found", best, len(scores), int(here.cost[top]), whole, changed)
