"""What `find` says of an outcome beyond itself: what its plans withstand, what blocks it, why nothing is cheaper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from ..values import plain

if TYPE_CHECKING:
    import pandas as pd

    from ..finder import Finder
    from ..models.base import Model
    from ..plan import Outcome, Plan
    from ..values import Value


class Enrichment:
    """Adds to outcomes what was asked for; nothing by default."""

    def __init__(
        self,
        finder: Finder,
        *,
        refits: Sequence[Model] = (),
        robustness: bool = False,
        blocking: bool = False,
        proofs: Path | None = None,
    ) -> None:
        from ..models.blackbox import BlackBox
        from ..models.trees import Trees

        if isinstance(finder.model.core, BlackBox) and (blocking or proofs is not None):
            raise DataError("--blocking and --proof need a model that is read exactly, not a --black-box")
        self._finder, self._robustness, self._proofs = finder, robustness, proofs
        self._refits = self._relaxations = None
        if refits:
            from ..survival import Refits

            self._refits = Refits(finder, refits)
        if blocking:
            from ..obstacles import Relaxations

            self._relaxations = Relaxations(finder)
        if proofs is not None:
            wrong = next((m for m in finder._problem.models if not isinstance(m.core, Trees)), None)
            if wrong is not None:
                raise DataError(
                    f"--proof: proofs are written for tree ensembles, and {wrong.name} is none; leave it out"
                )
            if proofs.exists() and not proofs.is_dir():
                raise DataError(f"{proofs} is no folder; --proof needs one")
            proofs.mkdir(parents=True, exist_ok=True)

    def of(self, outcome: Outcome, row: pd.Series[object]) -> Outcome:
        """Return an outcome with what was asked for; its proof goes to a file."""
        if not (self._robustness or self._refits or self._relaxations or self._proofs):
            return outcome
        values: dict[str, Value] = {str(name): plain(value) for name, value in row.items()}
        if outcome.plans and (self._robustness or self._refits is not None):
            plans = tuple(self._withstanding(plan, values, outcome.threshold) for plan in outcome.plans)
            outcome = replace(outcome, plans=plans)
        if outcome.status == "none_exists" and self._relaxations is not None:
            found = self._relaxations.blocking(values, threshold=outcome.threshold)
            outcome = replace(outcome, blocking=found.to_dict())
        if self._proofs is not None and outcome.status in ("found", "none_exists"):
            from .proofs import write_proof

            write_proof(self._proofs, self._finder, values, outcome)
        return outcome

    def _withstanding(self, plan: Plan, row: dict[str, Value], threshold: float) -> Plan:
        from ..survival import robustness

        if self._robustness:
            plan = replace(plan, robustness=robustness(self._finder, row, plan, threshold=threshold))
        if self._refits is not None:
            plan = replace(plan, refit_survival=self._refits.survival(row, plan, threshold=threshold))
        return plan
