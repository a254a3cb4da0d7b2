"""Whether every cost that a policy can bring about can be added up exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import DataError, PolicyError
from .feature import Feature, Percent
from .values import toml_key

if TYPE_CHECKING:
    from ..population import Population, Summary
    from . import Policy

LARGEST_COST = 2**40  # micro-units; sums of costs then stay exact in float64 and far from the end of int64


def check_costs(policy: Policy, population: Population | None = None) -> None:
    """Check that every feature that moves has a price, and that no plan can cost more than 2**40 micro-units.

    Parameters
    ----------
    policy : Policy
    population : Population, optional
        Needed for every cost unit but "raw".

    Raises
    ------
    PolicyError
        The largest cost is too large; names the feature that makes it so. Or a feature that an expression reads may
        take endlessly many values.
    UnknownFeature
        The population does not have a feature that can move.
    DataError
        The population was summarised with other codes or levels than the policy's.
    """
    endless = list(_endless(policy))
    if endless:
        raise PolicyError(endless[0])
    largest = dict[str, float]()
    for name in policy.movable:
        feature, summary = policy.features[name], None
        if feature.kind not in ("category", "flag") and (population is not None or policy.cost.unit != "raw"):
            if population is None:
                raise DataError(f'cost.unit = "{policy.cost.unit}" needs a population. Give one, or use "raw".')
            summary = population.summary(name)
            _same_meaning(name, feature, summary)
        step = max(_largest_step(feature, summary, policy.cost.unit), _largest_price(feature))
        largest[name] = 1e6 * (feature.weight * step + policy.cost.per_change)
    if policy.time is not None:
        largest["wait"] = 1e6 * policy.time.cost_per_month * policy.time.horizon
    kept = sorted(largest.values(), reverse=True)[: policy.cost.max_changes]
    if sum(kept) > LARGEST_COST:
        worst = max(largest, key=lambda name: largest[name])
        if worst == "wait":
            place, remedy = "time.cost_per_month", "Give a smaller price or horizon."
        else:
            place = f"features.{toml_key(worst)}"
            remedy = "Give it a smaller weight, bounds or a max_change, or choose another cost.unit."
        raise PolicyError(
            f"{place}: the largest cost of a plan is {sum(kept) / 1e6:.3g} units, most of it from "
            f"this feature; at most {LARGEST_COST / 1e6:.3g} can be added up exactly. "
            f"{remedy}"
        )


def _endless(policy: Policy) -> Iterator[str]:
    """Yield what is wrong with features of which an expression tells all values apart, and that have no end."""
    read = {name: place for place, expression in policy.expressions.parts() for name in expression.names}
    read |= dict.fromkeys(policy.expressions.reapply, "[reapply]")
    for name, feature in policy.features.items():
        place = "tick" if feature.tick is not None else read.get(name)
        if not feature.movable or feature.listed or feature.max_change is not None or place is None:
            continue
        for side, useless in (("min", "up"), ("max", "down")):
            if getattr(feature, side) is None and feature.change != useless:
                yield (
                    f"features.{toml_key(name)}.{side}: is missing: {place} reads the feature, and tells all of its "
                    f"values apart, which must come to an end. Give a {side} or a max_change."
                )


def _same_meaning(name: str, feature: Feature, summary: Summary) -> None:
    remedy = "Summarise its rows again with this policy."
    if set(summary.codes) != set(feature.code_values):
        raise DataError(f"the population was summarised with other codes of {name!r} than the policy's. {remedy}")
    wanted = None if feature.levels is None else tuple(map(str, feature.levels))
    if (None if summary.levels is None else tuple(map(str, summary.levels))) != wanted:
        raise DataError(f"the population was summarised with other levels of {name!r} than the policy's. {remedy}")


def _largest_price(feature: Feature) -> float:
    """Largest price, before weight, of leaving a code or providing what is missing."""
    prices = [0.0 if feature.provide is None else feature.provide.cost]
    prices += [price for code in feature.code_values for _, price in feature.code_moves(code)]
    return max(prices)


def _largest_step(feature: Feature, summary: Summary | None, unit: str) -> float:
    """Largest price of one change before weight: applicants lie in the population's range."""
    if feature.kind in ("category", "flag"):
        places = range(len(feature.levels or ()))
        return max((feature.move_price(p, q) for p in places for q in feature.targets(p)), default=0.0)
    if unit == "percentile":
        return 1.0
    if feature.levels is not None:
        places = range(len(feature.levels))
        span = float(max((abs(p - q) for p in places for q in feature.targets(p)), default=0))
    else:
        ends = [summary.min, summary.max] if summary is not None and summary.knots else []
        low = min([feature.min] if feature.min is not None else ends, default=0.0)
        high = max([feature.max] if feature.max is not None else ends, default=0.0)
        starts = ends or [low, high]
        up, down = max(high - min(starts), 0.0), max(max(starts) - low, 0.0)
        span = {"any": max(up, down), "up": up, "down": down}[feature.change]
        if isinstance(feature.max_change, Percent):
            limit = feature.max_change.percent / 100 * max(map(abs, starts))
            span = min(span, max(limit, feature.max_change.at_least))
        elif feature.max_change is not None:
            span = min(span, feature.max_change)
    return span / (summary.unit(unit) if summary is not None else 1.0)
