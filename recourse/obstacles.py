"""What stands in the way where no plan exists: constraints of the policy without which one would.

The answer is a minimal correction set: with these constraints dropped a plan exists, with any one of them kept it does
not. Both are searched for, under policies that differ from the given one in these constraints alone.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from .budget import Budget
from .errors import InputError, PolicyError
from .models.blackbox import BlackBox
from .policy import Policy
from .region import threshold_of

if TYPE_CHECKING:
    from .finder import Finder
    from .population import Population

__all__ = ["Blocking", "Constraint", "Relaxation", "Relaxations", "blocking"]

Kind = Literal[
    "role", "manipulable", "knockout", "rule", "moves", "change", "min", "max", "max_change", "max_changes", "horizon"
]
_NODES = 20_000  # largest part of the budget for each policy that is tried
_FAR = 10  # where the language needs an end, a lifted bound lies this many widths of the old range further out
_VALUES = 50_000  # but no more steps than this
_LATER = 600  # months by which a lifted horizon lies further out
_PROTECTED = "a protected feature"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint of a policy: `kind` in the words of the file, of the feature or rule `name`.

    A rule or knock-out that reads a protected feature is not named.

    Examples
    --------
    >>> print(Constraint("max", "income", "at most 60000", "annual income"))
    annual income: at most 60000
    >>> Constraint("max", "income", "at most 60000").to_dict()
    {'constraint': 'max', 'of': 'income', 'says': 'at most 60000'}
    """

    kind: Kind
    name: str | None
    says: str
    label: str | None = None
    place: int = field(default=-1, repr=False, compare=False)  # of a rule or knock-out among its like

    def __str__(self) -> str:
        """Return the constraint in words."""
        name = self.label or self.name
        return self.says if name in (None, self.says) else f"{name}: {self.says}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {"constraint": self.kind, "of": self.name, "says": self.says}


@dataclass(frozen=True, slots=True)
class Relaxation:
    """One constraint that is enough by itself, and what the cheapest plan without it costs."""

    constraint: Constraint
    cost: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {**self.constraint.to_dict(), "cost": self.cost}


@dataclass(frozen=True, slots=True)
class Blocking:
    """Why no plan exists.

    Attributes
    ----------
    constraints : tuple of Constraint
        Dropped together they let a plan exist; none of them is superfluous.
    cost : float or None
        What the best plan found then costs.
    cheapest : Relaxation or None
        The single constraint whose absence lets the cheapest plan exist, if one is enough.
    model : bool
        With everything dropped that is not protected, still nothing is approved.
    proven : bool
        Every search behind this ran to its end.
    """

    constraints: tuple[Constraint, ...]
    cost: float | None
    cheapest: Relaxation | None
    model: bool
    proven: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        if self.model:
            return {"model": True, "proven": self.proven}
        data: dict[str, Any] = {"constraints": [c.to_dict() for c in self.constraints]}
        data |= {"cost": self.cost} if self.cost is not None else {}
        data |= {"cheapest": self.cheapest.to_dict()} if self.cheapest is not None else {}
        return {**data, "proven": self.proven}

    def __str__(self) -> str:
        """Return it in words, one line a constraint."""
        if self.model:
            return "the model approves nothing, whatever else than protected features changes"
        if not self.constraints:
            return "undecided within the budget"
        return "\n".join(map(str, self.constraints))


def blocking(finder: Finder, row: Mapping[str, Any], *, threshold: float | None = None) -> Blocking:
    """Return which constraints of the policy to drop for a plan to exist.

    Considered are roles (fixed, manipulable), directions, bounds, `max_change`, `moves`, rules, knock-outs,
    `max_changes` and the horizon. What is protected stays as it is and is never named; formulas, effects, clocks, codes
    and missing values are facts, no constraints. Shape, further models and plausibility are those of the finder.

    Parameters
    ----------
    finder : Finder
        One by which no plan exists for the row.
    row : mapping
        The applicant's raw values.
    threshold : float, optional
        The applicant's, in place of the policy's.

    Raises
    ------
    InputError
        If a plan exists, or the model is a black box.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from recourse import Finder
    >>> frame = pd.DataFrame({"income": [20, 30, 40, 50], "age": [30, 50, 40, 60]})
    >>> model = DecisionTreeClassifier().fit(frame, [0, 0, 1, 1])
    >>> policy = {
    ...     "decision": {"threshold": 0.5},
    ...     "cost": {"unit": "raw"},
    ...     "features": {
    ...         "income": {"kind": "integer", "max_change": 5, "change": "up", "max": 90},
    ...         "age": {"kind": "integer", "role": "protected"},
    ...     },
    ... }
    >>> found = blocking(Finder(model, policy), {"income": 28, "age": 44})
    >>> print(found)
    income: a change of at most 5
    >>> found.cheapest.cost
    8.1
    """
    return Relaxations(finder).blocking(row, threshold=threshold)


class Relaxations:
    """A finder's policy with constraints dropped; what was built for one applicant serves the next."""

    def __init__(self, finder: Finder) -> None:
        if isinstance(finder.model.core, BlackBox):
            raise InputError(f"{finder.model.name} is a black box: that no plan exists cannot be proven, nor why")
        self._finder = finder
        known = set(finder._problem.names)
        self._constraints = tuple(_constraints(finder.policy, known))
        self._finders: dict[frozenset[int], Finder | None] = {frozenset(): finder}
        self._able = [i for i in range(len(self._constraints)) if self._relaxed(frozenset([i])) is not None]

    def blocking(self, row: Mapping[str, Any], *, threshold: float | None = None) -> Blocking:
        """See the module's function."""
        bar = float(threshold) if threshold is not None else threshold_of(self._finder, row)
        tries = _Tries(self, pd.DataFrame({str(n): [v] for n, v in row.items()}), bar)
        if tries.cost(frozenset()) is not None:
            raise InputError("a plan exists for this applicant: nothing blocks it")
        singles = [(i, cost) for i in self._able if (cost := tries.cost(frozenset([i]))) is not None]
        if singles:
            i, cost = min(singles, key=lambda single: single[1])
            best = Relaxation(self._constraints[i], cost)
            return Blocking((best.constraint,), cost, best, False, tries.sure(frozenset()))
        dropped = frozenset(self._able)
        if tries.cost(dropped) is None:
            sure = tries.sure(dropped)
            return Blocking((), None, None, sure, sure)
        dropped = tries.fewer(dropped, sorted(dropped))
        again = True
        while again:  # wider bounds also widen what a region promises: look at each once more
            again = False
            for i in sorted(dropped):
                if tries.cost(dropped - {i}) is not None:
                    dropped, again = dropped - {i}, True
                    break
        sure = all(tries.sure(dropped - {i}) for i in dropped)
        kept = tuple(self._constraints[i] for i in sorted(dropped))
        return Blocking(kept, tries.cost(dropped), None, False, sure)

    def _relaxed(self, dropped: frozenset[int]) -> Finder | None:
        """Return a finder without some constraints; None where the policy makes no sense without them."""
        if dropped not in self._finders:
            self._finders[dropped] = self._built([self._constraints[i] for i in sorted(dropped)])
        return self._finders[dropped]

    def _built(self, constraints: Sequence[Constraint]) -> Finder | None:
        from .finder import Finder

        old = self._finder
        for ended in (False, True):
            try:
                policy = relaxed(old.policy, constraints, old.population, ended=ended)
                return Finder(
                    old.model,
                    policy,
                    old.population,
                    shape=old.shape,
                    box_steps=old.box_steps,
                    also_approve=old.also_approve,
                    plausibility=old.plausibility,
                    budget=Budget(nodes=min(old.budget.nodes, _NODES)),
                )
            except InputError:
                continue
        return None


class _Tries:
    """The searches for one applicant."""

    def __init__(self, relaxations: Relaxations, frame: pd.DataFrame, bar: float) -> None:
        self._relaxations, self._frame, self._bar = relaxations, frame, bar
        self._known: dict[frozenset[int], tuple[float | None, bool]] = {}

    def cost(self, dropped: frozenset[int]) -> float | None:
        """What the plan that is found without some constraints costs; None without a plan."""
        return self._look(dropped)[0]

    def sure(self, dropped: frozenset[int]) -> bool:
        """Whether a search ran to its end."""
        return self._look(dropped)[1]

    def fewer(self, dropped: frozenset[int], part: list[int]) -> frozenset[int]:
        """Take back what need not be dropped, in halves: all of a part at once where possible."""
        kept = dropped - set(part)
        if self.cost(kept) is not None:
            return kept
        if len(part) == 1:
            return dropped
        middle = len(part) // 2
        return self.fewer(self.fewer(dropped, part[:middle]), part[middle:])

    def _look(self, dropped: frozenset[int]) -> tuple[float | None, bool]:
        if dropped not in self._known:
            self._known[dropped] = self._searched(dropped)
        return self._known[dropped]

    def _searched(self, dropped: frozenset[int]) -> tuple[float | None, bool]:
        finder = self._relaxations._relaxed(dropped)
        if finder is None:
            return None, False
        try:
            batch = finder.encode(self._frame)
        except PolicyError:  # a grid without an end, where an expression tells all of its values apart
            return None, False
        found = finder.solve(batch, 0, threshold=self._bar)
        return (found.cost_micro / 1e6 if found.status == "found" else None), found.status != "none_found"


# --------------------------------------------------------------------------------------------------------- constraints


def _constraints(policy: Policy, known: set[str]) -> Iterator[Constraint]:
    """Yield the constraints that could be dropped; what is kept first, where there is a choice, comes first."""
    for name, feature in policy.features.items():
        if name in known and feature.role == "fixed":
            yield Constraint("role", name, "does not change by a choice", policy.label(name))
        if name in known and feature.role == "action" and feature.manipulable:
            yield Constraint("manipulable", name, "is never advised", policy.label(name))
    found = policy.expressions
    denials = zip(policy.decision.knockouts, found.knockouts, strict=True)
    for place, (knockout, fires) in enumerate(denials):
        reads = fires.names | fires.start_names
        yield _named("knockout", knockout.name, f"denied when {knockout.deny_when}", reads, policy, place)
    for place, (rule, parts) in enumerate(zip(policy.rules, found.rules, strict=True)):
        names = {n for p in (parts.require, parts.when, parts.then) if p is not None for n in p.names | p.start_names}
        says = rule.require if rule.require is not None else f"when {rule.when}, then {rule.then}"
        yield _named("rule", rule.name, str(says), names, policy, place)
    acting = {n: f for n, f in policy.features.items() if n in known and f.movable}
    for name, feature in acting.items():
        if feature.levels is not None and feature.moves is not None:
            yield Constraint("moves", name, "not every level leads to every other", policy.label(name))
    for name, feature in acting.items():
        label = policy.label(name)
        if feature.change != "any":
            yield Constraint("change", name, f"only goes {feature.change}", label)
        if feature.min is not None:
            yield Constraint("min", name, f"at least {feature.min:g}", label)
        if feature.max is not None:
            yield Constraint("max", name, f"at most {feature.max:g}", label)
        if feature.max_change is not None:
            limit = feature.max_change
            size = f"{limit:g}" if isinstance(limit, float) else f"{limit.percent:g} % (or {limit.at_least:g}, if more)"
            yield Constraint("max_change", name, f"a change of at most {size}", label)
    if policy.cost.max_changes is not None:
        yield Constraint("max_changes", None, f"at most {policy.cost.max_changes} changes")
    if policy.time is not None:
        yield Constraint("horizon", None, f"at most {policy.time.horizon} months of waiting")


def _named(kind: Kind, name: str, says: str, reads: Iterable[str], policy: Policy, place: int) -> Constraint:
    """Return a rule or knock-out; one that reads what is protected, or what follows from it, is not named."""
    formulas, seen, waiting = policy.expressions.values, set[str](), list(reads)
    while waiting:
        read = waiting.pop()
        if read not in seen:
            seen.add(read)
            waiting += formulas[read].names if read in formulas else ()
    if any(read in policy.features and policy.features[read].role == "protected" for read in seen):
        what = "knock-out" if kind == "knockout" else "rule"
        return Constraint(kind, None, f"a {what} about {_PROTECTED}", place=place)
    return Constraint(kind, name, says, place=place)


def relaxed(
    policy: Policy, constraints: Sequence[Constraint], population: Population, *, ended: bool = False
) -> Policy:
    """Return a policy without some of its constraints.

    With `ended`, bounds are not dropped but moved far out, and numbers get a grid, as the language asks where
    expressions read them.

    Raises
    ------
    PolicyError
        If nothing that makes sense remains.
    """
    data: dict[str, Any] = tomllib.loads(policy.to_toml(), parse_float=Decimal)
    for constraint in constraints:
        kind, name = constraint.kind, constraint.name
        if kind in ("rule", "knockout"):
            table, key = (data, "rules") if kind == "rule" else (data["decision"], "knockouts")
            table[key] = [None if i == constraint.place else part for i, part in enumerate(table[key])]
        elif kind == "max_changes":
            del data["cost"]["max_changes"]
        elif kind == "horizon":
            data["time"]["horizon"] = int(data["time"]["horizon"]) + _LATER
        else:
            assert name is not None
            _loosen(data["features"][name], kind, policy, name, population, ended=ended)
    for table, key in ((data, "rules"), (data["decision"], "knockouts")):
        if key in table:
            table[key] = [part for part in table[key] if part is not None]
    return Policy.model_validate(data)


def _loosen(
    feature: dict[str, Any], kind: Kind, policy: Policy, name: str, population: Population, *, ended: bool
) -> None:
    if kind == "moves":
        feature.pop("moves", None)
        feature.pop("move_cost", None)
    elif kind in ("role", "manipulable"):
        feature.pop(kind, None)
        if ended and policy.features[name].levels is None:
            _with_grid(feature, name, population)
    elif not ended or kind not in ("min", "max"):
        feature.pop(kind, None)
    else:
        low, high = (feature.get(side) for side in ("min", "max"))
        summary = population.columns.get(name)
        low = Decimal(str(low)) if low is not None else Decimal(str(summary.min)) if summary else Decimal(0)
        high = Decimal(str(high)) if high is not None else Decimal(str(summary.max)) if summary else low
        far = _FAR * max(high - low, Decimal(1))
        if feature.get("step") is not None:
            far = min(far, _VALUES * Decimal(str(feature["step"])))
        feature[kind] = low - far if kind == "min" else high + far


def _with_grid(feature: dict[str, Any], name: str, population: Population) -> None:
    """Give a number that was fixed the grid and the ends of the population."""
    summary = population.columns.get(name)
    if summary is None or not len(summary.knots):
        return
    width = max(summary.max - summary.min, 1e-9)
    if feature["kind"] == "number":
        feature.setdefault("step", Decimal(10) ** (math.floor(math.log10(width)) - 2))
    feature.setdefault("min", math.floor(summary.min))
    feature.setdefault("max", math.ceil(summary.max))
