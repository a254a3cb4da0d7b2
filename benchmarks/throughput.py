"""The user's time and memory: applicants a second through `find_many`, encoding and native checks included."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import pandas as pd

from recourse import Finder

from . import machine
from .workloads import Workload


def measure(work: Workload, *, rows: int, threads: int, runs: int = 5) -> dict[str, Any]:
    """Stream `rows` applicants (the workload's, repeated) through `find_many` and note rate and resident memory."""
    repeats = -(-rows // len(work.frame))
    frame = pd.concat([work.frame] * repeats, ignore_index=True).iloc[:rows]
    finder = Finder(work.model, work.policy, work.population)
    for _ in finder.find_many(frame.iloc[: 64 * threads], threads=threads):  # compiles, or loads what is compiled
        pass
    rates, references = [], []
    statuses: dict[str, int] = {}
    memory: list[dict[str, float]] = []
    for run in range(runs):
        references.append(machine.reference_ms())
        print(f"throughput {work.name}: run {run + 1} of {runs}", file=sys.stderr, flush=True)
        memory = [{"rows": 0, "mb": round(machine.resident_mb(), 1)}]
        statuses = {}
        began = time.perf_counter()
        for count, outcome in enumerate(finder.find_many(frame, threads=threads), start=1):
            key = outcome.status if outcome.certificate or not outcome.plans else _label(outcome)
            statuses[key] = statuses.get(key, 0) + 1
            if count % max(rows // 10, 1) == 0:
                memory.append({"rows": count, "mb": round(machine.resident_mb(), 1)})
        rates.append(rows / (time.perf_counter() - began))
    return {
        "workload": f"throughput-{work.name}",
        "kind": "throughput",
        "machine": machine.describe(threads=threads),
        "reference_ms": round(statistics.median(references), 3),
        "rows": rows,
        "runs": runs,
        "applicants_per_second": round(statistics.median(rates)),
        "statuses": statuses,
        "memory": memory,
    }


def _label(outcome: Any) -> str:
    return "found, proven" if outcome.plans[0].certificate.proven else "found, open"
