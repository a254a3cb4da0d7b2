"""A policy as the text of a file, as a JSON Schema, and as what its hash is taken of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .decision import Cost, Decision
from .feature import Feature, Percent, Provide
from .values import decimal_text, plain_number, toml_key, toml_value

if TYPE_CHECKING:
    from . import Policy


def to_toml(policy: Policy) -> str:
    """Return a policy as the text of a TOML file; see `Policy.to_toml`."""
    decision = {key: getattr(policy.decision, key) for key in Decision.model_fields if key != "knockouts"}
    lines = ["[decision]", *_entries(decision)]
    for knockout in policy.decision.knockouts:
        lines += ["", "[[decision.knockouts]]", *_entries(knockout.__dict__)]
    lines += ["", "[cost]", *_entries({key: getattr(policy.cost, key) for key in Cost.model_fields})]
    if policy.time is not None:
        lines += ["", "[time]", *_entries(policy.time.__dict__)]
    if policy.groups.columns:
        lines += ["", "[groups]", *_entries(policy.groups.__dict__)]
    for name, feature in policy.features.items():
        lines += ["", f"[features.{toml_key(name)}]"]
        for key, field in Feature.model_fields.items():
            value = getattr(feature, key)
            if field.is_required() or value != field.get_default(call_default_factory=True):
                lines.append(f"{key} = {_limit(value)}")
    for rule in policy.rules:
        lines += ["", "[[rules]]", *_entries(rule.__dict__)]
    if policy.reapply is not None:
        lines += ["", "[reapply]", *_entries(policy.reapply.__dict__)]
    return "\n".join(lines) + "\n"


def _entries(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {toml_value(value)}" for key, value in table.items() if value is not None]


def tidy(schema: Any) -> Any:
    """Drop from a JSON Schema what TOML cannot say (null) and what only Python reads (made-up titles, examples)."""
    if isinstance(schema, list):
        return [tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if (key == "title" and isinstance(value, str)) or (key == "default" and value is None):
            continue
        out[key] = " ".join(value.split("\n\n")[0].split()) if key == "description" else tidy(value)
    kinds = [kind for kind in out.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del out["anyOf"]
        return {**kinds[0], **out}
    return {**out, "anyOf": kinds} if kinds else out


def _limit(value: Any) -> str:
    if isinstance(value, Percent | Provide):
        return toml_value(dict(value))
    if isinstance(value, float):
        return plain_number(value)
    return toml_value(value)


def canonical(feature: Feature) -> dict[str, Any]:
    """The content of a feature; equal content gives equal text, and keys that a later version adds change nothing."""
    content = feature.model_dump(exclude_defaults=True)
    if feature.step is not None:
        content["step"] = decimal_text(feature.step)
    if feature.tick is not None:
        content["tick"] = decimal_text(feature.tick)
    if feature.moves is not None and feature.levels is None:
        content["moves"] = sorted((float(start), sorted(map(float, to))) for start, to in feature.moves.items() if to)
    elif feature.moves is not None:
        ends = {start: sorted(feature._positions[v] for v in to) for start, to in feature.moves.items()}
        content["moves"] = {start: positions for start, positions in ends.items() if positions}
    if feature.move_cost is not None:
        prices = {start: {end: p for end, p in to.items() if p != 1.0} for start, to in feature.move_cost.items()}
        content["move_cost"] = {start: to for start, to in prices.items() if to}
        if not content["move_cost"]:
            del content["move_cost"]
    if feature.codes:
        content["codes"] = sorted((float(key), meaning) for key, meaning in feature.codes.items())
    return content


def canonical_rest(policy: Policy) -> dict[str, Any]:
    """The content of what stands beside decision, cost and features; nothing where nothing is said."""
    content = {
        "time": None if policy.time is None else policy.time.model_dump(),
        "groups": policy.groups.model_dump(exclude_defaults=True),
        "rules": [rule.model_dump(exclude_defaults=True) for rule in policy.rules],
        "reapply": None if policy.reapply is None else policy.reapply.model_dump(),
    }
    return {key: value for key, value in content.items() if value}
