"""Hypothesis strategies for worlds that use the whole language, small enough to be enumerated.

A world is put together from blocks: each brings a few columns, what the policy says of them, and names that expressions
may read. Rules, formulas and effects are drawn as texts over those names. Models are small ones of every library,
trained on rows in which groups and formulas hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import reject
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from recourse.errors import PolicyError
from recourse.policy import Policy, check_costs
from recourse.population import Population
from tests import naive
from tests.naive_language import Applicant
from tests.native import Native
from tests.strategies import CATEGORICAL, TREES, WITHOUT_MISSING, fit, settings_of, unshaken

LIMIT = 1_500  # rows that a twin looks at, one by one
SHAPES = ("point", "point", "box", "orthant")


@dataclass(frozen=True)
class Block:
    """Some columns with what the policy says of them."""

    values: Mapping[str, tuple[Any, ...]]  # raw column -> what may stand in it; drawn row by row
    features: Mapping[str, Mapping[str, Any]]
    numbers: tuple[str, ...] = ()  # names that are numbers in expressions
    counted: tuple[str, ...] = ()  # names of levels that are numbers
    conditions: tuple[str, ...] = ()  # conditions of its own that a rule may use
    together: tuple[tuple[Any, ...], ...] = ()  # rows of the columns, where they belong together
    native_levels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    reapply: Mapping[str, str] = field(default_factory=dict)
    one_hot: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    thermometer: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scored: bool = True  # whether the model may see the columns


@dataclass(frozen=True, eq=False)
class World:
    """A model, a policy of the whole language, refused applicants, and what is asked of their plans."""

    library: str
    native: Native
    policy: Policy
    population: Population
    frame: pd.DataFrame
    rows: tuple[dict[str, Any], ...]
    asked: naive.Asked
    spans: Mapping[str, tuple[float, float]]

    def __repr__(self) -> str:
        """Return what is needed to read a failure."""
        return (
            f"World({self.library}, {self.native.estimator!r},\n{self.policy.to_toml()}\n"
            f"asked={self.asked},\nrows={self.rows})"
        )

    def solve(self, row: Mapping[str, Any], *, limit: int = LIMIT) -> naive.Answer:
        """Return the answer by definition."""
        return naive.solve(
            self.policy, self.population, self.native, row, limit=limit, reach=self.spans, asked=self.asked
        )


class Plausible:
    """An isolation forest as a function of raw rows."""

    def __init__(self, frame: pd.DataFrame, seed: int) -> None:
        self.columns, self.levels = tuple(map(str, frame.columns)), dict[str, tuple[Any, ...]]()
        self.estimator = IsolationForest(n_estimators=8, max_samples=16, contamination=0.2, random_state=seed)
        self.estimator.fit(frame.astype(np.float64))

    def __call__(self, raw: pd.DataFrame) -> np.ndarray:
        """Return the decision function, which is at least 0 for what looks like the frame."""
        frame = raw[list(self.columns)].astype(np.float64)
        return np.asarray(self.estimator.decision_function(frame), dtype=np.float64)


# --- blocks ---------------------------------------------------------------------------------------------------------


@st.composite
def incomes(draw: st.DrawFn, library: str) -> Block:
    """Two amounts on grids, the second often bounded by the first."""
    step = draw(st.sampled_from(["1", "2", "0.5", "0.1"]))
    unit = Decimal(step)
    whole = unit == int(unit)
    grid = [float(unit * i) for i in range(1, draw(st.integers(4, 7)))]
    feature: dict[str, Any] = {
        "kind": "integer" if whole else "number",
        "step": int(unit) if whole else unit,
        "change": draw(st.sampled_from(["up", "any"])),
        "min": grid[0],
        "max": grid[-1],
        "weight": draw(st.sampled_from([1.0, 0.5, 0.0])),
    }
    if not whole and draw(st.booleans()):
        feature["step_from"] = "applicant"
    if draw(st.integers(0, 2)) == 0:
        feature["max_change"] = draw(st.sampled_from([float(unit * 2), {"percent": 50, "at_least": float(unit)}]))
    starts = [int(v) if whole else v for v in grid]
    if library not in WITHOUT_MISSING and draw(st.integers(0, 3)) == 0:
        starts.append(None)
    debts = {
        "kind": "integer",
        "change": draw(st.sampled_from(["down", "any"])),
        "min": 0,
        "max": draw(st.sampled_from([3, 5])),
        "weight": draw(st.sampled_from([1.0, 2.0])),
    }
    return Block(
        {"income": tuple(starts), "debts": tuple(range(6))},
        {"income": feature, "debts": debts},
        numbers=("income", "debts"),
        conditions=("debts <= income", "debts + income <= 9", "income * debts < 14", "income >= start.income"),
    )


@st.composite
def clocks(draw: st.DrawFn, library: str) -> Block:
    """Months since something, with codes; they grow by themselves."""
    feature: dict[str, Any] = {
        "kind": draw(st.sampled_from(["integer", "integer", "number"])),
        "tick": draw(st.sampled_from([1, Decimal("0.5"), Decimal("0.3"), 2])),
        "codes": {"-7": "never", "-9": "no record"},
        "role": draw(st.sampled_from(["fixed", "fixed", "protected", "action"])),
    }
    if feature["role"] == "action":
        feature |= {"step": 1, "min": 0, "max": 6, "change": draw(st.sampled_from(["up", "any", "down"]))}
        if draw(st.booleans()):
            feature["moves"] = {"-7": draw(st.sampled_from([["-9"], [0], ["-9", 3], [6, 2, "-9"]]))}
            if draw(st.booleans()):
                feature["move_cost"] = {"-7": {str(feature["moves"]["-7"][0]): draw(st.sampled_from([0.0, 0.5, 3.0]))}}
    return Block(
        {"months": (0, 1, 2, 3, 4, 5, -7, -9)},
        {"months": feature},
        numbers=("months",),
        conditions=('months != "-9"', "months in [-7, 0, 1, 2, 3, 4, 5, 6]", "months >= wait", "months == -7"),
    )


@st.composite
def ladders(draw: st.DrawFn, library: str) -> Block:
    """A ladder of words or numbers."""
    words = library in CATEGORICAL and draw(st.booleans())
    levels: tuple[Any, ...] = ("none", "some", "full") if words else (1, 2, 5)
    some = '"some"' if words else "2"
    feature = {"kind": "ordinal", "levels": list(levels), "change": draw(st.sampled_from(["up", "any"]))}
    return Block(
        {"school": levels},
        {"school": feature},
        conditions=(
            f"school >= {some}",
            "school == start.school",
            f"school in [{some}]",
            f"not school > {some}",
            "school >= start.school",
        ),
        counted=() if words else ("school",),
        native_levels={"school": levels} if words else {},
    )


@st.composite
def purposes(draw: st.DrawFn, library: str) -> Block:
    """A category that is spelt by columns, one of its levels perhaps by none of them."""
    members = ("for_car", "for_home", "for_trip")[: draw(st.sampled_from([2, 3]))]
    none = draw(st.booleans())
    levels = [name.removeprefix("for_") for name in members] + (["other"] if none else [])
    together = [tuple(int(i == j) for j in range(len(members))) for i in range(len(levels))]
    feature: dict[str, Any] = {"kind": "category", "levels": levels, "weight": draw(st.sampled_from([1.0, 0.3]))}
    if draw(st.booleans()):
        feature["moves"] = {levels[0]: levels[1:], levels[1]: [levels[0]]}
    return Block(
        dict.fromkeys(members, (0, 1)),
        {"purpose": feature},
        conditions=('purpose != "car"', 'purpose == start.purpose or purpose == "home"'),
        together=tuple(together),
        one_hot={"purpose": members},
    )


@st.composite
def arrears(draw: st.DrawFn, library: str) -> Block:
    """A ladder that is spelt by columns."""
    members = ("late_30", "late_60", "late_90")[: draw(st.sampled_from([1, 2, 3]))]
    together = [tuple(int(j < k) for j in range(len(members))) for k in range(len(members) + 1)]
    feature = {"kind": "ordinal", "change": draw(st.sampled_from(["down", "any"]))}
    return Block(
        dict.fromkeys(members, (0, 1)),
        {"late": feature},
        counted=("late",),
        conditions=("late <= 1", "start.late - late <= 1"),
        together=tuple(together),
        thermometer={"late": members},
    )


@st.composite
def inquiries(draw: st.DrawFn, library: str) -> Block:
    """A count that applying again changes."""
    feature: dict[str, Any] = {"kind": "integer", "role": draw(st.sampled_from(["fixed", "action"]))}
    if feature["role"] == "action":
        feature |= {"min": 0, "max": 3, "change": "down"}
    effect = draw(st.sampled_from(["+1", "*2", "-1", "max(start.inquiries, 1)", "+ (1 if wait < 2 else 0)"]))
    return Block(
        {"inquiries": (0, 1, 2, 3)},
        {"inquiries": feature},
        numbers=("inquiries",),
        conditions=("inquiries <= 2",),
        reapply={"inquiries": effect},
    )


@st.composite
def appraisals(draw: st.DrawFn, library: str) -> Block:
    """A value that is often missing and can be provided."""
    if library in WITHOUT_MISSING:
        reject()
    kind = draw(st.sampled_from(["number", "flag", "ladder"]))
    provide = {"cost": draw(st.sampled_from([0.5, 1.0]))}
    provide["mode"] = draw(st.sampled_from(["any", "if_at_least"]))
    if kind == "number":
        feature: dict[str, Any] = {"kind": "integer", "min": 1, "max": 4, "provide": provide}
        values: tuple[Any, ...] = (1, 2, 3, 4, None, None)
    elif kind == "flag":
        feature, values = {"kind": "flag", "provide": provide}, (0, 1, None, None)
    else:
        feature, values = {"kind": "ordinal", "levels": [1, 2, 4], "provide": provide}, (1, 2, 4, None, None)
    return Block(
        {"value": values},
        {"value": feature},
        numbers=("value",) if kind == "number" else (),
        counted=() if kind == "number" else ("value",),
        conditions=("value >= 1", "value != 1"),
    )


BLOCKS = {
    "incomes": incomes,
    "clocks": clocks,
    "ladders": ladders,
    "purposes": purposes,
    "arrears": arrears,
    "inquiries": inquiries,
    "appraisals": appraisals,
}


# --- expressions ----------------------------------------------------------------------------------------------------


@st.composite
def amounts(draw: st.DrawFn, names: Sequence[str], depth: int = 2, *, waits: bool = True) -> str:
    """Draw an expression that gives a number."""
    atoms = [*names, *map(_at_start, names), "1", "2", "0.5", "3", *(["wait"] if waits else [])]
    if depth == 0:
        return draw(st.sampled_from(atoms))
    part = amounts(names, depth - 1, waits=waits)
    how = draw(st.sampled_from(["atom", "+", "-", "*", "/", "min", "max", "abs", "if", "floor", "log", "exp"]))
    if how == "atom":
        return draw(st.sampled_from(atoms))
    if how in "+-*/":
        return f"({draw(part)} {how} {draw(part)})"
    if how in ("min", "max"):
        return f"{how}({draw(part)}, {draw(part)})"
    if how == "if":
        condition = conditions(names, 0, waits=waits)
        return f"({draw(part)} if {draw(condition)} else {draw(part)})"
    return f"{how}({draw(part)})"


def _at_start(name: str) -> str:
    """Return a name, or a level's number ``(x + 0)``, as it is at the start."""
    return f"(start.{name[1:]}" if name.startswith("(") else f"start.{name}"


@st.composite
def conditions(draw: st.DrawFn, names: Sequence[str], depth: int = 1, *, waits: bool = True) -> str:
    """Draw an expression that gives True or False."""
    how = draw(st.sampled_from(["compare", "compare", "and", "or", "not", "in"])) if depth else "compare"
    if how in ("and", "or"):
        return f"({draw(conditions(names, 0, waits=waits))} {how} {draw(conditions(names, 0, waits=waits))})"
    if how == "not":
        return f"(not {draw(conditions(names, 0, waits=waits))})"
    if how == "in":
        return f"({draw(st.sampled_from(list(names)))} + 0 in [0, 1, 2, 3])"
    sign = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    part = amounts(names, 1, waits=waits)
    return f"({draw(part)} {sign} {draw(part)})"


@st.composite
def _rules(draw: st.DrawFn, blocks: Sequence[Block], names: Sequence[str], *, waits: bool) -> list[dict[str, str]]:
    ready = [text for block in blocks for text in block.conditions if waits or "wait" not in text]
    one = st.sampled_from(ready) if ready else conditions(names, waits=waits)
    if names:
        one = one | conditions(names, waits=waits)
    rules: list[dict[str, str]] = []
    for number in range(draw(st.sampled_from([0, 1, 1, 2]))):
        name = {"name": f"rule {number}"}
        if draw(st.booleans()):
            rules.append({**name, "require": draw(one)})
        else:
            then = draw(st.sampled_from(["wait >= 1", "wait >= 2"]) | one) if waits else draw(one)
            rules.append({**name, "when": draw(one), "then": then})
    return rules


# --- worlds ---------------------------------------------------------------------------------------------------------


@st.composite
def words(
    draw: st.DrawFn, library: str, blocks: Sequence[Block]
) -> tuple[dict[str, Any], dict[str, str], tuple[str, ...]]:
    """Draw the policy's words, with the formulas in them and the names that are numbers."""
    names = tuple(name for block in blocks for name in block.numbers)
    names += tuple(f"({name} + 0)" for block in blocks for name in block.counted)
    features = {name: dict(f) for block in blocks for name, f in block.features.items()}
    waits = draw(st.booleans())
    reapply = {name: text for block in blocks for name, text in block.reapply.items()}
    months = draw(st.sampled_from([0, 0, 1, 3]))
    formulas: dict[str, str] = {}
    sure = library not in WITHOUT_MISSING  # whose models take missing values, which a formula may give
    if names and draw(st.booleans()):
        ready = ["debts / income", "income - debts", "12 * debts / max(income, 1)"] if "debts" in names else []
        kind = draw(st.sampled_from(["number", "number", "flag"]))
        if kind == "flag":
            text = draw(conditions(names, waits=False)) if sure else "1 if 0 < 1 else 0"
        else:
            text = draw(st.sampled_from([*ready, "own"])) if ready else "own"
            text = draw(amounts(names, waits=sure)) if text == "own" else text
            text = text if sure else "max(0, min(1, 2))"
        features["rate"] = {"kind": kind, "role": "derived", "value": text, "derived_mismatch": "recompute"}
        formulas["rate"] = text
    if names and draw(st.booleans()):
        own = "start.savings + 0.5 * (income - start.income)" if "income" in names else "start.savings + 1"
        text = draw(st.sampled_from([own, "custom"]))
        text = f"start.savings + {draw(amounts(names, 1, waits=waits))}" if text == "custom" else text
        features["savings"] = {"kind": "number", "effect": text if sure else "max(start.savings, 1)"}
    out: dict[str, Any] = {
        "decision": {"threshold": 0.5},
        "cost": {
            "unit": draw(st.sampled_from(["mad", "raw", "range", "std"])),
            "per_change": draw(st.sampled_from([0.1, 0.0, 1.0])),
            **draw(st.sampled_from([{}, {}, {"max_changes": 1}, {"max_changes": 2}, {"max_changes": 3}])),
        },
    }
    if waits:
        out["time"] = {
            "horizon": draw(st.integers(1, 4)),
            "cost_per_month": draw(st.sampled_from([0.05, 0.3, 1.0, 0.0])),
        }
    if months or reapply:
        out["reapply"] = {"after_months": months, "effects": reapply if waits or months or draw(st.booleans()) else {}}
        if not out["reapply"]["effects"]:
            out["reapply"].pop("effects")
    groups = {
        "one_hot": {n: list(v) for block in blocks for n, v in block.one_hot.items()},
        "thermometer": {n: list(v) for block in blocks for n, v in block.thermometer.items()},
    }
    if any(groups.values()):
        out["groups"] = {key: table for key, table in groups.items() if table}
    readable = [*names, *(["savings"] if "savings" in features else [])]
    if "rate" in features:
        readable.append("rate" if features["rate"]["kind"] == "number" else "(rate + 0)")
    rules = draw(_rules(blocks, readable, waits=waits))
    if rules:
        out["rules"] = rules
    if readable and draw(st.integers(0, 2)) == 0:
        bar = draw(st.sampled_from(readable))
        fires = draw(st.sampled_from([f"{bar} > 3", f"{bar} < 1", f"{bar} * 2 >= 7"]))
        out["decision"]["knockouts"] = [{"name": "never", "deny_when": fires}]
    order = draw(st.permutations(sorted(features)))
    out["features"] = {name: features[name] for name in order}
    return out, formulas, names


def rows_of(blocks: Sequence[Block], extra: Mapping[str, tuple[Any, ...]], n: int, rng: Any) -> list[dict[str, Any]]:
    """Fill rows: columns that belong together together."""
    out = []
    for _ in range(n):
        row: dict[str, Any] = {}
        for block in blocks:
            if block.together:
                row |= dict(zip(block.values, block.together[int(rng.integers(len(block.together)))]))
            else:
                row |= {name: v[int(rng.integers(len(v)))] for name, v in block.values.items()}
        out.append(row | {name: v[int(rng.integers(len(v)))] for name, v in extra.items()})
    return out


@st.composite
def worlds(draw: st.DrawFn, libraries: Sequence[str] = TREES, *, shapes: Sequence[str] = SHAPES) -> World:
    """Draw a whole world with a telling threshold, and a few refused applicants."""
    library = draw(st.sampled_from(list(libraries)))
    known = [name for name in BLOCKS if name != "appraisals" or library not in WITHOUT_MISSING]
    first = draw(st.sampled_from(["incomes", "incomes", *known]))
    rest = draw(st.lists(st.sampled_from(known), min_size=1, max_size=2, unique=True))
    chosen = list(dict.fromkeys([first, *rest]))
    blocks = [draw(BLOCKS[name](library)) for name in chosen]
    told, formulas, _ = draw(words(library, blocks))
    try:
        policy = Policy.model_validate(told)
    except PolicyError as error:
        if not _is_sense(str(error)):
            raise
        reject()
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    extra = {"savings": (0.0, 1.0, 2.5, 4.0)} if "savings" in told["features"] else {}
    rows = rows_of(blocks, extra, 60, rng)
    if formulas:
        rows = [{**row, **Applicant(policy, row).derived()} for row in rows]
    levels = {name: v for block in blocks for name, v in block.native_levels.items()}
    frame = frame_of(rows, levels)
    if library in WITHOUT_MISSING and frame.isna().any(axis=None):
        reject()
    if (frame.select_dtypes("number").abs() > 1e30).any(axis=None):  # which 32-bit libraries refuse
        reject()
    seen = [name for name in frame if name in levels or frame[name].nunique() > 1]
    hidden = draw(st.sampled_from([None, None, *sorted(set(seen) - set(levels))])) if len(seen) > 1 else None
    shown = [name for name in frame if name != hidden and frame[name].notna().any()]
    if not shown:
        reject()
    native = _fitted(draw, library, frame[shown], levels, rng)
    try:
        population = Population.from_frame(frame, policy)
        check_costs(policy, population)
    except PolicyError:
        reject()
    asked = draw(_asked(library, frame[shown], levels, shapes, rng))
    spans = {name: (-20.0, 30.0) for name, f in policy.features.items() if not f.listed}
    merit = naive.scores(native, rows)
    poor = [rows[i] for i in np.argsort(merit, kind="stable")[: len(rows) // 3]]
    people = [poor[int(i)] for i in rng.choice(len(poor), size=2, replace=False)]
    told["decision"]["threshold"] = _telling(draw, policy, population, native, people[0], asked, spans)
    if draw(st.integers(0, 4)) == 0:
        told["decision"]["margin"] = min(0.01, (1.0 - told["decision"]["threshold"]) / 2)
    return World(
        library, native, Policy.model_validate(told), population, frame, tuple(people), asked, spans
    )  # fmt: skip


def _is_sense(message: str) -> bool:
    """Whether an error is about a drawn policy that makes no sense, which is the policy's to refuse."""
    return any(part in message for part in ("follows from itself", "depends on itself", "constant", "never"))


def frame_of(rows: Sequence[Mapping[str, Any]], levels: Mapping[str, Any]) -> pd.DataFrame:
    """Return rows as a frame: numbers as numbers, levels as they are."""
    return pd.DataFrame(
        {name: naive.column([row[name] for row in rows], number=name not in levels) for name in rows[0]}
    )


def _fitted(draw: st.DrawFn, library: str, frame: pd.DataFrame, levels: Mapping[str, Any], rng: Any) -> Native:
    own = {name: v for name, v in levels.items() if name in frame}
    merit = rng.normal(0.0, 0.5, len(frame))
    for name in frame:
        codes = pd.factorize(frame[name], sort=True)[0].astype(float)
        merit += rng.normal(0.0, 1.0) * (codes - codes.mean()) / (codes.std() + 1e-9)
    target = (merit > np.median(merit)).astype(int)
    target[0], target[1] = 0, 1
    estimator = fit(library, frame, target, own, **draw(settings_of(library)))
    return Native(estimator, tuple(map(str, frame.columns)), own)


@st.composite
def _asked(
    draw: st.DrawFn, library: str, frame: pd.DataFrame, levels: Mapping[str, Any], shapes: Sequence[str], rng: Any
) -> naive.Asked:
    also = draw(st.integers(0, 4)) == 0
    sober = not any(name in levels for name in frame) and not frame.isna().any(axis=None)
    return naive.Asked(
        shape=draw(st.sampled_from(list(shapes))),
        box_steps=draw(st.sampled_from([1, 2, 5])),
        plans=draw(st.sampled_from([1, 1, 2, 3])),
        also_approve=(_fitted(draw, library, frame, levels, rng),) if also else (),
        plausibility=Plausible(frame, draw(st.integers(0, 9))) if sober and draw(st.integers(0, 3)) == 0 else None,
    )


def _telling(
    draw: st.DrawFn,
    policy: Policy,
    population: Population,
    native: Native,
    row: Mapping[str, Any],
    asked: naive.Asked,
    spans: Mapping[str, tuple[float, float]],
) -> float:
    """Return a threshold at, just above or between scores within reach."""
    try:
        here = naive.world(
            policy, population, native, Applicant(policy, row), asked, 0.5, limit=LIMIT, reach=spans
        )  # fmt: skip
    except (naive.TooLarge, ValueError):  # too many rows, or numbers that the library refuses
        reject()
    now = float(naive.scores(native, [row])[0])
    within = np.unique(here.score[here.obeys & here.clears])
    above = within[within > now]
    pool = above if len(above) else np.append(within, now)
    at = float(pool[len(pool) - 1 - draw(st.integers(0, len(pool) - 1))])
    chosen = float(np.nextafter(at, 1.0)) if draw(st.integers(0, 5)) == 0 else at
    return unshaken(min(max(chosen, 1e-9), 1.0 - 1e-9), native)
