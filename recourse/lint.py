"""What looks wrong in a policy when it is held against data and a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from ._columns import number_text
from ._lint_data import against_data, features_alone
from ._lint_finding import Finding, error, warning
from ._lint_model import against_model, score_range, used_columns, with_bounds
from .errors import InputError
from .models.frames import encode_frame
from .policy import check_costs
from .population import Population, as_pandas

if TYPE_CHECKING:
    from .models.base import Model
    from .policy import Policy

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
    found = [*features_alone(policy)]
    if table is not None:
        found += against_data(policy, table)
    if model is not None:
        found += against_model(policy, model, table)
    if table is not None and not any(finding.level == "error" for finding in found):
        found += _as_a_whole(policy, table, model)
    order = {name: i for i, name in enumerate(policy.features)}
    found = list(dict.fromkeys(found))
    return sorted(found, key=lambda f: (f.level, -1 if f.feature is None else order.get(f.feature, len(order))))


def _as_a_whole(policy: Policy, table: pd.DataFrame, model: Model | None) -> Iterator[Finding]:
    """What can only be said when every column is readable: prices, and whether the threshold can be met."""
    try:
        check_costs(policy, Population.from_frame(table, policy))
    except InputError as fault:
        yield error(None, str(fault))
    if model is None:
        return
    try:
        matrix = encode_frame(table, model.columns)
    except InputError as fault:
        yield error(None, str(fault))
        return
    ends = score_range(model, with_bounds(policy, model, matrix))
    if ends is None:
        return
    low, high = ends
    wanted = policy.decision.threshold + policy.decision.margin
    if high < wanted:
        yield error(
            None,
            f"no applicant can reach threshold + margin = {number_text(wanted)}: the model's scores end at {high:.4g}. "
            "Lower the threshold.",
        )
    elif low >= policy.decision.threshold:
        yield warning(
            None,
            f"every applicant is approved: the model's scores begin at {low:.4g}, at or above the threshold "
            f"{number_text(policy.decision.threshold)}.",
        )
