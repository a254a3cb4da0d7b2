"""The optimum under rules, formulas, clocks and several models once more, by CP-SAT.

Every action has a literal for each of its raw values. What a column shows to the trees is a table over the actions that
its state reads, worked out row by row in plain Python; rules and knock-outs are tables of what is forbidden. Scores are
constrained as in `cpsat`, once for each model. For plans of a point, without values that are provided.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from ortools.sat.python import cp_model

from tests import naive
from tests.cpsat import Ensemble, Groups, Witness, _leaves, _literal, _place, _splits, _target
from tests.naive_language import Applicant, parsed, plain_name

MOST = 20_000  # combinations of the actions that one state reads


class Actions:
    """The moves of every action, and which of them a feature's state reads."""

    def __init__(self, policy: Any, population: Any, applicant: Applicant, reach: Mapping[str, Any]) -> None:
        self.policy, self.applicant = policy, applicant
        names = [*policy.features, *(["wait"] if policy.time is not None else [])]
        self.moves = {n: naive.moves(policy, population, n, applicant.start_of(n), reach=reach.get(n)) for n in names}
        self.moves = {n: m for n, m in self.moves.items() if len(m) > 1}
        if any(move.promised is not None for m in self.moves.values() for move in m):
            raise naive.TooLarge("values that are provided")

    def reads(self, texts: Sequence[str], own: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the actions behind some expressions and features, in order."""
        found: set[str] = set()
        open_ = [*own, *(name for text in texts for name in names_of(text))]
        seen: set[str] = set()
        while open_:
            name = open_.pop()
            if name in seen:
                continue
            seen.add(name)
            found |= {name} & self.moves.keys()
            if name == "wait":
                continue
            feature, reapply = self.policy.features[name], self.policy.reapply
            open_ += ["wait"] if feature.tick is not None else []
            effect = (reapply.effects if reapply is not None else {}).get(name)
            effect = effect.strip()[1:] if effect is not None and effect.strip()[0] in "+-*/" else effect
            for text in (feature.value, feature.effect, effect):
                open_ += [] if text is None else list(names_of(text))
        return tuple(name for name in self.moves if name in found)

    def states(self, names: Sequence[str]) -> list[tuple[tuple[int, ...], dict[str, Any]]]:
        """Return the states for all combinations of some actions, all others staying."""
        sizes = [range(len(self.moves[name])) for name in names]
        if math.prod(len(size) for size in sizes) > MOST:
            raise naive.TooLarge(f"{math.prod(len(size) for size in sizes)} combinations")
        return [
            (place, self.applicant.state({n: self.moves[n][i].value for n, i in zip(names, place)}))
            for place in product(*sizes)
        ]


def names_of(text: str) -> set[str]:
    """Return the names whose state an expression reads."""
    tree = parsed(text)
    starts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {
        plain_name(node.id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and id(node) not in starts | functions
    }


def solve(
    ensembles: Sequence[Ensemble],
    policy: Any,
    population: Any,
    row: Mapping[str, Any],
    *,
    reach: Mapping[str, tuple[float, float]],
    seconds: float = 60.0,
    most_cuts: int = 30,
) -> Witness:
    """Minimise the cost for a rejected applicant; the first ensemble is the champion's."""
    applicant = Applicant(policy, row)
    actions = Actions(policy, population, applicant, reach)
    model = cp_model.CpModel()
    pick = {name: [model.new_bool_var("") for _ in moves] for name, moves in actions.moves.items()}
    index = {name: model.new_int_var(0, len(moves) - 1, "") for name, moves in actions.moves.items()}
    for name, chosen in pick.items():
        model.add_exactly_one(chosen)
        model.add(sum(i * v for i, v in enumerate(chosen)) == index[name])
    _forbid(model, index, actions)
    bar = float(policy.decision.threshold) + policy.decision.margin
    for ensemble in ensembles:
        if not _constrain(model, ensemble, actions, pick, index, bar, row):
            return Witness("none_exists", None, 0, None, 0, 0.0)
    every = [(v, m) for name, vs in pick.items() for v, m in zip(vs, actions.moves[name])]
    if policy.cost.max_changes is not None:
        model.add(sum(v for v, m in every if not m.stays) <= policy.cost.max_changes)
    model.minimize(sum(m.cost * v for v, m in every))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers, solver.parameters.random_seed = 1, 0
    spent, bound = 0.0, 0
    for cuts in range(most_cuts + 1):
        solver.parameters.max_time_in_seconds = max(1.0, seconds - spent)
        status = solver.solve(model)
        spent += solver.wall_time
        if status == cp_model.INFEASIBLE:
            return Witness("none_exists", None, 0, None, cuts, spent)
        bound = max(bound, math.ceil(solver.best_objective_bound - 1e-6))
        if status != cp_model.OPTIMAL:
            break
        place = {name: next(i for i, v in enumerate(vs) if solver.value(v)) for name, vs in pick.items()}
        after = applicant.raw(applicant.state({n: actions.moves[n][i].value for n, i in place.items()}))
        if all(naive.scores(ensemble.native, [after])[0] >= bar for ensemble in ensembles):
            return Witness("found", sum(actions.moves[n][i].cost for n, i in place.items()), bound, after, cuts, spent)
        model.add_bool_or([pick[name][i].negated() for name, i in place.items()])
    return Witness("open", None, bound, None, 0, spent)


def _forbid(model: Any, index: Mapping[str, Any], actions: Actions) -> None:
    """Rules and knock-outs: what they say of every combination of the actions that they read."""
    policy, applicant = actions.policy, actions.applicant
    conditions = [([t for t in (r.when, r.then, r.require) if t], r.name, applicant.broken) for r in policy.rules]
    conditions += [([k.deny_when], k.name, applicant.fired) for k in policy.decision.knockouts]
    for texts, name, said in conditions:
        names = actions.reads(texts)
        wrong = [place for place, state in actions.states(names) if name in said(state)]
        if wrong and names:
            model.add_forbidden_assignments([index[n] for n in names], wrong)
        elif wrong:
            model.add_bool_or([])


def _constrain(
    model: Any,
    ensemble: Ensemble,
    actions: Actions,
    pick: Mapping[str, list[Any]],
    index: Mapping[str, Any],
    bar: float,
    row: Mapping[str, Any],
) -> bool:
    """Add a model's score; False where no row at all reaches the bar."""
    table: dict[str, Groups] = {}
    literal: dict[Any, Any] = {}
    splits = [s for tree in ensemble.trees for s in _splits(tree)]
    groups = {m: name for name, members in actions.applicant.groups.items() for m in members}
    for column in ensemble.columns:
        tests = {s.key: s for s in splits if ensemble.columns[s.column] == column}
        if not tests:
            continue
        names = actions.reads([], [groups.get(column, column)])
        states = actions.states(names)
        rows = [{**row, **actions.applicant.raw(state)} for _, state in states]
        values = ensemble.matrix(_frame(rows, ensemble))[:, ensemble.columns.index(column)]
        seen = np.column_stack([np.asarray(s.goes_left(values), dtype=bool) for s in tests.values()])
        kinds, which = np.unique(seen, axis=0, return_inverse=True)
        shown = [model.new_bool_var("") for _ in kinds]
        model.add_exactly_one(shown)
        number = model.new_int_var(0, len(kinds) - 1, "")
        model.add(sum(i * v for i, v in enumerate(shown)) == number)
        told = [(*place, int(k)) for (place, _), k in zip(states, which.reshape(-1))]
        model.add_allowed_assignments([*(index[n] for n in names), number], told)
        table[column] = Groups(
            tuple(naive.Move(None, 0, (0, 0, 0.0, 0, naive.Fraction(0))) for _ in kinds),
            {key: kinds[:, t] for t, key in enumerate(tests)},
        )
        literal |= {(column, key): _literal(model, shown, kinds[:, t]) for t, key in enumerate(tests)}
    target = _target(ensemble.native, bar) - ensemble.base - ensemble.slack
    total = sum(max(abs(v) for v in _leaves(tree)) for tree in ensemble.trees) + 1e-9
    bits = 50 - math.ceil(math.log2(total))
    terms: list[Any] = []
    constant = 0.0
    for tree in ensemble.trees:
        allowed = {name: np.ones(len(g.moves), dtype=bool) for name, g in table.items()}
        leaves = _place(model, ensemble, tree, table, literal, allowed)
        if len(leaves) == 1:
            constant += leaves[0][1]
            continue
        model.add_exactly_one([leaf for leaf, _ in leaves])
        terms += leaves
    scaled = [(leaf, math.ceil(v * 2.0**bits)) for leaf, v in terms]
    if not math.isfinite(target):
        return target < 0
    least = math.floor((target - constant) * 2.0**bits) - 2
    if scaled:
        model.add(sum(w * leaf for leaf, w in scaled) >= least)
    return bool(scaled) or least <= 0


def _frame(rows: Sequence[Mapping[str, Any]], ensemble: Ensemble) -> pd.DataFrame:
    levels = ensemble.native.levels
    return pd.DataFrame(
        {name: naive.column([r[name] for r in rows], number=name not in levels) for name in ensemble.native.columns}
    )
