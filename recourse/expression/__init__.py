"""The small language of rules and derived features: read from text, evaluated on a row, compiled for the search.

The language is a part of Python's: names of features, `start.x` for the applicant's present value of x, `wait` for the
months waited; numbers and texts; ``+ - * /``, `min max abs log exp floor`; comparisons; `and or not`; `in` with a list;
``a if c else b``. A name that is no identifier stands in backticks.

What cannot be computed is missing: arithmetic with a missing value or with a code, a division by 0, the log of what is
not positive, an overflow. A comparison with a missing value is unknown; `and`, `or` and `not` are so only where the
unknown part decides. A code is a value of its own for `==`, `!=` and `in`, and where it is handed on as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .nodes import (
    Apply,
    As,
    Name,
    Node,
    Number,
    Place,
    Raw,
    Start,
    Stripped,
    Text,
    Truth,
    names_in,
    otherwise,
    starts_in,
)
from .programs import Compiler
from .reading import Kind, read
from .states import dependents, rule_nodes
from .values import Result, value_of

if TYPE_CHECKING:
    from ..policy import Feature

__all__ = [
    "Apply",
    "As",
    "Compiler",
    "Expression",
    "Name",
    "Node",
    "Number",
    "Place",
    "Raw",
    "Start",
    "Stripped",
    "Text",
    "Truth",
    "dependents",
    "names_in",
    "otherwise",
    "parse",
    "rule_nodes",
    "starts_in",
]


@dataclass(frozen=True)
class Expression:
    """An expression of a policy, checked against its features.

    Attributes
    ----------
    text : str
        As it is written.
    kind : {"number", "boolean", "text"}
        What it gives.
    """

    text: str
    kind: Kind
    node: Node = field(repr=False, compare=False)
    _features: Mapping[str, Feature] = field(repr=False, compare=False)

    @property
    def names(self) -> frozenset[str]:
        """The features whose state is read, and `wait`."""
        return names_in(self.node)

    @property
    def start_names(self) -> frozenset[str]:
        """The features of which the applicant's present value is read."""
        return starts_in(self.node)

    def evaluate(self, state: Mapping[str, Any], start: Mapping[str, Any]) -> Result:
        """Return the value: a number, True or False, a level's text, or None for missing and unknown.

        Parameters
        ----------
        state : mapping
            The value of each name in `names`; `wait` is 0 where it is not given.
        start : mapping
            The applicant's present value of each name in `start_names`.

        Raises
        ------
        KeyError
            If a value that is read is not given (a missing value is None).

        Examples
        --------
        >>> from recourse.policy import Feature
        >>> features = {"income": Feature(kind="number"), "debt": Feature(kind="number")}
        >>> ratio = parse("12 * debt / income", features)
        >>> ratio.evaluate({"income": 48_000, "debt": 1_000}, {}), ratio.evaluate({"income": 0, "debt": 1_000}, {})
        (0.25, None)
        """
        return value_of(self.node, self._features, state, start)


def parse(
    text: str,
    features: Mapping[str, Feature],
    *,
    extra_names: Collection[str] = ("wait",),
    keep_codes: bool = True,
) -> Expression:
    """Read an expression.

    Parameters
    ----------
    text : str
    features : mapping
        The policy's features by name.
    extra_names : collection of str
        Names of further numbers.
    keep_codes : bool
        Whether a feature's code that is handed on as it is, as in ``a if c else b``, is the result; else it is missing.

    Returns
    -------
    Expression

    Raises
    ------
    PolicyError
        If the text is not of the language, with the column; `UnknownFeature` if a name is unknown.

    Examples
    --------
    >>> from recourse.policy import Feature
    >>> features = {"income": Feature(kind="number"), "net income": Feature(kind="number")}
    >>> parse("`net income` <= income", features).kind
    'boolean'
    >>> parse("incme > 0", features)
    Traceback (most recent call last):
        ...
    recourse.errors.UnknownFeature: 'incme > 0', column 1: no feature named 'incme'. Did you mean 'income'?
    """
    node, kind = read(text, features, extra_names, keep_codes=keep_codes)
    return Expression(text, kind, node, features)
