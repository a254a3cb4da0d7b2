"""The search proper timed query by query: an encoded problem in, a certified plan out."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from recourse import Budget, Finder

from . import machine
from .workloads import Workload

TOLERANCE = 1e-5  # the frozen costs are float sums, ours are rounded to micro-units
RUNS = 5
STATISTICS = {"p50": 50, "p95": 95, "p99": 99}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one search returned."""

    status: str
    cost: float | None
    bound: float | None
    nodes: int
    proven: bool


def measure(work: Workload, *, nodes: int, compile_seconds: float, runs: int = RUNS) -> dict[str, Any]:
    """Solve every query through the public finder, then time its search alone `runs` times."""
    finder = Finder(work.model, work.policy, work.population, budget=Budget(nodes=nodes))
    outcomes = list(finder.find_many(work.frame, threads=1))
    batch = finder.encode(work.frame)
    references, answers = [], [_solve(finder, batch, i) for i in range(len(work.frame))]
    seconds = np.empty((runs, len(work.frame)))
    for run in range(runs):
        references.append(machine.reference_ms())
        print(f"{work.name}: run {run + 1} of {runs}", file=sys.stderr, flush=True)
        gc.collect()
        for i in range(len(work.frame)):
            began = time.perf_counter()
            again = _solve(finder, batch, i)
            seconds[run, i] = time.perf_counter() - began
            if again != answers[i]:
                raise SystemExit(f"{work.name}: query {i} is not deterministic: {answers[i]}, then {again}")
    for i, outcome in enumerate(outcomes):
        cost = outcome.plans[0].cost if outcome.plans else None
        if (outcome.status, cost) != (answers[i].status, answers[i].cost):
            raise SystemExit(f"{work.name}: query {i}: find_many says {outcome}, the timed search {answers[i]}")
    ms = 1e3 * seconds
    each = statistics.median
    return {
        "workload": work.name,
        "kind": "search",
        "machine": machine.describe(threads=1),
        "reference_ms": round(each(references), 3),
        "node_budget": nodes,
        "runs": runs,
        "compile_seconds": round(compile_seconds, 2),  # of all kernels, in another process with an empty cache
        "ms": {
            **{name: _short(each(np.percentile(ms, q, axis=1))) for name, q in STATISTICS.items()},
            "mean": _short(each(ms.mean(axis=1))),
            "max": _short(each(ms.max(axis=1))),
        },
        "proven": sum(answer.proven for answer in answers),
        "statuses": dict(Counter(answer.status for answer in answers)),
        "queries": [
            {
                "id": str(label),
                "status": answer.status,
                "cost": answer.cost,
                "bound": answer.bound,
                "proven": answer.proven,
                "nodes": answer.nodes,
                "ms": _short(float(np.median(ms[:, i]))),
            }
            for i, (label, answer) in enumerate(zip(work.frame.index, answers, strict=True))
        ],
    }


def disagreements(work: Workload, result: dict[str, Any]) -> list[str]:
    """Return where a result contradicts the costs proven elsewhere; an open query contradicts only by its bounds."""
    wrong = []
    for query in result["queries"]:
        if (label := int(query["id"]) if work.known else -1) not in work.known:
            continue
        status, optimum = work.known[label]
        cost, bound = query["cost"], query["bound"]
        if status == "none_exists":
            agrees = cost is None and (query["status"] == status or not query["proven"])
        elif query["proven"]:
            agrees = cost is not None and abs(cost - optimum) <= TOLERANCE
        else:
            agrees = (bound or 0.0) <= optimum + TOLERANCE and (cost is None or cost >= optimum - TOLERANCE)
        if not agrees:
            wrong.append(f"{work.name} row {label}: {query}, but {status} at {optimum} is proven")
    return wrong


def _solve(finder: Finder, batch: Any, i: int) -> Answer:
    """Call the search alone: the one place that knows the finder's inner door."""
    raw = finder.solve(batch, i)
    cost = raw.cost_micro / 1e6 if raw.status == "found" else None
    bound = None if raw.status == "none_exists" else raw.bound_micro / 1e6
    return Answer(raw.status, cost, bound, int(raw.nodes), bool(raw.proven))


def _short(value: float) -> float:
    return float(f"{value:.4g}")
