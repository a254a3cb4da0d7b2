"""What looks wrong in a policy when it is held against data and a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._columns import number_text
from ..errors import InputError
from ..models.frames import encode_frame
from ..models.trees import Trees
from ..policy import check_costs
from ..population import Population, as_pandas, read_numbers
from .data import against_data, features_alone
from .finding import Finding, error, warning
from .language import (
    codes_never_met,
    expressions_on_rows,
    group_columns,
    language_alone,
    named_columns,
    provided_never,
    with_derived,
)
from .model import against_model, score_range, used_columns, with_bounds

if TYPE_CHECKING:
    from ..models.base import Model
    from ..policy import Policy

__all__ = ["Finding", "lint_policy", "score_range", "used_columns"]


def lint_policy(policy: Policy, *, frame: Any = None, model: Model | None = None) -> list[Finding]:
    """Hold a policy against data and a model.

    Parameters
    ----------
    policy : Policy
    frame : pandas.DataFrame, polars.DataFrame or pyarrow.Table, optional
        Applicants.
    model : Model, optional
        As `recourse.models.read_model` returns it.

    Returns
    -------
    list of Finding
        Errors first, then warnings, each in the policy's order; empty when nothing looks wrong.

    Examples
    --------
    >>> import pandas as pd
    >>> from recourse.policy import Policy
    >>> policy = Policy.model_validate(
    ...     {"decision": {"threshold": 0.5}, "features": {"incme": {"kind": "number", "step": 500}}}
    ... )
    >>> for finding in lint_policy(policy, frame=pd.DataFrame({"income": [41000.0]})):
    ...     print(finding)
    error: incme: the data has no column 'incme'. Did you mean 'income'?
    """
    table = None if frame is None else as_pandas(frame)
    found = [*features_alone(policy), *language_alone(policy)]
    if table is not None:
        for part in (against_data, group_columns, named_columns, codes_never_met, provided_never):
            found += part(policy, table)
    if model is not None:
        found += against_model(policy, model, table)
    if table is not None and not any(finding.level == "error" for finding in found):
        found += _as_a_whole(policy, table, model)
    order = {name: i for i, name in enumerate(policy.features)}
    found = list(dict.fromkeys(found))
    return sorted(found, key=lambda f: (f.level, -1 if f.feature is None else order.get(f.feature, len(order))))


def _as_a_whole(policy: Policy, table: pd.DataFrame, model: Model | None) -> Iterator[Finding]:
    """What can only be said when every column is readable: expressions, prices, and whether the threshold is met."""
    yield from expressions_on_rows(policy, table)
    try:
        check_costs(policy, Population.from_frame(table, policy))
    except InputError as fault:
        yield error(None, str(fault))
    if model is None:
        return
    try:
        matrix = encode_frame(with_derived(policy, table), model.columns)
    except InputError as fault:
        yield error(None, str(fault))
        return
    yield from _within_reach(policy, table, model, matrix)


def _within_reach(policy: Policy, table: pd.DataFrame, model: Model, matrix: np.ndarray) -> Iterator[Finding]:
    """Say if no score reaches the threshold, or if every score does."""
    follows = {column.name for column in model.columns} & policy.changing - set(policy.movable)
    if follows and not isinstance(model.core, Trees):
        return  # these go where no column's range tells
    ends, threshold = score_range(model, with_bounds(policy, model, matrix)), policy.decision.threshold
    if policy.threshold_column is not None:
        thresholds = read_numbers(table[policy.threshold_column], policy.threshold_column)
    else:
        thresholds = np.array([threshold]) if isinstance(threshold, float) else np.empty(0)
    if ends is None or not len(thresholds):
        return
    (low, high), least, most = ends, float(thresholds.min()), float(thresholds.max())
    if high < least + policy.decision.margin:
        wanted = number_text(least + policy.decision.margin)
        yield error(
            None,
            f"no applicant can reach threshold + margin = {wanted}: the model's scores end at {high:.4g}. "
            "Lower the threshold.",
        )
    elif low >= most:
        yield warning(
            None,
            f"every applicant is approved: the model's scores begin at {low:.4g}, at or above the threshold "
            f"{number_text(most)}.",
        )
