"""What does not fit together inside a feature, in words that name the key and the remedy."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ._policy_values import Level, find_level, is_number, plain_number, show, spelling, toml_key
from .errors import did_you_mean

if TYPE_CHECKING:
    from .policy import Feature

# What a protected feature must not say, with the defaults.
_MOVING: dict[str, Any] = {"change": "any", "max_change": None, "weight": 1.0, "moves": None, "move_cost": None}


def contradictions(feature: Feature) -> list[tuple[str, str]]:
    """Return what does not fit together in a feature: (key, message) each."""
    found = [*_misplaced(feature), *_bounds(feature), *_codes(feature)]
    if feature.levels is not None:
        found += _levels(feature)
    elif feature.kind == "category":
        found.append(("levels", 'a category needs its levels, e.g. levels = ["rent", "own"].'))
    if feature.role == "protected":
        found += [
            (key, "a protected feature never moves. Delete this line, or make the role an action.")
            for key, default in _MOVING.items()
            if getattr(feature, key) != default
        ]
    return found


def _misplaced(feature: Feature) -> list[tuple[str, str]]:
    """Keys that mean nothing for this kind of feature."""
    problems = []
    if feature.kind in ("category", "flag"):
        kind = f"a {feature.kind}"
        wrong = ["step", "step_from", "min", "max", "max_change", "codes"]
        wrong += ["change"] if feature.kind == "category" else []
        remedy = "Say with moves which levels can be reached."
    elif feature.listed and feature.kind == "ordinal":
        kind, remedy = "an ordinal with levels", "Its changes are counted in levels: use change and max_change."
        wrong = ["step", "step_from", "min", "max", "moves", "move_cost", "codes"]
    else:
        kind, remedy = f"a feature of kind {feature.kind}", "Use a category, or delete this line."
        wrong = ["moves", "move_cost"] + (["levels"] if feature.kind != "ordinal" else [])
        if feature.codes and feature.moves is not None:
            wrong.remove("moves")
            problems.append(("moves", "not supported yet: moves between codes, or from a code to a number."))
    for key in wrong:
        default = type(feature).model_fields[key].get_default(call_default_factory=True)
        if getattr(feature, key) != default:
            problems.append((key, f"means nothing for {kind}. {remedy}"))
    return problems


def _bounds(feature: Feature) -> list[tuple[str, str]]:
    """Contradictions among the numbers."""
    problems = []
    if feature.min is not None and feature.max is not None and feature.min > feature.max:
        low, high = plain_number(feature.min), plain_number(feature.max)
        problems.append(("min", f"min {low} is above max {high}. Swap them?"))
    if feature.kind in ("integer", "ordinal") and feature.step is not None and Fraction(feature.step).denominator != 1:
        problems.append(
            ("step", f'whole numbers need a whole step, got {feature.step}. Or use kind = "number".'),
        )
    if feature.kind == "number" and feature.step is None and feature.step_from == "applicant":
        problems.append(("step_from", "needs a step."))
    if isinstance(feature.max_change, float):
        least = 1.0 if feature.listed else 0.0
        if feature.max_change <= 0 or feature.max_change < least:
            got = plain_number(feature.max_change)
            problems.append(("max_change", f'allows no change at all (got {got}). Use role = "fixed".'))
    elif feature.max_change is not None and feature.listed:
        problems.append(("max_change", "levels have no per cent. Give a number of levels."))
    return problems


def _codes(feature: Feature) -> list[tuple[str, str]]:
    """Codes that are no numbers, or the same number twice."""
    problems, seen = [], dict[float, str]()
    for key in feature.codes:
        if not is_number(key):
            problems.append((f"codes.{toml_key(key)}", 'a code is a number in quotes, such as "-9".'))
        elif float(key) in seen:
            problems.append((f"codes.{toml_key(key)}", f"the same number as {seen[float(key)]!r}."))
        else:
            seen[float(key)] = key
    return problems


def _levels(feature: Feature) -> list[tuple[str, str]]:
    """Levels that are none or twice there, moves and prices that name others."""
    assert feature.levels is not None
    problems, names = list[tuple[str, str]](), {str(level) for level in feature.levels}
    seen = set[Level]()
    for level in feature.levels:
        if level in seen or spelling(level) in seen:
            problems.append(("levels", f"{show(level)} is listed twice (levels must differ as text too)."))
        seen |= {level, spelling(level)}
    if not feature.levels:
        problems.append(("levels", "expected at least one level."))
    if feature.kind == "flag" and len(feature.levels) != 2:
        problems.append(("levels", f"a flag has two levels, got {len(feature.levels)}."))
    if problems:
        return problems

    def unknown(place: str, value: Level) -> None:
        guess = did_you_mean(str(value), names)
        problems.append((place, f"{show(value)} is not among the levels.{guess}"))

    for start, ends in (feature.moves or {}).items():
        if find_level(feature.levels, start) is None:
            unknown(f"moves.{toml_key(start)}", start)
        found = [find_level(feature.levels, end) for end in ends]
        for end, reached in zip(ends, found, strict=True):
            if reached is None:
                unknown(f"moves.{toml_key(start)}", end)
            elif found.count(reached) > 1:
                problems.append((f"moves.{toml_key(start)}", f"{show(reached)} is listed twice."))
            elif reached == find_level(feature.levels, start):
                problems.append((f"moves.{toml_key(start)}", "staying is free: a level needs no move to itself."))
    for start, prices in (feature.move_cost or {}).items():
        origin = find_level(feature.levels, start)
        if origin is None:
            unknown(f"move_cost.{toml_key(start)}", start)
            continue
        allowed = _allowed(feature, origin)
        for end in prices:
            target = find_level(feature.levels, end)
            if target is None:
                unknown(f"move_cost.{toml_key(start)}.{toml_key(end)}", end)
            elif target not in allowed:
                problems.append(
                    (f"move_cost.{toml_key(start)}.{toml_key(end)}", "is the price of a move that moves rules out.")
                )
    spelt = [find_level(feature.levels, key) for key in feature.moves or {}]
    if len(set(map(str, spelt))) < len(spelt):
        problems.append(("moves", "two keys name the same level."))
    return list(dict.fromkeys(problems))


def _allowed(feature: Feature, start: Level) -> tuple[Level | None, ...]:
    """Levels that `moves` allows from a level."""
    assert feature.levels is not None
    if feature.moves is None:
        return tuple(level for level in feature.levels if level != start)
    for key, ends in feature.moves.items():
        if find_level(feature.levels, key) == start:
            return tuple(find_level(feature.levels, end) for end in ends)
    return ()
