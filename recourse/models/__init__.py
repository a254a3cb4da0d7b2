"""Any fitted model, read into neutral arrays; the only place that knows the libraries."""

from __future__ import annotations
