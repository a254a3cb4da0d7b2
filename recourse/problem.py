"""Rows of applicants as the arrays that the search sees; what a kernel relies on is checked here."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError, PolicyError, UnknownFeature, did_you_mean
from .models import encode_frame
from .models.trees import Trees
from .population import read_numbers, read_positions
from .search.forest import Forest
from .search.moves import Rows, Space

if TYPE_CHECKING:
    import pandas as pd

    from .models.base import Column, Model
    from .policy import Feature, Policy
    from .population import Population

_EXACT = 2**53  # integers up to here are floats exactly
_FAR = 2**52  # the end of a grid without a bound
_LARGEST = float(np.finfo(np.float32).max)  # without a grid, targets are float32 numbers; infinity is none
_WIDE = Context(prec=1500)  # sums and products of any floats' decimal texts are exact


@dataclass(frozen=True, slots=True)
class Encoded:
    """One chunk of applicants: the model's matrix and the search's rows."""

    matrix: np.ndarray  # float64[rows, n_columns], for `Model.score`
    rows: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A model, a policy and a population, ready to encode applicants; built once, shared by all threads."""

    model: Model
    policy: Policy
    names: tuple[str, ...]  # the features that the model uses, in policy order
    space: Space
    forest: Forest | None  # of a tree ensemble
    weight: np.ndarray | None  # float64[n] of a linear model, per unit of the feature's number
    features: tuple[Feature, ...]
    place: np.ndarray  # int64[n], column of the model
    scale: tuple[np.ndarray, ...]  # float64[n_levels] per feature, the model's number of each level (empty: a grid)
    max_changes: int

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """Return the frame's rows as arrays.

        Raises
        ------
        DataError
            If a column is missing, a value is of the wrong kind, infinite, or a level that the policy or the model
            does not have; names column, row and remedy.
        """
        matrix = encode_frame(frame, self.model.columns)
        n_rows, n = len(frame), len(self.names)
        value, cell = np.empty((n_rows, n)), np.empty((n_rows, n), np.int64)
        movable = np.zeros((n_rows, n), np.uint8)
        first, last = np.zeros((n_rows, n), np.int64), np.full((n_rows, n), -1, np.int64)
        origin, stride = np.zeros((n_rows, n), np.int64), np.zeros((n_rows, n), np.int64)
        scale = np.ones((n_rows, n), np.int64)
        low, high = np.full((n_rows, n), -_LARGEST), np.full((n_rows, n), _LARGEST)
        for j, (name, feature) in enumerate(zip(self.names, self.features, strict=True)):
            column = _column(frame, name)
            x = read_positions(column, name, feature) if feature.listed else read_numbers(column, name)
            value[:, j] = x
            cell[:, j] = _cells(self.space, j, matrix[:, self.place[j]])
            if not feature.movable:
                continue
            free = ~np.isnan(x)
            for code in feature.code_values:
                free &= x != code
            movable[:, j] = free
            if feature.listed:
                continue
            where = np.flatnonzero(free)
            bounds = _grid if feature.step is not None else _interval
            try:
                bounds(feature, x[where], where, j, first, last, origin, stride, scale, low, high)
            except _TooFine as error:
                row = frame.index[int(where[error.at])]
                raise DataError(
                    f"column {name!r}, row {row}: {float(x[where[error.at]])!r} has too many digits to count steps of "
                    f'{feature.step} from it exactly. Round it, or set step_from = "zero" for the feature.'
                ) from None
        return Encoded(matrix, Rows(value, cell, movable, first, last, origin, stride, scale, low, high))


def build_problem(model: Model, policy: Policy, population: Population) -> Problem:
    """Check a model and a policy against each other, and lay out what all applicants share.

    Raises
    ------
    UnknownFeature
        If the model needs a column that the policy does not describe.
    PolicyError
        If the policy describes a column as something that the model does not take.
    """
    by_name = {column.name: (j, column) for j, column in enumerate(model.columns)}
    for name in by_name:
        if name not in policy.features:
            raise UnknownFeature(
                f"the model needs the column {name!r}, which the policy does not describe."
                f'{did_you_mean(name, policy.features)} Add a table [features.{name}], with role = "fixed" if '
                "nobody can act on it."
            )
    names = tuple(name for name in policy.features if name in by_name)
    features = tuple(policy.features[name] for name in names)
    columns = [by_name[name][1] for name in names]
    place = np.array([by_name[name][0] for name in names], dtype=np.int64)
    scale = tuple(_scale(name, f, c) for name, f, c in zip(names, features, columns, strict=True))
    core = model.core
    thresholds: list[np.ndarray] = []
    for j in range(len(names)):
        if isinstance(core, Trees):
            mine = (core.feature == place[j]) & (core.members < 0)
            thresholds.append(np.unique(core.threshold[mine]))
        else:
            thresholds.append(np.empty(0))
    space = _space(policy, population, names, features, columns, thresholds, scale, core)
    forest = weight = None
    if isinstance(core, Trees):
        forest = _forest(core, place, thresholds)
    else:
        weight = np.asarray(core.weights, dtype=np.float64)[place]
        for name, feature in zip(names, features, strict=True):
            if feature.movable and not feature.listed and feature.step is None:
                raise PolicyError(
                    f"features.{name}: a linear model tells every two numbers apart, so the feature needs a step. "
                    "Add for example `step = 1`."
                )
    limit = policy.cost.max_changes
    return Problem(
        model=model,
        policy=policy,
        names=names,
        space=space,
        forest=forest,
        weight=weight,
        features=features,
        place=place,
        scale=scale,
        max_changes=len(names) if limit is None else limit,
    )


# ---------------------------------------------------------------------------------------------------- once per policy


def _scale(name: str, feature: Feature, column: Column) -> np.ndarray:
    """Return the model's number of each level, NaN for a level that the model has never seen."""
    if not feature.listed:
        if column.levels is not None and feature.movable:
            raise PolicyError(
                f"features.{name}: the model treats it as a category, the policy as kind = {feature.kind!r}. "
                'Use kind = "category" (or "ordinal") and list its levels.'
            )
        return np.empty(0)
    assert feature.levels is not None
    if column.levels is None:
        numbers = []
        for level in feature.levels:
            if isinstance(level, str):
                try:
                    numbers.append(float(level))
                except ValueError:
                    raise PolicyError(
                        f"features.{name}: the model takes a number, but the policy's level {level!r} is none. "
                        "Write the levels as the numbers that the model was trained on."
                    ) from None
            else:
                numbers.append(float(level))
        return np.array(numbers)
    codes: dict[int, float] = {}
    for position, level in enumerate(column.levels):
        found = feature.position(level)
        if found is not None:
            codes.setdefault(found, float(position))
    return np.array([codes.get(position, np.nan) for position in range(len(feature.levels))])


def _space(
    policy: Policy,
    population: Population,
    names: tuple[str, ...],
    features: tuple[Feature, ...],
    columns: list[Column],
    thresholds: list[np.ndarray],
    scale: tuple[np.ndarray, ...],
    core: Any,
) -> Space:
    n, cost = len(names), policy.cost
    weight, unit = np.zeros(n), np.ones(n)
    knots: list[tuple[np.ndarray, np.ndarray]] = []
    for j, (name, feature) in enumerate(zip(names, features, strict=True)):
        weight[j] = feature.weight
        knots.append((np.empty(0), np.empty(0)))
        if not feature.movable or (feature.listed and feature.kind != "ordinal"):
            continue
        if cost.unit == "percentile":
            knots[j] = population.knots(name)
            if not len(knots[j][0]):
                weight[j] = 0.0
        else:
            unit[j] = population.unit(name, cost.unit)
    base = Space(
        threshold_start=_starts(thresholds),
        threshold=_joined(thresholds),
        cast_single=bool(getattr(core, "cast_single", False)),
        categorical=np.array([c.levels is not None for c in columns], np.uint8),
        listed=np.array([f.listed for f in features], np.uint8),
        direction=np.array([{"any": 0, "up": 1, "down": -1}[f.change] for f in features], np.int8),
        has_grid=np.array([f.step is not None for f in features], np.uint8),
        weight=weight,
        unit=unit,
        per_change=float(cost.per_change),
        knot_start=_starts([k[0] for k in knots]),
        knot_value=_joined([k[0] for k in knots]),
        knot_share=_joined([k[1] for k in knots]),
        code_start=_starts([np.array(f.code_values) for f in features]),
        code=_joined([np.array(f.code_values) for f in features]),
        level_start=np.zeros(n + 1, np.int64),
        list_start=np.zeros(1, np.int64),
        list_level=np.empty(0, np.int64),
        list_cost=np.empty(0, np.int64),
        list_cell=np.empty(0, np.int64),
    )
    level_start, list_start = np.zeros(n + 1, np.int64), [0]
    level, price, cell = [], [], []
    for j, feature in enumerate(features):
        n_levels = len(scale[j])
        level_start[j + 1] = level_start[j] + n_levels
        cells = _cells(base, j, scale[j]) if n_levels else np.empty(0, np.int64)
        for a in range(n_levels):
            for b, micro in _list_moves(base, j, feature, scale[j], cells, a):
                level.append(b)
                price.append(micro)
                cell.append(int(cells[b]))
            list_start.append(len(level))
    return base._replace(
        level_start=level_start,
        list_start=np.array(list_start, np.int64),
        list_level=np.array(level, np.int64),
        list_cost=np.array(price, np.int64),
        list_cell=np.array(cell, np.int64),
    )


def _list_moves(
    space: Space, j: int, feature: Feature, scale: np.ndarray, cells: np.ndarray, start: int
) -> list[tuple[int, int]]:
    """Moves from one level as (level, micro-units): staying, then the first of each other cell by rank."""
    moves = []
    if feature.movable:
        for target in feature.targets(start):
            if np.isnan(scale[target]):
                continue
            if feature.kind == "ordinal":
                if space.knot_start[j + 1] > space.knot_start[j]:
                    values = space.knot_value[space.knot_start[j] : space.knot_start[j + 1]]
                    shares = space.knot_share[space.knot_start[j] : space.knot_start[j + 1]]
                    size = abs(float(np.interp(target, values, shares)) - float(np.interp(start, values, shares)))
                    amount = float(space.weight[j]) * size
                else:
                    amount = float(space.weight[j]) * abs(float(target) - float(start)) / float(space.unit[j])
            else:
                amount = float(space.weight[j]) * feature.move_price(start, target)
            moves.append((round(1e6 * (amount + space.per_change)), abs(target - start), target < start, target))
    out, seen = [(start, 0)], {int(cells[start])}
    for micro, _, _, target in sorted(moves):
        if int(cells[target]) not in seen:
            seen.add(int(cells[target]))
            out.append((target, micro))
    return out


def _forest(core: Trees, place: np.ndarray, thresholds: list[np.ndarray]) -> Forest:
    """The trees with tests on cells."""
    number = np.full(int(place.max(initial=-1)) + 2, -1, np.int32)
    number[place] = np.arange(len(place), dtype=np.int32)
    feature = np.where(core.feature >= 0, number[np.maximum(core.feature, 0)], -1).astype(np.int32)
    cut = np.zeros(len(feature), np.int32)
    for j, values in enumerate(thresholds):
        mine = (feature == j) & (core.members < 0)
        cut[mine] = np.searchsorted(values, core.threshold[mine]) + 1
    tests_set = core.members >= 0
    cut[tests_set] = core.members[tests_set]
    columns = (feature, cut, core.left, core.right, core.missing_left)
    return Forest(
        node=np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.int32),
        sets=np.ascontiguousarray(core.sets, dtype=np.bool_),
        value=np.ascontiguousarray(core.value, dtype=np.float64),
        root=np.ascontiguousarray(core.roots, dtype=np.int32),
        base=float(core.base),
        divisor=float(core.divisor),
        single=bool(core.single),
    )


def _starts(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *parts]).astype(np.float64)


# ------------------------------------------------------------------------------------------------------- once per row


def _column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Return a column that `encode_frame` has found."""
    return frame[name]


def _cells(space: Space, j: int, x: np.ndarray) -> np.ndarray:
    """Cells of the model's numbers or codes; -1 for missing ones."""
    missing = np.isnan(x)
    if space.categorical[j]:
        return np.where(missing, -1, np.nan_to_num(x)).astype(np.int64)
    thresholds = space.threshold[space.threshold_start[j] : space.threshold_start[j + 1]]
    seen = x.astype(np.float32).astype(np.float64) if space.cast_single else x
    return np.where(missing, -1, np.searchsorted(thresholds, seen, side="right")).astype(np.int64)


class _TooFine(Exception):
    """A start that a grid cannot be counted from exactly."""

    def __init__(self, at: int) -> None:
        self.at = at


def _grid(
    feature: Feature,
    x: np.ndarray,
    where: np.ndarray,
    j: int,
    first: np.ndarray,
    last: np.ndarray,
    origin: np.ndarray,
    stride: np.ndarray,
    scale: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> None:
    """Write the grid of a feature, value(i) = (origin + i * stride) / scale, and its permitted indices."""
    assert feature.step is not None
    numerator, denominator = _ratio(feature.step)
    far = _FAR // numerator
    stride[where, j], scale[where, j] = numerator, denominator
    first[where, j], last[where, j] = -far, far
    whole = denominator == 1 and feature.step_from == "zero" and _whole(feature, x)
    if whole:
        lower, upper = _limits(feature, x)
        first[where, j] = np.maximum(-far, -(-np.maximum(lower, -_FAR) // numerator)).astype(np.int64)
        last[where, j] = np.minimum(far, np.minimum(upper, _FAR) // numerator).astype(np.int64)
        return
    if feature.step_from == "zero" and feature.max_change is None:  # the same limits for all
        lower_d, upper_d = _exact_limits(feature, 0.0)
        first[where, j] = _index(lower_d, feature.step, ROUND_CEILING, -far, far)
        last[where, j] = _index(upper_d, feature.step, ROUND_FLOOR, -far, far)
        return
    for k, start in enumerate(x.tolist()):
        lower_d, upper_d = _exact_limits(feature, start)
        if feature.step_from == "applicant":
            at = Decimal(repr(start))
            common = max(denominator, _ratio(at)[1])
            unit = common // denominator * numerator
            if abs(at) * common >= _EXACT:
                raise _TooFine(k)
            origin[where[k], j], stride[where[k], j], scale[where[k], j] = int(at * common), unit, common
            far = (_EXACT - abs(int(at * common))) // unit
            lower_d = None if lower_d is None else _WIDE.subtract(lower_d, at)
            upper_d = None if upper_d is None else _WIDE.subtract(upper_d, at)
        first[where[k], j] = _index(lower_d, feature.step, ROUND_CEILING, -far, far)
        last[where[k], j] = _index(upper_d, feature.step, ROUND_FLOOR, -far, far)


def _interval(
    feature: Feature,
    x: np.ndarray,
    where: np.ndarray,
    j: int,
    first: np.ndarray,
    last: np.ndarray,
    origin: np.ndarray,
    stride: np.ndarray,
    scale: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> None:
    """Write the permitted interval of a feature without a grid, rounded inward."""
    for k, start in enumerate(x.tolist()):
        lower, upper = _exact_limits(feature, start)
        if lower is not None:
            bound = float(lower)
            low[where[k], j] = bound if Decimal(repr(bound)) >= lower else np.nextafter(bound, np.inf)
        if upper is not None:
            bound = float(upper)
            high[where[k], j] = bound if Decimal(repr(bound)) <= upper else np.nextafter(bound, -np.inf)


def _ratio(number: Decimal) -> tuple[int, int]:
    """A decimal as a whole number over a power of ten."""
    exponent = int(number.normalize().as_tuple().exponent)
    denominator = 10 ** max(0, -exponent)
    return int(number * denominator), denominator


def _whole(feature: Feature, x: np.ndarray) -> bool:
    """Whether bounds and starts are whole numbers, so that limits need no decimals."""
    change = feature.max_change
    if change is not None and not isinstance(change, float):
        return False
    numbers = [v for v in (feature.min, feature.max, change) if v is not None]
    return all(float(v).is_integer() and abs(v) < _FAR for v in numbers) and bool(
        change is None or np.all((x == np.floor(x)) & (np.abs(x) < _FAR))
    )


def _limits(feature: Feature, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds and `max_change` of whole numbers."""
    lower = np.full(len(x), -np.inf if feature.min is None else feature.min)
    upper = np.full(len(x), np.inf if feature.max is None else feature.max)
    if isinstance(feature.max_change, float):
        lower, upper = np.maximum(lower, x - feature.max_change), np.minimum(upper, x + feature.max_change)
    return lower, upper


def _exact_limits(feature: Feature, start: float) -> tuple[Decimal | None, Decimal | None]:
    """Bounds and `max_change` around a start, as decimals; None without one."""
    lower = None if feature.min is None else Decimal(repr(feature.min))
    upper = None if feature.max is None else Decimal(repr(feature.max))
    change = feature.max_change
    if change is None:
        return lower, upper
    at = Decimal(repr(start))
    if isinstance(change, float):
        most = Decimal(repr(change))
    else:
        share = _WIDE.multiply(at.copy_abs(), Decimal(repr(change.percent)))
        most = max(_WIDE.scaleb(share, -2), Decimal(repr(change.at_least)))
    below, above = _WIDE.subtract(at, most), _WIDE.add(at, most)
    return below if lower is None else max(lower, below), above if upper is None else min(upper, above)


def _index(limit: Decimal | None, step: Decimal, rounding: str, low: int, high: int) -> int:
    """Index of the outermost grid value within a limit."""
    if limit is None:
        return low if rounding == ROUND_CEILING else high
    whole, rest = _WIDE.divmod(limit, step)  # towards 0; the rest has the limit's sign
    outward = (rest > 0) if rounding == ROUND_CEILING else -(rest < 0)
    return min(max(int(whole) + outward, low - 1), high + 1)
