"""The demonstration: a model trained on the simulated lender, and proven recourse for those whom it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from .datasets import load
from .finder import Finder
from .models import Model
from .models.training import Library, fit_boosting, installed
from .plan import Outcome
from .policy import Policy
from .warming import compiled, warm_up

if TYPE_CHECKING:
    import pandas as pd

TREES = 100
_NAMES = {"xgboost": "XGBoost", "scikit-learn": "scikit-learn's HistGradientBoosting"}


@dataclass(frozen=True, slots=True, eq=False)
class Demo:
    """What the demonstration found; times in seconds."""

    policy: Policy
    policy_text: str  # with its comments
    model: Model
    estimator: Any  # as the library fitted it
    words: str  # what the model is
    protected: tuple[str, ...]  # columns that were kept from the model
    n_trained: int
    n_held_out: int
    auc: float  # on the held-out applicants
    n_refused: int  # of the held-out applicants
    train: pd.DataFrame  # raw rows
    rows: pd.DataFrame  # the refused applicants whose recourse was sought, raw
    outcomes: tuple[Outcome, ...]  # theirs
    seconds_compiling: float
    seconds_searching: float


def run(
    *, applicants: int | None = None, library: Library | None = None, say: Callable[[str], None] = lambda words: None
) -> Demo:
    """Train on half of the simulated lender and seek recourse for refused applicants of the other half.

    Parameters
    ----------
    applicants : int, optional
        How many of the refused applicants; all by default.
    library : {"xgboost", "scikit-learn"}, optional
        What the model is; XGBoost where it is installed by default.
    say : callable
        Told what is done now, in a few words.

    Returns
    -------
    Demo
    """
    say("training a model on the simulated lender")
    lender = load("lender")
    policy = Policy.from_toml(lender.policy)
    order = np.random.default_rng(0).permutation(len(lender.frame))
    train, held_out = order[: len(order) // 2], order[len(order) // 2 :]
    frame, target = lender.frame.iloc[train], lender.target.iloc[train]
    library = library or installed()
    protected = tuple(name for name, feature in policy.features.items() if feature.role == "protected")
    estimator = fit_boosting(
        frame.drop(columns=list(protected)), target, levels=policy.levels, library=library, n_trees=TREES
    )
    finder = Finder(estimator, policy, frame)

    cold = not compiled(finder.model)
    if cold:
        say("compiling the search kernels once (half a minute or more; later runs find them in the cache)")
    began = time.perf_counter()
    warm_up(finder.model)
    seconds_compiling = time.perf_counter() - began if cold else 0.0

    say("seeking recourse for refused applicants")
    candidates = lender.frame.iloc[held_out]
    scores = finder.model.score(finder.encode(candidates).encoded.matrix)  # as the finder sees them, formulas computed
    approved = scores >= policy.decision.threshold
    refused = candidates.loc[~approved].iloc[:applicants]
    began = time.perf_counter()
    outcomes = tuple(finder.find_many(refused))
    return Demo(
        policy=policy,
        policy_text=lender.policy.read_text(encoding="utf-8"),
        model=finder.model,
        estimator=estimator,
        protected=protected,
        words=f"{_NAMES[library]}, {TREES} trees",
        n_trained=len(train),
        n_held_out=len(held_out),
        auc=_auc(scores, lender.target.iloc[held_out].to_numpy() == 1),
        n_refused=int(np.sum(~approved)),
        train=frame,
        rows=refused,
        outcomes=outcomes,
        seconds_compiling=seconds_compiling,
        seconds_searching=time.perf_counter() - began,
    )


def _auc(scores: np.ndarray, good: np.ndarray) -> float:
    """Return the share of (good, bad) pairs that the scores put in order, ties counting half."""
    ranks = rankdata(scores)
    n_good = int(np.sum(good))
    n_bad = len(good) - n_good
    return float((np.sum(ranks[good]) - n_good * (n_good + 1) / 2) / (n_good * n_bad))
