"""What a plan withstands: a rise of the threshold, and refits of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._regions import Ground, View, examine, least
from .checking.scores import Scorer
from .errors import InputError
from .models import read_model
from .models.base import Model
from .region import ground_of, threshold_of
from .values import Value, plain

if TYPE_CHECKING:
    from .finder import Finder
    from .plan import Plan
    from .policy import Policy

__all__ = ["Refits", "refit_survival", "robustness"]


def robustness(finder: Finder, row: Mapping[str, Any], plan: Plan, *, threshold: float | None = None) -> float | None:
    """Return the largest rise of the threshold that a plan survives on its whole shape.

    That is the least score of any row that the plan promises, under the model and all that must approve as well, above
    the threshold. None where it could not be worked out within the kernel's limit.

    Parameters
    ----------
    finder : Finder
        The one that found the plan.
    row : mapping
        The applicant's raw values.
    plan : Plan
    threshold : float, optional
        The applicant's, in place of the policy's.

    Raises
    ------
    InputError
        If the plan promises more than its own row, and a model is a black box.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from recourse import Finder
    >>> frame = pd.DataFrame({"income": [20, 30, 40, 50, 60]})
    >>> model = DecisionTreeClassifier().fit(frame, [0, 0, 1, 1, 1])
    >>> policy = {"decision": {"threshold": 0.75}, "features": {"income": {"kind": "integer", "change": "up"}}}
    >>> finder = Finder(model, policy, frame)
    >>> robustness(finder, {"income": 28}, finder.find({"income": 28}).plan)
    0.25
    """
    bar = float(threshold) if threshold is not None else threshold_of(finder, row)
    models = (finder.model, *finder.also_approve)
    if _is_point(plan):
        return min(_score(model, row, plan) for model in models) - bar
    view = ground_of(finder).view(row)
    first, last = view.over(plan, plan.region or {})
    scores = []
    for k, model in enumerate(models):
        raw = least(view, k, first, last)
        if raw is None:
            return None
        scores.append(float(model.squash(np.array([raw]))[0]))
    return min(scores) - bar


def refit_survival(
    finder: Finder, row: Mapping[str, Any], plan: Plan, refits: Sequence[Any], *, threshold: float | None = None
) -> float:
    """Return the share of supplied models that approve a plan's whole shape.

    Parameters
    ----------
    finder, row, plan, threshold
        As in `robustness`.
    refits : sequence of models
        Estimators, paths or `Model`: the same kind of model trained again. For many plans build `Refits` once.
    """
    return Refits(finder, refits).survival(row, plan, threshold=threshold)


class Refits:
    """Refits of a finder's model, read once.

    Parameters
    ----------
    finder : Finder
    refits : sequence of models
    allow_pickle : bool
        As in `Finder`.

    Raises
    ------
    InputError
        If there is none, or one cannot be read or does not fit the policy.
    """

    def __init__(self, finder: Finder, refits: Sequence[Any], *, allow_pickle: bool = False) -> None:
        if not refits:
            raise InputError("there are no refits to survive; give at least one model")
        self._finder = finder
        self.models = tuple(_read(source, finder.policy, allow_pickle=allow_pickle) for source in refits)
        self._grounds: dict[int, Ground] = {}

    def survival(self, row: Mapping[str, Any], plan: Plan, *, threshold: float | None = None) -> float:
        """Return the share that approve every row that a plan promises, where it obeys the rules."""
        bar = float(threshold) if threshold is not None else threshold_of(self._finder, row)
        return sum(self._approves(k, row, plan, bar) for k in range(len(self.models))) / len(self.models)

    def _approves(self, k: int, row: Mapping[str, Any], plan: Plan, bar: float) -> bool:
        model = self.models[k]
        if _is_point(plan):
            return _score(model, row, plan) >= bar
        view = self._view(k, row)
        first, last = view.over(plan, plan.region or {})
        return examine(view, np.array([model.cut(bar)]), first, last)

    def _view(self, k: int, row: Mapping[str, Any]) -> View:
        if k not in self._grounds:
            self._grounds[k] = Ground([self.models[k]], self._finder.policy, self._finder.population)
        return self._grounds[k].view(row)


def _read(source: Any, policy: Policy, *, allow_pickle: bool) -> Model:
    if isinstance(source, Model):
        return source
    return read_model(
        source,
        favourable=policy.decision.favourable,
        score=policy.decision.score,
        levels=policy.levels,
        allow_pickle=allow_pickle,
    )


def _is_point(plan: Plan) -> bool:
    """Whether a plan promises its own row alone."""
    provided = any(change.before is None and change.condition is not None for change in plan.changes)
    return not provided and all(low == high and low is not None for low, high in (plan.region or {}).values())


def _score(model: Model, row: Mapping[str, Any], plan: Plan) -> float:
    """Return the native score of a plan's row."""
    return score_after(model, row, plan.row)


def score_after(model: Model, row: Mapping[str, Any], after: Mapping[str, Value]) -> float:
    """Return the native score of an applicant's row with a plan's values in it.

    Raises
    ------
    InputError
        If the model does not take the row.
    """
    score = Scorer(model).scores([{**{str(name): plain(value) for name, value in row.items()}, **after}])[0]
    if isinstance(score, str):
        raise InputError(score)
    return score
