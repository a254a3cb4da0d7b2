"""The work that is timed: a model, a policy, the applicants it refused, and the optimal costs where they are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from recourse import Policy


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """One piece of work; `frame` holds only refused applicants."""

    name: str
    model: Any  # whatever `Finder` takes
    policy: Policy
    population: pd.DataFrame
    frame: pd.DataFrame
    known: dict[int, tuple[str, float]] = field(default_factory=dict)  # row -> (status, optimal cost), proven elsewhere
