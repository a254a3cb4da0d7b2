"""Ours against NICE, CFNOW and DiCE on a neural network: cost, model calls and violations for the same applicants.

Every system gets the same model file, training rows, applicants and constraints, and each of its model calls is counted
where the model is. Against each rival ours is run with that rival's own calls as its budget. Costs are the policy's,
also of changes that the policy forbids, as if it allowed them; they are compared on the applicants for whom the rival's
row is approved (and, beside that, on those for whom it is also allowed).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recourse import Policy, Population, check, datasets, state
from recourse.blackbox import Answer, BlackBoxSearch
from recourse.models.base import Model, Wanted
from recourse.models.blackbox import read
from recourse.plan import Certificate, Change, Plan
from recourse.policy import Feature
from recourse.values import Value, plain

from . import machine, peers

DATASETS = ("heloc", "adult")
KINDS = ("free", "policy")
RIVALS = (
    ("nice", "sparsity"), ("nice", "proximity"), ("cfnow", "greedy"), ("cfnow", "random"),
    ("dice", "random"), ("dice", "genetic"),
)  # fmt: skip
UNCONSTRAINED = ("nice", "cfnow")  # take no constraints
SEED = 0
LARGEST_BUDGET = 400  # model calls for one applicant; more are of no use to ours
_TARGET = "_approved"
_BOOKS = ("the plan's row", "the plan says")  # of a plan's form, which rivals do not fill in themselves


@dataclass(frozen=True)
class Work:
    """A network, a policy, and refused applicants whom neither has seen."""

    name: str
    estimator: Any
    policy: Policy
    train: pd.DataFrame
    target: np.ndarray
    refused: pd.DataFrame
    categories: dict[str, tuple[str, ...]]

    @property
    def numbers(self) -> list[str]:
        """The columns that are no categories."""
        return [name for name in self.train.columns if name not in self.categories]

    def model(self) -> Model:
        """Return the network as a black box that has not been asked yet."""
        decision = self.policy.decision
        return read(self.estimator, Wanted(decision.favourable, decision.score, self.categories))


_Answers = tuple[list[dict[str, Any]], int]  # of every applicant, and the calls of the start


def measure(
    work: Work,
    *,
    seconds: float,
    rivals: Sequence[tuple[str, str]] = RIVALS,
    known: dict[tuple[str, str], _Answers] | None = None,
) -> dict[str, Any]:
    """Run every rival on a workload, and ours with as many calls as each of them.

    `known` holds and receives the answers of rivals that take no constraints: with the same model and applicants they
    are the same under any policy.
    """
    known = {} if known is None else known
    population = Population.from_frame(work.train, work.policy)
    judge = _Judge(work, population)
    threshold = float(work.policy.decision.threshold)
    results: list[dict[str, Any]] = []
    for name, method in rivals:
        print(f"{work.name}: {name} {method}", file=sys.stderr, flush=True)
        answers, setup = known[name, method] if (name, method) in known else _ask(work, name, method, judge, seconds)
        if name in UNCONSTRAINED:
            known[name, method] = answers, setup
        theirs = [judge.theirs(i, answer) for i, answer in enumerate(answers)]
        counted = [answer["calls"] for answer in answers if answer["calls"] is not None]
        calls = statistics.fmean(counted) if counted else 0.0
        budget = int(min(LARGEST_BUDGET, max(2, calls)))
        began, model = time.perf_counter(), work.model()
        search = BlackBoxSearch(model, work.policy, population, budget_calls=budget, seed=SEED)
        ours_raw = search.run(work.refused, np.full(len(work.refused), threshold))
        took = time.perf_counter() - began
        ours = [judge.ours(i, answer) for i, answer in enumerate(ours_raw)]
        results.append({
            "rival": name,
            "method": method,
            "rival_calls": round(calls, 1),
            "rival_setup_calls": setup,
            "rival_seconds": round(statistics.fmean(a["seconds"] for a in answers), 4),
            "rival_failures": sum("error" in a for a in answers),
            "rival_errors": dict(Counter(str(a["error"])[:160] for a in answers if "error" in a).most_common(3)),
            "our_budget": budget,
            "our_calls": round(statistics.fmean(a.calls for a in ours_raw), 1),
            "our_seconds": round(took / max(1, len(ours)), 4),
            **_compared(theirs, ours),
        })  # fmt: skip
    return {"name": work.name, "rows": len(work.refused), "threshold": threshold, "against": results}


@dataclass(frozen=True)
class _Judged:
    """One answer, priced and checked."""

    approved: bool
    cost: float
    changes: int
    violations: tuple[str, ...]


def _compared(theirs: Sequence[_Judged | None], ours: Sequence[_Judged | None]) -> dict[str, Any]:
    """Return what is found and broken by either, and costs on the applicants for whom both have an approved row."""
    both = [(t, o) for t, o in zip(theirs, ours, strict=True) if t is not None and o is not None and t.approved]
    allowed = [(t, o) for t, o in both if not t.violations]
    broken = Counter(kind for t in theirs if t is not None for kind in {_kind(v) for v in t.violations})
    return {
        "rival_found": sum(t is not None and t.approved for t in theirs),
        "rival_allowed": sum(t is not None and t.approved and not t.violations for t in theirs),
        "rival_violations": sum(len(t.violations) for t in theirs if t is not None),
        "rival_broken": dict(broken.most_common(8)),
        "our_found": sum(o is not None for o in ours),
        "our_broken": sum(bool(o.violations) for o in ours if o is not None),
        "our_violations": sum(len(o.violations) for o in ours if o is not None),
        "cost_on_both": _costs(both),
        "cost_where_allowed": _costs(allowed),
    }


def _costs(pairs: Sequence[tuple[_Judged, _Judged]]) -> dict[str, Any] | None:
    if not pairs:
        return None
    theirs, ours = [t.cost for t, _ in pairs], [o.cost for _, o in pairs]
    return {
        "rows": len(pairs),
        "rival_mean": round(statistics.fmean(theirs), 4),
        "our_mean": round(statistics.fmean(ours), 4),
        "rival_median": round(statistics.median(theirs), 4),
        "our_median": round(statistics.median(ours), 4),
        "ours_cheaper_or_equal": sum(o <= t + 1e-9 for t, o in zip(theirs, ours, strict=True)),
        "rival_changes": round(statistics.fmean(t.changes for t, _ in pairs), 2),
        "our_changes": round(statistics.fmean(o.changes for _, o in pairs), 2),
    }


def _kind(violation: str) -> str:
    """A violation without the applicant's numbers."""
    words = violation.partition(": ")[2] or violation
    return " ".join("#" if any(c.isdigit() for c in word) else word for word in words.split())[:80]


# ---------------------------------------------------------------------------------------------------- workloads


def load(dataset: str, kind: str, queries: int) -> Work:
    """Train a network on half of a data set, and return refused applicants of the other half.

    `kind` is "policy", the data set's own policy, or "free": every column may be set to whatever occurs in it, so that
    systems without constraints break none.
    """
    data = datasets.load(dataset)
    policy = Policy.from_toml(datasets.policy_path(dataset))
    names = [name for name in policy.features if name in data.frame]
    frame, target = data.frame[names], data.target.to_numpy()
    complete = frame.notna().all(axis=1).to_numpy()  # no rival takes missing values
    frame, target = frame[complete], target[complete]
    texts = [name for name in names if not pd.api.types.is_numeric_dtype(frame[name])]
    frame = frame.astype({name: object if name in texts else float for name in names})
    order = np.random.default_rng(SEED).permutation(len(frame))
    train, held = np.sort(order[::2]), np.sort(order[1::2])
    categories = {name: tuple(sorted(map(str, frame[name].iloc[train].unique()))) for name in texts}
    known = np.all([frame[name].isin(levels) for name, levels in categories.items()], axis=0) if texts else True
    estimator = _network([n for n in names if n not in texts], texts).fit(frame.iloc[train], target[train])
    if kind == "free":
        policy = _free(policy, frame.iloc[train], categories)
    refused = estimator.predict_proba(frame)[:, 1] < float(policy.decision.threshold)
    asked = held[np.asarray(refused & known)[held]][:queries]
    return Work(f"{dataset}-{kind}", estimator, policy, frame.iloc[train], target[train], frame.iloc[asked], categories)


def _network(numbers: list[str], texts: list[str]) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    return make_pipeline(
        make_column_transformer(
            (StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts)
        ),
        MLPClassifier((32, 16), early_stopping=True, max_iter=200, random_state=SEED),
    )


def _free(policy: Policy, train: pd.DataFrame, categories: dict[str, tuple[str, ...]]) -> Policy:
    """The policy without its constraints: any column, either way, within what occurs."""
    features: dict[str, dict[str, Any]] = {}
    for name in train.columns:
        if name in categories:
            features[name] = {"kind": "category", "levels": categories[name]}
            continue
        feature = policy.features[name]
        codes = set(feature.code_values)
        known = train[name][~train[name].isin(codes)]
        features[name] = {
            "kind": "integer", "min": float(known.min()), "max": float(known.max()), "codes": dict(feature.codes),
        }  # fmt: skip
    decision = {"favourable": policy.decision.favourable, "threshold": policy.decision.threshold}
    return Policy.model_validate({"decision": decision, "cost": {"unit": "mad"}, "features": features})


# ---------------------------------------------------------------------------------------------------- rivals


def _ask(work: Work, name: str, method: str, judge: _Judge, seconds: float) -> _Answers:
    """Return a rival's answer for every applicant, and the calls of its start."""
    from skops import io

    with tempfile.TemporaryDirectory() as folder:
        model, train = Path(folder) / "model.skops", Path(folder) / "train.csv"
        io.dump(work.estimator, model)
        work.train.assign(**{_TARGET: work.target.astype(int)}).to_csv(train, index=False)
        shared = {
            "model": str(model), "train": str(train), "target": _TARGET, "numbers": work.numbers,
            "categories": work.categories, "method": method, "seed": SEED, "cost": judge.units,
        }  # fmt: skip
        with peers.peer(name, shared, seconds=seconds) as rival:
            return [rival.ask(request) for request in _requests(work, judge)], int(rival.setup["calls"])


def _requests(work: Work, judge: _Judge) -> Iterator[dict[str, Any]]:
    limit = work.policy.cost.max_changes
    threshold = float(work.policy.decision.threshold)
    for i, row in enumerate(judge.rows):
        yield {"row": row, "permitted": judge.permitted[i], "max_changes": limit, "threshold": threshold}


class _Judge:
    """Prices and checks answers, whoever gave them."""

    def __init__(self, work: Work, population: Population) -> None:
        from recourse._reach import WAIT, Reach
        from recourse._states import States

        self._work, self._population = work, population
        self._everybody = Population.from_frame(work.train)  # prices of what the policy does not let move
        self._model = work.model()
        self.rows: list[dict[str, Value]] = [
            {str(name): plain(value) for name, value in row.items()} for row in work.refused.to_dict("records")
        ]
        features = work.policy.features
        self.units = {name: self._unit(name) for name in work.numbers if name in features}
        reach = Reach(work.policy, population)
        states = States(work.policy, self._model.columns, reach.names)
        options = reach.options(states.start(work.refused)[:, states.actions])
        self.permitted: list[dict[str, list[Any]]] = [{} for _ in self.rows]
        for name, each in zip(reach.names, options, strict=True):
            if name == WAIT or name not in work.train:
                continue
            for i, one in enumerate(each):
                if len(one.value) > 1:
                    self.permitted[i][name] = self._bounds(name, features[name], one.value)

    def _bounds(self, name: str, feature: Feature, values: np.ndarray) -> list[Any]:
        """The levels of a category, the ends of anything else."""
        told = [feature.levels[int(v)] for v in values] if feature.levels is not None else values.tolist()
        return told if name in self._work.categories else [float(min(told)), float(max(told))]

    def _unit(self, name: str) -> float:
        people = self._population if name in self._population.columns else self._everybody
        return people.unit(name, self._work.policy.cost.unit)

    def theirs(self, i: int, answer: dict[str, Any]) -> _Judged | None:
        """Judge a rival's row; None where there is none."""
        if answer["row"] is None:
            return None
        row = self.rows[i]
        features = self._work.policy.features
        after = {name: _same_type(answer["row"][name], row[name]) for name in row}
        changes = {name: after[name] for name in row if after[name] != row[name]}
        micro = sum(self._price(name, features[name], row[name], value) for name, value in changes.items())
        judged = self._judged(i, changes, 0, micro / 1e6, after)
        own = tuple(v for v in judged.violations if not any(words in v for words in _BOOKS))
        return _Judged(judged.approved, judged.cost, judged.changes, own)

    def ours(self, i: int, answer: Answer) -> _Judged | None:
        """Judge our answer; None where there is none."""
        if answer.status != "found":
            return None
        return self._judged(i, answer.changes, answer.wait, answer.cost_micro / 1e6, None)

    def _price(self, name: str, feature: Feature, before: Value, after: Value) -> int:
        """The policy's price of a change, whether or not it allows it."""
        per_change = self._work.policy.cost.per_change
        if feature.kind in ("category", "flag"):
            first, last = feature.position(before), feature.position(after)
            price = 1.0 if first is None or last is None else feature.move_price(first, last)
            return round(1e6 * (feature.weight * price + per_change))
        if feature.levels is not None:
            first, last = feature.position(before), feature.position(after)
            size = abs(float(last or 0) - float(first or 0))
        else:
            size = abs(float(after or 0) - float(before or 0))
        return round(1e6 * (feature.weight * size / self._unit(name) + per_change))

    def _judged(
        self, i: int, changes: dict[str, Value], wait: int, cost: float, scored: dict[str, Value] | None
    ) -> _Judged:
        work, row = self._work, self.rows[i]
        listed = [Change(name, row[name], value, work.policy.features[name].unit) for name, value in changes.items()]
        if wait:
            listed.append(Change("wait", 0, wait, "months"))
        led = state.columns(work.policy, state.after(work.policy, row, changes, wait), row)
        protected = {name for name, feature in work.policy.features.items() if feature.role == "protected"}
        shown = {name: value for name, value in led.items() if name not in protected}
        score = self._score(led)
        threshold = float(work.policy.decision.threshold)
        gap = 1.0 if cost else 0.0
        plan = Plan(tuple(listed), cost, score, shown, Certificate(False, cost, 0.0, gap, 0, 1))
        wrong = check(plan, row, self._model, work.policy, self._population)
        approved = (score if scored is None else self._score(scored)) >= threshold
        return _Judged(approved, cost, len(listed), wrong)

    def _score(self, row: dict[str, Value]) -> float:
        from recourse.models import encode_frame

        return float(self._model.score(encode_frame(pd.DataFrame([row]), self._model.columns))[0])


def _same_type(value: Any, like: Value) -> Value:
    """A rival's value as the applicant's is spelt."""
    if isinstance(like, str):
        return str(value)
    return float(value) if isinstance(like, float) else plain(value)


def result(works: Sequence[dict[str, Any]], *, seconds: float) -> dict[str, Any]:
    """Return the result file's content."""
    return {
        "workload": "blackbox",
        "kind": "blackbox",
        "machine": machine.describe(threads=1),
        "seconds_a_row": seconds,
        "peers": {name: (peers.HERE / name / "requirements.txt").read_text().split() for name in peers.NAMES},
        "works": list(works),
    }


def shortcomings(works: Sequence[dict[str, Any]]) -> list[str]:
    """Return where ours is not better: dearer on average or at the median, more calls, or a violation."""
    found = []
    for work in works:
        for against in work["against"]:
            who = f"{work['name']} against {against['rival']} {against['method']}"
            if against["our_violations"]:
                found.append(f"{who}: {against['our_violations']} violations of ours")
            if against["our_calls"] > against["rival_calls"] > 0:
                found.append(f"{who}: {against['our_calls']} calls, the rival {against['rival_calls']}")
            costs = against["cost_on_both" if work["name"].endswith("-free") else "cost_where_allowed"]
            for what in ("mean", "median") if costs else ():
                if costs[f"our_{what}"] > costs[f"rival_{what}"]:
                    found.append(f"{who}: {what} cost {costs[f'our_{what}']}, the rival {costs[f'rival_{what}']}")
    return found
