"""The one decorator of every kernel, so that all jit flags are chosen once.

No fastmath: sums must be the same on every machine and thread count. `nogil` lets rows run on threads; `cache` lets a
second process start at once; ``error_model="numpy"`` drops the division checks from inner loops.
"""

from __future__ import annotations

import numba

kernel = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
inline = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", inline="never")
