"""What the whole language costs: statuses, proofs, checks and times of the hand-made policies, by kind of answer."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

import numpy as np

from recourse import Finder
from recourse.plan import Outcome, check_outcomes

from . import machine
from .workloads import Workload

ANSWERS: dict[str, dict[str, Any]] = {
    "point": {},
    "three plans": {"plans": 3},
    "box": {"shape": "box"},
    "orthant": {"shape": "orthant"},
}


def measure(work: Workload, *, runs: int) -> dict[str, Any]:
    """Return, for each kind of answer, what the refused applicants got and how long the search took."""
    kinds = {}
    for kind, given in ANSWERS.items():
        finder = Finder(work.model, work.policy, work.population, **given)
        print(f"{work.name}: {kind}", file=sys.stderr, flush=True)
        outcomes = list(finder.find_many(work.frame, threads=1, progress=False))  # compiles, and warms
        rates, ms = [], []
        for _ in range(runs):
            began = time.perf_counter()
            outcomes = list(finder.find_many(work.frame, threads=1, progress=False))
            rates.append(len(outcomes) / (time.perf_counter() - began))
            ms.append(_search_ms(finder, work))
        told = check_outcomes(
            outcomes,
            work.frame.to_dict("records"),
            finder.model,
            finder.policy,
            finder.population,
            box_steps=finder.box_steps,
        )
        each = np.median(ms, axis=0)
        kinds[kind] = {
            "statuses": dict(Counter(map(_label, outcomes))),
            "plans": sum(len(outcome.plans) for outcome in outcomes),
            "violations": sum(map(len, told)),
            "applicants_per_second": round(float(np.median(rates))),
            "ms": {
                "median": _short(np.median(each)),
                "mean": _short(each.mean()),
                "p95": _short(np.percentile(each, 95)),
                "max": _short(each.max()),
            },
        }
    return {
        "workload": work.name,
        "kind": "language",
        "machine": machine.describe(threads=1),
        "reference_ms": round(machine.reference_ms(), 3),
        "runs": runs,
        "applicants": len(work.frame),
        "answers": kinds,
    }


def _search_ms(finder: Finder, work: Workload) -> list[float]:
    """Return what the search itself takes for each refused applicant, decoding and checks left out."""
    batch = finder.encode(work.frame)
    out = []
    for i in range(len(work.frame)):
        began = time.perf_counter()
        finder.solve(batch, i)
        out.append((time.perf_counter() - began) * 1e3)
    return out


def _label(outcome: Outcome) -> str:
    certificate = outcome.plan.certificate if outcome.plan else outcome.certificate
    return outcome.status + (", proven" if certificate is not None and certificate.proven else "")


def _short(value: Any) -> float:
    return float(f"{float(value):.4g}")
