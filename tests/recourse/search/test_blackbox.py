"""The knapsack of the black box search: enough, within the limit, and hardly dearer than the cheapest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recourse.search.blackbox import BINS, cheapest_sums


def by_trying(gain: np.ndarray, cost: np.ndarray, count: np.ndarray, need: float, limit: int) -> int | None:
    """The least cost of options whose gains reach the need, by trying all."""
    totals = [
        sum(int(cost[a, v]) for a, v in enumerate(choice))
        for choice in itertools.product(*(range(c) for c in count))
        if sum(v > 0 for v in choice) <= limit
        and all(cost[a, v] >= 0 for a, v in enumerate(choice))
        and sum(gain[a, v] for a, v in enumerate(choice)) >= need
    ]
    return min(totals, default=None)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 5), st.integers(1, 6))
def test_sums_are_enough_and_cheap(seed: int, actions: int, options: int, limit: int) -> None:
    """What is chosen suffices by the exact gains, and costs no more than what suffices with the rounding to spare."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, options + 1, (1, actions))
    gain = rng.normal(0.3, 1.0, (1, actions, options))
    cost = rng.integers(0, 1000, (1, actions, options))
    gain[:, :, 0], cost[:, :, 0] = 0.0, 0
    cost[rng.random(cost.shape) < 0.1] = -1
    cost[:, :, 0] = 0
    need = float(rng.uniform(0.1, 3.0))
    choice, reached = cheapest_sums(gain, cost, count, np.array([need]), limit)
    picked = choice[0]
    total = sum(gain[0, a, v] for a, v in enumerate(picked))
    price = sum(cost[0, a, v] for a, v in enumerate(picked))
    assert np.count_nonzero(picked) <= limit
    assert all(cost[0, a, v] >= 0 and v < count[0, a] for a, v in enumerate(picked))
    least = by_trying(gain[0], cost[0], count[0], need, limit)
    safe = by_trying(gain[0], cost[0], count[0], need * (1 + (actions + 1) / BINS), limit)
    if reached[0]:
        assert total >= need - 1e-9
        assert least is not None
        assert price >= least
    if safe is not None:
        assert reached[0]
        assert price <= safe


def test_what_cannot_be_reached_is_approached() -> None:
    """Without a sum that is enough, the actions of the largest gains are taken, each by its cheapest good option."""
    gain = np.array([[[0.0, 1.0, 0.99], [0.0, 0.2, 0.1], [0.0, 3.0, -1.0]]])
    cost = np.array([[[0, 50, 10], [0, 5, 5], [0, 70, 1]]])
    choice, reached = cheapest_sums(gain, cost, np.full((1, 3), 3), np.array([100.0]), 2)
    assert (choice.tolist(), reached.tolist()) == ([[2, 0, 1]], [0])


@pytest.mark.parametrize("need", [0.0, -1.0])
def test_where_nothing_is_needed_nothing_is_chosen(need: float) -> None:
    """An applicant who is past the goal stays."""
    choice, reached = cheapest_sums(
        np.ones((1, 2, 2)), np.zeros((1, 2, 2), np.int64), np.full((1, 2), 2), np.array([need]), 2
    )
    assert (choice.tolist(), reached.tolist()) == ([[0, 0]], [1])
