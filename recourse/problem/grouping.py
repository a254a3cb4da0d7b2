"""Columns that are one feature: a category with a column for each level, or a ladder with a column for each rung."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..errors import DataError, did_you_mean
from ..values import plain

if TYPE_CHECKING:
    from ..models.base import Column
    from ..policy import Policy


@dataclass(frozen=True, slots=True)
class Group:
    """A feature whose values are spelt by several columns of zeros and ones.

    Of a category, the column of its level is 1 and the others are 0; a level beyond the columns has none. Of a ladder,
    the first `level` columns are 1.

    Examples
    --------
    >>> overdue = Group("overdue", ("overdue_30", "overdue_60"), ladder=True, size=3)
    >>> overdue.ones
    array([[False, False],
           [ True, False],
           [ True,  True]])
    >>> overdue.read(pd.DataFrame({"overdue_30": [0, 1], "overdue_60": [0, 1]}))
    array([0., 2.])
    """

    name: str
    members: tuple[str, ...]
    ladder: bool
    size: int  # number of levels

    @property
    def ones(self) -> np.ndarray:
        """bool[size, n_members], which columns are 1 at each position."""
        rung, position = np.arange(len(self.members)), np.arange(self.size)[:, None]
        return rung < position if self.ladder else rung == position

    def read(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the position of each row: float64[n_rows].

        Raises
        ------
        DataError
            If a column is missing or holds anything but 0 and 1, or a row's columns are no level; names the row.
        """
        cells = np.empty((len(frame), len(self.members)))
        for i, member in enumerate(self.members):
            if member not in frame.columns:
                guess = did_you_mean(member, map(str, frame.columns))
                raise DataError(f"the data has no column {member!r} of the group {self.name!r}.{guess}")
            cells[:, i] = _zeros_and_ones(frame[member], member, self.name)
        count = cells.sum(axis=1)
        if self.ladder:
            wrong = np.flatnonzero((np.diff(cells, axis=1) > 0).any(axis=1))
            what = "a 0 stands before a 1 in the ladder"
        else:
            spare = self.size > len(self.members)
            wrong = np.flatnonzero((count != 1) & ~((count == 0) & spare))
            what = f"expected {'at most one' if spare else 'exactly one'} 1 in the group"
        if len(wrong):
            row, columns = frame.index[int(wrong[0])], ", ".join(self.members)
            found = ", ".join(str(int(v)) for v in cells[wrong[0]])
            raise DataError(
                f"row {row}: {what} {self.name!r}, got {found} in {columns}. "
                "Correct the row"
                + ("." if self.ladder or spare else ", or give the feature one level more, for none of the columns.")
            )
        if self.ladder or not len(self.members):
            return count
        return np.where(count == 0, float(len(self.members)), cells.argmax(axis=1))

    def numbers(self, column: Column) -> np.ndarray:
        """Return what a model's matrix holds in one member's column at each position: float64[size].

        NaN where the model has never seen the 0 or the 1.
        """
        one = self.ones[:, self.members.index(column.name)]
        if column.levels is None:
            return one.astype(np.float64)
        places = {_digit(level): float(place) for place, level in reversed(list(enumerate(column.levels)))}
        return np.where(one, places.get("1", np.nan), places.get("0", np.nan))


def groups_of(policy: Policy) -> dict[str, Group]:
    """Return the policy's groups by the name of their feature."""
    out = {}
    for name, members in policy.groups.columns.items():
        ladder, levels = name in policy.groups.thermometer, policy.features[name].levels
        out[name] = Group(name, tuple(members), ladder, len(levels or ()))
    return out


def _zeros_and_ones(column: pd.Series, member: str, group: str) -> np.ndarray:
    kind = column.dtype.kind if isinstance(column.dtype, np.dtype) else ""
    if kind in ("b", "i", "u", "f"):
        values = column.to_numpy(dtype=np.float64)
    else:
        known = {"0": 0.0, "1": 1.0}
        values = np.array([known.get(_digit(value), np.nan) for value in column.tolist()])
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if len(wrong):
        row, value = column.index[int(wrong[0])], column.iloc[int(wrong[0])]
        missing = bool(pd.isna(value))
        raise DataError(
            f"column {member!r}, row {row}: expected 0 or 1 in the group {group!r}, "
            f"got {'a missing value' if missing else repr(plain(value))}. Correct the row."
        )
    return values


def _digit(value: object) -> str:
    """Return a value as a file would hold it, truth values as digits."""
    if isinstance(value, bool | np.bool_ | float | np.floating) and float(value) in (0.0, 1.0):
        return str(int(value))
    return str(value)
