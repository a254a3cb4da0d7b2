"""What follows from an applicant's actions, as trees over the actions alone: dependent features, rules, knock-outs."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from .nodes import WAIT, Apply, As, Name, Node, Number, Raw, names_in, otherwise, stripped, substitute
from .reading import read

if TYPE_CHECKING:
    from ..policy import Feature, Policy
    from . import Expression


def dependents(policy: Policy) -> dict[str, Node]:
    """Return the state of each feature that is not simply what is chosen for it, over the actions alone.

    Examples
    --------
    >>> from recourse.policy import Policy
    >>> policy = Policy.model_validate({"decision": {"threshold": 0.5}, "features": {
    ...     "income": {"kind": "number", "step": 500},
    ...     "limit": {"kind": "number", "role": "derived", "value": "income / 4"},
    ... }})
    >>> dependents(policy)
    {'limit': Apply(op='/', args=(Name(name='income'), Number(value=4.0)))}
    """
    states = _States(policy)
    found = {name: states.state(name) for name in policy.features}
    return {name: node for name, node in found.items() if node != Raw(name)}


def rule_nodes(policy: Policy) -> list[tuple[str, Node]]:
    """Return each rule and each negated knock-out by name, over the actions alone: satisfied unless False.

    Examples
    --------
    >>> from recourse.policy import Policy
    >>> policy = Policy.model_validate({"decision": {"threshold": 0.5}, "features": {
    ...     "open": {"kind": "integer"}, "all": {"kind": "integer"}}, "rules": [{"require": "open <= all"}]})
    >>> rule_nodes(policy)
    [('open <= all', Apply(op='<=', args=(Name(name='open'), Name(name='all'))))]
    """
    states = _States(policy)
    found = []
    for rule in policy.expressions.rules:
        if rule.require is not None:
            found.append((rule.name, states.over_actions(rule.require.node)))
        elif rule.when is not None and rule.then is not None:
            when, then = states.over_actions(rule.when.node), states.over_actions(rule.then.node)
            found.append((rule.name, Apply("or", (Apply("not", (when,)), then))))
    for knockout, fires in zip(policy.decision.knockouts, policy.expressions.knockouts, strict=True):
        found.append((knockout.name, Apply("not", (states.over_actions(fires.node),))))
    return found


class _States:
    """The states of a policy's features, each worked out once; a policy without circles is taken for granted."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.known: dict[str, Node] = {}

    def over_actions(self, node: Node) -> Node:
        """Return an expression with the states of its features written out."""
        states = {name: self.state(name) for name in sorted(names_in(node)) if name in self.policy.features}
        follow = {name: state for name, state in states.items() if state != Raw(name)}
        return substitute(node, follow, self.policy.features)

    def state(self, name: str) -> Node:
        """Return a feature's state; `Raw(name)` is what is chosen for it."""
        if name not in self.known:
            self.known[name] = self.worked_out(name)
        return self.known[name]

    def worked_out(self, name: str) -> Node:
        """Return what is chosen or follows, then what time adds, then what applying again does."""
        feature, said = self.policy.features[name], self.policy.expressions
        if name in said.values:
            return self.as_value(name, said.values[name])
        state = self.as_value(name, said.effects[name]) if name in said.effects else Raw(name)
        passed = self.passed(feature)
        if passed is not None:
            state = otherwise(Apply("+", (stripped(name, state, self.policy.features), passed)), state)
        if name in said.reapply:
            again = said.reapply[name]
            if again.operator is None:
                return self.as_value(name, again.expression)
            number = stripped(name, state, self.policy.features)
            text = again.expression.text
            size = read(text, self.policy.features, (WAIT,), keep_codes=False)  # a code is no size
            moved = Apply(again.operator, (number, self.over_actions(size.node)))
            state = Apply("if", (Apply("known", (number,)), moved, state))
        return state

    def as_value(self, name: str, expression: Expression) -> Node:
        """Return what an expression gives as a value of a feature."""
        node = self.over_actions(expression.node)
        return node if self.policy.features[name].levels is None else As(name, node)

    def passed(self, feature: Feature) -> Node | None:
        """Return what the months add to a feature; None if it does not tick, or if no month can pass."""
        if feature.tick is None or (self.policy.time is None and not self.policy.after_months):
            return None
        gone: Node = Number(float(self.policy.after_months))
        if self.policy.time is not None:
            gone = Apply("max", (Name(WAIT), gone)) if self.policy.after_months else Name(WAIT)
        tick = Fraction(feature.tick)  # exact: the months times the decimal are rounded once, by the division
        if tick.numerator != 1:
            gone = Apply("*", (gone, Number(float(tick.numerator))))
        if tick.denominator != 1:
            gone = Apply("/", (gone, Number(float(tick.denominator))))
        return Apply("floor", (gone,)) if feature.kind == "integer" else gone
