"""What plans withstand, against enumeration: the least score of a shape, and refits that approve all of it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

from recourse import Finder, read_model, refit_survival, revalidate, robustness
from recourse.errors import InputError

POLICY: dict[str, Any] = {
    "decision": {"threshold": 0.5},
    "cost": {"unit": "raw"},
    "features": {
        "income": {"kind": "integer", "change": "up", "min": 0, "max": 40},
        "debt": {"kind": "integer", "change": "down", "min": 0, "max": 20},
        "age": {"kind": "integer", "role": "protected"},
    },
    "rules": [{"require": "debt <= income"}],
}
RNG = np.random.default_rng(1)
FRAME = pd.DataFrame({name: RNG.integers(0, top, 400) for name, top in (("income", 41), ("debt", 21), ("age", 60))})
TARGET = (FRAME["income"] - FRAME["debt"] + RNG.normal(0, 4, 400) > 12).astype(int)


def tree(seed: int) -> DecisionTreeClassifier:
    """A tree of half of the rows; its leaves have many scores."""
    some = FRAME.sample(200, random_state=seed)
    return DecisionTreeClassifier(max_depth=5, min_samples_leaf=3, random_state=seed).fit(some, TARGET[some.index])


def plans_of(finder: Finder) -> list[tuple[dict[str, Any], Any]]:
    """Plans for some refused applicants."""
    rows = FRAME[finder.model.score(FRAME.to_numpy(float)) < 0.5].iloc[:25]
    outcomes = finder.find_many(rows, threads=1)
    pairs = zip(rows.to_dict("records"), outcomes, strict=True)
    return [(row, outcome) for row, outcome in pairs if outcome.plan is not None]


def promised(row: dict[str, Any], plan: Any) -> pd.DataFrame:
    """Every row that a plan promises and that obeys the rule."""
    spans = {c.feature: range(c.after, c.after + 1) for c in plan.changes}
    spans |= {name: range(low, high + 1) for name, (low, high) in (plan.region or {}).items()}
    rows = [{**row, **dict(zip(spans, values, strict=True))} for values in itertools.product(*spans.values())]
    return pd.DataFrame([one for one in rows if one["debt"] <= one["income"]])[list(FRAME)]


@pytest.mark.parametrize("shape", ["point", "box", "orthant"])
def test_robustness_and_survival_are_those_of_every_row(shape: str) -> None:
    """The rise is the least score of all rows above the threshold; a refit survives where it approves them all."""
    finder = Finder(tree(0), POLICY, FRAME, shape=shape)
    refits = [tree(seed) for seed in (1, 2, 3)]
    looked = plans_of(finder)
    assert looked
    shares = set()
    for row, outcome in looked:
        rows = promised(row, outcome.plan)
        least = finder.model.score(rows.to_numpy(float)).min()
        assert robustness(finder, row, outcome.plan) == least - 0.5
        wanted = np.mean([(refit.predict_proba(rows)[:, 1] >= 0.5).all() for refit in refits])
        found = refit_survival(finder, row, outcome.plan, refits)
        assert found == wanted
        shares.add(found)
    assert len(shares) > 1


def test_no_refits_are_a_mistake() -> None:
    """A share of nothing is none."""
    finder = Finder(tree(0), POLICY, FRAME)
    row, outcome = plans_of(finder)[0]
    with pytest.raises(InputError, match="at least one"):
        refit_survival(finder, row, outcome.plan, [])


def test_revalidation_is_the_new_models_own_word() -> None:
    """A plan holds under a new model exactly where that approves every row that was promised."""
    finder = Finder(tree(0), POLICY, FRAME, shape="box")
    looked = plans_of(finder)
    new = read_model(tree(4))
    results = revalidate(
        [outcome for _, outcome in looked], [row for row, _ in looked], new, finder.policy, finder.population
    )
    verdicts = set()
    for (row, outcome), result in zip(looked, results, strict=True):
        rows = promised(row, outcome.plan)
        assert result.id == outcome.id
        assert result.score == float(new.score(pd.DataFrame([row])[list(FRAME)].to_numpy(float))[0])
        assert result.approved == (result.score >= 0.5)
        assert result.plans[0].holds == bool((new.score(rows.to_numpy(float)) >= 0.5).all())
        verdicts.add(result.holds)
    assert verdicts == {True, False}
