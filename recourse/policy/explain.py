"""What pydantic and the TOML parser object to, in words that name the place and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ..errors import PolicyError, did_you_mean
from .values import Problems, plain_number, show, toml_key

Place = tuple[int | str, ...]

TAGS = ("<number>", "<per cent>")  # stand in pydantic's locations for the two forms of `max_change`

# What someone may look for in a policy, and where it is said instead.
_SHAPE = "is no part of the policy: ask for it with the plans, as `recourse find --shape` or `Finder(shape=...)`."
ELSEWHERE = {"shape": _SHAPE, "box_steps": _SHAPE}


def explain(error: ValidationError, root: type[BaseModel]) -> PolicyError:
    """Turn pydantic's error on a table into one of ours, a line for each problem."""
    lines: list[str] = []
    for item in error.errors(include_url=False):
        place = tuple(part for part in item["loc"] if part not in TAGS)
        lines += _lines(place, dict(item), root)
    lines = list(dict.fromkeys(lines))
    if len(lines) == 1:
        return PolicyError(lines[0])
    return PolicyError(f"{len(lines)} problems in the policy:\n" + "\n".join(f"  {line}" for line in lines))


def _lines(place: Place, item: dict[str, Any], root: type[BaseModel]) -> list[str]:
    """Say what is wrong at one place."""
    kind, came, context = item["type"], item.get("input"), item.get("ctx", {})
    path = ".".join(toml_key(part) if isinstance(part, str) else f"#{part + 1}" for part in place) or "the policy"
    reason = context.get("error")
    if isinstance(reason, Problems):
        below = "" if not place else path + "."
        return [f"{below}{key}: {message}" for key, message in reason.problems]
    if kind == "extra_forbidden":
        key = str(place[-1])
        if key in ELSEWHERE:
            return [f"{path}: {ELSEWHERE[key]}"]
        known = list(_table(root, place[:-1]).model_fields)
        guess = did_you_mean(key, known)
        return [f"{path}: unknown key.{guess}" + ("" if guess else f" Expected one of {', '.join(known)}.")]
    if kind == "missing":
        about = _table(root, place[:-1]).model_fields[str(place[-1])].description or ""
        return [f"{path}: is missing. Expected: {about[:1].lower()}{' '.join(about[1:].split())}"]
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        return [f"{path}: {show(came)} is not allowed. Expected {context['expected']}.{did_you_mean(str(came), words)}"]
    if kind == "json_invalid":
        return [f"{path}: is not valid JSON: {context['error']}."]
    if kind == "value_error":
        return [f"{path}: {reason}"]
    if kind in ("greater_than_equal", "greater_than"):
        return [f"{path}: must not be below {plain_number(float(context.popitem()[1]))}, got {show(came)}."]
    if kind == "too_short":
        return [f"{path}: expected at least one feature, such as [features.income]."]
    wanted = {"string_type": "a text in quotes", "string_sub_type": "a text in quotes", "bool_type": "true or false"}
    wanted["tuple_type"] = "a list of tables, each under [[double brackets]]"
    return [f"{path}: expected {wanted.get(kind, 'a table')}, got {show(came)}."]


def explain_toml(message: str) -> str:
    """Put a TOML parser's message into the policy's words."""
    line = re.search(r" \(at line (\d+), column \d+\)", message)
    twice = re.match(r"Cannot declare \((.*)\) twice", message)
    if twice:
        names = re.findall(r"'([^']*)'|\"([^\"]*)\"", twice.group(1))
        name = ".".join(toml_key(single or double) for single, double in names)
        again = f" The second [{name}] is in line {line.group(1)}." if line else ""
        return f"{name}: declared twice.{again} Delete one of them."
    return f"the policy is not valid TOML: {message}."


def _table(root: type[BaseModel], place: Place) -> type[BaseModel]:
    """Return which kind of table stands at a place below a root, as the annotations tell."""
    parts = iter(place)
    for part in parts:
        field = root.model_fields.get(str(part))
        for table, within in _tables_in(field.annotation if field is not None else None):
            root = table
            if within:
                next(parts, None)  # the name of a feature, or a number in a list
    return root


def _tables_in(annotation: Any, *, within: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """Yield the tables of an annotation such as ``dict[str, Feature]``, and whether they are in a list or a dict."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, within
    for inner in get_args(annotation):
        yield from _tables_in(inner, within=within or get_origin(annotation) in (dict, tuple))
