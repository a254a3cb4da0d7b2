"""A proof followed: that its boxes are all choices there are, and that each is closed for a reason that holds.

A proof is a tree of splits, written as a list of nodes of which the first is the box of all choices. A split sends the
values of one feature below a value, or in a set, to one child and all others to the other, so the leaves cover
everything. Nothing of what the proof says is taken for true: choices, prices and trees are derived from the model, the
policy and the row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..checking.change import decimal
from ..values import Value, plain
from .axes import Listed, Numbers
from .boxes import WAIT, Asked, Box, Case, Part

if TYPE_CHECKING:
    from ..models.base import Model
    from ..plan import Outcome, Plan
    from ..policy import Policy
    from ..population import Population

SCHEMA = "fairpath.proof/1"


def models_and_cuts(
    models: tuple[Model, Sequence[Model], Model | None], policy: Policy, threshold: float
) -> list[tuple[Model, float]]:
    """Return the models that must approve with the least raw score that each approves."""
    model, others, plausibility = models
    bar = threshold + policy.decision.margin
    out = [(one, one.cut(bar)) for one in (model, *others)]
    return out if plausibility is None else [*out, (plausibility, plausibility.cut(0.0))]


def follow(
    proof: Mapping[str, Any],
    outcome: Outcome,
    row: Mapping[str, Any],
    model: Model,
    policy: Policy,
    population: Population,
    *,
    also_approve: Sequence[Model] = (),
    plausibility: Model | None = None,
    box_steps: int = 5,
) -> tuple[str, ...]:
    """Return what is wrong with a proof of an outcome, one sentence each; nothing when it holds.

    Parameters
    ----------
    proof : mapping
        What `prove` returned.
    outcome : Outcome
        With plans: that none of its proven plans could cost less. Without: that there is no plan.
    row : mapping
        The applicant's raw values.
    model, policy, population, also_approve, plausibility, box_steps
        As in `check`.

    Returns
    -------
    tuple of str
        One that begins with "unfinished" where the proof says itself that boxes are left open.
    """
    if proof.get("schema") != SCHEMA:
        return (f"expected a proof with schema {SCHEMA!r}, got {proof.get('schema')!r}",)
    if proof.get("id") != outcome.id or proof.get("provenance") != outcome.provenance.to_dict():
        return ("the proof is of another applicant, or was made from another model, policy or population",)
    asked = Asked(outcome.threshold, outcome.shape, box_steps)
    cuts = models_and_cuts((model, also_approve, plausibility), policy, outcome.threshold)
    case = Case(cuts, policy, population, row, asked)
    faults: list[str] = []
    wanted = list(goals(outcome))
    parts = proof.get("parts")
    if not isinstance(parts, list) or len(parts) != len(wanted):
        return (f"the proof should have {len(wanted)} parts, one for each claim of the outcome",)
    for k, (part, (below, taboo)) in enumerate(zip(parts, wanted, strict=True)):
        where = f"part {k + 1}: " if len(parts) > 1 else ""
        try:
            faults += [where + fault for fault in _Follower(case, part, below, taboo).faults()]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            faults.append(f"{where}the proof is malformed ({type(error).__name__}: {error})")
    return tuple(faults)


def goals(outcome: Outcome) -> Iterator[tuple[float, tuple[frozenset[str], ...]]]:
    """Yield what is to be proven: that no plan costs less than so many micro-units, beside sets that are ruled out."""
    taboo: tuple[frozenset[str], ...] = ()
    for plan in outcome.plans:
        if plan.certificate.proven:
            yield micro(plan), taboo
        taboo = (*taboo, frozenset(change.feature for change in plan.changes))
    if not outcome.plans:
        yield math.inf, ()


def micro(plan: Plan) -> int:
    """Return a plan's cost in micro-units."""
    return round(plan.cost * 1e6)


class _Follower:
    """Follows one tree of splits."""

    def __init__(self, case: Case, part: Mapping[str, Any], below: float, taboo: tuple[frozenset[str], ...]) -> None:
        self.case, self.below, self.taboo = case, below, taboo
        self.part = part
        self.nodes: list[Mapping[str, Any]] = list(part["nodes"])

    def faults(self) -> Iterator[str]:
        """Yield what is wrong."""
        said = self.part["below_micro"]
        if (math.inf if said is None else said) != self.below:
            yield f"the proof is about plans below {said!r} micro-units, the outcome claims {self.below!r}"
            return
        if [sorted(names) for names in self.part["taboo"]] != [sorted(names) for names in self.taboo]:
            yield "the proof rules out other sets of features than the outcome's earlier plans"
            return
        waiting: list[tuple[int, Box]] = [(0, self.case.whole)]
        seen: set[int] = set()
        n_open = 0
        while waiting:
            i, box = waiting.pop()
            if i in seen or not 0 <= i < len(self.nodes):
                yield f"node {i} is not there, or stands below two splits: the boxes do not cover all choices"
                return
            seen.add(i)
            node = self.nodes[i]
            if "split" in node:
                first, second = self._split(node, box)
                for side, child in ((first, node["in"]), (second, node["out"])):
                    if type(child) is not int:
                        yield f"node {i}: a side of the split has no node, so the boxes do not cover all choices"
                        return
                    if side is not None:
                        waiting.append((child, self._with(box, node["split"], side)))
                    else:
                        seen.add(child)  # nothing lies on that side
            elif node.get("closed") == "open":
                n_open += 1
            else:
                fault = self._fault(node, box)
                if fault is not None:
                    yield f"node {i}, {self.words(box)}: {fault}"
                    return
        if n_open:
            yield f"unfinished: {n_open:,} boxes were left open"

    def _with(self, box: Box, name: str, part: Part) -> Box:
        i = self.case.place[name]
        return (*box[:i], part, *box[i + 1 :])

    def _split(self, node: Mapping[str, Any], box: Box) -> tuple[Part | None, Part | None]:
        """Return the two sides of a split; None for one on which nothing lies."""
        i = self.case.place[node["split"]]
        axis, part = self.case.axes[i], box[i]
        if isinstance(axis, Listed):
            assert isinstance(part, frozenset)
            chosen = {p for p in range(len(axis.choices)) if _among(axis.value(p), node["of"])}
            return frozenset(part & chosen) or None, frozenset(part - chosen) or None
        assert isinstance(part, tuple)
        at = node["below"]
        cut = axis.first_with(lambda v: v >= at)
        first, last = part
        low, high = (first, min(last, cut - 1)), (max(first, cut), last)
        return (low if low[0] <= low[1] else None), (high if high[0] <= high[1] else None)

    def _fault(self, node: Mapping[str, Any], box: Box) -> str | None:
        """Say why a box is not closed by the reason that stands there, or None."""
        case, reason = self.case, node["closed"]
        if reason == "cost":
            least = case.cost(box)
            return None if least >= self.below else f"a choice costs {least:,} micro-units, below {self.below:,}"
        if reason == "changes":
            n = sum(case.forced(box))
            return None if n > case.max_changes else f"{n} features change at least, {case.max_changes} may"
        if reason == "taboo":
            forced = {a.name for a, moved in zip(case.axes, case.forced(box), strict=True) if moved}
            return (
                None if any(names <= forced for names in self.taboo) else "no set that is ruled out changes as a whole"
            )
        if reason == "rule":
            name = node["rule"]
            if name not in case.rules:
                return f"the policy has no rule {name!r}"
            return None if case.breaks(name, box) else f"the rule {name!r} is not broken everywhere"
        if reason == "bound":
            return self._bound(int(node["model"]), box)
        if reason == "score":
            return self._score(box)
        if reason == "region":
            return self._region({str(k): plain(v) for k, v in node["row"].items()}, box)
        return f"{reason!r} is no reason"

    def _bound(self, k: int, box: Box) -> str | None:
        trimmed = self.case.trimmed(box, self.below)
        if trimmed is None:
            return None  # too dear, or too many changes
        bound, need = self.case.bound(k, trimmed, self.below), self.case.bars[k].low_enough
        return None if bound < need else f"model {k} may reach {bound!r}, {need!r} is enough"

    def _score(self, box: Box) -> str | None:
        chosen = self.case.chosen(box)
        if chosen is None:
            return "more than one choice lies in the box"
        reached = self.case.state_of(chosen)
        if not self.case.obeys(reached) or self.case.refused_by(reached) is not None:
            return None
        return "the choice is approved"

    def _region(self, row: Mapping[str, Value], box: Box) -> str | None:
        """A row that is refused lies in the region of every plan of the box."""
        chosen: dict[str, Value] = {}
        for axis, part in zip(self.case.axes, box, strict=True):
            value = row.get(axis.name, axis.value(0))
            if not promised(self.case, axis, part, value):
                return f"{axis.name} = {value!r} does not lie in the region of every plan of the box"
            if value != axis.value(0):
                chosen[axis.name] = value
        reached = self.case.state_of(chosen)
        if not self.case.obeys(reached):
            return "the row of the region breaks a rule, so it does not count"
        return None if self.case.refused_by(reached) is not None else "the row of the region is approved"

    def words(self, box: Box) -> str:
        """Return where a box differs from all choices."""
        out = []
        for axis, part, whole in zip(self.case.axes, box, self.case.whole, strict=True):
            if part != whole:
                if isinstance(part, frozenset):
                    out.append(f"{axis.name} in {[axis.value(p) for p in sorted(part)]}")
                else:
                    out.append(f"{axis.name} from {axis.value(part[0])!r} to {axis.value(part[1])!r}")
        return ", ".join(out) or "all choices"


def promised(case: Case, axis: Numbers | Listed, part: Part, value: Value) -> bool:
    """Whether a value lies in the region of every choice of a part of an axis."""
    if isinstance(part, frozenset):
        assert isinstance(axis, Listed)
        return all(_among(value, axis.choices[p].until or (axis.choices[p].value,)) for p in part)
    assert isinstance(axis, Numbers)
    first, last = part
    if isinstance(value, str) or value is None:
        return False
    ends = axis.value(first), axis.value(last)
    if ends == (value, value):
        return True
    if case.asked.shape == "point" or first <= 0 <= last:
        return False
    low, high, here = decimal(ends[0]), decimal(ends[1]), decimal(value)  # type: ignore[arg-type]
    sign, near, far = (1, low, high) if first > 0 else (-1, high, low)
    if (here - far) * sign < 0:
        return False
    if axis.name == WAIT:
        step: Decimal | None = Decimal(1)
        end: Decimal | None = Decimal(case.policy.time.horizon) if case.policy.time is not None else None
        zero = Decimal(0)
    else:
        bounds = case.changes.bounds(axis.name)
        if value in bounds.codes:
            return False
        step, end = bounds.step, bounds.maximum if sign > 0 else bounds.minimum
        from_applicant = case.policy.features[axis.name].step_from == "applicant"
        zero = decimal(axis.start) if from_applicant else Decimal(0)  # type: ignore[arg-type]
    if end is not None and (here - end) * sign > 0:
        return False
    if step is not None and (here - zero) % step != 0:
        return False
    if case.asked.shape == "box":
        return step is not None and (here - near) * sign <= case.asked.box_steps * step
    return True


def _among(value: Value, values: Sequence[Value]) -> bool:
    return any(value == one and isinstance(value, str) == isinstance(one, str) for one in values)
