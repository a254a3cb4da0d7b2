"""Borders on what a pipeline's steps compute, pulled back to raw doubles by bisection through the steps themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LARGEST = float(np.finfo(np.float64).max)
TOGETHER = 8192  # raw values that are asked for in one call
SCANNED = 64  # doubles to either side of a border that are all looked at where a step rounds in its own way

# From numbers for some raw columns, one array each of the same length, to float64[n] of one output column each.
Evaluate = Callable[[Mapping[int, np.ndarray], Sequence[int]], Mapping[int, np.ndarray]]


def to_key(x: np.ndarray) -> np.ndarray:
    """Number the doubles in their order, 0 and -0 as one: int64.

    Examples
    --------
    >>> to_key(np.array([-5e-324, 0.0, 5e-324])).tolist(), from_key(np.array([-1, 0, 1])).tolist()
    ([-1, 0, 1], [-5e-324, 0.0, 5e-324])
    """
    size = np.abs(np.asarray(x, dtype=np.float64)).view(np.int64)
    return np.where(np.signbit(x), -size, size)


def from_key(key: np.ndarray) -> np.ndarray:
    """Return the doubles of these numbers."""
    size = np.abs(np.asarray(key, dtype=np.int64)).view(np.float64)
    return np.where(key < 0, -size, size)


@dataclass(slots=True, eq=False)
class Lines:
    """For each raw column of numbers, where its pieces begin but for the first, ascending."""

    borders: dict[int, np.ndarray]

    def first(self, raw: int) -> np.ndarray:
        """Return the smallest double of each piece."""
        return np.concatenate([[-LARGEST], self.borders[raw]])

    def last(self, raw: int) -> np.ndarray:
        """Return the largest double of each piece."""
        return np.concatenate([np.nextafter(self.borders[raw], -np.inf), [LARGEST]])

    def add(self, raw: int, borders: np.ndarray) -> None:
        """Cut pieces in two at each of these doubles."""
        joined = np.unique(np.concatenate([self.borders[raw], borders]))
        self.borders[raw] = joined[joined > -LARGEST]


@dataclass(frozen=True, slots=True, eq=False)
class Want:
    """Values of an output column, computed from one raw column, at which pieces are to be cut."""

    raw: int
    output: int
    values: np.ndarray  # float64[k]


def pull_back(evaluate: Evaluate, wants: Sequence[Want], lines: Lines) -> None:
    """Cut the pieces of raw columns where an output reaches a value, to the exact double.

    Within each piece every output must rise or fall. A piece is cut at the smallest double at which
    ``output >= value`` is not what it is at the piece's begin.

    Parameters
    ----------
    evaluate : callable
        The steps, on many raw values at once; only the outputs asked for.
    wants : sequence of Want
    lines : Lines
        Changed in place.
    """
    wants = [want for want in wants if len(want.values)]
    if not wants:
        return
    ends = _at_ends(evaluate, wants, lines)
    raw, output, value, low, high, begins = (
        np.concatenate(part) for part in zip(*map(_tasks, wants, ends), strict=True)
    )
    rank = np.zeros(len(raw), dtype=np.int64)  # of a task among those of its raw column: its row
    for r in np.unique(raw):
        rank[raw == r] = np.arange(np.count_nonzero(raw == r))
    low, high = to_key(low), to_key(high)
    n = int(rank.max(initial=-1)) + 1
    outputs = np.unique(output).tolist()
    sections = int(np.clip(TOGETHER // max(1, n), 1, 63)) + 1  # a call costs more than a few rows: cut in many parts
    while np.any(low + 1 < high):  # their difference may overflow
        inside = _between(low, high, sections)
        rows = {int(r): np.zeros(n * (sections - 1)) for r in np.unique(raw)}
        place = rank[:, None] * (sections - 1) + np.arange(sections - 1)
        x = from_key(inside)
        for r, column in rows.items():
            column[place[raw == r]] = x[raw == r]
        given = evaluate(rows, outputs)
        at = np.empty(inside.shape)
        for c in outputs:
            at[output == c] = given[c][place[output == c]]
        still = (at >= value[:, None]) == begins[:, None]
        k = np.where(still.all(axis=1), sections - 1, np.argmin(still, axis=1))
        keys = np.concatenate([low[:, None], inside, high[:, None]], axis=1)
        low, high = keys[np.arange(len(raw)), k], keys[np.arange(len(raw)), k + 1]
    for r in np.unique(raw):
        lines.add(int(r), from_key(high[raw == r]))


def _between(low: np.ndarray, high: np.ndarray, sections: int) -> np.ndarray:
    """Keys that cut each range in so many parts: int64[n, sections - 1]; all of a short one."""
    span = high.view(np.uint64) - low.view(np.uint64)  # modulo 2^64, in which it fits
    i = np.arange(1, sections, dtype=np.uint64)
    whole, rest = np.divmod(span, np.uint64(sections))
    offset = whole[:, None] * i + rest[:, None] * i // np.uint64(sections)
    return (low.view(np.uint64)[:, None] + offset).view(np.int64)


def _at_ends(evaluate: Evaluate, wants: Sequence[Want], lines: Lines) -> list[tuple[np.ndarray, ...]]:
    """The doubles at both ends of each want's pieces, and the output there."""
    raws = {want.raw for want in wants}
    first, last = {r: lines.first(r) for r in raws}, {r: lines.last(r) for r in raws}
    n = max(len(first[r]) for r in raws)
    rows = {r: np.concatenate([_padded(first[r], n), _padded(last[r], n)]) for r in raws}
    given = evaluate(rows, sorted({want.output for want in wants}))
    out: list[tuple[np.ndarray, ...]] = []
    for want in wants:
        k, y = len(first[want.raw]), given[want.output]
        out.append((first[want.raw], last[want.raw], y[:k], y[n : n + k]))
    return out


def _padded(x: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([x, np.zeros(n - len(x))])


def _tasks(want: Want, ends: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The pieces in which the output passes each of the values."""
    first, last, y_first, y_last = ends
    value, piece = [], []
    step = max(1, (1 << 22) // len(first))
    for begin in range(0, len(want.values), step):
        part = want.values[begin : begin + step]
        which, where = np.nonzero((y_first >= part[:, None]) != (y_last >= part[:, None]))
        value.append(part[which])
        piece.append(where)
    v, p = np.concatenate(value), np.concatenate(piece)
    n = len(v)
    return np.full(n, want.raw), np.full(n, want.output), v, first[p], last[p], y_first[p] >= v


def settle(evaluate: Evaluate, wants: Sequence[Want], lines: Lines) -> None:
    """Look at every double near the borders, and cut wherever an output passes a value there.

    Logarithms, powers and interpolation are not exactly rounded: near a border their last digit may wobble.
    """
    for raw in sorted({want.raw for want in wants}):
        mine = [want for want in wants if want.raw == raw and len(want.values)]
        borders = to_key(lines.borders[raw])
        if not mine or not len(borders):
            continue
        near = np.unique((borders[:, None] + np.arange(-SCANNED, SCANNED + 1)[None, :]).reshape(-1))
        given = evaluate({raw: from_key(near)}, sorted({want.output for want in mine}))
        neighbours = np.diff(near) == 1
        cut = np.zeros(len(near), dtype=bool)
        for want in mine:
            rank = ranks(given[want.output], want.values)
            cut[1:] |= neighbours & (np.diff(rank) != 0)
        lines.add(raw, from_key(near[cut]))


def ranks(y: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return how many of the ascending values each y reaches, -1 where it is missing."""
    return np.where(np.isnan(y), -1, np.searchsorted(values, y, side="right"))
