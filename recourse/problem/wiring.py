"""What a policy's expressions compute: of features as they are scored, of rules, and of the present row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from ..search.programs import Programs
from .layout import WAIT, Slot, Wiring

if TYPE_CHECKING:
    from ..expression import Compiler, Node
    from ..policy import Policy

_CLOSE = 1e-9  # relative, between a derived value as recorded and as its formula gives it


def states(policy: Policy) -> dict[str, Node]:
    """Return the features whose state is not simply their own value, with what computes it."""
    follows = any(f.value or f.effect or f.tick for f in policy.features.values())
    if not follows and (policy.reapply is None or not policy.reapply.effects):
        return {}
    from ..expression import dependents

    return dependents(policy)


def readers(policy: Policy, scored: Iterable[str]) -> frozenset[str]:
    """Return the features that the search must know because expressions about scored features, or rules, read them."""
    nodes, rules = states(policy), _rules(policy)
    wanted = [nodes[name] for name in scored if name in nodes] + rules
    if not wanted:
        return frozenset()
    from ..expression import names_in, starts_in

    return frozenset().union(*(names_in(node) | starts_in(node) for node in wanted))


def wire(policy: Policy, slots: Sequence[Slot]) -> Wiring:
    """Compile what computes the scored features and the rules."""
    order = tuple(slot.name for slot in slots)
    nodes, rules = states(policy), _rules(policy)
    program = np.full(len(slots), -1, np.int64)
    every = np.zeros(len(slots), np.uint8)
    scored = [j for j, slot in enumerate(slots) if slot.sources and slot.name in nodes]
    copies = [j for j, slot in enumerate(slots) if slot.copies >= 0]
    if not scored and not rules:
        none = np.empty(0, np.int64)
        return Wiring(program, np.zeros(1, np.int64), none, none, every, nothing(len(slots)))
    compiler = _compiler(policy, order)
    for j in scored:
        program[j] = compiler.add(nodes[order[j]])
    for j in copies:
        program[j] = compiler.add(_raw(order[slots[j].copies]))
    rule = np.array([compiler.add(node) for node in rules], np.int64)
    programs = compiler.programs()
    reads = [compiler.reads(k) for k in range(len(programs.start) - 1)]
    for part in reads:
        every[list(part)] = 1
    return Wiring(
        program=program,
        dep_start=np.concatenate([[0], np.cumsum([len(part) for part in reads])]).astype(np.int64),
        dep=np.array([j for part in reads for j in part], np.int64),
        rule=rule,
        every=every,
        programs=programs,
    )


def nothing(n: int) -> Programs:
    """Return no programs at all, over n features."""
    none, numbers = np.empty(0, np.int64), np.empty(0)
    return Programs(np.zeros(1, np.int64), none.astype(np.int32), none, numbers, np.zeros(n + 1, np.int64), numbers, 1)


def _raw(name: str) -> Node:
    from ..expression import Raw

    return Raw(name)


def _rules(policy: Policy) -> list[Node]:
    if not policy.rules and not policy.decision.knockouts:
        return []
    from ..expression import rule_nodes

    return [node for _, node in rule_nodes(policy)]


def _compiler(policy: Policy, order: Sequence[str]) -> Compiler:
    from ..expression import Compiler

    return Compiler(policy.features, order)


# ------------------------------------------------------------------------------------------------------ the present row


@dataclass(frozen=True, slots=True, eq=False)
class Present:
    """The expressions about an applicant as recorded: formulas of derived features, knock-outs, the threshold."""

    names: tuple[str, ...]  # the features that they are about
    programs: Programs
    formula: Mapping[str, int]  # derived feature -> program; those that another reads come first
    knockouts: tuple[tuple[str, int], ...]
    threshold: int  # -1: no expression

    def values(self, given: Mapping[str, np.ndarray], computed: Iterable[str], n_rows: int) -> np.ndarray:
        """Return what expressions see of the features: float64[n_rows, n_names]; formulas fill in the computed ones."""
        x = np.full((n_rows, len(self.names)), np.nan)
        for j, name in enumerate(self.names):
            if name in given:
                x[:, j] = given[name]
        wanted = set(computed)
        for name, k in self.formula.items():
            if name in wanted:
                x[:, self.names.index(name)] = self.run([k], x)[:, 0]
        return x

    def run(self, which: Sequence[int], x: np.ndarray) -> np.ndarray:
        """Return the values of programs on rows: float64[n_rows, n_programs]."""
        from ..search.states import run_rows

        return np.asarray(run_rows(self.programs, np.array(which, np.int64), x, x))

    def mismatch(self, name: str, x: np.ndarray) -> np.ndarray:
        """Return the rows in which a derived feature's recorded value is not what its formula gives."""
        recorded, computed = x[:, self.names.index(name)], self.run([self.formula[name]], x)[:, 0]
        with np.errstate(invalid="ignore"):
            close = np.abs(recorded - computed) <= _CLOSE * np.maximum(np.abs(recorded), np.abs(computed))
        return np.flatnonzero(~(close | (np.isnan(recorded) & np.isnan(computed))))

    def knocked(self, x: np.ndarray) -> list[tuple[str, ...]]:
        """Return the names of the knock-outs that fire on each row."""
        if not self.knockouts:
            return [()] * len(x)
        fires = self.run([k for _, k in self.knockouts], x) == 1.0
        out: list[tuple[str, ...]] = [()] * len(x)
        for r in np.flatnonzero(fires.any(axis=1)).tolist():
            out[r] = tuple(name for (name, _), one in zip(self.knockouts, fires[r], strict=True) if one)
        return out


def present(policy: Policy, scored: Iterable[str]) -> Present | None:
    """Compile what is asked of applicants as recorded; None if there is nothing.

    `scored` are the features that the search knows: derived ones among them are computed or checked.
    """
    knockouts = policy.decision.knockouts
    computed = isinstance(policy.decision.threshold, str) and policy.threshold_column is None
    if not knockouts and not computed and not any(f.value for f in policy.features.values()):
        return None
    found = policy.expressions
    wanted = {name for name in scored if name in found.values}
    parts = [*found.knockouts, *([] if found.threshold is None else [found.threshold])]
    reads = {name for part in parts for name in (*part.names, *part.start_names)} | wanted
    pending = [name for name in reads if name in found.values]
    while pending:
        formula = found.values[pending.pop()]
        more = (formula.names | formula.start_names) - reads
        reads |= more
        pending += [name for name in more if name in found.values]
    reads.discard(WAIT)
    names = (*(name for name in policy.features if name in reads), WAIT)
    compiler = _compiler(policy, names)
    formulas: dict[str, int] = {}
    waiting = [name for name in names if name in found.values]
    while waiting:  # formulas go in no circle
        name = next(n for n in waiting if not (found.values[n].names & (set(waiting) - {n})))
        waiting.remove(name)
        formulas[name] = compiler.add(found.values[name])
    denied = tuple(
        (knockout.name, compiler.add(part)) for knockout, part in zip(knockouts, found.knockouts, strict=True)
    )
    cut = -1 if found.threshold is None else compiler.add(found.threshold)
    return Present(names, compiler.programs(), formulas, denied, cut)


def refuse_mismatch(name: str, rows: Sequence[Any], recorded: float, text: str, computed: float) -> None:
    """Raise for rows whose derived value is not what its formula gives."""
    shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    raise DataError(
        f"column {name!r}, {'row' if len(rows) == 1 else 'rows'} {shown}: recorded as {recorded!r} in row {rows[0]}, "
        f"but its formula {text!r} gives {computed!r}. Correct the data or the formula, or set "
        f'derived_mismatch = "recompute" for the feature to go by the formula.'
    )
