"""The decorators of every kernel: `kernel` for what Python calls, `inner` for what only kernels call."""

from __future__ import annotations

from typing import Any

import numba

from .flags import BARE, FLAGS

TRIED = ("0.68.",)  # releases of Numba whose inner parts `linking` was tried with

kernel: Any
inner: Any
if numba.__version__.startswith(TRIED):
    from .linking import inner, kernel
else:
    kernel, inner = numba.njit(cache=True, **FLAGS), numba.njit(cache=True, **FLAGS, **BARE)
