"""``recourse warmup``: compile the search kernels ahead of the first run."""

from __future__ import annotations

import time

from .options import Debug, JsonErrors, Quiet
from .reporting import COMPILING, note, stdout


def warmup(quiet: Quiet = False, json_errors: JsonErrors = False, debug: Debug = False) -> None:
    """Compile the search kernels, for containers: later runs load them from the cache.

    Run it as the user who will run the searches. NUMBA_CACHE_DIR moves the cache.
    """
    from ..warming import cache_dir, warm_up

    note(COMPILING, quiet=quiet)
    began = time.perf_counter()
    warm_up()
    place = cache_dir()
    stdout().print(
        f"ready after {time.perf_counter() - began:.1f} s; cached in {place}", highlight=False, soft_wrap=True
    )
