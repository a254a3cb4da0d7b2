"""The jit flags of every kernel.

No fastmath: sums must be the same on every machine and thread count. `nogil` lets rows run on threads;
``error_model="numpy"`` drops the division checks from inner loops.
"""

from __future__ import annotations

from typing import Any

FLAGS: dict[str, Any] = {"nogil": True, "fastmath": False, "error_model": "numpy"}
BARE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # of what Python never calls
