"""How much work one applicant may take."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError


@dataclass(frozen=True, slots=True)
class Budget:
    """How much work one applicant may take, counted so that a run repeats bit for bit.

    `nodes` are boxes bounded by an exact search; `calls` are rows that a black box is asked to score.

    Examples
    --------
    >>> Budget(nodes=50_000).nodes
    50000
    """

    nodes: int = 200_000
    calls: int = 500

    def __post_init__(self) -> None:
        """Refuse a budget that allows nothing."""
        if self.nodes < 1:
            raise InputError(f"a budget needs at least one node, got {self.nodes}")
        if self.calls < 1:
            raise InputError(f"a budget needs at least one call, got {self.calls}")
