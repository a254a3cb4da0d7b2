"""A folder of proofs, one file for each applicant."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..finder import Finder
    from ..plan import Outcome
    from ..policy import Policy
    from ..population import Population
    from ..values import Value
    from .asking import Asked, Models


def proof_file(folder: Path, name: str) -> Path:
    """Return where an applicant's proof stands; ids that are no plain words are told apart by a hash."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name):
        return folder / f"{name}.json"
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:40]
    return folder / f"{plain}.{hashlib.sha256(name.encode()).hexdigest()[:12]}.json"


def write_proof(folder: Path, finder: Finder, row: Mapping[str, Value], outcome: Outcome) -> None:
    """Write the proof of one outcome, whole or not at all."""
    from ..proof import prove

    proof = prove(
        outcome,
        row,
        finder.model,
        finder.policy,
        finder.population,
        also_approve=finder.also_approve,
        plausibility=finder.plausibility,
        box_steps=finder.box_steps,
    )
    path = proof_file(folder, outcome.id)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(proof, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)


def follow(
    folder: Path,
    models: Models,
    policy: Policy,
    population: Population,
    row: Mapping[str, Any],
    outcome: Outcome,
    asked: Asked,
) -> tuple[str, tuple[str, ...]]:
    """Follow an outcome's proof; return how to count it ("proof", "unfinished proof" or "") and what is wrong."""
    from ..proof import follow as followed

    path = proof_file(folder, outcome.id)
    if not path.is_file():
        return "", (f"there is no proof of it in {folder} ({path.name})",)
    try:
        proof = json.loads(path.read_bytes())
        faults = followed(
            proof,
            outcome,
            row,
            models.model,
            policy,
            population,
            also_approve=models.also_approve,
            plausibility=models.plausibility,
            box_steps=asked.box_steps,
        )
    except (ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        return "", (f"{path.name} is no proof ({error})",)
    if faults and all("unfinished" in fault for fault in faults):
        return "unfinished proof", ()
    return ("" if faults else "proof"), faults
