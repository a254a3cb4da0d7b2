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
    feature = policy.features[name]
    stay = Move(start, 0, (0, 0, 0.0, 0, Fraction(0)))
    if feature.role != "action" or is_missing(start):
        return (stay,)
    if not feature.listed and float(start) in set(feature.code_values):
        return (stay,)
    with localcontext(EXACT):
        found = (
            list(_listed(feature, policy, population, name, start))
            if feature.listed
            else list(_numbers(feature, policy, population, name, float(start), reach, candidates, limit))
        )
    return tuple(sorted([stay, *found], key=lambda move: move.order))


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
    codes = set(feature.code_values)
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


def solve(
    policy: Any,
    population: Any,
    native: Native,
    row: Mapping[str, Any],
    *,
    threshold: float | None = None,
    limit: int = 50_000,
    reach: Mapping[str, tuple[float, float]] | None = None,
) -> Answer:
    """Return the optimum under (cost, number of changes, ranks from the last feature to the first), or its absence."""
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
