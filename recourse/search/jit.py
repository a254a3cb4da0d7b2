"""The decorators of every kernel, so that all jit flags are chosen once.

No fastmath: sums must be the same on every machine and thread count. `nogil` lets rows run on threads; `cache` lets a
second process start at once; ``error_model="numpy"`` drops the division checks from inner loops. Compiling is paid by
every user once, so what only kernels call has no wrapper for Python (`inner`), copies are loops rather than slices, and
numpy's own functions are kept out.
"""

from __future__ import annotations

from typing import Any

import numba

_FLAGS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": False, "error_model": "numpy"}
_BARE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

kernel = numba.njit(**_FLAGS)
inner = numba.njit(**_FLAGS, **_BARE)
