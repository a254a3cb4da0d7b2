"""The hard tail: what share of applicants is proven within how many nodes, and how far apart cost and bound stay."""

from __future__ import annotations

import hashlib
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from recourse import Budget, Finder

from . import machine
from .workloads import Workload
from .workloads import tail as works

BUDGETS = (10_000, 100_000, 1_000_000)


def measure(few: tuple[int, ...], wide: tuple[int, ...]) -> dict[str, Any]:
    """Solve each setting's first applicants, so many for each budget; whom a smaller one proves is not asked again.

    `wide` are the numbers of applicants where all features are free, `few` elsewhere.
    """
    settings, asked = [], []
    for free in works.FREE:
        queries = wide if free == max(works.FREE) else few
        for max_changes in works.MAX_CHANGES:
            work = works.load(free, max_changes, max(queries))
            found = _solve(work, queries)
            asked += [{"setting": work.name, **one} for one in found]
            settings.append(
                {
                    "setting": work.name,
                    "free": free,
                    "max_changes": max_changes,
                    "budgets": [_told(found, b, count) for b, count in zip(BUDGETS, queries, strict=True) if count],
                }
            )
    return {
        "workload": "tail",
        "kind": "tail",
        "machine": machine.describe(threads=1),
        "reference_ms": round(machine.reference_ms(), 3),
        "model": f"sha256:{hashlib.sha256(Path(work.model).read_bytes()).hexdigest()}",
        "settings": settings,
        "queries": asked,
    }


def _solve(work: Workload, queries: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return what each applicant got with each budget."""
    found: list[dict[str, Any]] = []
    closed: dict[int, dict[str, Any]] = {}
    for budget, count in zip(BUDGETS, queries, strict=True):
        finder = Finder(work.model, work.policy, work.population, budget=Budget(nodes=budget))
        batch = finder.encode(work.frame)
        if not found:
            finder.solve(batch, 0)  # compiles
        for i in range(count):
            if i not in closed:
                print(f"{work.name}: {budget:,} nodes, applicant {i + 1} of {count}", file=sys.stderr, flush=True)
                began = time.thread_time()
                one = finder.solve(batch, i)
                seconds = time.thread_time() - began
                cost = one.cost_micro / 1e6 if one.status == "found" else None
                answer = {
                    "id": str(work.frame.index[i]),
                    "budget": budget,
                    "status": one.status,
                    "proven": bool(one.proven),
                    "cost": cost,
                    "bound": None if one.status == "none_exists" else one.bound_micro / 1e6,
                    "nodes": int(one.nodes),
                    "seconds": float(f"{seconds:.3g}"),
                }
                if one.proven:
                    closed[i] = answer
                found.append(answer)
            else:
                found.append({**closed[i], "budget": budget})
    return found


def _told(found: list[dict[str, Any]], budget: int, count: int) -> dict[str, Any]:
    """Sum up one setting at one budget; gaps are those of all who hold a plan, 0 where it is proven.

    Who holds none and is not proven to have none counts as `without_plan`.
    """
    ours = [one for one in found if one["budget"] == budget]
    gaps = [(one["cost"] - one["bound"]) / one["cost"] for one in ours if one["cost"] is not None]
    return {
        "budget": budget,
        "applicants": count,
        "proven": sum(one["proven"] for one in ours),
        "share_proven": round(sum(one["proven"] for one in ours) / count, 3),
        "without_plan": sum(one["status"] == "none_found" for one in ours),
        "gap": {"median": round(statistics.median(gaps), 3), "max": round(max(gaps), 3)} if gaps else None,
        "microseconds_a_node": round(
            1e6 * sum(one["seconds"] for one in ours) / max(1, sum(one["nodes"] for one in ours)), 1
        ),
    }
