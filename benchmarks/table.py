"""The README's tables, from the result files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def render(folder: Path) -> str:
    """Return the Markdown of all committed results."""
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    parts = [
        _searches([r for r in results if r.get("kind") == "search"]),
        *[_throughput(r) for r in results if r.get("kind") == "throughput"],
        *[_startup(r) for r in results if r.get("kind") == "startup"],
        *[_black_box(r) for r in results if r.get("kind") == "blackbox"],
    ]
    return "\n\n".join(part for part in parts if part)


def _searches(results: list[dict[str, Any]]) -> str:
    if not results:
        return ""
    lines = [
        "| search proper, one thread, ms | median | mean | p95 | p99 | max | proven | reference kernel |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        ms, count = result["ms"], len(result["queries"])
        figures = " | ".join(_figure(ms[key]) for key in ("p50", "mean", "p95", "p99", "max"))
        lines.append(
            f"| {_link(result)} | {figures} | {result['proven']} of {count} | {_figure(result['reference_ms'])} |"
        )
    return "\n".join(lines)


def _throughput(result: dict[str, Any]) -> str:
    first, last = result["memory"][1], result["memory"][-1]
    return (
        f"End to end through `find_many` on {result['machine']['threads']} threads ({_link(result)}): "
        f"{result['applicants_per_second']:,} applicants a second; resident memory {first['mb']:.0f} MB after "
        f"{first['rows']:,} rows, {last['mb']:.0f} MB after {last['rows']:,}."
    )


def _startup(result: dict[str, Any]) -> str:
    seconds = result["seconds"]
    told = "; ".join(f"{name} {_figure(value)} s" for name, value in seconds.items())
    return f"What a person waits for ({_link(result)}): {told}."


def _black_box(result: dict[str, Any]) -> str:
    """Rivals without the policy's constraints: all that they find counts. Under the policy: what they break."""
    lines = [
        f"| a neural network ({_link(result)}) | model calls: theirs, ours | mean cost: theirs, ours | "
        "median cost: theirs, ours | plans that break the policy: theirs, ours |",
        "|---|---|---|---|---|",
    ]
    for work in result["works"]:
        for one in work["against"]:
            costs = one["cost_on_both" if work["name"].endswith("-free") else "cost_where_allowed"]
            cells = [f"{work['name']}, {one['rival']} {one['method']}", f"{one['rival_calls']:g}, {one['our_calls']:g}"]
            for what in ("mean", "median"):
                cells.append(
                    f"{costs[f'rival_{what}']:.2f}, {costs[f'our_{what}']:.2f}" if costs else "none to compare"
                )
            broken = one["rival_found"] - one["rival_allowed"]
            cells.append(f"{broken} of {one['rival_found']}, {one['our_broken']} of {one['our_found']}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _link(result: dict[str, Any]) -> str:
    return f"[{result['workload']}](benchmarks/results/{result['workload']}.json)"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
