"""Proofs that no cheaper plan exists: written by a prover, followed by a checker, both in plain Python and numpy."""

from .follow import follow
from .prove import MOST_BOXES, prove

__all__ = ["MOST_BOXES", "follow", "prove"]
