"""Hypothesis strategies for policies: any feature the format can say, whole policies, and rows to go with them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from recourse.policy import Policy

KINDS = ("number", "integer", "ordinal", "ladder", "category", "flag")

names = st.text(min_size=1, max_size=12).filter(lambda name: name.strip() == name and name not in ("", "wait"))
sizes = st.floats(0, 1e6, allow_nan=False).map(abs)
levels_of_text = st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True)
levels_of_numbers = st.lists(st.integers(-99, 99), min_size=1, max_size=5, unique=True)
code_tables = st.dictionaries(st.integers(-99, -1).map(str), st.text(max_size=10), max_size=3)
steps = st.one_of(st.integers(1, 1000), st.decimals("0.001", "1000", places=3).filter(lambda d: d > 0))


@st.composite
def features(draw: st.DrawFn, kind: str | None = None) -> dict[str, Any]:
    """Draw a valid feature as a dict; `kind` may also be "ladder", an ordinal with levels."""
    kind = draw(st.sampled_from(KINDS)) if kind is None else kind
    out: dict[str, Any] = {"kind": "ordinal" if kind == "ladder" else kind}
    out |= draw(st.fixed_dictionaries({}, optional={"label": st.text(max_size=9), "unit": st.text(max_size=4)}))
    role = draw(st.sampled_from(["action", "action", "action", "fixed", "protected"]))
    if role != "action" or draw(st.booleans()):
        out["role"] = role
    if role != "protected":
        out |= draw(st.fixed_dictionaries({}, optional={"weight": sizes}))
        if kind != "category":
            out |= draw(st.fixed_dictionaries({}, optional={"change": st.sampled_from(["any", "up", "down"])}))
    if kind in ("number", "integer", "ordinal"):
        out |= draw(_grids(kind, may_move=role != "protected"))
    elif kind == "ladder":
        out["levels"] = draw(levels_of_text | levels_of_numbers)
        if role != "protected":
            out |= draw(st.fixed_dictionaries({}, optional={"max_change": st.integers(1, 4)}))
    else:
        out |= draw(_tables(kind, may_move=role != "protected"))
    return out


@st.composite
def _grids(draw: st.DrawFn, kind: str, *, may_move: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"codes": draw(code_tables)} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        out["step"] = draw(st.integers(1, 1000) if kind != "number" else steps)
    if "step" in out or kind != "number":
        out |= draw(st.fixed_dictionaries({}, optional={"step_from": st.sampled_from(["zero", "applicant"])}))
    low, high = sorted(draw(st.tuples(*[st.floats(-1e6, 1e6, allow_nan=False)] * 2)))
    out |= draw(st.fixed_dictionaries({}, optional={"min": st.just(low), "max": st.just(high)}))
    if may_move and draw(st.booleans()):
        percent = st.fixed_dictionaries({"percent": st.floats(1, 200)}, optional={"at_least": sizes})
        out["max_change"] = draw(st.floats(0.001, 1e6) | percent)
    return out


@st.composite
def _tables(draw: st.DrawFn, kind: str, *, may_move: bool) -> dict[str, Any]:
    if kind == "flag":
        levels = draw(st.sampled_from([None, [0, 1], [False, True], ["no", "yes"], [1, 2]]))
    else:
        levels = draw(levels_of_text | levels_of_numbers | st.just([True, False]))
    out: dict[str, Any] = {} if levels is None else {"levels": levels}
    known = levels or [0, 1]
    reach = {level: [other for other in known if other != level] for level in known}
    if may_move and draw(st.booleans()):
        reach = {level: draw(st.lists(st.sampled_from(to), unique=True)) if to else [] for level, to in reach.items()}
        kept = [level for level in known if draw(st.booleans())]
        reach = {level: to if level in kept else [] for level, to in reach.items()}
        out["moves"] = {str(level): reach[level] for level in kept}
    if may_move and draw(st.booleans()):
        out["move_cost"] = {
            str(level): {str(other): draw(st.floats(0, 10)) for other in to if draw(st.booleans())}
            for level, to in reach.items()
            if to
        }
    return out


@st.composite
def policy_dicts(draw: st.DrawFn, *, min_features: int = 1, max_features: int = 5) -> dict[str, Any]:
    """Draw a valid policy as a dict."""
    score = draw(st.sampled_from(["probability", "decision_function"]))
    threshold = draw(st.floats(0.05, 0.9) if score == "probability" else st.floats(-10, 10))
    decision = {"score": score, "threshold": threshold}
    decision |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "margin": st.floats(0, 0.05),
                "favourable": st.sampled_from([0, 1, 2, True, False, "good", "1"]),
            },
        )
    )
    cost = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "unit": st.sampled_from(["mad", "std", "range", "percentile", "raw"]),
                "per_change": sizes,
                "max_changes": st.integers(1, 9),
            },
        )
    )
    chosen = draw(st.lists(names, min_size=min_features, max_size=max_features, unique=True))
    table = {name: draw(features()) for name in chosen}
    if cost.get("unit") == "percentile":
        for feature in table.values():
            if feature["kind"] in ("number", "integer", "ordinal") and "levels" not in feature:
                low = feature.setdefault("min", min(0.0, feature.get("max", 0.0)))
                feature.setdefault("max", max(low, 100.0))
    return {"decision": decision, "cost": cost, "features": table}


@st.composite
def language_dicts(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid policy as a dict that says more than single features do: rules, clocks, formulas, groups, codes."""
    out = draw(policy_dicts(max_features=3))
    table: dict[str, Any] = out["features"]
    whole = {"kind": "integer", "min": 0, "max": 50}
    codes = {
        "codes": {"-7": "none", "-8": "unusable"},
        "moves": {"-8": draw(st.sampled_from([["-7"], ["-7", 0], [5]]))},
    }
    provide = {"provide": {"cost": draw(sizes), "mode": draw(st.sampled_from(["any", "if_at_least"]))}}
    tick = {"tick": draw(st.sampled_from([1, 0.5, 0.0833]))}
    table["x x"] = whole | draw(st.sampled_from([{}, codes, provide, tick, codes | tick]))
    table["y_1"] = whole | draw(st.sampled_from([{}, {"role": "fixed"} | tick, {"role": "protected"} | tick]))
    table["z_1"] = {"kind": "number", "effect": draw(st.sampled_from(["start.z_1 + y_1", "start.z_1 - wait / 3"]))}
    value = draw(st.sampled_from(["`x x` / y_1", "min(`x x`, y_1) if wait > 3 else 0.5"]))
    table["r_1"] = {"kind": "number", "role": "derived", "value": value}
    table["r_1"] |= draw(st.sampled_from([{}, {"derived_mismatch": "recompute"}]))
    table["m_1"] = {"kind": "flag", "manipulable": draw(st.booleans())}
    out["groups"] = {}
    if draw(st.booleans()):
        table["g_1"] = {"kind": "category"} | draw(st.sampled_from([{}, {"levels": ["a", "b", "neither"]}]))
        out["groups"]["one_hot"] = {"g_1": ["g_1=a", "g_1=b"]}
    if draw(st.booleans()):
        table["t_1"] = {"kind": "ordinal", "change": draw(st.sampled_from(["any", "down"]))}
        out["groups"]["thermometer"] = {"t_1": ["late 30", "late 60"]}
    rules = [{"require": "y_1 <= 2 * start.y_1"}, {"name": "r", "when": "`x x` == -8", "then": "m_1 == 1 or wait > 2"}]
    out["rules"] = draw(st.lists(st.sampled_from(rules), unique_by=str, max_size=2))
    out |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "time": st.fixed_dictionaries({"horizon": st.integers(1, 99), "cost_per_month": sizes}),
                "reapply": st.fixed_dictionaries(
                    {}, optional={"after_months": st.integers(0, 9), "effects": st.just({"y_1": "+1"})}
                ),
            },
        )
    )
    fires = {"name": "k", "deny_when": "y_1 > 40", "reason": "R1"}
    out["decision"]["knockouts"] = draw(st.sampled_from([[], [fires]]))
    if draw(st.booleans()):
        out["decision"] |= {"threshold": draw(st.sampled_from(["cut", "0.5 + start.y_1 / 1000"])), "margin": 0.0}
    return out


def policies(*, min_features: int = 1, max_features: int = 5) -> st.SearchStrategy[Policy]:
    """Draw a valid policy."""
    return policy_dicts(min_features=min_features, max_features=max_features).map(Policy.model_validate)


@st.composite
def values(draw: st.DrawFn, feature: Any) -> Any:
    """Draw a value that an applicant may have: on the grid, off it, a code, or missing."""
    if feature.listed:
        return draw(st.sampled_from(feature.levels) | st.none())
    whole = feature.kind != "number"
    step = feature.step or Decimal("0.5")
    on_grid = st.integers(-50, 50).map(lambda i: int(i * step) if whole else float(i * step))
    off_grid = st.integers(-1000, 1000) if whole else st.floats(-1000, 1000, allow_nan=False).map(lambda x: x + 0.0)
    coded = st.sampled_from(feature.code_values) if feature.codes else st.nothing()
    return draw(on_grid | off_grid | coded | st.none())


@st.composite
def frames(draw: st.DrawFn, policy: Policy, *, min_rows: int = 1, max_rows: int = 12) -> pd.DataFrame:
    """Draw rows that fit a policy."""
    n = draw(st.integers(min_rows, max_rows))
    columns = {}
    for name, feature in policy.features.items():
        drawn = [draw(values(feature)) for _ in range(n)]
        columns[name] = pd.Series(drawn, dtype=object if feature.listed else "float64")
    return pd.DataFrame(columns)
