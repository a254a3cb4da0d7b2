"""Which values of one numeric feature each applicant may be asked for: a grid's indices, or an interval."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..policy import Feature

LARGEST = float(np.finfo(np.float32).max)  # without a grid, targets are float32 numbers; infinity is none

_EXACT = 2**53  # integers up to here are floats exactly
_FAR = 2**52  # the end of a grid without a bound
_DIGITS = 10**15  # a decimal of at most 15 digits is the shortest text of its nearest float
_PLACES = 9  # most decimal places of an applicant's value that are read without decimals
_ROOM = 2**62
_WIDE = Context(prec=1500)  # sums and products of any floats' decimal texts are exact


class Limits(NamedTuple):
    """One entry for each start; grid value number i is (origin + i * stride) / scale."""

    origin: np.ndarray  # int64[k]
    stride: np.ndarray  # int64[k]
    scale: np.ndarray  # int64[k]
    first: np.ndarray  # int64[k], smallest permitted index (inclusive)
    last: np.ndarray  # int64[k], largest
    outer_first: np.ndarray  # int64[k], the same without `max_change`
    outer_last: np.ndarray  # int64[k]
    low: np.ndarray  # float64[k], permitted interval of a feature without a grid, rounded inward
    high: np.ndarray  # float64[k]
    outer_low: np.ndarray  # float64[k]
    outer_high: np.ndarray  # float64[k]


class TooFine(Exception):
    """A start that a grid cannot be counted from exactly."""

    def __init__(self, at: int) -> None:
        self.at = at


def limits(feature: Feature, start: np.ndarray) -> Limits:
    """Return what a feature's bounds, grid and `max_change` permit from each start (float64[k], NaN: no number).

    From a start that is no number the grid is counted from 0, and `max_change` says nothing.

    Raises
    ------
    TooFine
        Where steps counted from the applicant's value would not be exact.
    """
    out = _alike(feature, len(start))
    if feature.max_change is None and (feature.step is None or feature.step_from == "zero"):
        return out
    number = np.flatnonzero(~np.isnan(start))
    x = start[number]
    places, whole = _integers(x)
    hard = np.zeros(len(x), bool)
    for count in np.unique(places).tolist():  # so that no applicant's limits depend on the others in the chunk
        some = np.flatnonzero(places == count)
        done = None if count < 0 else _fast(feature, whole[some], count)
        if done is None:
            hard[some] = True
        else:
            _write(out, number[some], done)
            hard[some] = done.hard
    for k in _rough(feature, x, np.flatnonzero(hard), number, out).tolist():
        _one(feature, float(x[k]), out, int(number[k]))
    return out


def narrowed(feature: Feature, start: np.ndarray, found: Limits, beyond: int | None, *, coded: np.ndarray) -> Limits:
    """Return the limits without what is of no use to anyone.

    Grids end at a start that may be left in one direction only; from a code (no number, and `coded`) they are empty,
    since its moves are listed. A plan's region reaches no more than `beyond` steps past what may be asked for (None: to
    the outer limits), and nowhere where nothing may be asked for.
    """
    first, last, outer_first, outer_last = found.first, found.last, found.outer_first, found.outer_last
    at = np.nan_to_num((start * found.scale - found.origin) / found.stride)
    home = np.floor(np.clip(at, -(2.0**52), 2.0**52)).astype(np.int64)  # one off at most
    number = ~np.isnan(start)
    if feature.change == "up":
        first = np.where(number, np.maximum(first, home - 1), first)
        outer_first = np.where(number, np.maximum(outer_first, home - 1), outer_first)
    if feature.change == "down":
        last = np.where(number, np.minimum(last, home + 2), last)
        outer_last = np.where(number, np.minimum(outer_last, home + 2), outer_last)
    if beyond is not None:
        outer_first = np.where(number, np.maximum(outer_first, first - beyond), outer_first)
        outer_last = np.where(number, np.minimum(outer_last, last + beyond), outer_last)
    coded = coded & ~number
    first, last = np.where(coded, 0, first), np.where(coded, -1, last)
    stays = first > last
    if feature.step is not None:  # the one value that is permitted may be the start
        only = (found.origin + first * found.stride) / found.scale.astype(np.float64)
        stays |= (first == last) & (only == start)
    outer_first, outer_last = np.where(stays, first, outer_first), np.where(stays, last, outer_last)
    return found._replace(first=first, last=last, outer_first=outer_first, outer_last=outer_last)


def ratio(number: Decimal) -> tuple[int, int]:
    """Return a decimal as a whole number over a power of ten."""
    exponent = int(number.normalize().as_tuple().exponent)
    denominator = 10 ** max(0, -exponent)
    return int(number * denominator), denominator


def _alike(feature: Feature, n: int) -> Limits:
    """Return the limits of a start from which the grid is counted from 0 and nothing limits the change."""
    numerator, denominator = (1, 1) if feature.step is None else ratio(feature.step)
    far = _FAR // numerator
    lower, upper = _ends(feature, 0.0, lifted=True)
    first, last, low, high = -far, far, -LARGEST, LARGEST
    if feature.step is None:
        low, high = _inward(lower, upper)
    else:
        first = _index(lower, Decimal(0), feature.step, ROUND_CEILING, -far, far)
        last = _index(upper, Decimal(0), feature.step, ROUND_FLOOR, -far, far)
    whole = [np.full(n, v, np.int64) for v in (0, numerator, denominator, first, last, first, last)]
    return Limits(*whole, *(np.full(n, v) for v in (low, high, low, high)))


# ------------------------------------------------------------------------------------- all starts at once, in integers


class _Done(NamedTuple):
    """Parts of `Limits` for some starts, None where a part keeps its default."""

    origin: np.ndarray | None
    stride: int
    scale: int
    indices: tuple[np.ndarray, ...] | None  # first, last, outer first, outer last
    bounds: tuple[np.ndarray, ...] | None  # low, high, outer low, outer high
    hard: np.ndarray  # bool[k], starts that need decimals


def _write(out: Limits, where: np.ndarray, done: _Done) -> None:
    if done.origin is not None:
        out.origin[where] = done.origin
        out.stride[where], out.scale[where] = done.stride, done.scale
    if done.indices is not None:
        for to, part in zip((out.first, out.last, out.outer_first, out.outer_last), done.indices, strict=True):
            to[where] = part
    if done.bounds is not None:
        for to, part in zip((out.low, out.high, out.outer_low, out.outer_high), done.bounds, strict=True):
            to[where] = part


def _integers(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each start's decimal places, -1 where they are many, and the start as an integer at these."""
    places, whole = np.full(len(x), -1, np.int64), np.zeros(len(x), np.int64)
    for count in range(_PLACES + 1):
        scaled = np.rint(np.clip(x * 10.0**count, -1e18, 1e18))
        # the quotient is the float nearest to the decimal, as both operands are exact
        fits = (places < 0) & (np.abs(scaled) < _DIGITS) & (scaled / 10.0**count == x)
        places[fits], whole[fits] = count, scaled[fits].astype(np.int64)
        if (places >= 0).all():
            break
    return places, whole


def _places(numbers: list[Decimal]) -> int:
    return max((max(0, -int(v.normalize().as_tuple().exponent)) for v in numbers), default=0)


def _fast(feature: Feature, whole: np.ndarray, places: int) -> _Done | None:
    """Return limits from starts ``whole / 10**places`` by int64 arithmetic; None where that has no room."""
    change = feature.max_change
    lower = None if feature.min is None else _decimal(feature.min)
    upper = None if feature.max is None else _decimal(feature.max)
    most = least = percent = None
    if isinstance(change, float):
        most = _decimal(change)
    elif change is not None:
        percent, least = _decimal(change.percent), _decimal(change.at_least)
    anchored = feature.step is not None and feature.step_from == "applicant"
    numbers = [v for v in (lower, upper, most, least, feature.step) if v is not None]
    digits = max(places, _places(numbers))
    if percent is not None:
        digits = max(digits, places + _places([percent]) + 2)
    unit = 10**digits
    largest = max((abs(v) * unit for v in numbers), default=Decimal(0))
    far_start = int(np.abs(whole).max(initial=0)) * 10 ** (digits - places)
    if digits > 18 or largest >= _ROOM // 4 or far_start >= _ROOM // 4:
        return None
    at = whole * 10 ** (digits - places)
    size: np.ndarray | None = None
    if most is not None:
        size = np.full(len(whole), int(most * unit), np.int64)
    if percent is not None and least is not None:
        share, held = ratio(percent)
        factor = share * (unit // (10**places * held * 100))
        if int(np.abs(whole).max(initial=0)) * factor >= _ROOM // 4:
            return None
        size = np.maximum(np.abs(whole) * factor, int(least * unit))
    ends = [None if v is None else np.full(len(whole), int(v * unit), np.int64) for v in (lower, upper)]
    inner = list(ends)
    if size is not None:
        below, above = at - size, at + size
        inner = [below if ends[0] is None else np.maximum(ends[0], below)]
        inner.append(above if ends[1] is None else np.minimum(ends[1], above))
    hard = np.zeros(len(whole), bool)
    if feature.step is None:
        bounds = []
        for limit, default in zip([*inner, *ends], [-LARGEST, LARGEST] * 2, strict=True):
            if limit is None:
                bounds.append(np.full(len(whole), default))
            else:
                hard |= np.abs(limit) >= _DIGITS
                bounds.append(limit / float(unit))
        return _Done(None, 1, 1, None, tuple(bounds), hard)
    numerator, denominator = ratio(feature.step)
    origin, stride, scale = None, numerator, denominator
    far = np.full(len(whole), _FAR // numerator)
    if anchored:
        scale = max(denominator, 10**places)
        stride = scale // denominator * numerator
        hard |= np.abs(whole) >= _EXACT // (scale // 10**places)
        origin = np.where(hard, 0, whole) * (scale // 10**places)
        far = (_EXACT - np.abs(origin)) // stride
    step = int(feature.step * unit)
    zero = at if anchored else np.zeros(len(whole), np.int64)
    index = []
    for k, limit in enumerate([*inner, *ends]):
        if limit is None:
            index.append(far if k % 2 else -far)
        else:
            exact = (limit - zero) // step if k % 2 else -((zero - limit) // step)
            index.append(np.clip(exact, -far - 1, far + 1))
    return _Done(origin, stride, scale, tuple(index), None, hard)


def _rough(feature: Feature, x: np.ndarray, hard: np.ndarray, number: np.ndarray, out: Limits) -> np.ndarray:
    """Write the indices of starts with many digits where floats can tell them; return the starts where they cannot.

    They can where the ends of the largest change lie well between two values of the grid.
    """
    change = feature.max_change
    if not len(hard) or feature.step is None or feature.step_from != "zero" or change is None:
        return hard
    at, step = x[hard], float(feature.step)
    size = np.full(len(at), change) if isinstance(change, float) else np.abs(at) * change.percent / 100
    if not isinstance(change, float):
        size = np.maximum(size, change.at_least)
    low, high = (at - size) / step, (at + size) / step
    reach = (np.abs(at) + size) / step
    error = 1e-9 * (1.0 + reach)
    sure = (reach < 1e6) & (np.abs(low - np.rint(low)) > error) & (np.abs(high - np.rint(high)) > error)
    where, low, high = number[hard[sure]], np.ceil(low[sure]), np.floor(high[sure])
    out.first[where] = np.maximum(out.outer_first[where], low.astype(np.int64))
    out.last[where] = np.minimum(out.outer_last[where], high.astype(np.int64))
    return hard[~sure]


def _decimal(number: float) -> Decimal:
    return Decimal(repr(number))


# ------------------------------------------------------------------------------------------ one start, in wide decimals


def _one(feature: Feature, start: float, out: Limits, k: int) -> None:
    """Write entry k, for any start."""
    inner, outer = _ends(feature, start, lifted=False), _ends(feature, start, lifted=True)
    if feature.step is None:
        out.low[k], out.high[k] = _inward(*inner)
        out.outer_low[k], out.outer_high[k] = _inward(*outer)
        return
    numerator, denominator = ratio(feature.step)
    far, at = _FAR // numerator, Decimal(0)
    if feature.step_from == "applicant":
        at = _decimal(start)
        common = max(denominator, ratio(at)[1])
        unit = common // denominator * numerator
        if abs(at) * common >= _EXACT or max(common, unit) >= _EXACT:
            raise TooFine(k)
        out.origin[k], out.stride[k], out.scale[k] = int(at * common), unit, common
        far = (_EXACT - abs(int(at * common))) // unit
    for (lower, upper), first, last in (
        (inner, out.first, out.last),
        (outer, out.outer_first, out.outer_last),
    ):
        first[k] = _index(lower, at, feature.step, ROUND_CEILING, -far, far)
        last[k] = _index(upper, at, feature.step, ROUND_FLOOR, -far, far)


def _ends(feature: Feature, start: float, *, lifted: bool) -> tuple[Decimal | None, Decimal | None]:
    """Return bounds, and unless `lifted` those of `max_change`, around a start; None without one."""
    lower = None if feature.min is None else _decimal(feature.min)
    upper = None if feature.max is None else _decimal(feature.max)
    change = feature.max_change
    if change is None or lifted:
        return lower, upper
    at = _decimal(start)
    if isinstance(change, float):
        most = _decimal(change)
    else:
        share = _WIDE.multiply(at.copy_abs(), _decimal(change.percent))
        most = max(_WIDE.scaleb(share, -2), _decimal(change.at_least))
    below, above = _WIDE.subtract(at, most), _WIDE.add(at, most)
    return below if lower is None else max(lower, below), above if upper is None else min(upper, above)


def _inward(lower: Decimal | None, upper: Decimal | None) -> tuple[float, float]:
    """Return the interval as floats that print within it."""
    low, high = -LARGEST, LARGEST
    if lower is not None:
        low = float(lower)
        low = low if _decimal(low) >= lower else float(np.nextafter(low, np.inf))
    if upper is not None:
        high = float(upper)
        high = high if _decimal(high) <= upper else float(np.nextafter(high, -np.inf))
    return low, high


def _index(limit: Decimal | None, origin: Decimal, step: Decimal, rounding: str, low: int, high: int) -> int:
    """Return the index of the outermost grid value within a limit."""
    if limit is None:
        return low if rounding == ROUND_CEILING else high
    whole, rest = _WIDE.divmod(_WIDE.subtract(limit, origin), step)  # towards 0; the rest has the limit's sign
    outward = (rest > 0) if rounding == ROUND_CEILING else -(rest < 0)
    return min(max(int(whole) + outward, low - 1), high + 1)
