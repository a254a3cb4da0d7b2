"""One thing that looks wrong in a policy, and how it is worded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .._columns import number_text

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NAMED = 5  # levels that a message lists


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that looks wrong: an error makes the policy unusable here, a warning wants a look."""

    level: Literal["error", "warning"]
    feature: str | None
    message: str

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.level}: {'' if self.feature is None else self.feature + ': '}{self.message}"


def warning(name: str | None, message: str) -> Finding:
    return Finding("warning", name, message)


def error(name: str | None, message: str) -> Finding:
    return Finding("error", name, message)


def rows_like(column: pd.Series[Any], rows: np.ndarray, values: np.ndarray | None = None) -> str:
    """Count rows out of all, with one as an example."""
    what = "" if values is None else f": {number_text(float(values[rows[0]]))}"
    return f"{len(rows):,} of {len(column):,} rows, such as row {column.index[int(rows[0])]}{what}"


def listed(levels: list[Any]) -> str:
    more = f" and {len(levels) - NAMED:,} more" if len(levels) > NAMED else ""
    return ", ".join(repr(level) for level in levels[:NAMED]) + more
