"""The native model's scores of raw rows, encoded a column at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..errors import DataError
from ..models import encode_frame
from ..values import Value

if TYPE_CHECKING:
    from ..models.base import Column, Model

_NUMBERS = {int, float, bool, type(None)}


class Scorer:
    """A model as a function of raw rows."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.names = tuple(column.name for column in model.columns)
        self._codes: tuple[dict[tuple[type, Value], float], ...] = tuple({} for _ in model.columns)

    def matrix(self, rows: Sequence[Mapping[str, Value]]) -> np.ndarray:
        """Return plain rows as the matrix that the model scores, as `encode_frame` does.

        Raises
        ------
        DataError
            A row lacks a column, or holds what the model does not take.
        """
        out = np.empty((len(rows), len(self.names)))
        for j, name in enumerate(self.names):
            try:
                out[:, j] = self.column(j, [row[name] for row in rows])
            except KeyError:
                raise DataError(f"the row has no column {name!r}, which the model needs") from None
        return out

    def column(self, j: int, values: list[Value]) -> np.ndarray:
        """Return the values of one column as the model's numbers."""
        column = self.model.columns[j]
        if column.levels is None:
            if set(map(type, values)) <= _NUMBERS:
                try:
                    numbers = np.array(values, dtype=np.float64)  # None becomes NaN
                except OverflowError:
                    return _encoded(values, column)
                if not np.isinf(numbers).any():
                    return numbers
            return _encoded([np.nan if value is None else value for value in values], column)
        known = self._codes[j]
        keys = [(type(value), value) for value in values]
        for key in set(keys) - known.keys():
            known[key] = float(_encoded([key[1]], column)[0])
        return np.array([known[key] for key in keys])

    def scores(self, rows: Sequence[Mapping[str, Value]]) -> list[float | str]:
        """Return the native score of each raw row, or why it has none."""
        if not rows:
            return []
        try:
            return [float(score) for score in self.model.score(self.matrix(rows))]
        except DataError as error:
            if len(rows) == 1:
                return [str(error)]
            return [self.scores([row])[0] for row in rows]


def _encoded(values: Sequence[Value], column: Column) -> np.ndarray:
    frame = pd.DataFrame({column.name: pd.Series(values)})
    return encode_frame(frame, (column,))[:, 0]
