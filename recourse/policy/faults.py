"""What does not fit together inside a feature, in words that name the key and the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import did_you_mean
from .values import Level, find_code, find_level, is_number, plain_number, show, spelling, toml_key

if TYPE_CHECKING:
    from . import Feature

# What speaks of the applicant's choice, with the defaults.
_CHOICE: dict[str, Any] = {
    "change": "any",
    "step": None,
    "step_from": "zero",
    "min": None,
    "max": None,
    "max_change": None,
    "weight": 1.0,
    "moves": None,
    "move_cost": None,
    "provide": None,
}
_PROTECTED = ("change", "max_change", "weight", "moves", "move_cost", "provide", "effect")


def contradictions(feature: Feature) -> list[tuple[str, str]]:
    """Return what does not fit together in a feature: (key, message) each."""
    found = [*_misplaced(feature), *_roles(feature), *_bounds(feature), *_codes(feature), *_provide(feature)]
    if feature.levels is not None:
        found += _levels(feature)
    elif feature.kind == "category":
        found.append(("levels", 'a category needs its levels, e.g. levels = ["rent", "own"].'))
    elif not found and (feature.moves is not None or feature.move_cost is not None):
        found += _code_moves(feature)
    return list(dict.fromkeys(found))


def _misplaced(feature: Feature) -> list[tuple[str, str]]:
    """Keys that mean nothing for this kind of feature."""
    if feature.kind in ("category", "flag"):
        kind = f"a {feature.kind}"
        wrong = ["step", "step_from", "min", "max", "max_change", "codes", "tick"]
        wrong += ["change"] if feature.kind == "category" else []
        remedy = "Say with moves which levels can be reached."
    elif feature.listed and feature.kind == "ordinal":
        kind, remedy = "an ordinal with levels", "Its changes are counted in levels: use change and max_change."
        wrong = ["step", "step_from", "min", "max", "moves", "move_cost", "codes", "tick"]
    else:
        kind, remedy = f"a feature of kind {feature.kind}", "Use a category, or delete this line."
        wrong = [] if feature.codes else ["moves", "move_cost"]
        wrong += ["tick"] if feature.kind == "ordinal" else ["levels"]
    return _given(feature, wrong, f"means nothing for {kind}. {remedy}")


def _given(feature: Feature, keys: Iterable[str], message: str) -> list[tuple[str, str]]:
    """Say the same of every key that is not at its default."""
    fields = type(feature).model_fields
    return [
        (key, message) for key in keys if getattr(feature, key) != fields[key].get_default(call_default_factory=True)
    ]


def _roles(feature: Feature) -> list[tuple[str, str]]:
    """Keys that contradict how the feature comes to its value."""
    if feature.role == "derived":
        return _derived(feature)
    why = 'is for a derived feature. Add role = "derived", or delete this line.'
    problems = _given(feature, ("value", "derived_mismatch"), why)
    if feature.role == "protected":
        why = "a protected feature never moves. Delete this line, or make the role an action."
        return problems + _given(feature, _PROTECTED, why)
    if feature.effect is not None:
        why = "means nothing beside effect: the feature follows from others. Delete one of them."
        problems += _given(feature, _CHOICE, why)
    elif feature.role == "fixed" and feature.provide is not None:
        why = 'providing a value is an action. Use role = "action", with max_change = 0 if a known value stays.'
        problems.append(("provide", why))
    return problems


def _derived(feature: Feature) -> list[tuple[str, str]]:
    """What a formula does not give, and what it does not leave to say."""
    why = "means nothing for a derived feature, whose value alone says what it is. Delete this line."
    problems = _given(feature, (*_CHOICE, "codes", "effect", "tick", "manipulable"), why)
    if feature.value is None:
        problems.append(("value", 'a derived feature needs its formula, e.g. value = "12 * debt / income".'))
    return problems


def _provide(feature: Feature) -> list[tuple[str, str]]:
    """Missing values that cannot be asked for."""
    if feature.provide is None:
        return []
    if feature.listed:
        if feature.provide.mode == "if_at_least" and feature.kind == "category":
            return [("provide", 'levels of a category have no order: use mode = "any", or kind = "ordinal".')]
        return []
    return [
        (key, "needed beside provide: the value may be anything between min and max.")
        for key in ("min", "max")
        if getattr(feature, key) is None
    ]


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
        least = 1.0 if feature.listed else math.ulp(0.0)
        stays = feature.max_change == 0 and (feature.provide is not None or feature.moves is not None)
        if feature.max_change < least and not stays:
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


def _code_moves(feature: Feature) -> list[tuple[str, str]]:
    """Moves from what is no code, to what is none and no number of the grid either, and prices of no move."""
    problems = []
    if feature.moves is None:
        return [("move_cost", "needs moves, which say where the codes lead.")]
    for start, ends in feature.moves.items():
        place = f"moves.{toml_key(start)}"
        if find_code(feature.codes, start) is None:
            guess = did_you_mean(start, feature.codes)
            problems.append((place, f"{show(start)} is not among the codes.{guess} Numbers need no moves."))
        seen = set[float]()
        for end in ends:
            fault = _code_target(feature, end)
            if fault is None and float(end) in seen:
                fault = "is listed twice."
            elif fault is None and is_number(start) and float(end) == float(start):
                fault = "is the code itself: staying is free."
            if fault is not None:
                problems.append((place, f"{show(end)} {fault}"))
            else:
                seen.add(float(end))
    keys = [find_code(feature.codes, start) for start in feature.moves]
    if len(set(keys)) < len(keys) and not problems:
        problems.append(("moves", "two keys name the same code."))
    for start, prices in (feature.move_cost or {}).items():
        led = {float(e) for key, to in feature.moves.items() if _same(key, start) for e in to if is_number(str(e))}
        for end in prices:
            if not is_number(end) or float(end) not in led:
                key = f"move_cost.{toml_key(start)}.{toml_key(end)}"
                problems.append((key, "is the price of a move that moves does not have."))
    return list(dict.fromkeys(problems))


def _same(one: str, other: str) -> bool:
    return is_number(one) and is_number(other) and float(one) == float(other)


def _code_target(feature: Feature, end: Level) -> str | None:
    """Say why a code cannot lead to a value, or None."""
    if find_code(feature.codes, end) is not None:
        return None
    if isinstance(end, str):
        hint = " Delete the quotes, if the number is meant." if is_number(end) else did_you_mean(end, feature.codes)
        return f"is not among the codes.{hint}"
    if isinstance(end, bool):
        return "is neither a code nor a number."
    number = float(end)
    if feature.step is not None and (Fraction(Decimal(repr(number))) / Fraction(feature.step)).denominator != 1:
        return f"is no multiple of the step {feature.step}."
    if feature.step is None and number != _single(number):
        return "has more digits than a 32-bit number. Give the feature a step."
    if feature.min is not None and number < feature.min:
        return f"is below min {plain_number(feature.min)}."
    if feature.max is not None and number > feature.max:
        return f"is above max {plain_number(feature.max)}."
    return None


def _single(number: float) -> float:
    """Return the nearest 32-bit number, infinite beyond the largest."""
    with np.errstate(over="ignore"):
        return float(np.float32(number))


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
