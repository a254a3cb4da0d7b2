"""Any fitted model, read into neutral arrays; the only place that knows the libraries."""

from __future__ import annotations

from .base import Column, Level, Model, Score, Wanted
from .frames import encode_frame
from .isolation import read_plausibility
from .reading import read_model

__all__ = ["Column", "Level", "Model", "Score", "Wanted", "encode_frame", "read_model", "read_plausibility"]
